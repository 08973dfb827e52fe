"""What each reader of foreign bytes takes: milliseconds of CPU per MiB, of plain words and of its worst text."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from bifrost import BifrostError
from bifrost.providers.base import ReportedError
from bifrost.wire.http.response import HttpFormatError
from tests.deep.row import Row
from tests.growth.test_readers import DOCUMENTS, TEXT_READERS, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "readers"
_SIZE = 64 * 1024
_MIB = 1024 * 1024
_TRIES = 2
_GOAL = 50.0
"""Milliseconds for the worst text: what 1 MiB of it may hold the loop."""

_PIECES = "in pieces, a turn of the loop for each"
_SLICES = "in slices of 16 KiB, others run in between"
_WINDOWS = "in the pieces that the network gives, 64 KiB at most"
_DOCUMENT = "per MiB of its document"
_WRITTEN = "per MiB of text, and its test writes it as JSON of up to twelve times the size"
_CUT = "of 2,048 characters at most"
_ERROR = "of 64 KiB at most, unless the settings allow more"
_OWN = "what a program itself gives, or its environment"
_FILE = "a file of settings, read before there are calls"
_TESTS = "a cassette of the test kit"
_DENSE = "bounded: the rest of a text that takes some 30 ms is given up"
ALLOWANCES: dict[str, tuple[float, str]] = {
    **dict.fromkeys(
        (
            *("partial json", "partial json string", "partial json list", "partial json digits", "json finder"),
            *("stream", "stream of calls", "stream of Anthropic", "lifted stream", "sse", "sse lines"),
            *("stream of Bedrock", "stream of Bedrock in a tool's result", "stream of completions"),
            *("stream of Cohere", "stream of Cohere's v1", "json lines", "event stream", "events or lines"),
            *("event stream of empty messages", "event stream of headers"),
            *("stream of a response", "stream of a response: notes", "stream of a response: parts"),
            "stream of a response: items",
        ),
        (3000.0, _PIECES),
    ),
    **dict.fromkeys(DOCUMENTS, (80.0, _DOCUMENT)),
    "log probabilities of completions": (200.0, "per MiB of its document, a token for every nine bytes"),
    "response of many items": (200.0, "8,192 items at most"),
    **dict.fromkeys(
        (
            *("json.decode", "output: unknown name", "details"),
            *("chat of Bedrock", "chat of Bedrock with other blocks", "other fields of Bedrock"),
            *("chat of Cohere", "chat of Cohere's v1", "embeddings of Cohere", "models of Cohere", "rerank"),
            *("token count", "token count of Anthropic"),
        ),
        (200.0, _WRITTEN),
    ),
    **dict.fromkeys(("shown whole", "looks_like_key", "without_keys"), (1000.0, _CUT)),
    **dict.fromkeys(
        (
            *("errors of OpenAI", "errors of Anthropic", "error in any form", "error in a 200", "error in an event"),
            *("errors of Cohere", "error of Cohere in any form", "errors of Bedrock", "error of Bedrock in a 200"),
            "shown_body",
        ),
        (200.0, _ERROR),
    ),
    **dict.fromkeys(
        (
            *("prompt in OpenAI's form", "prompt of many parts", "prompt of many messages", "tools in OpenAI's form"),
            *("proxy of the environment", "proxy with a password"),
            *("places without a proxy", "list of places without a proxy"),
        ),
        (2500.0, _OWN),
    ),
    **dict.fromkeys(("redact", "redact in slices"), (500.0, _SLICES)),
    **dict.fromkeys(("sse whole", "json lines whole", "http field"), (500.0, _WINDOWS)),
    **dict.fromkeys(("toml", "toml key", "json file"), (600.0, _FILE)),
    **dict.fromkeys(
        ("cleaner", "cleaner of pieces", "cleaner looking", "cleaner of addresses", "piece_of"), (500.0, _TESTS)
    ),
    **dict.fromkeys(
        ("json_in", "json_in, in fences", "lifted answer", "lifted answer: JSON", "one event of calls"),
        (600.0, _DENSE),
    ),
}
"""The readers for which another bound holds, in milliseconds per MiB, and why."""


def run() -> list[Row]:
    """Measure every reader."""
    return [_row(name, read) for name, read in TEXT_READERS.items()]


def _row(name: str, read: Callable[[str], object]) -> Row:
    document = DOCUMENTS.get(name)
    found = {unit: _figure(read, _text(unit), document) for unit in UNITS}
    worst = max(found, key=lambda unit: found[unit])
    goal, reason = ALLOWANCES.get(name, (_GOAL, ""))
    bare = f" (msgspec alone: {_bare(document(_text(worst))):.1f})" if document else ""
    return Row(
        f"reader: {name}" + (f" ({reason})" if reason else ""),
        f"{found['words']:.1f} ms/MiB; {worst}: {found[worst]:.0f}{bare}",
        f"<= {goal:.0f} ms/MiB",
        ok=found[worst] <= goal,
    )


def _text(unit: str) -> str:
    text = UNITS[unit]
    return (text * (_SIZE // len(text) + 1))[:_SIZE]


def _figure(read: Callable[[str], object], text: str, document: Callable[[str], bytes] | None) -> float:
    took = _spent(lambda: read(text))
    if document is None:
        return took * _MIB / len(text.encode())
    # The reader writes its document itself.
    return (took - _spent(lambda: document(text))) * _MIB / len(document(text))


def _bare(data: bytes) -> float:
    """Return what msgspec alone takes to decode a document to Python's own types: the floor."""
    decoder = msgspec.json.Decoder(object)
    return _spent(lambda: decoder.decode(data)) * _MIB / len(data)


def _spent(run: Callable[[], object]) -> float:
    """Return milliseconds of CPU, the least of some tries."""
    best = float("inf")
    for _ in range(_TRIES):
        began = time.thread_time()
        with suppress(BifrostError, ReportedError, HttpFormatError, ValueError, AssertionError):
            run()
        best = min(best, time.thread_time() - began)
    return best * 1000
