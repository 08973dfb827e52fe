"""One attempt through the pool of its provider: queued, taken by a worker, and completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.engine.attempt import NotAdmitted
from bifrost.engine.pool.perform import perform
from bifrost.engine.pool.token_wait import TokenWait
from bifrost.engine.pool.workers import Job, Replaced
from bifrost.errors import BifrostError

if TYPE_CHECKING:
    from bifrost.engine.attempt import Attempt
    from bifrost.engine.call import Call
    from bifrost.engine.host import Host
    from bifrost.engine.pool.key_wait import KeyWait
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.routing.keys import KeySelection


class Submission:
    """The innermost step of a call's path."""

    def __init__(self, upstreams: Upstreams, host: Host, key_wait: KeyWait) -> None:
        self._upstreams = upstreams
        self._key_wait = key_wait
        self._token_wait = TokenWait(upstreams, host.now)
        self._now = host.now
        self._signal = host.signal

    async def run(self, call: Call) -> Any:
        """Queue the call's attempt at its provider, and again if it returns without having been made.

        Returns the response, or the open response of a stream.

        An attempt returns if the provider was changed, and moves to its replacement; or if no key was ready or a token
        must be fetched, and waits here for that. It keeps its place in the order of calls.
        """
        live: Any = call.attempt
        attempt: Attempt = live
        job = Job(perform, attempt, done=self._signal(), is_stream=call.stream is not None)
        while True:
            attempt.job, attempt.taken_at = job, None
            try:
                return await attempt.upstream.pool.submit(job, attempt.watch)
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
        """Wait with an attempt that has no key or no token. Raises the reason if it cannot be made at all."""
        # Nothing was sent, so it does not count as an attempt in any case.
        call.attempt = None
        attempt.job = None
        if returned.resting is None and returned.without_token is None:
            raise returned
        try:
            if returned.resting is not None:
                waited = await self._key_wait.wait(call, attempt.state, returned.resting)
            else:
                waited = await self._token_wait.wait(call, attempt, cast("KeySelection", returned.without_token))
        except BifrostError as error:
            raise NotAdmitted(error) from None
        attempt.waited(waited, now=self._now())

    async def _move(self, call: Call, attempt: Attempt) -> None:
        """Move an attempt that no worker took to the replacement of its provider, with the keys of that."""
        context, state = call.context, attempt.state
        upstream = await self._upstreams.get(attempt.upstream.name)
        state.keys = await self._upstreams.keys(upstream.name, context)
        if state.health is not upstream.health:
            # The retry cost and the wait belong to the other address.
            state.give_back(self._now())
            state.cooling_key = None
        state.health, state.retry = upstream.health, self._upstreams.retry_of(upstream.name, context.options)
        attempt.move(upstream, upstream.codec(context.endpoint))
