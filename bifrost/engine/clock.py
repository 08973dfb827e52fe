"""The clock and random numbers, which tests can replace."""

from __future__ import annotations

import random as _random
import time as _time
from typing import TYPE_CHECKING

import anyio
import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@attrs.define(eq=False)
class Clock:
    """A client's source of time and randomness. Deadlines always use the event loop's own clock."""

    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = attrs.field(factory=lambda: _random.Random().random)  # noqa: S311 - no secret depends on it
    """Returns numbers from 0 up to, but not including, 1."""
    wall: Callable[[], float] = _time.time
    """Returns the seconds since the epoch, for HTTP dates and signatures of requests."""
