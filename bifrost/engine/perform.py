"""What a worker does with one attempt: build, sign, send, read, parse. Knows nothing of retries or plugins."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.engine.exchange import NotLetIn
from bifrost.engine.lease import Lease
from bifrost.engine.sources import ReadyChunks
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
from bifrost.providers.events import is_event_stream, parse_events
from bifrost.routing.classify import ACCEPTED, mark_accepted
from bifrost.routing.retry import LONG_SILENCE
from bifrost.transport import Hearing
from bifrost.wire.body import BodyReader, ErrorBodyReader
from bifrost.wire.http import HttpResponse

if TYPE_CHECKING:
    from bifrost.engine.connections import Kept
    from bifrost.engine.exchange import Exchange
    from bifrost.engine.pool import Job
    from bifrost.transport import Answer, Reader
    from bifrost.wire.http import HttpRequest

STALE_WITHIN = 1.0
"""How soon after a request was begun the end of its kept connection counts as one from before, in seconds.

A connection that the peer closed while it was idle says so within a round trip. One that ends later was closed by a
peer that may have worked on the request.
"""

_PACKED_SLICE = 16 * 1024
"""How many bytes of a packed body are unpacked at once. Other tasks run in between."""


async def perform(job: Job) -> Any:
    """Carry one attempt to its parsed answer, or for a stream hand over the open answer and watch it to its end.

    Raises a `BifrostError` for everything that the road or the provider can do wrong.
    """
    exchange: Exchange = job.subject
    await _let_in(job, exchange)
    try:
        answer = await _perform(job, exchange)
        admission = exchange.admission
        if admission is not None and admission.is_trial and not (exchange.target.stream or job.abandoned):
            # At once, as for a failure: what is learned may let in the next job.
            admission.succeeded(exchange.upstream.now())
        return answer
    except BifrostError as error:
        if isinstance(error, TransportError) and job.taken_at is not None:
            error.after_silence = exchange.upstream.now() - job.taken_at >= LONG_SILENCE
        error = exchange.sign(error)
        if exchange.admission is not None and not job.abandoned:
            # At once: this worker, and others, may choose a key for the next job before the caller's task runs.
            exchange.admission.report(error, exchange.upstream.now())
        raise error  # noqa: TRY201 - the same error, completed
    except BaseException as error:
        if not isinstance(error, Exception) and not is_stray(error):
            raise
        failure = exchange.defect(error)
    # A codec trusts the types of a request, and a caller's Struct does not enforce them.
    problem = misfit(exchange.request) if exchange.connection is None else None
    raise exchange.sign(InvalidRequestError(problem) if problem else failure)


async def _let_in(job: Job, exchange: Exchange) -> None:
    """Choose a key for the attempt and lets it in, with what is known at this moment. Raises `NotLetIn`."""
    now = job.taken_at or exchange.upstream.now()
    if now >= exchange.deadline:
        late = CallTimeoutError("the call's time was over before the request could be sent", phase="queue")
        late.category = "limit"
        raise exchange.sign(late)
    try:
        exchange.let_in(exchange, now)
    except NotLetIn:
        # Very many may be returned in a row, and nothing else makes their worker wait.
        await anyio.lowlevel.checkpoint()
        raise


async def _perform(job: Job, exchange: Exchange) -> Any:
    upstream = exchange.upstream
    built = exchange.codec.build(exchange.request, exchange.target)
    exchange.warnings = built.warnings
    request = built.request
    request.source = exchange.request
    request.provider = exchange.target.provider
    upstream.complete(request, exchange.key, exchange.extra_headers)
    now = job.taken_at or upstream.now()
    if upstream.adaptive is not None and exchange.admission is not None:
        exchange.admission.trip = upstream.adaptive.begin(in_flight=upstream.pool.in_flight)
    connections = upstream.connections
    kept = await connections.take(upstream.origin, now, fresh=exchange.fresh)
    try:
        answer = await _send(exchange, kept, request, now)
        is_answer = answer.status in exchange.codec.statuses
        is_stream = exchange.target.stream and is_answer and _is_stream(answer)
        if is_answer:
            _check_length(exchange, answer, is_stream=is_stream)
        if is_stream:
            lease = Lease(exchange, kept, answer.reader, on_release=partial(upstream.pool.leave, job))
            if not job.finish(lease):
                raise TransportError("the caller left while the stream was being opened")
            await lease.watch()
            return None
        body, whole = await _read(exchange, answer)
    except BaseException:
        await connections.drop(kept)
        raise
    if whole:
        await connections.give_back(kept, now + (exchange.first_byte or 0.0))
    else:
        await connections.drop(kept)
    return _judge(exchange, body)


async def _send(exchange: Exchange, kept: Kept, request: HttpRequest, now: float) -> Answer:
    timeouts = exchange.upstream.config.timeouts
    connection = kept.connection
    reused = connection.reused
    exchange.connection = connection
    try:
        answer = await connection.send(
            request,
            timeouts=timeouts,
            # A stream's first bytes may take as long as its first token; a whole answer has the call's deadline.
            read_timeout=(exchange.first_token or timeouts.first_token) if exchange.target.stream else None,
        )
    except TransportError as error:
        heard = isinstance(connection, Hearing) and connection.heard
        at_once = exchange.upstream.now() - now <= STALE_WITHIN
        if reused and at_once and not heard and error.category != "never_sent":
            # The peer closed the kept connection while it was idle.
            error.category = "stale"
        raise
    exchange.status = answer.status
    exchange.headers = answer.headers
    exchange.connect = connection.connect_time
    exchange.first_byte = exchange.upstream.now() - now
    for name in exchange.upstream.row.request_id_headers:
        request_id = answer.headers.get(name)
        if request_id is not None:
            # A provider may write the key into any header, of a good answer too.
            exchange.request_id = exchange.redacted(request_id)
            break
    return answer


def _is_stream(answer: Answer) -> bool:
    kind = (answer.headers.get("content-type") or "").lower()
    return not kind.startswith(("application/json", "text/html"))


def _check_length(exchange: Exchange, answer: Answer, *, is_stream: bool) -> None:
    """Raise `ResponseTooLargeError` for an answer that announces more than may be read, before any of it is read."""
    limits = exchange.upstream.config.size_limits
    name, limit = ("stream", limits.stream) if is_stream else ("body", limits.body)
    length = answer.headers.get("content-length") or ""
    # Digits beyond any length there is are not made a number: that takes long.
    if length.isdecimal() and (len(length) > 20 or int(length) > limit):
        raise ResponseTooLargeError(f"the answer announces more than limits.{name}={limit:,} bytes")


async def _read(exchange: Exchange, answer: Answer) -> tuple[bytes, bool]:
    """Read a body within its limit. Of a failure the beginning is enough; the rest is not waited for."""
    limits, timeouts = exchange.upstream.config.size_limits, exchange.upstream.config.timeouts
    coding = exchange.content_encoding
    if answer.status not in exchange.codec.statuses:
        errors = ErrorBodyReader(coding, limit=limits.error_body)
        whole = False
        # However the rest breaks off: it would only hide which failure it is.
        with anyio.move_on_after(timeouts.error_body), suppress(TransportError, CallTimeoutError):
            while not errors.full and not whole:
                data = await answer.reader.read()
                errors.feed(data)
                whole = not data
        return errors.finish(), whole
    if coding is not None:
        body = BodyReader(coding, limit=limits.body)
        while data := await answer.reader.read():
            for start in range(0, len(data), _PACKED_SLICE):
                body.feed(data[start : start + _PACKED_SLICE])
                await anyio.lowlevel.checkpoint()
        return body.finish(), True
    return await _read_plain(answer.reader, limits.body), True


async def _read_plain(reader: Reader, limit: int) -> bytes:
    body = data = await reader.read()
    grown: BytesIO | None = None
    size = 0
    while data:
        size += len(data)
        if size > limit:
            raise ResponseTooLargeError(f"the answer is larger than limits.body={limit:,} bytes")
        if grown is not None:
            # It grows in place, and gives its bytes without a copy of them.
            grown.write(data)
        elif size > len(body):
            grown = BytesIO()
            grown.write(body)
            grown.write(data)
        data = await reader.read()
    return body if grown is None else grown.getvalue()


def _judge(exchange: Exchange, body: bytes) -> Any:
    """Make the answer of a complete body, or raise what the provider reports in it."""
    status, headers = exchange.status or 0, exchange.headers
    if status not in exchange.codec.statuses:
        response = HttpResponse(status=status, headers=headers, body=exchange.redact(body))
        raise exchange.failure(status, exchange.upstream.row.parse_error(response), raw=response.body)
    response = HttpResponse(status=status, headers=headers, body=body)
    reported: ReportedError
    try:
        if not body.startswith(b"{") and exchange.codec.decoder is not None and is_event_stream(body):
            answer = parse_events(response, exchange.target, codec=exchange.codec)
        else:
            answer = exchange.codec.parse(response, exchange.target)
        if exchange.codec.check is not None:
            exchange.codec.check(exchange.request, answer)
    except ReportedError as error:
        reported = error
    except ProviderError as error:
        error.body = exchange.redact(body[: exchange.upstream.config.size_limits.error_body])
        if status == ACCEPTED:
            mark_accepted(error)
        raise
    else:
        if not exchange.target.stream:
            return answer
        streaming = exchange.codec.operation.streaming
        if streaming is None:
            raise MalformedResponseError("a stream was asked for, and a single document came")
        return ReadyChunks(streaming.chunks_of(answer))
    raise exchange.reported(reported)
