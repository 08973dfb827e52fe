"""Time and chance, as values that tests can hold."""

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
    """What a client asks for time and chance. Deadlines always go by the event loop's own clock."""

    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = attrs.field(factory=lambda: _random.Random().random)  # noqa: S311 - no secret depends on it
    """Gives numbers from 0 up to, not including, 1."""
    wall: Callable[[], float] = _time.time
    """Seconds since the epoch, for HTTP dates and signatures of requests."""
