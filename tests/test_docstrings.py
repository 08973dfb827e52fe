"""Docstrings are plain English: they do not begin with odd verbs, and every field of a public type is explained."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

import bifrost
import bifrost.testing
from bifrost.frozen import Frozen, Value
from bifrost.reports import explanation, providers, stats
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(bifrost.__file__).parent

_ODD_VERBS = re.compile(r"(Give|Say|Tell|Take|Ask|Look|Let go|Have|Know)s?\b")

_OTHER_TYPES: tuple[type, ...] = tuple(
    kind
    for module in (explanation, providers, stats)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Value) and kind.__module__ == module.__name__
)
"""The types that public methods return, beside those that the package exports."""


def _modules() -> Iterator[str]:
    for file in sorted(_PACKAGE.rglob("*.py")):
        yield file.relative_to(_PACKAGE).as_posix()


def _docstrings(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "the module"), text


@table("module", list(_modules()))
def test_no_docstring_begins_with_an_odd_verb(module: str) -> None:
    tree = ast.parse((_PACKAGE / module).read_text(encoding="utf-8"))
    odd = [f"{name}: {text.splitlines()[0]}" for name, text in _docstrings(tree) if _ODD_VERBS.match(text)]
    assert not odd, "say what it returns or does"


def test_odd_verbs_are_found() -> None:
    assert _ODD_VERBS.match("Give the key.")
    assert _ODD_VERBS.match("Says whether it is ready.")
    assert not _ODD_VERBS.match("Returns the key.")
    assert not _ODD_VERBS.match("Asked is not a verb form that is refused.")


def _public_types() -> Iterator[type]:
    exported = [getattr(module, name) for module in (bifrost, bifrost.testing) for name in module.__all__]
    for kind in dict.fromkeys([*exported, *_OTHER_TYPES]):
        if isinstance(kind, type) and issubclass(kind, Value | Frozen) and _fields(kind):
            yield kind


def _fields(kind: Any) -> list[str]:
    """Return the public fields that a class itself declares."""
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind)]
    else:
        names = [field.name for field in msgspec.structs.fields(kind)] if issubclass(kind, msgspec.Struct) else []
    return [name for name in names if not name.startswith("_") and name in kind.__annotations__]


def _explained(kind: type) -> set[str]:
    """Return the fields of a class that are followed by a docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    found: set[str] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement, after in pairwise(body) if isinstance(body, list) else ():
            if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
                found.add(ast.unparse(statement.target))
    return found


@table("kind", list(_public_types()), ids=lambda kind: kind.__name__)
def test_every_field_of_a_public_type_is_explained(kind: type) -> None:
    assert set(_fields(kind)) - _explained(kind) == set()


def test_the_types_read_most_are_among_them() -> None:
    names = {kind.__name__ for kind in _public_types()}
    assert names >= {"ChatRequest", "ChatResponse", "Usage", "SizeLimits", "Timeouts", "AttemptRecord", "ProviderStats"}
