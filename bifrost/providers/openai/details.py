"""OpenRouter's `reasoning_details`, which its upstreams require back unchanged.

They are stored in a part's `signature`.

Format: https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning
"""

from __future__ import annotations

from typing import Any

import msgspec

from bifrost.providers.sizes import SPARSE
from bifrost.wire import json

_LIST = msgspec.json.Decoder(list[dict[str, Any]] | None)

_IN_PIECES = ("reasoning.text", "reasoning.summary")
"""Details that a stream sends in pieces; the others are complete."""

_GROWING = ("text", "summary")


class Details:
    """The details of a streamed response, as they arrive."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []

    def add(self, raw: msgspec.Raw) -> None:
        """Add the details of an event. Values other than a list of objects are ignored."""
        for piece in _decode(raw):
            last = self._details[-1] if self._details else None
            if last is not None and _continues(piece, last):
                _grow(last, piece)
            else:
                self._details.append(piece)

    def taken(self) -> str | None:
        """Return the details so far, like `kept_details`, and discard them."""
        details, self._details = self._details, []
        return _kept(details)


def kept_details(raw: msgspec.Raw) -> str | None:
    """Return the details of a complete response as a line of JSON; `None` if there are none."""
    return _kept(_decode(raw))


def details_text(raw: msgspec.Raw) -> str:
    """Return the visible text of details; empty if there is none."""
    shown = [detail.get(field) for detail in _decode(raw) for field in _GROWING]
    return "".join([text for text in shown if isinstance(text, str)])


def read_details(signature: str | None) -> list[dict[str, Any]]:
    """Return the details that a part stores; empty if there are none."""
    return [detail for line in (signature or "").splitlines() for detail in _decode(msgspec.Raw(line.encode()))]


def _kept(details: list[dict[str, Any]]) -> str | None:
    # Each line is complete, so that the lines of one stream can be joined.
    return msgspec.json.encode(details).decode() + "\n" if details else None


def _decode(raw: msgspec.Raw) -> list[dict[str, Any]]:
    if len(raw) > json.SMALL:
        json.check_density(bytes(raw), what="the response", sparse=SPARSE)
    try:
        return _LIST.decode(raw) or []
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []


def _continues(piece: dict[str, Any], last: dict[str, Any]) -> bool:
    return (
        piece.get("type") in _IN_PIECES
        and piece.get("type") == last.get("type")
        and piece.get("index") == last.get("index")
    )


def _grow(last: dict[str, Any], piece: dict[str, Any]) -> None:
    for field, value in piece.items():
        if field in _GROWING and isinstance(value, str):
            last[field] = (last.get(field) or "") + value
        elif value:
            last[field] = value
