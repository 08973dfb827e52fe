"""What a client reports while it works: one immutable record per event, passed to every subscriber.

`client.subscribe(function)` registers a subscriber.
"""

from __future__ import annotations

from bifrost.telemetry.records import (
    AttemptEnded,
    BreakerOpened,
    CallEnded,
    CallStarted,
    KeyCoolingDown,
    QueueFull,
    Record,
    StreamCommitted,
)
from bifrost.telemetry.subscribers import Subscription

__all__ = [
    "AttemptEnded",
    "BreakerOpened",
    "CallEnded",
    "CallStarted",
    "KeyCoolingDown",
    "QueueFull",
    "Record",
    "StreamCommitted",
    "Subscription",
]
