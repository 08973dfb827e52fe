"""The records that subscribers receive. Each is a frozen value.

None of them holds a key's value, a prompt or an answer. All durations are in seconds.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from bifrost.attempt_record import AttemptRecord
from bifrost.frozen import Value


class CallStarted(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call has begun. No plugin has seen it yet."""

    call: str
    """The call's id, the same in all of its records."""
    operation: str
    """`chat`, `embeddings`, `models`, ..."""
    model: str
    """The model as the caller named it."""
    is_stream: bool = False


class AttemptEnded(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt has ended. The attempt of a stream ends with the stream."""

    call: str
    operation: str
    attempt: AttemptRecord
    """What happened, as it stands in the `attempts` of the response or the error.

    There it may gain a note, and the category `unfit` where its answer does not fit the requested type.
    """
    is_stream: bool = False
    fallback_index: int = 0
    """0 for the call's model, then 1, 2, ... for its fallbacks."""
    tenant: str | None = None
    """The tenant of the call, if a plugin has set one."""


class StreamCommitted(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first content of a stream has arrived. From now on a failure is raised, or restarts the stream."""

    call: str
    operation: str
    provider: str
    model: str
    duration: float
    """The time since the call began."""
    attempts: int = 0
    """How many attempts ended before."""
    tenant: str | None = None


class CallEnded(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call has ended, its plugins' `after_call` hooks included. A streaming call ends with its stream."""

    call: str
    operation: str
    model: str
    """The model that was requested, as plugins left it."""
    duration: float
    """The time since the call began."""
    provider: str | None = None
    """The provider of the response or the error. `None`: the call reached no provider."""
    response_model: str | None = None
    """The model of the response or the error."""
    is_stream: bool = False
    category: str | None = None
    """The category of the error. `None` for a success."""
    error: str | None = None
    """The class of the error (`RateLimitError`, ...). `None` for a success."""
    usage: Any = None
    """The usage that the response reports. `None`: it reports none."""
    attempts: tuple[AttemptRecord, ...] = ()
    """The records of all attempts, in order."""
    warnings: tuple[str, ...] = ()
    """The warnings on the response."""
    tenant: str | None = None


class KeyCoolingDown(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key is not used for a while: its provider limits its rate, or refuses it."""

    provider: str
    key: str
    """The name of the key."""
    duration: float
    """How long the key is not used, as things are now."""
    category: str
    """`throttled`, `credential` or `quota`."""


class BreakerOpened(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A circuit breaker has opened: the provider, or one of its models, receives no calls for a while."""

    provider: str
    duration: float
    """How long no call is sent."""
    model: str | None = None
    """The model. `None`: the provider's address could not be reached, or its models have one breaker together."""


class QueueFull(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call was refused because a provider's queue was full, or no worker was free within `queue_timeout`."""

    provider: str
    concurrency: int
    """How many attempts may run at once."""
    queue: int
    """How many callers may wait."""
    is_stream: bool = False


Record: TypeAlias = (
    CallStarted | AttemptEnded | StreamCommitted | CallEnded | KeyCoolingDown | BreakerOpened | QueueFull
)
"""Any of them."""
