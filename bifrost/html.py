"""Values as HTML for notebooks: pure functions that escape all they are given. The lowest layer: knows no type of ours.

No style sheet and no script, so that it shows the same in every notebook; what stands in tables keeps to the left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CELL = ' style="text-align: left; white-space: pre-wrap"'
_TEXT = ' style="white-space: pre-wrap"'
_NOTE = ' style="opacity: 0.7; font-size: smaller"'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Give a table; `None` shows as an empty cell."""
    lines = [_row("td", row) for row in rows]
    return f"<table><thead>{_row('th', columns)}</thead><tbody>{''.join(lines)}</tbody></table>"


def text(content: str) -> str:
    """Give text with its line ends and spaces as they are."""
    return f"<div{_TEXT}>{escape(content)}</div>"


def note(*facts: object) -> str:
    """Give a line of small print; facts that are `None` or empty are left out, and a line without any."""
    told = " · ".join(escape(str(fact)) for fact in facts if fact not in (None, ""))
    return f"<div{_NOTE}>{told}</div>" if told else ""


def folded(title: str, *inner: str) -> str:
    """Give HTML under a title that opens it on a click."""
    return f"<details><summary>{escape(title)}</summary>{''.join(inner)}</details>"


def block(*inner: str) -> str:
    """Put pieces of HTML together."""
    return f"<div>{''.join(inner)}</div>"


def escape(text: str) -> str:
    """Escape text for an element or an attribute. Written out: importing `html` reads a table of 2,000 entities."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#x27;")


def _row(kind: str, cells: Iterable[object]) -> str:
    told = ("" if cell is None else escape(str(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{kind}{_CELL}>{cell}</{kind}>' for cell in told)}</tr>"
