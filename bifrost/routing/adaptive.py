"""An adaptive limit for the concurrent requests to a provider. Pure, and independent of time.

The limit falls by a factor when the provider is overloaded, at most once per round trip, and rises by one with each
round of successful responses that used most of it (additive increase, multiplicative decrease, as in TCP). Response
times are ignored, because they depend on the length of the response.

Round trips are observed, not estimated: a failure lowers the limit only if its request was sent after the last fall. A
request that was sent earlier was sent under the old limit, and its failure says nothing about the new one. The limit
therefore reacts quickly to quick refusals, and a timeout of two minutes lowers it once in two minutes, however many
requests time out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.errors import CallTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.config import AdaptiveConfig
    from bifrost.errors import BifrostError

_OVERLOAD = ("overloaded", "throttled")
"""The categories of failures that mean that the provider is overloaded."""


class AdaptiveLimit:
    """The current limit of concurrent requests, between 1 and a ceiling. `on_change` is called after each change."""

    __slots__ = ("_answers", "_ceiling", "_config", "_on_change", "_used", "last_fall", "limit")

    _answers: int
    """The successful responses of this round. A round has as many as the limit."""
    _used: int
    """The most requests that were in flight at once in this round."""

    def __init__(self, config: AdaptiveConfig, ceiling: int, *, on_change: Callable[[], None]) -> None:
        self._config = config
        self._ceiling = ceiling
        self._on_change = on_change
        self.limit = ceiling if config.start is None else min(config.start, ceiling)
        """The current limit."""
        self.last_fall = object()
        """An object that identifies the last fall."""
        self._begin_round()

    def begin(self, *, in_flight: int) -> Trip:
        """Record that a request is about to be sent. `in_flight` includes it."""
        self._used = max(self._used, in_flight)
        return Trip(self)

    def change(self, config: AdaptiveConfig, ceiling: int) -> None:
        """Use other settings. A limit at the ceiling follows the ceiling; a lower one was learned and is kept."""
        self._config = config
        self.limit = ceiling if self.limit == self._ceiling else min(self.limit, ceiling)
        self._ceiling = ceiling

    def rise(self) -> None:
        """Count a successful response, and end the round if it was the last one."""
        self._answers += 1
        if self._answers < self.limit:
            return
        was_used = self._used >= self._config.used * self.limit
        self._begin_round()
        if was_used and self.limit < self._ceiling:
            self._move(self.limit + 1)

    def fall(self) -> str | None:
        """Lower the limit by the factor. Returns a description of the change, or `None` if the limit is 1 already."""
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
    """A request and its outcome, which counts once, whoever reports it first."""

    __slots__ = ("_adaptive", "_change", "_is_over", "_last_fall")

    def __init__(self, adaptive: AdaptiveLimit) -> None:
        self._adaptive = adaptive
        self._last_fall = adaptive.last_fall
        self._is_over = False
        self._change: str | None = None

    def succeeded(self) -> None:
        """Report a complete response, or the first content of a stream."""
        if self._is_first():
            self._adaptive.rise()

    def failed(self, error: BifrostError) -> str | None:
        """Report a failure.

        Returns a description of the change of the limit, if there was one, also when called again.
        """
        is_overload = error.category in _OVERLOAD or isinstance(error, CallTimeoutError)
        if self._is_first() and is_overload:
            self._change = self._adaptive.fall()
        return self._change

    def _is_first(self) -> bool:
        """Return whether no outcome was reported yet and the limit has not fallen since the request was sent."""
        was_over, self._is_over = self._is_over, True
        return not was_over and self._last_fall is self._adaptive.last_fall
