from __future__ import annotations

from random import Random
from typing import Any

from bifrost.providers.catalog import CATALOG
from bifrost.routing.affinity import Affinity
from bifrost.routing.balance import Load
from bifrost.routing.candidates import Candidate
from bifrost.routing.failover import Failover, outlook
from bifrost.routing.plan import ModelGroup, ModelGroups, Planner
from tests.table import table

A, B, C = Candidate("openai", "a"), Candidate("groq", "b"), Candidate("anthropic", "c")
X, Y = Candidate("openai", "x"), Candidate("groq", "y")
GROUP = ["openai/a", "groq/b", "anthropic/c"]
OUT = Load(usable=False, ready_in=9.0, reason="its keys rest")


def planner(balance: Any = "weighted", members: Any = GROUP) -> Planner:
    rows = {name: CATALOG[name] for name in ("openai", "groq", "anthropic")}
    return Planner(rows, ModelGroups({"fast": ModelGroup(members, balance=balance)}))


class Rig:
    """The candidates of a call, what is known of them, and who was chosen."""

    def __init__(self, model: str, *fallbacks: str, balance: Any = "weighted", seed: int = 1, **more: Any) -> None:
        self.loads: dict[Candidate, Load] = {}
        places = planner(balance).places(model, fallbacks, rings={})
        self.failover = Failover(places, lambda each: self.loads.get(each, Load()), Random(seed).random, **more)
        self.now = 0.0

    def next(self, left: int = 6) -> Candidate | None:
        return self.failover.next(now=self.now, attempts_left=left)

    def rest(self) -> list[Candidate]:
        return list(iter(self.next, None))


def test_fallbacks_follow_in_order() -> None:
    assert Rig("openai/x", "groq/y", "anthropic/c").rest() == [X, Y, C]


@table("balance", ["weighted", "least_busy", "round_robin", "two_choices"])
@table("seed", range(5))
def test_every_member_is_tried_before_the_fallbacks(balance: str, seed: int) -> None:
    order = Rig("fast", "openai/x", balance=balance, seed=seed).rest()
    assert set(order[:3]) == {A, B, C}
    assert order[3:] == [X]


def test_a_fallback_that_is_a_member_is_not_tried_twice() -> None:
    assert sorted(map(str, Rig("fast", "groq/b", "openai/x").rest())) == [*sorted(GROUP), "openai/x"]


@table("balance", ["weighted", "least_busy", "round_robin", "two_choices"])
def test_members_that_cannot_serve_are_passed_over_and_tried_last(balance: str) -> None:
    for seed in range(10):
        rig = Rig("fast", "openai/x", balance=balance, seed=seed)
        rig.loads = {A: OUT, B: Load(usable=False, ready_in=3.0)}
        assert rig.rest() == [C, X, B, A]


def test_a_member_that_comes_back_meanwhile_is_tried_in_its_group() -> None:
    rig = Rig("fast", "openai/x")
    rig.loads = {A: OUT, B: OUT}
    assert rig.next() == C
    rig.loads = {}
    assert set(rig.rest()[:2]) == {A, B}


def test_a_retry_comes_after_every_member_that_can_serve_and_before_the_fallbacks() -> None:
    rig = Rig("fast", "openai/x")
    rig.loads = {C: OUT}
    first = rig.next()
    assert first is not None
    rig.failover.postpone(first, until=5.0)
    second = rig.next()
    assert second is not None
    rig.failover.postpone(second, until=2.0)
    assert {first, second} == {A, B}
    # Whose wait ends first is tried first.
    assert rig.rest() == [second, first, X, C]


def test_the_last_attempt_is_left_to_a_fallback_that_can_serve() -> None:
    rig = Rig("fast", "openai/x")
    rig.next()
    assert rig.next(left=1) == X

    rig = Rig("fast", "openai/x")
    rig.loads = {X: OUT}
    rig.next()
    assert rig.next(left=1) in (A, B, C)


def test_what_stands_behind_is_counted() -> None:
    rig = Rig("fast", "openai/x", "groq/y")
    rig.next()
    assert (rig.failover.behind, rig.failover.sibling_ready, rig.failover.another_ready) == (4, True, True)
    rig.loads = {A: OUT, B: OUT, C: OUT}
    assert (rig.failover.behind, rig.failover.sibling_ready, rig.failover.another_ready) == (2, False, True)
    rig.loads |= {X: OUT, Y: OUT}
    assert not rig.failover.another_ready
    assert rig.failover.has_next
    rig.rest()
    assert not rig.failover.has_next


def test_one_that_is_due_again_counts_as_another() -> None:
    rig = Rig("fast")
    first = rig.next()
    assert first is not None
    rig.failover.postpone(first, until=1.0)
    rig.next()
    rig.next()
    assert (rig.failover.another_ready, rig.failover.has_next) == (True, True)


def test_a_model_without_a_group_is_asked_whatever_is_known_of_it() -> None:
    rig = Rig("openai/x", "groq/y")
    rig.loads = {X: OUT}
    assert rig.rest() == [X, Y]


def test_very_many_fallbacks_take_a_look_at_each() -> None:
    looks: list[Candidate] = []
    counts: list[int] = []
    for many in (200, 400):
        places = planner().places("openai/x", [f"groq/{number}" for number in range(many)], rings={})
        looks.clear()
        failover = Failover(places, lambda each: looks.append(each) or Load(), Random(1).random)
        while failover.next(now=0.0, attempts_left=6) is not None:
            assert failover.behind >= 0
            assert failover.another_ready in (True, False)
        counts.append(len(looks))
    assert counts[1] <= 2.2 * counts[0]


# --- what is told beforehand


def told(loads: dict[Candidate, Load], *fallbacks: str, balance: Any = "weighted") -> list[list[tuple[str, Any, Any]]]:
    places = planner(balance, [("openai/a", 3), "groq/b"]).places("fast", fallbacks, rings={})
    found = outlook(
        places, lambda each: loads.get(each, Load()), session=None, affinity=Affinity(lambda _: 300.0), now=0.0
    )
    return [[(each.candidate.name, each.share, each.passed_over) for each in place] for place in found]


def test_shares_are_those_among_the_members_that_can_serve() -> None:
    assert told({}) == [[("openai/a", 0.75, None), ("groq/b", 0.25, None)]]
    assert told({A: OUT}) == [[("openai/a", 0.0, "its keys rest"), ("groq/b", 1.0, None)]]


def test_if_nobody_can_serve_the_soonest_is_asked_unless_a_fallback_can() -> None:
    out = {A: OUT, B: Load(usable=False, ready_in=2.0, reason="the model is gone")}
    assert told(out) == [[("openai/a", 0.0, "its keys rest"), ("groq/b", 1.0, "the model is gone")]]
    assert told(out, "openai/x") == [
        [("openai/a", 0.0, "its keys rest"), ("groq/b", 0.0, "the model is gone")],
        [("openai/x", 1.0, None)],
    ]


class First:
    """A policy of a user."""

    def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
        return next((each for each in candidates.items if each.name not in snapshot.excluded), None)


class Busiest:
    """A policy that looks at everybody's load."""

    def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
        order = sorted(candidates.items, key=lambda each: -snapshot.loads[each.name].busy)
        return next((each for each in order if each.name not in snapshot.excluded), None)


def test_a_policy_is_told_what_everybody_has_to_do_each_time() -> None:
    rig = Rig("fast", balance=Busiest())
    rig.loads = {A: Load(busy=1), B: Load(busy=3), C: Load(busy=2)}
    assert rig.rest() == [B, C, A]


def test_a_policy_of_ones_own_leaves_the_shares_open() -> None:
    assert told({A: OUT}, balance=First()) == [[("openai/a", 0.0, "its keys rest"), ("groq/b", None, None)]]
    assert Rig("fast", "openai/x", balance=First()).rest() == [A, B, C, X]
