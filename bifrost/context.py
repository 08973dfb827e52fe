"""`CallContext`: the state of one call that plugins can see."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any

from bifrost.attempt_record import AttemptRecords

if TYPE_CHECKING:
    from bifrost.attempt_record import AttemptRecord
    from bifrost.config import CallOptions
    from bifrost.errors import Phase
    from bifrost.operations.base import Operation


class CallContext:
    """One call, as plugins see it. They store what they need between hooks in `values`.

    A plugin may set `model`, `fallbacks` and `tenant` in `before_call`. This is how routing rules and governance work.
    """

    __slots__ = (
        "attempts",
        "deadline",
        "endpoint",
        "fallback_index",
        "fallbacks",
        "id",
        "is_stream",
        "model",
        "operation",
        "options",
        "phase",
        "provider",
        "started",
        "tenant",
        "values",
        "warnings",
    )

    def __init__(
        self,
        *,
        operation: Operation[Any, Any, Any],
        model: str,
        options: CallOptions,
        started: float,
        is_stream: bool = False,
    ) -> None:
        self.id = urandom(8).hex()
        """A random identifier, the same for all attempts and fallbacks of the call."""
        self.operation = operation
        """The operation, with the types of its request, response and chunks."""
        self.endpoint = operation.name
        """The name of the operation: `chat`, `embeddings`, `models`, ..."""
        self.is_stream = is_stream
        """Whether the response is streamed."""
        self.options = options
        """The options of the call, with defaults filled in."""
        self.started = started
        """When the call started, in seconds on the event loop's clock."""
        self.deadline = started + options.timeout
        """When the call times out, in seconds on the event loop's clock."""
        self.provider = ""
        """The provider of the current attempt; empty before the first one."""
        self.model = model
        """The model that the caller named; during an attempt, the model of its candidate."""
        self.fallbacks: tuple[str, ...] = options.fallbacks
        """The models to try after `model`, in order."""
        self.fallback_index = 0
        """0 for the call's model (any member of its group), then 1, 2, ... for its fallbacks."""
        self.tenant: str | None = None
        """The tenant of the call, whose keys the account returns; `None` for the account's default keys."""
        self.values: dict[Any, Any] = {}
        """Storage for plugins, for the duration of this call."""
        self.attempts: list[AttemptRecord] = AttemptRecords()
        """The attempts of the call so far, in order."""
        self.warnings: list[str] = []
        """Warnings that are added to the response."""
        self.phase: Phase = "hook"
        """What the call is doing now, as a timeout would report it."""

    def __repr__(self) -> str:
        return f"CallContext({self.id}, {self.endpoint} {self.provider}/{self.model}, {len(self.attempts)} attempts)"
