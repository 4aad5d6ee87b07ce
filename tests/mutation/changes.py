"""The places of a Python file where one small change can be made, and the file with that change in it.

Left alone: docstrings, sentences for people (texts with a blank between words), type hints, decorators, the names that
codecs have, `__all__` and `__slots__`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
_HINTS = ("annotation", "returns", "decorator_list", "type_params", "format_spec")
_NAMES = ("__all__", "__slots__")


@dataclass(frozen=True)
class Change:
    """One change: `number` is its place in the file's own order, `before` and `after` are code."""

    file: str
    number: int
    line: int
    scope: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.scope}: {self.before} -> {self.after}"


@dataclass
class _Swap:
    """A child of a node, and what is put in its stead."""

    parent: ast.AST
    field: str
    index: int | None
    old: ast.AST
    new: ast.AST

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


class Source:
    """One file, taken apart: `changes` in the order in which they stand in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._tree = ast.parse(text)
        self._swaps: list[_Swap] = []
        self.changes: list[Change] = []
        for scope, swap in _swaps(self._tree, ""):
            line: int = getattr(swap.old, "lineno", 0) or getattr(swap.parent, "lineno", 0)
            self.changes.append(Change(file, len(self.changes), line, scope or "module", *_shown_both(swap)))
            self._swaps.append(swap)

    def plain(self) -> str:
        """The file without a change, in the spelling that the changed ones have."""
        return ast.unparse(self._tree) + "\n"

    def changed(self, number: int) -> str:
        """The file with one change."""
        swap = self._swaps[number]
        swap.put(swap.new)
        try:
            return ast.unparse(ast.fix_missing_locations(self._tree)) + "\n"
        finally:
            swap.put(swap.old)


def _shown_both(swap: _Swap) -> tuple[str, str]:
    if isinstance(swap.old, ast.Call) and isinstance(swap.new, ast.Call):
        lost = next(one for one in swap.old.keywords if one not in swap.new.keywords)
        return f"{_shown(swap.old.func)}(…, {_shown(lost)})", "without it"
    return _shown(swap.old), _shown(swap.new)


def _shown(node: ast.AST) -> str:
    told = " ".join(ast.unparse(node).split())
    return told if len(told) <= 90 else f"{told[:89]}…"


def _swaps(parent: ast.AST, scope: str) -> Iterator[tuple[str, _Swap]]:
    for field, value in ast.iter_fields(parent):
        if field in _HINTS:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or _is_left_alone(parent, field, index, child):
                continue
            for new in (*_condition_turned(parent, field, child), *_instead(child)):
                yield scope, _Swap(parent, field, index, child, new)
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from _swaps(child, f"{scope}.{child.name}".lstrip(".") if named else scope)  # type: ignore[attr-defined]  # `named` says that it has one


def _is_left_alone(parent: ast.AST, field: str, index: int | None, child: ast.AST) -> bool:
    match parent, child:
        case _, ast.Expr(ast.Constant()):  # a docstring
            return True
        case _, ast.Assign([ast.Name(name)]) if name in _NAMES:
            return True
        case ast.Call(ast.Name("Codec")), ast.Constant() if field == "args" and index == 0:
            return True
        case _, ast.Assign(_, ast.Subscript(ast.Name("Literal"))):
            return True
        case _, ast.JoinedStr(values):
            return any(isinstance(part, ast.Constant) and " " in str(part.value) for part in values)
        case ast.Call(ast.Attribute(ast.Name("re"))), ast.Constant():
            return False
        case _, ast.Constant(str(text)):
            return _is_sentence(text)
    return False


def _is_sentence(text: str) -> bool:
    return " " in text.strip()


def _condition_turned(parent: ast.AST, field: str, child: ast.AST) -> Iterator[ast.expr]:
    """The opposite of a condition, where no other change says the same."""
    asked = field == "test" and isinstance(parent, ast.If | ast.While | ast.IfExp)
    if not (asked or (field == "ifs" and isinstance(parent, ast.comprehension))):
        return
    if not isinstance(child, ast.expr) or isinstance(child, ast.UnaryOp):
        return
    if not (isinstance(child, ast.Compare) and len(child.ops) == 1):
        yield ast.UnaryOp(ast.Not(), child)


def _instead(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, right):
            for place, op in enumerate(ops):
                for other in _COMPARISONS.get(type(op), ()):
                    yield ast.Compare(left, [*ops[:place], other(), *ops[place + 1 :]], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(operator)](), right)
        case ast.AugAssign(target, _, value):
            yield ast.Assign([target], value, lineno=node.lineno)
        case ast.Assign(targets, value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Assign(targets, ast.Constant(None), lineno=node.lineno)
        case ast.Call(called, given, named):
            for place, one in enumerate(named):
                if one.arg != "note":  # a sentence
                    yield ast.Call(called, given, [*named[:place], *named[place + 1 :]])
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Return(None) | ast.Raise() | ast.Expr(ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Constant(bool(truth)):
            yield ast.Constant(not truth)
        case ast.Constant(int(number)):
            yield ast.Constant(number + 1)
        case ast.Constant(str(text)):
            yield ast.Constant(f"{text}X")
