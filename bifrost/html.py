"""HTML for notebooks: pure functions that escape all their arguments.

This is the lowest layer and imports no type of bifrost.

There is no style sheet and no script, so that the result looks the same in every notebook. Tables are left-aligned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CELL = ' style="text-align: left; white-space: pre-wrap"'
_TEXT = ' style="white-space: pre-wrap"'
_NOTE = ' style="opacity: 0.7; font-size: smaller"'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table. `None` becomes an empty cell."""
    lines = [_row("td", row) for row in rows]
    return f"<table><thead>{_row('th', columns)}</thead><tbody>{''.join(lines)}</tbody></table>"


def text(content: str) -> str:
    """Return text with its line breaks and spaces preserved."""
    return f"<div{_TEXT}>{escape(content)}</div>"


def note(*facts: object) -> str:
    """Return a line of small print without the facts that are `None` or empty; an empty string if none is left."""
    line = " · ".join(escape(str(fact)) for fact in facts if fact not in (None, ""))
    return f"<div{_NOTE}>{line}</div>" if line else ""


def folded(title: str, *inner: str) -> str:
    """Return HTML that is hidden under a title until the title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{''.join(inner)}</details>"


def block(*inner: str) -> str:
    """Return one element with all the pieces of HTML in it."""
    return f"<div>{''.join(inner)}</div>"


def escape(text: str) -> str:
    """Escape text for an element or an attribute.

    `html.escape` is not used because importing `html` reads a table of 2,000 entities.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#x27;")


def _row(kind: str, cells: Iterable[object]) -> str:
    texts = ("" if cell is None else escape(str(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{kind}{_CELL}>{cell}</{kind}>' for cell in texts)}</tr>"
