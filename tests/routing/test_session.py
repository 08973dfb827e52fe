from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bifrost.routing.balance import NOTHING_KNOWN, Snapshot, Weighted
from bifrost.routing.session import choose_for_session


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


@given(session=st.text(), weight=st.floats(min_value=0, max_value=1e300))
def test_any_text_is_a_session(session: str, weight: float) -> None:
    candidates = things(a=weight, b=1.0)

    first = choose_for_session(candidates, NOTHING_KNOWN, session)
    assert first is choose_for_session(candidates, NOTHING_KNOWN, session) is not None
