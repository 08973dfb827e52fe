"""Small defects to put into a module, one at a time: what its tests must notice. Pure: source in, syntax trees out."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

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
}
_DELETED = (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise, ast.Continue, ast.Break)
_SKIPPED = {"annotation", "returns", "decorator_list", "type_comment", "type_params"}
_UNTOLD = {"__repr__", "__str__"}
"""What is there for the eye."""


class Mutant(msgspec.Struct, frozen=True):
    """A module with a defect."""

    line: int
    told: str
    tree: Any


def mutants_of(source: str) -> Iterator[Mutant]:
    """Give the module with each defect in turn."""
    tree = ast.parse(source)
    for number, (line, told, _) in enumerate(_sites(tree)):
        changed = copy.deepcopy(tree)
        *_, change = list(_sites(changed))[number]
        change()
        yield Mutant(line, told, ast.fix_missing_locations(changed))


def _sites(tree: ast.Module) -> list[tuple[int, str, Any]]:
    """Give every place for a defect: its line, what it is, and the function that makes it."""
    found: list[tuple[int, str, Any]] = []
    _visit(tree, found, is_inside=False)
    return found


def _visit(node: ast.AST, found: list[tuple[int, str, Any]], *, is_inside: bool) -> None:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if node.name in _UNTOLD:
                return
            is_inside = True
        case _:
            found += [(getattr(node, "lineno", 0), told, change) for told, change in _changes(node)]
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED:
            continue
        for place, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _is_text(child):
                continue
            if is_inside and isinstance(child, _DELETED) and isinstance(value, list):
                deleted = f"no `{ast.unparse(child).partition(chr(10))[0][:60]}`"
                found.append((child.lineno, deleted, _setter(value, place, ast.Pass())))
            _visit(child, found, is_inside=is_inside)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                if flipped := _FLIPPED.get(type(operator)):
                    told = f"{type(operator).__name__} as {flipped.__name__} in `{ast.unparse(node)[:60]}`"
                    yield told, _setter(node.ops, place, flipped())
        case ast.BoolOp() | ast.BinOp() | ast.AugAssign():
            if flipped := _FLIPPED.get(type(node.op)):
                told = f"{type(node.op).__name__} as {flipped.__name__} in `{ast.unparse(node)[:60]}`"
                yield told, _attribute(node, "op", flipped())
        case ast.UnaryOp(op=ast.Not()):
            yield f"no not in `{ast.unparse(node)[:60]}`", _attribute(node, "op", ast.UAdd(), then=_as_bool)
        case ast.Constant(value=bool() as value):
            yield f"{not value} for {value}", _attribute(node, "value", not value)
        case ast.Constant(value=int() | float() as value):
            yield f"{value + 1} for {value}", _attribute(node, "value", value + 1)
            yield f"{value - 1} for {value}", _attribute(node, "value", value - 1)
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield f"None for `{ast.unparse(value)[:60]}`", _attribute(node, "value", ast.Constant(None))
        case _:
            return


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _as_bool(node: Any) -> None:
    """Make `+x` of `not x` into `bool(x)`, which any value allows."""
    node.operand = ast.UnaryOp(ast.Not(), node.operand)
    node.op = ast.Not()


def _setter(values: list[Any], place: int, value: Any) -> Any:
    def change() -> None:
        values[place] = value

    return change


def _attribute(node: ast.AST, name: str, value: Any, *, then: Any = None) -> Any:
    def change() -> None:
        setattr(node, name, value)
        if then is not None:
            then(node)

    return change
