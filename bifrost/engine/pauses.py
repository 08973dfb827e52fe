"""The waits of calls between two attempts: they end at once where no further attempt can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from bifrost.engine.clock import Clock


class Pauses:
    """Who waits before an attempt at which provider."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[anyio.CancelScope, str] = {}

    async def wait(self, provider: str, seconds: float) -> None:
        """Wait so long, or until it is broken off."""
        with anyio.CancelScope() as scope:
            self._waiting[scope] = provider
            try:
                await self._clock.sleep(seconds)
            finally:
                del self._waiting[scope]

    def break_off(self, provider: str | None = None) -> None:
        """End the waits before attempts at a provider; of none in particular, at all."""
        for scope, where in self._waiting.items():
            if provider in (None, where):
                scope.cancel()
