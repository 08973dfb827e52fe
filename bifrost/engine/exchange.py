"""What a worker does with one attempt: build, sign, send, read, parse. Knows nothing of retries or plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.engine.stream import Lease, ReadyChunks
from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    InternalError,
    MalformedResponseError,
    ProviderError,
    ResponseTooLargeError,
    TransportError,
    UnsupportedError,
)
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.routing.classify import error_of
from bifrost.wire.auth import redact
from bifrost.wire.body import BodyReader, ErrorBodyReader
from bifrost.wire.http import Headers, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.account import Key
    from bifrost.engine.clock import Clock
    from bifrost.engine.connections import Kept
    from bifrost.engine.pool import Job
    from bifrost.engine.transport import Answer, Connection
    from bifrost.engine.upstream import Upstream
    from bifrost.errors import Phase
    from bifrost.providers.base import Codec, StreamDecoder, Target
    from bifrost.wire.http import HttpRequest


class Exchange:
    """One attempt: what to send where, and what was learned on the way (read by the caller's task for the trail)."""

    __slots__ = (
        "clock",
        "codec",
        "connect",
        "connection",
        "deadline",
        "extra_headers",
        "first_byte",
        "fresh",
        "headers",
        "key",
        "request",
        "request_id",
        "status",
        "target",
        "upstream",
        "warnings",
    )

    def __init__(
        self,
        *,
        upstream: Upstream,
        codec: Codec[Any, Any],
        request: Any,
        target: Target,
        key: Key | None,
        extra_headers: Mapping[str, str],
        deadline: float,
        clock: Clock,
        fresh: bool = False,
    ) -> None:
        self.upstream = upstream
        self.codec = codec
        self.request = request
        self.target = target
        self.key = key
        self.extra_headers = extra_headers
        self.deadline = deadline
        self.clock = clock
        self.fresh = fresh
        """Use a new connection, not a kept one."""
        self.connection: Connection | None = None
        """What carries it, from the moment it is sent."""
        self.warnings: list[str] = []
        self.status: int | None = None
        self.headers = Headers()
        self.request_id: str | None = None
        self.connect: float | None = None
        self.first_byte: float | None = None

    @property
    def phase(self) -> Phase:
        """What it is waiting for."""
        if self.connection is None:
            return "queue"
        if self.status is not None:
            return "body"
        return "headers" if self.connection.sent or self.connection.reused else "connect"

    def decoder(self) -> StreamDecoder:
        """Give a decoder for this stream. Raises `UnsupportedError` if the provider does not stream this."""
        if self.codec.decoder is None:
            raise UnsupportedError(f"{self.target.provider} does not stream this", provider=self.target.provider)
        return self.codec.decoder(self.target)

    def failure(self, status: int, body: ErrorBody) -> BifrostError:
        """Make the typed error of what the provider reports."""
        return error_of(
            status,
            body,
            headers=self.headers,
            provider=self.target.provider,
            model=self.target.model,
            key=None if self.key is None else self.key.name,
            now_wall=self.clock.wall(),
        )

    def reported(self, reported: ReportedError) -> BifrostError:
        """Make the typed error of what the provider reports inside a 200 or a stream."""
        body = reported.body
        if self.key is not None:
            body = msgspec.structs.replace(body, message=redact(body.message, self.key.value))
        return self.failure(reported.status or 200, body)

    def sign(self, error: BifrostError) -> BifrostError:
        """Write on an error where it happened, as far as it does not say so itself."""
        error.provider = error.provider or self.target.provider
        error.model = error.model or self.target.model
        error.status = error.status if error.status is not None else self.status
        error.request_id = error.request_id or self.request_id
        if error.key is None and self.key is not None:
            error.key = self.key.name
        return error

    def redact(self, body: bytes) -> bytes:
        """Take the key out of a body that goes into an error: a provider may echo it."""
        if self.key is None:
            return body
        return redact(body.decode("utf-8", "replace"), self.key.value).encode()


async def perform(job: Job) -> Any:
    """Carry one attempt to its parsed answer, or for a stream hand over the open answer and watch it to its end.

    Raises a `BifrostError` for everything that the road or the provider can do wrong.
    """
    exchange: Exchange = job.subject
    try:
        return await _perform(job, exchange)
    except BifrostError as error:
        raise exchange.sign(error)  # noqa: B904 - the same error, completed
    except Exception as error:  # noqa: BLE001 - a defect; its text and frames can hold the request, so it stays here
        failure = InternalError(f"the attempt failed in {_place_of(error)}: {type(error).__name__}")
    raise exchange.sign(failure)


async def _perform(job: Job, exchange: Exchange) -> Any:
    upstream = exchange.upstream
    built = exchange.codec.build(exchange.request, exchange.target)
    exchange.warnings = built.warnings
    request = built.request
    request.source = exchange.request
    upstream.complete(request, exchange.key, exchange.extra_headers)
    now = job.taken_at or upstream.now()
    if now >= exchange.deadline:
        raise CallTimeoutError("the call's time was over before the request could be sent", phase="queue")
    connections = upstream.connections
    kept = await connections.take(upstream.origin, now, fresh=exchange.fresh)
    try:
        answer = await _send(exchange, kept, request, now)
        if exchange.target.stream and _is_stream(answer):
            lease = Lease(exchange, kept, answer.reader)
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
            read_timeout=timeouts.first_token if exchange.target.stream else None,
        )
    except TransportError as error:
        if reused:
            # The peer closed a kept connection before it answered anything.
            error.fault = "stale"
        raise
    exchange.status = answer.status
    exchange.headers = answer.headers
    exchange.connect = connection.connect_time
    exchange.first_byte = exchange.upstream.now() - now
    for name in exchange.upstream.row.request_id_headers:
        exchange.request_id = answer.headers.get(name)
        if exchange.request_id is not None:
            break
    return answer


def _is_stream(answer: Answer) -> bool:
    if answer.status != 200:
        return False
    kind = (answer.headers.get("content-type") or "").lower()
    return not kind.startswith(("application/json", "text/html"))


async def _read(exchange: Exchange, answer: Answer) -> tuple[bytes, bool]:
    """Read a body within its limit. Of a failure the beginning is enough; the rest is not waited for."""
    limits = exchange.upstream.config.limits
    coding = answer.headers.get("content-encoding")
    if answer.status >= 300:
        errors = ErrorBodyReader(coding, limit=limits.error_body)
        whole = False
        while not errors.full:
            data = await answer.reader.read()
            if not data:
                whole = True
                break
            errors.feed(data)
        return errors.finish(), whole
    if coding is not None:
        body = BodyReader(coding, limit=limits.body)
        while data := await answer.reader.read():
            body.feed(data)
        return body.finish(), True
    pieces: list[bytes] = []
    size = 0
    while data := await answer.reader.read():
        size += len(data)
        if size > limits.body:
            raise ResponseTooLargeError(f"the answer is larger than limits.body={limits.body:,} bytes")
        pieces.append(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), True


def _judge(exchange: Exchange, body: bytes) -> Any:
    """Make the answer of a complete body, or raise what the provider reports in it."""
    status, headers = exchange.status or 0, exchange.headers
    if status != 200:
        response = HttpResponse(status=status, headers=headers, body=exchange.redact(body))
        error = exchange.failure(status, exchange.upstream.row.parse_error(response))
        error.body = response.body
        raise error
    response = HttpResponse(status=status, headers=headers, body=body)
    reported: ReportedError
    try:
        answer = exchange.codec.parse(response, exchange.target)
    except ReportedError as error:
        reported = error
    except ProviderError as error:
        error.body = exchange.redact(body[: exchange.upstream.config.limits.error_body])
        raise
    else:
        if not exchange.target.stream:
            return answer
        if exchange.codec.as_chunks is None:
            raise MalformedResponseError("a stream was asked for, and a single document came")
        return ReadyChunks(exchange.codec.as_chunks(answer))
    raise exchange.reported(reported)


def _place_of(error: Exception) -> str:
    """Tell where an exception arose: file and line, and nothing of what the frames hold."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "code without a trace" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
