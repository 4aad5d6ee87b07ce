"""Checks of the whole way: the gateway's own connection, over a real socket, to the adapter's stand-in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from gateway.config import ConnectionConfig
from gateway.connections import Connection
from gateway.errors import Problem
from gateway.listing import Lister, Listing, Wanted
from gateway.loop_time import deadline_in
from gateway.opportunities import Ask, Opportunities
from gateway.strict_json import Json, dumps
from gateway.testing.kit import Faults, Kit
from gateway.testing.promised import (
    everything,
    native_filters_are_the_gateways,
    raw_lists_are_whole,
    sorts_are_as_declared,
)
from gateway.testing.replay import Unwatched
from gateway.testing.sandbox import SandboxServer, load_sandbox

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_T = TypeVar("_T")
_PAGES = 400


class _Witness:
    """Stands in front of a stand-in and remembers each request's address and headers."""

    def __init__(self, app: "ASGIApp") -> None:
        self.prefix = getattr(app, "prefix", "")
        self.addresses: list[str] = []
        self.headers: list[str] = []
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            path = scope.get("raw_path") or scope["path"].encode()
            self.addresses.append(f"{path.decode('latin-1')}?{scope['query_string'].decode('latin-1')}")
            self.headers.append(" ".join(value.decode("latin-1") for _, value in scope["headers"]))
        await self._app(scope, receive, send)


def over(kit: Kit, work: Callable[[Opportunities], Awaitable[_T]], key: str | None = None) -> tuple[_T, _Witness]:
    """What `work` comes to over a connection to a fresh stand-in; `key` is the gateway's, if not the right one."""
    target = kit.adapter_class.sandbox
    assert target is not None
    witness = _Witness(load_sandbox(target, kit.key, kit.settings))
    adapter = kit.adapter_class

    async def connected() -> _T:
        config = ConnectionConfig(
            name="whole-way", provider=adapter.name, adapter=adapter, base_url=server.url,
            settings=adapter.Settings.model_validate(kit.settings), stages=kit.stages, budget=None,
        )  # fmt: skip
        connection = Connection(config, server.url, kit.key if key is None else key)
        connection.drift = Unwatched(config.name)
        try:
            return await work(Opportunities(connection))
        finally:
            await connection.aclose()

    with SandboxServer(witness) as server:
        return asyncio.run(connected()), witness


def new_ask() -> Ask:
    """What a caller wants who wants nothing special, with time enough for a stand-in."""
    return Ask(deadline_in(20))


async def _list(opportunities: Opportunities, limit: int, cursor: str | None = None) -> Listing:
    return await Lister(opportunities, Wanted(limit, cursor), new_ask()).page()


async def _all(opportunities: Opportunities, limit: int) -> list[str]:
    ids: list[str] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        listing = await _list(opportunities, limit, cursor)
        ids += [record["id"] for record in listing.data]
        cursor = listing.next_cursor
        if cursor is None:
            return ids
    raise AssertionError(f"a list by pages of {limit} has not ended after {_PAGES} pages")


def a_listed_record_can_be_got(kit: Kit) -> Faults:
    """The first record of a list is there by its id, whole, and says the same as far as the list told."""

    async def work(opportunities: Opportunities) -> tuple[dict[str, Json], dict[str, Json]]:
        listed = (await _list(opportunities, 1)).data[0]
        return listed, (await opportunities.get(listed["native_id"], new_ask())).data

    (listed, got), witness = over(kit, work)
    if not got["complete"]:
        yield "get: the record says that it is not complete"
    for name, value in listed.items():
        if name not in ("complete", "extensions") and not _contains(got.get(name), value):
            yield f"{name}: the list says {value!r}, get says {got.get(name)!r}"
    if any(kit.key in unquote(address) for address in witness.addresses):
        yield "the key is in the address of a request"
    credentials = kit.adapter.headers(kit.key).values()
    if not all(value in headers for headers in witness.headers for value in credentials):
        yield "a request went out without the key in a header"


def _contains(whole: Json, thin: Json) -> bool:
    """Whether a thin value contradicts nothing in the whole one; a part that only the list tells contradicts nothing."""
    if isinstance(whole, dict) and isinstance(thin, dict):
        return all(name not in whole or _contains(whole[name], value) for name, value in thin.items())
    if isinstance(whole, list) and isinstance(thin, list):
        return len(whole) == len(thin) and all(_contains(one, other) for one, other in zip(whole, thin, strict=True))
    return bool(whole == thin) or thin is None


def lists_are_whole_and_without_repeats(kit: Kit) -> Faults:
    """Small pages and large ones come to the same records, each once, none left out, filtered and in order as declared."""

    async def work(opportunities: Opportunities) -> tuple[list[list[str]], list[str]]:
        sizes = 7, opportunities.adapter.limits.page
        walks = [await _all(opportunities, limit) for limit in sizes]
        faults = [fault for size in sizes for fault in await raw_lists_are_whole(opportunities, size, new_ask())]
        records = await everything(opportunities, new_ask())
        faults += await native_filters_are_the_gateways(opportunities, records, new_ask())
        return walks, faults + await sorts_are_as_declared(opportunities, records, new_ask())

    ((small, large), faults), _ = over(kit, work)
    yield from faults
    for ids, size in ((small, "small"), (large, "large")):
        if len(set(ids)) < len(ids):
            yield f"the list by {size} pages repeats {sorted({one for one in ids if ids.count(one) > 1})[:3]}"
    if set(small) != set(large):
        yield f"{len(set(small) ^ set(large))} records come by pages of one size and not of another"
    if not small:
        yield "the stand-in has no records to list"


def what_is_written_is_read_back(kit: Kit) -> Faults:
    """Create, update and delete, as far as declared: the record read again has what was sent, and the rest is untouched."""
    operations = kit.adapter.operations()
    if "create" not in operations and "update" not in operations:
        return

    async def work(opportunities: Opportunities) -> list[str]:
        faults: list[str] = []
        if "create" in operations:
            made = await opportunities.create({"name": "Contract Kit"}, new_ask())
            native = made.data["native_id"]
            if made.data.get("name") != "Contract Kit" or made.meta["applied"] != ["name"]:
                faults.append(f"create: {made.data.get('name')!r}, applied {made.meta['applied']}")
            faults += _thin("create", made.data, (await opportunities.get(native, new_ask())).data)
        else:
            native = (await _list(opportunities, 1)).data[0]["native_id"]
        if "update" in operations:
            faults += await _update(opportunities, native)
        if "delete" in operations and "create" in operations:
            await opportunities.delete(native, new_ask())
            for again in (opportunities.get(native, new_ask()), opportunities.delete(native, new_ask())):
                code = await _code(again)
                if code != "not-found":
                    faults.append(f"delete: asked again about the deleted record the answer is {code}, not not-found")
        return faults

    faults, _ = over(kit, work)
    yield from faults


async def _update(opportunities: Opportunities, native: str) -> list[str]:
    writable = opportunities.adapter.table.writable(opportunities.adapter.writes["update"])
    faults: list[str] = []
    values = {
        "name": "Contract Kit, \u00e9 e\u0301",
        "description": "two\nlines",
        "expected_close": {"on": "2031-05-07"},
    }
    for name, value in values.items():
        if not any(path.split(".")[0] == name for path in writable):
            continue
        before = (await opportunities.get(native, new_ask())).data
        answer = await opportunities.update(native, {name: value}, new_ask())
        if answer.meta["applied"] != [name]:
            faults.append(f"update {name}: applied {answer.meta['applied']}, not applied {answer.meta['not_applied']}")
        after = (await opportunities.get(native, new_ask())).data
        faults += _thin("update", answer.data, after)
        if not _contains(after.get(name), value):
            faults.append(f"update {name}: read again it is {after.get(name)!r}")
        touched = [
            one for one in before
            if one not in (name, "updated_at", "extensions", "contacts") and dumps(before[one]) != dumps(after.get(one))
        ]  # fmt: skip
        if touched:
            faults.append(f"update {name}: {touched} changed too")
    return faults


def _thin(operation: str, answer: Mapping[str, Json], got: Mapping[str, Json]) -> list[str]:
    """What the record has and the answer to the write has not, although nobody read it again."""
    lost = [name for name, value in got.items() if value not in (None, [], {}) and answer.get(name) in (None, [], {})]
    if not lost:
        return []
    return [
        f"{operation}: its answer lacks {', '.join(lost)}, which get tells; is it the whole record, as `whole` says?"
    ]


async def _code(work: Awaitable[object]) -> str:
    try:
        await work
    except Problem as problem:
        return problem.code
    return "a success"


def unknown_ids_and_wrong_keys_are_told(kit: Kit) -> Faults:
    """An id that no record has: not-found. A wrong key: provider-auth-failed, without the key in what is told."""

    async def unknown(opportunities: Opportunities) -> str:
        return await _code(opportunities.get("contract-kit-no-such-record", new_ask()))

    code, _ = over(kit, unknown)
    if code != "not-found":
        yield f"get of an unknown id: {code}, not not-found"
    wrong = "wrong-" + kit.key[::-1]

    async def refused(opportunities: Opportunities) -> Problem | None:
        try:
            await _list(opportunities, 1)
        except Problem as problem:
            return problem
        return None

    problem, _ = over(kit, refused, key=wrong)
    if problem is None:
        yield "a wrong key is taken"
        return
    if problem.code != "provider-auth-failed":
        yield f"a wrong key: {problem.code}, not provider-auth-failed"
    if wrong in f"{problem!r} {problem}" or wrong.encode() in dumps(problem.body()):
        yield "a wrong key: it is repeated in the problem"
