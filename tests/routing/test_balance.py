from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import ConfigError
from bifrost.routing.balance import (
    BALANCES,
    NOTHING_KNOWN,
    Balance,
    LeastBusy,
    Load,
    RoundRobin,
    Snapshot,
    TwoChoices,
    Weighted,
    WeightedRandom,
)
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWS = 100_000

CRITICAL = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467}
"""Chi-squared at p = 0.001, by degrees of freedom."""


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


@table(
    "weights",
    [
        [1.0, 1.0],
        [0.005, 0.015],
        [1e-300, 3e-300],
        [1e300, 1e300, 2e300],
        [1.7e308, 1.7e308],
        [5, 0.5, 2, 0.25, 1],
        [0.7, 0.2, 0.0, 0.1],
    ],
)
def test_things_are_chosen_in_proportion_to_their_weights(weights: list[float]) -> None:
    things = Weighted(enumerate_pairs(weights))
    random = Random(20_25).random

    counts = Counter(things.choose(random) for _ in range(DRAWS))

    largest = max(weights)
    total = sum(weight / largest for weight in weights)
    expected = {place: DRAWS * (weight / largest) / total for place, weight in enumerate(weights) if weight}
    assert set(counts) == set(expected)
    chi = sum((counts[place] - wanted) ** 2 / wanted for place, wanted in expected.items())
    assert chi < CRITICAL[len(expected) - 1]


def test_a_tiny_weight_beside_a_large_one_is_chosen_sometimes() -> None:
    things = Weighted([("large", 1.0), ("tiny", 0.005)])
    random = Random(1).random

    counts = Counter(things.choose(random) for _ in range(DRAWS))

    assert 400 < counts["tiny"] < 600


def test_weight_zero_is_chosen_only_when_nothing_else_is_left() -> None:
    things = Weighted([("spare", 0.0), ("main", 1.0), ("other", 0)])
    random = Random(2).random

    assert {things.choose(random) for _ in range(100)} == {"main"}
    assert {things.choose_except(random, excluded={"main"}.__contains__) for _ in range(100)} == {"spare", "other"}


def test_nothing_is_chosen_when_all_are_excluded() -> None:
    things = Weighted([("a", 1.0), ("b", 0.0)])

    assert things.choose_except(Random(3).random, excluded=lambda _: True) is None


@table("weight", [-1.0, -1e-300, float("nan"), float("inf"), float("-inf"), 10**400, True, "1", None])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight of b must be a number of 0 or more"):
        Weighted([("a", 1.0), ("b", weight)])


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to choose from"):
        Weighted([])


@given(
    weights=st.lists(st.floats(min_value=0, allow_infinity=False, allow_nan=False), min_size=1, max_size=8),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
    excluded=st.sets(st.integers(0, 7)),
)
def test_every_chance_leads_to_something_that_may_be_chosen(
    weights: list[float], chance: float, excluded: set[int]
) -> None:
    things = Weighted(enumerate_pairs(weights))
    allowed = set(range(len(weights))) - excluded

    assert things.choose(lambda: chance) in range(len(weights))
    chosen = things.choose_except(lambda: chance, excluded=excluded.__contains__)
    if not allowed:
        assert chosen is None
        return
    assert chosen in allowed
    if any(weights[place] for place in allowed):
        assert weights[chosen]


def test_no_chance_leads_past_the_last() -> None:
    things = Weighted([("a", 0.1), ("b", 0.2), ("c", 0.7)])

    assert things.choose(lambda: 1 - 2**-53) == "c"
    assert things.choose(lambda: 1.0) == "c"
    assert things.choose(lambda: 0.0) == "a"


def test_weighted_random_heeds_the_snapshot() -> None:
    a, b = Thing("a"), Thing("b")
    things = Weighted([(a, 1.0), (b, 1.0)])
    policy, random = WeightedRandom(), Random(4).random

    assert {policy.choose(things, NOTHING_KNOWN, random) for _ in range(50)} == {a, b}
    assert {policy.choose(things, Snapshot({"a"}), random) for _ in range(50)} == {b}
    assert policy.choose(things, Snapshot({"a", "b"}), random) is None


# --- with what is known of the candidates


A, B, C = Thing("a"), Thing("b"), Thing("c")


def loads(**busy: tuple[int, int]) -> Snapshot:
    return Snapshot(loads={name: Load(busy=held, capacity=places) for name, (held, places) in busy.items()})


def chi_squared(counts: Counter[Any], wanted: dict[Thing, float]) -> float:
    draws = counts.total()
    return sum((counts[thing] - draws * share) ** 2 / (draws * share) for thing, share in wanted.items())


def test_shares_say_how_often_each_is_chosen() -> None:
    things = Weighted([(A, 3e300), (B, 1e300), (C, 0.0)])
    random = Random(5).random

    assert things.shares() == [0.75, 0.25, 0.0]
    assert Weighted([(A, 0.0), (B, 0)]).shares() == [0.5, 0.5]
    counts = Counter(things.choose(random) for _ in range(DRAWS))
    assert chi_squared(counts, {A: 0.75, B: 0.25}) < CRITICAL[1]


@table(
    ("snapshot", "chosen"),
    [
        (loads(a=(5, 10), b=(4, 10), c=(6, 10)), B),
        (loads(a=(5, 100), b=(4, 10), c=(6, 10)), A),
        (loads(a=(1, 10), b=(1, 10)), C),
        (loads(a=(300, 10), b=(200, 10), c=(100, 10)), C),
    ],
)
def test_the_least_busy_is_chosen_for_what_it_can_do_at_once(snapshot: Snapshot, chosen: Thing) -> None:
    things = Weighted([(A, 1.0), (B, 1.0), (C, 1.0)])

    assert {LeastBusy().choose(things, snapshot, Random(seed).random) for seed in range(20)} == {chosen}


def test_a_weight_lightens_the_burden() -> None:
    things = Weighted([(A, 4.0), (B, 1.0)])

    assert LeastBusy().choose(things, loads(a=(3, 10), b=(1, 10)), lambda: 0.0) is A
    assert LeastBusy().choose(things, loads(a=(5, 10), b=(1, 10)), lambda: 0.0) is B


def test_among_equals_the_least_busy_is_drawn_by_weight() -> None:
    things = Weighted([(A, 1.0), (B, 3.0), (C, 0.0)])
    random = Random(6).random

    counts = Counter(LeastBusy().choose(things, NOTHING_KNOWN, random) for _ in range(DRAWS))

    assert set(counts) == {A, B}
    assert chi_squared(counts, {A: 0.25, B: 0.75}) < CRITICAL[1]


def test_calls_that_stay_spread_as_the_places_and_weights_say() -> None:
    things = Weighted([(A, 1.0), (B, 1.0), (C, 2.0)])
    places = {"a": 100, "b": 300, "c": 100}
    busy = Counter[str]()
    random = Random(7).random
    for _ in range(600):
        snapshot = loads(**{name: (busy[name], places[name]) for name in places})
        chosen = LeastBusy().choose(things, snapshot, random)
        assert chosen is not None
        busy[chosen.name] += 1

    assert all(abs(busy[name] - wanted) <= 1 for name, wanted in {"a": 100, "b": 300, "c": 200}.items())


def test_turns_are_exact_and_spread_out() -> None:
    things, policy = Weighted([(A, 5.0), (B, 1.0), (C, 1.0)]), RoundRobin()

    chosen = [policy.choose(things, NOTHING_KNOWN, lambda: 0.0) for _ in range(14)]
    names = "".join(thing.name for thing in chosen if thing is not None)

    assert names[:7] == names[7:]
    assert Counter(names[:7]) == {"a": 5, "b": 1, "c": 1}
    assert "aaaaa" not in names


def test_turns_pass_over_what_is_excluded_and_do_not_make_up_for_it_all_at_once() -> None:
    things, policy = Weighted([(A, 1.0), (B, 1.0)]), RoundRobin()

    assert {policy.choose(things, Snapshot({"a"}), lambda: 0.0) for _ in range(50)} == {B}
    after = [policy.choose(things, NOTHING_KNOWN, lambda: 0.0) for _ in range(10)]
    assert Counter(after) == {A: 5, B: 5}


def test_turns_go_on_in_another_list_of_the_same_names_and_weights() -> None:
    policy = RoundRobin()
    chosen = [
        policy.choose(Weighted([(Thing("a"), 1.0), (Thing("b"), 1.0)]), NOTHING_KNOWN, lambda: 0.0) for _ in range(6)
    ]

    assert [thing.name for thing in chosen if thing is not None] == ["a", "b"] * 3


def test_the_turns_of_lists_that_are_asked_in_turn_do_not_mix() -> None:
    policy, d = RoundRobin(), Thing("d")
    ones, others = Weighted([(A, 1.0), (B, 1.0)]), Weighted([(C, 1.0), (d, 1.0)])
    chosen = [policy.choose(things, NOTHING_KNOWN, lambda: 0.0) for _ in range(4) for things in (ones, others)]

    assert chosen == [A, C, B, d] * 2


@table("weights", [[2, 1, 1], [1, 1, 1, 1], [7, 0.5, 0.5, 2, 2], [1e300, 1e300], [5e-324, 5e-324]])
def test_turns_are_exact_for_all_weights(weights: list[float]) -> None:
    things, policy = Weighted([(Thing(str(place)), weight) for place, weight in enumerate(weights)]), RoundRobin()
    rounds = round(10 * sum(weight / min(weights) for weight in weights))
    chosen = [policy.choose(things, NOTHING_KNOWN, lambda: 0.0) for _ in range(rounds)]

    counts = Counter(thing.name for thing in chosen if thing is not None)
    assert counts == {str(place): round(10 * weight / min(weights)) for place, weight in enumerate(weights)}


def test_turns_of_which_some_are_passed_over_go_by_weight_among_the_others() -> None:
    light = [Thing(f"l{number}") for number in range(10)]
    things, policy = Weighted([(A, 5.0), *((thing, 1.0) for thing in light)]), RoundRobin()
    resting = Snapshot({thing.name for thing in light[:5]})
    counts = Counter(policy.choose(things, resting, lambda: 0.0) for _ in range(100))

    assert counts == {A: 50, **dict.fromkeys(light[5:], 10)}


def test_turns_find_the_last_that_is_left_beside_a_far_heavier_one() -> None:
    things, policy = Weighted([(A, 1e300), (B, 1.0), (C, 0.0)]), RoundRobin()

    assert [policy.choose(things, Snapshot({"a"}), lambda: 0.0) for _ in range(3)] == [B, B, B]
    assert policy.choose(things, NOTHING_KNOWN, lambda: 0.0) is A


def test_of_two_that_are_drawn_the_less_busy_is_chosen() -> None:
    things, policy, random = Weighted([(A, 1.0), (B, 1.0), (C, 1.0)]), TwoChoices(), Random(9).random

    assert {policy.choose(things, loads(a=(5, 10), b=(1, 10), c=(9, 10)), random) for _ in range(50)} == {A, B}
    assert {policy.choose(Weighted([(A, 1.0)]), loads(a=(5, 10)), random) for _ in range(5)} == {A}
    assert policy.choose(Weighted([(A, 3.0), (B, 1.0)]), NOTHING_KNOWN, lambda: 0.5) is A


def test_among_equals_two_choices_go_by_weight() -> None:
    things, random = Weighted([(A, 1.0), (B, 3.0)]), Random(10).random

    counts = Counter(TwoChoices().choose(things, NOTHING_KNOWN, random) for _ in range(DRAWS))

    assert chi_squared(counts, {A: 0.25, B: 0.75}) < CRITICAL[1]


def test_two_choices_keep_a_load_even() -> None:
    things = Weighted((Thing(f"t{number}"), 1.0) for number in range(10))
    busy = Counter[str]()
    random = Random(11).random
    for _ in range(1000):
        chosen = TwoChoices().choose(things, loads(**{name: (held, 1) for name, held in busy.items()}), random)
        assert chosen is not None
        busy[chosen.name] += 1

    assert max(busy.values()) - min(busy.values()) <= 6


def test_two_choices_are_as_likely_as_they_say() -> None:
    things, random = Weighted([(A, 1.0), (B, 3.0), (C, 2.0)]), Random(12).random
    snapshot = loads(a=(1, 10), b=(5, 10), c=(2, 10))

    shares = TwoChoices().shares(things, snapshot)
    counts = Counter(TwoChoices().choose(things, snapshot, random) for _ in range(DRAWS))
    assert chi_squared(counts, {thing: share for thing in (A, B, C) if (share := shares[thing.name])}) < CRITICAL[1]
    assert shares["b"] == 0.0
    assert TwoChoices().shares(Weighted([(A, 1.0)]), snapshot) == {"a": 1.0}
    assert TwoChoices().shares(things, Snapshot({"a", "b", "c"})) == {}


def test_what_turns_remember_is_bounded() -> None:
    policy = RoundRobin()
    for number in range(5_000):
        policy.choose(Weighted([(Thing(f"t{number}"), 1.0)]), NOTHING_KNOWN, lambda: 0.0)

    assert len(policy._turns) == 1000


@table("make", BALANCES.values(), ids=BALANCES)
def test_every_policy_heeds_what_is_excluded_and_keeps_spares_for_last(make: Callable[[], Balance]) -> None:
    things = Weighted([(A, 1.0), (B, 1.0), (C, 0.0)])
    policy, random = make(), Random(8).random

    assert {policy.choose(things, NOTHING_KNOWN, random) for _ in range(50)} == {A, B}
    assert {policy.choose(things, Snapshot({"a"}), random) for _ in range(50)} == {B}
    assert policy.choose(things, Snapshot({"a", "b"}), random) is C
    assert policy.choose(things, Snapshot({"a", "b", "c"}), random) is None


def enumerate_pairs(weights: list[float]) -> list[tuple[int, float]]:
    return list(enumerate(weights))
