"""One Redis or Valkey server: asking it within a time, once, and what its refusals mean. No text names its address."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.state.store import StateUnavailable, StateUnusable, UnsafeStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONNECTIONS = 64
NO_PACKAGE = "a redis:// state store needs one more package: pip install 'crm-gateway[redis]'"


_NO_ANSWER = "answers what is no answer of Redis or Valkey"
_NONSENSE = (ValueError, LookupError, TypeError, AttributeError)


class Refused(StateUnavailable):
    """The server answered, with an error."""


class NotAllowed(Refused, StateUnusable):
    """The server does not let us in, or not do what is needed."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is, and the prefix of all our keys on it."""

    host: str
    port: int
    database: int
    prefix: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False


class RedisServer:
    """A server that is asked each thing once, and for `wait` seconds at most, connecting included."""

    def __init__(self, address: RedisAddress, wait: float) -> None:
        self._address, self._wait = address, wait
        self._client: Redis | None = None
        self._turns = asyncio.Semaphore(_CONNECTIONS)  # first come, first served, which the pool of redis-py is not
        self._closed = False
        self._letting_go = False

    async def run(self, script: str, *arguments: str | bytes | int | float) -> Any:
        """What the script results in."""
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self.ask("EVALSHA", digest, 0, self._address.prefix, *arguments)
        except Refused as error:
            if "NOSCRIPT" not in str(error):
                raise
        # It does not know the script, so it has done nothing.
        return await self.ask("EVAL", script, 0, self._address.prefix, *arguments)

    async def ask(self, *command: str | bytes | int | float) -> Any:
        """What the server answers to one command. Raises `StateUnavailable`: it may have been carried out nevertheless."""
        client = self._connected()
        from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError, ResponseError

        try:
            async with asyncio.timeout(self._wait), self._turns:
                return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's
        except TimeoutError:
            text, kind = "did not answer in time", StateUnavailable
        except asyncio.CancelledError:
            if _is_for_us():
                raise
            text, kind = "cannot be reached", StateUnavailable
        except AuthenticationError:
            text, kind = "refuses the user name or password", NotAllowed
        except NoPermissionError:
            text, kind = "does not allow this user what is needed", NotAllowed
        except NoScriptError:
            text, kind = "refuses: NOSCRIPT", Refused
        except ResponseError as error:
            text, kind = f"refuses{_word(error)}", Refused
        except (RedisError, OSError, RuntimeError) as error:  # RuntimeError: uvloop's, for a socket closed meanwhile
            late = type(error).__name__ == "TimeoutError"
            text, kind = "did not answer in time" if late else "cannot be reached", StateUnavailable
        except _NONSENSE:  # what redis-py makes of an answer that is none
            text, kind = _NO_ANSWER, StateUnavailable
        if kind is StateUnavailable:
            await self._let_go_of_idle(client)
        raise kind(f"the state server {text}") from None

    async def _let_go_of_idle(self, client: "Redis") -> None:
        """A connection was lost: the others that wait for work are lost too, or soon told to be. The next call has a new
        one, else each of them would fail a call."""
        if self._letting_go:
            return
        self._letting_go = True
        try:
            async with asyncio.timeout(0.01):
                await client.connection_pool.disconnect(inuse_connections=False)
        except asyncio.CancelledError:
            if _is_for_us():
                raise
        except Exception:  # whatever it is, the next call will show it
            pass
        finally:
            self._letting_go = False

    async def check_settings(self) -> None:
        """That this server loses no claim. Raises `UnsafeStore`, with what to set, and `StateUnavailable`."""
        about = await self.ask("INFO")
        if not isinstance(about, Mapping):
            raise StateUnavailable(f"the state server {_NO_ANSWER}")
        if about.get("cluster_enabled"):
            raise UnsafeStore("the state server is part of a Redis Cluster: give it a single server")
        if about.get("role") != "master":
            raise UnsafeStore("the state server is a replica: give the address of the one that is written to")
        if not about.get("aof_enabled"):
            raise UnsafeStore("the state server loses claims when it stops: set appendonly yes and appendfsync always")
        if (policy := about.get("maxmemory_policy")) != "noeviction":
            raise UnsafeStore(
                f"the state server forgets claims when memory is short: set maxmemory-policy noeviction, not {policy}"
            )
        if (often := await self._setting("appendfsync")) != "always":
            raise UnsafeStore(
                f"the state server loses its last claims when it is cut off: set appendfsync always, not {often}"
            )
        if await self._setting("no-appendfsync-on-rewrite") != "no":
            raise UnsafeStore(
                "the state server loses its last claims when it is cut off: set no-appendfsync-on-rewrite no"
            )

    async def _setting(self, name: str) -> str:
        try:
            answer = await self.ask("CONFIG GET", name)
        except Refused:
            raise UnsafeStore("the state server does not tell its settings: allow this user CONFIG GET") from None
        found = answer.get(name, answer.get(name.encode())) if isinstance(answer, Mapping) else None
        return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)

    def _connected(self) -> "Redis":
        if self._closed:
            raise StateUnavailable("the state server's connections are closed")
        if self._client is None:
            self._client = _client(self._address, self._wait)
        return self._client

    async def aclose(self) -> None:
        """Close all connections."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose(close_connection_pool=True)


def _is_for_us() -> bool:
    """Whether a cancellation is ours, and not of something that somebody else waited for as well and was cancelled in."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _client(address: RedisAddress, wait: float) -> "Redis":
    try:
        from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise StateUnusable(NO_PACKAGE) from None

    pool = ConnectionPool(
        connection_class=SSLConnection if address.tls else Connection,
        max_connections=_CONNECTIONS,
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.user,
        password=address.password,
        socket_timeout=wait,
        socket_connect_timeout=wait,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )
    return Redis(connection_pool=pool)


def _word(error: Exception) -> str:
    """The first word of the server's refusal, such as OOM or READONLY: the rest may show what was sent."""
    word = str(error).partition(" ")[0].rstrip(":")
    return f": {word}" if word.isalpha() and word.isupper() and len(word) <= 16 else ""


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Answers that are not of the kind that was asked for are `StateUnavailable`."""
    try:
        yield
    except _NONSENSE:
        raise StateUnavailable(f"the state server {_NO_ANSWER}") from None


def listed(answer: Any, length: int | None = None) -> list[Any]:
    """The answer, a list of so many. To be used within `understood`."""
    if not isinstance(answer, list) or length not in (None, len(answer)):
        raise ValueError
    return answer


def packed_in(answer: Any) -> bytes:
    """The answer, some bytes; none are empty ones. To be used within `understood`."""
    if not isinstance(answer, bytes | None):
        raise ValueError
    return answer or b""
