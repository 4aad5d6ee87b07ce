"""Whether a caller still waits for his answer, also where he has ended his side of the connection.

He may have left, or have said all that he had to say and be listening (RFC 9112, 9.6): the end that is read is the
same. What is sent to him tells them apart, since the host of one who has left refuses it. So he is sent the beginning of
his answer at once, which is that of every answer; and whether it was refused is looked at now and then, and before the
answer is counted.
"""

import select

from starlette.types import Scope

from gateway.outgoing import Outgoing

BEGINNING = b"HTTP/1.1 "
"""What every answer begins with."""
LOOK_SECONDS = 0.25
"""How long a connection may stay open that its caller has left."""
DOUBTED = "crm_gateway.doubted"
"""The extension of a request's scope that holds its connection, once the caller may have left it."""


def has_left(scope: Scope) -> bool:
    """Whether the caller has left, as far as the server of this request can tell."""
    extensions = scope.get("extensions")
    if not extensions or DOUBTED not in extensions:
        return False
    outgoing: Outgoing = extensions[DOUBTED]
    return outgoing.is_closing() or is_broken_off(outgoing)


def is_broken_off(outgoing: Outgoing) -> bool:
    """Whether the other end of an open connection is gone, which no loop tells once it has read that nothing more comes."""
    look = select.poll()
    look.register(
        outgoing.get_extra_info("socket").fileno(), 0
    )  # this is told without being asked for, and nothing else
    return bool(look.poll(0))
