from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.routing.balance import NOTHING_KNOWN, Snapshot, Weighted
from bifrost.routing.session import choose_for_session
from tests.table import table


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


def things(**weights: float) -> Weighted[Thing]:
    return Weighted((Thing(name), weight) for name, weight in weights.items())


def chosen(candidates: Weighted[Thing], session: str, *excluded: str) -> str:
    thing = choose_for_session(candidates, Snapshot(excluded), session)
    assert thing is not None
    return thing.name


SESSIONS = [f"user-{number}" for number in range(4000)]


def test_a_session_keeps_its_key() -> None:
    assert {chosen(things(a=1, b=1, c=1), "anna") for _ in range(50)} == {chosen(things(c=1, b=1, a=1), "anna")}


def test_a_session_meets_the_same_key_in_every_process() -> None:
    code = (
        "from tests.routing.test_session import SESSIONS, chosen, things;"
        "print(''.join(chosen(things(a=1, b=2, c=3), session) for session in SESSIONS[:100]))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert runs == {"".join(chosen(things(a=1, b=2, c=3), session) for session in SESSIONS[:100]) + "\n"}


def test_sessions_are_spread_by_weight() -> None:
    counts = Counter(chosen(things(a=3, b=1, spare=0), session) for session in SESSIONS)

    assert set(counts) == {"a", "b"}
    assert 2850 < counts["a"] < 3150


def test_only_the_sessions_of_a_key_that_goes_move() -> None:
    candidates = things(a=1, b=1, c=1, d=1)
    before = {session: chosen(candidates, session) for session in SESSIONS}
    after = {session: chosen(candidates, session, "b") for session in SESSIONS}

    moved = {session for session in SESSIONS if before[session] != after[session]}
    assert moved == {session for session in SESSIONS if before[session] == "b"}
    assert {after[session] for session in moved} == {"a", "c", "d"}
    assert {session: chosen(candidates, session) for session in SESSIONS} == before


def test_weight_zero_is_for_when_nothing_else_is_left() -> None:
    candidates = things(main=1, spare=0, other=0)

    assert {chosen(candidates, session) for session in SESSIONS[:100]} == {"main"}
    assert {chosen(candidates, session, "main") for session in SESSIONS[:100]} == {"spare", "other"}


def test_nothing_is_chosen_when_all_are_excluded() -> None:
    assert choose_for_session(things(a=1, b=1), Snapshot({"a", "b"}), "anna") is None


# --- many candidates


def many(count: int, weight: float = 1.0) -> dict[str, float]:
    return {f"k{number}": weight for number in range(count)}


def homes(candidates: Weighted[Thing], *excluded: str) -> dict[str, str]:
    return {session: chosen(candidates, session, *excluded) for session in SESSIONS}


def test_among_many_a_session_meets_the_same_key_whatever_their_order() -> None:
    ordered = many(50)

    assert homes(things(**ordered)) == homes(things(**dict(reversed(ordered.items()))))


def test_many_keys_share_the_sessions_evenly_enough() -> None:
    counts = Counter(homes(things(**many(20), spare=0)).values())

    assert set(counts) == set(many(20))
    assert all(100 <= count <= 300 for count in counts.values())


@table(("weight", "share"), [(2.0, 1 / 2), (8.0, 4 / 5), (0.25, 1 / 9), (1e-3, 0.0), (1e300, 1.0)])
def test_many_keys_are_weighed(weight: float, share: float) -> None:
    light = {f"l{number}": 1.0 for number in range(20)}
    heavy = {f"h{number}": weight for number in range(10)}
    counts = Counter(homes(things(**light, **heavy)).values())

    assert abs(sum(counts[name] for name in heavy) / len(SESSIONS) - share) < 0.06


@pytest.mark.parametrize("weights", [many(30), {**many(15), **{f"h{number}": 0.3 for number in range(15)}}])
def test_among_many_only_the_sessions_of_a_key_that_goes_move(weights: dict[str, float]) -> None:
    candidates = things(**weights)
    before = homes(candidates)
    resting = homes(candidates, "k3")
    removed = homes(things(**{name: weight for name, weight in weights.items() if name != "k3"}))

    assert resting == removed
    moved = {session for session in SESSIONS if before[session] != resting[session]}
    assert moved == {session for session in SESSIONS if before[session] == "k3"}
    assert len({resting[session] for session in moved}) > 10
    assert homes(candidates) == before


def test_among_many_the_last_that_is_left_is_found() -> None:
    weights = {**many(40), "light": 0.13, "spare": 0.0, "other": 0.0}
    candidates, last = things(**weights), things(**weights)

    assert set(homes(candidates, *many(40)).values()) == {"light"}
    assert set(homes(candidates, *many(40), "light").values()) == {"spare", "other"}
    assert choose_for_session(last, Snapshot(set(weights)), "anna") is None


@given(session=st.text(), weight=st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_any_text_and_weight_will_do_among_many(session: str, weight: float) -> None:
    candidates = things(a=weight, b=5e-324, c=1.7e308, **many(9, weight))

    first = choose_for_session(candidates, NOTHING_KNOWN, session)
    assert first is choose_for_session(candidates, NOTHING_KNOWN, session) is not None


@given(session=st.text(), weight=st.floats(min_value=0, max_value=1e300))
def test_any_text_is_a_session(session: str, weight: float) -> None:
    candidates = things(a=weight, b=1.0)

    first = choose_for_session(candidates, NOTHING_KNOWN, session)
    assert first is choose_for_session(candidates, NOTHING_KNOWN, session) is not None
