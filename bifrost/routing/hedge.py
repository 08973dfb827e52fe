"""Hedging: when a second attempt races a slow one. Pure: times are passed in.

Two things are known about each provider: the response times of its last responses, which define what is slow, and the
number of attempts per hedge, which bounds the load that hedges add.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING

from bifrost.routing.retry import RULES, SMALLEST_ATTEMPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.config import HedgeConfig, RetryConfig

WINDOW = 200
"""The number of response times that are remembered."""

LEAST = 20
"""The number of response times that must be known before any attempt counts as slow."""

BURST = 10
"""The most consecutive hedges, however long there was none before."""

_MAX_KINDS = 500
"""The most pairs of operation and model that are remembered. Model names come from callers, so this is bounded."""


class Latencies:
    """The response times of the last responses of one kind."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        """Record a response time, and forget the oldest one."""
        if len(self._recent) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(seconds)
        insort(self._sorted, seconds)

    def percentile(self, share: float) -> float | None:
        """Return a percentile of the response times in seconds; `None` while too few are known."""
        known = len(self._sorted)
        if known < LEAST:
            return None
        return self._sorted[min(int(share * known), known - 1)]


class LoadAccount:
    """The load that hedges may add: each attempt adds its share of a hedge, and each hedge takes one.

    It starts empty and holds at most `BURST` hedges. So at any time at most the configured share of all attempts was
    hedged, and no flood of hedges follows a calm period.
    """

    __slots__ = ("_paid_in", "_price")

    def __init__(self, share: float) -> None:
        self._price = 1 / share
        self._paid_in = 0.0

    def attempted(self) -> None:
        """Record an attempt that is not a hedge."""
        self._paid_in = min(self._paid_in + 1, BURST * self._price)

    @property
    def affords(self) -> bool:
        """Whether a hedge is allowed."""
        return self._paid_in >= self._price

    def spend(self) -> None:
        """Record a hedge."""
        self._paid_in -= self._price


def leaves_room(
    *, categories: Sequence[str], attempts_of_call: int, config: RetryConfig, left: float, fallback_behind: bool
) -> bool:
    """Return whether a call may have a second attempt in addition to the slow one.

    A hedge counts as a retry: `max_retries` and `attempts_total` bound it, and the last attempt of the call is reserved
    for a fallback. `categories` lists the failures at this candidate so far. `attempts_of_call` counts all attempts of
    the call, including the slow one. With `retry_sent="never"` there are no hedges, because they send a request twice.
    """
    retries = sum(not RULES[category].free for category in categories if category in RULES)
    return (
        config.retry_sent != "never"
        and retries < config.max_retries
        and attempts_of_call + fallback_behind < config.attempts_total
        and left >= SMALLEST_ATTEMPT
    )


class Hedging:
    """The response times of one provider, by operation and model, and the load that hedges may add."""

    def __init__(self, config: HedgeConfig) -> None:
        self.config = config
        self.load = LoadAccount(config.share)
        self._latencies: dict[tuple[str, str], Latencies] = {}

    def change(self, config: HedgeConfig) -> None:
        """Use other settings."""
        self.config = config
        self.load = LoadAccount(config.share)

    def begin(self, operation: str, model: str) -> float | None:
        """Record an attempt.

        Returns the seconds after which it is slow; `None` while too few response times are known.
        """
        self.load.attempted()
        return self.delay(operation, model)

    def delay(self, operation: str, model: str) -> float | None:
        """Return the seconds after which an attempt is slow, at least `floor`.

        `None` while too few response times are known.
        """
        known = self._latencies.get((operation, model))
        usual = None if known is None else known.percentile(self.config.percentile)
        return None if usual is None else max(self.config.floor, usual)

    def took(self, operation: str, model: str, seconds: float) -> None:
        """Record a response time. For an attempt that was abandoned, it is how long the attempt took at least."""
        kind = (operation, model)
        known = self._latencies.get(kind)
        if known is None:
            if len(self._latencies) >= _MAX_KINDS:
                del self._latencies[next(iter(self._latencies))]
            known = self._latencies[kind] = Latencies()
        known.add(seconds)

    def known(self, operation: str, model: str) -> int:
        """Return the number of known response times."""
        return len(self._latencies.get((operation, model), ()))
