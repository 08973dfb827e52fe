"""A call in progress: its context, which plugins see, and the state that only the engine sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from bifrost.engine.call_records import attempt_ended
from bifrost.plugins.base import Progress
from bifrost.routing.candidates import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bifrost.context import CallContext
    from bifrost.engine.attempt import Attempt
    from bifrost.engine.retry_state import RetryState
    from bifrost.engine.streaming.chunk_stream import ChunkStream
    from bifrost.errors import BifrostError
    from bifrost.operations.base import Streaming, StructuredMode
    from bifrost.plugins.base import Chain
    from bifrost.routing.failover import Failover
    from bifrost.telemetry.subscribers import Subscribers


NOBODY = Candidate("", "")

Step: TypeAlias = "Callable[[Call], Coroutine[Any, Any, Any]]"
"""A step on the path of a call. Returns the response, or the stream that has begun, and raises the `BifrostError`."""


class Call:
    """A call in progress: the context that plugins see, and the state that only the engine sees."""

    __slots__ = (
        "attempt",
        "attempt_request",
        "call_hooks",
        "candidate",
        "candidate_request",
        "chain",
        "chosen",
        "context",
        "error",
        "failed",
        "failover",
        "failures",
        "fallback_behind",
        "free",
        "hooks",
        "max_output_retries",
        "mode",
        "output",
        "postponed",
        "request",
        "retry_state",
        "rules",
        "share",
        "stream",
        "telemetry",
        "tried",
    )

    def __init__(
        self,
        context: CallContext,
        request: Any,
        chain: Chain,
        stream: ChunkStream | None = None,
        *,
        output: Any = None,
        max_output_retries: int = 0,
    ) -> None:
        self.context = context
        self.request = request
        self.output = output
        """The type of the requested output."""
        self.max_output_retries = max_output_retries
        self.mode: StructuredMode = "prompt"
        """How the output is requested from the current candidate; the most lenient mode for a plugin's response."""
        self.rules: Any = None
        """The JSON schema keywords that the candidate's strict mode supports."""
        self.telemetry: Subscribers | None = None
        """Receives the call's records. `None` before the call begins and after its end."""
        self.chain = chain
        """The plugins at the time the call began."""
        self.stream = stream
        """The stream that a streamed response goes to, until it has begun."""
        self.call_hooks = Progress()
        """The `after_call` hooks that are due."""
        self.hooks = Progress()
        """The `after` hooks that are due for the current candidate."""
        self.error: BifrostError | None = None
        """The error that is being passed to the `after*` hooks. It is more precise than a timeout that they may
        cause.
        """
        self.failures: list[BifrostError] = []
        """The last error of each candidate that was abandoned for the next one, and of each stream that was
        restarted.
        """
        self.failover: Failover | None = None
        """The candidates that may follow; `None` while that is not planned, and for a call with one candidate."""
        self.chosen: Candidate | None = None
        """The current candidate, as planned."""
        self.postponed: dict[Candidate, RetryState] = {}
        """The attempts at candidates that may be tried again after the others of their group."""
        self.failed: list[Candidate | None] = []
        """The candidate of each of the `failures`; `None` for a stream that broke."""
        self.tried = 0
        """The number of attempts at the time the current candidate was chosen."""
        # What a broken stream is restarted from:
        self.candidate = NOBODY
        """The current candidate, with the model that plugins may have changed."""
        self.candidate_request: Any = None
        """The request to the candidate after the plugins' changes."""
        self.attempt_request: Any = None
        """The request of the next attempt: the candidate's, with what requests an output type if there is one."""
        self.fallback_behind = False
        """Whether another candidate may follow the current one."""
        self.retry_state: RetryState | None = None
        """The attempts at the current candidate."""
        self.share = context.deadline
        """When the current candidate must be done."""
        self.free = 0
        """The number of attempts that do not count, since a pooled connection was found closed."""
        self.attempt: Attempt | None = None
        """The last attempt, ended or not. Of two concurrent ones, the one that the call would end with."""

    @property
    def attempts_made(self) -> int:
        """The number of attempts that count."""
        return len(self.context.attempts) - self.free

    @property
    def behind(self) -> int:
        """The number of candidates that may follow the current one."""
        return 0 if self.failover is None else self.failover.behind

    @property
    def another_ready(self) -> bool:
        """Whether another candidate can be tried now."""
        return self.failover is not None and self.failover.another_ready

    @property
    def streaming(self) -> Streaming[Any, Any]:
        """The streaming form of the operation, which must have one."""
        return cast("Streaming[Any, Any]", self.context.operation.streaming)

    def is_output_retry(self, error: BifrostError) -> bool:
        """Return whether an error is a model's mistake that is reported to the model, in an output retry."""
        return error.category == "failed_generation" and self.output is not None and self.stream is None

    def placed(self, error: BifrostError) -> BifrostError:
        """Add the current candidate to an error, if none is set."""
        error.provider, error.model = error.provider or self.candidate.provider, error.model or self.candidate.model
        return error

    def keep_last_failure(self, error: BifrostError) -> bool:
        """Record the last error of a candidate that is tried several times.

        Returns false if this is its first error.
        """
        if self.chosen is None or self.chosen not in self.failed:
            return False
        self.failures[self.failed.index(self.chosen)] = error
        return True

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that is being made."""
        return None if self.attempt is None or self.attempt.ended else self.attempt

    def end_attempt(self, attempt: Attempt | None, error: BifrostError | None, *, now: float) -> None:
        """End an attempt, unless it has ended, and add its record to the call's."""
        record = None if attempt is None else attempt.end(error, now=now)
        if record is not None:
            self.context.attempts.append(record)
            if self.chain.attempt_hooks:
                self.chain.on_attempt(self.context, record)
            if self.telemetry is not None and self.telemetry.subscriptions:
                self.telemetry.emit(attempt_ended(self.context, record))
