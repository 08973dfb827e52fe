"""Times as Ollama writes them."""

from __future__ import annotations

from datetime import datetime


def seconds_of(moment: str) -> int | None:
    """Return a time as seconds since 1970; `None` if it is none."""
    # Python 3.11 reads at most six digits of a fraction, and Ollama sends up to nine.
    seconds, dot, rest = moment[:64].partition(".")
    try:
        return int(datetime.fromisoformat(seconds + rest.lstrip("0123456789") if dot else seconds).timestamp())
    except (ValueError, OverflowError):
        return None
