"""Counts the calls in progress, and waits until there are none."""

from __future__ import annotations

import anyio


class Active:
    """Counts calls while they have work in progress: attempts, waits and hooks, but not a stream that is being read.

    Work in progress adds one to `count` when it begins, and calls `left` when it ends.
    """

    __slots__ = ("_none", "count")

    def __init__(self) -> None:
        self.count = 0
        self._none: anyio.Event | None = None

    def left(self) -> None:
        """Decrement the count."""
        self.count -= 1
        if self.count == 0 and self._none is not None:
            self._none.set()
            self._none = None

    async def ended(self) -> None:
        """Wait until the count is 0."""
        while self.count:
            # Two tasks may close the client at once; they wait for the same event.
            self._none = self._none or anyio.Event()
            await self._none.wait()
