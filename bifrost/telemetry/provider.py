"""What a provider's keys and breakers report, as records. It is the observer that `bifrost.routing.health` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.telemetry.records import BreakerOpened, KeyCoolingDown

if TYPE_CHECKING:
    from bifrost.telemetry.subscribers import Subscribers


class ProviderObserver:
    """Makes records of one provider's events while somebody has subscribed."""

    __slots__ = ("_provider", "_subscribers")

    def __init__(self, provider: str, subscribers: Subscribers) -> None:
        self._provider = provider
        self._subscribers = subscribers

    def key_cooling_down(self, key: str, seconds: float, category: str) -> None:
        """Report that a key is not used for so many seconds."""
        if self._subscribers.subscriptions:
            self._subscribers.emit(
                KeyCoolingDown(provider=self._provider, key=key, duration=seconds, category=category)
            )

    def breaker_opened(self, model: str | None, seconds: float) -> None:
        """Report that no call is sent for so many seconds. `model` is `None` for the address or all models."""
        if self._subscribers.subscriptions:
            self._subscribers.emit(BreakerOpened(provider=self._provider, model=model, duration=seconds))
