"""The listening socket: one for all workers, and how it is closed without cutting anybody."""

import ctypes
import socket
import struct
import sys

SETTLE_SECONDS = 0.1
"""How long the last connections may take from their handshake to a worker, once no new ones come."""

_SO_ATTACH_FILTER = 26
# On a TCP socket a packet filter sees the TCP header: its byte 13 holds the flags. SYN without ACK: drop; else: keep.
_DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `OSError` when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket, host: str) -> str:
    """`http://HOST:PORT` of a listening socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{sock.getsockname()[1]}"


def take_no_more(sock: socket.socket) -> bool:
    """Let no new connection begin, while those whose handshake has begun still come through: whether that was possible.

    The kernel resets what waits to be accepted when a listening socket is closed, and those clients may have sent
    their request already. So beginnings are dropped first (they are tried again by the client's kernel after a second,
    and find either nobody listening or the next server), the rest is accepted, and then the socket is closed.
    """
    if not sys.platform.startswith("linux"):
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
