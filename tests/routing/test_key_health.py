from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bifrost.account import Key
from bifrost.attempt_record import RateLimit, Window
from bifrost.config import KeyPoolConfig
from bifrost.routing.key_health import KeyHealth, KeyStates, park_time
from tests.table import table


class Rig:
    """The state of one key, a clock that a test turns, and chance in the middle."""

    def __init__(self, **config: Any) -> None:
        self.states = KeyStates(KeyPoolConfig(**config))
        self.health = self.states.of(Key(name="a", value="sk-a"))
        self.now = 1000.0
        self.chance = 0.5

    @property
    def usable(self) -> bool:
        return self.health.usable(self.now)

    def end(self, use: int) -> None:
        self.health.in_flight -= 1
        self.health.ended(use)

    def throttle(self, use: int | None = None, wait: float | None = None) -> float:
        use = self.health.begin() if use is None else use
        until = self.health.throttled(use, wait=wait, now=self.now, random=lambda: self.chance)
        self.end(use)
        return until - self.now

    def refuse(self, use: int | None = None, reason: str = "credential") -> None:
        use = self.health.begin() if use is None else use
        self.health.refused(use, reason, now=self.now)
        self.end(use)


def test_a_key_is_ready_at_first() -> None:
    rig = Rig()

    assert rig.usable
    seen = rig.health.snapshot(rig.now)
    assert (seen.name, seen.state, seen.until, seen.reason, seen.in_flight) == ("a", "ready", None, None, 0)


# --- parked


def test_it_is_parked_for_as_long_as_the_provider_asks() -> None:
    rig = Rig()
    assert rig.throttle(wait=20.0) == 20.0

    assert not rig.usable
    seen = rig.health.snapshot(rig.now)
    assert (seen.state, seen.until, seen.reason) == ("cooling_down", 1020.0, "throttled")
    rig.now += 20
    assert rig.usable
    assert rig.health.snapshot(rig.now).state == "ready"


def test_a_longer_rest_stays_when_a_shorter_one_is_asked() -> None:
    rig = Rig()
    rig.throttle(wait=60.0)
    rig.now += 1
    assert rig.throttle(wait=1.0) == 59.0

    rig.now += 58
    assert not rig.usable
    rig.throttle(wait=30.0)
    rig.now += 29
    assert not rig.usable


def test_without_a_word_on_how_long_the_rest_is_a_guess_that_doubles() -> None:
    rig = Rig()
    rig.chance = 1.0
    rests = []
    for _ in range(8):
        rests.append(rig.throttle())
        rig.now += rests[-1]
        assert rig.usable

    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_guess_is_full_jitter() -> None:
    rig = Rig()
    rig.chance = 0.0
    assert rig.throttle() == 0.0
    rig.chance = 0.25
    assert rig.throttle() == 0.5


def test_of_many_that_were_under_way_together_one_makes_the_guess_longer() -> None:
    rig = Rig()
    rig.chance = 1.0
    uses = [rig.health.begin() for _ in range(50)]

    assert [rig.throttle(use) for use in uses] == [1.0] * 50
    rig.now += 1
    assert rig.throttle() == 2.0


def test_a_success_makes_the_guess_short_again() -> None:
    rig = Rig()
    rig.chance = 1.0
    for _ in range(5):
        rig.now += rig.throttle()
    assert rig.usable
    rig.health.succeeded(rig.health.begin())

    assert rig.throttle() == 1.0


def test_a_success_of_a_use_that_began_before_does_not_end_the_rest() -> None:
    rig = Rig()
    early = rig.health.begin()
    rig.throttle(wait=20.0)

    rig.health.succeeded(early)
    assert not rig.usable
    rig.health.succeeded(rig.health.begin())
    assert rig.usable


@pytest.mark.parametrize(("first", "second", "proven"), [(None, 20.0, 20.0), (10.0, None, 10.0), (None, None, 0.0)])
def test_a_guess_is_told_from_the_providers_word(first: Any, second: Any, proven: float) -> None:
    rig = Rig(park_base=60.0)
    rig.throttle(wait=first)
    rig.throttle(wait=second)

    if proven:
        assert not rig.health.is_estimated(rig.now)
    rig.now += proven
    assert rig.health.is_estimated(rig.now) == (rig.health.until > rig.now)


def test_a_rest_that_is_proven_is_forgotten_with_its_end() -> None:
    rig = Rig()
    rig.chance = 1.0
    rig.throttle(wait=100.0)
    rig.health.succeeded(rig.health.begin())
    rig.throttle()

    assert rig.health.is_estimated(rig.now)


def test_a_key_that_does_not_rest_rests_on_no_guess() -> None:
    rig = Rig()
    assert not rig.health.is_estimated(rig.now)
    rig.throttle(wait=5.0)
    rig.refuse()
    rig.now += 10
    assert not rig.health.is_estimated(rig.now)


def test_a_late_refusal_after_a_success_makes_the_shortest_guess_and_no_shorter_one() -> None:
    rig = Rig()
    rig.chance = 1.0
    late = rig.health.begin()
    rig.throttle()
    rig.health.succeeded(rig.health.begin())

    assert rig.throttle(late) == 1.0


def test_a_success_says_something_new_only_of_a_key_that_something_is_held_against() -> None:
    rig = Rig()
    assert rig.health.is_steady
    rig.throttle()
    rig.now += 60
    assert rig.usable
    # The next guess would be longer: that is forgotten with a success alone.
    assert not rig.health.is_steady
    rig.health.succeeded(rig.health.begin())
    assert rig.health.is_steady
    rig.refuse()
    assert not rig.health.is_steady


def test_those_who_wait_are_let_go_one_then_two_then_four() -> None:
    rig = Rig()
    rig.throttle(wait=10.0)
    turns = []
    for place in range(8):
        turns.append(rig.health.turn() - rig.now)
        assert rig.health.stand_in_line() == place

    assert turns == [10, 11, 11, 12, 12, 12, 12, 13]
    assert [rig.health.turn(place) - rig.now for place in range(8)] == turns


def test_those_who_are_left_when_it_is_parked_again_begin_anew_in_their_order() -> None:
    rig = Rig()
    rig.throttle(wait=10.0)
    places = [rig.health.stand_in_line() for _ in range(8)]
    for gone in places[:3]:
        rig.health.leave_line(gone)
    rig.now += 11
    assert rig.health.usable(rig.now)
    rig.throttle(wait=10.0)

    assert [rig.health.turn(place) - rig.now for place in places[3:]] == [10, 11, 11, 12, 12]
    assert rig.health.turn() - rig.now == 12
    for place in places[3:]:
        rig.health.leave_line(place)
    assert rig.health.waiting == 0
    assert rig.health.turn() - rig.now == 10


def test_the_place_of_the_last_who_leaves_the_line_is_free_again() -> None:
    rig = Rig()
    rig.throttle(wait=10.0)
    rig.health.stand_in_line()
    rig.health.leave_line(rig.health.stand_in_line())
    assert rig.health.turn() - rig.now == 11


# --- dead


def test_a_refused_key_is_out_until_its_probe() -> None:
    rig = Rig()
    rig.refuse(reason="quota")

    seen = rig.health.snapshot(rig.now)
    assert (seen.state, seen.until, seen.reason) == ("dead", 1600.0, "quota")
    rig.now += 599.9
    assert not rig.usable
    rig.now += 0.1
    assert rig.usable


def test_one_call_probes_a_dead_key() -> None:
    rig = Rig()
    rig.refuse()
    rig.now += 600

    probe = rig.health.begin()
    assert rig.health.snapshot(rig.now).state == "probing"
    assert not rig.usable
    rig.health.succeeded(probe)
    assert rig.health.snapshot(rig.now).state == "ready"


def test_a_probe_that_is_refused_leaves_it_dead_for_as_long_again() -> None:
    rig = Rig()
    rig.refuse()
    rig.now += 600
    rig.refuse()

    assert rig.health.snapshot(rig.now).until == rig.now + 600
    assert not rig.usable


def test_a_probe_that_is_broken_off_gives_its_place_back() -> None:
    rig = Rig()
    early = rig.health.begin()
    rig.refuse()
    rig.now += 600
    probe = rig.health.begin()

    rig.health.ended(early)
    assert not rig.usable
    rig.health.ended(probe)
    assert rig.usable
    assert rig.health.snapshot(rig.now).state == "dead"


def test_a_probe_that_is_rate_limited_shows_a_living_key() -> None:
    rig = Rig()
    rig.refuse()
    rig.now += 600
    rig.throttle(wait=5.0)

    assert rig.health.snapshot(rig.now).state == "cooling_down"
    rig.now += 5
    assert rig.usable


def test_what_began_before_it_died_says_nothing() -> None:
    rig = Rig()
    early = [rig.health.begin() for _ in range(3)]
    rig.refuse()
    rig.now += 600
    probe = rig.health.begin()

    rig.health.succeeded(early[0])
    rig.throttle(early[1], wait=1.0)
    rig.refuse(early[2])
    assert rig.health.snapshot(rig.now).state == "probing"
    rig.health.succeeded(probe)
    assert rig.usable


def test_what_was_under_way_when_it_died_does_not_bring_it_back() -> None:
    rig = Rig()
    first, last = rig.health.begin(), rig.health.begin()
    rig.refuse(first)
    rig.throttle(last, wait=1.0)

    assert rig.health.snapshot(rig.now).state == "dead"


def test_a_parked_key_can_die() -> None:
    rig = Rig()
    late = rig.health.begin()
    rig.throttle(wait=10.0)
    rig.refuse(late, reason="quota")

    rig.now += 10
    assert rig.health.snapshot(rig.now).state == "dead"


# --- the keys of a provider


def test_a_changed_value_makes_a_key_ready() -> None:
    states = KeyStates(KeyPoolConfig())
    old, new = Key(name="a", value="sk-old"), Key(name="a", value="sk-new")
    dead = states.of(old)
    dead.refused(dead.begin(), "credential", now=0.0)

    assert states.of(Key(name="a", value="sk-old")) is dead
    assert states.of(new).usable(0.0)
    assert not states.of(old).usable(0.0)


def test_each_model_may_have_a_limit_of_its_own() -> None:
    key = Key(name="a", value="sk-a")
    together, apart = KeyStates(KeyPoolConfig()), KeyStates(KeyPoolConfig(per_model=True))

    assert together.of(key, "gpt-4o") is together.of(key, "o1") is together.of(key)
    assert apart.of(key) is apart.of(key, "")
    assert apart.of(key, "gpt-4o") is apart.of(key, "gpt-4o") is not apart.of(key, "o1")
    assert (apart.of(key, "o1").snapshot(0.0).model, together.of(key, "o1").snapshot(0.0).model) == ("o1", None)


def test_with_other_settings_a_key_rests_on_and_the_next_rest_is_as_they_say() -> None:
    rig = Rig()
    rig.chance = 1.0
    assert rig.throttle() == 1.0
    rig.states.change(KeyPoolConfig(park_base=10, revive=60))
    assert not rig.usable
    rig.now += 1
    assert rig.usable
    assert rig.throttle() == 20.0
    rig.now += 20
    rig.refuse()
    rig.now += 60
    assert rig.usable


def test_keys_of_one_value_and_two_names_are_two() -> None:
    states = KeyStates(KeyPoolConfig())

    assert states.of(Key(name="a", value="sk")) is not states.of(Key(name="b", value="sk"))


def test_the_troubled_are_known_until_somebody_sees_them_ready() -> None:
    rig = Rig()
    assert not rig.states.troubled
    rig.throttle(wait=5.0)
    assert rig.states.troubled == {rig.health}
    rig.now += 5
    assert rig.usable
    assert not rig.states.troubled


def test_what_is_remembered_of_keys_is_bounded() -> None:
    states = KeyStates(KeyPoolConfig())
    first = states.of(Key(name="first", value="sk"))
    first.refused(first.begin(), "quota", now=0.0)
    for number in range(10_001):
        states.of(Key(name=f"k{number}", value="sk"))

    assert len(states._states) == 10_000
    assert not states.troubled
    assert states.of(Key(name="first", value="sk")) is not first
    # What is still under way with a key that is forgotten ends some time.
    first.refused(first.begin(), "quota", now=0.0)
    assert not states.troubled


def test_how_a_key_stood_is_a_value() -> None:
    seen = Rig().health.snapshot(0.0)
    assert {seen: 1}[Rig().health.snapshot(0.0)] == 1


# --- how long a key rests


USED_UP = RateLimit(
    requests=Window(limit=10, remaining=3, reset_after=100.0),
    tokens=Window(limit=10, remaining=0, reset_after=20.0),
    input_tokens=Window(limit=10, remaining=0, reset_after=25.0),
    output_tokens=Window(remaining=0),
)


@table(
    ("asked", "limit", "seconds"),
    [
        (None, None, None),
        (7.0, None, 7.0),
        (7.0, USED_UP, 7.0),
        (None, USED_UP, 25.0),
        (None, RateLimit(requests=Window(remaining=1, reset_after=9.0)), None),
        (None, RateLimit(requests=Window(remaining=0)), None),
        (None, RateLimit(tokens=Window(remaining=0, reset_after=1e9)), 300.0),
    ],
)
def test_a_rest_is_what_is_asked_or_the_reset_of_what_is_used_up(
    asked: float | None, limit: RateLimit | None, seconds: float | None
) -> None:
    assert park_time(asked, limit) == seconds


# --- against a naive model


class AgainstALog(RuleBasedStateMachine):
    """A key's state, beside a log of everything that was reported, read anew from its beginning each time."""

    uses = Bundle("uses")

    @initialize()
    def begin_all(self) -> None:
        self.states = KeyStates(KeyPoolConfig())
        self.health: KeyHealth = self.states.of(Key(name="a", value="sk"))
        self.now = 1000.0
        self.begun = 0
        self.open: set[int] = set()
        # What the model knows: the rests that were asked for since it was last ready, and a death.
        self.rests: list[float] = []
        self.proven: list[float] = []
        self.dead_until: float | None = None
        self.probe: int | None = None
        self.left_ready_at = 0
        self.strikes = 0

    def end(self, use: int) -> None:
        self.health.in_flight -= 1
        self.health.ended(use)

    def look(self) -> None:
        if self.dead_until is None and self.rests and max(self.rests) <= self.now:
            self.rests, self.proven = [], []

    def is_usable(self) -> bool:
        self.look()
        if self.dead_until is not None:
            return self.dead_until <= self.now and self.probe is None
        return not self.rests

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 7.0, 60.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=uses)
    def use(self) -> int:
        """Use it if it may be, or though it rests (a pinned key, or the last of all)."""
        if self.dead_until is not None and not self.is_usable():
            return 0
        assert self.health.usable(self.now) == self.is_usable()
        use = self.health.begin()
        self.begun += 1
        assert use == self.begun
        if self.dead_until is not None:
            self.probe = use
        self.open.add(use)
        return use

    @rule(use=consumes(uses))
    def succeed(self, use: int) -> None:
        if not use:
            return
        self.open.remove(use)
        self.health.succeeded(use)
        self.end(use)
        if use > self.left_ready_at:
            self.rests, self.proven, self.strikes = [], [], 0
            self.dead_until = self.probe = None

    @rule(use=consumes(uses), wait=st.sampled_from([None, None, 1.0, 30.0]), chance=st.sampled_from([0.0, 0.5, 1.0]))
    def throttle(self, use: int, wait: float | None, chance: float) -> None:
        if not use:
            return
        self.open.remove(use)
        until = self.health.throttled(use, wait=wait, now=self.now, random=lambda: chance)
        self.end(use)
        if self.dead_until is not None and use <= self.left_ready_at:
            return
        # Whether a rest is over is seen when somebody looks.
        if wait is None:
            self.strikes += use > self.left_ready_at
            rest = chance * min(60.0, 2.0 ** max(0, self.strikes - 1))
        else:
            rest = wait
            self.proven.append(self.now + wait)
        self.rests.append(self.now + rest)
        self.dead_until = self.probe = None
        self.left_ready_at = self.begun
        assert until == max(self.rests)

    @rule(use=consumes(uses), reason=st.sampled_from(["credential", "quota"]))
    def refuse(self, use: int, reason: str) -> None:
        if not use:
            return
        self.open.remove(use)
        self.health.refused(use, reason, now=self.now)
        self.end(use)
        if self.dead_until is not None and use <= self.left_ready_at:
            return
        self.rests, self.proven, self.probe = [], [], None
        self.dead_until = self.now + 600
        self.left_ready_at = self.begun

    @rule(use=consumes(uses))
    def break_off(self, use: int) -> None:
        if not use:
            return
        self.open.remove(use)
        self.end(use)
        if use == self.probe:
            self.probe = None

    @invariant()
    def stands_as_the_model_does(self) -> None:
        usable = self.is_usable()
        seen = self.health.snapshot(self.now)
        expected = "ready"
        if self.dead_until is not None:
            expected = "dead" if self.probe is None else "probing"
        elif self.rests:
            expected = "cooling_down"
        assert seen.state == expected
        assert seen.in_flight == len(self.open) >= 0
        assert (seen.until is None) == (seen.reason is None) == (expected == "ready")
        assert self.health.usable(self.now) == usable
        assert (self.health in self.states.troubled) == (expected != "ready")
        if expected == "cooling_down":
            assert seen.until == max(self.rests) > self.now
            assert self.health.is_estimated(self.now) == (max(self.proven, default=0.0) <= self.now)


AgainstALog.TestCase.settings = settings(stateful_step_count=50)
TestAgainstALog = AgainstALog.TestCase


@given(waits=st.lists(st.floats(min_value=0, max_value=300), min_size=1, max_size=20))
def test_a_rest_is_never_shortened(waits: list[float]) -> None:
    rig = Rig()
    ends = [rig.throttle(wait=wait) for wait in waits]

    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(max(waits))
