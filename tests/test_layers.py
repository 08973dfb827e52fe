"""Rules of the code that are read off its text. (What imports what is import-linter's: see `pyproject.toml`.)"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(__file__).parents[1] / "bifrost"

_DANGEROUS_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec"}
_DANGEROUS_MODULES = {"dill", "marshal", "pickle", "shelve", "yaml"}

_MUTABLE_LITERALS = (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.GeneratorExp)
_MUTABLE_TYPES = {
    *("bytearray", "dict", "list", "set"),
    *("Counter", "OrderedDict", "defaultdict", "deque", "count", "cycle"),
    *("Condition", "Event", "Lock", "Queue", "RLock", "Semaphore", "local", "Random"),
    *("WeakKeyDictionary", "WeakSet", "WeakValueDictionary"),
}
_READ_ONLY_TYPES = {"AbstractSet", "Collection", "Container", "Iterable", "Mapping", "Sequence"}
_CACHES = {"cache", "lru_cache"}


@cache
def _modules() -> dict[str, ast.Module]:
    """Every module of the package, by its dotted name."""
    modules: dict[str, ast.Module] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = ["bifrost", *path.relative_to(_PACKAGE).with_suffix("").parts]
        name = ".".join(parts).removesuffix(".__init__")
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def _name(node: ast.expr) -> str:
    """The last word of a dotted or subscripted name: `Mapping` of `collections.abc.Mapping[str, int]`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
        case _:
            return ""


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at import, those inside `if`, `try` and `with` too."""
    for statement in body:
        yield statement
        match statement:
            case ast.If() | ast.Try() | ast.With():
                for block in ("body", "orelse", "finalbody"):
                    yield from _top_level(getattr(statement, block, []))
            case _:
                pass


def _is_mutable(value: ast.expr | None) -> bool:
    match value:
        case ast.Call(func=func):
            return _name(func) in _MUTABLE_TYPES
        case _:
            return isinstance(value, _MUTABLE_LITERALS)


def _is_read_only(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Subscript(value=outer, slice=inner) if _name(outer) in {"Final", "ClassVar"}:
            return _is_read_only(inner)
        case _:
            return _name(annotation) in _READ_ONLY_TYPES


def _state(statement: ast.stmt) -> str:
    """Tell what in this top-level statement could change while the program runs, or nothing."""
    match statement:
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return ""
        case ast.Assign(value=value) if _is_mutable(value):
            return "a mutable value; annotate it as Mapping, Sequence or AbstractSet, or make it a tuple"
        case ast.AnnAssign(value=value, annotation=annotation) if _is_mutable(value) and not _is_read_only(annotation):
            return "a mutable value whose annotation lets it be changed"
        # Without parameters it is a constant that is made when it is first needed.
        case ast.FunctionDef(decorator_list=decorators, args=arguments) if ast.unparse(arguments) and any(
            _name(each.func if isinstance(each, ast.Call) else each) in _CACHES for each in decorators
        ):
            return "a cache that all clients share"
        case _:
            return ""


def _dangers(node: ast.AST) -> str:
    match node:
        case ast.Assert():
            return "assert: raise a typed error, -O takes asserts out"
        case ast.Global():
            return "global: no state at module level"
        case ast.Call(func=ast.Name(id=name)) if name in _DANGEROUS_CALLS:
            return f"a call of {name}"
        case ast.keyword(arg="shell", value=ast.Constant(value=True)):
            return "shell=True"
        case ast.Import(names=names) if found := {each.name.split(".")[0] for each in names} & _DANGEROUS_MODULES:
            return f"an import of {found}"
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in _DANGEROUS_MODULES:
            return f"an import of {module}"
        case _:
            return ""


def _imports(module: str, tree: ast.Module) -> Iterator[str]:
    """The modules of ours that this one names in an import, wherever that stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name in _modules())
            case ast.ImportFrom(module=str(source), names=names, level=0):
                for each in names:
                    needed = f"{source}.{each.name}"
                    if (found := needed if needed in _modules() else source) in _modules() and found != module:
                        yield found
            case _:
                pass


def test_a_secret_is_revealed_at_one_place() -> None:
    places = [
        f"{module}:{node.lineno}"
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reveal"
    ]
    assert [place.split(":")[0] for place in places] == ["bifrost.wire.secrets"], places


def test_no_module_keeps_state() -> None:
    found = [
        f"{module}:{statement.lineno} {state}"
        for module, tree in _modules().items()
        for statement in _top_level(tree.body)
        if (state := _state(statement))
    ]
    assert not found, "\n".join(found)


def test_nothing_dangerous_is_used() -> None:
    found = [
        f"{module}:{getattr(node, 'lineno', '?')} {danger}"
        for module, tree in _modules().items()
        for node in ast.walk(tree)
        if (danger := _dangers(node))
    ]
    assert not found, "\n".join(found)


def test_no_import_ring() -> None:
    """A ring is a CycleError that names its modules. Imports for types count, and those inside functions too."""
    graph = {module: set(_imports(module, tree)) for module, tree in _modules().items()}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


@table(
    "text",
    [
        "known = {}",
        "known: dict[str, int] = {}",
        "known = [each for each in ()]",
        "if True:\n    known = set()",
        "try:\n    known = collections.deque()\nexcept ImportError:\n    pass",
        "chance = random.Random()",
        "@functools.cache\ndef f(a): ...",
        "@lru_cache(maxsize=9)\ndef f(a): ...",
    ],
)
def test_state_is_seen(text: str) -> None:
    assert any(_state(statement) for statement in _top_level(ast.parse(text).body))


@table(
    "text",
    [
        "__all__ = ['a']",
        "known: Mapping[str, int] = {}",
        "known: Final[Sequence[str]] = []",
        "known = frozenset({1})",
        "known = ('a', 'b')",
        "known = MappingProxyType({})",
        "def f():\n    known = {}",
    ],
)
def test_what_cannot_change_is_no_state(text: str) -> None:
    assert not any(_state(statement) for statement in _top_level(ast.parse(text).body))


@table(
    "text",
    [
        "assert x",
        "def f():\n    global x",
        "eval('1')",
        "import pickle",
        "import yaml.cyaml",
        "from marshal import loads",
        "run('ls', shell=True)",
    ],
)
def test_danger_is_seen(text: str) -> None:
    assert any(_dangers(node) for node in ast.walk(ast.parse(text)))
