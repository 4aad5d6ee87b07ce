"""Writes of one turn of the event loop go out together at its end, in their order, and none is lost."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.outgoing import AT_ONCE, Outgoing, outbox_of, together

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


Pair = tuple[Outgoing, socket.socket]


@asynccontextmanager
async def pairs(number: int, protocol: Callable[[], asyncio.Protocol] = asyncio.Protocol) -> AsyncIterator[list[Pair]]:
    """So many transports that write together, and the other end of each."""
    loop, found = asyncio.get_running_loop(), []
    try:
        for _ in range(number):
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            made, _ = await loop.create_connection(protocol, sock=ours)
            found.append((together(made, loop), theirs))
        yield found
    finally:
        for transport, theirs in found:
            if not transport.is_closing():
                transport.abort()
            theirs.close()
        await asyncio.sleep(0)


def came(theirs: socket.socket) -> bytes | None:
    """What is there to be read; None for nothing, empty for the end."""
    try:
        return theirs.recv(1 << 20)
    except BlockingIOError:
        return None


async def until_it_came(theirs: socket.socket) -> bytes:
    """All that comes until the end."""
    loop, all_ = asyncio.get_running_loop(), b""
    while chunk := await loop.sock_recv(theirs, 1 << 16):
        all_ += chunk
    return all_


async def turns(number: int = 2) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_what_is_written_in_a_turn_goes_out_at_its_end_in_its_order() -> None:
    async with pairs(3) as found:
        for transport, theirs in found:
            transport.write(b"one,")
            transport.writelines([b"two,", b"three"])
            transport.write(b"")
            assert came(theirs) is None
            assert transport.get_write_buffer_size() == 13
        await turns()
        assert [came(theirs) for _, theirs in found] == [b"one,two,three"] * 3
        assert all(transport.get_write_buffer_size() == 0 for transport, _ in found)
        found[0][0].write(b"later")
        await turns()
        assert came(found[0][1]) == b"later"


async def test_many_do_not_wait_for_the_end_of_a_long_turn() -> None:
    async with pairs(AT_ONCE + 2) as found:
        for transport, _ in found:
            transport.write(b"x")
        assert [came(theirs) for _, theirs in found] == [b"x"] * AT_ONCE + [None] * 2
        await turns()
        assert [came(theirs) for _, theirs in found[-2:]] == [b"x"] * 2


async def test_close_sends_what_is_held_and_takes_no_more() -> None:
    async with pairs(2) as [(transport, theirs), (idle, other)]:
        transport.write(b"x" * 300_000)  # more than a socket takes at once
        transport.close()
        transport.close()
        transport.write(b"too late")
        assert transport.is_closing()
        assert await until_it_came(theirs) == b"x" * 300_000
        idle.close()
        assert idle.is_closing() and await until_it_came(other) == b""


async def test_what_was_begun_is_gone_on_with() -> None:
    async with pairs(1) as [(transport, theirs)]:
        transport.write(b"before,")
        transport.begin(b"HTTP/1.1 ")
        await turns()
        assert came(theirs) == b"before,HTTP/1.1 "
        transport.writelines([b"HTTP/1.1 100,", b"HTTP/1.1 200,"])
        await turns()
        transport.write(b"HTTP/1.1 404")
        transport.close()
        transport.begin(b"too late")
        assert await until_it_came(theirs) == b"100,HTTP/1.1 200,HTTP/1.1 404"


async def test_abort_sends_nothing() -> None:
    async with pairs(1) as [(transport, theirs)]:
        transport.write(b"x")
        transport.abort()
        transport.write(b"y")
        assert transport.is_closing()
        await turns(4)
        assert await until_it_came(theirs) == b""


async def test_a_connection_that_broke_meanwhile_holds_up_no_other() -> None:
    async with pairs(2) as [(broken, theirs), (whole, others)]:
        await turns()
        theirs.close()
        broken.write(b"x")
        whole.write(b"y")
        await turns(4)
        assert came(others) == b"y"
        broken.write(b"again")
        whole.write(b"z")
        await turns(4)
        assert came(others) == b"z"


async def test_a_write_that_fails_costs_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async with pairs(3) as [(first, one), (second, other), (third, last)]:
        first.write(b"x")
        second.write("no bytes")  # type: ignore[arg-type]  # as a defect would
        third.write(b"z")
        await turns(4)
        assert came(one) == b"x" and came(last) == b"z"
        assert second.is_closing() and await until_it_came(other) == b""
        assert "a write failed" in caplog.text and "no bytes" not in caplog.text


def test_a_loop_is_not_kept_by_its_outbox() -> None:
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)
    outbox_of(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


class _Ends(asyncio.Protocol):
    """Answers, and is told at once that the other side has ended."""

    transport: Outgoing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = together(transport, asyncio.get_running_loop())

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"answer to " + data)

    def eof_received(self) -> None:
        self.transport.hand_over()


async def said() -> bytes:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    theirs.send(b"x")
    theirs.shutdown(socket.SHUT_WR)
    await asyncio.get_running_loop().create_connection(_Ends, sock=ours)
    with theirs:
        return await until_it_came(theirs)


async def test_who_ends_his_side_right_after_asking_is_answered() -> None:
    assert [await said() for _ in range(20)] == [b"answer to x"] * 20
