"""Spott as a stand-in: the sandbox's first records, read, listed and updated. It has no create and no delete."""

import base64
import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from adapters.spott import sandbox_seeds as seeds
from tests.rig.plain_http import Json, Request
from tests.rig.stand_in import Applied, Refused, Settings


class Spott:
    """Wrapped records, a cursor over the order of modification, an update that answers with nothing."""

    provider = "spott"
    tells_budget = False

    def __init__(self, applied: Applied) -> None:
        self._applied = applied
        self._records = {str(seed.record["id"]): seed.record for seed in seeds.seeds()}
        self._modified = {str(seed.record["id"]): (seed.modified, 0.0) for seed in seeds.seeds()}
        """When each was modified: (as told, as `lag` counts)."""
        self._stages = {str(row["id"]): row for row in seeds.stages()}
        self._known = {
            "stage": {id_: seeds.stage_of(row) for id_, row in self._stages.items()},
            "owner": {str(row["userId"]): seeds.owner_of(row) for row in seeds.users()},
            "company": {str(row["id"]): row for row in seeds.companies()},
        }

    def answer(self, request: Request, settings: Settings, now: float) -> tuple[int, Json, str]:
        """Route and run."""
        match (request.method, request.path.strip("/").split("/")):
            case ("GET", ["opportunities"]):
                return 200, self._list(dict(parse_qsl(request.query)), settings, now), "list"
            case ("GET", ["opportunities", id_]):
                return 200, self._found(id_), "get"
            case ("PATCH", ["opportunities", id_]):
                self._update(id_, json.loads(request.body), now)
                return 200, None, "update"
            case ("GET", ["pipeline", "opportunities", "stages"]):
                return 200, {"stages": list(self._stages.values())}, "stages"
            case ("GET", ["users", "_list"]):
                return 200, {"users": seeds.users()}, "users"
            case _:
                raise Refused(404, "NOT_FOUND", "Not found")

    def refusal(self, refused: Refused) -> Json:
        """`{"message", "status", "requestId"}`."""
        return {"message": refused.message, "status": refused.status, "requestId": "req_of_the_rig"}

    def _found(self, id_: str) -> dict[str, Json]:
        if id_ not in self._records:
            raise Refused(404, "NOT_FOUND", "Opportunity not found")
        return self._records[id_]

    def _list(self, given: dict[str, str], settings: Settings, now: float) -> Json:
        limit = int(given.get("limit", "25"))
        after = base64.b64decode(given["cursor"]).decode().split("|") if "cursor" in given else None
        rows = sorted(
            (modified.isoformat(), id_)
            for id_, (modified, at) in self._modified.items()
            if at <= now - settings.lag and ("modifiedSince" not in given or modified >= _time(given["modifiedSince"]))
        )
        rows = [row for row in rows if after is None or list(row) > after]
        page, more = rows[:limit], len(rows) > limit
        items = [
            {name: value for name, value in self._records[id_].items() if name != "customAttributes"} for _, id_ in page
        ]
        cursor = base64.b64encode("|".join(page[-1]).encode()).decode() if more else None
        return {"items": items, "pageInfo": {"nextCursor": cursor, "hasNextPage": more}}

    def _update(self, id_: str, given: dict[str, Json], now: float) -> None:
        record = self._found(id_)
        changes = {}
        for member, value in given.items():
            name = member.removesuffix("Id")
            if name == member:
                changes[name] = value
            elif value is None:
                changes[name] = None
            elif value in self._known.get(name, {}):
                changes[name] = self._known[name][value]
            else:
                raise Refused(400, "NOT_FOUND", f"{member} is not known")
        for name, value in changes.items():
            record[name] = {**record[name], name: value}
        self._modified[id_] = (datetime.now(UTC), now)
        inner = record["name"]
        assert isinstance(inner, dict)
        self._applied("update", id_, str(inner["name"]))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def listed_stages() -> list[str]:
    """Ids of the stages that there are."""
    return [str(row["id"]) for row in seeds.stages()]
