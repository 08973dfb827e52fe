"""`no_waits()`: retries without their waits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.engine.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


@contextmanager
def no_waits() -> Generator[None, None, None]:
    """Let every client retry at once instead of waiting first, as long as the block lasts.

        with no_waits():
            reply = await client.chat(...)  # 429, 429, 200: in no time

    Only the waits between attempts go (the backoff, and what a provider's `retry-after` asks for); the attempt trail
    still tells how long they would have been. Deadlines, timeouts and delays that a script asks for stay as they are.

    It holds for all clients, made before or within the block, except those with a `clock=` whose `sleep` is their
    own: while the block lasts, `Clock.sleep` reads as a function that yields to the event loop once.
    """
    slot = vars(Clock)["sleep"]

    def read(clock: Clock) -> Callable[[float], Awaitable[None]]:
        own = slot.__get__(clock, Clock)
        return _at_once if own is anyio.sleep else own

    _put(property(read, slot.__set__, slot.__delete__))
    try:
        yield
    finally:
        _put(slot)


def _put(descriptor: Any) -> None:
    setattr(Clock, "sleep", descriptor)  # noqa: B010 - a slot of an attrs class, which type checkers do not let go


async def _at_once(_seconds: float) -> None:
    await anyio.lowlevel.checkpoint()
