"""Tables as plain text, and the formatting of their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.attempt_record import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 200
"""The most characters of one cell."""


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with one line per row.

    Numbers are right-aligned, and characters that are not printable are escaped.
    """
    lines = [columns, *rows]
    texts = [["" if cell is None else shown(str(cell), _LONGEST) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if _is_number(place, rows) else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in texts
    )


def without_empty(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> tuple[list[str], list[list[object]]]:
    """Remove the columns that are empty in every row."""
    filled = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    return [columns[place] for place in filled], [[row[place] for place in filled] for row in rows]


def listed(names: Sequence[object]) -> str | None:
    """Return the names separated by commas; `None` if there are none."""
    return ", ".join(map(str, names)) or None


def seconds(value: float) -> str:
    """Return a duration as text: `2.5 s`."""
    return f"{value:g} s"


def in_flight_of(in_flight: int, concurrency: int, limit: int | None) -> str:
    """Return the number in flight and the maximum, `3/256`.

    With an adaptive limit, both the current and the largest limit.
    """
    return f"{in_flight}/{concurrency}" if limit is None else f"{in_flight}/{limit} of {concurrency}"


def percent(share: float | None) -> str | None:
    """Return a share of 1 as a percentage, `12.5 %`; `None` for `None`."""
    return None if share is None else f"{share * 100:.3g} %"


def _is_number(place: int, rows: Sequence[Sequence[object]]) -> bool:
    return any(isinstance(row[place], int | float) for row in rows)
