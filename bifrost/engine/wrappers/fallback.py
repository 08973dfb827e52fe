"""Fallbacks: the candidates of a call are tried in turn until one succeeds or no other may be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.errors import BifrostError
from bifrost.routing.retry import may_fall_back

if TYPE_CHECKING:
    from bifrost.config import RetryConfig
    from bifrost.engine.call import Call, Step
    from bifrost.engine.host import Host
    from bifrost.engine.providers.upstreams import Upstreams
    from bifrost.routing.candidates import Candidate
    from bifrost.routing.failover import Failover


class Fallbacks:
    """Tries candidates. The next step is one candidate, from its `before` hooks to its `after` hooks."""

    def __init__(self, upstreams: Upstreams, host: Host, candidate: Step) -> None:
        self._upstreams = upstreams
        self._now = host.now
        self._candidate = candidate

    async def run(self, call: Call) -> Any:
        """Try the candidates in turn. Raises the failure of the last one."""
        return await self.after(call, None)

    async def after(self, call: Call, failure: BifrostError | None) -> Any:
        """Try the candidates that are left after a failure."""
        context, failover = call.context, cast("Failover", call.failover)
        while True:
            left = 2 if failure is None else self._retry_of(call).attempts_total - call.attempts_made
            candidate = failover.next(now=self._now(), attempts_left=left)
            if candidate is None:
                raise cast("BifrostError", failure)
            if failure is not None:
                self._give_up(call, failure, candidate)
            context.fallback_index = failover.place
            call.chosen = call.candidate = candidate
            call.tried = len(context.attempts)
            try:
                return await self._candidate(call)
            except BifrostError as error:
                failure = error.with_traceback(None)
            if not self.follows(call, failure):
                call.keep_last_failure(failure)
                raise failure

    def follows(self, call: Call, error: BifrostError) -> bool:
        """Return whether another candidate is left, and may be tried after this error."""
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

    def _give_up(self, call: Call, error: BifrostError, following: Candidate) -> None:
        """Record that the call continues from a failed candidate to the next one."""
        if error not in call.failures and not call.keep_last_failure(error):
            call.failures.append(error)
            call.failed.append(call.chosen)
        if following != call.chosen:
            self._upstreams.count_fallback(call.context.provider)
        if len(call.context.attempts) == call.tried:
            call.context.warnings.append(f"{call.chosen} was passed over: {error.message}")

    def _retry_of(self, call: Call) -> RetryConfig:
        return self._upstreams.retry_of(call.context.provider, call.context.options)
