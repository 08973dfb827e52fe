from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from bifrost.attempt_record import AttemptRecord, RateLimit, Window, shown
from tests.table import table


def test_an_attempt_without_a_fault_was_good() -> None:
    assert AttemptRecord(provider="openai", model="gpt-4o-mini").ok
    assert not AttemptRecord(provider="openai", model="gpt-4o-mini", category="transient").ok


@table(
    ("attempt", "text"),
    [
        (AttemptRecord(provider="openai", model="m", key="main", total=0.1234), "openai/m [main] ok in 123.4 ms"),
        (AttemptRecord(provider="ollama", model="m"), "ollama/m [no key] ok"),
        (
            AttemptRecord(provider="groq", model="m", key="b", status=429, category="throttled", wait=1.5, total=0.01),
            "groq/m [b] throttled 429 in 10.0 ms after waiting 1.50 s",
        ),
        (AttemptRecord(provider="groq", model="m", category="transient"), "groq/m [no key] transient"),
        (AttemptRecord(provider="groq", model="a\r\n\x1b[31mb"), r"groq/a\r\n\x1b[31mb [no key] ok"),
    ],
)
def test_an_attempt_reads_as_one_line(attempt: AttemptRecord, text: str) -> None:
    assert str(attempt) == text


def test_the_records_survive_a_pickle() -> None:
    for record in (
        AttemptRecord(provider="openai", model="m", category="quota", error="no credit"),
        RateLimit(requests=Window(limit=5, remaining=0, reset_after=1.5)),
    ):
        assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301 - written a moment ago


@table(
    ("text", "told"),
    [
        ("plain é 日本 😀", "plain é 日本 😀"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\u202eright\u2028line\ud800", r"\u202eright\u2028line\ud800"),
        ("", ""),
        ("0123456789", "0123456789"),
        ("0123456789a", "0123456789…"),
        ("012345678\n\n", "012345678\\n…"),
    ],
)
def test_foreign_text_is_shown_cut_and_escaped(text: str, told: str) -> None:
    assert shown(text, 10 if text.startswith("0") else 100) == told


@given(st.text(st.characters(), max_size=50), st.integers(0, 60))
def test_what_is_shown_is_always_printable_and_short(text: str, limit: int) -> None:
    told = shown(text, limit)
    assert told.isprintable()
    assert len(told) <= limit * 10 + 1
