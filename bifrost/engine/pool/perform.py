"""The work of a worker for one attempt: build, sign, send, read, parse. It does not involve retries or plugins."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.engine.attempt import NotAdmitted
from bifrost.engine.streaming.response_stream import ResponseStream
from bifrost.engine.streaming.sources import ReadyChunks
from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    InvalidRequestError,
    MalformedResponseError,
    ProviderError,
    ResponseTooLargeError,
    TransportError,
)
from bifrost.event_loop import is_stray
from bifrost.operations.typed import misfit
from bifrost.providers.base import ReportedError
from bifrost.providers.events import is_event_stream, may_be_events, parse_events
from bifrost.routing.classify import ACCEPTED, mark_accepted
from bifrost.routing.retry import LONG_SILENCE
from bifrost.wire.body import BodyReader, ErrorBodyReader
from bifrost.wire.http import HttpResponse

if TYPE_CHECKING:
    from bifrost.engine.attempt import Attempt
    from bifrost.engine.pool.connections import PooledConnection
    from bifrost.engine.pool.workers import Job
    from bifrost.transport import ResponseHead
    from bifrost.wire.http import HttpRequest

STALE_WITHIN = 1.0
"""How soon after the start of a request the end of a pooled connection means that it was closed before, in seconds.

A connection that the peer closed while it was idle fails within a round trip. If it fails later, the peer may have
worked on the request.
"""

_PACKED_SLICE = 16 * 1024
"""How many bytes of a compressed body are decompressed at once. Other tasks run in between."""


async def perform(job: Job) -> Any:
    """Carry an attempt to its parsed response.

    For a stream, hand the open response over and supervise it until its end.

    Raises a `BifrostError` for all failures of the network and the provider.
    """
    attempt: Attempt = job.subject
    attempt.taken_at = job.taken_at
    await _admit(job, attempt)
    try:
        answer = await _perform(job, attempt)
        admission = attempt.admission
        if admission is not None and admission.is_trial and not (attempt.target.stream or job.abandoned):
            # At once, as after a failure, because the next job may depend on it.
            admission.succeeded(attempt.upstream.now())
        return answer
    except BifrostError as error:
        if isinstance(error, TransportError) and job.taken_at is not None:
            error.after_silence = attempt.upstream.now() - job.taken_at >= LONG_SILENCE
        error = attempt.locate(error)
        if attempt.token is not None and error.category == "credential" and attempt.token.refused(attempt.secret):
            # A new token may be accepted, so the key is not out of use.
            error.category, error.retryable = "stale_token", True
        if attempt.admission is not None and not job.abandoned:
            # At once: this worker and others may choose a key for the next job before the caller's task runs.
            attempt.admission.report(error, attempt.upstream.now())
        raise error  # noqa: TRY201 - the same error, completed
    except BaseException as error:
        if not isinstance(error, Exception) and not is_stray(error):
            raise
        failure = attempt.defect(error)
    # A codec relies on the types of a request, which a caller's Struct does not enforce.
    problem = misfit(attempt.request) if attempt.connection is None else None
    raise attempt.locate(InvalidRequestError(problem) if problem else failure)


async def _admit(job: Job, attempt: Attempt) -> None:
    """Select a key for the attempt and admit it, with the current knowledge. Raises `NotAdmitted`."""
    now = job.taken_at or attempt.upstream.now()
    if now >= attempt.deadline:
        late = CallTimeoutError("the call's time was over before the request could be sent", phase="queue")
        late.category = "limit"
        raise attempt.locate(late)
    try:
        attempt.admit(attempt, now)
    except NotAdmitted:
        # Many jobs may be returned in a row, and nothing else makes their worker yield.
        await anyio.lowlevel.checkpoint()
        raise


async def _perform(job: Job, attempt: Attempt) -> Any:
    upstream = attempt.upstream
    built = attempt.codec.build(attempt.request, attempt.target)
    attempt.warnings = built.warnings
    request = built.request
    request.source = attempt.request
    request.provider = attempt.target.provider
    address = attempt.address or upstream.address_of(attempt.key)
    upstream.complete(request, attempt.key, attempt.secret, extra_headers=attempt.extra_headers, address=address)
    now = job.taken_at or upstream.now()
    if upstream.adaptive is not None and attempt.admission is not None:
        attempt.admission.trip = upstream.adaptive.begin(in_flight=upstream.pool.in_flight)
    connections = upstream.connections
    pooled = await connections.take(address.origin, now, fresh=attempt.new_connection)
    try:
        answer = await _send(attempt, pooled, request, now)
        is_answer = answer.status in attempt.codec.statuses
        is_stream = attempt.target.stream and is_answer and _is_stream(answer)
        if is_answer:
            if attempt.token is not None:
                attempt.token.accepted()
            _check_length(attempt, answer, is_stream=is_stream)
        if is_stream:
            stream = ResponseStream(attempt, pooled, answer.reader, on_release=partial(upstream.pool.leave, job))
            if not job.finish(stream):
                raise TransportError("the caller left while the stream was being opened")
            await stream.watch()
            return None
        body, whole = await _read(attempt, answer)
    except BaseException:
        await connections.drop(pooled)
        raise
    if whole:
        await connections.give_back(pooled, now + (attempt.first_byte or 0.0))
    else:
        await connections.drop(pooled)
    return await _judge(attempt, body)


async def _send(attempt: Attempt, pooled: PooledConnection, request: HttpRequest, now: float) -> ResponseHead:
    timeouts = attempt.upstream.config.timeouts
    connection = pooled.connection
    reused = connection.reused
    attempt.connection = connection
    try:
        answer = await connection.send(
            request,
            timeouts=timeouts,
            # The first bytes of a stream may take as long as its first token; a complete response has the call's
            # deadline.
            read_timeout=(attempt.first_token or timeouts.first_token) if attempt.target.stream else None,
        )
    except TransportError as error:
        at_once = attempt.upstream.now() - now <= STALE_WITHIN
        if reused and at_once and not connection.heard and error.category != "never_sent":
            # The peer closed the pooled connection while it was idle.
            error.category = "stale"
        raise
    first_byte = attempt.upstream.now() - now
    attempt.received(answer, connect=connection.connect_time, first_byte=first_byte)
    return answer


def _is_stream(answer: ResponseHead) -> bool:
    # The whole name: `application/jsonl` and `application/json-seq` are streams.
    kind = (answer.headers.get("content-type") or "").partition(";")[0].strip().lower()
    return kind not in ("application/json", "text/html")


def _check_length(attempt: Attempt, answer: ResponseHead, *, is_stream: bool) -> None:
    """Raise `ResponseTooLargeError`, before reading, for a response whose announced length exceeds the limit."""
    limits = attempt.upstream.config.size_limits
    name, limit = ("stream", limits.stream) if is_stream else ("body", limits.body)
    length = answer.headers.get("content-length") or ""
    # More digits than any real length has are not converted to a number, because that takes long.
    if length.isdecimal() and (len(length) > 20 or int(length) > limit):
        raise ResponseTooLargeError(f"the response announces more than size_limits.{name}={limit:,} bytes")


async def _read(attempt: Attempt, answer: ResponseHead) -> tuple[bytes, bool]:
    """Read a body within its limit. Of an error response only the beginning is read."""
    limits, timeouts = attempt.upstream.config.size_limits, attempt.upstream.config.timeouts
    coding = attempt.content_encoding if attempt.headers.get("content-encoding") else None
    if answer.status not in attempt.codec.statuses:
        errors = ErrorBodyReader(coding, limit=limits.error_body)
        whole = False
        # A failure while reading would only hide the error response.
        with anyio.move_on_after(timeouts.error_body), suppress(TransportError, CallTimeoutError):
            while not errors.full and not whole:
                data = await answer.reader.read()
                errors.feed(data)
                whole = not data
        return errors.finish(), whole
    if coding is not None:
        packed = BodyReader(coding, limit=limits.body)
        while data := await answer.reader.read():
            for start in range(0, len(data), _PACKED_SLICE):
                packed.feed(data[start : start + _PACKED_SLICE])
                await anyio.lowlevel.checkpoint()
        return packed.finish(), True
    reader = answer.reader
    body = data = await reader.read()
    grown: BytesIO | None = None
    size = 0
    while data:
        size += len(data)
        if size > limits.body:
            raise ResponseTooLargeError(f"the response is larger than size_limits.body={limits.body:,} bytes")
        if grown is not None:
            # It grows in place, and returns its bytes without a copy.
            grown.write(data)
        elif size > len(body):
            grown = BytesIO()
            grown.write(body)
            grown.write(data)
        data = await reader.read()
    return (body if grown is None else grown.getvalue()), True


async def _judge(attempt: Attempt, body: bytes) -> Any:
    """Return the response in a complete body, or raise the error that the provider reports in it."""
    status, headers = attempt.status or 0, attempt.headers
    if status not in attempt.codec.statuses:
        response = HttpResponse(status=status, headers=headers, body=await attempt.redact(body))
        raise attempt.failure(status, attempt.upstream.row.parse_error(response), raw=response.body)
    response = HttpResponse(status=status, headers=headers, body=body)
    problem: ReportedError | ProviderError
    try:
        if not body.startswith(b"{") and may_be_events(attempt.codec) and is_event_stream(body):
            answer = parse_events(response, attempt.target, codec=attempt.codec)
        else:
            answer = attempt.codec.parse(response, attempt.target)
        if attempt.codec.check is not None:
            attempt.codec.check(attempt.request, answer)
    except (ReportedError, ProviderError) as error:
        problem = error
    else:
        if not attempt.target.stream:
            return answer
        streaming = attempt.codec.operation.streaming
        if streaming is None:
            raise MalformedResponseError("a stream was asked for, and a single document came")
        return ReadyChunks(streaming.chunks_of(answer))
    if isinstance(problem, ReportedError):
        raise attempt.reported(problem)
    problem.body = await attempt.redact(body[: attempt.upstream.config.size_limits.error_body])
    if status == ACCEPTED:
        mark_accepted(problem)
    raise problem
