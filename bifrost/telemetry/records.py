"""The records that subscribers receive. Each is an immutable value.

No record contains a key's value, a prompt or a response. All durations are in seconds.
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
    """Whether the response is streamed."""


class AttemptEnded(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt has ended. The attempt of a stream ends with the stream."""

    call: str
    """The call's id, the same in all of its records."""

    operation: str
    """The operation of the call: `chat`, `embeddings`, `models`, ..."""

    attempt: AttemptRecord
    """The record of the attempt, as in the `attempts` of the response or the error.

    There it may get a note, and the category `unfit` if its response does not match the requested type.
    """
    is_stream: bool = False
    """Whether the response is streamed."""

    fallback_index: int = 0
    """0 for the call's model, then 1, 2, ... for its fallbacks."""
    tenant: str | None = None
    """The tenant of the call, if a plugin has set one."""


class StreamCommitted(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first content of a stream has arrived. From now on a failure is raised, or restarts the stream."""

    call: str
    """The call's id, the same in all of its records."""

    operation: str
    """The operation of the call: `chat`, `embeddings`, `models`, ..."""

    provider: str
    """The provider of the stream."""

    model: str
    """The model of the stream."""

    duration: float
    """The time since the call began, in seconds."""
    attempts: int = 0
    """The number of attempts that ended before."""
    tenant: str | None = None
    """The tenant of the call, if a plugin has set one."""


class CallEnded(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call has ended, including its plugins' `after_call` hooks. A streaming call ends with its stream."""

    call: str
    """The call's id, the same in all of its records."""

    operation: str
    """The operation of the call: `chat`, `embeddings`, `models`, ..."""

    model: str
    """The model that was requested, as plugins left it."""
    duration: float
    """The time since the call began, in seconds."""
    provider: str | None = None
    """The provider of the response or the error. `None`: the call reached no provider."""
    response_model: str | None = None
    """The model of the response or the error."""
    is_stream: bool = False
    """Whether the response is streamed."""

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
    """The tenant of the call, if a plugin has set one."""


class KeyCoolingDown(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key is not used for a while: its provider limits its rate, or refuses it."""

    provider: str
    """The name of the provider."""

    key: str
    """The name of the key."""
    duration: float
    """How long the key is not used, as far as is known, in seconds."""
    category: str
    """`throttled`, `credential` or `quota`."""


class BreakerOpened(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A circuit breaker has opened: the provider, or one of its models, receives no calls for a while."""

    provider: str
    """The name of the provider."""

    duration: float
    """How long no call is sent, in seconds."""
    model: str | None = None
    """The model. `None`: the provider's address could not be reached, or its models have one breaker together."""


class QueueFull(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call was refused because a provider's queue was full, or no worker was free within `queue_timeout`."""

    provider: str
    """The name of the provider."""

    concurrency: int
    """The most concurrent attempts."""
    queue: int
    """The most callers that may wait."""
    is_stream: bool = False
    """Whether the refused call is a stream."""


Record: TypeAlias = (
    CallStarted | AttemptEnded | StreamCommitted | CallEnded | KeyCoolingDown | BreakerOpened | QueueFull
)
"""Any record."""
