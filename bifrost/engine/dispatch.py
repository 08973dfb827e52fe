"""The path of a call, in reading order.

A **call** passes the `before_call` hooks, is planned into **candidates**, and each candidate passes the `before` hooks,
becomes one or more **attempts** (a key is chosen, a job is queued, a worker does the exchange), is judged, and passes
the `after` hooks backwards; the first answer, or the primary's error, passes the `after_call` hooks. Everything here
runs in the caller's task, inside one cancel scope that carries the call's deadline; only `perform` runs in a worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel
import msgspec

from bifrost.attempt_record import shown
from bifrost.engine.attempts import Attempts, lift_of
from bifrost.engine.call_records import call_started, stream_committed
from bifrost.engine.ending import Ending, complete
from bifrost.engine.sources import ForeignChunks, ReadyChunks
from bifrost.engine.stream import ChunkStream
from bifrost.errors import BifrostError, MalformedResponseError, OutputValidationError
from bifrost.routing.candidates import Candidate
from bifrost.routing.retry import attempt_deadline, may_fall_back
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bifrost.config import RetryConfig
    from bifrost.context import CallContext
    from bifrost.engine.active import Active
    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.retry_state import RetryState
    from bifrost.engine.sources import Source
    from bifrost.engine.upstreams import Upstreams
    from bifrost.errors import StreamInterruptedError
    from bifrost.operations.base import ChunkLift, Streaming, StructuredOutput
    from bifrost.plugins.base import Outcome
    from bifrost.routing.failover import Failover


class Dispatcher:
    """Takes calls to their answers."""

    def __init__(self, upstreams: Upstreams, clock: Clock, host: Host, active: Active) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._scope = host.scope
        self._telemetry = host.telemetry
        self._attempts = Attempts(upstreams, clock, host, begin=self._begin)
        self._ending = Ending(host, active)

    # --- a call

    async def run(self, call: Call) -> Any:
        """Take a call to its answer, or for a stream to its first content. Raises the call's `BifrostError`."""
        call.telemetry = self._telemetry
        if self._telemetry.subscriptions:
            self._telemetry.emit(call_started(call.context))
        outcome = await self._ending.in_time(call, self._serve(call))
        if call.output is not None and call.stream is None and isinstance(outcome, call.context.operation.response):
            # One that a hook has put in an error's place was not read yet.
            outcome = complete(call, self._fitted(call, outcome))
        if isinstance(outcome, BifrostError):
            if not outcome.attempts:
                # Nobody was asked, so nothing may have been waited for. A caller that tries again at once must not keep
                # everything else from getting on.
                await anyio.lowlevel.checkpoint()
            raise outcome
        if call.stream is not None:
            # An `after_call` hook has put a response in an error's place.
            return self._stream_of(call, outcome)
        return outcome

    async def _serve(self, call: Call) -> Outcome:
        """Plan a call, and try its candidates in turn until one serves or no further one may be tried."""
        context = call.context
        outcome: Outcome = None
        try:
            named = call.request.model
            call.request = await call.chain.before_call(context, call.request, call.call_hooks)
            if context.model == named:
                # A plugin may name another model on the context, or in the request that it returns.
                context.model = call.request.model
            planned = await self._upstreams.plan(context, extra=getattr(call.request, "extra", None))
            if isinstance(planned, Candidate):
                outcome = await self._candidate(call, planned)
            else:
                call.failover = planned
                outcome = await self._try_in_turn(call, planned, None)
        except BifrostError as error:
            outcome = error
        if isinstance(outcome, ChunkStream):
            # The hooks that are due wait for its end.
            return cast("Outcome", outcome)
        return await self._ending.settle(call, outcome)

    async def _try_in_turn(self, call: Call, failover: Failover, outcome: Outcome) -> Outcome:
        """Try candidates until one serves, or no further one may be tried. `outcome`: the failure of the last one."""
        context = call.context
        while True:
            left = self._retry_of(call).attempts_total - call.attempts_made if outcome is not None else 2
            try:
                candidate = failover.next(now=self._now(), attempts_left=left)
            except BifrostError as error:
                return error
            if candidate is None:
                return outcome
            if isinstance(outcome, BifrostError):
                self._given_up(call, outcome, candidate)
            context.fallback_index = failover.place
            call.chosen = candidate
            call.tried = len(context.attempts)
            outcome = await self._candidate(call, candidate)
            if not isinstance(outcome, BifrostError) or not self._goes_on(call, outcome):
                return outcome

    def _given_up(self, call: Call, error: BifrostError, following: Candidate) -> None:
        """Take note that the call goes on from a candidate that failed to the next one."""
        chosen = call.chosen
        if error not in call.failures:
            if chosen in call.failed:
                # Of one that is tried several times the last error counts.
                call.failures[call.failed.index(chosen)] = error
            else:
                call.failures.append(error)
                call.failed.append(chosen)
        if following != chosen:
            self._upstreams.count_fallback(call.context.provider)
        if len(call.context.attempts) == call.tried:
            call.context.warnings.append(f"{chosen} was passed over: {error.message}")

    def _goes_on(self, call: Call, error: BifrostError) -> bool:
        """Return whether another candidate is left, and may be tried after this one's error."""
        failover = call.failover
        return (
            failover is not None
            and failover.has_next
            and may_fall_back(
                error,
                config=self._retry_of(call),
                attempts_of_call=call.attempts_made,
                remaining=call.context.deadline - self._now(),
            )
        )

    def _retry_of(self, call: Call) -> RetryConfig:
        return self._upstreams.retry_of(call.context.provider, call.context.options)

    # --- a candidate

    async def _candidate(self, call: Call, candidate: Candidate) -> Outcome:
        """Take a candidate through the hooks around it."""
        context = call.context
        context.provider, context.model = candidate.provider, candidate.model
        context.phase = "hook"
        call.error = None
        call.retry_state = call.postponed.pop(call.chosen, None) if call.chosen is not None else None
        structured = context.operation.structured
        if call.output is not None and structured is not None:
            call.mode, call.rules = structured.default_mode, structured.default_rules
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
                outcome = await self._ask(call, candidate, request)
        except BifrostError as error:
            outcome = _placed(error, candidate)
        return await self._judged(call, outcome)

    def _ask(self, call: Call, candidate: Candidate, request: Any) -> Coroutine[Any, Any, Outcome]:
        """Ask a candidate within its share of the time."""
        behind = 0 if call.failover is None else call.failover.behind
        if behind:
            return self._within_share(call, candidate, request, behind)
        call.share = call.context.deadline
        run = self._attempts.run if call.output is None else self._attempts_that_fit
        return run(call, candidate, request, behind)

    async def _judged(self, call: Call, outcome: Outcome) -> Outcome:
        """Leave a candidate with what it gave, unless that is a stream that has begun."""
        if isinstance(outcome, ChunkStream):
            return cast("Outcome", outcome)
        outcome = await self._ending.leave(call, outcome)
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
            return self._ending.out_of_time(call, share)
        return None

    async def _answered_by_plugin(self, call: Call, answer: Any) -> Outcome:
        """Take what a `before` hook gave in place of the provider's answer, in the form that the caller wants."""
        context, stream = call.context, call.stream
        if isinstance(answer, BifrostError):
            return answer
        if isinstance(answer, context.operation.response):
            if stream is not None:
                return self._stream_of(call, answer)
            return _with_origin(answer, context)
        kind = cast("type[Any]", context.operation.chunk)
        source: Source = (
            ReadyChunks(cast("list[Any]", answer))
            if isinstance(answer, list)
            else ForeignChunks(answer, context.deadline, kind=kind)
        )
        if stream is None:
            return await _collect(source, context)
        stream.attach(source, provider=context.provider, model=context.model, lift=lift_of(call))
        return self._begin(call, stream)

    # --- structured output

    def _asked(self, call: Call) -> Callable[[Call, Candidate, Any, int], Coroutine[Any, Any, Outcome]]:
        return self._attempts.run if call.output is None else self._attempts_that_fit

    async def _attempts_that_fit(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Outcome:
        """Try a candidate until its answer fits the type, asking again at most `max_output_retries` times.

        A stream is read at its end, and not asked for again: its caller has seen it.
        """
        output = call.output
        structured = cast("StructuredOutput", call.context.operation.structured)
        upstream = await self._upstreams.get(candidate.provider)
        call.rules = rules = upstream.row.schema_rules
        call.mode = structured.choose_mode(
            output, request, upstream.row.structured, provider=upstream.name, rules=rules
        )
        left, before = call.max_output_retries, None
        while True:
            answer = await self._attempts.run(
                call, candidate, structured.lower(request, output, call.mode, rules), behind
            )
            if (
                isinstance(answer, MalformedResponseError)
                and answer.category == "failed_generation"
                and call.stream is None
            ):
                call.retry_state = None
                failure = structured.refused(answer, output, before)
                if not left or structured.was_cut(answer):
                    return failure
                upstream.counters.reasks += 1
                left, request = left - 1, structured.reask_refused(request, failure)
                continue
            if not isinstance(answer, call.context.operation.response):
                return answer
            answer = structured.lift(answer, call.mode, others=structured.tool_names(request))
            answer = answer if before is None else structured.merged(before, answer)
            outcome = self._fitted(call, answer)
            if not isinstance(outcome, OutputValidationError):
                return outcome
            call.retry_state = None
            trail = call.context.attempts
            trail[-1] = msgspec.structs.replace(trail[-1], category=outcome.category, error=shown(outcome.message, 500))
            if not left or not structured.is_correctable(answer):
                return outcome
            upstream.counters.reasks += 1
            left, before, request = left - 1, answer, structured.reask(request, answer, outcome)

    def _fitted(self, call: Call, outcome: Outcome, lift: ChunkLift | None = None) -> Outcome:
        """Read a whole answer as the type that is wanted, if one is: give it so, or the error that kept it from that.

        It does not fit, or the type's own code failed. `lift` is what made the answer's text, if it was streamed.
        """
        output, operation = call.output, call.context.operation
        if output is None or operation.structured is None or type(outcome) is not operation.response:
            return outcome  # an error, a stream, or read already
        try:
            return operation.structured.fitted(outcome, output, call.mode, call.rules)
        except BifrostError as error:
            whole = None if lift is None else lift.restored(outcome)
            if whole is not None:
                return self._fitted(call, whole)
            error.provider = error.provider or call.context.provider or None
            error.model = error.model or call.context.model
            return error

    # --- streams

    def _begin(self, call: Call, stream: ChunkStream, request_id: str | None = None) -> ChunkStream:
        """Commit a stream: from here on its caller pulls it, and its end settles the call."""

        async def settle(outcome: Outcome) -> Outcome:
            if isinstance(outcome, call.context.operation.response):
                attempt = call.live_attempt
                if attempt is None:
                    outcome = msgspec.structs.replace(outcome, request_id=request_id)
                else:
                    outcome = msgspec.structs.replace(
                        outcome,
                        request_id=attempt.request_id,
                        rate_limit=rate_limit(attempt.headers, now=self._clock.wall()),
                    )
            call.end_attempt(call.attempt, outcome if isinstance(outcome, BifrostError) else None, now=self._now())
            return await self._ending.end(call, outcome)

        if call.telemetry is not None and self._telemetry.subscriptions:
            self._telemetry.emit(
                stream_committed(call.context, provider=stream.provider, model=stream.model, now=self._now())
            )
        restarts = call.context.options.on_interrupt == "restart"
        # The stream must not be held by its own call: it ends when its user drops it.
        call.stream = None
        stream.begin(
            on_chunk=call.chain.on_chunk(call.context, call.hooks),
            settle=settle,
            read=None if call.output is None else partial(self._fitted, call, lift=stream.lift),
            # What a plugin gave is not asked for again.
            restart=partial(self._restart, call) if restarts and call.live_attempt is not None else None,
        )
        return stream

    def _restart(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError
    ) -> Coroutine[Any, Any, Outcome] | None:
        """Say how a stream goes on that broke after its first content; `None`: it does not.

        A new beginning is a retry or a fallback like any other: the same failures allow it, after the same waits, and
        it counts as an attempt. What it comes to is a `StreamReset` if the stream has begun, else the call's outcome.
        """
        cause, attempt = broken.__cause__, call.attempt
        call.end_attempt(attempt, broken, now=self._now())
        if attempt is None or not isinstance(cause, BifrostError):
            return None
        now = self._now()
        call.share = attempt_deadline(now, call.context.deadline, call.behind)
        again = attempt.state if self._attempts.again(call, attempt, cause) else None
        if again is None and not self._goes_on(call, cause):
            for why in getattr(cause, "__notes__", ()):
                broken.add_note(why)
            return None
        return self._ending.in_time(call, self._go_on(call, stream, broken, again))

    async def _go_on(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError, again: RetryState | None
    ) -> Outcome:
        """Try further for a stream that broke: its candidate `again`, or those behind it."""
        call.stream, call.error = stream, None
        call.failures.append(broken)
        call.failed.append(None)
        candidate = call.candidate
        outcome: Outcome = broken
        if again is not None and candidate is not None:
            try:
                outcome = await self._ask(call, candidate, call.asked)
            except BifrostError as error:
                outcome = _placed(error, candidate)
            finally:
                again.give_back(self._now())
        outcome = await self._judged(call, outcome)
        failover = call.failover
        if (
            failover is not None
            and isinstance(outcome, BifrostError)
            and (outcome is broken or self._goes_on(call, outcome))
        ):
            outcome = await self._try_in_turn(call, failover, outcome)
        if not isinstance(outcome, ChunkStream):
            outcome = await self._ending.settle(call, outcome)
        if not isinstance(outcome, ChunkStream):
            call.stream = None
            return outcome
        target = None if call.live_attempt is None else call.live_attempt.target
        return cast("Any", _streaming(call.context).reset)(
            reason=broken.message,
            attempt=len(call.context.attempts) + 1,
            provider=call.context.provider if target is None else target.provider,
            model=(call.context.model if target is None else target.model) or "",
            partial=broken.partial,
        )

    def _stream_of(self, call: Call, response: Any) -> Outcome:
        """Begin the caller's stream with an answer that a plugin gave whole."""
        stream = call.stream
        if stream is None:
            return response
        source = ReadyChunks(_streaming(call.context).chunks_of(response))
        source.warnings = response.warnings
        stream.attach(
            source,
            provider=response.provider or call.context.provider,
            model=response.model or call.context.model,
            lift=lift_of(call),
        )
        return self._begin(call, stream, response.request_id)


def _placed(error: BifrostError, candidate: Candidate) -> BifrostError:
    """Say of an error at which candidate it arose, as far as it does not say so itself."""
    error.provider, error.model = error.provider or candidate.provider, error.model or candidate.model
    return error


def _with_origin(answer: Any, context: CallContext) -> Any:
    """Return a plugin's response with the candidate that it stands for, if it does not say so itself."""
    if not hasattr(answer, "provider") or answer.provider:
        return answer
    return msgspec.structs.replace(answer, provider=context.provider, model=answer.model or context.model)


def _streaming(context: CallContext) -> Streaming[Any, Any]:
    return cast("Streaming[Any, Any]", context.operation.streaming)


async def _collect(source: Source, context: CallContext) -> Outcome:
    """Make a plain answer of a plugin's stream."""
    accumulator = _streaming(context).accumulator(provider=context.provider, model=context.model)
    try:
        while (chunks := await source.next()) is not None:
            for chunk in chunks:
                accumulator.add(chunk)
    finally:
        await source.close()
    return accumulator.response()
