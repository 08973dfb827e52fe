"""The tables of a documentation page, and its code, run as it stands there."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from types import CodeType

DOCS = Path(__file__).parents[2] / "docs"

_LIST_TABLE = re.compile(r"^## (?P<heading>[^\n]+)$|^:::\{list-table\}\n(?P<table>.*?)^:::$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """What is written today, and the same with bifrost; found by its section and its number there."""

    section: str
    number: int
    today: str
    ours: str

    @property
    def id(self) -> str:
        return f"{self.section} {self.number}"


def pairs(page: str) -> list[Pair]:
    """Return the rows of a page's list tables that hold code."""
    found: list[Pair] = []
    section = ""
    for match in _LIST_TABLE.finditer((DOCS / page).read_text(encoding="utf-8")):
        if match["heading"]:
            section = match["heading"]
            continue
        rows = re.split(r"^\* - ", match["table"], flags=re.MULTILINE)[2:]  # options and head come first
        for number, row in enumerate(rows, start=1):
            today, ours = (_code(cell) for cell in re.split(r"^  - ", row, flags=re.MULTILINE))
            found.append(Pair(section, number, today, ours))
    return found


def _code(cell: str) -> str:
    [code] = _FENCE.findall(textwrap.dedent("    " + cell))
    return code


def rows(page: str, section: str) -> list[list[str]]:
    """Return the cells of the plain table in a section, without its head."""
    text = (DOCS / page).read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def compiled(code: str, place: str) -> CodeType:
    """Compile code of a page; it may await where no function is."""
    return compile(code, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def is_async(code: str) -> bool:
    """Return whether the code awaits something."""
    return bool(compiled(code, "").co_flags & inspect.CO_COROUTINE)


def said(code: str, namespace: dict[str, Any], *, backend: str = "asyncio") -> str:
    """Run code of a page and return what it prints."""
    compiled_code = compiled(code, "page")
    printed = io.StringIO()
    with redirect_stdout(printed):
        if is_async(code):
            anyio.run(_awaited, compiled_code, namespace, backend=backend)
        else:
            exec(compiled_code, namespace)  # noqa: S102 - the page's own code
    return printed.getvalue()


async def _awaited(code: CodeType, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)  # noqa: S307 - the page's own code
