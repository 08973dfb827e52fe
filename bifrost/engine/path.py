"""The path of a call, in reading order.

A **call** passes the `before_call` hooks and is planned into **candidates**. Each candidate passes the `before` hooks,
becomes one or more **attempts** and passes the `after` hooks backwards. The first response, or the primary's error,
passes the `after_call` hooks.

The steps around an attempt have one signature, `Step`: they take the call, return its response (or the stream that has
begun), and raise its error. From the outside in:

    Path.run            the call's deadline, its hooks, its plan
      Fallbacks         one candidate after the other      wrappers/fallback.py
        Path.candidate  the hooks around a candidate, its share of the time
          OutputRetries asks again until a type fits       wrappers/structured.py
            Retries     one attempt after the other        wrappers/retry.py
              Hedging   a second attempt beside a slow one wrappers/hedging.py
                Submission  the provider's pool            submission.py
                  perform   what a worker does             perform.py

A stream that breaks later begins anew in `wrappers/restart.py`. Everything here runs in the caller's task, inside one
cancel scope that carries the call's deadline; only `perform` runs in a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel
import msgspec

from bifrost.engine.call_records import call_started
from bifrost.engine.completion import Completion
from bifrost.engine.pool.key_wait import KeyWait
from bifrost.engine.pool.submission import Submission
from bifrost.engine.streaming.chunk_stream import ChunkStream
from bifrost.engine.streaming.opening import StreamOpening, chunk_lift
from bifrost.engine.streaming.sources import ForeignChunks, ReadyChunks
from bifrost.engine.wrappers.fallback import Fallbacks
from bifrost.engine.wrappers.hedging import Hedging
from bifrost.engine.wrappers.restart import Restarts
from bifrost.engine.wrappers.retry import Retries
from bifrost.engine.wrappers.structured import OutputRetries, fitted
from bifrost.errors import BifrostError
from bifrost.routing.candidates import Candidate
from bifrost.routing.retry import attempt_deadline

if TYPE_CHECKING:
    from bifrost.context import CallContext
    from bifrost.engine.active import Active
    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.engine.streaming.sources import Source
    from bifrost.plugins.base import Outcome


class Path:
    """Runs calls."""

    def __init__(self, upstreams: Upstreams, clock: Clock, host: Host, active: Active) -> None:
        self._upstreams = upstreams
        self._now = host.now
        self._scope = host.scope
        self._telemetry = host.telemetry
        self._completion = Completion(host, active)
        self._opening = StreamOpening(clock, host, self._completion)
        key_wait = KeyWait(upstreams, host.now)
        submission = Submission(upstreams, host, key_wait).run
        hedging = Hedging(upstreams, clock, host, submission).run
        retries = Retries(
            upstreams, clock, host, key_wait, submission=submission, hedging=hedging, opening=self._opening
        )
        self._retries = retries.run
        self._output_retries = OutputRetries(upstreams, retries.run).run
        fallbacks = Fallbacks(upstreams, host, self.candidate)
        self._fallbacks = fallbacks.run
        restarts = Restarts(host, self._completion, retries, fallbacks, opening=self._opening, answer=self._answer)
        self._opening.restart = restarts.of

    # --- a call

    async def run(self, call: Call) -> Any:
        """Run a call and return its response, or for a stream, continue to its first content.

        Raises the call's `BifrostError`.
        """
        call.telemetry = self._telemetry
        if self._telemetry.subscriptions:
            self._telemetry.emit(call_started(call.context))
        try:
            response = await self._completion.in_time(call, self._serve(call))
        except BifrostError as error:
            if not error.attempts:
                # No candidate was tried, so there may have been no wait. A caller that tries again at once must not
                # block everything else.
                await anyio.lowlevel.checkpoint()
            raise
        if call.stream is not None:
            # An `after_call` hook has replaced an error by a response.
            return self._opening.begin_with(call, response)
        return response

    async def _serve(self, call: Call) -> Any:
        """Plan a call, try its candidates, and run the hooks at its end."""
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
                call.candidate = planned
                outcome = await self.candidate(call)
            else:
                call.failover = planned
                outcome = await self._fallbacks(call)
        except BifrostError as error:
            outcome = error
        if isinstance(outcome, ChunkStream):
            # The hooks that are due wait for its end.
            return cast("Any", outcome)
        return await self._completion.settle(call, outcome)

    # --- a candidate

    async def candidate(self, call: Call) -> Any:
        """Run a candidate and the hooks around it."""
        context, candidate = call.context, call.candidate
        context.provider, context.model = candidate.provider, candidate.model
        context.phase = "hook"
        call.error = None
        call.retry_state = None if call.chosen is None else call.postponed.pop(call.chosen, None)
        structured = context.operation.structured
        if call.output is not None and structured is not None:
            call.mode, call.rules = structured.default_mode, structured.default_rules
        request = msgspec.structs.replace(call.request, model=candidate.model)
        outcome: Outcome = None
        try:
            request, answer = await call.chain.before(context, request, call.hooks)
            if request.model != candidate.model:
                # A plugin may name another model of the same provider.
                context.model = request.model
                call.candidate = msgspec.structs.replace(candidate, model=request.model)
            call.candidate_request = call.attempt_request = request
            if answer is not None:
                outcome = fitted(call, await self._plugin_answer(call, answer))
            elif call.failover is not None:
                outcome = await self._answer(call)
            else:
                call.share = context.deadline
                outcome = await (self._retries(call) if call.output is None else self._output_retries(call))
        except BifrostError as error:
            outcome = call.placed(error)
        if isinstance(outcome, ChunkStream):
            return cast("Any", outcome)
        response = await self._completion.after(call, outcome)
        # An `after` hook may have replaced an error by a response.
        return response if call.stream is None else self._opening.begin_with(call, response)

    async def _answer(self, call: Call) -> Any:
        """Run a candidate within its share of the time, so that an unresponsive one leaves time for the fallbacks."""
        behind = call.behind
        call.fallback_behind = behind > 0
        now = self._now()
        call.share = attempt_deadline(now, call.context.deadline, behind)
        step = self._retries if call.output is None else self._output_retries
        if not behind:
            return await step(call)
        with self._scope(deadline=call.share):
            return await step(call)
        left = "1 fallback left" if behind == 1 else f"{behind} fallbacks left"
        provider, seconds = call.context.provider, round(call.share - now, 1)
        raise self._completion.out_of_time(
            call, f"{provider}'s share of the call's timeout, {seconds:g} s with {left},"
        )

    async def _plugin_answer(self, call: Call, answer: Any) -> Any:
        """Return a plugin's response, from a `before` hook, in the form that the caller expects."""
        context, stream = call.context, call.stream
        if isinstance(answer, BifrostError):
            raise answer
        if isinstance(answer, context.operation.response):
            return _with_origin(answer, context) if stream is None else self._opening.begin_with(call, answer)
        source: Source
        if hasattr(answer, "__anext__"):
            source = ForeignChunks(answer, context.deadline, kind=call.streaming.chunk)
        else:
            source = ReadyChunks(answer)
        if stream is None:
            return await _collect(source, call)
        stream.attach(source, provider=context.provider, model=context.model, lift=chunk_lift(call))
        return self._opening.begin(call, stream)


def _with_origin(answer: Any, context: CallContext) -> Any:
    """Return a plugin's response with the provider and model of its candidate, if it has none."""
    if not hasattr(answer, "provider") or answer.provider:
        return answer
    return msgspec.structs.replace(answer, provider=context.provider, model=answer.model or context.model)


async def _collect(source: Source, call: Call) -> Any:
    """Return the response that a plugin's chunks add up to."""
    accumulator = call.streaming.accumulator(provider=call.context.provider, model=call.context.model)
    try:
        while (chunks := await source.next()) is not None:
            for chunk in chunks:
                accumulator.add(chunk)
    finally:
        await source.close()
    return accumulator.response()
