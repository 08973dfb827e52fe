from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bifrost.config import BreakerConfig
from bifrost.routing.breaker import Breaker, Ticket, Verdict


class Rig:
    """A breaker, with a clock that a test turns and chance in the middle."""

    def __init__(self, *, chance: float = 0.5, **config: Any) -> None:
        self.breaker = Breaker(BreakerConfig(**config))
        self.now = 1000.0
        self.chance = chance

    def admit(self) -> Ticket | None:
        return self.breaker.admit(self.now)

    def admitted(self) -> Ticket:
        ticket = self.admit()
        assert ticket is not None
        return ticket

    def report(self, ticket: Ticket, verdict: Verdict, *, never_sent: bool = False) -> None:
        if verdict == "success":
            self.breaker.succeeded(ticket, now=self.now, random=lambda: self.chance)
            return
        self.breaker.report(ticket, verdict, never_sent=never_sent, now=self.now, random=lambda: self.chance)

    def calls(self, *verdicts: Any, never_sent: bool = False) -> None:
        for verdict in verdicts:
            self.report(self.admitted(), verdict, never_sent=never_sent)

    @property
    def state(self) -> str:
        return self.breaker.state(self.now)

    @property
    def retry_after(self) -> float:
        return self.breaker.retry_after(self.now)

    def open(self) -> None:
        self.calls(*["failure"] * 5, never_sent=True)
        assert self.state == "open"

    def half_open(self) -> None:
        self.open()
        self.now += self.retry_after
        assert self.state == "half_open"


def test_with_other_settings_the_state_stays() -> None:
    rig = Rig(window=30)
    rig.open()
    rig.breaker.change(BreakerConfig(window=10, successes=1, open=50))
    assert (rig.state, rig.retry_after) == ("open", 5.0)
    rig.now += 5
    rig.calls("success")
    assert rig.state == "closed"


@pytest.mark.parametrize(("window", "state"), [(30.0, "open"), (3.0, "closed"), (300.0, "closed")])
def test_with_other_settings_what_was_counted_stays_if_the_window_does(window: float, state: str) -> None:
    rig = Rig(window=30)
    rig.calls(*["failure"] * 8)
    rig.breaker.change(BreakerConfig(window=window, calls=10))
    rig.calls("failure", "failure")
    assert rig.state == state


def test_a_new_window_forgets_with_time_as_the_first_did() -> None:
    rig = Rig(window=3)
    rig.breaker.change(BreakerConfig(window=30, calls=10))
    rig.calls(*["failure"] * 9)
    rig.now += 30
    rig.calls("failure")
    assert rig.state == "closed"
    rig.calls(*["failure"] * 9)
    assert rig.state == "open"


def test_it_opens_when_half_of_twenty_fail() -> None:
    rig = Rig()
    rig.calls(*["success"] * 10, *["failure"] * 9)
    assert rig.state == "closed"

    rig.calls("failure")

    assert rig.state == "open"
    assert rig.admit() is None
    assert rig.retry_after == 5.0


def test_fewer_than_twenty_say_nothing() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 19)

    assert rig.state == "closed"
    rig.calls("failure")
    assert rig.state == "open"


def test_less_than_half_leave_it_closed() -> None:
    rig = Rig()
    for _ in range(100):
        rig.calls("success", "success", "failure")

    assert rig.state == "closed"


def test_five_in_a_row_that_were_never_sent_open_it() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 4, never_sent=True)
    rig.calls("success")
    rig.calls(*["failure"] * 4, never_sent=True)
    rig.calls("neutral")
    rig.calls(*["failure"] * 4, never_sent=True)
    rig.calls("failure")
    rig.calls(*["failure"] * 4, never_sent=True)
    assert rig.state == "closed"

    rig.calls("failure", never_sent=True)

    assert rig.state == "open"


# --- the window


def test_the_window_forgets_piece_by_piece() -> None:
    rig = Rig(calls=1000)
    rig.now = 1002.0  # the first second of a piece of three
    for _ in range(10):
        rig.calls("success", "failure")
        rig.now += 3.0
    # Ten pieces are the window: the first is gone as the eleventh begins.
    assert rig.breaker.snapshot(rig.now).calls == 18
    assert rig.breaker.snapshot(rig.now).failures == 9
    assert rig.breaker.snapshot(rig.now + 6.0).calls == 14
    assert rig.breaker.snapshot(rig.now + 26.9).calls == 2
    assert rig.breaker.snapshot(rig.now + 27.0).calls == 0


def test_a_call_is_remembered_to_the_end_of_its_piece() -> None:
    rig = Rig()
    rig.now = 1005.1
    rig.calls("failure")

    assert rig.breaker.snapshot(1034.9).calls == 1
    assert rig.breaker.snapshot(1035.0).calls == 0


def test_a_window_that_is_long_gone_is_empty() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 19)
    rig.now += 10_000.0
    rig.calls(*["failure"] * 19)
    assert rig.state == "closed"
    assert rig.breaker.snapshot(rig.now).calls == 19


def test_a_clock_that_goes_back_loses_nothing() -> None:
    rig = Rig()
    rig.calls("failure", "success")
    assert rig.breaker.snapshot(rig.now - 5.0).calls == 2
    assert rig.breaker.snapshot(rig.now).calls == 2


def test_a_new_state_knows_nothing_of_the_one_before() -> None:
    rig = Rig()
    late = rig.admitted()
    rig.half_open()
    rig.calls("success", "success")
    assert rig.state == "closed"
    assert rig.breaker.snapshot(rig.now).calls == 0
    rig.report(late, "success")
    assert rig.breaker.snapshot(rig.now).calls == 0
    # What was unreachable before is not counted on.
    rig.calls(*["failure"] * 4, never_sent=True)
    assert rig.state == "closed"


def test_a_success_before_a_failed_probe_does_not_count() -> None:
    rig = Rig()
    rig.half_open()
    rig.calls("success", "failure")
    assert rig.state == "open"
    rig.now += rig.retry_after
    rig.calls("success")
    assert rig.state == "half_open"
    rig.calls("success")
    assert rig.state == "closed"


def test_a_success_told_in_full_ends_a_row_of_unreachables_and_counts_as_a_call() -> None:
    rig = Rig()
    for _ in range(3):
        rig.calls(*["failure"] * 4, never_sent=True)
        rig.breaker.report(rig.admitted(), "success", now=rig.now, random=lambda: 0.5)
    seen = rig.breaker.snapshot(rig.now)
    assert (seen.state, seen.calls, seen.failures) == ("closed", 15, 12)
    rig.calls(*["failure"] * 5, never_sent=True)
    assert rig.state == "open"


def test_a_failure_was_sent_if_nothing_else_is_said() -> None:
    rig = Rig()
    for _ in range(10):
        rig.breaker.report(rig.admitted(), "failure", now=rig.now, random=lambda: 0.5)
    assert rig.state == "closed"


def test_the_time_left_is_told_while_it_is_open_and_while_it_is_tried() -> None:
    rig = Rig()
    assert rig.retry_after == 0.0
    rig.half_open()
    assert rig.retry_after == 0.0
    rig.admitted()
    assert rig.retry_after == 5.0


def test_what_is_neutral_is_not_counted() -> None:
    rig = Rig()
    rig.calls(*["neutral"] * 100, *["failure"] * 19)

    assert rig.state == "closed"
    assert rig.breaker.snapshot(rig.now).calls == 19


def test_failures_are_forgotten_after_the_window() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 19)
    rig.now += 30
    rig.calls("failure")
    assert rig.state == "closed"
    rig.now += 27
    rig.calls(*["failure"] * 18)
    assert rig.state == "closed"
    rig.calls("failure")
    assert rig.state == "open"


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
def test_the_time_for_which_it_is_open_varies(chance: float, seconds: float) -> None:
    rig = Rig(chance=chance)
    rig.open()

    assert rig.retry_after == pytest.approx(seconds)


def test_each_failed_probe_doubles_the_time_up_to_a_minute() -> None:
    rig = Rig()
    rig.open()
    seen = []
    for _ in range(7):
        seen.append(round(rig.retry_after, 6))
        rig.now += rig.retry_after
        rig.calls("failure")

    assert seen == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_half_open_lets_one_probe_through_at_a_time() -> None:
    rig = Rig()
    rig.half_open()

    probe = rig.admitted()
    assert probe.is_probe
    assert [rig.admit() for _ in range(1000)] == [None] * 1000
    assert rig.retry_after == 5.0


def test_two_probes_that_succeed_close_it() -> None:
    rig = Rig()
    rig.half_open()

    rig.calls("success")
    assert rig.state == "half_open"
    rig.calls("success")

    assert rig.state == "closed"
    assert rig.retry_after == 0.0
    rig.open()
    assert rig.retry_after == 5.0


def test_a_cancelled_probe_gives_its_place_back() -> None:
    rig = Rig()
    rig.half_open()

    rig.breaker.cancel(rig.admitted())
    probe = rig.admitted()
    rig.breaker.cancel(Ticket(probe.generation, is_probe=False))

    assert rig.admit() is None


def test_a_neutral_probe_decides_nothing() -> None:
    rig = Rig()
    rig.half_open()

    rig.calls("success", "neutral", "neutral")
    assert rig.state == "half_open"
    rig.calls("success")

    assert rig.state == "closed"


def test_a_probe_that_hangs_makes_room_for_another() -> None:
    rig = Rig()
    rig.half_open()
    hanging = rig.admitted()

    rig.now += 59.9
    assert rig.admit() is None
    rig.now += 0.1
    other = rig.admitted()
    rig.breaker.cancel(hanging)

    assert rig.admit() is None
    rig.report(other, "success")
    rig.report(rig.admitted(), "success")
    assert rig.state == "closed"


def test_late_answers_count_for_nothing() -> None:
    rig = Rig()
    late = [rig.admitted() for _ in range(60)]
    rig.open()

    for ticket in late[:20]:
        rig.report(ticket, "success")
        rig.report(ticket, "failure")
    assert (rig.state, rig.retry_after) == ("open", 5.0)
    rig.now += 5.0
    for ticket in late[20:40]:
        rig.report(ticket, "success")
        rig.report(ticket, "failure")
    assert rig.state == "half_open"
    rig.calls("success", "success")
    for ticket in late[40:]:
        rig.report(ticket, "failure")
    assert rig.state == "closed"
    assert rig.breaker.snapshot(rig.now).failures == 0


def test_how_it_stands_can_be_seen() -> None:
    rig = Rig()
    rig.calls("success", "failure")
    seen = rig.breaker.snapshot(rig.now)
    assert (seen.state, seen.calls, seen.failures, seen.openings, seen.retry_after) == ("closed", 2, 1, 0, 0.0)

    rig.open()
    seen = rig.breaker.snapshot(rig.now)
    assert (seen.state, seen.openings, seen.retry_after) == ("open", 1, 5.0)


def test_how_a_breaker_stood_is_a_value() -> None:
    seen = Rig().breaker.snapshot(1000.0)
    assert {seen: 1}[Rig().breaker.snapshot(1000.0)] == 1


# --- against a naive model


class AgainstAList(RuleBasedStateMachine):
    """The breaker, beside one that keeps every answer in a list and looks at all of them each time."""

    tickets = Bundle("tickets")

    @initialize(calls=st.integers(1, 6), unreachable=st.integers(1, 4), successes=st.integers(1, 3))
    def begin(self, calls: int, unreachable: int, successes: int) -> None:
        self.config = BreakerConfig(calls=calls, unreachable=unreachable, successes=successes)
        self.breaker = Breaker(self.config)
        # Numbers that binary fractions hold exactly, so that both sides of a comparison are the same.
        self.now = 3000.0
        self.state = "closed"
        self.until = 0.0
        self.openings = 0
        self.answers: list[tuple[float, bool, bool]] = []
        self.in_a_row = 0
        self.good_probes = 0
        self.epoch = 0
        self.probe: tuple[Ticket, float] | None = None

    def look(self) -> None:
        if self.state == "open" and self.now >= self.until:
            self.state = "half_open"

    def enter(self, state: str) -> None:
        self.state = state
        self.epoch += 1
        self.answers = []
        self.in_a_row = self.good_probes = 0
        self.probe = None

    def trip(self, chance: float) -> None:
        seconds = min(60.0, 5.0 * 2**self.openings)
        self.openings += 1
        self.until = self.now + seconds * (0.8 + 0.4 * chance)
        self.enter("open")

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 4.5, 10.0, 30.0, 75.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    @rule(target=tickets)
    def admit(self) -> tuple[Ticket, int] | None:
        ticket = self.breaker.admit(self.now)
        hung = self.probe is not None and self.now >= self.probe[1] + 60.0
        allowed = self.state == "closed" or (self.state == "half_open" and (self.probe is None or hung))
        assert (ticket is not None) == allowed
        if ticket is None:
            assert self.breaker.retry_after(self.now) > 0
            return None
        assert ticket.is_probe == (self.state == "half_open")
        if self.state == "half_open":
            self.probe = (ticket, self.now)
        return ticket, self.epoch

    @rule(
        admitted=consumes(tickets),
        verdict=st.sampled_from(["success", "failure", "failure", "neutral", "cancelled"]),
        never_sent=st.booleans(),
        chance=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def end(self, admitted: tuple[Ticket, int] | None, verdict: Any, never_sent: bool, chance: float) -> None:
        if admitted is None:
            return
        ticket, epoch = admitted
        if verdict == "cancelled":
            self.breaker.cancel(ticket)
        elif verdict == "success":
            self.breaker.succeeded(ticket, now=self.now, random=lambda: chance)
        else:
            never_sent = never_sent and verdict == "failure"
            self.breaker.report(ticket, verdict, never_sent=never_sent, now=self.now, random=lambda: chance)
        if self.probe is not None and ticket is self.probe[0]:
            self.probe = None
        if verdict == "cancelled" or epoch != self.epoch:
            return
        if self.state == "half_open":
            self.judge_probe(verdict, chance)
        elif verdict == "neutral":
            self.in_a_row = 0
        else:
            self.judge(verdict == "failure", never_sent, chance)

    def judge_probe(self, verdict: str, chance: float) -> None:
        if verdict == "failure":
            self.trip(chance)
        self.good_probes += verdict == "success"
        if self.good_probes == self.config.successes:
            self.openings = 0
            self.enter("closed")

    def judge(self, failed: bool, never_sent: bool, chance: float) -> None:
        self.answers.append((self.now, failed, never_sent))
        self.in_a_row = self.in_a_row + 1 if never_sent else 0
        recent = [bad for moment, bad, _ in self.answers if self.now // 3 - moment // 3 < 10]
        too_many = len(recent) >= self.config.calls and sum(recent) * 2 >= len(recent)
        if failed and (too_many or self.in_a_row >= self.config.unreachable):
            self.trip(chance)

    @invariant()
    def stands_as_the_model_does(self) -> None:
        self.look()
        seen = self.breaker.snapshot(self.now)
        assert seen.state == self.state
        assert seen.openings == self.openings
        assert 0 <= seen.failures <= seen.calls
        assert 0 <= seen.retry_after <= 60 * 1.2
        if self.state == "open":
            assert seen.retry_after == pytest.approx(self.until - self.now)
        if self.state == "closed":
            assert seen.retry_after == 0


AgainstAList.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestAgainstAList = AgainstAList.TestCase
