"""The attempts of a call at one candidate: a job is queued, a worker chooses a key and does the exchange, it is judged.

All of it runs in the caller's task, the waits between attempts and for keys included; only `perform` runs in a worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.engine.attempt import Attempt, NotAdmitted
from bifrost.engine.hedged import Hedges
from bifrost.engine.perform import perform
from bifrost.engine.pool import Job, Replaced
from bifrost.engine.retry_state import RetryState
from bifrost.errors import BifrostError, NotFoundError, UnsupportedError
from bifrost.routing.retry import GiveUp, Retry, allows_fallback, decide, rule_of
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.config import CallOptions, RetryConfig
    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.hedged import Watch
    from bifrost.engine.host import Host
    from bifrost.engine.stream import ChunkStream
    from bifrost.engine.upstream import Upstream
    from bifrost.engine.upstreams import Upstreams
    from bifrost.operations.base import ChunkLift
    from bifrost.plugins.base import Outcome
    from bifrost.routing.candidates import Candidate
    from bifrost.routing.failover import Failover
    from bifrost.routing.health import HeldBack
    from bifrost.routing.key_health import KeyHealth
    from bifrost.routing.keys import Choice


class Attempts:
    """Make them. A stream that has got its first content is handed to `begin`."""

    def __init__(
        self, upstreams: Upstreams, clock: Clock, host: Host, *, begin: Callable[[Call, ChunkStream], ChunkStream]
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._signal = host.signal
        self._begin = begin
        self._hedges = Hedges(upstreams, clock, host, self._submit)

    async def run(self, call: Call, candidate: Candidate, request: Any, behind: int) -> Outcome:
        """Try a candidate until it answers or `decide` gives it up; waits between attempts are waited here."""
        context, options = call.context, call.context.options
        upstream = await self._upstreams.get(candidate.provider)
        codec = upstream.codec(context.endpoint)
        if call.stream is not None and codec.decoder is None:
            raise UnsupportedError(f"{upstream.name} does not stream {context.endpoint}", provider=upstream.name)
        retry = self._upstreams.retry_of(candidate.provider, options)
        keys = await self._upstreams.keys(candidate.provider, context)
        state = call.retry_state
        if state is None or state.model != candidate.model:
            state = RetryState(candidate.model, keys, retry, upstream.health, fallback_behind=behind > 0)
            call.retry_state = state
        if not state.categories:
            upstream.counters.asked += 1
        state.fallback_behind = behind > 0
        # A stream that begins anew may do so long after its first attempt.
        state.keys, state.retry, state.health = keys, retry, upstream.health
        # Of this request alone: a re-ask, a fallback, or a stream that begins anew, is another.
        headers = upstream.headers_of(options, f"{context.id}-{len(context.attempts)}")
        if state.due is not None and not self._resumes(state):
            return state.failure
        is_stream = call.stream is not None
        try:
            while True:
                if state.categories:
                    upstream.counters.retries += 1
                    if call.stream is not None:
                        await call.stream.source_gone()
                submitted = await self._until_ready(call, state)
                attempt = Attempt(
                    state,
                    upstream=upstream,
                    codec=codec,
                    request=request,
                    stream=is_stream,
                    extra_headers=headers,
                    deadline=context.deadline,
                    clock=self._clock,
                    admit=partial(self._admit, options),
                    submitted=submitted,
                    note=None if call.failover is None else _why_chosen(call, call.failover),
                    first_token=_first_token_share(upstream) if is_stream and call.another_ready else None,
                    new_connection=bool(state.categories) and state.categories[-1] == "stale",
                )
                outcome = await self._attempt(call, attempt)
                if not isinstance(outcome, BifrostError) or _is_asked_again(call, outcome):
                    return outcome
                # Of an attempt and its hedge, the one that the call ended with.
                if not self.again(call, call.attempt or attempt, outcome):
                    return outcome
                upstream, codec = attempt.upstream, attempt.codec
        finally:
            if state.paid is not None:
                state.give_back(self._now())

    async def _until_ready(self, call: Call, state: RetryState) -> float:
        """Wait before a retry, and then while no key is ready. Returns when the attempt can be queued.

        Raises what keeps it from being made at all. What is known now keeps a call out of the queue; what is learned
        while it is queued, its worker finds out.
        """
        if state.wait > 0:
            call.context.phase = "backoff"
            await self._upstreams.pause(state.keys.provider.name, state.wait)
        now = self._now()
        state.health.check(state.model, now, fallback=state.fallback_behind, addresses=state.keys.addresses)
        state.parked = None
        if (
            state.spent
            or state.keys.states.troubled
            or call.context.options.key is not None
            or state.model not in state.keys.by_model
        ):
            resting = state.keys.resting(state.model, now=now, pin=call.context.options.key, excluded=state.spent)
            if resting is not None:
                state.wait += await self._wait_for_key(call, state, resting)
                return self._now()
        return now

    async def _wait_for_key(self, call: Call, state: RetryState, resting: Choice) -> float:
        """Wait for this call's turn with a parked key, or until another is ready. Returns how long that took.

        Raises `RateLimitError` where the call does not wait, and what keeps it from being made at all.
        """
        call.context.phase = "backoff"
        total = 0.0
        while True:
            key = cast("KeyHealth", resting.health)
            place = key.stand_in_line()
            try:
                while resting.health is key:
                    now, until = self._now(), key.until
                    wait = state.keys.waits(
                        resting._replace(ready_at=key.turn(place)),
                        now=now,
                        left=call.share - now,
                        fallback_behind=call.another_ready,
                        waited=state.waited_for_keys,
                    )
                    await self._upstreams.pause(state.keys.provider.name, wait)
                    state.waited_for_keys += wait
                    total += wait
                    now = self._now()
                    if key.until == until:
                        if key.state == "parked":
                            state.parked = (resting._replace(ready_at=None), until)
                        return total
                    # Whoever was let through first was limited again, or found the key dead.
                    pin = call.context.options.key
                    others = {key.name, *state.spent}
                    is_ready = key.usable(now)
                    if is_ready and not state.keys.has_other(state.model, excluded=others, pin=pin, now=now):
                        if key.turn(place) > now:
                            continue
                        return total
                    again = state.keys.resting(state.model, now=now, pin=pin, excluded=state.spent)
                    if again is None:
                        return total
                    resting = again
            finally:
                key.leave_line(place)

    def _admit(self, options: CallOptions, attempt: Attempt, now: float) -> None:
        """Select a key for an attempt and admit it. Its worker calls this, with what is known by then.

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
                own = state.parked_for_this()
                if own is None:
                    raise NotAdmitted(resting=selection)
                selection = own
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

    def again(self, call: Call, attempt: Attempt, error: BifrostError) -> bool:
        """Return whether a failed attempt is followed by another at this candidate, and prepare for it.

        What that costs is paid here. Whoever asks gives it back (`RetryState.give_back`) if no attempt is admitted
        with it.
        """
        context, state, now = call.context, attempt.state, self._now()
        health = state.health
        rule = rule_of(error)
        call.free += state.failed(attempt.selection, error)
        pin = context.options.key
        addresses = state.keys.addresses
        held_back = health.holds_back(error, state.model, now=now, fallback=state.fallback_behind, addresses=addresses)
        if attempt.admission is not None and attempt.admission.is_probe and len(addresses) == 1:
            # A probe is not tried again here, unless another address can serve.
            held_back = "breaker"
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
            held_back=held_back,
        )
        if not isinstance(decision, Retry):
            if isinstance(error, NotFoundError) and pin is None:
                health.lost(context.endpoint, state.model, context.tenant, now=now)
            _note_why(error, decision, state.retry)
            if held_back is not None and error.retryable and context.attempts:
                last = context.attempts[-1]
                note = "; ".join(filter(None, (last.note, _HELD_BACK[held_back])))
                context.attempts[-1] = msgspec.structs.replace(last, note=note)
            return False
        if rule.other_key and not decision.other_key:
            # Every key has been tried: after the wait each may be the one that is ready.
            state.spent = set(state.refused)
        elif not decision.other_key:
            state.spent.discard(attempt.key_name)
        state.wait = decision.delay
        failover, chosen = call.failover, call.chosen
        if failover is None or chosen is None or decision.is_free:
            pass
        elif failover.goes_first(now + decision.delay):
            # A model group tries each member that can serve once before one of them again.
            if not allows_fallback(error, state.retry):
                return False
            state.due = now + decision.delay
            call.postponed[chosen] = state
            failover.postpone(chosen, until=state.due)
            return False
        state.paid = None if decision.is_free else health.pay(error, now=now)
        return True

    def _resumes(self, state: RetryState) -> bool:
        """Prepare a retry that others were tried before. False: its provider's retry budget is exhausted since."""
        due, now = cast("float", state.due), self._now()
        state.due = None
        state.wait = max(0.0, due - now)
        failure = cast("BifrostError", state.failure)
        held_back = state.health.holds_back(
            failure, state.model, now=now, fallback=state.fallback_behind, addresses=state.keys.addresses
        )
        if held_back == "budget":
            return False
        state.paid = state.health.pay(failure, now=now)
        return True

    async def _attempt(self, call: Call, attempt: Attempt) -> Outcome:
        """Make one attempt through the provider's pool. Returns the answer, or the error that stands for it."""
        context, stream = call.context, call.stream
        call.attempt = attempt
        context.phase = "queue"
        try:
            hedging = attempt.upstream.health.hedging
            if hedging is None or stream is not None:
                answer = await self._submit(call, attempt)
            else:
                answer, attempt = await self._hedges.submit(call, attempt, hedging)
            upstream = attempt.upstream
            if stream is not None:
                context.phase = "first_token"
                lift = lift_of(call, attempt.request)
                stream.attach(answer, provider=upstream.name, model=attempt.target.model, lift=lift)
                limits = upstream.config.size_limits
                first_token = attempt.first_token or upstream.config.timeouts.first_token
                await stream.commit(first_token=attempt.begun + first_token, held=limits.preamble)
        except NotAdmitted as returned:
            # Nothing was sent: it is no attempt.
            call.attempt = None
            raise (returned.error or returned) from None
        except BifrostError as error:
            if stream is not None:
                stream.drop_source()
            call.end_attempt(call.attempt, error, now=self._now())
            # The frames below hold the provider's bytes, in which it may have repeated the key.
            return error.with_traceback(None)
        except BaseException:
            if stream is not None:
                stream.drop_source()
            raise
        context.warnings += attempt.warnings
        if upstream.health.gone:
            # It is there again.
            upstream.health.gone.pop((context.endpoint, attempt.state.model, context.tenant), None)
        if stream is not None:
            if attempt.admission is not None:
                attempt.admission.began(self._now())
            return self._begin(call, stream)
        call.end_attempt(attempt, None, now=self._now())
        return msgspec.structs.replace(
            answer,
            provider=attempt.target.provider,
            request_id=attempt.request_id,
            rate_limit=rate_limit(attempt.headers, now=self._clock.wall()),
        )

    async def _submit(self, call: Call, attempt: Attempt, watch: Watch | None = None) -> Any:
        """Queue an attempt at its provider, and again when it comes back without having been made.

        It comes back when the provider was changed, and moves to what replaces it; and when no key was ready, and waits
        here for one. It keeps its place in the order of calls.
        """
        job = Job(perform, attempt, done=self._signal(), is_stream=call.stream is not None)
        while True:
            attempt.job, attempt.taken_at = job, None
            try:
                return await attempt.upstream.pool.submit(job, watch)
            except Replaced:
                returned = None
            except NotAdmitted as error:
                returned = error
            if returned is None:
                await self._move(call, attempt)
            else:
                await self._hold(call, attempt, returned)
            job = job.again(perform, attempt, done=self._signal())
            call.attempt = attempt
            call.context.phase = "queue"

    async def _hold(self, call: Call, attempt: Attempt, returned: NotAdmitted) -> None:
        """Wait with an attempt for which its worker found no key ready. Raises why it cannot be made at all."""
        # Nothing was sent: it is no attempt, whatever comes of it.
        call.attempt = None
        attempt.job = None
        if returned.resting is None:
            raise returned
        try:
            waited = await self._wait_for_key(call, attempt.state, returned.resting)
        except BifrostError as error:
            raise NotAdmitted(error) from None
        attempt.waited(waited, now=self._now())

    async def _move(self, call: Call, attempt: Attempt) -> None:
        """Move an attempt that no worker took to what has replaced its provider, with the keys that belong there."""
        context, state = call.context, attempt.state
        upstream = await self._upstreams.get(attempt.upstream.name)
        state.keys = await self._upstreams.keys(upstream.name, context)
        if state.health is not upstream.health:
            # What was paid and waited for belongs to the other address.
            state.give_back(self._now())
            state.parked = None
        state.health, state.retry = upstream.health, self._upstreams.retry_of(upstream.name, context.options)
        attempt.move(upstream, upstream.codec(context.endpoint))


def _why_chosen(call: Call, failover: Failover) -> str | None:
    """Return what the record of a candidate's first attempt says of why the candidate was chosen."""
    return failover.note if len(call.context.attempts) == call.tried else None


def _first_token_share(upstream: Upstream) -> float:
    """Return how long a stream may be without its first token while another candidate is ready, in seconds."""
    timeouts = upstream.config.timeouts
    return timeouts.first_token * timeouts.first_token_share


def _is_asked_again(call: Call, error: BifrostError) -> bool:
    """Return whether a model's mistake is told to the model, and counts as a re-ask and not as a retry."""
    return error.category == "failed_generation" and call.output is not None and call.stream is None


def lift_of(call: Call, request: Any = None) -> ChunkLift | None:
    """Return what makes the text of a stream's chunks plain, for a call that wants a type."""
    structured = call.context.operation.structured
    if call.output is None or structured is None:
        return None
    return structured.chunk_lift(
        call.output, call.mode, others=() if request is None else structured.tool_names(request)
    )


_HELD_BACK: Mapping[HeldBack, str] = {
    "breaker": "not tried again, the breaker is open",
    "budget": "not tried again, the retry budget is used up",
}


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
