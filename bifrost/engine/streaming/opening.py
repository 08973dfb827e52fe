"""The beginning of a stream, with its first content. Afterwards its caller reads it, and its end settles the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.engine.call_records import stream_committed
from bifrost.engine.streaming.sources import ReadyChunks
from bifrost.engine.wrappers.structured import fitted
from bifrost.errors import BifrostError
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bifrost.engine.call import Call
    from bifrost.engine.clock import Clock
    from bifrost.engine.completion import Completion
    from bifrost.engine.host import Host
    from bifrost.engine.streaming.chunk_stream import ChunkStream
    from bifrost.errors import StreamInterruptedError
    from bifrost.operations.base import ChunkLift
    from bifrost.plugins.base import Outcome

    Restart = Callable[[Call, ChunkStream, StreamInterruptedError], Coroutine[Any, Any, Any] | None]


class StreamOpening:
    """Begins streams. A stream keeps its outcome as a value, since its error is raised each time it is read."""

    def __init__(self, clock: Clock, host: Host, completion: Completion) -> None:
        self._clock = clock
        self._now = host.now
        self._completion = completion
        self.restart: Restart = _never
        """Returns how a broken stream continues."""

    def begin(self, call: Call, stream: ChunkStream, request_id: str | None = None) -> ChunkStream:
        """Begin a stream. `request_id` is that of a plugin's response."""
        if call.telemetry is not None and call.telemetry.subscriptions:
            call.telemetry.emit(
                stream_committed(call.context, provider=stream.provider, model=stream.model, now=self._now())
            )
        lift, restart = stream.lift, self.restart

        async def settle(outcome: Outcome) -> Outcome:
            return await self._settle(call, outcome, request_id)

        def read(response: Any) -> Outcome:
            try:
                return fitted(call, response, lift=lift)
            except BifrostError as error:
                return error

        def begin_anew(broken_stream: ChunkStream, broken: StreamInterruptedError) -> Any:
            again = restart(call, broken_stream, broken)
            return None if again is None else _outcome_of(again)

        # A plugin's stream is not requested again.
        restarts = call.context.options.on_interrupt == "restart" and call.live_attempt is not None
        # A call must not keep its stream alive, which ends when its user drops it.
        call.stream = None
        stream.begin(
            on_chunk=call.chain.on_chunk(call.context, call.hooks),
            settle=settle,
            read=None if call.output is None else read,
            restart=begin_anew if restarts else None,
        )
        return stream

    def begin_with(self, call: Call, response: Any) -> Any:
        """Begin the caller's stream with a plugin's complete response.

        A call that is not streamed gets the response itself.
        """
        stream = call.stream
        if stream is None:
            return response
        source = ReadyChunks(call.streaming.chunks_of(response))
        source.warnings = response.warnings
        stream.attach(
            source,
            provider=response.provider or call.context.provider,
            model=response.model or call.context.model,
            lift=chunk_lift(call),
        )
        return self.begin(call, stream, response.request_id)

    async def _settle(self, call: Call, outcome: Outcome, request_id: str | None) -> Outcome:
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
        return await _outcome_of(self._completion.end(call, outcome))


def chunk_lift(call: Call, request: Any = None) -> ChunkLift | None:
    """Return the function that turns the text of chunks into plain text, for a call with an output type."""
    structured = call.context.operation.structured
    if call.output is None or structured is None:
        return None
    others = () if request is None else structured.tool_names(request)
    return structured.chunk_lift(call.output, call.mode, others=others)


async def _outcome_of(work: Coroutine[Any, Any, Any]) -> Outcome:
    try:
        return await work
    except BifrostError as error:
        return error


def _never(call: Call, stream: ChunkStream, broken: StreamInterruptedError) -> None:
    """Restart no stream."""
