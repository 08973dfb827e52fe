"""`no_waits()`: retries without waits."""

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
    """Within the block, all clients retry at once instead of waiting first.

        with no_waits():
            reply = await client.chat(...)  # 429, 429, 200, without waiting

    Only the waits between attempts are skipped (the backoff, and those that a provider's `retry-after` demands); the
    attempt records still contain them. Deadlines, timeouts and delays of a script are not affected.

    It affects all clients, made before or within the block, except those with a `clock=` that has its own `sleep`:
    within the block, `Clock.sleep` is a function that only yields to the event loop.
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
    setattr(Clock, "sleep", descriptor)  # noqa: B010 - a slot of an attrs class, which type checkers do not allow to be set


async def _at_once(_seconds: float) -> None:
    await anyio.lowlevel.checkpoint()
