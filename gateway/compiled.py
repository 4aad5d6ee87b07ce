"""A table's reading compiled: one Python function for each object of it, for records with nothing the matter.

`gateway.reading` says what reading means, step by step, for any record. Most records need little of that: each object that
the table knows is an object, null or left out, and each value is one that its codec reads. For these the steps are written
out once as source, slots as local variables and the codecs of single values as tests of a type, and compiled:

    def read(record, extensions, missing, at):
        if type(record) is not dict or not record: raise Doubtful
        odd = gap = False
        try:
            s0 = record['id']
            o1 = record['stage']
        except KeyError:
            s0 = record.get('id', MISSING)
            ...
        if type(o1) is dict and o1:
            ...
        elif o1 is None: s1 = s2 = None
        elif o1 is MISSING: s1 = s2 = MISSING
        else: raise Doubtful
        if odd: keep_unknown(record, tree, pointer_of(at), extensions)
        if type(s0) is not str and s0 is not None:
            if s0 is not MISSING: raise Doubtful
            gap = True
            missing.append(missing_3)
        ...
        out = {'native_id': s0, 'stage': v7, ...}

What it gives is what the interpreter gives, with members in the same order. Anything else that it meets it leaves to that:
it raises, and the record is read from its start in the other way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from types import CodeType
from typing import TYPE_CHECKING, Any, Literal

from gateway.codecs import MISSING, anything, flag, text, whole_number
from gateway.fields import Group, Leaf, Many, Nothing
from gateway.planned import Doubtful, Plan, gapped, keep_unknown, known_in, lacks, pointer_of, without_gaps

if TYPE_CHECKING:
    from gateway.reading import Level, Place, Step


_MANY = 5
"""So many members are taken out of an object by one call."""
_TYPES = ((text, "str"), (flag, "bool"), (whole_number, "int"))
"""Codecs that are no more than a test of a type."""


def compiled(level: "Level") -> Plan:
    """What reads a record of this level. Raises `Doubtful`, or what a codec raises, where the interpreter has to."""
    return _Function(level, top=True).made()


_COMMON = {
    "MISSING": MISSING, "Doubtful": Doubtful, "keep_unknown": keep_unknown, "pointer_of": pointer_of, "lacks": lacks,
    "without_gaps": without_gaps, "gapped": gapped,
}  # fmt: skip
"""What every function names."""


@lru_cache(maxsize=64)
def _code(source: str) -> CodeType:
    """Tables of one form have the same code: all in which they differ comes from outside it."""
    return compile(source, "<compiled table>", "exec")


@dataclass(frozen=True, slots=True)
class _Part:
    """A member of a group: the expression of its value, and what that may be besides a value."""

    name: str
    value: str
    counts: bool
    gap: Literal["", "told", "free"] = "told"
    """Whether it may be MISSING, and whether the variable `gap` tells when it is."""
    empty: bool = True
    """Whether it may be an empty list."""


class _Function:
    """The source of one level's function, line by line, and the objects that it names."""

    def __init__(self, level: "Level", top: bool) -> None:
        self.level, self.top = level, top
        self.names: dict[str, Any] = dict(_COMMON)
        self.lines: list[str] = []
        self.depth = 0
        self.rarely = _rarely(level.steps)
        self.also = _alone(level.also, level.root)
        self.tested: dict[str, tuple[str, bool]] = {}
        """Variables that have been tested already: for which type, and whether null was good as well."""

    def made(self) -> Plan:
        with self.block("def read(record, extensions, missing, at):"):
            self.line("if type(record) is not dict or not record: raise Doubtful")
            self.line("odd = gap = False")
            self.scatter(self.level.root, "record")
            tree = self.name("tree", known_in(self.level.root))
            keep = f"keep_unknown(record, {tree}, pointer_of(at), extensions)"
            if self.also is None:
                self.line(f"if odd: {keep}")
            else:
                self.line(f"if odd or type(also) is dict or type(also) is list: {keep}")
                self.line(f"elif also is not MISSING: extensions[pointer_of(at) + {'/' + self.also!r}] = also")
            parts = [self.part(step) for step in self.level.steps]
            self.line(f"out = {_literal(parts)}")
            self.line(f"return without_gaps(out) if {_gap(parts)} else out")
        exec(_code("\n".join(self.lines)), self.names)
        plan: Plan = self.names["read"]
        return plan

    def line(self, line: str) -> None:
        self.lines.append(" " * self.depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def name(self, kind: str, value: object) -> str:
        """A name for an object in the source."""
        name = f"{kind}_{len(self.names)}"
        self.names[name] = value
        return name

    # --- scatter: the record's places into local variables

    def scatter(self, place: "Place", record: str) -> None:
        """What lies in one object: its values, then the objects within. `odd` where a member is none of the known."""
        objects: list[tuple[str, Place]] = []
        sure: list[tuple[str, str, str]] = []
        perhaps: list[tuple[str, str, str]] = []
        for key, child in place.children.items():
            if child.slot is not None:
                (perhaps if child.slot in self.rarely else sure).append((f"s{child.slot}", key, "MISSING"))
            else:
                objects.append((self.name("o", child), child))
                (perhaps if self.rarely.issuperset(child.under) else sure).append((objects[-1][0], key, "MISSING"))
        form = [(self.name("f", key), key, "''") for key in sorted(place.form - set(place.children))]
        if place is self.level.root and self.also is not None:
            perhaps.append(("also", self.also, "MISSING"))
        self.members(record, sure + form, perhaps)
        for variable, _, _ in form:
            self.line(f"if type({variable}) is not str: odd = True")
        for variable, child in objects:
            self.interior(variable, child)

    def members(self, record: str, sure: list[tuple[str, str, str]], perhaps: list[tuple[str, str, str]]) -> None:
        """Members into variables. Those that are nearly always there are asked for outright, which is quicker."""
        known = self.name("known", frozenset(key for _, key, _ in sure + perhaps))
        strangers = f"not {known}.issuperset({record})"
        most = len(sure) + len(perhaps)
        if sure:
            with self.block("try:"):
                if len(sure) < _MANY:
                    for variable, key, _ in sure:
                        self.line(f"{variable} = {record}[{key!r}]")
                else:
                    take = self.name("take", itemgetter(*(key for _, key, _ in sure)))
                    self.line(f"{', '.join(variable for variable, _, _ in sure)} = {take}({record})")
            with self.block("except KeyError:"):
                for variable, key, default in sure:
                    self.line(f"{variable} = {record}.get({key!r}, {default})")
                self.line(f"if {strangers}: odd = True")
            with self.block("else:"):
                self.line(f"if len({record}) != {len(sure)} and (len({record}) > {most} or {strangers}): odd = True")
        else:
            self.line(f"if {strangers}: odd = True")
        for variable, key, default in perhaps:
            self.line(f"{variable} = {record}.get({key!r}, {default})")

    def interior(self, variable: str, place: "Place") -> None:
        slots = " = ".join(f"s{slot}" for slot in place.under)
        with self.block(f"if type({variable}) is dict and {variable}:"):
            self.scatter(place, variable)
        for told in ("None", "MISSING"):
            self.line(f"elif {variable} is {told}: {slots} = {told}" if slots else f"elif {variable} is {told}: pass")
        self.line("else: raise Doubtful")

    # --- gather: the canonical values out of them

    def part(self, step: "Step") -> _Part:
        """The lines that make one member's value, and the expression of it."""
        match step.node:
            case Leaf() as leaf if leaf.fixed:
                return _Part(step.name, self.constant(leaf.row.value), False, gap="")
            case Leaf() as leaf:
                return self.leaf(step, leaf)
            case Nothing(_, many):
                return _Part(step.name, "[]" if many else "None", False, gap="")
            case Group():
                return _Part(step.name, self.group(step), True, empty=False)
            case Many(items) as many_:
                return _Part(step.name, self.single(step) if items.pointer is None else self.many(step, many_), True)

    def constant(self, value: object) -> str:
        return repr(value) if value is None or type(value) in (bool, str) else self.name("const", value)

    def leaf(self, step: "Step", leaf: Leaf) -> _Part:
        row, codec = leaf.row, leaf.row.codec
        assert codec is not None  # a row with a path has one
        if row.joint:
            return _Part(step.name, self.joint(step, leaf), True, gap=self.gap(row.default))
        raw = self.first(step)
        gap = self.gap(row.default)
        simple = next((name for own, name in _TYPES if own.decode is codec.decode), None)
        if simple is None and codec.decode is not anything.decode:
            value = self.name("v", step)
            decode = self.name("decode", codec.decode)
            with self.block(f"if {raw} is MISSING:"):
                self.lacks(step, row.optional)
                self.line(f"{value} = {self.missing_value(row.default)}")
            if leaf.nullable:
                self.line(f"elif {raw} is None: {value} = None")
            self.line(f"else: {value} = {decode}({raw})")
            return _Part(step.name, value, True, gap="free")  # whatever a codec gives
        if row.default is not MISSING:  # the raw value may be another row's too
            self.line(f"{(value := self.name('v', step))} = {raw}")
            raw = value
        if simple is not None and self.tested.get(raw) in ((simple, False), (simple, leaf.nullable)):
            with self.block(f"if gap and {raw} is MISSING:"):  # that is all that is left to ask
                self.lacks(step, row.optional)
            return _Part(step.name, raw, True, gap, empty=False)
        if simple is not None:
            if row.default is MISSING:
                self.tested[raw] = simple, leaf.nullable
            odd = f"type({raw}) is not {simple}" + (f" and {raw} is not None" if leaf.nullable else "")
            head = f"if {odd}:"
        else:
            head = f"if {raw} is MISSING:"
        with self.block(head):
            if simple is not None:
                self.line(f"if {raw} is not MISSING: raise Doubtful")
            self.lacks(step, row.optional)
            if row.default is not MISSING:
                self.line(f"{raw} = {self.missing_value(row.default)}")
        return _Part(step.name, raw, True, gap, empty=simple is None or row.default == [])

    def gap(self, default: object) -> Literal["", "told"]:
        return "told" if default is MISSING else ""

    def missing_value(self, default: object) -> str:
        return "MISSING" if default is MISSING else self.constant(default)

    def lacks(self, step: "Step", optional: bool, slot: int | None = None) -> None:
        """Tell that a member is not there, unless nobody needs it."""
        pointer = self.level.pointers[step.slots[0] if slot is None else slot]
        self.line("gap = True")
        if optional:
            return
        if self.top:
            self.line(f"missing.append({self.name('missing', (step.path, pointer))})")
        else:
            self.line(f"missing.append(lacks(at, {step.path!r}, {pointer!r}))")

    def first(self, step: "Step") -> str:
        """The slot of a leaf, or the first of several that is told; two that differ are not for here."""
        first, *others = (f"s{slot}" for slot in step.slots)
        if not others:
            return first
        raw = self.name("first", step)
        self.line(f"{raw} = {first}")
        for other in others:
            self.line(f"if {raw} is MISSING: {raw} = {other}")
            self.line(f"elif {other} is not MISSING and {other} != {raw}: raise Doubtful")
        return raw

    def joint(self, step: "Step", leaf: Leaf) -> str:
        assert leaf.row.codec is not None
        slots = [f"s{slot}" for slot in step.slots]
        value = self.name("v", step)
        self.line(f"{value} = {self.name('decode', leaf.row.codec.decode)}({', '.join(slots)})")
        with self.block(f"if {value} is MISSING:"):
            self.line("gap = True")
            if not leaf.row.optional:
                with self.block(f"if {' and '.join(f'{slot} is MISSING' for slot in slots)}:"):
                    self.lacks(step, False)
            self.line(f"{value} = {self.missing_value(leaf.row.default)}")
        return value

    def group(self, step: "Step") -> str:
        parts = [self.part(part) for part in step.steps]
        counted = [part for part in parts if part.counts]
        if not counted:
            self.line("gap = True")
            return "MISSING"
        value, literal = self.name("v", step), _literal(parts)
        names = self.name("counted", tuple(part.name for part in counted))
        nothing = " and ".join(
            f"({part.value} is None or {part.value} == [])" if part.empty else f"{part.value} is None"
            for part in counted
        )
        with self.block(f"if {_gap(parts)}:"):
            self.line("gap = True")
            self.line(f"{value} = gapped({literal}, {names}, {step.null!r})")
        self.line(f"elif {nothing}: {value} = None")
        self.line(f"else: {value} = {literal}")
        return value

    def single(self, step: "Step") -> str:
        group, value = self.group(step), self.name("v", step)
        self.line(f"{value} = [] if {group} is None else MISSING if {group} is MISSING else [{group}]")
        return value

    def many(self, step: "Step", node: Many) -> str:
        value, raw = self.name("v", step), f"s{step.slot}"
        read = self.name("read", _Function(self.level.inner[id(node)], top=False).made())
        where = f"(at, {node.items.pointer!r}, {step.path!r}, index)"
        with self.block(f"if type({raw}) is {'dict' if node.items.entries else 'list'}:"):
            self.line(f"{value} = []")
            if node.items.entries:
                with self.block(f"for index, (key, inner) in enumerate({raw}.items()):"):
                    self.line("element = {'key': key, 'value': inner}")
                    self.line(f"{value}.append({read}(element, extensions, missing, {where}))")
            else:
                with self.block(f"for index, element in enumerate({raw}):"):
                    self.line(f"{value}.append({read}(element, extensions, missing, {where}))")
        self.line(f"elif {raw} is None: {value} = []")
        with self.block(f"elif {raw} is MISSING:"):
            self.lacks(step, node.items.optional, step.slot)
            self.line(f"{value} = MISSING")
        self.line("else: raise Doubtful")
        return value


def _alone(also: tuple[str, ...], place: "Place") -> str | None:
    """The one member that no row names and that is known to come: kept without looking for others, which have an order."""
    if len(also) != 1 or also[0].count("/") != 1 or "~" in also[0] or also[0] == "/*":
        return None
    key = also[0][1:]
    return None if key in place.children or key in place.form else key


def _literal(parts: Sequence[_Part]) -> str:
    return "{" + ", ".join(f"{part.name!r}: {part.value}" for part in parts) + "}"


def _gap(parts: Sequence[_Part]) -> str:
    """Whether a part is not told, as an expression."""
    told = " or ".join(f"{part.value} is MISSING" for part in parts if part.gap == "told")
    free = [f"{part.value} is MISSING" for part in parts if part.gap == "free"]
    return " or ".join([f"gap and ({told})"] * bool(told) + free) or "False"


def _rarely(steps: "Sequence[Step]") -> set[int]:
    """The slots of second places: most records tell the first, and so have none of these."""
    found: set[int] = set()
    for step in steps:
        if type(step.node) is Leaf and not step.node.row.joint:
            found.update(step.slots[1:])
        found |= _rarely(step.steps)
    return found
