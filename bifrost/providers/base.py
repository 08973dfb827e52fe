"""What a provider is: a row of values, with a codec for each of its endpoints. Pure: no clock, socket, key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs
import msgspec

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen, Value
from bifrost.operations.base import Operation, OperationName, StructuredMode
from bifrost.operations.chat.content import Issuer
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES, SchemaRules
from bifrost.providers.wording import Meaning
from bifrost.wire.auth import BEARER, Auth
from bifrost.wire.framing.sse import SseEvent, SseParser
from bifrost.wire.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.content import OpaquePart, ReasoningPart, ToolCall
    from bifrost.providers.fields import FieldTable

IssuerMember: TypeAlias = Literal["provider", "address", "key", "region", "model"]
"""A member of an `Issuer`."""

STREAM = "stream_"
"""What stands before an endpoint's name for the operation that streams it."""

ANSWERS: frozenset[int] = frozenset(range(200, 300)) - {204, 205, 206}
"""Statuses that come with an answer, unless a codec names others: all good ones but those without a whole body."""

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResponseT = TypeVar("ResponseT", bound=msgspec.Struct)


class Target(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a codec may know of where its request goes."""

    provider: str
    model: str
    """The provider's own name of the model, aliases resolved."""
    stream: bool = False
    settings: Any = None
    """The key's provider-specific settings, a class of the dialect's file."""
    issuer: Issuer | None = None
    """Who answers there. `None`: nothing but the provider's name is known."""
    issuer_members: tuple[IssuerMember, ...] = ("provider", "address")
    """Which members of an `Issuer` must be the same for its signatures and ids to be good there."""

    def issued(self, issuer: Issuer | None) -> bool:
        """Say whether what this issuer made may go there unchanged. One that is not known did not."""
        ours = self.issuer
        if issuer is None or ours is None:
            return issuer is not None and issuer.provider == self.provider
        return all(getattr(issuer, name) == getattr(ours, name) for name in self.issuer_members)

    def owns(self, part: ReasoningPart | ToolCall | OpaquePart) -> bool:
        """Say whether the opaque state of a part may go there: its issuer is the same, or else the provider's name."""
        return part.provider == self.provider if part.issuer is None else self.issued(part.issuer)


class Built(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A wire request, and what was mapped or left out to make it (ends on the answer's `warnings`)."""

    request: HttpRequest
    warnings: list[str] = []


class ErrorBody(Value, msgspec.Struct, frozen=True, kw_only=True):
    """An error in a provider's words, dialect removed. `retry_after` is a wait named in the body, in seconds."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    meaning: Meaning | None = None
    """What the vendor's sentence says, where it may say more than status and code (`bifrost.providers.wording`)."""
    generated: str = ""
    """What the model wrote, where the provider refuses it and tells it."""


class ReportedError(Exception):
    """The provider reports an error where an answer should stand: inside a 200, or as an event of a stream.

    Raised by codecs for the engine, which turns it into a `BifrostError`; it never reaches a caller.
    """

    def __init__(self, body: ErrorBody, *, status: int | None = None) -> None:
        super().__init__(body.message)
        self.body = body
        self.status = status
        self.chunks: Sequence[Chunk] = ()
        """What the same event of a stream says beside the error: text, or the usage so far."""


Ending: TypeAlias = Literal["complete", "unmarked", "cut"]
"""How a stream ended: with its final marker, with a finish reason but no marker, or cut off."""


class StreamDecoder(Protocol):
    """Turns the events of one stream into chunks. Made anew for each stream; the only codec part with state."""

    done: bool
    """The final marker was seen; whatever follows is not read."""

    def feed(self, event: SseEvent, /) -> Sequence[Chunk]:
        """Take an event, give its chunks. Raises `ReportedError` for an error event, `MalformedResponseError`."""
        ...

    def finish(self) -> Ending:
        """Say how the stream ended, once its bytes are at an end."""
        ...


class Framer(Protocol):
    """Cuts a stream's bytes into events."""

    def feed(self, data: bytes, /) -> Sequence[SseEvent]:
        """Take bytes as they come, give the events that are complete."""
        ...

    def finish(self) -> Sequence[SseEvent]:
        """Give what the end of the input completes."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Codec(Frozen, Generic[RequestT, ResponseT]):
    """The pure functions of one operation in one dialect."""

    operation: Operation[RequestT, ResponseT, Any]
    build: Callable[[RequestT, Target], Built]
    parse: Callable[[HttpResponse, Target], ResponseT]
    fields: FieldTable | None = None
    """What `build` does with each field of a request. `None`: nobody has said it."""
    statuses: frozenset[int] = ANSWERS
    """The statuses whose body `parse` or `decoder` reads. Any other is an error, which `parse_error` reads."""
    check: Callable[[RequestT, ResponseT], None] | None = None
    """Compare a complete answer with its request. Raises `MalformedResponseError` if it cannot be the answer to it."""
    decoder: Callable[[Target], StreamDecoder] | None = None
    is_whole: Callable[[bytes], bool] | None = None
    """Whether the data of an event is a complete answer and no piece of one."""
    framer: Callable[..., Framer] = SseParser
    """Called with `event_limit` and `stream_limit`, in bytes."""


def _callable_name(_: object, __: object, name: Any) -> None:
    if not isinstance(name, str) or not name.isprintable() or not name or "/" in name or " " in name:
        raise ConfigError(f"{name!r} is no provider's name: calls write provider/model, so it has no '/' and no blank")


def _same_names(_: object, __: object, codecs: Mapping[str, Codec[Any, Any]]) -> None:
    for name, codec in codecs.items():
        if codec.operation.name != name:
            raise ConfigError(f"codecs: {name!r} has a codec of the operation {codec.operation.name!r}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Provider(Frozen):
    """A provider as a value. `codecs` says what it can do; there is no second list."""

    name: str = attrs.field(validator=_callable_name)
    base_url: str
    codecs: Mapping[OperationName, Codec[Any, Any]] = attrs.field(validator=_same_names)
    parse_error: Callable[[HttpResponse], ErrorBody]
    auth: Auth = BEARER
    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key, in the order in which they are looked up."""
    other_key_variables: tuple[str, ...] = ()
    """Further ones, by which other tools know it; looked up where none of those is set."""
    base_url_variable: str | None = None
    """Environment variable that may hold another address."""
    other_base_url_variables: tuple[str, ...] = ()
    """Further ones, by which other tools know it; read in order where that is not set."""
    key_settings: type[Any] | None = None
    """The class of `Key.settings`, for a provider whose keys need some."""
    address_of: Callable[[Any, str], str] | None = None
    """Return the address of a key, from its settings and the provider's address (empty if it has none).

    `None`: all keys are used at the provider's address. An empty result: the key has no address. Raises `ConfigError`.
    """
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Sent with every request (an API version, say)."""
    request_id_headers: tuple[str, ...] = ("x-request-id", "request-id")
    idempotency_header: str | None = None
    """The header by which the vendor recognises a request that comes again; set only where its documentation says so.

    None of the shipped providers' does today.
    """
    issuer_members: tuple[IssuerMember, ...] = ("provider", "address")
    """What must be the same for signatures, opaque reasoning and ids of tool calls to go back to the provider."""
    structured: tuple[StructuredMode, ...] = ("native", "tool", "prompt")
    """The ways in which an answer of a type can be asked for, the best first."""
    schema_rules: SchemaRules = COMMON_RULES
    """What its strict mode takes of JSON schema."""
    docs: str = ""
    """The vendor's reference of the format."""


def operations_of(provider: Provider) -> list[str]:
    """Give what can be asked of a provider: its endpoints, and `stream_` with those that stream."""
    plain = list(provider.codecs)
    return [*plain, *(STREAM + endpoint for endpoint, codec in provider.codecs.items() if codec.decoder is not None)]
