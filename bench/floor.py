"""The least that any ASGI service costs: uvicorn answering fixed bytes from a plain application, nothing asked of anybody.

A yardstick of the machine. Run as `python -m bench.floor --port PORT`.
"""

import argparse
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from bench.records import kind

Message = MutableMapping[str, Any]

FLAT = kind("flat")
TEXT = json.dumps(FLAT.answer, ensure_ascii=False, separators=(",", ":"))
BODY = TEXT.replace(FLAT.native, FLAT.natives(1)[0]).encode()
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
ANSWER: Message = {"type": "http.response.body", "body": BODY}


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The answer for the first of the flat ids, whatever is asked."""
    await send(START)
    await send(ANSWER)


def main() -> None:
    """Serve in the foreground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=parser.parse_args().port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
