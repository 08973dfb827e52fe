"""Small defects to put into a module, one at a time: what its tests must notice. Pure: source in, syntax trees out."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The nearest wrong neighbour of each: that `<` was meant and `>=` stands there, any test notices.
_FLIPPED: dict[type[Any], type[Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_TURNED = {
    one: other
    for pair in (
        ("min", "max"),
        ("any", "all"),
        ("startswith", "endswith"),
        ("removeprefix", "removesuffix"),
        ("lstrip", "rstrip"),
        ("find", "rfind"),
        ("partition", "rpartition"),
        ("union", "intersection"),
    )
    for one, other in (pair, pair[::-1])
}
"""What is called for, and what would be called by somebody who looked the wrong way."""
_DELETED = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.Expr,
    ast.Raise,
    ast.Continue,
    ast.Break,
    ast.Delete,
    ast.For,
    ast.While,
)
_DECIDING = (ast.Compare, ast.BoolOp, ast.UnaryOp)
"""Conditions that have defects of their own."""
_SKIPPED = {"annotation", "returns", "decorator_list", "type_comment", "type_params"}
_UNTOLD = {"__repr__", "__str__"}
"""What is there for the eye."""


class Mutant(msgspec.Struct, frozen=True):
    """A module with a defect."""

    line: int
    where: str
    """The function, or the class, that has the defect."""
    told: str
    """What the defect is; no other in the same function is told so."""
    tree: Any


class _Site(msgspec.Struct, frozen=True):
    line: int
    where: str
    told: str
    change: Any


def mutants_of(source: str) -> Iterator[Mutant]:
    """Give the module with each defect in turn."""
    tree = ast.parse(source)
    seen = Counter[tuple[str, str]]()
    for number, site in enumerate(_Sites(tree).found):
        changed = copy.deepcopy(tree)
        _Sites(changed).found[number].change()
        seen[site.where, site.told] += 1
        count = seen[site.where, site.told]
        told = site.told if count == 1 else f"{site.told}, no. {count}"
        yield Mutant(site.line, site.where, told, ast.fix_missing_locations(changed))


class _Sites:
    """Every place for a defect, with the function that makes it."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[_Site] = []
        self._names: list[str] = []
        self._is_inside = False
        """In a function's body."""
        self._statement = ""
        self._line = 0
        self._visit_fields(tree)

    def _add(self, node: ast.AST, told: str, change: Callable[[], None]) -> None:
        line = getattr(node, "lineno", self._line)
        self.found.append(_Site(line, ".".join(self._names), told, change))

    def _visit_fields(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in _SKIPPED:
                continue
            if not isinstance(value, list):
                if isinstance(value, ast.AST):
                    self._visit(value, _attribute(node, name))
                continue
            for place, child in enumerate(value):
                if not isinstance(child, ast.AST) or _is_docstring(child):
                    continue
                self._enter_statement(child)
                if self._is_inside and _is_removable(child, is_last=place == len(value) - 1, of=node):
                    self._add(child, f"no `{_short(child)}`", _change(_item(value, place), ast.Pass()))
                self._visit(child, _item(value, place))

    def _enter_statement(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._line, self._statement = node.lineno, _short(node)

    def _visit(self, node: ast.AST, replace: Callable[[Any], None]) -> None:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
                return
            case ast.Assign(targets=[ast.Name(id="__slots__")]) | ast.Call(func=ast.Name(id="cast" | "ContextVar")):
                return
            case ast.ImportFrom() | ast.Import():
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if node.name not in _UNTOLD:
                    self._visit_named(node)
                return
            case _:
                for told, change in self._changes(node, replace):
                    self._add(node, told, change)
        if not isinstance(node, ast.JoinedStr):
            self._visit_fields(node)
            return
        for value in node.values:  # Its own words are for the eye, what is put between them is not.
            if isinstance(value, ast.FormattedValue):
                self._visit(value.value, _attribute(value, "value"))

    def _visit_named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        before = self._is_inside
        self._is_inside = not isinstance(node, ast.ClassDef)
        self._names.append(node.name)
        self._visit_fields(node)
        self._names.pop()
        self._is_inside = before

    def _changes(self, node: ast.AST, replace: Callable[[Any], None]) -> Iterator[tuple[str, Any]]:
        match node:
            case ast.Compare():
                for place, operator in enumerate(node.ops):
                    if flipped := _FLIPPED.get(type(operator)):
                        told = f"{type(operator).__name__} as {flipped.__name__} in `{_short(node)}`"
                        yield told, _change(_item(node.ops, place), flipped())
            case ast.BoolOp() | ast.BinOp() | ast.AugAssign():
                if flipped := _FLIPPED.get(type(node.op)):
                    told = f"{type(node.op).__name__} as {flipped.__name__} in `{_short(node)}`"
                    yield told, _change(_attribute(node, "op"), flipped())
            case ast.UnaryOp(op=ast.Not()):
                yield f"no not in `{_short(node)}`", _change(replace, _negated(node))
            case ast.UnaryOp(op=ast.USub()):
                yield f"no minus in `{_short(node)}`", _change(replace, node.operand)
            case ast.Constant():
                for other in _others(node.value):
                    yield f"{other!r} for {node.value!r} in `{self._statement}`", _change(replace, ast.Constant(other))
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                yield f"None for `{_short(value)}`", _change(_attribute(node, "value"), ast.Constant(None))
            case ast.Call(func=ast.Name(id=name)) if name in _TURNED:
                yield f"{_TURNED[name]} in `{_short(node)}`", _change(_attribute(node.func, "id"), _TURNED[name])
            case ast.Call(func=ast.Attribute(attr=name)) if name in _TURNED:
                yield f"{_TURNED[name]} in `{_short(node)}`", _change(_attribute(node.func, "attr"), _TURNED[name])
            case _:
                pass
        if isinstance(node, ast.BoolOp):
            for place, value in enumerate(node.values):
                left = [each for other, each in enumerate(node.values) if other != place]
                whole = left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
                yield f"without `{_short(value)}` in `{_short(node)}`", _change(replace, whole)
        yield from _conditions(node)


def _conditions(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Turn round a condition that is a plain value."""
    match node:
        case ast.If() | ast.While() | ast.IfExp():
            if not isinstance(node.test, _DECIDING):
                yield f"not `{_short(node.test)}`", _change(_attribute(node, "test"), _negated(node.test))
        case ast.comprehension():
            for place, test in enumerate(node.ifs):
                if not isinstance(test, _DECIDING):
                    yield f"not `{_short(test)}`", _change(_item(node.ifs, place), _negated(test))
        case _:
            return


def _others(value: object) -> tuple[Any, ...]:
    """Give what might stand there by mistake."""
    match value:
        case bool():
            return (not value,)
        case int() | float():
            return (value + 1, value - 1)
        case str():
            return ("?",)
        case bytes():
            return (b"?",)
        case _:
            return ()


def _is_removable(node: ast.AST, *, is_last: bool, of: ast.AST) -> bool:
    if isinstance(node, ast.Return):
        # An early leave. At a function's end there is nothing to go on with.
        return (node.value is None or _is_none(node.value)) and not (is_last and _is_function(of))
    if isinstance(node, ast.AnnAssign):
        return node.value is not None
    return isinstance(node, _DELETED)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _negated(node: ast.expr) -> ast.expr:
    """Give `not x`; of `not x`, what any value allows: `not not x`."""
    return ast.UnaryOp(ast.Not(), node)


def _short(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:60]


def _change(replace: Callable[[Any], None], value: Any) -> Callable[[], None]:
    return lambda: replace(value)


def _item(values: list[Any], place: int) -> Callable[[Any], None]:
    def replace(value: Any) -> None:
        values[place] = value

    return replace


def _attribute(node: ast.AST, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(node, name, value)
