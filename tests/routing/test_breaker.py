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

    def __init__(self, *, chance: float = 0.5, in_a_row: int = 5, **config: Any) -> None:
        self.breaker = Breaker(BreakerConfig(**config), in_a_row=in_a_row)
        self.now = 1000.0
        self.chance = chance

    def admit(self) -> Ticket | None:
        return self.breaker.admit(self.now)

    def admitted(self) -> Ticket:
        ticket = self.admit()
        assert ticket is not None
        return ticket

    def report(self, ticket: Ticket, verdict: Verdict) -> None:
        if verdict == "success":
            self.breaker.succeeded(ticket, now=self.now, random=lambda: self.chance)
            return
        self.breaker.report(ticket, verdict, now=self.now, random=lambda: self.chance)

    def calls(self, *verdicts: Any) -> None:
        for verdict in verdicts:
            self.report(self.admitted(), verdict)

    def stream(self, *, breaks: bool) -> None:
        """Let a stream begin, and end or break."""
        ticket = self.admitted()
        self.breaker.began(ticket, now=self.now, random=lambda: self.chance)
        if breaks:
            self.breaker.broke(ticket, now=self.now, random=lambda: self.chance)
        else:
            self.breaker.ended(ticket)

    @property
    def state(self) -> str:
        return self.breaker.state(self.now)

    @property
    def retry_after(self) -> float:
        return self.breaker.retry_after(self.now)

    def open(self) -> None:
        while self.state == "closed":
            self.calls("failure")
        assert self.state == "open"

    def half_open(self) -> None:
        self.open()
        self.now += self.retry_after
        assert self.state == "half_open"


def test_with_other_settings_the_state_stays() -> None:
    rig = Rig(window=30)
    rig.open()
    rig.breaker.change(BreakerConfig(window=10, successes=1, open=50), in_a_row=5)
    assert (rig.state, rig.retry_after) == ("open", 5.0)
    rig.now += 5
    rig.calls("success")
    assert rig.state == "closed"


@pytest.mark.parametrize(("window", "state"), [(30.0, "open"), (3.0, "closed"), (300.0, "closed")])
def test_with_other_settings_what_was_counted_stays_if_the_window_does(window: float, state: str) -> None:
    rig = Rig(window=30, in_a_row=100)
    rig.calls(*["failure"] * 8)
    rig.breaker.change(BreakerConfig(window=window, calls=10), in_a_row=100)
    rig.calls("failure", "failure")
    assert rig.state == state


def test_a_new_window_forgets_with_time_as_the_first_did() -> None:
    rig = Rig(window=3, in_a_row=100)
    rig.breaker.change(BreakerConfig(window=30, calls=10), in_a_row=100)
    rig.calls(*["failure"] * 9)
    rig.now += 30
    rig.calls("failure")
    assert rig.state == "closed"
    rig.calls(*["failure"] * 9)
    assert rig.state == "open"


def test_it_opens_when_half_of_twenty_fail() -> None:
    rig = Rig(in_a_row=100)
    rig.calls(*["success"] * 10, *["failure"] * 9)
    assert rig.state == "closed"

    rig.calls("failure")

    assert rig.state == "open"
    assert rig.admit() is None
    assert rig.retry_after == 5.0


def test_the_share_of_fewer_than_twenty_says_nothing() -> None:
    rig = Rig(in_a_row=100)
    rig.calls(*["failure"] * 19)

    assert rig.state == "closed"
    rig.calls("failure")
    assert rig.state == "open"


def test_less_than_half_leave_it_closed() -> None:
    rig = Rig()
    for _ in range(100):
        rig.calls("success", "success", "failure")

    assert rig.state == "closed"


def test_five_in_a_row_open_it_while_there_are_fewer_than_twenty() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 4, "success", *["failure"] * 4)
    assert rig.state == "closed"

    rig.calls("failure")

    assert rig.state == "open"


def test_what_is_neutral_neither_counts_in_a_row_nor_ends_it() -> None:
    rig = Rig()
    rig.calls(*["neutral"] * 10, *["failure"] * 4, *["neutral"] * 10)
    assert rig.state == "closed"

    rig.calls("failure")

    assert rig.state == "open"


def test_from_twenty_on_a_row_says_nothing() -> None:
    rig = Rig()
    rig.calls(*["success"] * 20, *["failure"] * 19)
    assert rig.state == "closed"

    rig.calls("failure")

    assert rig.state == "open"


def test_a_row_goes_on_when_the_window_is_empty_again() -> None:
    rig = Rig()
    rig.calls(*["failure"] * 4)
    rig.now += 3600
    rig.calls("failure")
    assert rig.state == "open"


# --- streams


def test_streams_that_begin_and_break_open_it_as_failures_do() -> None:
    rig = Rig()
    for _ in range(4):
        rig.stream(breaks=True)
    assert (rig.state, rig.breaker.snapshot(rig.now).calls, rig.breaker.snapshot(rig.now).failures) == ("closed", 4, 4)

    rig.stream(breaks=True)

    assert rig.state == "open"


def test_a_stream_that_ends_ends_the_row() -> None:
    rig = Rig()
    for _ in range(3):
        for _ in range(4):
            rig.stream(breaks=True)
        rig.stream(breaks=False)
    assert rig.state == "closed"


def test_a_probe_that_begins_and_breaks_opens_it_again() -> None:
    rig = Rig()
    rig.half_open()
    rig.stream(breaks=True)
    assert (rig.state, rig.retry_after) == ("open", 10.0)


def test_a_stream_that_breaks_after_the_state_changed_says_nothing() -> None:
    rig = Rig()
    early = rig.admitted()
    rig.breaker.began(early, now=rig.now, random=lambda: 0.5)
    rig.half_open()
    rig.breaker.broke(early, now=rig.now, random=lambda: 0.5)
    rig.breaker.ended(early)
    assert rig.state == "half_open"


# --- with another candidate behind


def test_with_a_fallback_it_is_tried_again_after_eight_seconds_at_most() -> None:
    rig = Rig()
    rig.open()
    for _ in range(4):
        rig.now += rig.retry_after
        rig.calls("failure")
    assert rig.retry_after == 60.0
    assert rig.breaker.retry_after(rig.now, fallback=True) == 8.0
    rig.now += 7.9
    assert rig.breaker.admit(rig.now, fallback=True) is None
    rig.now += 0.1
    assert rig.breaker.state(rig.now, fallback=True) == "half_open"
    assert rig.state == "open"
    assert rig.admit() is None
    probe = rig.breaker.admit(rig.now, fallback=True)
    assert probe is not None
    assert rig.breaker.admit(rig.now, fallback=True) is None
    rig.report(probe, "success")
    rig.report(rig.breaker.admit(rig.now, fallback=True) or probe, "success")
    assert rig.state == "closed"


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_with_a_fallback_chance_makes_it_no_longer(chance: float) -> None:
    rig = Rig(chance=chance, longest_open_with_fallback=4.5)
    rig.open()
    assert rig.breaker.retry_after(rig.now, fallback=True) <= 4.5


# --- whether anything is held against it


def test_it_is_steady_while_no_failure_is_in_its_window() -> None:
    rig = Rig()
    assert rig.breaker.is_steady
    rig.calls("failure", "success")
    assert not rig.breaker.is_steady
    rig.now += 30
    rig.calls("success")
    assert rig.breaker.is_steady
    rig.open()
    assert not rig.breaker.is_steady


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
    rig = Rig(in_a_row=100)
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
    # What failed before is not counted on.
    rig.calls(*["failure"] * 4)
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


def test_a_success_that_is_reported_ends_a_row_and_counts_as_a_call() -> None:
    rig = Rig()
    for _ in range(3):
        rig.calls(*["failure"] * 4)
        rig.breaker.report(rig.admitted(), "success", now=rig.now, random=lambda: 0.5)
    seen = rig.breaker.snapshot(rig.now)
    assert (seen.state, seen.calls, seen.failures) == ("closed", 15, 12)
    rig.calls(*["failure"] * 5)
    assert rig.state == "open"


def test_the_time_left_is_told_while_it_is_open_and_while_it_is_tried() -> None:
    rig = Rig()
    assert rig.retry_after == 0.0
    rig.half_open()
    assert rig.retry_after == 0.0
    rig.admitted()
    assert rig.retry_after == 5.0


def test_what_is_neutral_is_not_counted() -> None:
    rig = Rig(in_a_row=100)
    rig.calls(*["neutral"] * 100, *["failure"] * 19)

    assert rig.state == "closed"
    assert rig.breaker.snapshot(rig.now).calls == 19


def test_failures_are_forgotten_after_the_window() -> None:
    rig = Rig(in_a_row=100)
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

    @initialize(calls=st.integers(1, 6), in_a_row=st.integers(1, 4), successes=st.integers(1, 3))
    def begin(self, calls: int, in_a_row: int, successes: int) -> None:
        self.config = BreakerConfig(calls=calls, successes=successes)
        self.limit = in_a_row
        self.breaker = Breaker(self.config, in_a_row=in_a_row)
        # Numbers that binary fractions hold exactly, so that both sides of a comparison are the same.
        self.now = 3000.0
        self.state = "closed"
        self.until = 0.0
        self.openings = 0
        self.answers: list[tuple[float, bool]] = []
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
        chance=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def end(self, admitted: tuple[Ticket, int] | None, verdict: Any, chance: float) -> None:
        if admitted is None:
            return
        ticket, epoch = admitted
        if verdict == "cancelled":
            self.breaker.cancel(ticket)
        elif verdict == "success":
            self.breaker.succeeded(ticket, now=self.now, random=lambda: chance)
        else:
            self.breaker.report(ticket, verdict, now=self.now, random=lambda: chance)
        if self.probe is not None and ticket is self.probe[0]:
            self.probe = None
        if verdict == "cancelled" or epoch != self.epoch:
            return
        if self.state == "half_open":
            self.judge_probe(verdict, chance)
        elif verdict != "neutral":
            self.judge(verdict == "failure", chance)

    def judge_probe(self, verdict: str, chance: float) -> None:
        if verdict == "failure":
            self.trip(chance)
        self.good_probes += verdict == "success"
        if self.good_probes == self.config.successes:
            self.openings = 0
            self.enter("closed")

    def judge(self, failed: bool, chance: float) -> None:
        self.answers.append((self.now, failed))
        self.in_a_row = self.in_a_row + 1 if failed else 0
        recent = [bad for moment, bad in self.answers if self.now // 3 - moment // 3 < 10]
        is_half, is_row = sum(recent) * 2 >= len(recent), self.in_a_row >= self.limit
        if failed and (is_half if len(recent) >= self.config.calls else is_row):
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


AgainstAList.TestCase.settings = settings(stateful_step_count=50)
TestAgainstAList = AgainstAList.TestCase
