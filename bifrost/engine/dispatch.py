"""The path of a call, in reading order.

A **call** passes the `before_call` hooks, is planned into **candidates**, and each candidate passes the `before` hooks,
becomes one or more **attempts** (a key is chosen, a job is queued, a worker does the exchange), is judged, and passes
the `after` hooks backwards; the first answer, or the primary's error, passes the `after_call` hooks. Everything here
runs in the caller's task, inside one cancel scope that carries the call's deadline; only `perform` runs in a worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.engine.exchange import Exchange
from bifrost.engine.perform import perform
from bifrost.engine.pool import Job, Replaced
from bifrost.engine.sources import ForeignChunks, ReadyChunks
from bifrost.engine.stream import ChunkStream
from bifrost.errors import (
    BifrostError,
    CallCancelledError,
    CallTimeoutError,
    InternalError,
    OutputValidationError,
    UnsupportedError,
)
from bifrost.plugins.base import Progress
from bifrost.providers.base import Target
from bifrost.routing.retry import GiveUp, Retry, attempt_deadline, decide, is_free, may_fall_back, rule_of
from bifrost.schema.chat import ChatResponse
from bifrost.schema.chunks import ChatAccumulator, StreamReset, chunks_of
from bifrost.schema.structured import (
    ChunkLift,
    choose_mode,
    fitted,
    is_correctable,
    lift,
    lower,
    merged,
    reask,
)
from bifrost.trail import Attempt, shown
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from bifrost.config import RetryConfig
    from bifrost.context import CallContext
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.sources import Source
    from bifrost.engine.stream import Restart
    from bifrost.engine.upstreams import Upstreams
    from bifrost.errors import Phase, StreamInterruptedError
    from bifrost.plugins.base import Chain, Outcome
    from bifrost.routing.health import Admission, Health, HeldBack
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import Choice, KeyRing
    from bifrost.routing.plan import Candidate
    from bifrost.schema.chunks import Chunk
    from bifrost.schema.output_type import OutputType
    from bifrost.schema.structured import StructuredMode

_HOOKS_LIMIT = 5.0
"""How long `after*` hooks may take once the call's own time is over, in seconds."""


class Call:
    """One call on its way: the context that plugins see, and the state that is nobody else's business."""

    __slots__ = (
        "asked",
        "call_hooks",
        "candidate",
        "candidates",
        "chain",
        "context",
        "error",
        "exchange",
        "failures",
        "free",
        "hooks",
        "job",
        "max_reasks",
        "mode",
        "output",
        "request",
        "share",
        "stream",
        "submitted",
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
        max_reasks: int = 0,
    ) -> None:
        self.context = context
        self.request = request
        self.output = output
        """The type that the answer must have."""
        self.max_reasks = max_reasks
        self.mode: StructuredMode = "prompt"
        """How the candidate being tried is asked for it; the most lenient for an answer that a plugin gives."""
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
        self.candidates: Sequence[Candidate] = ()
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


class Tries:
    """The attempts of a call at one candidate: what has failed so far, and what the next one is to be."""

    __slots__ = (
        "choice",
        "fallback_behind",
        "faults",
        "health",
        "keys",
        "model",
        "paid",
        "refused",
        "retry",
        "spent",
        "wait",
    )

    def __init__(self, model: str, keys: KeyRing, retry: RetryConfig, health: Health, *, fallback_behind: bool) -> None:
        self.model = model
        self.keys = keys
        self.retry = retry
        self.health = health
        self.fallback_behind = fallback_behind
        self.faults: list[str] = []
        """The class of each failure."""
        self.choice: Choice | None = None
        """What was tried last."""
        self.spent: set[str] = set()
        """The names of keys that were tried since the last wait."""
        self.refused: set[str] = set()
        """The names of keys that are of no more use to this call."""
        self.wait = 0.0
        """How long to wait before the next attempt."""
        self.paid = 0.0
        """What the next attempt has cost of the retry budget."""


class Dispatcher:
    """Takes calls to their answers."""

    def __init__(self, upstreams: Upstreams, clock: Clock, host: Host) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._signal = host.signal
        self._scope = host.scope

    # --- a call

    async def run(self, call: Call) -> Any:
        """Take a call to its answer, or for a stream to its first content. Raises the call's `BifrostError`."""
        outcome = await self._in_time(call, self._serve(call))
        if call.output is not None and call.stream is None and isinstance(outcome, ChatResponse):
            # One that a hook has put in an error's place was not read yet.
            outcome = self._complete(call, self._fitted(call, outcome))
        if isinstance(outcome, BifrostError):
            raise outcome
        if call.stream is not None:
            # An `after_call` hook has put a response in an error's place.
            return self._stream_of(call, outcome)
        return outcome

    async def _serve(self, call: Call, first: int = 0) -> Outcome:
        """Plan a call, and try its candidates in turn until one serves or no further one may be tried.

        One that was planned before goes on with the candidates from the `first` on.
        """
        context = call.context
        outcome: Outcome = None
        try:
            if not call.candidates:
                named = call.request.model
                call.request = await call.chain.before_call(context, call.request, call.call_hooks)
                if context.model == named:
                    # A plugin may name another model on the context, or in the request that it returns.
                    context.model = call.request.model
                call.candidates = await self._upstreams.plan(context, extra=getattr(call.request, "extra", None))
            for index in range(first, len(call.candidates)):
                context.fallback_index = index
                tried = len(context.trail)
                outcome = await self._candidate(call, call.candidates[index], len(call.candidates) - 1 - index)
                if not isinstance(outcome, BifrostError) or not self._goes_on(call, outcome):
                    break
                call.failures.append(outcome)
                self._upstreams.count_fallback(context.provider)
                if len(context.trail) == tried:
                    context.warnings.append(f"{call.candidates[index]} was passed over: {outcome.message}")
        except BifrostError as error:
            outcome = error
        if isinstance(outcome, ChunkStream):
            # The hooks that are due wait for its end.
            return outcome
        return await self._settle(call, outcome)

    def _goes_on(self, call: Call, error: BifrostError) -> bool:
        """Say whether there is a next candidate, and it may be tried after this one's error."""
        return call.context.fallback_index + 1 < len(call.candidates) and may_fall_back(
            error,
            config=self._upstreams.retry_of(call.context.provider, call.context.options),
            attempts_of_call=len(call.context.trail) - call.free,
            remaining=call.context.deadline - self._now(),
        )

    # --- a candidate

    async def _candidate(self, call: Call, candidate: Candidate, behind: int) -> Outcome:
        """Take a candidate through the hooks around it, with `behind` fallbacks left after it."""
        context = call.context
        context.provider, context.model = candidate.provider, candidate.model
        context.phase = "hook"
        call.error = call.tries = None
        call.mode = "prompt"
        request = msgspec.structs.replace(call.request, model=candidate.model)
        try:
            request, outcome = await call.chain.before(context, request, call.hooks)
            if request.model != candidate.model:
                # A plugin may name another model of the same provider.
                context.model = request.model
                candidate = msgspec.structs.replace(candidate, model=request.model)
            call.candidate, call.asked = candidate, request
            if outcome is not None:
                outcome = self._fitted(call, await self._answered_by_plugin(call, outcome))
            else:
                outcome = await self._ask(call, candidate, request, behind)
        except BifrostError as error:
            outcome = _placed(error, candidate)
        return await self._judged(call, outcome)

    def _ask(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Coroutine[Any, Any, Outcome]:
        """Ask a candidate within its share of the time."""
        if behind:
            return self._within_share(call, candidate, request, behind)
        call.share = call.context.deadline
        return self._asked(call)(call, candidate, request, behind)

    async def _judged(self, call: Call, outcome: Outcome) -> Outcome:
        """Leave a candidate with what it gave, unless that is a stream that has begun."""
        if isinstance(outcome, ChunkStream):
            return outcome
        outcome = await self._leave(call, outcome)
        if call.stream is not None and not isinstance(outcome, BifrostError):
            # An `after` hook has put a response in an error's place.
            return self._stream_of(call, outcome)
        return outcome

    async def _within_share(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Outcome:
        """Try a candidate for its share of the time, so that a black hole leaves some for the fallbacks."""
        now = self._now()
        call.share = attempt_deadline(now, call.context.deadline, behind)
        with self._scope(deadline=call.share) as scope:
            return await self._asked(call)(call, candidate, request, behind)
        if scope.cancelled_caught:
            share = f"its share of {call.share - now:g} s of the call's timeout, with {behind} fallbacks left,"
            return self._out_of_time(call, share)
        return None

    async def _answered_by_plugin(self, call: Call, answer: Any) -> Outcome:
        """Take what a `before` hook gave in place of the provider's answer, in the form that the caller wants."""
        context, stream = call.context, call.stream
        source: Source
        match answer:
            case ChatResponse() if stream is not None:
                return self._stream_of(call, answer)
            case ChatResponse() if not answer.provider:
                return msgspec.structs.replace(answer, provider=context.provider, model=answer.model or context.model)
            case BifrostError() | msgspec.Struct():
                return answer
            case list():
                source = ReadyChunks(cast("list[Chunk]", answer))
            case _:
                source = ForeignChunks(answer, context.deadline)
        if stream is None:
            return await _collect(source, context)
        stream.attach(source, provider=context.provider, model=context.model)
        return self._begin(call, stream)

    # --- structured output

    def _asked(self, call: Call) -> Callable[[Call, Candidate, Any, int], Coroutine[Any, Any, Outcome]]:
        return self._attempts if call.output is None else self._attempts_that_fit

    async def _attempts_that_fit(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Outcome:
        """Try a candidate until its answer fits the type that is wanted, asking again at most `max_reasks` times.

        A stream is read at its end, and not asked for again: its caller has seen it.
        """
        output = cast("OutputType[Any]", call.output)
        upstream = await self._upstreams.get(candidate.provider)
        call.mode = choose_mode(output, request, upstream.row.structured, provider=upstream.name)
        left, before = call.max_reasks, None
        while True:
            answer = await self._attempts(call, candidate, lower(request, output, call.mode), behind)
            if not isinstance(answer, ChatResponse):
                return answer
            answer = lift(answer, call.mode)
            answer = answer if before is None else merged(before, answer)
            outcome = self._fitted(call, answer)
            if not isinstance(outcome, OutputValidationError):
                return outcome
            call.tries = None
            trail = call.context.trail
            trail[-1] = msgspec.structs.replace(trail[-1], fault=outcome.fault, error=shown(outcome.message, 500))
            if not left or not is_correctable(answer):
                return outcome
            upstream.counters.reasks += 1
            left, before, request = left - 1, answer, reask(request, answer, outcome)

    def _fitted(self, call: Call, outcome: Outcome) -> Outcome:
        """Read a whole answer as the type that is wanted, if one is: give it so, or the error that it does not fit."""
        output = call.output
        if output is None or type(outcome) is not ChatResponse:
            return outcome  # an error, a stream, or read already
        try:
            return fitted(outcome, output, call.mode)
        except OutputValidationError as error:
            return error

    # --- attempts

    async def _attempts(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Outcome:
        """Try a candidate until it answers or `decide` gives it up; waits between attempts are waited here."""
        context, options = call.context, call.context.options
        upstream = await self._upstreams.get(candidate.provider)
        codec = upstream.codec(context.endpoint)
        if call.stream is not None and codec.decoder is None:
            raise UnsupportedError(f"{upstream.name} does not stream {context.endpoint}", provider=upstream.name)
        retry = self._upstreams.retry_of(candidate.provider, options)
        keys = await self._upstreams.keys(candidate.provider, context)
        tries = call.tries
        if tries is None:
            call.tries = tries = Tries(candidate.model, keys, retry, upstream.health, fallback_behind=behind > 0)
        if not tries.faults:
            upstream.counters.asked += 1
        # A stream that begins anew may do so long after its first attempt.
        tries.keys, tries.retry, tries.health = keys, retry, upstream.health
        # Of this request alone: a re-ask, a fallback, or a stream that begins anew, is another.
        headers = upstream.headers_of(options, f"{context.id}-{len(context.trail)}")
        while True:
            if tries.faults:
                upstream.counters.retries += 1
                if call.stream is not None:
                    await call.stream.source_gone()
            choice, admission = await self._let_in(call, tries)
            tries.choice = choice
            exchange = Exchange(
                upstream=upstream,
                codec=codec,
                request=request,
                target=Target(
                    provider=upstream.name,
                    model=choice.model,
                    stream=call.stream is not None,
                    settings=None if choice.key is None else choice.key.settings,
                ),
                key=choice.key,
                extra_headers=headers,
                deadline=context.deadline,
                clock=self._clock,
                admission=admission,
                fresh=bool(tries.faults) and tries.faults[-1] == "stale",
            )
            outcome = await self._attempt(call, exchange, tries.wait)
            if not isinstance(outcome, BifrostError) or not self._again(call, tries, outcome):
                return outcome

    async def _let_in(self, call: Call, tries: Tries) -> tuple[Choice, Admission]:
        """Wait before a retry, choose a key, and be let in by what is known of the provider's health."""
        try:
            if tries.wait > 0:
                call.context.phase = "backoff"
                await self._clock.sleep(tries.wait)
            options = call.context.options
            while True:
                call.submitted = now = self._now()
                choice = tries.keys.choose(
                    tries.model,
                    random=self._clock.random,
                    now=now,
                    pin=options.key,
                    session=options.session,
                    excluded=tries.spent,
                )
                if choice.ready_at is None:
                    break
                if await self._turn_came(call, tries, choice):
                    call.submitted = now = self._now()
                    break
            return choice, tries.health.admit(
                choice, tries.model, now=now, is_retry=bool(tries.faults), paid=tries.paid
            )
        except BaseException:
            tries.health.budget.refund(tries.paid, now=self._now())
            raise

    async def _turn_came(self, call: Call, tries: Tries, choice: Choice) -> bool:
        """Wait for this call's turn with a parked key, as nobody has a ready one. False: look again, things changed."""
        key, now = cast("KeyHealth", choice.health), call.submitted
        until = key.until
        wait = tries.keys.waits(choice, now=now, left=call.share - now, fallback_behind=tries.fallback_behind)
        call.context.phase = "backoff"
        key.waiting += 1
        try:
            await self._clock.sleep(wait)
        finally:
            key.waiting -= 1
        tries.wait += wait
        # Whoever was let through first may have been limited again, or found the key dead.
        return key.until == until

    def _again(self, call: Call, tries: Tries, error: BifrostError) -> bool:
        """Say whether a failed attempt is followed by another at this candidate, and prepare for it."""
        context, health, now = call.context, tries.health, self._now()
        name = "" if tries.choice is None else tries.choice.name
        tries.faults.append(error.fault)
        call.free += is_free(tries.faults)
        tries.spent.add(name)
        rule = rule_of(error)
        if rule.kills_key:
            tries.refused.add(name)
        pin = context.options.key
        held_back = health.holds_back(error, tries.model, now=now)
        decision = decide(
            error,
            faults=tries.faults,
            attempts_of_call=len(context.trail) - call.free,
            config=tries.retry,
            remaining=context.deadline - now,
            share=call.share - now,
            other_key=tries.keys.has_other(tries.model, pin=pin, excluded=tries.spent, now=now),
            ready_in=tries.keys.ready_in(tries.model, pin=pin, excluded=tries.refused, now=now),
            fallback_behind=tries.fallback_behind,
            random=self._clock.random,
            held_back=held_back,
        )
        if not isinstance(decision, Retry):
            _note_why(error, decision, tries.retry)
            if held_back is not None and error.retryable and context.trail:
                last = context.trail[-1]
                told = "; ".join(filter(None, (last.note, _HELD_BACK[held_back])))
                context.trail[-1] = msgspec.structs.replace(last, note=told)
            return False
        if rule.other_key and not decision.other_key:
            # Every key has been tried: after the wait each may be the one that is ready.
            tries.spent = set(tries.refused)
        elif not decision.other_key:
            tries.spent.discard(name)
        tries.wait = decision.delay
        tries.paid = 0.0 if decision.is_free else health.pay(error, now=now)
        return True

    async def _attempt(self, call: Call, exchange: Exchange, wait: float) -> Outcome:
        """Do one exchange through the provider's pool. Gives the answer, or the error that stands for it."""
        context, stream = call.context, call.stream
        call.exchange = exchange
        call.wait = wait
        context.phase = "queue"
        try:
            answer = await self._submit(call, exchange)
            upstream = exchange.upstream
            if stream is not None:
                context.phase = "first_token"
                grow = ChunkLift() if call.output is not None and call.mode == "tool" else None
                stream.attach(answer, provider=upstream.name, model=exchange.target.model, lift=grow)
                limits, timeouts = upstream.config.limits, upstream.config.timeouts
                await stream.commit(first_token=call.begun + timeouts.first_token, held=limits.preamble)
        except BifrostError as error:
            if stream is not None:
                stream.drop_source()
            self._record(call, error)
            # The frames below hold the provider's bytes, in which it may have repeated the key.
            return error.with_traceback(None)
        except BaseException:
            if stream is not None:
                stream.drop_source()
            raise
        context.warnings += exchange.warnings
        if stream is not None:
            exchange.admission.succeeded(self._now())
            restarts = context.options.on_interrupt == "restart"
            return self._begin(call, stream, restart=partial(self._restart, call) if restarts else None)
        self._record(call, None)
        return msgspec.structs.replace(
            answer,
            provider=exchange.target.provider,
            request_id=exchange.request_id,
            rate_limit=rate_limit(exchange.headers, now=self._clock.wall()),
        )

    async def _submit(self, call: Call, exchange: Exchange) -> Any:
        """Queue the attempt at its provider. If that is changed meanwhile, it moves to what takes its place."""
        while True:
            call.job = job = Job(perform, exchange, done=self._signal(), is_stream=call.stream is not None)
            try:
                return await exchange.upstream.pool.submit(job)
            except Replaced:
                upstream = await self._upstreams.get(exchange.upstream.name)
                exchange.move(upstream, upstream.codec(call.context.endpoint))

    def _record(self, call: Call, error: BifrostError | None) -> None:
        """End the attempt and write it on the trail. What was never sent because it could not be said is no attempt."""
        exchange, job = call.exchange, call.job
        call.exchange = call.job = None
        if exchange is None or job is None:
            return
        now = self._now()
        note = exchange.admission.close(error, now=now)
        if error is not None and error.fault == "local":
            return
        if error is None:
            exchange.upstream.counters.ok += 1
        else:
            exchange.upstream.counters.fail(error.fault)
        call.context.trail.append(
            Attempt(
                provider=exchange.target.provider,
                model=exchange.target.model,
                key=None if exchange.key is None else exchange.key.name,
                status=exchange.status,
                fault=None if error is None else error.fault,
                error=None if error is None else shown(error.message, 500),
                request_id=exchange.request_id,
                wait=call.wait,
                queue=None if job.taken_at is None else job.taken_at - call.submitted,
                connect=exchange.connect,
                first_byte=exchange.first_byte,
                total=now - call.submitted,
                note=note,
            )
        )

    # --- streams

    def _begin(
        self, call: Call, stream: ChunkStream, *, request_id: str | None = None, restart: Restart | None = None
    ) -> ChunkStream:
        """Commit a stream: from here on its caller pulls it, and its end settles the call."""

        async def settle(outcome: Outcome) -> Outcome:
            if isinstance(outcome, ChatResponse):
                exchange = call.exchange
                if exchange is None:
                    outcome = msgspec.structs.replace(outcome, request_id=request_id)
                else:
                    outcome = msgspec.structs.replace(
                        outcome,
                        request_id=exchange.request_id,
                        rate_limit=rate_limit(exchange.headers, now=self._clock.wall()),
                    )
            self._record(call, outcome if isinstance(outcome, BifrostError) else None)
            if isinstance(outcome, CallCancelledError) or self._now() >= call.context.deadline:
                return await self._settle_late(call, outcome)
            return await self._in_time(call, self._settle(call, outcome))

        # The stream must not be held by its own call: it ends when its user drops it.
        call.stream = None
        stream.begin(
            on_chunk=call.chain.on_chunk(call.context, call.hooks),
            settle=settle,
            read=None if call.output is None else partial(self._fitted, call),
            restart=restart,
        )
        return stream

    def _restart(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError
    ) -> Coroutine[Any, Any, Outcome] | None:
        """Say how a stream goes on that broke after its first content; `None`: it does not.

        A new beginning is a retry or a fallback like any other: the same failures allow it, after the same waits, and
        it counts as an attempt. What it comes to is a `StreamReset` if the stream has begun, else the call's outcome.
        """
        cause, tries = broken.__cause__, call.tries
        self._record(call, broken)
        if tries is None or not isinstance(cause, BifrostError):
            return None
        now = self._now()
        call.share = attempt_deadline(
            now, call.context.deadline, len(call.candidates) - 1 - call.context.fallback_index
        )
        again = self._again(call, tries, cause)
        if not again and not self._goes_on(call, cause):
            return None
        return self._in_time(call, self._go_on(call, stream, broken, again=again))

    async def _go_on(self, call: Call, stream: ChunkStream, broken: StreamInterruptedError, *, again: bool) -> Outcome:
        """Try further for a stream that broke: its candidate again, or those behind it."""
        call.stream, call.error = stream, None
        call.failures.append(broken)
        candidate, index = call.candidate, call.context.fallback_index
        outcome: Outcome = broken
        if again and candidate is not None:
            try:
                outcome = await self._ask(call, candidate, call.asked, len(call.candidates) - 1 - index)
            except BifrostError as error:
                outcome = _placed(error, candidate)
        outcome = await self._judged(call, outcome)
        if isinstance(outcome, BifrostError) and (outcome is broken or self._goes_on(call, outcome)):
            self._upstreams.count_fallback(call.context.provider)
            if outcome is not broken:
                call.failures.append(outcome)
            outcome = await self._serve(call, index + 1)
        elif not isinstance(outcome, ChunkStream):
            outcome = await self._settle(call, outcome)
        if not isinstance(outcome, ChunkStream):
            call.stream = None
            return outcome
        target = None if call.exchange is None else call.exchange.target
        return StreamReset(
            reason=broken.message,
            attempt=len(call.context.trail) + 1,
            provider=call.context.provider if target is None else target.provider,
            model=(call.context.model if target is None else target.model) or "",
            partial=broken.partial,
        )

    def _stream_of(self, call: Call, response: ChatResponse) -> Outcome:
        """Begin the caller's stream with an answer that a plugin gave whole."""
        stream = call.stream
        if stream is None:
            return response
        source = ReadyChunks(chunks_of(response))
        source.warnings = response.warnings
        stream.attach(
            source,
            provider=response.provider or call.context.provider,
            model=response.model or call.context.model,
        )
        return self._begin(call, stream, request_id=response.request_id)

    # --- the end of a call

    async def _leave(self, call: Call, outcome: Outcome) -> Outcome:
        """Run the `after` hooks that are due for the candidate."""
        call.context.phase = "hook"
        call.error = outcome if isinstance(outcome, BifrostError) else None
        if not call.hooks.entered:
            return outcome
        return await call.chain.after(call.context, self._complete(call, outcome), call.hooks)

    async def _settle(self, call: Call, outcome: Outcome) -> Outcome:
        """Run the hooks that are still due, each once, and put the trail on what comes out."""
        if call.hooks.entered:
            outcome = await self._leave(call, outcome)
        if call.failures and isinstance(outcome, BifrostError):
            outcome = _primary(call.failures, outcome)
        outcome = self._complete(call, outcome)
        if not call.call_hooks.entered:
            return outcome
        call.context.phase = "hook"
        call.error = outcome if isinstance(outcome, BifrostError) else None
        return self._complete(call, await call.chain.after_call(call.context, outcome, call.call_hooks))

    async def _in_time(self, call: Call, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Do work of a call within its deadline. However that ends, no hook is due any more, unless a stream began."""
        outcome: Outcome = None
        with self._scope(deadline=call.context.deadline) as scope:
            try:
                return await work
            except GeneratorExit:
                # Nobody runs this coroutine any more, so no hook can be waited for.
                raise
            except Exception as error:  # noqa: BLE001 - a defect of ours, or of a clock or codec that a user brought
                outcome = await self._settle_late(call, self._defect(call, error))
            except BaseException:
                end = (call.error or self._out_of_time(call)) if scope.cancel_called else self._left(call)
                outcome = await self._settle_late(call, end)
                raise
        return outcome

    async def _settle_late(self, call: Call, outcome: Outcome) -> Outcome:
        """Run the hooks that are still due though the caller has left or time is over: shielded, and not for long.

        One that is stopped at the limit is not run again. Those behind it still have their turn, up to their first
        wait.
        """
        limit = self._now() + _HOOKS_LIMIT
        again: BaseException | None = None
        for _ in range(call.hooks.entered + call.call_hooks.entered + 1):
            try:
                with self._scope(shield=True, deadline=limit):
                    outcome = await self._settle(call, outcome)
                    break
            except BaseException as error:  # noqa: BLE001 - cancelled once more; raised when the hooks have run
                again = error
        if again is not None:
            raise again
        return outcome

    def _left(self, call: Call) -> BifrostError:
        error = CallCancelledError("the caller left", provider=call.context.provider or None, model=call.context.model)
        self._record(call, error)
        return error

    def _out_of_time(self, call: Call, what: str | None = None) -> BifrostError:
        """Say where the time went."""
        context, exchange = call.context, call.exchange
        # What happens between the queue and the answer's end only the exchange knows.
        phase = exchange.phase if exchange is not None and context.phase == "queue" else context.phase
        error: BifrostError = CallTimeoutError(
            f"{what or f'the timeout of {context.options.timeout:g} s'} ended while {_DOING[phase]}; "
            "set a longer `timeout`, or give `fallbacks`",
            phase=phase,
            provider=context.provider or None,
            model=context.model,
        )
        if exchange is not None:
            error = exchange.sign(error)
            if what is None or phase == "queue":
                # The call's time or our own queue was at fault: nothing is known of the provider.
                exchange.admission.cancel(self._now())
        self._record(call, error)
        return error

    def _defect(self, call: Call, cause: Exception) -> BifrostError:
        error = InternalError(
            f"{type(cause).__name__} where none is expected: a defect of bifrost, or of something that it was given",
            provider=call.context.provider or None,
            model=call.context.model,
        )
        error.__cause__ = cause
        self._record(call, error)
        return error

    def _complete(self, call: Call, outcome: Outcome) -> Outcome:
        """Put the trail, and what was noticed on the way, on an answer or an error."""
        trail, warnings = call.context.trail, call.context.warnings
        if isinstance(outcome, BifrostError):
            outcome.attempts = tuple(trail)
            return outcome
        if not warnings:
            return outcome if outcome.attempts is trail else msgspec.structs.replace(outcome, attempts=trail)
        noticed = [*outcome.warnings, *(text for text in warnings if text not in outcome.warnings)]
        return msgspec.structs.replace(outcome, attempts=trail, warnings=noticed)


_HELD_BACK: Mapping[HeldBack, str] = {
    "breaker": "not tried again, the breaker is open",
    "budget": "not tried again, the retry budget is used up",
}

_DOING: Mapping[Phase, str] = {
    "hook": "a plugin's hook or the account was asked",
    "queue": "waiting for a free worker",
    "connect": "connecting",
    "write": "sending the request",
    "headers": "waiting for the answer",
    "body": "reading the answer",
    "first_token": "waiting for the first token",
    "stream": "reading the stream",
    "backoff": "waiting to try again",
}


def _primary(failures: Sequence[BifrostError], last: BifrostError) -> BifrostError:
    """Give the error to raise when nobody could serve: the primary's, with the others on it.

    A call that its caller broke off, or a stream that was cut after its first content, keeps its own: of several such
    the last, since its reader has seen that much.
    """
    told = [error for error in (*failures, last) if error.fault in ("cancelled", "interrupted")]
    chosen = told[-1] if told else failures[0]
    chosen.errors = tuple(error for error in (*failures, last) if error is not chosen)
    return chosen


def _placed(error: BifrostError, candidate: Candidate) -> BifrostError:
    """Say of an error at which candidate it arose, as far as it does not say so itself."""
    error.provider, error.model = error.provider or candidate.provider, error.model or candidate.model
    return error


def _note_why(error: BifrostError, decision: object, config: RetryConfig) -> None:
    """Write on an error that could have been retried why it was not."""
    match decision:
        case GiveUp(cause="breaker"):
            error.add_note("not tried again: it has failed so often that it is left alone for a while")
        case GiveUp(cause="budget"):
            error.add_note(
                "not tried again: too many retries at this provider have failed, its retry budget is used up"
            )
        case GiveUp(cause="wait"):
            error.add_note(f"not tried again: the wait that is asked for is above longest_wait={config.longest_wait:g}")
        case GiveUp(cause="deadline"):
            error.add_note("not tried again: the wait before it (phase backoff) would pass the call's timeout")
        case _:
            pass


async def _collect(source: Source, context: CallContext) -> Outcome:
    """Make a plain answer of a plugin's stream."""
    accumulator = ChatAccumulator(provider=context.provider, model=context.model)
    try:
        while (chunks := await source.next()) is not None:
            for chunk in chunks:
                accumulator.add(chunk)
    finally:
        await source.close()
    return accumulator.response()
