"""One attempt as a value: what to send where, what was learned on the way, and the errors that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bifrost.errors import BifrostError, InternalError, UnsupportedError
from bifrost.operations.chat.content import Issuer
from bifrost.providers.base import Target
from bifrost.routing.classify import error_of
from bifrost.wire.auth import redact, redact_bytes
from bifrost.wire.http import Headers
from bifrost.wire.waits import rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bifrost.account import Key
    from bifrost.engine.clock import Clock
    from bifrost.engine.upstream import Upstream
    from bifrost.errors import Phase
    from bifrost.providers.base import Codec, ErrorBody, Framer, ReportedError, StreamDecoder
    from bifrost.routing.health import Admission
    from bifrost.routing.keys import Choice
    from bifrost.transport import Connection

_NONE_YET = Headers()

LetIn: TypeAlias = "Callable[[Exchange, float], None]"
"""Chooses a key for an exchange at a time, and lets it in. Raises `NotLetIn`."""


class NotLetIn(Exception):  # noqa: N818 - it returns an attempt to its caller, and no user ever sees it
    """A worker took an attempt that cannot be made now: it goes back to its caller, and nothing was sent."""

    def __init__(self, error: BifrostError | None = None, *, resting: Choice | None = None) -> None:
        super().__init__()
        self.error = error
        """Why it cannot be made at all."""
        self.resting = resting
        """The key that is ready first, when none is ready now."""


class Exchange:
    """One attempt: what to send where, and what was learned on the way (read by the caller's task for the trail)."""

    __slots__ = (
        "admission",
        "choice",
        "clock",
        "codec",
        "connect",
        "connection",
        "deadline",
        "extra_headers",
        "first_byte",
        "first_token",
        "fresh",
        "headers",
        "key",
        "let_in",
        "note",
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
        model: str,
        stream: bool = False,
        extra_headers: Mapping[str, str],
        deadline: float,
        clock: Clock,
        let_in: LetIn,
        fresh: bool = False,
    ) -> None:
        self.upstream = upstream
        self.codec = codec
        self.request = request
        self.let_in = let_in
        """Chooses a key and lets the attempt in; its worker calls it when it takes the attempt."""
        self.choice: Choice | None = None
        """The key that was chosen for it, when it was let in."""
        self.key: Key | None = None
        self.target = Target(provider=upstream.name, model=model, stream=stream, settings=None)
        """Whom it asks for what; the model is the provider's own name of it once a key is chosen."""
        self.extra_headers = extra_headers
        self.deadline = deadline
        self.clock = clock
        self.admission: Admission | None = None
        """Its place with the provider's health, to which it is reported; `None` until it is let in."""
        self.fresh = fresh
        """Use a new connection, not a kept one."""
        self.connection: Connection | None = None
        """What carries it, from the moment it is sent."""
        self.first_token: float | None = None
        """How long a stream may be without its first token; `None`: as its provider's settings say."""
        self.note: str | None = None
        """What the trail tells of it beside what follows from it."""
        self.warnings: Sequence[str] = ()
        self.status: int | None = None
        self.headers = _NONE_YET
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

    def beside(self, *, model: str, extra_headers: Mapping[str, str], let_in: LetIn) -> Exchange:
        """Return another attempt of the same request at the same provider."""
        return Exchange(
            upstream=self.upstream,
            codec=self.codec,
            request=self.request,
            model=model,
            extra_headers=extra_headers,
            deadline=self.deadline,
            clock=self.clock,
            let_in=let_in,
        )

    def move(self, upstream: Upstream, codec: Codec[Any, Any]) -> None:
        """Go to what has replaced the provider; only before a worker took the attempt."""
        self.upstream, self.codec = upstream, codec

    def take(self, choice: Choice, admission: Admission) -> None:
        """Go on with a key, and as an attempt that was let in."""
        self.choice, self.admission = choice, admission
        self.key = choice.key
        self.target = target_of(self.upstream, choice, stream=self.target.stream)

    def decoder(self) -> StreamDecoder:
        """Give a decoder for this stream. Raises `UnsupportedError` if the provider does not stream this."""
        if self.codec.decoder is None:
            raise UnsupportedError(f"{self.target.provider} does not stream this", provider=self.target.provider)
        return self.codec.decoder(self.target)

    def framer(self) -> Framer:
        """Give what cuts this stream's bytes into events, within the provider's limits."""
        limits = self.upstream.config.size_limits
        return self.codec.framer(event_limit=limits.event, stream_limit=limits.stream)

    @property
    def content_encoding(self) -> str | None:
        """The content codings of the answer's body, in the order in which they were applied."""
        return ", ".join(self.headers.all("content-encoding")) or None

    def failure(self, status: int, body: ErrorBody, *, raw: bytes = b"") -> BifrostError:
        """Make the typed error of what the provider reports. `raw` is the answer's body, the key taken out."""
        if self.key is not None:
            body = msgspec.structs.replace(
                body, message=self.redacted(body.message), generated=self.redacted(body.generated)
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
        """Make the typed error of what the provider reports inside an answer or a stream."""
        return self.failure(reported.status or self.status or 200, reported.body)

    def defect(self, error: BaseException) -> BifrostError:
        """Make our error of one that nothing here may raise. Its text and frames can hold the request: they stay here.

        It tells file and line, and nothing of what the frames hold.
        """
        return InternalError(f"the attempt failed in {_place_of(error)}: {type(error).__name__}")

    def sign(self, error: BifrostError) -> BifrostError:
        """Write on an error where it happened, as far as it does not say so itself; take the key out of its words.

        What it came of is treated alike, and loses its frames: they hold the provider's bytes, which may repeat it.
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
        """Give a provider's words without the key. What the provider, the model and the key are called may stay."""
        key = self.key
        if key is None:
            return text
        return redact(text, key.value, known=(self.target.provider, self.target.model, key.name))

    def redact(self, body: bytes) -> bytes:
        """Take the key out of a body that goes into an error: a provider may echo it."""
        return redact_bytes(body, None if self.key is None else self.key.value)


def target_of(upstream: Upstream, choice: Choice, *, stream: bool) -> Target:
    """Return what a codec may know of where an attempt goes."""
    key = choice.key
    settings = None if key is None else key.settings
    return Target(
        provider=upstream.name,
        model=choice.model,
        stream=stream,
        settings=settings,
        issuer=Issuer(
            provider=upstream.name,
            address=upstream.base_url,
            key=None if key is None else key.name,
            region=getattr(settings, "region", None),
            model=choice.model,
        ),
        issuer_members=upstream.row.issuer_members,
    )


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Give what an error came of, and what that came of."""
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
