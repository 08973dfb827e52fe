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
    from bifrost.engine.stream import ChunkStream
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
        """The type that the answer must have."""
        self.max_output_retries = max_output_retries
        self.mode: StructuredMode = "prompt"
        """How the candidate being tried is asked for it; the most lenient for an answer that a plugin gives."""
        self.rules: Any = None
        """What the candidate's strict mode takes of JSON schema."""
        self.telemetry: Subscribers | None = None
        """Who receives the call's records. `None` before the call begins, and after its end."""
        self.chain = chain
        """The plugins as they were when the call began."""
        self.stream = stream
        """Where a streamed answer goes, until it has begun."""
        self.call_hooks = Progress()
        """The `after_call` hooks that are due."""
        self.hooks = Progress()
        """The `after` hooks that are due for the candidate being tried."""
        self.error: BifrostError | None = None
        """What the `after*` hooks are being told, if it is an error: it says more than the clock they may run into."""
        self.failures: list[BifrostError] = []
        """The last error of each candidate that was given up for the next one, and of each stream that began anew."""
        self.failover: Failover | None = None
        """Who else may be tried; `None` while it is not planned, and for a call with one candidate."""
        self.chosen: Candidate | None = None
        """The candidate being tried, as it was planned."""
        self.postponed: dict[Candidate, RetryState] = {}
        """The attempts at candidates that may be tried again when the others of their group were."""
        self.failed: list[Candidate | None] = []
        """The candidate of each of the `failures`; `None` for a stream that broke."""
        self.tried = 0
        """How many attempts there were when the candidate being tried was chosen."""
        # What a stream that breaks goes on from:
        self.candidate = NOBODY
        """The candidate being tried, with the model that plugins left it."""
        self.candidate_request: Any = None
        """The request as plugins left it for the candidate."""
        self.attempt_request: Any = None
        """The request of the next attempt: the candidate's, and where a type is wanted, what asks for it."""
        self.fallback_behind = False
        """Another candidate may have a turn after the one being tried."""
        self.retry_state: RetryState | None = None
        """The attempts at the candidate being tried."""
        self.share = context.deadline
        """When the candidate being tried must be done."""
        self.free = 0
        """Attempts that count as none (a kept connection was found closed)."""
        self.attempt: Attempt | None = None
        """The last attempt, ended or not; of two at once, the one that the call would end with."""

    @property
    def attempts_made(self) -> int:
        """How many attempts count."""
        return len(self.context.attempts) - self.free

    @property
    def behind(self) -> int:
        """How many candidates may have a turn after the one being tried."""
        return 0 if self.failover is None else self.failover.behind

    @property
    def another_ready(self) -> bool:
        """Whether another candidate can be asked now."""
        return self.failover is not None and self.failover.another_ready

    @property
    def streaming(self) -> Streaming[Any, Any]:
        """How the operation streams, which it does."""
        return cast("Streaming[Any, Any]", self.context.operation.streaming)

    def is_output_retry(self, error: BifrostError) -> bool:
        """Return whether a model's mistake is reported to the model. Then it is no retry but an output retry."""
        return error.category == "failed_generation" and self.output is not None and self.stream is None

    def placed(self, error: BifrostError) -> BifrostError:
        """Add to an error at which candidate it arose, as far as it does not say so itself."""
        error.provider, error.model = error.provider or self.candidate.provider, error.model or self.candidate.model
        return error

    def keep_last_failure(self, error: BifrostError) -> bool:
        """Let the last error count of a candidate that is tried several times. False: this is its first."""
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
