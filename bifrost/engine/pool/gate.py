"""A counting gate with a fair queue. It counts live holders, not items in a channel."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count

import anyio

_GONE_KEPT = 64
"""The most waiters that have left before they are removed from the queue."""


class Gate:
    """Admits up to `capacity` holders at once. Waiters are served in order, and a free place goes to the first of them.

    A place is reserved for the waiter that is woken, so that no later caller takes it, and is passed on if that waiter
    has left meanwhile. Callers that have left hold nothing.
    """

    __slots__ = ("_arrivals", "_waiters", "capacity", "held", "waiting")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self.waiting = 0
        """The number of waiters."""
        self._arrivals = count()
        self._waiters: list[tuple[float, int, _Ticket]] = []
        # A heap. It may contain tickets of waiters that have left, which are dropped when they reach the top.

    def try_enter(self) -> bool:
        """Acquire a slot if one is free and nobody is waiting. Returns whether it did."""
        if self.held >= self.capacity or self.waiting:
            return False
        self.held += 1
        return True

    def enter_again(self) -> None:
        """Acquire a slot for a holder that returns, even if none is free."""
        self.held += 1

    async def enter(self, order: float = math.inf) -> bool:
        """Wait for a place. The lowest `order` is served first, and equal ones in order of arrival.

        Returns `False` if all waiters were turned away. A caller that is cancelled holds no place.
        """
        if self.try_enter():
            return True
        ticket = _Ticket()
        heappush(self._waiters, (order, next(self._arrivals), ticket))
        self.waiting += 1
        try:
            await ticket.called.wait()
        except BaseException:
            if ticket.admitted:
                self.leave()
            elif not ticket.called.is_set():
                ticket.called.set()
                self.waiting -= 1
                self._clean()
            raise
        return ticket.admitted

    def leave(self) -> None:
        """Release a place."""
        self.held -= 1
        if self.waiting:
            self._admit()

    def resize(self, capacity: int) -> None:
        """Change the capacity. Current holders keep their places."""
        self.capacity = capacity
        self._admit()

    def turn_away(self) -> None:
        """Wake all waiters in order, without a place."""
        while self.waiting:
            self._call_next()

    def _admit(self) -> None:
        while self.waiting and self.held < self.capacity:
            self.held += 1
            self._call_next().admitted = True

    def _call_next(self) -> _Ticket:
        """Wake the first waiter."""
        while True:
            ticket = heappop(self._waiters)[2]
            if not ticket.called.is_set():
                ticket.called.set()
                self.waiting -= 1
                return ticket

    def _clean(self) -> None:
        """Remove the tickets of waiters that have left, if they are the majority."""
        if len(self._waiters) > _GONE_KEPT + 2 * self.waiting:
            self._waiters = [entry for entry in self._waiters if not entry[2].called.is_set()]
            heapify(self._waiters)


class _Ticket:
    __slots__ = ("admitted", "called")

    def __init__(self) -> None:
        self.admitted = False
        self.called = anyio.Event()
