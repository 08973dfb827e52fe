"""Hedging: a slow call that is not streamed is sent a second time, and the first response is used.

It happens in the caller's task and without tasks of its own. Both jobs wake the same waiter; only the jobs themselves
tell which of them has finished.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.engine.attempt import Attempt, NotAdmitted
from bifrost.engine.pool.perform import perform
from bifrost.engine.pool.workers import Job
from bifrost.engine.retry_state import RetryState
from bifrost.errors import BifrostError, CallCancelledError
from bifrost.routing.hedge import leaves_room
from bifrost.routing.retry import allows_fallback, rule_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

    from bifrost.config import CallOptions
    from bifrost.engine.attempt import Admit
    from bifrost.engine.call import Call, Step
    from bifrost.engine.clock import Clock
    from bifrost.engine.host import Host
    from bifrost.engine.providers.upstream import Upstream
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.event_loop import Signal
    from bifrost.providers.base import Codec
    from bifrost.routing.keys import KeySelection


class HedgeWon(Exception):  # noqa: N818 - it ends the waiting for an attempt, and no user ever sees it
    """Raised to stop waiting for an attempt: the hedge has the call's outcome, and is the call's attempt."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class Hedging:
    """Makes hedges. The next step submits an attempt and waits for it."""

    def __init__(self, upstreams: Upstreams, clock: Clock, host: Host, submission: Step) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._now = host.now
        self._signal = host.signal
        self._scope = host.scope
        self._submission = submission

    async def run(self, call: Call) -> Any:
        """Submit the call's attempt, and a second one if it is slow. Returns the first response, or raises the failure.

        Afterwards the attempt that ended the call is the call's attempt, and the other one has a record.
        """
        attempt = cast("Attempt", call.attempt)
        state, hedging, endpoint = attempt.state, attempt.upstream.health.hedging, call.context.endpoint
        delay = None if hedging is None else hedging.begin(endpoint, state.model)
        if delay is None or state.hedged:
            response = await self._submission(call)
        else:
            response = await self._race(call, attempt, delay)
        ended = call.attempt or attempt
        if hedging is not None and ended.state is state:
            hedging.took(endpoint, state.model, self._now() - ended.begun)
        return response

    async def _race(self, call: Call, attempt: Attempt, delay: float) -> Any:
        attempt.watch = partial(self._watch, call, attempt, delay)
        try:
            return await self._submission(call)
        except HedgeWon as won:
            job = won.job
        finally:
            attempt.watch = None
        if job.error is not None:
            raise job.error
        return job.result

    async def _watch(self, call: Call, first: Attempt, delay: float, job: Job) -> None:
        """Wait for an attempt, and also for a hedge if it is slow."""
        hedge = await self._begin(call, first, delay) if await self._is_slow(job, delay) else None
        if hedge is None:
            await _finished(job)
            return
        race = Race(call, first, hedge, now=self._now, signal=self._signal)
        try:
            await race.run()
        except BaseException:
            race.leave()
            raise
        if race.ended_by_hedge:
            raise HedgeWon(race.hedge_job)

    async def _is_slow(self, job: Job, delay: float) -> bool:
        """Wait until an attempt is finished or slow.

        Time in the queue does not count, since it is not the provider's.
        """
        while not job.finished:
            now = self._now()
            due = (now if job.taken_at is None else job.taken_at) + delay
            if due <= now:
                return True
            with self._scope(deadline=due):
                await job.done
            if not job.finished:
                # A signal whose wait has timed out cannot be waited for again.
                job.done = self._signal()
        return False

    async def _begin(self, call: Call, first: Attempt, delay: float) -> Attempt | None:
        """Send the second attempt, if that is allowed."""
        state, now = first.state, self._now()
        upstream, options = first.upstream, call.context.options
        if upstream.health is not state.health:
            return None
        hedging = state.health.hedging
        if hedging is not None and hedging.config.other_candidate and call.another_ready:
            return await self._begin_before_end(call, first, delay)
        if not upstream.pool.has_room or not _leaves_room(call, state, now, fallback_behind=state.fallback_behind):
            return None
        selection = cast("KeySelection", first.selection)
        if not _has_key(state, selection, options, now) or not upstream.health.affords_hedge(
            state.model, now=now, addresses=state.keys.addresses
        ):
            return None
        return self._put(
            call,
            first,
            state,
            upstream=upstream,
            codec=first.codec,
            request=first.request,
            note=f"hedge after {delay:.2f} s",
            admit=partial(self._admit, options, selection),
            now=now,
        )

    async def _begin_before_end(self, call: Call, first: Attempt, delay: float) -> Attempt | None:
        """Send the second attempt to another candidate, unless the first ends before that.

        Preparing the other provider may take long, for example if the account is slow to return its keys.
        """
        hedge, job = None, _job(first)
        with self._scope() as scope:
            job.done = cast("Signal", _Stop(scope))
            with suppress(BifrostError):  # what the other candidate lacks is reported when its turn comes
                hedge = await self._begin_elsewhere(call, first, delay)
        job.done = self._signal()
        return hedge

    async def _begin_elsewhere(self, call: Call, first: Attempt, delay: float) -> Attempt | None:
        """Send the second attempt to another candidate, with the request as the plugins changed it for the first.

        Raises an error if that candidate cannot serve it.
        """
        state, context, failover = first.state, call.context, call.failover
        hedging = state.health.hedging
        if failover is None or hedging is None or not hedging.load.affords:
            return None
        if not _leaves_room(call, state, self._now(), fallback_behind=False):
            return None
        candidate = failover.beside()
        if candidate is None:
            return None
        upstream = await self._upstreams.get(candidate.provider)
        codec = upstream.codec(context.endpoint)
        request = msgspec.structs.replace(first.request, model=candidate.model)
        structured = context.operation.structured
        if call.output is not None and structured is not None:
            mode = structured.choose_mode(call.output, request, upstream.row.structured, provider=upstream.name)
            if mode != call.mode:
                return None
        keys = await self._upstreams.keys(candidate.provider, context)
        now = self._now()
        resting = keys.resting(candidate.model, now=now, pin=context.options.key)
        if resting is not None or not upstream.pool.has_room or _job(first).finished:
            return None
        if not upstream.health.affords_hedge_from_elsewhere(candidate.model, now=now, addresses=keys.addresses):
            return None
        failover.take(candidate)
        retry = self._upstreams.retry_of(candidate.provider, context.options)
        return self._put(
            call,
            first,
            RetryState(candidate.model, keys, retry, upstream.health, fallback_behind=state.fallback_behind),
            upstream=upstream,
            codec=codec,
            request=request,
            note=f"hedge after {delay:.2f} s",
            admit=partial(self._admit_elsewhere, context.options, first.upstream),
            now=now,
        )

    def _put(
        self,
        call: Call,
        first: Attempt,
        state: RetryState,
        *,
        upstream: Upstream,
        codec: Codec[Any, Any],
        request: Any,
        note: str,
        admit: Admit,
        now: float,
    ) -> Attempt:
        """Queue the hedge of an attempt, if there is room for it."""
        context = call.context
        first.state.hedged = True
        attempt = Attempt(
            state,
            upstream=upstream,
            codec=codec,
            request=request,
            # It is meant to be executed a second time, so it must not be identified as the same.
            extra_headers=upstream.headers_of(context.options, f"{context.id}-{len(context.attempts)}-hedge"),
            deadline=context.deadline,
            clock=self._clock,
            admit=admit,
            submitted=now,
            note=note,
        )
        job = Job(perform, attempt, done=self._signal())
        attempt.job = job
        upstream.pool.put(job)
        return attempt

    def _admit(self, options: CallOptions, first: KeySelection, hedge: Attempt, now: float) -> None:
        """Select a key for the hedge, other than `first` if possible, and admit it. Its worker calls this.

        Raises `NotAdmitted`.
        """
        state, selection = hedge.state, first
        if not _has_key(state, first, options, now):
            raise NotAdmitted
        if _has_other_key(state, first, options, now):
            selection = state.keys.choose(
                state.model,
                random=self._clock.random,
                now=now,
                session=options.session,
                excluded={first.name, *state.spent, *state.refused},
            )
        if _lacks_token(hedge, selection):
            raise NotAdmitted
        admission = hedge.upstream.health.admit_hedge(selection, state.model, now=now)
        if admission is None:
            raise NotAdmitted
        hedge.upstream.counters.hedges += 1
        hedge.admitted(selection, admission)

    def _admit_elsewhere(self, options: CallOptions, first: Upstream, hedge: Attempt, now: float) -> None:
        """Select a key for a hedge at another candidate and admit it. Raises `NotAdmitted`."""
        state = hedge.state
        try:
            selection = state.keys.choose(
                state.model, random=self._clock.random, now=now, pin=options.key, session=options.session
            )
        except BifrostError as error:
            raise NotAdmitted(error) from None
        if selection.ready_at is not None or _lacks_token(hedge, selection):
            raise NotAdmitted
        admission = hedge.upstream.health.admit_hedge_from_elsewhere(selection, state.model, now=now)
        if admission is None:
            raise NotAdmitted
        if first.health.hedging is not None:
            first.health.hedging.load.spend()
        first.counters.hedges += 1
        hedge.admitted(selection, admission)


def _lacks_token(hedge: Attempt, selection: KeySelection) -> bool:
    """Return whether the token of a key must be fetched first. A hedge does not wait for it."""
    key = selection.key
    return key is not None and key.value is None and not hedge.take_token(key)


class _Stop:
    """The signal of a job whose end cancels a scope. No task waits for it."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def set(self) -> None:
        """Cancel what runs in the scope."""
        self._scope.cancel()


class Race:
    """The first attempt and the hedge, both in progress.

    The call's own attempt is the one that the call would end with: the first, until it has failed or the hedge
    succeeds.
    """

    def __init__(
        self, call: Call, first: Attempt, hedge: Attempt, *, now: Callable[[], float], signal: Callable[[], Signal]
    ) -> None:
        self._call = call
        self._first = first
        self._hedge = hedge
        self._jobs = {first: _job(first), hedge: _job(hedge)}
        """Kept here, since an attempt drops its job when it ends."""
        self._now = now
        self._signal = signal
        self._is_elsewhere = hedge.state is not first.state
        """Whether the hedge is at another candidate, whose failure does not affect the first."""

    @property
    def hedge_job(self) -> Job:
        """The hedge's job, which has the outcome if the hedge has ended the call."""
        return self._jobs[self._hedge]

    @property
    def ended_by_hedge(self) -> bool:
        """Whether the hedge's response or failure is the outcome."""
        return self._call.attempt is self._hedge

    async def run(self) -> None:
        """Wait for the first response, or for the failure of both."""
        first, hedge = self._first, self._hedge
        jobs = self._jobs
        jobs[first].done = jobs[hedge].done = self._signal()
        await jobs[first].done
        ahead, behind = (first, hedge) if jobs[first].finished else (hedge, first)
        failure = jobs[ahead].error
        if failure is None or self._ends(failure, ahead):
            self._call.attempt = ahead
            self._break_off(behind, winner=ahead)
        else:
            self._call.attempt = behind
            self._end(ahead, failure)
            jobs[behind].done = self._signal()
            await _finished(jobs[behind])
            if jobs[behind].error is not None:
                self._both_failed(ahead, failure, behind)
        if self.ended_by_hedge and jobs[hedge].error is None:
            first.upstream.counters.hedge_wins += 1
            if self._is_elsewhere:
                self._call.retry_state = hedge.state
                self._call.context.provider, self._call.context.model = hedge.target.provider, hedge.state.model

    def leave(self) -> None:
        """Cancel the hedge: the caller left, or its time is over."""
        self._abandon(self._hedge)
        if not self.ended_by_hedge:
            self._end(self._hedge, _broken_off())

    def _ends(self, failure: BaseException, attempt: Attempt) -> bool:
        """Return whether a failure ends the call, so that the other attempt need not be waited for."""
        if not self._is_elsewhere:
            return _is_final(failure)
        is_final = isinstance(failure, BifrostError) and not allows_fallback(failure, attempt.state.retry)
        return is_final and attempt is self._first

    def _break_off(self, attempt: Attempt, *, winner: Attempt) -> None:
        """Cancel the slower one. If it has failed at the same moment, that failure counts."""
        self._abandon(attempt)
        error = self._jobs[attempt].error
        if error is None:
            error = _broken_off()
            if attempt is self._first and self._jobs[winner].error is None:
                attempt.add_note("lost to a hedge")
                self._took_at_least(attempt)
        self._end(attempt, error)

    def _took_at_least(self, attempt: Attempt) -> None:
        """Record the duration of a slow attempt.

        Otherwise the threshold would fall, and more and more would count as slow.
        """
        hedging, began = attempt.state.health.hedging, attempt.taken_at
        if hedging is not None and began is not None:
            hedging.took(self._call.context.endpoint, attempt.state.model, self._now() - began)

    def _both_failed(self, earlier: Attempt, failure: BaseException, last: Attempt) -> None:
        """Consider both failures, the earlier one first."""
        call, error = self._call, self._jobs[last].error
        if self._is_elsewhere and isinstance(self._jobs[self._first].error, BifrostError):
            # Only the failure of the call's own candidate matters here. The other one has its record.
            self._end(last, error)
            call.attempt = self._first
        elif self._is_elsewhere:
            # The first moves to the replacement of its provider.
            call.attempt = self._first
        elif not isinstance(error, BifrostError):
            # The provider was changed before a worker took the hedge, so the first's failure counts.
            self._end(last, error)
            call.attempt = self._first
        elif isinstance(failure, BifrostError):
            call.free += last.state.failed(earlier.selection, failure)

    def _abandon(self, attempt: Attempt) -> None:
        """Cancel one of the two, unless it is finished."""
        attempt.upstream.pool.abandon(self._jobs[attempt])

    def _end(self, attempt: Attempt, error: BaseException | None) -> None:
        """End one of the two."""
        if isinstance(error, BifrostError):
            self._call.end_attempt(attempt, error, now=self._now())
        else:
            attempt.discard(_broken_off(), now=self._now())


def _leaves_room(call: Call, state: RetryState, now: float, *, fallback_behind: bool) -> bool:
    """Return whether the retry settings allow a hedge now."""
    return leaves_room(
        categories=state.categories,
        attempts_of_call=call.attempts_made + 1,
        config=state.retry,
        left=call.share - now,
        fallback_behind=fallback_behind,
    )


def _has_key(state: RetryState, first: KeySelection, options: CallOptions, now: float) -> bool:
    """Return whether a key is ready for the hedge: one that this call has not tried or, if allowed, the same."""
    if _has_other_key(state, first, options, now):
        return True
    hedging = state.health.hedging
    may_repeat = hedging is not None and hedging.config.same_key
    return may_repeat and (first.health is None or first.health.usable(now))


def _has_other_key(state: RetryState, first: KeySelection, options: CallOptions, now: float) -> bool:
    excluded = {first.name, *state.spent, *state.refused}
    return state.keys.has_other(state.model, excluded=excluded, pin=options.key, now=now)


def _job(attempt: Attempt) -> Job:
    """Return the job of an attempt that is in a pool."""
    return cast("Job", attempt.job)


async def _finished(job: Job) -> None:
    if not job.finished:
        await job.done


def _is_final(failure: BaseException) -> bool:
    """Return whether the provider has rejected the request itself, and would do so again."""
    if not isinstance(failure, BifrostError) or failure.status is None:
        return False
    rule = rule_of(failure)
    return not (rule.same_key or rule.other_key)


def _broken_off() -> CallCancelledError:
    return CallCancelledError("the other attempt of this call has ended it")
