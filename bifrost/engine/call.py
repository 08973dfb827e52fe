"""A call on its way: what is known of it so far, and of its attempts at one candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.attempt_record import AttemptRecord, shown
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES
from bifrost.plugins.base import Progress
from bifrost.routing.retry import is_free, rule_of

if TYPE_CHECKING:
    from bifrost.config import RetryConfig
    from bifrost.context import CallContext
    from bifrost.engine.exchange import Exchange
    from bifrost.engine.pool import Job
    from bifrost.engine.stream import ChunkStream
    from bifrost.errors import BifrostError
    from bifrost.operations.base import StructuredMode
    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.strict_schema import SchemaRules
    from bifrost.plugins.base import Chain
    from bifrost.routing.budget import Payment
    from bifrost.routing.candidates import Candidate
    from bifrost.routing.failover import Failover
    from bifrost.routing.health import Health
    from bifrost.routing.keys import Choice, KeyRing


class Call:
    """One call on its way: the context that plugins see, and the state that is nobody else's business."""

    __slots__ = (
        "asked",
        "call_hooks",
        "candidate",
        "chain",
        "chosen",
        "context",
        "error",
        "exchange",
        "failed",
        "failover",
        "failures",
        "free",
        "hooks",
        "job",
        "max_output_retries",
        "mode",
        "note",
        "output",
        "postponed",
        "request",
        "rules",
        "share",
        "stream",
        "submitted",
        "tried",
        "tries",
        "wait",
    )

    def __init__(
        self,
        context: CallContext,
        request: Any,
        chain: Chain,
        stream: ChunkStream | None = None,
        *,
        output: OutputType[Any] | None = None,
        max_output_retries: int = 0,
    ) -> None:
        self.context = context
        self.request = request
        self.output = output
        """The type that the answer must have."""
        self.max_output_retries = max_output_retries
        self.mode: StructuredMode = "prompt"
        """How the candidate being tried is asked for it; the most lenient for an answer that a plugin gives."""
        self.rules: SchemaRules = COMMON_RULES
        """What the candidate's strict mode takes of JSON schema."""
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
        self.postponed: dict[Candidate, Tries] = {}
        """The attempts at candidates that may be tried again when the others of their group were."""
        self.failed: list[Candidate | None] = []
        """The candidate of each of the `failures`; `None` for a stream that broke."""
        self.tried = 0
        """How many attempts there were when the candidate being tried was chosen."""
        self.note: str | None = None
        """What the next attempt's record is to tell of why this candidate was chosen."""
        # What a stream that breaks goes on from:
        self.candidate: Candidate | None = None
        """The candidate being tried, with the model that plugins left it."""
        self.asked: Any = None
        """The request as plugins left it."""
        self.tries: Tries | None = None
        self.share = context.deadline
        """When the candidate being tried must be done."""
        self.free = 0
        """Attempts that count as none (a kept connection was found closed)."""
        # The attempt that is being made, until it stands on the trail:
        self.exchange: Exchange | None = None
        self.job: Job | None = None
        self.wait = 0.0
        self.submitted = 0.0

    @property
    def begun(self) -> float:
        """When the attempt's exchange began: time in the queue is ours and not the provider's."""
        job = self.job
        return self.submitted if job is None or job.taken_at is None else job.taken_at

    @property
    def behind(self) -> int:
        """How many candidates may have a turn after the one being tried."""
        return 0 if self.failover is None else self.failover.behind

    @property
    def another_ready(self) -> bool:
        """Whether another candidate can be asked now."""
        return self.failover is not None and self.failover.another_ready

    def record(self, error: BifrostError | None, *, now: float) -> None:
        """End the attempt and write it on the trail. What was never sent because it could not be said is no attempt."""
        exchange, job = self.exchange, self.job
        self.exchange = self.job = None
        if exchange is None or job is None:
            return
        note = None if exchange.admission is None else exchange.admission.close(error, now=now)
        if exchange.note is not None:
            note = exchange.note if note is None else f"{exchange.note}; {note}"
        if error is not None and error.category == "local":
            return
        if error is None:
            exchange.upstream.counters.ok += 1
        else:
            exchange.upstream.counters.fail(error.category)
        self.context.attempts.append(
            AttemptRecord(
                provider=exchange.target.provider,
                model=exchange.target.model,
                key=None if exchange.key is None else exchange.key.name,
                status=exchange.status,
                category=None if error is None else error.category,
                error=None if error is None else shown(error.message, 500),
                request_id=exchange.request_id,
                wait=self.wait,
                queue=None if job.taken_at is None else job.taken_at - self.submitted,
                connect=exchange.connect,
                first_byte=exchange.first_byte,
                total=now - self.submitted,
                note=note,
            )
        )


class Tries:
    """The attempts of a call at one candidate: what has failed so far, and what the next one is to be."""

    __slots__ = (
        "categories",
        "choice",
        "due",
        "failure",
        "fallback_behind",
        "health",
        "hedged",
        "keys",
        "model",
        "paid",
        "refused",
        "retry",
        "spent",
        "turn",
        "wait",
        "waited_for_keys",
        "was_probe",
    )

    def __init__(self, model: str, keys: KeyRing, retry: RetryConfig, health: Health, *, fallback_behind: bool) -> None:
        self.model = model
        self.keys = keys
        self.retry = retry
        self.health = health
        self.fallback_behind = fallback_behind
        self.categories: list[str] = []
        """The class of each failure."""
        self.choice: Choice | None = None
        """What was tried last."""
        self.spent: set[str] = set()
        """The names of keys that were tried since the last wait."""
        self.refused: set[str] = set()
        """The names of keys that are of no more use to this call."""
        self.wait = 0.0
        """How long to wait before the next attempt."""
        self.due: float | None = None
        """When the next attempt may be made, if others are tried before it."""
        self.failure: BifrostError | None = None
        """What failed last."""
        self.waited_for_keys = 0.0
        """How long the call has waited here because no key was ready."""
        self.turn: tuple[Choice, float] | None = None
        """A parked key that the call may use, as it has waited for its turn, and until when the key was parked."""
        self.was_probe = False
        """A breaker let the last attempt through as a probe: it is not tried again here."""
        self.paid: Payment | None = None
        """What the next attempt has cost of the retry budget, until it is let in."""
        self.hedged = False
        """There was a hedge: one is all that a candidate gets."""

    def parked_for_this(self) -> Choice | None:
        """Return the parked key whose turn has come for this call, if it was not parked anew since."""
        if self.turn is None:
            return None
        choice, until = self.turn
        health = choice.health
        is_same = health is not None and health.state == "parked" and health.until == until
        return choice if is_same else None

    def failed(self, error: BifrostError) -> bool:
        """Take note that what was tried last has failed, and say whether it counts as no attempt."""
        name = "" if self.choice is None else self.choice.name
        self.failure = error
        self.categories.append(error.category)
        self.spent.add(name)
        if rule_of(error).kills_key:
            self.refused.add(name)
        return is_free(self.categories)

    def give_back(self, now: float) -> None:
        """Give back what was paid for an attempt that is not made after all."""
        paid, self.paid = self.paid, None
        if paid is not None:
            paid.give_back(now)
