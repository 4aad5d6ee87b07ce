"""The plainest answers are read as the parser reads them, and everything that is not of that kind is left to it."""

import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import plain_answers
from gateway.plain_answers import LINES, plain

BODY = b'{"id": "opp_1"}'
MOST = 1000


def answer(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = BODY) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([status, b"Content-Type: application/json", length, *lines, b"", body])


class Parsed:
    """What the parser makes of a piece, as the engine has it: names in lower case, repeated headers joined."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.begun = self.complete = 0
        self.again = False
        self.keeps = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)
        self.status = self.parser.get_status_code()

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        word, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.again = self.again or word in self.headers
        self.headers[word] = text

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1
        self.keeps = self.parser.should_keep_alive()


def same_as_parsed(data: bytes) -> bool:
    """Whether it was read here; then it must have been read as the parser does, to its end and not beyond."""
    read = plain(data, MOST)
    if read is None:
        return False
    parsed = Parsed(data)
    assert (parsed.begun, parsed.complete, parsed.again) == (1, 1, False)
    assert read == (parsed.status, parsed.headers, parsed.body)
    assert parsed.keeps and len(parsed.body) <= MOST
    assert not {"transfer-encoding", "content-encoding", "upgrade", "trailer"} & set(parsed.headers)
    return True


@pytest.mark.parametrize("data", [
    answer(),
    answer(body=b""),
    answer(b"Date: Sun, 22 Nov 2026 13:00:00 GMT", b"X-RateLimit-Remaining: 41", b"Connection: keep-alive"),
    answer(b"CONNECTION:Keep-Alive", b"x-empty:", b"x-empty-too: "),
    answer(status=b"HTTP/1.1 404 Not Found"),
    answer(status=b"HTTP/1.1 503 Service Unavailable"),
    answer(status=b"HTTP/1.1 299 I'm Odd"),
    answer(*(b"x-%d: y" % number for number in range(LINES - 2))),
])  # fmt: skip
def test_what_is_plain_is_read_as_the_parser_reads_it(data: bytes) -> None:
    assert same_as_parsed(data)
    assert same_as_parsed(data), "and once more, with lines that are known"


OTHERS = {
    "the head does not end": answer()[:40],
    "the body does not end": answer()[:-1],
    "more than one answer": answer() + b"H",
    "two answers": answer() + answer(),
    "no length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY,
    "two lengths": answer(b"Content-Length: %d" % len(BODY)),
    "another length": answer(b"content-length: 1"),
    "a length with a sign": answer().replace(b"Content-Length: ", b"Content-Length: +"),
    "a length with a zero": answer().replace(b"Content-Length: ", b"Content-Length: 0"),
    "too large": answer(body=b"x" * (MOST + 1)),
    "chunked": answer(b"Transfer-Encoding: chunked"),
    "compressed": answer(b"Content-Encoding: gzip"),
    "an upgrade": answer(b"Upgrade: websocket"),
    "a trailer": answer(b"Trailer: x"),
    "closes": answer(b"Connection: close"),
    "closes, among others": answer(b"Connection: keep-alive, close"),
    "HTTP/1.0": answer(status=b"HTTP/1.0 200 OK"),
    "no content": answer(status=b"HTTP/1.1 204 No Content", body=b""),
    "not modified": answer(status=b"HTTP/1.1 304 Not Modified", body=b""),
    "a redirect": answer(status=b"HTTP/1.1 302 Found"),
    "an interim answer": answer(status=b"HTTP/1.1 100 Continue"),
    "no such status": answer(status=b"HTTP/1.1 600 Odd"),
    "a header twice": answer(b"X-A: 1", b"x-a: 2"),
    "a folded header": answer(b"X-A: 1", b" and more"),
    "a space before the colon": answer(b"X-A : 1"),
    "a header without a name": answer(b": 1"),
    "no header": answer(b"x"),
    "a bare line feed": answer(b"X-A: 1\nX-B: 2"),
    "a bare carriage return": answer(b"X-A: 1\rX-B: 2"),
    "a control character": answer(b"X-A: \x01"),
    "no ASCII": answer(b"X-A: \xe9"),
    "a blank at the end": answer(b"X-A: 1 "),
    "a line too long": answer(b"X-A: " + b"y" * plain_answers.LINE),
    "a reason too long": answer(status=b"HTTP/1.1 200 " + b"y" * plain_answers.LINE),
    "too many headers": answer(*(b"x-%d: y" % number for number in range(LINES))),
    "something before it": b"\r\n" + answer(),
    "nothing": b"",
    "an end and nothing else": b"\r\n\r\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_for_the_parser(name: str) -> None:
    assert plain(OTHERS[name], MOST) is None


LINES_OF = st.sampled_from([
    b"Date: x", b"X-A: 1", b"x-a: 2", b"X-B:", b"Connection: keep-alive", b"Connection: close", b"X-C:  two", b"X\x00: 1",
    b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"X-D: \xff", b"Keep-Alive: 5", b"",
])  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    status=st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 429 Too Many Requests", b"HTTP/1.1  200 OK"]),
    lines=st.lists(LINES_OF, max_size=6), body=st.sampled_from([b"", b"{}", BODY]), at=st.integers(0, 200),
    byte=st.integers(0, 255), how=st.sampled_from(["as it is", "replaced", "inserted", "left out", "cut"]),
)  # fmt: skip
@example(status=b"HTTP/1.1 200 OK", lines=[], body=BODY, at=0, byte=0, how="as it is")
def test_whatever_is_read_here_the_parser_reads_to_the_same_result(
    status: bytes, lines: list[bytes], body: bytes, at: int, byte: int, how: str
) -> None:
    data = answer(*lines, status=status, body=body)
    at %= len(data)
    spoilt = {
        "as it is": data, "replaced": data[:at] + bytes([byte]) + data[at + 1 :], "left out": data[:at] + data[at + 1 :],
        "inserted": data[:at] + bytes([byte]) + data[at:], "cut": data[:at],
    }[how]  # fmt: skip
    read = same_as_parsed(spoilt)
    if how == "as it is" and not lines and status == b"HTTP/1.1 200 OK":
        assert read


def test_lines_that_are_remembered_are_bounded() -> None:
    for number in range(3 * plain_answers._REMEMBERED):
        assert plain(answer(b"X-Number: %d" % number), MOST) is not None
    assert len(plain_answers._fields) <= plain_answers._REMEMBERED + LINES
    assert same_as_parsed(answer(b"X-Number: 1"))
