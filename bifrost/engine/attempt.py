"""One attempt while it runs: its target, what is measured during it, and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import anyio.lowlevel
import msgspec

from bifrost.attempt_record import AttemptRecord, shown
from bifrost.errors import BifrostError, InternalError, UnsupportedError
from bifrost.providers.base import Issuer, Target
from bifrost.routing.classify import error_of
from bifrost.wire.http import Headers
from bifrost.wire.redaction import SLICE, merged, without
from bifrost.wire.secrets import redact, redact_bytes
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bifrost.account import Key
    from bifrost.engine.clock import Clock
    from bifrost.engine.pool.workers import Job
    from bifrost.engine.providers.address import Address
    from bifrost.engine.providers.tokens import TokenState
    from bifrost.engine.providers.upstream import Upstream
    from bifrost.engine.retry_state import RetryState
    from bifrost.errors import Phase
    from bifrost.providers.base import Codec, ErrorBody, ReportedError, StreamDecoder
    from bifrost.routing.health import Admission
    from bifrost.routing.keys import KeySelection
    from bifrost.transport import Connection, ResponseHead
    from bifrost.wire.framing.base import Event, Framer
    from bifrost.wire.ngrams import Span
    from bifrost.wire.secrets import Secret

_NO_HEADERS = Headers()

Admit: TypeAlias = "Callable[[Attempt, float], None]"
"""Selects a key for an attempt and admits it at a given time. Raises `NotAdmitted`."""

_MESSAGE_LIMIT = 64 * 1024
"""The maximum length of a provider's error message, in characters. `body` has more if the settings allow it."""


Watch: TypeAlias = "Callable[[Job], Awaitable[None]]"
"""Waits until a job is finished. Raises if it is no longer needed."""


class NotAdmitted(Exception):  # noqa: N818 - it returns an attempt to its caller, and no user ever sees it
    """Raised if a worker took an attempt that cannot be made now.

    The attempt returns to its caller; nothing was sent.
    """

    def __init__(
        self,
        error: BifrostError | None = None,
        *,
        resting: KeySelection | None = None,
        without_token: KeySelection | None = None,
    ) -> None:
        super().__init__()
        self.error = error
        """Why the attempt cannot be made at all; `None` if it can be made later."""
        self.resting = resting
        """The key that is ready first, if none is ready now."""
        self.without_token = without_token
        """The selected key, if its token must be fetched first."""


class Attempt:
    """One request to a candidate with one key. A hedge is an attempt of its own.

    An attempt has one writer at a time: its worker, from taking the attempt until handing over the outcome, and
    otherwise the caller's task.
    """

    __slots__ = (
        "address",
        "admission",
        "admit",
        "clock",
        "codec",
        "connect",
        "connection",
        "deadline",
        "ended",
        "extra_headers",
        "first_byte",
        "first_token",
        "headers",
        "job",
        "key",
        "new_connection",
        "note",
        "request",
        "request_id",
        "secret",
        "selection",
        "state",
        "status",
        "submitted",
        "taken_at",
        "target",
        "token",
        "upstream",
        "wait",
        "warnings",
        "watch",
    )

    def __init__(
        self,
        state: RetryState,
        *,
        upstream: Upstream,
        codec: Codec[Any, Any],
        request: Any,
        stream: bool = False,
        extra_headers: Mapping[str, str],
        deadline: float,
        clock: Clock,
        admit: Admit,
        submitted: float,
        note: str | None = None,
        first_token: float | None = None,
        new_connection: bool = False,
    ) -> None:
        self.state = state
        """The state of the attempts at this candidate."""
        self.upstream = upstream
        self.codec = codec
        self.request = request
        self.target = Target(provider=upstream.name, model=state.model, stream=stream, settings=None)
        """What is sent to. The model becomes the provider's own name for it once a key is selected."""
        self.extra_headers = extra_headers
        self.deadline = deadline
        """When the call must be done."""
        self.clock = clock
        self.admit = admit
        """Selects a key and admits the attempt. The worker calls it when it takes the attempt."""
        self.submitted = submitted
        """When it was queued, or queued again after waiting for a key."""
        self.wait = state.wait
        """How long the call waited before this attempt, in seconds."""
        self.note = note
        """The note for its record."""
        self.first_token = first_token
        """The longest time to the first token of a stream, in seconds. `None`: as in the provider's settings."""
        self.new_connection = new_connection
        """Whether it needs a new connection rather than a pooled one."""
        self.ended = False
        self.job: Job | None = None
        """Its job in the provider's pool, until the outcome is handed over."""
        self.watch: Watch | None = None
        """Waits for the job in place of the caller."""
        self.taken_at: float | None = None
        """When a worker took it."""
        self.selection: KeySelection | None = None
        """The key that was selected when the attempt was admitted."""
        self.key: Key | None = None
        self.secret: Secret | None = None
        """What is sent: the value of the key, or its token."""
        self.token: TokenState | None = None
        """The source of the token, for a key with `credentials`."""
        self.address: Address | None = None
        """The address of its key. `None` until a key is selected."""
        self.admission: Admission | None = None
        """Reports to the provider's health. `None` until the attempt is admitted."""
        self.connection: Connection | None = None
        """The connection, once the request is being sent."""
        self.warnings: Sequence[str] = ()
        self.status: int | None = None
        self.headers = _NO_HEADERS
        self.request_id: str | None = None
        self.connect: float | None = None
        self.first_byte: float | None = None

    # --- the caller's side

    @property
    def begun(self) -> float:
        """When the exchange began. Time in the queue does not count, since it is not the provider's."""
        return self.submitted if self.taken_at is None else self.taken_at

    @property
    def key_name(self) -> str:
        """The name of its key; empty without a key."""
        return "" if self.selection is None else self.selection.name

    def waited(self, seconds: float, *, now: float) -> None:
        """Record that the call waited for a key after a worker had returned the attempt."""
        self.wait += seconds
        self.submitted = now

    def move(self, upstream: Upstream, codec: Codec[Any, Any]) -> None:
        """Use the provider that has replaced this one. Only possible before a worker took the attempt."""
        self.upstream, self.codec = upstream, codec

    def add_note(self, note: str) -> None:
        """Add to the note of its record."""
        self.note = note if self.note is None else f"{self.note}; {note}"

    def discard(self, error: BifrostError, *, now: float) -> None:
        """End the attempt without a record: nothing was sent, and it has no consequences."""
        if not self.ended and self.admission is not None:
            self.admission.close(error, now=now)
        self.ended, self.job = True, None

    def end(self, error: BifrostError | None, *, now: float) -> AttemptRecord | None:
        """End the attempt and return its record. Only this method makes records.

        Returns `None` if it ended before, or if its request could not be built, which does not count as an attempt.
        """
        if self.ended:
            return None
        self.ended, self.job = True, None
        note = None if self.admission is None else self.admission.close(error, now=now)
        if self.note is not None:
            note = self.note if note is None else f"{self.note}; {note}"
        counters = self.upstream.counters
        if error is None:
            counters.ok += 1
        elif error.category == "local":
            return None
        else:
            counters.fail(error.category)
        target, key = self.target, self.key
        return AttemptRecord(
            provider=target.provider,
            model=target.model,
            key=None if key is None else key.name,
            status=self.status,
            category=None if error is None else error.category,
            error=None if error is None else shown(error.message, 500),
            request_id=self.request_id,
            wait=self.wait,
            queue=None if self.taken_at is None else self.taken_at - self.submitted,
            connect=self.connect,
            first_byte=self.first_byte,
            total=now - self.submitted,
            note=note,
        )

    # --- the worker's side

    def take_token(self, key: Key) -> bool:
        """Use the current token of a key with `credentials`. Returns false if it must be fetched first."""
        upstream = self.upstream
        self.token = upstream.tokens.of(key.credentials)
        self.secret = upstream.tokens.current(self.token, refresh_before=upstream.config.key_pool.refresh_before)
        return self.secret is not None

    def admitted(self, selection: KeySelection, admission: Admission) -> None:
        """Continue with a key, as an attempt that was admitted."""
        self.selection, self.admission = selection, admission
        key = self.key = selection.key
        if key is None or key.value is not None:
            # Otherwise `take_token` has set both.
            self.secret, self.token = (None if key is None else key.value), None
        upstream = self.upstream
        # Nearly every key is used at the provider's own address.
        address = None if selection.address else upstream.address
        self.address = address = address or upstream.address_of(key)
        self.target = target_of(upstream, selection, address, stream=self.target.stream)

    def received(self, answer: ResponseHead, *, connect: float | None, first_byte: float) -> None:
        """Record the head of the response and the durations until then, in seconds."""
        self.status = answer.status
        self.headers = answer.headers
        self.connect = connect
        self.first_byte = first_byte
        for name in self.upstream.row.request_id_headers:
            request_id = answer.headers.get(name)
            if request_id is not None:
                # A provider may write the key into any header, of a good answer too.
                self.request_id = self.redacted(request_id)
                break

    @property
    def phase(self) -> Phase:
        """What the attempt is waiting for."""
        if self.connection is None:
            return "queue"
        if self.status is not None:
            return "body"
        return "headers" if self.connection.sent or self.connection.reused else "connect"

    def decoder(self) -> StreamDecoder[Any]:
        """Return a decoder for this stream. Raises `UnsupportedError` if the provider cannot stream this operation."""
        if self.codec.decoder is None:
            raise UnsupportedError(f"{self.target.provider} does not stream this", provider=self.target.provider)
        return self.codec.decoder(self.target)

    def framer(self) -> Framer[Event]:
        """Return the framer that splits this stream's bytes into events, within the provider's limits."""
        limits = self.upstream.config.size_limits
        return self.codec.framer(event_limit=limits.event, stream_limit=limits.stream)

    @property
    def content_encoding(self) -> str | None:
        """The content codings of the response's body, in the order in which they were applied."""
        return ", ".join(self.headers.all("content-encoding")) or None

    def failure(self, status: int, body: ErrorBody, *, raw: bytes = b"") -> BifrostError:
        """Return the typed error for a failure that the provider reports.

        `raw` is the response's body without the key.
        """
        if self.key is not None:
            body = msgspec.structs.replace(
                body, message=self.redacted(body.message[:_MESSAGE_LIMIT]), generated=self.redacted(body.generated)
            )
        return error_of(
            status,
            body,
            headers=self.headers,
            provider=self.target.provider,
            model=self.target.model,
            key=None if self.key is None else self.key.name,
            now_wall=self.clock.wall(),
            raw=raw,
            request_id_headers=self.upstream.row.request_id_headers,
        )

    def reported(self, reported: ReportedError) -> BifrostError:
        """Return the typed error for a failure that the provider reports inside a response or a stream."""
        return self.failure(reported.status or self.status or 200, reported.body)

    def defect(self, error: BaseException) -> BifrostError:
        """Return an `InternalError` for an unexpected exception.

        Its text and frames can contain the request. Only the file and line are repeated.
        """
        return InternalError(f"the attempt failed in {_place_of(error)}: {type(error).__name__}")

    def locate(self, error: BifrostError) -> BifrostError:
        """Add to an error where it happened, if that is not set, and remove the key from its text.

        Its causes are treated in the same way. They lose their frames, which hold the provider's bytes and may contain
        the key.
        """
        error.provider = error.provider or self.target.provider
        error.model = error.model or self.target.model
        error.status = error.status if error.status is not None else self.status
        error.request_id = error.request_id or self.request_id
        error.rate_limit = error.rate_limit or rate_limit(self.headers, now=self.clock.wall())
        if self.key is not None:
            error.key = error.key or self.key.name
            error.message = self.redacted(error.message)
            for said in ("code", "type", "param", "request_id"):
                setattr(error, said, self.redacted(getattr(error, said) or "") or None)
            self.request_id = self.redacted(self.request_id or "") or None
        for behind in _behind(error):
            behind.__traceback__ = None
            behind.args = tuple(self.redacted(each) if isinstance(each, str) else each for each in behind.args)
        return error

    def redacted(self, text: str) -> str:
        """Return a provider's text without the key. The names of provider, model and key may stay."""
        key = self.key
        if key is None:
            return text
        return redact(text, self.secret, known=(self.target.provider, self.target.model, key.name))

    async def redact(self, body: bytes) -> bytes:
        """Remove the key from the body of an error, since a provider may echo it. Other tasks run in between."""
        secret = self.secret
        if secret is None or len(body) <= SLICE:
            return redact_bytes(body, secret)
        spans: list[Span] = []
        for found in secret.pieces().slices(body):
            spans += found
            await anyio.lowlevel.checkpoint()
        return without(body, merged(spans)) if spans else body


def target_of(upstream: Upstream, choice: KeySelection, address: Address, *, stream: bool) -> Target:
    """Return the target of an attempt, as codecs see it."""
    key = choice.key
    settings = None if key is None else key.settings
    return Target(
        provider=upstream.name,
        model=choice.model,
        stream=stream,
        settings=settings,
        issuer=Issuer(
            provider=upstream.name,
            address=address.url,
            key=None if key is None else key.name,
            region=getattr(settings, "region", None),
            model=choice.model,
        ),
        issuer_members=upstream.row.issuer_members,
    )


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of an error, and theirs."""
    seen = {id(error)}
    waiting = [error.__cause__, error.__context__]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "code without a trace" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
