"""What a part of the deep run gives: rows of its table."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True):
    """A figure, beside what it should be."""

    name: str
    figure: str
    goal: str
    ok: bool | None
    """`None`: there is nothing to hold it against."""
