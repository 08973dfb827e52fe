"""Two attempts at once: a plain call that takes long is sent a second time, and the first answer counts.

It happens in the caller's task and without tasks of its own. Both jobs wake the same waiter; which of them has
finished, only the jobs themselves say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from bifrost.engine.call import Tries
from bifrost.engine.exchange import Exchange, NotLetIn
from bifrost.engine.perform import perform
from bifrost.engine.pool import Job
from bifrost.errors import BifrostError, CallCancelledError
from bifrost.operations.chat.structured.lowering import choose_mode
from bifrost.routing.hedge import leaves_room
from bifrost.routing.retry import allows_fallback, rule_of

if TYPE_CHECKING:
    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.upstream import Upstream
    from bifrost.engine.upstreams import Upstreams
    from bifrost.event_loop import Signal
    from bifrost.routing.hedge import Hedging
    from bifrost.routing.keys import Choice

Watch: TypeAlias = Callable[[Job], Awaitable[None]]
"""Waits until a job is finished, or raises if it need not be waited for any more."""


class Outpaced(Exception):  # noqa: N818 - it ends the waiting for an attempt, and no user ever sees it
    """The hedge has the call's outcome, and has become the call's attempt."""


class Hedges:
    """Make them. `submit` queues an attempt and waits for it."""

    def __init__(
        self,
        upstreams: Upstreams,
        clock: Clock,
        host: Host,
        submit: Callable[[Call, Exchange, Watch | None], Awaitable[Any]],
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._signal = host.signal
        self._scope = host.scope
        self._submit = submit

    async def submit(self, call: Call, exchange: Exchange, hedging: Hedging) -> tuple[Any, Exchange]:
        """Queue an attempt, and a second one if it is slow. Gives the answer and whose it is, or raises the failure.

        The one of them that has ended it is the call's attempt then, and the other stands on the trail.
        """
        tries = cast("Tries", call.tries)
        delay = hedging.begin(call.context.endpoint, tries.model)
        if delay is None or tries.hedged:
            answer = await self._submit(call, exchange, None)
        else:
            answer = await self._raced(call, exchange, delay)
        if call.tries is tries:
            hedging.took(call.context.endpoint, tries.model, self._now() - call.begun)
        return answer, cast("Exchange", call.exchange)

    async def _raced(self, call: Call, exchange: Exchange, delay: float) -> Any:
        try:
            return await self._submit(call, exchange, partial(self._watch, call, delay))
        except Outpaced:
            job = cast("Job", call.job)
        if job.error is not None:
            raise job.error
        return job.result

    async def _watch(self, call: Call, delay: float, job: Job) -> None:
        """Wait for an attempt, and beside it for another if it is slow."""
        hedge = await self._begin(call, delay) if await self._is_slow(job, delay) else None
        if hedge is None:
            await _finished(job)
            return
        race = Race(call, Leg.of(call), hedge, now=self._now, signal=self._signal)
        try:
            await race.run()
        except BaseException:
            race.leave()
            raise
        if race.ended_by_hedge:
            raise Outpaced

    async def _is_slow(self, job: Job, delay: float) -> bool:
        """Wait until an attempt is finished, or slow. Its time in the queue is ours and not the provider's."""
        while not job.finished:
            now = self._now()
            due = (now if job.taken_at is None else job.taken_at) + delay
            if due <= now:
                return True
            with self._scope(deadline=due):
                await job.done.wait()
            if not job.finished:
                # One that was waited for in vain cannot be waited for again.
                job.done = self._signal()
        return False

    async def _begin(self, call: Call, delay: float) -> Leg | None:
        """Send the second attempt, if anything allows it."""
        tries, first, now = cast("Tries", call.tries), cast("Exchange", call.exchange), self._now()
        upstream, options = first.upstream, call.context.options
        if upstream.health is not tries.health:
            return None
        hedging = tries.health.hedging
        if hedging is not None and hedging.config.other_candidate and call.another_ready:
            with suppress(BifrostError):  # what the other candidate lacks is told when its turn comes
                return await self._begin_elsewhere(call, first, delay)
            return None
        if not upstream.pool.has_room:
            return None
        if not leaves_room(
            categories=tries.categories,
            attempts_of_call=len(call.context.attempts) - call.free + 1,
            config=tries.retry,
            left=call.share - now,
            fallback_behind=tries.fallback_behind,
        ):
            return None
        if not self._has_key(call, tries, now) or not upstream.health.affords_hedge(tries.model, now=now):
            return None
        tries.hedged = True
        exchange = first.beside(
            model=tries.model,
            # Meant to be done a second time, so it is not to be taken for the same.
            extra_headers=upstream.headers_of(options, f"{call.context.id}-{len(call.context.attempts)}-hedge"),
            let_in=partial(self._let_in, call, tries, cast("Choice", tries.choice)),
        )
        exchange.note = f"hedge after {delay:.2f} s"
        job = Job(perform, exchange, done=self._signal())
        upstream.pool.put(job)
        return Leg(tries, exchange, job, submitted=now)

    async def _begin_elsewhere(self, call: Call, first: Exchange, delay: float) -> Leg | None:
        """Send the second attempt to another candidate, with the request as the plugins left it for the first.

        Raises what that candidate lacks.
        """
        tries, context, failover = cast("Tries", call.tries), call.context, call.failover
        hedging = tries.health.hedging
        if failover is None or hedging is None or not hedging.load.affords:
            return None
        if not leaves_room(
            categories=tries.categories,
            attempts_of_call=len(context.attempts) - call.free + 1,
            config=tries.retry,
            left=call.share - self._now(),
            fallback_behind=False,
        ):
            return None
        candidate = failover.beside()
        if candidate is None:
            return None
        upstream = await self._upstreams.get(candidate.provider)
        codec = upstream.codec(context.endpoint)
        request = msgspec.structs.replace(first.request, model=candidate.model)
        if call.output is not None:
            mode = choose_mode(call.output, request, upstream.row.structured, provider=upstream.name)
            if mode != call.mode:
                return None
        keys = await self._upstreams.keys(candidate.provider, context)
        now = self._now()
        resting = keys.resting(candidate.model, now=now, pin=context.options.key)
        if resting is not None or not upstream.pool.has_room or cast("Job", call.job).finished:
            return None
        if not upstream.health.affords_hedge_from_elsewhere(candidate.model, now=now):
            return None
        failover.take(candidate)
        tries.hedged = True
        retry = self._upstreams.retry_of(candidate.provider, context.options)
        others = Tries(candidate.model, keys, retry, upstream.health, fallback_behind=tries.fallback_behind)
        exchange = Exchange(
            upstream=upstream,
            codec=codec,
            request=request,
            model=candidate.model,
            extra_headers=upstream.headers_of(context.options, f"{context.id}-{len(context.attempts)}-hedge"),
            deadline=first.deadline,
            clock=self._clock,
            let_in=partial(self._let_in_elsewhere, call, first.upstream, others),
        )
        exchange.note = f"hedge after {delay:.2f} s"
        job = Job(perform, exchange, done=self._signal())
        upstream.pool.put(job)
        return Leg(others, exchange, job, submitted=now)

    def _has_key(self, call: Call, tries: Tries, now: float) -> bool:
        """Return whether a key is ready for the hedge: one that this call has not tried or, if it may be, the same."""
        first = cast("Choice", tries.choice)
        if tries.keys.has_other(
            tries.model, excluded={first.name, *tries.spent, *tries.refused}, pin=call.context.options.key, now=now
        ):
            return True
        hedging = tries.health.hedging
        may_repeat = hedging is not None and hedging.config.same_key
        return may_repeat and (first.health is None or first.health.usable(now))

    def _let_in(self, call: Call, tries: Tries, first: Choice, exchange: Exchange, now: float) -> None:
        """Choose a key for the hedge, which is not `first` if there is another, and lets it in: its worker's part.

        Raises `NotLetIn`.
        """
        excluded, pin = {first.name, *tries.spent, *tries.refused}, call.context.options.key
        choice = first
        if not self._has_key(call, tries, now):
            raise NotLetIn
        if tries.keys.has_other(tries.model, excluded=excluded, pin=pin, now=now):
            session = call.context.options.session
            choice = tries.keys.choose(
                tries.model, random=self._clock.random, now=now, session=session, excluded=excluded
            )
        admission = exchange.upstream.health.admit_hedge(choice, tries.model, now=now)
        if admission is None:
            raise NotLetIn
        exchange.upstream.counters.hedges += 1
        exchange.take(choice, admission)

    def _let_in_elsewhere(self, call: Call, first: Upstream, tries: Tries, exchange: Exchange, now: float) -> None:
        """Choose a key for a hedge at another candidate and let it in. Raises `NotLetIn`."""
        options = call.context.options
        try:
            choice = tries.keys.choose(
                tries.model, random=self._clock.random, now=now, pin=options.key, session=options.session
            )
        except BifrostError as error:
            raise NotLetIn(error) from None
        if choice.ready_at is not None:
            raise NotLetIn
        admission = exchange.upstream.health.admit_hedge_from_elsewhere(choice, tries.model, now=now)
        if admission is None:
            raise NotLetIn
        if first.health.hedging is not None:
            first.health.hedging.load.spend()
        first.counters.hedges += 1
        tries.choice = choice
        exchange.take(choice, admission)


class Race:
    """The first attempt and the hedge, on their way.

    The call's own attempt is the one that the call would end with: the first, until that has failed or is outpaced.
    """

    def __init__(
        self, call: Call, first: Leg, hedge: Leg, *, now: Callable[[], float], signal: Callable[[], Signal]
    ) -> None:
        self._call = call
        self._first = first
        self._hedge = hedge
        self._now = now
        self._signal = signal
        self._is_elsewhere = hedge.tries is not first.tries
        """The hedge is at another candidate, whose failure says nothing of the first."""

    @property
    def ended_by_hedge(self) -> bool:
        """Whether what the call comes to is the hedge's answer, or its failure."""
        return self._call.exchange is self._hedge.exchange

    async def run(self) -> None:
        """Wait for the first answer, or for the failure of both."""
        first, hedge = self._first, self._hedge
        first.job.done = hedge.job.done = self._signal()
        await first.job.done.wait()
        ahead, behind = (first, hedge) if first.job.finished else (hedge, first)
        failure = ahead.job.error
        if failure is None or self._ends(failure, ahead):
            self._lose(behind, to=ahead)
        else:
            self._tell(ahead, failure, then=behind)
            behind.job.done = self._signal()
            await _finished(behind.job)
            if behind.job.error is not None:
                self._both_failed(failure, behind)
        if self.ended_by_hedge and hedge.job.error is None:
            first.exchange.upstream.counters.hedge_wins += 1
            if self._is_elsewhere:
                target = hedge.exchange.target
                self._call.tries = hedge.tries
                self._call.context.provider, self._call.context.model = target.provider, hedge.tries.model

    def _ends(self, failure: BaseException, leg: Leg) -> bool:
        """Return whether a failure ends the call, so that the other attempt need not be waited for."""
        if not self._is_elsewhere:
            return _is_final(failure)
        is_final = isinstance(failure, BifrostError) and not allows_fallback(failure, leg.tries.retry)
        return is_final and leg is self._first

    def leave(self) -> None:
        """Break the hedge off: the caller leaves, or its time is over."""
        self._hedge.abandon()
        if not (self._hedge.is_told or self.ended_by_hedge):
            self._tell(self._hedge, _broken_off(), then=self._first)

    def _lose(self, leg: Leg, *, to: Leg) -> None:
        """Break the slower one off. What it has come to at the same moment is kept, if that is a failure."""
        leg.abandon()
        error = leg.job.error
        if error is None:
            error = _broken_off()
            if leg is self._first and to.job.error is None:
                leg.exchange.note = "; ".join(filter(None, (leg.exchange.note, "lost to a hedge")))
                self._took_at_least(leg)
        self._tell(leg, error, then=to)

    def _took_at_least(self, leg: Leg) -> None:
        """Keep the slow ones among the times that are known: otherwise more and more would seem slow."""
        call, tries, began = self._call, leg.tries, leg.job.taken_at
        if tries.health.hedging is not None and began is not None:
            tries.health.hedging.took(call.context.endpoint, tries.model, self._now() - began)

    def _both_failed(self, failure: BaseException, last: Leg) -> None:
        """Let both failures speak to what follows, the earlier first."""
        call, tries = self._call, last.tries
        other = self._first if last is self._hedge else self._hedge
        if self._is_elsewhere and isinstance(self._first.job.error, BifrostError):
            # What follows depends on the failure of the call's own candidate; the other one stands on the trail.
            self._tell(last, last.job.error, then=other)
            call.exchange = call.job = None
        elif self._is_elsewhere:
            # The first moves to what has taken its provider's place.
            self._first.take_over(call)
        elif not isinstance(last.job.error, BifrostError):
            # The provider was changed before a worker took the hedge: what there is is the first's failure.
            self._tell(last, last.job.error, then=other)
            call.exchange = call.job = None
        elif isinstance(failure, BifrostError):
            tries.choice = other.exchange.choice
            call.free += tries.failed(failure)
            tries.choice = last.exchange.choice

    def _tell(self, leg: Leg, error: BaseException | None, *, then: Leg) -> None:
        """End one of the two and write it on the trail; the call's attempt is the other then."""
        leg.is_told = True
        leg.take_over(self._call)
        if isinstance(error, BifrostError):
            self._call.record(error, now=self._now())
        elif leg.exchange.admission is not None:
            # It went nowhere.
            leg.exchange.admission.close(_broken_off(), now=self._now())
        then.take_over(self._call)


class Leg:
    """One of the two attempts."""

    __slots__ = ("exchange", "is_told", "job", "submitted", "tries", "wait")

    def __init__(self, tries: Tries, exchange: Exchange, job: Job, *, submitted: float, wait: float = 0.0) -> None:
        self.tries = tries
        self.exchange = exchange
        self.job = job
        self.submitted = submitted
        self.wait = wait
        self.is_told = False
        """It has ended, and that was told to all whom it concerns."""

    @classmethod
    def of(cls, call: Call) -> Leg:
        """Give the attempt that the call is making."""
        tries = cast("Tries", call.tries)
        exchange, job = cast("tuple[Exchange, Job]", (call.exchange, call.job))
        return cls(tries, exchange, job, submitted=call.submitted, wait=call.wait)

    def take_over(self, call: Call) -> None:
        """Become the attempt that the call is making."""
        call.exchange, call.job = self.exchange, self.job
        call.submitted, call.wait = self.submitted, self.wait
        self.tries.choice = self.exchange.choice

    def abandon(self) -> None:
        """Break it off, unless it is finished."""
        self.exchange.upstream.pool.abandon(self.job)


async def _finished(job: Job) -> None:
    if not job.finished:
        await job.done.wait()


def _is_final(failure: BaseException) -> bool:
    """Say whether the provider has refused the request itself: nobody needs to wait for it to do so again."""
    if not isinstance(failure, BifrostError) or failure.status is None:
        return False
    rule = rule_of(failure)
    return not (rule.same_key or rule.other_key)


def _broken_off() -> CallCancelledError:
    return CallCancelledError("the other attempt of this call has ended it")
