from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import ConfigError
from bifrost.routing.balance import NOTHING_KNOWN, Snapshot, Weighted, WeightedRandom

DRAWS = 100_000

CRITICAL = {1: 10.828, 2: 13.816, 3: 16.266, 4: 18.467}
"""Chi-squared at p = 0.001, by degrees of freedom."""


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("weight", [-1.0, -1e-300, float("nan"), float("inf"), float("-inf"), 10**400, True, "1", None])
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


def enumerate_pairs(weights: list[float]) -> list[tuple[int, float]]:
    return list(enumerate(weights))
