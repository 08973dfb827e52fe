"""What accompanies one call from the client to its answer, and what plugins may know of it."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bifrost.attempt_record import AttemptRecords

if TYPE_CHECKING:
    from bifrost.attempt_record import AttemptRecord
    from bifrost.config import CallOptions
    from bifrost.errors import Phase


Operation: TypeAlias = Literal["chat", "embeddings", "models"]
"""What a call asks for."""


class CallContext:
    """One call. Plugins read it, and keep what they need between hooks in `values`.

    In `before_call` a plugin may set `model`, `fallbacks` and `tenant`: that is how routing rules and governance work.
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
        "options",
        "phase",
        "provider",
        "started",
        "tenant",
        "values",
        "warnings",
    )

    def __init__(
        self, *, endpoint: Operation, model: str, options: CallOptions, started: float, is_stream: bool = False
    ) -> None:
        self.id = urandom(8).hex()
        """Random; the same over all attempts and fallbacks of the call."""
        self.endpoint: Operation = endpoint
        """`chat`, `embeddings` or `models`."""
        self.is_stream = is_stream
        self.options = options
        self.started = started
        """On the event loop's clock, as is `deadline`; in seconds."""
        self.deadline = started + options.timeout
        self.provider = ""
        """The provider being tried; empty before the first."""
        self.model = model
        """As the caller named it; while a candidate is being tried, the candidate's model."""
        self.fallbacks: tuple[str, ...] = options.fallbacks
        self.fallback_index = 0
        """0 for the call's model, whichever member of its group is tried; then 1, 2, ... for its fallbacks."""
        self.tenant: str | None = None
        """On whose behalf the call is made; the account gives the keys for it."""
        self.values: dict[Any, Any] = {}
        """The plugins' own memory of this call."""
        self.attempts: list[AttemptRecord] = AttemptRecords()
        """What has been tried so far."""
        self.warnings: list[str] = []
        """Ends on the answer."""
        self.phase: Phase = "hook"

    def __repr__(self) -> str:
        return f"CallContext({self.id}, {self.endpoint} {self.provider}/{self.model}, {len(self.attempts)} attempts)"
