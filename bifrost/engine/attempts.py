"""The attempts of a call at one candidate: a job is queued, a worker chooses a key and does the exchange, it is judged.

All of it runs in the caller's task, the waits between attempts and for keys included; only `perform` runs in a worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.engine.call import Tries
from bifrost.engine.exchange import Exchange, NotLetIn
from bifrost.engine.hedged import Hedges
from bifrost.engine.perform import perform
from bifrost.engine.pool import Job, Replaced
from bifrost.errors import BifrostError, NotFoundError, UnsupportedError
from bifrost.operations.chat.structured.lowering import ChunkLift, tool_names
from bifrost.routing.retry import GiveUp, Retry, allows_fallback, decide, rule_of
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.config import RetryConfig
    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.hedged import Watch
    from bifrost.engine.host import Host
    from bifrost.engine.stream import ChunkStream
    from bifrost.engine.upstreams import Upstreams
    from bifrost.plugins.base import Outcome
    from bifrost.routing.candidates import Candidate
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
        tries = call.tries
        if tries is None or tries.model != candidate.model:
            call.tries = tries = Tries(candidate.model, keys, retry, upstream.health, fallback_behind=behind > 0)
        if not tries.categories:
            upstream.counters.asked += 1
        tries.fallback_behind = behind > 0
        # A stream that begins anew may do so long after its first attempt.
        tries.keys, tries.retry, tries.health = keys, retry, upstream.health
        # Of this request alone: a re-ask, a fallback, or a stream that begins anew, is another.
        headers = upstream.headers_of(options, f"{context.id}-{len(context.attempts)}")
        if tries.due is not None and not self._resumes(tries):
            return tries.failure
        try:
            while True:
                if tries.categories:
                    upstream.counters.retries += 1
                    if call.stream is not None:
                        await call.stream.source_gone()
                await self._until_ready(call, tries)
                tries.choice = None
                exchange = Exchange(
                    upstream=upstream,
                    codec=codec,
                    request=request,
                    model=tries.model,
                    stream=call.stream is not None,
                    extra_headers=headers,
                    deadline=context.deadline,
                    clock=self._clock,
                    let_in=partial(self._let_in, call, tries),
                    fresh=bool(tries.categories) and tries.categories[-1] == "stale",
                )
                exchange.note, call.note = call.note, None
                if call.stream is not None and call.another_ready:
                    timeouts = upstream.config.timeouts
                    exchange.first_token = timeouts.first_token * timeouts.first_token_share
                outcome = await self._attempt(call, exchange, tries.wait)
                if not isinstance(outcome, BifrostError) or _is_asked_again(call, outcome):
                    return outcome
                if not self.again(call, tries, outcome):
                    return outcome
                upstream, codec = exchange.upstream, exchange.codec
        finally:
            if tries.paid is not None:
                tries.give_back(self._now())

    async def _until_ready(self, call: Call, tries: Tries) -> None:
        """Wait before a retry, and then while no key is ready. Raises what keeps the attempt from being made at all.

        What is known now keeps a call out of the queue; what is learned while it is queued, its worker finds out.
        """
        if tries.wait > 0:
            call.context.phase = "backoff"
            await self._upstreams.pause(tries.keys.provider.name, tries.wait)
        call.submitted = now = self._now()
        tries.health.check(tries.model, now, fallback=tries.fallback_behind)
        tries.turn = None
        if (
            tries.spent
            or tries.keys.states.troubled
            or call.context.options.key is not None
            or tries.model not in tries.keys.by_model
        ):
            resting = tries.keys.resting(tries.model, now=now, pin=call.context.options.key, excluded=tries.spent)
            if resting is not None:
                tries.wait += await self._wait_for_key(call, tries, resting)

    async def _wait_for_key(self, call: Call, tries: Tries, resting: Choice) -> float:
        """Wait for this call's turn with a parked key, or until another is ready; returns how long that took.

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
                    wait = tries.keys.waits(
                        resting._replace(ready_at=key.turn(place)),
                        now=now,
                        left=call.share - now,
                        fallback_behind=call.another_ready,
                        waited=tries.waited_for_keys,
                    )
                    await self._upstreams.pause(tries.keys.provider.name, wait)
                    tries.waited_for_keys += wait
                    total += wait
                    call.submitted = now = self._now()
                    if key.until == until:
                        if key.state == "parked":
                            tries.turn = (resting._replace(ready_at=None), until)
                        return total
                    # Whoever was let through first was limited again, or found the key dead.
                    pin = call.context.options.key
                    others = {key.name, *tries.spent}
                    is_ready = key.usable(now)
                    if is_ready and not tries.keys.has_other(tries.model, excluded=others, pin=pin, now=now):
                        if key.turn(place) > now:
                            continue
                        return total
                    again = tries.keys.resting(tries.model, now=now, pin=pin, excluded=tries.spent)
                    if again is None:
                        return total
                    resting = again
            finally:
                key.leave_line(place)

    def _let_in(self, call: Call, tries: Tries, exchange: Exchange, now: float) -> None:
        """Choose a key for an attempt and lets it in: called by its worker, with what is known by then.

        Raises `NotLetIn`.
        """
        try:
            options = call.context.options
            choice = tries.keys.choose(
                tries.model,
                random=self._clock.random,
                now=now,
                pin=options.key,
                session=options.session,
                excluded=tries.spent,
            )
            if choice.ready_at is not None:
                own = tries.parked_for_this()
                if own is None:
                    raise NotLetIn(resting=choice)
                choice = own
            admission = tries.health.admit(
                choice,
                tries.model,
                now=now,
                is_retry=bool(tries.categories),
                paid=tries.paid,
                fallback=tries.fallback_behind,
            )
        except BifrostError as error:
            raise NotLetIn(error) from None
        tries.paid = None
        tries.was_probe = admission.is_probe
        tries.choice = choice
        exchange.take(choice, admission)

    def again(self, call: Call, tries: Tries, error: BifrostError) -> bool:
        """Say whether a failed attempt is followed by another at this candidate, and prepare for it.

        What that costs is paid here. Whoever asks gives it back (`Tries.give_back`), if no attempt is let in with it.
        """
        context, health, now = call.context, tries.health, self._now()
        name = "" if tries.choice is None else tries.choice.name
        rule = rule_of(error)
        call.free += tries.failed(error)
        pin = context.options.key
        held_back = health.holds_back(error, tries.model, now=now, fallback=tries.fallback_behind)
        if tries.was_probe:
            held_back = "breaker"
        decision = decide(
            error,
            categories=tries.categories,
            attempts_of_call=len(context.attempts) - call.free,
            config=tries.retry,
            remaining=context.deadline - now,
            share=call.share - now,
            other_key=tries.keys.has_other(tries.model, pin=pin, excluded=tries.spent, now=now),
            ready_in=tries.keys.ready_in(tries.model, pin=pin, excluded=tries.refused, now=now),
            fallback_behind=tries.fallback_behind,
            another_ready=call.another_ready,
            random=self._clock.random,
            held_back=held_back,
        )
        if not isinstance(decision, Retry):
            if isinstance(error, NotFoundError) and pin is None:
                health.lost(context.endpoint, tries.model, context.tenant, now=now)
            _note_why(error, decision, tries.retry)
            if held_back is not None and error.retryable and context.attempts:
                last = context.attempts[-1]
                told = "; ".join(filter(None, (last.note, _HELD_BACK[held_back])))
                context.attempts[-1] = msgspec.structs.replace(last, note=told)
            return False
        if rule.other_key and not decision.other_key:
            # Every key has been tried: after the wait each may be the one that is ready.
            tries.spent = set(tries.refused)
        elif not decision.other_key:
            tries.spent.discard(name)
        tries.wait = decision.delay
        failover, chosen = call.failover, call.chosen
        if failover is None or chosen is None or decision.is_free:
            pass
        elif failover.goes_first(now + decision.delay):
            # A model group tries each member that can serve once before one of them again.
            if not allows_fallback(error, tries.retry):
                return False
            tries.due = now + decision.delay
            call.postponed[chosen] = tries
            failover.postpone(chosen, until=tries.due)
            return False
        tries.paid = None if decision.is_free else health.pay(error, now=now)
        return True

    def _resumes(self, tries: Tries) -> bool:
        """Prepare a retry that others were tried before. False: its provider's retry budget has been used up since."""
        due, now = cast("float", tries.due), self._now()
        tries.due = None
        tries.wait = max(0.0, due - now)
        failure = cast("BifrostError", tries.failure)
        if tries.health.holds_back(failure, tries.model, now=now, fallback=tries.fallback_behind) == "budget":
            return False
        tries.paid = tries.health.pay(failure, now=now)
        return True

    async def _attempt(self, call: Call, exchange: Exchange, wait: float) -> Outcome:
        """Do one exchange through the provider's pool. Gives the answer, or the error that stands for it."""
        context, stream = call.context, call.stream
        call.exchange = exchange
        call.wait = wait
        context.phase = "queue"
        try:
            hedging = exchange.upstream.health.hedging
            if hedging is None or stream is not None:
                answer = await self._submit(call, exchange)
            else:
                answer, exchange = await self._hedges.submit(call, exchange, hedging)
            upstream = exchange.upstream
            if stream is not None:
                context.phase = "first_token"
                lift = lift_of(call, exchange.request)
                stream.attach(answer, provider=upstream.name, model=exchange.target.model, lift=lift)
                limits = upstream.config.size_limits
                first_token = exchange.first_token or upstream.config.timeouts.first_token
                await stream.commit(first_token=call.begun + first_token, held=limits.preamble)
        except NotLetIn as returned:
            # Nothing was sent: it is no attempt.
            raise (returned.error or returned) from None
        except BifrostError as error:
            if stream is not None:
                stream.drop_source()
            call.record(error, now=self._now())
            # The frames below hold the provider's bytes, in which it may have repeated the key.
            return error.with_traceback(None)
        except BaseException:
            if stream is not None:
                stream.drop_source()
            raise
        context.warnings += exchange.warnings
        if upstream.health.gone and call.tries is not None:
            # It is there again.
            upstream.health.gone.pop((context.endpoint, call.tries.model, context.tenant), None)
        if stream is not None:
            if exchange.admission is not None:
                exchange.admission.began(self._now())
            return self._begin(call, stream)
        call.record(None, now=self._now())
        return msgspec.structs.replace(
            answer,
            provider=exchange.target.provider,
            request_id=exchange.request_id,
            rate_limit=rate_limit(exchange.headers, now=self._clock.wall()),
        )

    async def _submit(self, call: Call, exchange: Exchange, watch: Watch | None = None) -> Any:
        """Queue the attempt at its provider, and again when it comes back without having been made.

        It comes back when the provider was changed, and moves to what replaces it; and when no key was ready, and waits
        here for one. It keeps its place in the order of calls.
        """
        call.job = job = Job(perform, exchange, done=self._signal(), is_stream=call.stream is not None)
        while True:
            try:
                return await exchange.upstream.pool.submit(job, watch)
            except Replaced:
                returned = None
            except NotLetIn as told:
                returned = told
            if returned is None:
                await self._move(call, exchange)
            else:
                await self._hold(call, returned)
            job = job.again(perform, exchange, done=self._signal())
            call.exchange, call.job = exchange, job
            call.context.phase = "queue"

    async def _hold(self, call: Call, returned: NotLetIn) -> None:
        """Wait with an attempt for which its worker found no key ready. Raises why it cannot be made at all."""
        # Nothing was sent: it is no attempt, whatever comes of it.
        call.exchange = call.job = None
        if returned.resting is None:
            raise returned
        try:
            call.wait += await self._wait_for_key(call, cast("Tries", call.tries), returned.resting)
        except BifrostError as error:
            raise NotLetIn(error) from None

    async def _move(self, call: Call, exchange: Exchange) -> None:
        """Take an attempt that no worker took to what has replaced its provider, with the keys that belong there."""
        context, tries = call.context, cast("Tries", call.tries)
        upstream = await self._upstreams.get(exchange.upstream.name)
        tries.keys = await self._upstreams.keys(upstream.name, context)
        if tries.health is not upstream.health:
            # What was paid and waited for belongs to the other address.
            tries.give_back(self._now())
            tries.turn = None
        tries.health, tries.retry = upstream.health, self._upstreams.retry_of(upstream.name, context.options)
        exchange.move(upstream, upstream.codec(context.endpoint))


def _is_asked_again(call: Call, error: BifrostError) -> bool:
    """Return whether a model's mistake is told to the model, and counts as a re-ask and not as a retry."""
    return error.category == "failed_generation" and call.output is not None and call.stream is None


def lift_of(call: Call, request: Any = None) -> ChunkLift | None:
    """Return what makes the text of a stream's chunks plain, for a call that wants a type."""
    if call.output is None:
        return None
    return ChunkLift(call.output, call.mode, others=() if request is None else tool_names(request))


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
