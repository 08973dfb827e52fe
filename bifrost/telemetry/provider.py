"""Converts events of a provider's keys and breakers to records.

It implements the observer of `bifrost.routing.health`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.telemetry.records import BreakerOpened, KeyCoolingDown

if TYPE_CHECKING:
    from bifrost.telemetry.subscribers import Subscribers


class ProviderObserver:
    """Makes the records of one provider's events while there are subscribers."""

    __slots__ = ("_provider", "_subscribers")

    def __init__(self, provider: str, subscribers: Subscribers) -> None:
        self._provider = provider
        self._subscribers = subscribers

    def key_cooling_down(self, key: str, seconds: float, category: str) -> None:
        """Report that a key is not used for `seconds`."""
        if self._subscribers.subscriptions:
            self._subscribers.emit(
                KeyCoolingDown(provider=self._provider, key=key, duration=seconds, category=category)
            )

    def breaker_opened(self, model: str | None, seconds: float) -> None:
        """Report that no call is sent for `seconds`. `model` is `None` for the address or for all models."""
        if self._subscribers.subscriptions:
            self._subscribers.emit(BreakerOpened(provider=self._provider, model=model, duration=seconds))
