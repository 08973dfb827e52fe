"""The reference as plain Markdown, made from the code: `python -m tests.docs.api_names` writes docs/api/names.md."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.docs.tables import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = DOCS / "api" / "names.md"

COMMAND = "python -m tests.docs.api_names"

_HEAD = f"""# All names

Every public name with its fields and methods, as plain Markdown that can be read without building these pages. The
other pages of this reference have the full descriptions. `{COMMAND}` makes this page from the code.
"""

_PAGES = ("clients", "answers", "settings", "plugins", "telemetry", "errors", "testing")
_ENTRY = re.compile(r"^\.\. auto(?:class|exception|function|data):: (\S+)$", re.MULTILINE)
_STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for text in _texts():
        parts.append(f"## {_TITLE.findall(text)[0]}\n")
        parts += [_entry(entry) for entry in _ENTRY.findall(text)]
    return "\n".join(parts)


def entries() -> list[str]:
    """Return the public names in the order of the page, each with its module."""
    return [entry for text in _texts() for entry in _ENTRY.findall(text)]


def _texts() -> Iterator[str]:
    return ((DOCS / "api" / f"{name}.md").read_text(encoding="utf-8") for name in _PAGES)


def _entry(path: str) -> str:
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    where = "" if module in ("bifrost", "bifrost.testing") else f" ({module})"
    if not inspect.isclass(found):
        title = f"{name}{_parameters(found)}" if callable(found) else name
        text = _first(inspect.getdoc(found)) if callable(found) else ""
        return _section(f"`{title}`{where}", text)
    bases = ", ".join(base.__name__ for base in found.__bases__ if base.__module__.startswith("bifrost"))
    kind = f" ({bases})" if issubclass(found, Exception) and bases else ""
    table = _table(found)
    made = "" if kind or any(_fields(found)) else _made(found)
    return _section(f"`{name}`{kind}{where}", _first(inspect.getdoc(found)), made, table)


def _made(found: type[Any]) -> str:
    """Return how an object is made, for a class whose fields do not say so."""
    if getattr(found, "_is_protocol", False) or found.__init__ is object.__init__:
        return ""
    return f"`{found.__name__}{_parameters(found)}`"


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"### {title}", *filter(None, parts)]) + "\n"


def _table(found: type[Any]) -> str:
    rows = [*_fields(found), *_methods(found)]
    return "" if not rows else "\n".join(["| member | |", "| --- | --- |", *rows])


def _fields(found: type[Any]) -> Iterator[str]:
    for field, annotation, text in _declared(found):
        if not field.startswith("_") and not annotation.startswith("ClassVar"):
            yield f"| `{field}`: `{_cell(annotation)}` | {_cell(text)} |"


def _methods(found: type[Any]) -> Iterator[str]:
    for name, member in vars(found).items():
        if name.startswith("_") or isinstance(member, type):
            continue
        if isinstance(member, property):
            yield f"| `{name}` | {_cell(_first(inspect.getdoc(member)))} |"
        elif inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
            bound = getattr(found, name)
            prefix = "await " if inspect.iscoroutinefunction(bound) else ""
            yield f"| `{prefix}{name}{_cell(_parameters(bound))}` | {_cell(_first(inspect.getdoc(bound)))} |"


def _declared(found: type[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each annotated field of a class body: its name, its type as it is written, and the text below it."""
    [node] = _tree(found).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = _first(inspect.cleandoc(str(following.value.value)))
            yield statement.target.id, ast.unparse(statement.annotation), text


@cache
def _tree(found: type[Any]) -> ast.Module:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(found)))
    except (OSError, TypeError):
        return ast.parse("class Unknown: pass")


def _parameters(found: Any) -> str:
    parameters = [each for each in inspect.signature(found).parameters.values() if each.name not in ("self", "cls")]
    return f"({', '.join(_written(parameters))})"


def _written(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        text = parameter.name
        if parameter.default is not parameter.empty:
            text += f"={_default(parameter.default)}"
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        yield _STARS.get(parameter.kind, "") + text


def _default(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | bool | None) or value == () else "..."


def _first(text: str | None) -> str:
    """Return the first paragraph, in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
