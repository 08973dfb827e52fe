from __future__ import annotations

import re
from typing import Any

import pytest

from bifrost.reports.columns import percent, text_table, without_empty
from bifrost.reports.stats import BreakerStats, BudgetStats, ConnectionStats, KeyStats, ProviderStats, Stats

OPENAI = "openai  3/256  0  4  0  3 lent, 1 idle  4  96 %  90  88  5  0  0  0"
GROQ = "groq  0/256  0  12  0  0 lent, 0 idle  0  0  0  0  0  0  0"


def of(provider: str = "openai", **fields: Any) -> ProviderStats:
    return ProviderStats(provider=provider, concurrency=256, queue=100, **fields)


def test_the_sums_are_over_all_providers() -> None:
    stats = Stats(providers={"a": of(in_flight=2, waiting=1), "b": of(in_flight=3)})
    assert (stats.in_flight, stats.waiting) == (5, 1)
    assert of(ok=3, failed=2, cancelled=1).attempts == 6


def test_reuse_is_the_share_of_requests_without_a_new_connection() -> None:
    assert ConnectionStats().reuse is None
    assert ConnectionStats(opened=1, reused=3).reuse == 0.75
    assert ConnectionStats(opened=2).reuse == 0.0


def test_it_prints_as_a_table() -> None:
    stats = Stats(
        state="running",
        calls=1234,
        providers={
            "openai": of(
                in_flight=3,
                workers=4,
                connections=ConnectionStats(idle=1, lent=3, opened=4, reused=96),
                calls=90,
                ok=88,
                failed=5,
                failures={"transient": 2, "throttled": 3},
            ),
            "groq": of("groq", workers=12),
        },
    )
    head, columns, openai, groq, failures = str(stats).splitlines()
    assert repr(stats) == str(stats)
    assert head == "client running: 1,234 calls, 3 in flight, 0 waiting"
    assert columns.split()[:4] == ["provider", "in", "flight", "waiting"]
    assert re.split(r"  +", openai) == re.split(r"  +", OPENAI)
    assert re.split(r"  +", groq) == re.split(r"  +", GROQ)
    assert columns.index("workers") + len("workers") == openai.index(" 4 ") + 2 == groq.index(" 12 ") + 3
    assert failures == "openai failed: 3 throttled, 2 transient"


def test_what_nobody_has_anything_to_say_of_takes_no_column() -> None:
    for column in ("keys", "breaker", "budget", "restarts", "re-asks"):
        assert column not in str(Stats(providers={"a": of()}))


def test_states_of_keys_breaker_and_budget_are_shown_where_they_are_known() -> None:
    keys = [
        KeyStats(name="a"),
        KeyStats(name="b", state="cooling_down", wait=2.5),
        KeyStats(name="c", state="dead", reason="quota"),
    ]
    known = of(
        keys=keys,
        breakers=[BreakerStats(state="half_open", wait=1)],
        budget=BudgetStats(left=42.5, capacity=100),
        worker_restarts=1,
        reasks=7,
    )
    told = str(Stats(providers={"openai": known, "groq": of("groq")}))
    for fact in (
        "1 ready, b cooling down for 2.5 s, c dead (quota)",
        "half open for 1 s",
        "42.5/100",
        "restarts",
        "re-asks",
    ):
        assert fact in told


@pytest.mark.parametrize(
    ("breakers", "told"),
    [
        ([BreakerStats()], "closed"),
        ([], "closed"),
        (
            [
                BreakerStats(model="a", state="open", wait=3),
                BreakerStats(model="b"),
                BreakerStats(model="c", state="open"),
            ],
            "a open for 3 s, c open",
        ),
    ],
)
def test_breakers_that_are_not_closed_are_named(breakers: list[BreakerStats], told: str) -> None:
    assert re.split(r"  +", str(Stats(providers={"openai": of(breakers=breakers)})).splitlines()[-1])[-1] == told


def test_in_a_notebook_it_is_a_table() -> None:
    html = Stats(state="closed", calls=2, providers={"openai": of(ok=1, failures={"stale": 1})})._repr_html_()
    for fact in ("<table", "client closed: 2 calls", "openai failed: 1 stale", "0/256"):
        assert fact in html
    assert "<table" not in Stats()._repr_html_()
    assert "client new: no calls yet" in Stats()._repr_html_()


def test_the_repr_of_a_part_shows_what_is_not_usual() -> None:
    assert repr(of(ok=1)) == "ProviderStats(provider='openai', concurrency=256, queue=100, ok=1)"
    assert repr(KeyStats(name="a")) == "KeyStats(name='a')"


# --- columns


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "x" * 500])
def test_a_cell_stays_in_its_line_and_is_no_control_sequence(text: str) -> None:
    told = text_table(["name"], [[text]])
    assert len(told.splitlines()) == 2
    assert "\x1b" not in told
    assert len(told) < 250


def test_numbers_stand_to_the_right_and_nothing_is_empty() -> None:
    assert text_table(["a", "n"], [["x", 1], ["yy", 1000], ["z", None]]) == "a      n\nx      1\nyy  1000\nz"
    assert without_empty(["a", "b"], [[1, None], [2, None]]) == (["a"], [[1], [2]])
    assert percent(0.98765) == "98.8 %"
    assert percent(None) is None
