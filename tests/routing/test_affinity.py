from __future__ import annotations

from collections import Counter
from random import Random

from bifrost.providers.catalog import CATALOG
from bifrost.routing.affinity import Affinity
from bifrost.routing.balance import Load
from bifrost.routing.candidates import Candidate
from bifrost.routing.failover import Failover
from bifrost.routing.plan import ModelGroups, Planner

MEMBERS = ["openai/a", "groq/b", "anthropic/c"]
OUT = Load(usable=False, ready_in=9.0)


class Rig:
    """Sessions of a group, a clock that a test turns, and members that can be taken out."""

    def __init__(self, lifetime: float = 300.0) -> None:
        self.affinity = Affinity(lambda _provider: lifetime)
        self.planner = Planner(
            {name: CATALOG[name] for name in ("openai", "groq", "anthropic")}, ModelGroups({"fast": MEMBERS})
        )
        self.out: set[Candidate] = set()
        self.now = 0.0
        self.note: str | None = None

    def call(self, session: str = "anna") -> Failover:
        """Return the candidates of a call."""
        return Failover(
            self.planner.places("fast", (), rings={}),
            lambda member: OUT if member in self.out else Load(),
            Random(1).random,
            session=session,
            affinity=self.affinity,
        )

    def ask(self, session: str = "anna", *, failing: int = 0) -> Candidate:
        """Make a call whose first members fail, and return who serves it."""
        failover = self.call(session)
        for _ in range(failing):
            failover.next(now=self.now, attempts_left=6)
        chosen = failover.next(now=self.now, attempts_left=6)
        assert chosen is not None
        self.note = failover.note
        return chosen


def test_a_session_stays_with_its_member_and_sessions_are_spread() -> None:
    rig = Rig()
    homes = {str(number): rig.ask(str(number)) for number in range(300)}
    assert all(rig.ask(session) == home for session, home in homes.items())
    assert rig.note is None
    assert min(Counter(homes.values()).values()) > 60


def test_while_its_member_is_out_it_is_at_another_one_and_then_back() -> None:
    rig = Rig()
    home = rig.ask()
    rig.out = {home}
    away = rig.ask()
    assert (away != home, rig.note) == (True, f"session moved here from {home}")
    rig.now += 10
    assert (rig.ask(), rig.note) == (away, f"session stays here instead of at {home}")
    rig.out = set()
    rig.now += 10
    assert (rig.ask(), rig.note) == (home, f"session is back from {away}")
    assert (rig.ask(), rig.note) == (home, None)


def test_it_stays_where_its_cache_is_alive_if_the_one_at_home_has_expired() -> None:
    rig = Rig()
    home = rig.ask()
    rig.out = {home}
    rig.now = 200
    away = rig.ask()
    rig.out = set()
    rig.now = 301
    assert (rig.ask(), rig.note) == (away, f"session stays here instead of at {home}")
    rig.now = 601.5
    assert (rig.ask(), rig.note) == (home, f"session is back from {away}")


def test_a_member_that_fails_has_cached_nothing() -> None:
    rig = Rig()
    home = rig.ask()
    for now in (100.0, 200.0, 299.0):
        rig.now = now
        away = rig.ask(failing=1)
        assert away != home
    # It failed each time since, so what it had cached is from the beginning.
    rig.now = 310
    assert rig.ask() == away
    rig.now = 650
    assert rig.ask() == home


def test_a_member_that_fails_within_a_call_says_so_for_the_next_one() -> None:
    rig = Rig()
    home = rig.ask()
    away = rig.ask(failing=1)
    assert rig.note == f"session moved here from {home}"
    third = rig.ask("anna", failing=2)
    assert {home, away, third} == {Candidate(*name.split("/")) for name in MEMBERS}


def test_what_is_remembered_is_bounded() -> None:
    rig = Rig()
    for number in range(10_050):
        rig.ask(str(number))
    assert len(rig.affinity) == 10_000


def test_with_no_lifetime_it_is_always_back_at_once() -> None:
    rig = Rig(lifetime=0.0)
    home = rig.ask()
    rig.out = {home}
    rig.ask()
    rig.out = set()
    assert rig.ask() == home
