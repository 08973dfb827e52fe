"""The attempts of a call at one candidate: the next step is tried until it succeeds or a retry is not allowed.

All of it runs in the caller's task, the waits between attempts included.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.engine.attempt import Attempt, NotAdmitted
from bifrost.engine.retry_state import RetryState
from bifrost.engine.streaming.opening import chunk_lift
from bifrost.errors import BifrostError, NotFoundError, UnsupportedError
from bifrost.routing.retry import GiveUp, Retry, allows_fallback, decide, rule_of
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.config import CallOptions, RetryConfig
    from bifrost.engine.call import Call, Step
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.pool.key_wait import KeyWait
    from bifrost.engine.providers.upstream import Upstream
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.engine.streaming.opening import StreamOpening
    from bifrost.routing.failover import Failover
    from bifrost.routing.health import RetryBlock


class Retries:
    """Makes attempts. A stream that has its first content begins with `opening`."""

    def __init__(
        self,
        upstreams: Upstreams,
        clock: Clock,
        host: Host,
        key_wait: KeyWait,
        *,
        submission: Step,
        hedging: Step,
        opening: StreamOpening,
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._key_wait = key_wait
        self._submission = submission
        self._hedging = hedging
        self._opening = opening

    async def run(self, call: Call) -> Any:
        """Try the candidate until it succeeds or `decide` abandons it. Raises its last failure."""
        context, options, candidate = call.context, call.context.options, call.candidate
        upstream = await self._upstreams.get(candidate.provider)
        codec = upstream.codec(context.endpoint)
        if call.stream is not None and codec.decoder is None:
            raise UnsupportedError(f"{upstream.name} does not stream {context.endpoint}", provider=upstream.name)
        keys = await self._upstreams.keys(candidate.provider, context)
        retry = self._upstreams.retry_of(candidate.provider, options)
        state = call.retry_state
        if state is None or state.model != candidate.model:
            state = RetryState(candidate.model, keys, retry, upstream.health, fallback_behind=call.fallback_behind)
            call.retry_state = state
        if not state.categories:
            upstream.counters.asked += 1
        state.fallback_behind = call.fallback_behind
        # A stream may be restarted long after its first attempt.
        state.keys, state.retry, state.health = keys, retry, upstream.health
        # Of this request alone: an output retry, a fallback or a restarted stream is another request.
        headers = upstream.headers_of(options, f"{context.id}-{len(context.attempts)}")
        if state.due is not None and not self._resumes(state):
            raise cast("BifrostError", state.failure)
        try:
            while True:
                if state.categories:
                    upstream.counters.retries += 1
                    if call.stream is not None:
                        await call.stream.source_gone()
                submitted = await self._until_ready(call, state)
                attempt = self._next_attempt(call, state, upstream, headers=headers, submitted=submitted)
                call.attempt = attempt
                failure = None
                try:
                    return await self._attempt(call)
                except BifrostError as error:
                    # The frames below hold the provider's bytes, which may contain the key.
                    failure = error.with_traceback(None)
                # `None`: nothing was sent. Of an attempt and its hedge, this is the one that the call ended with.
                last = cast("Attempt | None", call.attempt)
                if last is None or call.is_output_retry(failure) or not self.again(call, failure):
                    raise failure
                upstream = attempt.upstream
        finally:
            if state.paid is not None:
                state.give_back(self._now())

    def _next_attempt(
        self, call: Call, state: RetryState, upstream: Upstream, *, headers: Mapping[str, str], submitted: float
    ) -> Attempt:
        context, is_stream = call.context, call.stream is not None
        return Attempt(
            state,
            upstream=upstream,
            codec=upstream.row.codecs[context.endpoint],
            request=call.attempt_request,
            stream=is_stream,
            extra_headers=headers,
            deadline=context.deadline,
            clock=self._clock,
            admit=partial(self._admit, context.options),
            submitted=submitted,
            note=None if call.failover is None else _why_chosen(call, call.failover),
            first_token=_first_token_share(upstream) if is_stream and call.another_ready else None,
            new_connection=bool(state.categories) and state.categories[-1] == "stale",
        )

    async def _attempt(self, call: Call) -> Any:
        """Make one attempt. Returns its response, or the stream with its first content."""
        context, stream = call.context, call.stream
        # `cast` would be a Python call on the path of every call.
        live: Any = call.attempt
        attempt: Attempt = live
        context.phase = "queue"
        try:
            if stream is None:
                is_hedged = attempt.upstream.health.hedging is not None
                response = await (self._hedging(call) if is_hedged else self._submission(call))
                live = call.attempt  # A hedge may have taken its place.
                attempt = live
            else:
                response = await self._submission(call)
                context.phase = "first_token"
                lift = chunk_lift(call, attempt.request)
                stream.attach(response, provider=attempt.upstream.name, model=attempt.target.model, lift=lift)
                config = attempt.upstream.config
                first_token = attempt.first_token or config.timeouts.first_token
                await stream.commit(first_token=attempt.begun + first_token, held=config.size_limits.preamble)
        except NotAdmitted as returned:
            # Nothing was sent, so it does not count as an attempt.
            call.attempt = None
            raise (returned.error or returned) from None
        except BifrostError as error:
            if stream is not None:
                stream.drop_source()
            call.end_attempt(call.attempt, error, now=self._now())
            raise
        except BaseException:
            if stream is not None:
                stream.drop_source()
            raise
        context.warnings += attempt.warnings
        gone = attempt.upstream.health.gone
        if gone:
            # The provider is available again.
            gone.pop((context.endpoint, attempt.state.model, context.tenant), None)
        if stream is not None:
            if attempt.admission is not None:
                attempt.admission.began(self._now())
            return self._opening.begin(call, stream)
        call.end_attempt(attempt, None, now=self._now())
        return msgspec.structs.replace(
            response,
            provider=attempt.target.provider,
            request_id=attempt.request_id,
            rate_limit=rate_limit(attempt.headers, now=self._clock.wall()),
        )

    async def _until_ready(self, call: Call, state: RetryState) -> float:
        """Wait before a retry, and then while no key is ready. Returns when the attempt can be queued.

        Raises an error if it cannot be made at all. This uses what is known now; the worker checks again when it takes
        the attempt.
        """
        if state.wait > 0:
            call.context.phase = "backoff"
            await self._upstreams.pause(state.keys.provider.name, state.wait)
        now = self._now()
        state.health.check(state.model, now, fallback=state.fallback_behind, addresses=state.keys.addresses)
        state.cooling_key = None
        if (
            state.spent
            or state.keys.states.troubled
            or call.context.options.key is not None
            or state.model not in state.keys.by_model
        ):
            resting = state.keys.resting(state.model, now=now, pin=call.context.options.key, excluded=state.spent)
            if resting is not None:
                state.wait += await self._key_wait.wait(call, state, resting)
                return self._now()
        return now

    def _admit(self, options: CallOptions, attempt: Attempt, now: float) -> None:
        """Select a key for an attempt and admit it. The worker calls this, with what is known by then.

        Raises `NotAdmitted`.
        """
        state = attempt.state
        try:
            selection = state.keys.choose(
                state.model,
                random=self._clock.random,
                now=now,
                pin=options.key,
                session=options.session,
                excluded=state.spent if state.failed_address is None else state.other_address(now),
            )
            if selection.ready_at is not None:
                own = state.key_after_cooldown()
                if own is None:
                    raise NotAdmitted(resting=selection)
                selection = own
            if selection.key is not None and selection.key.value is None and not attempt.take_token(selection.key):
                raise NotAdmitted(without_token=selection)
            admission = state.health.admit(
                selection,
                state.model,
                now=now,
                is_retry=bool(state.categories),
                paid=state.paid,
                fallback=state.fallback_behind,
            )
        except BifrostError as error:
            raise NotAdmitted(error) from None
        state.paid = None
        attempt.admitted(selection, admission)

    def again(self, call: Call, error: BifrostError) -> bool:
        """Return whether another attempt follows the call's last one, which has failed, and prepare it.

        The retry budget is charged here. The caller refunds it (`RetryState.give_back`) if no attempt is admitted with
        it.
        """
        attempt = cast("Attempt", call.attempt)
        context, state, now = call.context, attempt.state, self._now()
        health = state.health
        rule = rule_of(error)
        call.free += state.failed(attempt.selection, error)
        pin = context.options.key
        addresses = state.keys.addresses
        block = health.retry_block(error, state.model, now=now, fallback=state.fallback_behind, addresses=addresses)
        if attempt.admission is not None and attempt.admission.is_probe and len(addresses) == 1:
            # A probe is not repeated here, unless another address can serve.
            block = "breaker"
        decision = decide(
            error,
            categories=state.categories,
            attempts_of_call=call.attempts_made,
            config=state.retry,
            remaining=context.deadline - now,
            share=call.share - now,
            other_key=state.keys.has_other(state.model, pin=pin, excluded=state.spent, now=now),
            ready_in=state.keys.ready_in(state.model, pin=pin, excluded=state.refused, now=now),
            fallback_behind=state.fallback_behind,
            another_ready=call.another_ready,
            random=self._clock.random,
            block=block,
        )
        if not isinstance(decision, Retry):
            if isinstance(error, NotFoundError) and pin is None:
                health.lost(context.endpoint, state.model, context.tenant, now=now)
            _note_why(error, decision, state.retry)
            if block is not None and error.retryable and context.attempts:
                last = context.attempts[-1]
                note = "; ".join(filter(None, (last.note, _RETRY_BLOCKS[block])))
                context.attempts[-1] = msgspec.structs.replace(last, note=note)
            return False
        if rule.other_key and not decision.other_key:
            # Every key has been tried. After the wait each one may be the one that is ready.
            state.spent = set(state.refused)
        elif not decision.other_key:
            state.spent.discard(attempt.key_name)
        state.wait = decision.delay
        failover, chosen = call.failover, call.chosen
        if failover is None or chosen is None or decision.is_free:
            pass
        elif failover.goes_first(now + decision.delay):
            # A model group tries each usable member once before it repeats one.
            if not allows_fallback(error, state.retry):
                return False
            state.due = now + decision.delay
            call.postponed[chosen] = state
            failover.postpone(chosen, until=state.due)
            return False
        state.paid = None if decision.is_free else health.pay(error, now=now)
        return True

    def _resumes(self, state: RetryState) -> bool:
        """Prepare a retry before which others were tried.

        Returns false if its provider's retry budget is exhausted by now.
        """
        due, now = cast("float", state.due), self._now()
        state.due = None
        state.wait = max(0.0, due - now)
        failure = cast("BifrostError", state.failure)
        block = state.health.retry_block(
            failure, state.model, now=now, fallback=state.fallback_behind, addresses=state.keys.addresses
        )
        if block == "budget":
            return False
        state.paid = state.health.pay(failure, now=now)
        return True


def _why_chosen(call: Call, failover: Failover) -> str | None:
    """Return the note on why a candidate was chosen, for its first attempt."""
    return failover.note if len(call.context.attempts) == call.tried else None


def _first_token_share(upstream: Upstream) -> float:
    """Return how long a stream may lack its first token while another candidate is ready, in seconds."""
    timeouts = upstream.config.timeouts
    return timeouts.first_token * timeouts.first_token_share


_RETRY_BLOCKS: Mapping[RetryBlock, str] = {
    "breaker": "not tried again, the breaker is open",
    "budget": "not tried again, the retry budget is used up",
}


def _note_why(error: BifrostError, decision: object, config: RetryConfig) -> None:
    """Add a note to an error that could have been retried, with the reason why it was not."""
    match decision:
        case GiveUp(cause="breaker"):
            error.add_note("not tried again: its circuit breaker is open because it has failed repeatedly")
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
