"""Choosing a key costs the same for one key and for a thousand: counted in calls of functions, Python's and C's."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.account import Key
from bifrost.config import KeyPoolConfig
from bifrost.providers.catalog import CATALOG
from bifrost.routing.key_health import KeyStates
from bifrost.routing.keys import KeyPool
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable


def ring_of(count: int, **config: Any) -> KeyPool:
    keys = [Key(name=f"k{number}", value=f"sk-{number:08}") for number in range(count)]
    return KeyPool(CATALOG["openai"], keys, states=KeyStates(KeyPoolConfig(**config)))


def cost_of(work: Callable[[], object]) -> int:
    """Return how many functions are entered, and how many items generators give."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def park(ring: KeyPool, name: str) -> None:
    (key,) = [key for key in ring.keys if key.name == name]
    health = ring.states.of(key)
    health.throttled(health.begin(), wait=1000.0, now=0.0, random=lambda: 0.5)


@table("choose", ["weighted", "two_choices", "round_robin", "least_busy"])
def test_a_key_that_is_not_ready_costs_no_pass_over_all(choose: Any) -> None:
    costs = {}
    for count in (3, 1000):
        ring, chance = ring_of(count, choose=choose), Random(1)
        ring.choose("m", random=chance.random)
        park(ring, "k0")

        def work(ring: KeyPool = ring, chance: Random = chance) -> None:
            for _ in range(100):
                assert ring.resting("m", now=1.0) is None
                assert ring.choose("m", random=chance.random, now=1.0).name != "k0"

        costs[count] = cost_of(work)
    # With three keys the one that is not ready is drawn more often.
    assert costs[1000] <= 1.5 * costs[3]


def test_keys_are_not_sorted_anew_for_each_of_many_models() -> None:
    costs = {}
    for count in (2, 1000):
        ring, chance = ring_of(count), Random(1)
        for number in range(600):
            ring.choose(f"m{number}", random=chance.random)

        def work(ring: KeyPool = ring, chance: Random = chance) -> None:
            for number in range(600):
                choice = ring.choose(f"m{number}", random=chance.random)
                assert choice.model == f"m{number}"

        costs[count] = cost_of(work)
    assert costs[1000] <= 1.5 * costs[2]


@pytest.mark.parametrize("is_shared", [True, False], ids=["one list", "a list each"])
def test_keys_with_lists_are_not_asked_for_each_of_many_models(is_shared: bool) -> None:
    costs = {}
    for count in (2, 1000):
        names = [f"m{number}" for number in range(600)]
        keys = [
            Key(name=f"k{place}", value=f"sk-{place:08}", models=["m*"] if is_shared else [*names[:3], f"own{place}"])
            for place in range(count)
        ]
        ring, chance = KeyPool(CATALOG["openai"], keys, states=KeyStates(KeyPoolConfig())), Random(1)
        models = names if is_shared else names[:3] + [f"own{place % count}" for place in range(600)]

        def work(ring: KeyPool = ring, chance: Random = chance, models: list[str] = models) -> None:
            for model in models[3:]:
                choice = ring.choose(model, random=chance.random)
                assert choice.model == model
                assert ring.weight_of(model) == (len(ring.keys) if is_shared else 1.0)
                assert is_shared or choice.name == model.replace("own", "k")

        for model in models:
            ring.choose(model, random=chance.random)
        costs[count] = cost_of(work)
    # With a list each, more models than are kept are sorted anew: one key for each, found by its name.
    assert costs[1000] <= (1.5 * costs[2] if is_shared else 200 * 600)


def test_lists_and_aliases_hold_for_models_that_share_what_was_sorted() -> None:
    keys = [
        Key(name="plain", value="sk-1"),
        Key(name="same", value="sk-2"),
        Key(name="alias", value="sk-3", models=["a*", "A*"], aliases={"A2": "own-a2"}),
        Key(name="denied", value="sk-4", deny=["a1"]),
        Key(name="off", value="sk-5", enabled=False),
        Key(name="named", value="sk-6", models=["B1", "a3"]),
    ]
    ring = KeyPool(CATALOG["openai"], keys)
    for _ in range(2):
        for model in ("a1", "a2", "a3", "b1", "b2", "A1", "a4", ""):
            outlook = [(choice.name, choice.model) for choice, _ in ring.outlook(model)]
            assert outlook == [
                (key.name, "own-a2" if (key.name, model) == ("alias", "a2") else model)
                for key in keys
                if key.enabled and (not model or key.allows(model))
            ]
    assert [state.name for state in ring.snapshot(0.0)] == ["plain", "same", "alias", "denied", "off", "named"]


def test_what_is_known_of_a_key_holds_for_models_beyond_those_that_are_kept() -> None:
    ring, chance = ring_of(3), Random(1)
    for number in range(600):
        ring.choose(f"m{number}", random=chance.random)
    park(ring, "k1")
    seen = Counter(ring.choose("m599", random=chance.random, now=1.0).name for _ in range(300))
    assert set(seen) == {"k0", "k2"}
    assert [choice.model for choice, _ in ring.outlook("m599")] == ["m599"] * 3
    assert ring.choose("m599", random=chance.random, pin="k2").model == "m599"


@table("choose", ["weighted", "two_choices", "round_robin", "least_busy"])
def test_when_most_keys_are_not_ready_the_others_are_found(choose: Any) -> None:
    ring, chance = ring_of(200, choose=choose), Random(1)
    ring.choose("m", random=chance.random)
    for number in range(198):
        park(ring, f"k{number}")
    seen = Counter(ring.choose("m", random=chance.random, now=1.0).name for _ in range(200))
    assert set(seen) == {"k198", "k199"}
    assert min(seen.values()) > 60


def test_the_least_busy_is_found_also_when_all_are_busy() -> None:
    ring, chance = ring_of(200, choose="least_busy"), Random(1)
    for number in range(600):
        choice = ring.choose("m", random=chance.random)
        assert choice.health is not None
        assert choice.health.in_flight == number // 200
        choice.health.begin()


@pytest.mark.parametrize("count", [3, 1000])
def test_whether_a_key_is_ready_is_told_without_a_look_at_those_that_are_not(count: int) -> None:
    ring, chance = ring_of(count), Random(1)
    ring.choose("m", random=chance.random)
    for number in range(count - 2):
        park(ring, f"k{number}")

    def work() -> None:
        assert ring.resting("m", now=1.0, excluded={f"k{count - 2}"}) is None
        assert ring.has_other("m", now=1.0, excluded={f"k{count - 1}"})
        assert ring.ready_in("m", now=1.0, excluded=()) == 0.0

    assert cost_of(work) <= 40
    assert ring.resting("m", now=1.0, excluded={f"k{count - 2}", f"k{count - 1}"}) is not None
    assert not ring.has_other("m", now=1.0, excluded={f"k{count - 2}", f"k{count - 1}"})


def test_the_key_of_a_session_is_found_without_a_pass_over_all() -> None:
    costs = {}
    for count in (8, 1000):
        ring, chance = ring_of(count), Random(1)
        ring.choose("m", random=chance.random, session="first")
        park(ring, "k0")

        def work(ring: KeyPool = ring, chance: Random = chance) -> None:
            for number in range(100):
                choice = ring.choose("m", random=chance.random, now=1.0, session=f"user {number}")
                assert choice.name != "k0"

        costs[count] = cost_of(work)
    assert costs[1000] <= 1.5 * costs[8]


def test_a_session_costs_one_pass_at_most_when_most_keys_are_not_ready() -> None:
    costs = {}
    for count in (250, 1000):
        ring, chance = ring_of(count), Random(1)
        ring.choose("m", random=chance.random, session="first")
        for number in range(count - 2):
            park(ring, f"k{number}")

        def work(ring: KeyPool = ring, chance: Random = chance, count: int = count) -> None:
            for number in range(10):
                choice = ring.choose("m", random=chance.random, now=1.0, session=f"user {number}")
                assert choice.name in {f"k{count - 2}", f"k{count - 1}"}

        costs[count] = cost_of(work)
    assert costs[1000] <= 4.5 * costs[250]
    assert costs[1000] <= 10 * 4 * 1000


def test_a_session_has_one_key_for_all_models_under_each_ones_name() -> None:
    ring, chance = ring_of(50), Random(1)
    choices = [ring.choose(f"m{number}", random=chance.random, session="anna") for number in range(600)]
    assert len({choice.name for choice in choices}) == 1
    assert [choice.model for choice in choices] == [f"m{number}" for number in range(600)]


def test_of_many_models_the_latest_are_kept() -> None:
    ring, chance = ring_of(3, per_model=True), Random(1)
    for number in range(501):
        ring.choose(f"m{number}", random=chance.random)
    assert list(ring.by_model) == [f"m{number}" for number in range(1, 501)]
