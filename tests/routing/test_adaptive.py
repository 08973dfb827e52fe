from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bifrost.config import AdaptiveConfig
from bifrost.errors import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    CallTimeoutError,
    ConnectError,
    OverloadedError,
    RateLimitError,
    ServerError,
)
from bifrost.routing.adaptive import AdaptiveLimit, Trip
from tests.table import table

TOO_MUCH = (
    RateLimitError("429", status=429),
    OverloadedError("529", status=529),
    CallTimeoutError("no answer", phase="headers"),
    CallTimeoutError("no token", phase="first_token"),
    CallTimeoutError("no connection", phase="connect"),
)
OTHER = (
    ServerError("500", status=500),
    ConnectError("refused"),
    BadRequestError("400", status=400),
    AuthenticationError("401", status=401),
)


class Rig:
    """A limit, and what it has told."""

    def __init__(self, ceiling: int = 10, **config: Any) -> None:
        self.told: list[int] = []
        self.adaptive = AdaptiveLimit(
            AdaptiveConfig(**config), ceiling, on_change=lambda: self.told.append(self.adaptive.limit)
        )

    @property
    def limit(self) -> int:
        return self.adaptive.limit

    def change(self, ceiling: int, **config: Any) -> int:
        self.adaptive.change(AdaptiveConfig(**config), ceiling)
        return self.limit

    def crowd(self, count: int) -> list[Trip]:
        """Begin so many exchanges at once."""
        return [self.adaptive.begin(in_flight=number + 1) for number in range(count)]

    def fail(self, error: BifrostError = TOO_MUCH[0]) -> str | None:
        return self.adaptive.begin(in_flight=self.limit).failed(error)

    def round(self, *, used: int | None = None) -> None:
        """Have as many answers as the limit, with so many exchanges at once."""
        used = self.limit if used is None else used
        for _ in range(self.limit):
            self.adaptive.begin(in_flight=used).succeeded()


def test_the_limit_begins_at_the_ceiling_or_where_it_is_told_to() -> None:
    assert Rig(256).limit == 256
    assert Rig(256, start=8).limit == 8
    assert Rig(4, start=8).limit == 4


@table("error", TOO_MUCH, ids=lambda error: error.message)
def test_what_says_that_it_was_too_much_lowers_the_limit(error: BifrostError) -> None:
    rig = Rig(100)
    assert rig.fail(error) == "at most 90 at once from here on"
    assert rig.told == [90]


@table("error", OTHER, ids=lambda error: error.message)
def test_other_failures_do_not(error: BifrostError) -> None:
    rig = Rig(100)
    assert rig.fail(error) is None
    assert (rig.limit, rig.told) == (100, [])


def test_failures_of_what_was_under_way_together_count_once() -> None:
    rig = Rig(100)
    told = [trip.failed(TOO_MUCH[0]) for trip in rig.crowd(100)]
    assert [each for each in told if each] == ["at most 90 at once from here on"]
    assert rig.told == [90]
    rig.fail()
    assert rig.told == [90, 81]


def test_the_limit_falls_to_one_and_no_further() -> None:
    rig = Rig(10)
    for _ in range(20):
        rig.fail()
    assert rig.told == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert rig.fail() is None


def test_how_far_it_falls_can_be_set() -> None:
    rig = Rig(100, factor=0.5)
    rig.fail()
    rig.fail()
    assert rig.told == [50, 25]
    assert Rig(1, factor=0.001).fail() is None


def test_a_round_of_answers_raises_it_by_one() -> None:
    rig = Rig(10, start=3)
    rig.round()
    assert rig.told == [4]
    for _ in range(3):
        rig.adaptive.begin(in_flight=4).succeeded()
    assert rig.told == [4]
    rig.adaptive.begin(in_flight=4).succeeded()
    assert rig.told == [4, 5]


def test_at_one_a_single_caller_is_enough() -> None:
    rig = Rig(10, start=1)
    rig.round()
    assert rig.limit == 2


@pytest.mark.parametrize(("used", "limit"), [(7, 10), (8, 11), (10, 11)])
def test_it_rises_only_if_it_was_used(used: int, limit: int) -> None:
    rig = Rig(20, start=10)
    rig.round(used=used)
    assert rig.limit == limit


def test_how_much_use_that_takes_can_be_set() -> None:
    rig = Rig(20, start=10, used=0.2)
    rig.round(used=1)
    assert rig.limit == 10
    rig.round(used=2)
    assert rig.limit == 11


def test_each_round_has_to_be_used_anew() -> None:
    rig = Rig(20, start=10)
    rig.round()
    rig.round(used=1)
    assert rig.limit == 11


def test_it_does_not_rise_above_the_ceiling() -> None:
    rig = Rig(3)
    rig.round()
    rig.round()
    assert (rig.limit, rig.told) == (3, [])


def test_answers_of_what_began_before_a_fall_do_not_raise_it() -> None:
    rig = Rig(4)
    crowd = rig.crowd(4)
    rig.fail()
    assert rig.told == [3]
    for trip in crowd:
        trip.succeeded()
    assert rig.told == [3]


def test_a_fall_begins_the_round_anew() -> None:
    rig = Rig(20, start=10)
    crowd = rig.crowd(10)
    for trip in crowd[:9]:
        trip.succeeded()
    rig.fail()
    assert rig.limit == 9
    for _ in range(8):
        rig.adaptive.begin(in_flight=9).succeeded()
    assert rig.limit == 9


def test_an_exchange_is_reported_once_and_tells_each_time_what_came_of_it() -> None:
    rig = Rig(100)
    trip = rig.adaptive.begin(in_flight=100)
    assert [trip.failed(TOO_MUCH[0]) for _ in range(3)] == ["at most 90 at once from here on"] * 3
    answered = rig.adaptive.begin(in_flight=90)
    for _ in range(200):
        answered.succeeded()
    assert answered.failed(TOO_MUCH[0]) is None
    assert rig.told == [90]


def test_a_higher_ceiling_takes_along_only_what_nothing_spoke_against() -> None:
    free, learned = Rig(10), Rig(10)
    learned.fail()
    assert free.change(100) == 100
    assert learned.change(100) == 9
    learned.round()
    assert learned.limit == 10


def test_a_lower_ceiling_holds_at_once() -> None:
    rig = Rig(100)
    rig.fail()
    assert rig.change(95) == 90
    assert rig.change(40) == 40
    rig.round()
    assert (rig.limit, rig.told) == (40, [90])


def test_other_settings_hold_from_then_on_and_leave_the_limit() -> None:
    rig = Rig(100)
    rig.fail()
    assert rig.change(100, factor=0.5, start=3) == 90
    rig.fail()
    assert rig.limit == 45


class AgainstARecord(RuleBasedStateMachine):
    """Exchanges that begin, and end in any order and in any way, while the ceiling changes now and then.

    Beside the limit stands what it may do: it is remembered of each exchange how often the limit had fallen when it
    began, and of each round what was under way at once.
    """

    trips = Bundle("trips")

    @initialize(
        ceiling=st.integers(1, 40),
        start=st.none() | st.integers(1, 50),
        factor=st.sampled_from([0.01, 0.5, 0.9, 0.999]),
        used=st.sampled_from([0.1, 0.8, 1.0]),
    )
    def begin_with(self, ceiling: int, start: int | None, factor: float, used: float) -> None:
        self.told: list[int] = []
        self.config = AdaptiveConfig(start=start, factor=factor, used=used)
        self.ceiling = ceiling
        self.adaptive = AdaptiveLimit(self.config, ceiling, on_change=lambda: self.told.append(self.adaptive.limit))
        self.in_flight = 0
        self.clock = 0
        self.fell_at = -1
        self.answers: list[int] = []
        """When each answer of this round had begun."""
        self.used = 0

    @rule(target=trips)
    def exchange_begins(self) -> tuple[Trip, int]:
        self.clock += 1
        self.in_flight += 1
        self.used = max(self.used, self.in_flight)
        return self.adaptive.begin(in_flight=self.in_flight), self.clock

    @rule(pair=consumes(trips))
    def exchange_is_answered(self, pair: tuple[Trip, int]) -> None:
        trip, began = pair
        before = self.adaptive.limit
        self.ends(trip.succeeded)
        if began < self.fell_at:
            assert self.adaptive.limit == before
            return
        self.answers.append(began)
        if len(self.answers) < before:
            assert self.adaptive.limit == before
            return
        rises = self.used >= self.config.used * before and before < self.ceiling
        assert self.adaptive.limit == before + rises
        self.round_begins()

    @rule(pair=consumes(trips), error=st.sampled_from(TOO_MUCH))
    def exchange_was_too_much(self, pair: tuple[Trip, int], error: BifrostError) -> None:
        trip, began = pair
        before = self.adaptive.limit
        self.ends(lambda: trip.failed(error))
        if began < self.fell_at:
            assert self.adaptive.limit == before
            return
        assert self.adaptive.limit < before or before == 1
        assert self.adaptive.limit == max(1, int(before * self.config.factor))
        self.clock += 1
        self.fell_at = self.clock
        self.round_begins()

    @rule(pair=consumes(trips), error=st.sampled_from(OTHER))
    def exchange_fails_otherwise(self, pair: tuple[Trip, int], error: BifrostError) -> None:
        before = self.adaptive.limit
        self.ends(lambda: pair[0].failed(error))
        assert self.adaptive.limit == before

    @rule(_=consumes(trips))
    def caller_leaves(self, _: tuple[Trip, int]) -> None:
        self.in_flight -= 1

    @rule(ceiling=st.integers(1, 40))
    def ceiling_changes(self, ceiling: int) -> None:
        before, was_free = self.adaptive.limit, self.adaptive.limit == self.ceiling
        self.adaptive.change(self.config, ceiling)
        assert self.adaptive.limit == (ceiling if was_free else min(before, ceiling))
        self.ceiling = ceiling

    @invariant()
    def the_limit_is_between_one_and_the_ceiling(self) -> None:
        assert 1 <= self.adaptive.limit <= self.ceiling

    def ends(self, report: Any) -> None:
        """Report the end of an exchange; what has changed must have been told, and nothing else."""
        before, told = self.adaptive.limit, len(self.told)
        report()
        self.in_flight -= 1
        assert self.told[told:] == ([] if self.adaptive.limit == before else [self.adaptive.limit])

    def round_begins(self) -> None:
        self.answers.clear()
        self.used = 0


AgainstARecord.TestCase.settings = settings(stateful_step_count=60)
TestAgainstARecord = AgainstARecord.TestCase
