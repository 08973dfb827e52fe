"""What each reader of foreign bytes takes: milliseconds of CPU per MiB, of plain words and of its worst text."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bifrost import BifrostError
from bifrost.providers.base import ReportedError
from bifrost.wire.http.response import HttpFormatError
from tests.deep.row import Row
from tests.growth.test_readers import TEXT_READERS, UNITS

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
_WRITTEN = "per MiB of text, and its test writes it as JSON of up to six times the size"
_REPEATED = "of 16 times the text, and written as JSON by its test"
_CUT = "of 2,048 characters at most"
_ERROR = "of 64 KiB at most, unless the settings allow more"
_OWN = "what a program itself gives, or its environment"
_FILE = "a file of settings, read before there are calls"
_TESTS = "a cassette of the test kit"
_DENSE = "bounded: the rest of a text that takes so long is given up"
ALLOWANCES: dict[str, tuple[float, str]] = {
    **dict.fromkeys(
        (
            *("partial json", "partial json string", "partial json list", "partial json digits", "json finder"),
            *("stream", "stream of calls", "stream of Anthropic", "lifted stream", "sse", "sse lines"),
        ),
        (4000.0, _PIECES),
    ),
    **dict.fromkeys(
        (
            *("chat", "chat of Anthropic", "models", "models of Anthropic", "embeddings", "details"),
            *("json.decode", "json.decode of a string", "output: unknown name"),
            *("logprobs", "logprobs without numbers", "logprobs of another kind"),
        ),
        (200.0, _WRITTEN),
    ),
    **dict.fromkeys(("document without its text", "document of other texts"), (4000.0, _REPEATED)),
    **dict.fromkeys(("shown whole", "looks_like_key", "without_keys"), (600.0, _CUT)),
    **dict.fromkeys(
        (
            *("errors of OpenAI", "errors of Anthropic", "error in any form", "error in a 200", "error in an event"),
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
    **dict.fromkeys(("redact", "redact in slices"), (1500.0, _SLICES)),
    **dict.fromkeys(("sse whole", "http field"), (700.0, _WINDOWS)),
    **dict.fromkeys(("toml", "toml key", "json file"), (600.0, _FILE)),
    **dict.fromkeys(
        ("cleaner", "cleaner of pieces", "cleaner looking", "cleaner of addresses", "piece_of"), (1500.0, _TESTS)
    ),
    **dict.fromkeys(
        ("json_in", "json_in, in fences", "lifted answer", "lifted answer: JSON", "one event of calls"),
        (1000.0, _DENSE),
    ),
}
"""The readers for which another bound holds, in milliseconds per MiB, and why."""


def run() -> list[Row]:
    """Measure every reader."""
    return [_row(name, read) for name, read in TEXT_READERS.items()]


def _row(name: str, read: Callable[[str], object]) -> Row:
    found = {unit: _figure(read, text) for unit, text in UNITS.items()}
    worst = max(found, key=lambda unit: found[unit])
    goal, reason = ALLOWANCES.get(name, (_GOAL, ""))
    return Row(
        f"reader: {name}" + (f" ({reason})" if reason else ""),
        f"{found['words']:.1f} ms/MiB; {worst}: {found[worst]:.0f}",
        f"<= {goal:.0f} ms/MiB",
        ok=found[worst] <= goal,
    )


def _figure(read: Callable[[str], object], unit: str) -> float:
    text = (unit * (_SIZE // len(unit) + 1))[:_SIZE]
    best = float("inf")
    for _ in range(_TRIES):
        began = time.thread_time()
        with suppress(BifrostError, ReportedError, HttpFormatError, ValueError, AssertionError):
            read(text)
        best = min(best, time.thread_time() - began)
    return best * 1000 * _MIB / len(text.encode())
