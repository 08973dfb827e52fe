"""When a provider is left alone. Pure: time and chance are passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from bifrost.config import BreakerConfig
    from bifrost.routing.balance import Random

BUCKETS = 10
"""The window is kept in so many pieces, of which the oldest is dropped at a time."""

JITTER = 0.2
"""How far the time for which a breaker is open varies, so that clients do not come back all at once."""

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]

Verdict: TypeAlias = Literal["success", "failure", "neutral"]


class Ticket:
    """A call that was let through. It is reported on once, or cancelled."""

    __slots__ = ("generation", "is_probe")

    def __init__(self, generation: int, *, is_probe: bool) -> None:
        self.generation = generation
        self.is_probe = is_probe


class BreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How a breaker stands at a moment."""

    state: BreakerState
    retry_after: float
    """For how long no call is let through, in seconds."""
    calls: int
    """The answers in the window."""
    failures: int
    """The failures among them."""
    openings: int
    """How often it has opened since it was last closed."""


class Breaker:
    """Lets calls through while it is closed, none while it is open, and one at a time, as a probe, in between.

    Only what was let through since the last change of state counts: the late answer of a call that began before says
    nothing about now.
    """

    __slots__ = (
        "_calls",
        "_config",
        "_failures",
        "_openings",
        "_period",
        "_piece",
        "_probe",
        "_probe_began",
        "_successes",
        "_unreachable",
        "_until",
        "generation",
        "is_closed",
        "ticket",
    )

    _until: float
    """Open until then, and half open afterwards; told with each opening."""
    _probe: Ticket | None
    _probe_began: float

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self.generation = 0
        """Grows with each change of state."""
        self._openings = 0
        self._piece = config.window / BUCKETS
        self._period = 0
        self._begin(is_closed=True)

    def change(self, config: BreakerConfig) -> None:
        """Go on with other settings: the state stays, and what was counted if the window is as long as before."""
        if config.window != self._config.window:
            self._piece = config.window / BUCKETS
            self._period = 0
            self._forget()
        self._config = config

    def state(self, now: float) -> BreakerState:
        """Give the state."""
        if self.is_closed:
            return "closed"
        return "open" if now < self._until else "half_open"

    def admit(self, now: float) -> Ticket | None:
        """Let a call through, or give `None`: ask `retry_after` then."""
        if self.is_closed:
            return self.ticket
        if now < self._until or self._is_probing(now):
            return None
        self._probe = Ticket(self.generation, is_probe=True)
        self._probe_began = now
        return self._probe

    def retry_after(self, now: float) -> float:
        """Give for how long no call will be let through; the first open time while a probe is out."""
        if self.is_closed:
            return 0.0
        if now < self._until:
            return self._until - now
        return self._config.open if self._is_probing(now) else 0.0

    def report(self, ticket: Ticket, verdict: Verdict, *, never_sent: bool = False, now: float, random: Random) -> None:
        """Take note of how a call that was let through went. `never_sent`: it did not even reach the provider."""
        if ticket is self._probe:
            self._probe = None
        if ticket.generation != self.generation:
            return
        if not self.is_closed:
            self._judge_probe(verdict, now=now, random=random)
        elif verdict == "success":
            self.succeeded(ticket, now=now, random=random)
        elif verdict == "neutral":
            self._unreachable = 0
        else:
            self._count_failure(never_sent=never_sent, now=now, random=random)

    def succeeded(self, ticket: Ticket, *, now: float, random: Random) -> None:
        """Report a success. Nearly all that is ever reported, so it is short while the breaker is closed."""
        if not self.is_closed or ticket.generation != self.generation:
            self.report(ticket, "success", now=now, random=random)
            return
        if int(now / self._piece) != self._period:
            self._turn(now)
        self._calls[self._period % BUCKETS] += 1
        self._unreachable = 0

    def cancel(self, ticket: Ticket) -> None:
        """Take note that a call ended without an answer: a probe's place is free again."""
        if ticket is self._probe:
            self._probe = None

    def snapshot(self, now: float) -> BreakerSnapshot:
        """Give how things stand."""
        self._turn(now)
        return BreakerSnapshot(
            state=self.state(now),
            retry_after=self.retry_after(now),
            calls=sum(self._calls),
            failures=sum(self._failures),
            openings=self._openings,
        )

    # --- inside

    def _is_probing(self, now: float) -> bool:
        return self._probe is not None and now < self._probe_began + self._config.longest_open

    def _count_failure(self, *, never_sent: bool, now: float, random: Random) -> None:
        self._turn(now)
        bucket = self._period % BUCKETS
        self._calls[bucket] += 1
        self._failures[bucket] += 1
        self._unreachable = self._unreachable + 1 if never_sent else 0
        calls = sum(self._calls)
        if self._unreachable >= self._config.unreachable or (
            calls >= self._config.calls and sum(self._failures) >= self._config.failures * calls
        ):
            self._open(now, random)

    def _judge_probe(self, verdict: Verdict, *, now: float, random: Random) -> None:
        if verdict == "failure":
            self._open(now, random)
        elif verdict == "success":
            self._successes += 1
            if self._successes >= self._config.successes:
                self._openings = 0
                self._begin(is_closed=True)

    def _open(self, now: float, random: Random) -> None:
        config = self._config
        seconds = min(config.longest_open, config.open * 2.0 ** min(self._openings, 64))
        self._openings += 1
        self._until = now + seconds * (1 + JITTER * (2 * random() - 1))
        self._begin(is_closed=False)

    def _begin(self, *, is_closed: bool) -> None:
        """Begin a new state with nothing known."""
        self.is_closed = is_closed
        self.generation += 1
        self.ticket = Ticket(self.generation, is_probe=False)
        """What every call has while the breaker is closed."""
        self._probe = None
        self._successes = 0
        self._unreachable = 0
        self._forget()

    def _forget(self) -> None:
        self._calls = [0] * BUCKETS
        self._failures = [0] * BUCKETS

    def _turn(self, now: float) -> None:
        """Drop the pieces of the window that have become too old."""
        period = max(int(now / self._piece), self._period)
        for step in range(1, min(period - self._period, BUCKETS) + 1):
            self._calls[(self._period + step) % BUCKETS] = 0
            self._failures[(self._period + step) % BUCKETS] = 0
        self._period = period
