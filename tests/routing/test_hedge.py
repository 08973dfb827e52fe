from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bifrost.config import HedgeConfig, RetryConfig
from bifrost.routing.hedge import BURST, LEAST, WINDOW, Hedging, Latencies, LoadAccount, leaves_room
from tests.table import table

MODEL = "gpt-4o-mini"


def hedging(*took: float, **config: float) -> Hedging:
    made = Hedging(HedgeConfig(**config))  # pyright: ignore[reportArgumentType] - numbers, all that are asked for here
    for seconds in took:
        made.took("chat", MODEL, seconds)
    return made


# --- what is slow


def test_before_twenty_answers_nothing_is_slow() -> None:
    known = hedging(*[5.0] * (LEAST - 1))
    assert known.begin("chat", MODEL) is None

    known.took("chat", MODEL, 5.0)
    assert known.begin("chat", MODEL) == 5.0
    assert known.known("chat", MODEL) == 20


def test_slow_is_what_takes_longer_than_nineteen_of_twenty() -> None:
    known = hedging(*[2.0] * 95, *[9.0] * 5)
    assert known.delay("chat", MODEL) == 9.0

    known = hedging(*[2.0] * 96, *[9.0] * 4)
    assert known.delay("chat", MODEL) == 2.0


def test_another_percentile_may_be_asked_for() -> None:
    known = hedging(*range(1, 101), percentile=0.5)
    assert known.delay("chat", MODEL) == 51

    known = hedging(*range(1, 101), percentile=1)
    assert known.delay("chat", MODEL) == 100


def test_what_takes_less_than_the_floor_is_never_slow() -> None:
    assert hedging(*[0.1] * 20).delay("chat", MODEL) == 1.0
    assert hedging(*[0.1] * 20, floor=0.01).delay("chat", MODEL) == 0.1


def test_operations_and_models_are_known_apart() -> None:
    known = hedging(*[3.0] * 20)

    assert known.delay("embeddings", MODEL) is None
    assert known.delay("chat", "gpt-4o") is None
    assert (known.known("chat", MODEL), known.known("embeddings", MODEL)) == (20, 0)


def test_only_the_last_two_hundred_answers_count() -> None:
    known = hedging(*[30.0] * 200, *[2.0] * 191)
    assert known.delay("chat", MODEL) == 2.0
    assert known.known("chat", MODEL) == 200


def test_of_very_many_models_the_oldest_is_forgotten() -> None:
    known = hedging(*[3.0] * 20)
    for number in range(499):
        known.took("chat", f"model-{number}", 1.0)
    assert known.delay("chat", MODEL) == 3.0

    known.took("chat", "model-499", 1.0)
    assert known.delay("chat", MODEL) is None
    assert known.known("chat", "model-499") == 1


@given(st.lists(st.floats(0, 1000), min_size=LEAST, max_size=3 * WINDOW), st.sampled_from((0.5, 0.9, 0.95, 0.99, 1.0)))
def test_it_is_the_percentile_of_the_last_two_hundred(took: list[float], share: float) -> None:
    known = Latencies()
    for seconds in took:
        known.add(seconds)

    last = deque(took, maxlen=WINDOW)
    slow = known.percentile(share)
    assert slow is not None
    assert slow in last
    assert sum(seconds > slow for seconds in last) <= (1 - share) * len(last) + 1e-6
    assert sum(seconds < slow for seconds in last) <= share * len(last) + 1e-6
    assert len(known) == len(last)


# --- what it may add


def test_one_attempt_in_twenty_may_be_hedged() -> None:
    load = LoadAccount(0.05)
    hedged: list[int] = []
    for number in range(1, 101):
        load.attempted()
        if load.affords:
            load.spend()
            hedged.append(number)
    assert hedged == [20, 40, 60, 80, 100]


def test_after_a_long_calm_ten_may_follow_one_another() -> None:
    load = LoadAccount(0.05)
    for _ in range(100_000):
        load.attempted()

    count = 0
    while load.affords:
        load.spend()
        count += 1
    assert count == 10


def test_with_other_settings_times_stay_known_and_what_may_be_added_begins_anew() -> None:
    known = hedging(*[3.0] * 20, share=1)
    known.begin("chat", MODEL)
    assert known.load.affords

    known.change(HedgeConfig(share=0.5, floor=4))
    assert known.delay("chat", MODEL) == 4.0
    assert [known.load.affords for _ in range(3) if known.begin("chat", MODEL)] == [False, True, True]


# --- what a call leaves room for


@table(
    ("given", "room"),
    [
        ({}, True),
        ({"categories": ["transient"]}, True),
        ({"categories": ["transient", "throttled"]}, False),
        ({"categories": ["stale", "transient"]}, True),
        ({"config": RetryConfig(max_retries=0)}, False),
        ({"config": RetryConfig(max_retries=1)}, True),
        ({"config": RetryConfig(retry_sent="never")}, False),
        ({"attempts_of_call": 5}, True),
        ({"attempts_of_call": 6}, False),
        ({"attempts_of_call": 4, "fallback_behind": True}, True),
        ({"attempts_of_call": 5, "fallback_behind": True}, False),
        ({"left": 0.1}, True),
        ({"left": 0.09}, False),
    ],
)
def test_it_counts_as_a_retry(given: dict[str, Any], room: bool) -> None:
    asked: dict[str, Any] = {
        "categories": [],
        "attempts_of_call": 1,
        "config": RetryConfig(),
        "left": 60.0,
        "fallback_behind": False,
    }
    assert leaves_room(**{**asked, **given}) == room


# --- against a count


class AgainstACount(RuleBasedStateMachine):
    """The account beside whole numbers: what it holds, and what was done since each hedge."""

    @initialize(price=st.sampled_from((1, 4, 20, 100)))
    def begin(self, price: int) -> None:
        self.price = price
        self.load = LoadAccount(1 / price)
        self.held = self.attempts = self.hedges = 0
        self.since: list[tuple[int, int]] = [(0, 0)]

    @rule(count=st.integers(1, 300))
    def attempt(self, count: int) -> None:
        for _ in range(count):
            self.load.attempted()
        self.attempts += count
        self.held = min(self.held + count, BURST * self.price)

    @rule(count=st.integers(1, 20))
    def hedge(self, count: int) -> None:
        for _ in range(count):
            if self.load.affords:
                self.load.spend()
                self.held -= self.price
                self.hedges += 1
                self.since.append((self.attempts, self.hedges))

    @invariant()
    def affords_what_was_paid_in(self) -> None:
        assert self.load.affords == (self.held >= self.price)

    @invariant()
    def adds_no_more_than_its_share(self) -> None:
        assert self.hedges * self.price <= self.attempts
        for attempts, hedges in self.since:
            assert (self.hedges - hedges) * self.price <= self.attempts - attempts + BURST * self.price


AgainstACount.TestCase.settings = settings(stateful_step_count=40)
TestAgainstACount = AgainstACount.TestCase
