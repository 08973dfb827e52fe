"""Limits for the number of elements of a response: far more than any provider sends, and few enough for little memory.

They are not settings, unlike the limits in bytes (`SizeLimits`).
"""

from __future__ import annotations

from bifrost.errors import ResponseTooLargeError

CHOICES_LIMIT = 1024
"""The most choices of one response, streamed or not."""

PARTS_LIMIT = 8192
"""The most parts of one response, in all choices: blocks, pieces of content, tool calls, citations."""

VECTORS_LIMIT = 65_536
"""The most vectors of one response."""

NUMBERS_LIMIT = 65_536
"""The most numbers of one vector."""

MODELS_LIMIT = 16_384
"""The most models of one list."""


SPARSE = 32
"""The bytes per object or list of a response that is decoded to dicts, or to structs with many fields."""


def check_count(count: int, limit: int, *, what: str) -> None:
    """Raise `ResponseTooLargeError` if the count exceeds the limit."""
    if count > limit:
        raise ResponseTooLargeError(f"the response has more than {limit:,} {what}")
