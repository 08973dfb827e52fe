"""`Provider`: a provider as a value, with a codec for each of its endpoints. Pure: no clock, socket or key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs
import msgspec

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen, Value
from bifrost.operations.base import Operation, OperationName, StructuredMode
from bifrost.operations.chat.content import Issuer as Issuer  # noqa: PLC0414 - the engine takes it from here
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES, SchemaRules
from bifrost.providers.wording import Meaning
from bifrost.wire.auth import BEARER, Auth
from bifrost.wire.framing.base import Event, Framer
from bifrost.wire.framing.sse import SseParser
from bifrost.wire.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bifrost.operations.chat.content import OpaquePart, ReasoningPart, ToolCall
    from bifrost.providers.fields import FieldTable

IssuerMember: TypeAlias = Literal["provider", "address", "key", "region", "model"]
"""A member of an `Issuer`."""

STREAM = "stream_"
"""The prefix of an endpoint's name that means the streamed operation."""

ANSWERS: frozenset[int] = frozenset(range(200, 300)) - {204, 205, 206}
"""The default statuses of responses: all success statuses except those without a complete body."""

EventT_contra = TypeVar("EventT_contra", bound=Event, contravariant=True)
RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResponseT = TypeVar("ResponseT", bound=msgspec.Struct)


class Target(Value, msgspec.Struct, frozen=True, kw_only=True):
    """What a codec may know about the destination of its request."""

    provider: str
    """The name of the provider."""

    model: str
    """The provider's own name of the model, with aliases resolved."""
    stream: bool = False
    """Whether the response is streamed."""

    settings: Any = None
    """The key's provider-specific settings, of a class in the dialect's file."""
    issuer: Issuer | None = None
    """The identity of the server. `None`: only the provider's name is known."""
    issuer_members: tuple[IssuerMember, ...] = ("provider", "address")
    """The members of an `Issuer` that must be equal so that its signatures and ids are valid there."""

    def issued(self, issuer: Issuer | None) -> bool:
        """Return whether what this issuer made may be sent there unchanged; false for an unknown issuer."""
        ours = self.issuer
        if issuer is None or ours is None:
            return issuer is not None and issuer.provider == self.provider
        return all(getattr(issuer, name) == getattr(ours, name) for name in self.issuer_members)

    def owns(self, part: ReasoningPart | ToolCall | OpaquePart) -> bool:
        """Return whether the opaque state of a part may be sent there: its issuer, or else its provider, is equal."""
        return part.provider == self.provider if part.issuer is None else self.issued(part.issuer)


class Built(Value, msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request, with warnings about what was converted or omitted.

    They become part of the response's `warnings`.
    """

    request: HttpRequest
    """The request."""

    warnings: list[str] = []
    """The warnings."""


class ErrorBody(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A provider's error, independent of the dialect."""

    message: str
    """The message."""

    type: str | None = None
    """The provider's type of the error."""

    code: str | None = None
    """The provider's code of the error."""

    param: str | None = None
    """The field of the request that the provider objects to."""

    request_id: str | None = None
    """The provider's identifier of the request."""

    retry_after: float | None = None
    """The wait that the body demands, in seconds."""

    meaning: Meaning | None = None
    """What the vendor's message means, if it says more than status and code (`bifrost.providers.wording`)."""
    generated: str = ""
    """What the model wrote, if the provider refuses it and reports it."""


class ReportedError(Exception):
    """The provider reports an error instead of a response: with status 200, or as an event of a stream.

    Codecs raise it, and the engine converts it to a `BifrostError`. It never reaches a caller.
    """

    def __init__(self, body: ErrorBody, *, status: int | None = None) -> None:
        super().__init__(body.message)
        self.body = body
        self.status = status
        self.chunks: Sequence[Any] = ()
        """Other content of the same event of a stream: text, or the usage so far."""


Ending: TypeAlias = Literal["complete", "unmarked", "cut"]
"""How a stream ended: with its final marker, with a finish reason but without a marker, or cut off."""


class StreamDecoder(Protocol[EventT_contra]):
    """Converts the events of one stream to chunks.

    A new one is made for each stream; no other part of a codec has state.
    """

    done: bool
    """Whether the final marker was received; what follows is not read."""

    def feed(self, event: EventT_contra, /) -> Sequence[Any]:
        """Return the chunks of an event, of the operation's class.

        Raises `ReportedError` for an error event, and `MalformedResponseError`.
        """
        ...

    def finish(self) -> Ending:
        """Return how the stream ended, after its last byte."""
        ...


@runtime_checkable
class ClosingDecoder(Protocol):
    """A decoder with chunks that only the end of its stream makes, if the stream ends without a final marker."""

    def close(self) -> Sequence[Any]:
        """Return these chunks. It is called once, after `finish` has returned `unmarked`."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Codec(Frozen, Generic[RequestT, ResponseT]):
    """The pure functions of one operation in one dialect."""

    operation: Operation[RequestT, ResponseT, Any]
    """The operation."""

    build: Callable[[RequestT, Target], Built]
    """Converts a request to an HTTP request."""

    parse: Callable[[HttpResponse, Target], ResponseT]
    """Converts a complete HTTP response to a response."""

    fields: FieldTable | None = None
    """How `build` sends each field of a request. `None`: unknown."""
    statuses: frozenset[int] = ANSWERS
    """The statuses with a body for `parse` or `decoder`. Any other is an error, which `parse_error` reads."""
    check: Callable[[RequestT, ResponseT], None] | None = None
    """Compares a complete response with its request. Raises `MalformedResponseError` if it cannot belong to it. `None`:
    no check.
    """
    decoder: Callable[[Target], StreamDecoder[Any]] | None = None
    """Makes the decoder of a new stream, for the events of `framer`. `None`: the operation is not streamed."""

    is_whole: Callable[[bytes], bool] | None = None
    """Returns whether the data of an event is a complete response and not a piece of one."""
    framer: Callable[..., Framer[Event]] = SseParser
    """Makes the framer of a new stream (`bifrost.wire.framing`), from `event_limit` and `stream_limit` in bytes."""


class Codecs(Mapping[OperationName, "Codec[Any, Any]"]):
    """Codecs by operation, some of which are made on first use: their modules take a while to import."""

    __slots__ = ("_later", "made")

    def __init__(
        self,
        made: Mapping[OperationName, Codec[Any, Any]],
        later: Mapping[OperationName, Callable[[], Codec[Any, Any]]],
    ) -> None:
        self.made = dict(made)
        """The codecs that exist already."""
        self._later = dict(later)

    def with_others(self, others: Mapping[OperationName, Codec[Any, Any]]) -> Codecs:
        """Return these codecs and others. Those that are not made yet stay so."""
        return Codecs({**self.made, **others}, self._later)

    def __getitem__(self, name: OperationName) -> Codec[Any, Any]:
        codec = self.made.get(name)
        if codec is None:
            codec = self._later[name]()
            _same_names(None, None, {name: codec})
            self.made[name] = codec
        return codec

    def __iter__(self) -> Iterator[OperationName]:
        return iter(dict.fromkeys((*self.made, *self._later)))

    def __len__(self) -> int:
        return len(self.made.keys() | self._later.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.made or name in self._later

    def __eq__(self, other: object) -> bool:
        # Not by the codecs, of which some are not made yet.
        return self is other

    __hash__ = Mapping.__hash__


def _callable_name(_: object, __: object, name: Any) -> None:
    if not isinstance(name, str) or not name.isprintable() or not name or "/" in name or " " in name:
        raise ConfigError(f"{name!r} is no provider's name: calls write provider/model, so it has no '/' and no blank")


def _same_names(_: object, __: object, codecs: Mapping[str, Codec[Any, Any]]) -> None:
    made = codecs.made if isinstance(codecs, Codecs) else codecs
    for name, codec in made.items():
        if codec.operation.name != name:
            raise ConfigError(f"codecs: {name!r} has a codec of the operation {codec.operation.name!r}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Provider(Frozen):
    """A provider as a value. `codecs` defines what it can do."""

    name: str = attrs.field(validator=_callable_name)
    """The name in calls, before the slash."""

    base_url: str
    """The address of the API, up to the version. Empty: it has none of its own."""

    codecs: Mapping[OperationName, Codec[Any, Any]] = attrs.field(validator=_same_names)
    """The codecs by operation."""

    parse_error: Callable[[HttpResponse], ErrorBody]
    """Parses the body of an error response."""

    auth: Auth = BEARER
    """How the key is sent. Default: `Authorization: Bearer`."""

    token_auth: Auth | None = None
    """How a token of a key's `credentials` is sent. `None`: like the value of a key."""

    key_variables: tuple[str, ...] = ()
    """The environment variables of the key, in the order in which they are tried."""
    other_key_variables: tuple[str, ...] = ()
    """Further variables, of other tools, that are tried if none of those is set."""
    joined_key_variables: tuple[str, ...] = ()
    """The environment variables whose values, separated by colons, are a key, if none of the others is set. The first
    two must be set."""
    settings_variables: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])
    """The environment variables of a key's settings, by the field of `key_settings`, in the order in which they are
    tried."""
    base_url_variable: str | None = None
    """The environment variable of another address."""
    other_base_url_variables: tuple[str, ...] = ()
    """Further variables, of other tools, that are tried in order if that is not set."""
    key_settings: type[Any] | None = None
    """The class of `Key.settings`. `None`: the keys have no settings, and a key with settings is refused."""
    address_of: Callable[[Any, str], str] | None = None
    """Returns the address of a key, from its settings and the provider's address (empty if it has none).

    It is called with `None` instead of settings for the provider's address itself and for a key without settings.

    `None`: all keys are used at the provider's address. An empty result: the key has no address. Raises `ConfigError`.
    """
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Header fields of every request (an API version, for example)."""
    request_id_headers: tuple[str, ...] = ("x-request-id", "request-id")
    """The header fields of a response that may contain the provider's identifier of the request, in order."""

    idempotency_header: str | None = None
    """The header by which the vendor recognises a repeated request; set only if its documentation says so.

    None of the built-in providers has one today.
    """
    issuer_members: tuple[IssuerMember, ...] = ("provider", "address")
    """What must be equal so that signatures, opaque reasoning and ids of tool calls are sent back to the provider."""
    structured: tuple[StructuredMode, ...] = ("native", "tool", "prompt")
    """The modes of structured output, the best first."""
    native_output_of: Callable[[str], bool] | None = None
    """Returns whether a model supports the native modes of `structured`. `None`: all models do."""
    schema_rules: SchemaRules = COMMON_RULES
    """The JSON schema features of its strict mode."""
    docs: str = ""
    """The address of the vendor's reference."""

    def structured_modes(self, model: str) -> tuple[StructuredMode, ...]:
        """Return the modes of structured output that a model supports, the best first."""
        if self.native_output_of is None or self.native_output_of(model):
            return self.structured
        return tuple(mode for mode in self.structured if mode not in ("native", "native_closed"))


def operations_of(provider: Provider) -> list[str]:
    """Return the operations of a provider: its endpoints, and with the prefix `stream_` those that can be streamed."""
    plain = list(provider.codecs)
    return [*plain, *(STREAM + endpoint for endpoint, codec in provider.codecs.items() if codec.decoder is not None)]
