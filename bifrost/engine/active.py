"""The calls that are under way, and the moment at which none is."""

from __future__ import annotations

import anyio


class Active:
    """Counts calls while work of theirs goes on: their attempts, their waits, their hooks; not a stream being read.

    Whoever does such work adds one to `count`, and says `left` in the end.
    """

    __slots__ = ("_none", "count")

    def __init__(self) -> None:
        self.count = 0
        self._none: anyio.Event | None = None

    def left(self) -> None:
        """Count one less."""
        self.count -= 1
        if self.count == 0 and self._none is not None:
            self._none.set()
            self._none = None

    async def ended(self) -> None:
        """Wait until there is none."""
        while self.count:
            # Two may be closing the client at once: they wait for the same moment.
            self._none = self._none or anyio.Event()
            await self._none.wait()
