"""The waits of calls between attempts, which end at once if no further attempt is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from bifrost.engine.clock import Clock


class Pauses:
    """The calls that wait before an attempt, by provider."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[anyio.CancelScope, str] = {}

    async def wait(self, provider: str, seconds: float) -> None:
        """Wait `seconds`, or until the wait is ended."""
        with anyio.CancelScope() as scope:
            self._waiting[scope] = provider
            try:
                await self._clock.sleep(seconds)
            finally:
                del self._waiting[scope]

    def break_off(self, provider: str | None = None) -> None:
        """End the waits before attempts at a provider, or at all providers for `None`."""
        for scope, where in self._waiting.items():
            if provider in (None, where):
                scope.cancel()
