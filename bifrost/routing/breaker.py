"""A circuit breaker. Pure: time and random numbers are passed in.

A provider has breakers of two kinds (`routing.health`): one for the connection to its address, and one for each of its
models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from bifrost.config import BreakerConfig
    from bifrost.routing.balance import Random

BUCKETS = 10
"""The number of pieces that the window is divided into. The oldest piece is dropped as a whole."""

JITTER = 0.2
"""How much the time for which a breaker is open varies, as a share, so that clients do not return all at once."""

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]
"""`closed` lets calls through, `open` refuses them, `half_open` lets one call through as a probe."""

Verdict: TypeAlias = Literal["success", "failure", "neutral"]
"""What an outcome means for the breaker. `neutral` outcomes do not count."""


class Ticket:
    """A call that the breaker let through. Its outcome is reported once, or it is cancelled."""

    __slots__ = ("generation", "is_probe")

    def __init__(self, generation: int, *, is_probe: bool) -> None:
        self.generation = generation
        self.is_probe = is_probe


class BreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a breaker at a point in time."""

    state: BreakerState
    retry_after: float
    """Seconds until a call is let through; 0 if one would be let through now."""
    calls: int
    """The outcomes within the window."""

    """The outcomes within the window."""
    failures: int
    """The failures among them."""
    openings: int
    """How often it has opened since it was last closed."""


class Breaker:
    """Refuses calls while it is open.

    It lets all calls through while it is closed, and a single one, as a probe, while it is half open.

    It opens when the failure rate within its window is too high, or, while the window has too few outcomes for a rate,
    after `in_a_row` consecutive failures.

    Only calls that were let through since the last change of state count: a late outcome of an earlier call says
    nothing about the current state.
    """

    __slots__ = (
        "_calls",
        "_config",
        "_failures",
        "_in_a_row",
        "_opened",
        "_openings",
        "_period",
        "_piece",
        "_probe",
        "_probe_began",
        "_row",
        "_successes",
        "_until",
        "generation",
        "is_closed",
        "is_steady",
        "ticket",
    )

    _opened: float
    """When it opened last."""
    _until: float
    """The end of the open state; it is half open afterwards. It is set with each opening."""
    _probe: Ticket | None
    _probe_began: float

    def __init__(self, config: BreakerConfig, *, in_a_row: int) -> None:
        self._config = config
        self._in_a_row = in_a_row
        self.generation = 0
        """Incremented with each change of state."""
        self._openings = 0
        self._piece = config.window / BUCKETS
        self._period = 0
        self._begin(is_closed=True)

    def change(self, config: BreakerConfig, *, in_a_row: int) -> None:
        """Use other settings. The state is kept, and so are the counts unless the length of the window changes."""
        if config.window != self._config.window:
            self._piece = config.window / BUCKETS
            self._period = 0
            self._forget()
        self._config = config
        self._in_a_row = in_a_row

    def state(self, now: float, *, fallback: bool = False) -> BreakerState:
        """Return the state for a call with or without a fallback."""
        if self.is_closed:
            return "closed"
        return "open" if now < self._open_until(fallback=fallback) else "half_open"

    def admit(self, now: float, *, fallback: bool = False) -> Ticket | None:
        """Return a ticket for a call; `None` if it is refused, and `retry_after` returns for how long.

        `fallback` says that the call has another candidate after this one. Such a call may try earlier, because a
        failed probe costs it little.
        """
        if self.is_closed:
            return self.ticket
        if now < self._open_until(fallback=fallback) or self._is_probing(now):
            return None
        self._probe = Ticket(self.generation, is_probe=True)
        self._probe_began = now
        return self._probe

    def retry_after(self, now: float, *, fallback: bool = False) -> float:
        """Return the seconds until a call is let through; while a probe is running, the first open time."""
        if self.is_closed:
            return 0.0
        until = self._open_until(fallback=fallback)
        if now < until:
            return until - now
        return self._config.open if self._is_probing(now) else 0.0

    def report(self, ticket: Ticket, verdict: Verdict, *, now: float, random: Random) -> None:
        """Report the outcome of a call that was let through. A neutral outcome only frees the place of a probe."""
        if ticket is self._probe:
            self._probe = None
        if ticket.generation != self.generation:
            return
        if not self.is_closed:
            self._judge_probe(verdict, now=now, random=random)
        elif verdict == "success":
            self.succeeded(ticket, now=now, random=random)
        elif verdict == "failure":
            self._count_failure(1, now=now, random=random)

    def succeeded(self, ticket: Ticket, *, now: float, random: Random) -> None:
        """Report a success. Nearly all outcomes are successes, so this is short while the breaker is closed."""
        if not self.is_closed or ticket.generation != self.generation:
            self.report(ticket, "success", now=now, random=random)
            return
        if int(now / self._piece) != self._period:
            self._turn(now)
            self.is_steady = not any(self._failures)
        self._calls[self._period % BUCKETS] += 1
        self._row = 0

    def began(self, ticket: Ticket, *, now: float, random: Random) -> None:
        """Report the first content of a stream, which counts as a success unless the stream breaks (`broke`)."""
        row = self._row
        self.succeeded(ticket, now=now, random=random)
        if self.is_closed and ticket.generation == self.generation:
            self._row = row

    def ended(self, ticket: Ticket) -> None:
        """Report that a stream that had begun ended normally."""
        if self.is_closed and ticket.generation == self.generation:
            self._row = 0

    def broke(self, ticket: Ticket, *, now: float, random: Random) -> None:
        """Turn the success of a stream that had begun into a failure."""
        if ticket.generation != self.generation:
            return
        if self.is_closed:
            self._count_failure(0, now=now, random=random)
        else:
            self._open(now, random)

    def cancel(self, ticket: Ticket) -> None:
        """Report that a call ended without an outcome. The place of a probe becomes free."""
        if ticket is self._probe:
            self._probe = None

    def snapshot(self, now: float) -> BreakerSnapshot:
        """Return the state and the counts."""
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

    def _open_until(self, *, fallback: bool) -> float:
        return min(self._until, self._opened + self._config.longest_open_with_fallback) if fallback else self._until

    def _count_failure(self, calls: int, *, now: float, random: Random) -> None:
        """Count a failure, and `calls` outcomes with it: 0 if the outcome was counted before."""
        self._turn(now)
        self.is_steady = False
        bucket = self._period % BUCKETS
        self._calls[bucket] += calls
        self._failures[bucket] += 1
        self._row += 1
        results = sum(self._calls)
        if results >= self._config.calls:
            opens = sum(self._failures) >= self._config.failures * results
        else:
            opens = self._row >= self._in_a_row
        if opens:
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
        self._opened = now
        self._until = now + seconds * (1 + JITTER * (2 * random() - 1))
        self._begin(is_closed=False)

    def _begin(self, *, is_closed: bool) -> None:
        """Begin a new state without any outcomes."""
        self.is_closed = is_closed
        self.is_steady = is_closed
        """Whether it is closed and no failure is in its window."""
        self.generation += 1
        self.ticket = Ticket(self.generation, is_probe=False)
        """The ticket of every call while the breaker is closed."""
        self._probe = None
        self._successes = 0
        self._row = 0
        self._forget()

    def _forget(self) -> None:
        self._calls = [0] * BUCKETS
        self._failures = [0] * BUCKETS

    def _turn(self, now: float) -> None:
        """Drop the pieces of the window that are too old."""
        period = max(int(now / self._piece), self._period)
        for step in range(1, min(period - self._period, BUCKETS) + 1):
            self._calls[(self._period + step) % BUCKETS] = 0
            self._failures[(self._period + step) % BUCKETS] = 0
        self._period = period
