"""A counted gate with a fair queue before it: places are counted by live holders, not by items in a channel."""

from __future__ import annotations

from collections import OrderedDict

import anyio


class Gate:
    """Lets `capacity` holders in at once. Waiters are served in order; a freed place is handed to the first of them.

    A place is reserved for the waiter that is woken, so that no newcomer slips in before it, and passed on if that
    waiter has left meanwhile. Callers that left hold nothing.
    """

    __slots__ = ("_waiters", "capacity", "held")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        # In order of arrival; a waiter anywhere in it can leave at once, also when thousands do.
        self._waiters: OrderedDict[_Ticket, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many are waiting."""
        return len(self._waiters)

    def try_enter(self) -> bool:
        """Take a place if one is free and nobody waits before."""
        if self.held >= self.capacity or self._waiters:
            return False
        self.held += 1
        return True

    async def enter(self) -> bool:
        """Wait for a place. False if all who waited were turned away. A caller that is cancelled holds none."""
        if self.try_enter():
            return True
        ticket = _Ticket()
        self._waiters[ticket] = None
        try:
            await ticket.called.wait()
        except BaseException:
            if ticket.admitted:
                self.leave()
            self._waiters.pop(ticket, None)
            raise
        return ticket.admitted

    def leave(self) -> None:
        """Give a place back."""
        self.held -= 1
        if self._waiters:
            self._admit()

    def resize(self, capacity: int) -> None:
        """Let more or fewer in from now on; who is in stays."""
        self.capacity = capacity
        self._admit()

    def turn_away(self) -> None:
        """Send everybody off who waits, without a place."""
        while self._waiters:
            self._waiters.popitem(last=False)[0].called.set()

    def _admit(self) -> None:
        while self._waiters and self.held < self.capacity:
            self.held += 1
            ticket, _ = self._waiters.popitem(last=False)
            ticket.admitted = True
            ticket.called.set()


class _Ticket:
    __slots__ = ("admitted", "called")

    def __init__(self) -> None:
        self.admitted = False
        self.called = anyio.Event()
