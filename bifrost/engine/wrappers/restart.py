"""Restarts: a stream that broke after its first content is begun again, if its caller wants that and retries allow it.

A restart is a retry or a fallback like any other: the same failures allow it, after the same waits, and it counts as an
attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import BifrostError
from bifrost.routing.retry import attempt_deadline

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bifrost.engine.call import Call, Step
    from bifrost.engine.completion import Completion
    from bifrost.engine.host import Host
    from bifrost.engine.retry_state import RetryState
    from bifrost.engine.streaming.chunk_stream import ChunkStream
    from bifrost.engine.streaming.opening import StreamOpening
    from bifrost.engine.wrappers.fallback import Fallbacks
    from bifrost.engine.wrappers.retry import Retries
    from bifrost.errors import StreamInterruptedError


class Restarts:
    """Restarts streams. `answer` tries the current candidate again."""

    def __init__(
        self,
        host: Host,
        completion: Completion,
        retries: Retries,
        fallbacks: Fallbacks,
        *,
        opening: StreamOpening,
        answer: Step,
    ) -> None:
        self._now = host.now
        self._completion = completion
        self._retries = retries
        self._fallbacks = fallbacks
        self._answer = answer
        self._opening = opening

    def of(self, call: Call, stream: ChunkStream, broken: StreamInterruptedError) -> Coroutine[Any, Any, Any] | None:
        """Return how a broken stream continues; `None` if it does not.

        The result returns the chunk that resets the stream if that was restarted, and otherwise the call's response. It
        raises the call's error.
        """
        cause, attempt = broken.__cause__, call.attempt
        call.end_attempt(attempt, broken, now=self._now())
        if attempt is None or not isinstance(cause, BifrostError):
            return None
        call.share = attempt_deadline(self._now(), call.context.deadline, call.behind)
        again = attempt.state if self._retries.again(call, cause) else None
        if again is None and not self._fallbacks.follows(call, cause):
            for why in getattr(cause, "__notes__", ()):
                broken.add_note(why)
            return None
        return self._completion.in_time(call, self._run(call, stream, broken, again))

    async def _run(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError, again: RetryState | None
    ) -> Any:
        """Continue with the same candidate if it may be tried `again`, then with the following ones."""
        call.stream, call.error = stream, None
        call.failures.append(broken)
        call.failed.append(None)
        outcome: Any = None
        try:
            outcome = await self._next(call, stream, broken, again)
        except BifrostError as error:
            outcome = error
        if outcome is not stream:
            call.stream = None
            # Raises the error, unless a hook replaces it by a response.
            return await self._completion.settle(call, outcome)
        attempt = call.live_attempt
        provider = call.context.provider if attempt is None else attempt.target.provider
        model = call.context.model if attempt is None else attempt.target.model
        reset: Any = call.streaming.reset
        return reset(
            reason=broken.message,
            attempt=len(call.context.attempts) + 1,
            provider=provider,
            model=model or "",
            partial=broken.partial,
        )

    async def _next(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError, again: RetryState | None
    ) -> Any:
        failure: BifrostError = broken
        try:
            return await self._once_more(call, stream, broken, again)
        except BifrostError as error:
            failure = error.with_traceback(None)
        if call.failover is None or not (failure is broken or self._fallbacks.follows(call, failure)):
            raise failure
        return await self._fallbacks.after(call, failure)

    async def _once_more(
        self, call: Call, stream: ChunkStream, broken: StreamInterruptedError, again: RetryState | None
    ) -> Any:
        """Try the current candidate again, if that is allowed. Runs its `after` hooks if it does not restart."""
        outcome: Any = broken
        if again is not None:
            call.attempt_request = call.candidate_request
            try:
                outcome = await self._answer(call)
            except BifrostError as error:
                outcome = call.placed(error)
            finally:
                again.give_back(self._now())
        if outcome is stream:
            return outcome
        response = await self._completion.after(call, outcome)
        # An `after` hook may have replaced an error by a response.
        return self._opening.begin_with(call, response)
