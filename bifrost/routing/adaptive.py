"""How many exchanges at once a provider gets, where that follows what it takes. Pure, and without any measure of time.

The limit falls by a share when the provider says that it was asked too much, at most once in a round trip, and rises by
one with each round of answers that made use of it. How long answers take says nothing: that follows their length.

A round trip is one that was seen, and not an estimate: a failure lowers the limit only if its exchange began after the
last fall. What began before was sent under the old limit and says nothing of the new one. So the limit follows quick
refusals quickly, and a time limit of two minutes lowers it once in two minutes, however many exchanges it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.errors import CallTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.config import AdaptiveConfig
    from bifrost.errors import BifrostError

_TOO_MUCH = ("overloaded", "throttled")
"""The classes of failure by which a provider says so."""


class AdaptiveLimit:
    """The most exchanges at once for now, between 1 and a ceiling. `on_change` is called when it has moved."""

    __slots__ = ("_answers", "_ceiling", "_config", "_on_change", "_used", "last_fall", "limit")

    _answers: int
    """Those of this round, which has as many as the limit."""
    _used: int
    """The most that was under way at once in it."""

    def __init__(self, config: AdaptiveConfig, ceiling: int, *, on_change: Callable[[], None]) -> None:
        self._config = config
        self._ceiling = ceiling
        self._on_change = on_change
        self.limit = ceiling if config.start is None else min(config.start, ceiling)
        """The limit."""
        self.last_fall = object()
        """Stands for the last time that it was too much."""
        self._begin_round()

    def begin(self, *, in_flight: int) -> Trip:
        """Take note of an exchange that is about to be sent; `in_flight` counts it too."""
        self._used = max(self._used, in_flight)
        return Trip(self)

    def change(self, config: AdaptiveConfig, ceiling: int) -> None:
        """Go on with other settings. A limit at the ceiling goes with it; a lower one was learned, and stays."""
        self._config = config
        self.limit = ceiling if self.limit == self._ceiling else min(self.limit, ceiling)
        self._ceiling = ceiling

    def rise(self) -> None:
        """Count an answer of this round, and end the round if it was the last."""
        self._answers += 1
        if self._answers < self.limit:
            return
        was_used = self._used >= self._config.used * self.limit
        self._begin_round()
        if was_used and self.limit < self._ceiling:
            self._move(self.limit + 1)

    def fall(self) -> str | None:
        """Lower the limit by a share, and give that in words, unless it is at its lowest."""
        self.last_fall = object()
        self._begin_round()
        if self.limit == 1:
            return None
        self._move(max(1, int(self.limit * self._config.factor)))
        return f"at most {self.limit} at once from here on"

    def _move(self, limit: int) -> None:
        self.limit = limit
        self._on_change()

    def _begin_round(self) -> None:
        self._answers = 0
        self._used = 0


class Trip:
    """An exchange on its way there and back. What came of it counts once, whoever reports it first."""

    __slots__ = ("_adaptive", "_is_over", "_last_fall", "_told")

    def __init__(self, adaptive: AdaptiveLimit) -> None:
        self._adaptive = adaptive
        self._last_fall = adaptive.last_fall
        self._is_over = False
        self._told: str | None = None

    def succeeded(self) -> None:
        """Report an answer, or the first content of a stream."""
        if self._is_first():
            self._adaptive.rise()

    def failed(self, error: BifrostError) -> str | None:
        """Report a failure. Gives in words what came of it, if anything did, as often as it is asked."""
        is_too_much = error.category in _TOO_MUCH or isinstance(error, CallTimeoutError)
        if self._is_first() and is_too_much:
            self._told = self._adaptive.fall()
        return self._told

    def _is_first(self) -> bool:
        """Say whether nothing was reported of it, and the limit has not fallen since it began."""
        was_over, self._is_over = self._is_over, True
        return not was_over and self._last_fall is self._adaptive.last_fall
