from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost import AttemptRecord
from bifrost.testing.demo import announcement, attempts_table

if TYPE_CHECKING:
    import pytest


def test_the_trail_is_aligned() -> None:
    attempts = [
        AttemptRecord(provider="openai", model="gpt-4o-mini", key="a", status=429, category="throttled", total=0.0123),
        AttemptRecord(
            provider="x", model="y", key="long-name", category="never_sent", wait=1.5, queue=0.0001, connect=0.002
        ),
        AttemptRecord(provider="x", model="y", status=200, first_byte=0.25, total=1.0),
    ]
    assert attempts_table(attempts).splitlines() == [
        "asked               key        outcome        waited  queued  connect  first byte   total",
        "openai/gpt-4o-mini  a          429 throttled       -       -        -           -    12.3",
        "x/y                 long-name  - never_sent   1500.0     0.1      2.0           -       -",
        "x/y                 -          200 ok              -       -        -       250.0  1000.0",
    ]


def test_a_real_call_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    told = announcement("openai/gpt-4o-mini")
    assert told == "live: model gpt-4o-mini of openai at https://api.openai.com/v1, with the key in OPENAI_API_KEY"

    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:8000")
    told = announcement("anthropic/claude-haiku-4-5")
    assert told == "live: model claude-haiku-4-5 of anthropic at http://127.0.0.1:8000, with no key"


def test_a_model_of_nobody_is_announced_as_it_is() -> None:
    assert announcement("mine") == "live: mine"
