"""When an attempt that takes long is raced by a second one. Pure: times are passed in.

Two things are known of each provider for it: how long its answers took lately, which says what is long, and how many
attempts there were for each hedge, which bounds what all hedges together add.
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
"""So many answers are remembered, the last ones."""

LEAST = 20
"""So many must be known before they say what is slow."""

BURST = 10
"""The most hedges that may follow one another, however long there was none."""

_KINDS_KEPT = 500
"""Model names come from callers, so what is remembered of them is bounded."""


class Latencies:
    """How long the last answers of one kind took."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        """Take note of an answer; the oldest is forgotten for it."""
        if len(self._recent) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(seconds)
        insort(self._sorted, seconds)

    def percentile(self, share: float) -> float | None:
        """Give the time that this share of them did not need; `None` while too few are known."""
        known = len(self._sorted)
        if known < LEAST:
            return None
        return self._sorted[min(int(share * known), known - 1)]


class LoadAccount:
    """What hedges may add to the attempts: each attempt pays a share of one in, and each hedge takes a whole one out.

    It begins empty and never holds more than `BURST`, so of all attempts up to any moment at most that share was
    hedged, and after a long calm no flood of hedges follows.
    """

    __slots__ = ("_paid_in", "_price")

    def __init__(self, share: float) -> None:
        self._price = 1 / share
        self._paid_in = 0.0

    def attempted(self) -> None:
        """Take note of an attempt that is no hedge."""
        self._paid_in = min(self._paid_in + 1, BURST * self._price)

    @property
    def affords(self) -> bool:
        """Whether there is enough for a hedge."""
        return self._paid_in >= self._price

    def spend(self) -> None:
        """Take note of a hedge."""
        self._paid_in -= self._price


def leaves_room(
    *, categories: Sequence[str], attempts_of_call: int, config: RetryConfig, left: float, fallback_behind: bool
) -> bool:
    """Say whether a call may still have a second attempt beside the one that is slow.

    It counts as a retry: `max_retries` and `attempts_total` bound it, and a fallback keeps the call's last attempt.
    `categories` has what has failed at this candidate so far, `attempts_of_call` all attempts of the call, the slow one
    included. Whoever wants nothing sent twice that may have been done (`retry_sent="never"`) wants no hedge either.
    """
    retries = sum(not RULES[category].free for category in categories if category in RULES)
    return (
        config.retry_sent != "never"
        and retries < config.max_retries
        and attempts_of_call + fallback_behind < config.attempts_total
        and left >= SMALLEST_ATTEMPT
    )


class Hedging:
    """What is known of one provider's answers, by operation and model, and what its hedges may add."""

    def __init__(self, config: HedgeConfig) -> None:
        self.config = config
        self.load = LoadAccount(config.share)
        self._latencies: dict[tuple[str, str], Latencies] = {}

    def change(self, config: HedgeConfig) -> None:
        """Go on with other settings."""
        self.config = config
        self.load = LoadAccount(config.share)

    def begin(self, operation: str, model: str) -> float | None:
        """Take note of an attempt, and give after how long it is slow; `None` while that is not known."""
        self.load.attempted()
        return self.delay(operation, model)

    def delay(self, operation: str, model: str) -> float | None:
        """Give after how long an attempt is slow: by what the last ones took, and never before `floor`."""
        known = self._latencies.get((operation, model))
        usual = None if known is None else known.percentile(self.config.percentile)
        return None if usual is None else max(self.config.floor, usual)

    def took(self, operation: str, model: str, seconds: float) -> None:
        """Take note of how long an answer took, or of how long at least, if it was not waited for."""
        kind = (operation, model)
        known = self._latencies.get(kind)
        if known is None:
            if len(self._latencies) >= _KINDS_KEPT:
                del self._latencies[next(iter(self._latencies))]
            known = self._latencies[kind] = Latencies()
        known.add(seconds)

    def known(self, operation: str, model: str) -> int:
        """Give of how many answers the time is known."""
        return len(self._latencies.get((operation, model), ()))
