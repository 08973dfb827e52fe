"""How many things one answer may hold: far more than any provider sends, and few enough to take little memory.

These are no user's matter: the sizes in bytes are (`SizeLimits`).
"""

from __future__ import annotations

from bifrost.errors import ResponseTooLargeError

CHOICES_LIMIT = 1024
"""The most choices of one answer, streamed or not."""

PARTS_LIMIT = 8192
"""The most parts of one answer, all choices together: blocks, pieces of content, tool calls, citations."""

VECTORS_LIMIT = 65_536
"""The most vectors of one answer."""

NUMBERS_LIMIT = 65_536
"""The most numbers of one vector."""

MODELS_LIMIT = 16_384
"""The most models of one list."""


SPARSE = 32
"""Of an answer that is read into dicts, or into structs of many fields, each object or list has so many bytes."""


def check_count(count: int, limit: int, *, what: str) -> None:
    """Raise `ResponseTooLargeError` if there are too many."""
    if count > limit:
        raise ResponseTooLargeError(f"the answer has more than {limit:,} {what}")
