"""Descriptions of unexpected bodies for error messages."""

from __future__ import annotations

import re

from bifrost.attempt_record import shown
from bifrost.errors import MESSAGE_LIMIT

_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)


def shown_body(body: bytes) -> str:
    """Return one printable line that describes a body that is not an error object."""
    text = " ".join(body[: 32 * MESSAGE_LIMIT].decode("utf-8", "replace").split())
    if not text:
        return "the response is empty"
    if text.startswith("<"):
        # Imported here because it loads a table of 2,000 entities and few responses are web pages.
        import html

        title = _TITLE.search(text)
        text = f"a page of markup: {html.unescape(title[1]).strip()}" if title else re.sub(r"<[^<>]*>", " ", text)
    elif sum(not letter.isprintable() or letter == "\ufffd" for letter in text) * 4 > len(text):
        return f"{len(body):,} bytes that are no text"
    return one_line(text, MESSAGE_LIMIT) or "a page of markup without text"


def one_line(text: str, limit: int) -> str:
    """Return foreign text as one printable line of at most `limit` characters. The rest of a long text is not read."""
    return shown(" ".join(text[: limit * _SPACE].split()), limit)[:limit]


_SPACE = 16
"""The most characters that are read for each one that is shown."""
