"""`Operation`: an operation as a value, with everything that the engine, plugins, providers and the test kit need.

This module imports no operation. Each is defined in its own module, and codecs refer to the one that they implement:
the operations that exist are those of the providers' codecs (`bifrost.providers.catalog.OPERATIONS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

import attrs
import msgspec

from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bifrost.errors import BifrostError, MalformedResponseError, OutputValidationError

OperationName: TypeAlias = str
"""The name of an operation: `chat`, `embeddings`, `models`, ..."""

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResponseT = TypeVar("ResponseT", bound=msgspec.Struct)
ChunkT = TypeVar("ChunkT")
ChunkT_contra = TypeVar("ChunkT_contra", contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", covariant=True)

StructuredMode: TypeAlias = Literal["native", "native_closed", "tool", "json_object", "prompt"]
"""A way to request output of a type.

- `native`: a response format with a JSON schema, strict if the type allows it
- `native_closed`: the same, for a provider that accepts no schema with free keys and no recursive schema
- `tool`: a forced call of a tool whose arguments are the output
- `json_object`: the schema in the system message, and the provider's mode for "any JSON object"
- `prompt`: the schema in the system message only
"""


class Accumulator(Protocol[ChunkT_contra, ResponseT_co]):
    """Combines the chunks of one stream into a response."""

    def add(self, chunk: ChunkT_contra, /) -> None:
        """Add the next chunk. A chunk that resets the stream discards those before it."""
        ...

    def response(self, *, warnings: list[str] | None = None) -> ResponseT_co:
        """Return the response so far."""
        ...


class AccumulatorFactory(Protocol[ChunkT_contra, ResponseT_co]):
    """Makes the accumulator of a new stream."""

    def __call__(self, *, provider: str, model: str) -> Accumulator[ChunkT_contra, ResponseT_co]:
        """Return an accumulator. `provider` and `model` say where the request was sent."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Streaming(Frozen, Generic[ChunkT, ResponseT]):
    """How an operation streams: its chunks, and the conversion from chunks to a response and back."""

    chunk: type[ChunkT]
    """The class of its chunks; `bytes` for a stream of bytes."""
    accumulator: AccumulatorFactory[ChunkT, ResponseT]
    """Makes the object that combines chunks into a response."""
    chunks_of: Callable[[ResponseT], Sequence[ChunkT]]
    """Returns the chunks of a complete response. The accumulator makes an equal response of them."""
    has_content: Callable[[ChunkT], bool]
    """Whether a chunk commits the stream. After that, a failure is no longer retried silently."""
    text: Callable[[ChunkT], str] | None = None
    """Returns the text that a chunk adds. `None`: its chunks contain no text."""
    reset: type[ChunkT] | None = None
    """The class of the chunk that discards everything before it, made with `reason`, `attempt`, `provider`, `model` and
    `partial`. `None`: a stream of this operation is never restarted.
    """


class ChunkLift(Protocol):
    """Converts the chunks of one stream so that their text is the JSON only. A new one is made for each stream."""

    def __call__(self, chunk: Any, /) -> Any:
        """Return the chunk with its text converted."""
        ...

    def restored(self, response: Any, /) -> Any:
        """Return a response with everything that its model wrote; `None` if its text contains all of it already."""
        ...


class StructuredOutput(Protocol):
    """How an operation requests output of a type, and how it reads the output. A module may implement it.

    `output` is the type (an `OutputType`), `mode` the way in which it is requested from the provider, `rules` the JSON
    schema features of the provider's strict mode, and `others` the names of the request's own tools.
    """

    @property
    def default_mode(self) -> StructuredMode:
        """The most lenient mode, for a response that does not come from a provider."""
        ...

    @property
    def default_rules(self) -> Any:
        """The rules that the strict modes of all providers have in common."""
        ...

    def choose_mode(
        self, output: Any, request: Any, modes: Sequence[StructuredMode], *, provider: str, rules: Any = ...
    ) -> StructuredMode:
        """Choose the first of a provider's modes that supports this type. Raises `UnsupportedError`."""
        ...

    def lower(self, request: Any, output: Any, mode: StructuredMode, rules: Any = ...) -> Any:
        """Return a request for output of the type in this mode."""
        ...

    def tool_names(self, request: Any) -> frozenset[str]:
        """Return the names of the request's own tools."""
        ...

    def lift(self, response: Any, mode: StructuredMode, *, others: Collection[str] = ...) -> Any:
        """Return the response without what the mode added to it."""
        ...

    def chunk_lift(self, output: Any, mode: StructuredMode, *, others: Collection[str] = ...) -> ChunkLift:
        """Return an object that does the same for the chunks of a new stream."""
        ...

    def fitted(self, response: Any, output: Any, mode: StructuredMode, rules: Any = ...) -> Any:
        """Return the converted response with `parsed` set. Raises `OutputValidationError`."""
        ...

    def shortfalls(self, output: Any, mode: StructuredMode, rules: Any = ...) -> list[str]:
        """Return descriptions of what the provider does not enforce of the type in this mode."""
        ...

    def is_correctable(self, response: Any) -> bool:
        """Return whether a response that does not match the type may be requested again."""
        ...

    def reask(self, request: Any, response: Any, error: OutputValidationError) -> Any:
        """Return the request for another try, with the response and what is wrong with it."""
        ...

    def refused(self, error: MalformedResponseError, output: Any, before: Any) -> OutputValidationError:
        """Return the error for a provider's rejection of its own model's output."""
        ...

    def was_cut(self, error: BifrostError) -> bool:
        """Return whether a provider rejected the output because it was cut off."""
        ...

    def reask_refused(self, request: Any, error: OutputValidationError) -> Any:
        """Return the request for another try after such a rejection."""
        ...

    def merged(self, earlier: Any, later: Any) -> Any:
        """Return the later response with the usage, cost, attempts and warnings of both."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Operation(Frozen, Generic[RequestT, ResponseT, ChunkT]):
    """Something that providers can be asked to do: chat, embeddings, ...

        EMBEDDINGS = Operation[EmbeddingRequest, EmbeddingResponse, Never](
            name="embeddings", request=EmbeddingRequest, response=EmbeddingResponse
        )

    The request has a field `model`. The response has the fields `provider`, `model`, `request_id`, `attempts`,
    `warnings` and `rate_limit`, which the engine sets.
    """

    name: OperationName
    """The name for codecs, call contexts and the test kit. With the prefix `stream_` it means the streamed
    operation.
    """
    request: type[RequestT]
    """The type of its requests."""

    response: type[ResponseT]
    """The type of its responses. A plugin may return one instead of the provider's."""
    streaming: Streaming[ChunkT, ResponseT] | None = None
    """How it streams. `None`: it cannot be streamed."""
    structured: StructuredOutput | None = None
    """How it requests output of a type. `None`: it does not support that."""
    asks_provider: bool = False
    """Whether the request concerns a provider and not one of its models, so that there are no candidates and
    fallbacks.
    """

    @property
    def chunk(self) -> type[ChunkT] | None:
        """The class of its chunks; `None` if it cannot be streamed."""
        return None if self.streaming is None else self.streaming.chunk

    def __deepcopy__(self, memo: object) -> Self:
        """Return the operation itself, as it never changes: a `CallContext` has one, and can be copied."""
        return self
