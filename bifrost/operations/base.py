"""What can be asked, as values: an `Operation` holds what the engine, plugins, providers and the test kit need of it.

This module imports no single operation. Each is defined in a module of its own, and codecs name the one that they speak
for: what stands in the providers' codecs is what there is (`bifrost.providers.catalog.OPERATIONS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

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
"""A way to ask for a type.

- `native`: a response format with a JSON schema, strict where the type allows it
- `native_closed`: the same, for a provider that takes no schema with free keys, and none that contains itself
- `tool`: a forced call of a tool whose arguments are the answer
- `json_object`: the schema in the system message, and the provider's mode for "any JSON object"
- `prompt`: the schema in the system message alone
"""


class Accumulator(Protocol[ChunkT_contra, ResponseT_co]):
    """Adds up the chunks of one stream."""

    def add(self, chunk: ChunkT_contra, /) -> None:
        """Add the next chunk. One that resets the stream takes back those before it."""
        ...

    def response(self, *, warnings: list[str] | None = None) -> ResponseT_co:
        """Return the response as far as it has come."""
        ...


class AccumulatorFactory(Protocol[ChunkT_contra, ResponseT_co]):
    """Makes the accumulator of a new stream."""

    def __call__(self, *, provider: str, model: str) -> Accumulator[ChunkT_contra, ResponseT_co]:
        """Return an accumulator. `provider` and `model` are where the request went."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Streaming(Frozen, Generic[ChunkT, ResponseT]):
    """How an operation streams: its chunks, and the way from chunks to a response and back."""

    chunk: type[ChunkT]
    """The class of its chunks; `bytes` for a stream of bytes."""
    accumulator: AccumulatorFactory[ChunkT, ResponseT]
    """Makes what adds chunks up to a response."""
    chunks_of: Callable[[ResponseT], Sequence[ChunkT]]
    """Returns the chunks of a complete response. The accumulator makes the same response of them."""
    has_content: Callable[[ChunkT], bool]
    """Whether a chunk commits the stream: from then on a failure is no longer retried unseen."""
    text: Callable[[ChunkT], str] | None = None
    """Returns the text that a chunk adds. `None`: its chunks are no text."""
    reset: type[ChunkT] | None = None
    """The chunk class that takes back everything before it, made with `reason`, `attempt`, `provider`, `model` and
    `partial`. `None`: a stream of this operation never begins anew."""


class ChunkLift(Protocol):
    """Makes the chunks of one stream plain: their text is the JSON alone. Made anew for each stream."""

    def __call__(self, chunk: Any, /) -> Any:
        """Return the chunk with its text made plain."""
        ...

    def restored(self, response: Any, /) -> Any:
        """Return a response with everything that its model wrote, `None` if its text shows all of it already."""
        ...


class StructuredOutput(Protocol):
    """How an operation is asked for an answer of a type, and how that answer is read. A module may be one.

    `output` is the type (an `OutputType`), `mode` the way in which a provider is asked for it, `rules` what the
    provider's strict mode takes of JSON schema, `others` the names of the request's own tools.
    """

    @property
    def default_mode(self) -> StructuredMode:
        """The most lenient mode: how an answer is read that no provider gave."""
        ...

    @property
    def default_rules(self) -> Any:
        """What the strict modes of all providers have in common."""
        ...

    def choose_mode(
        self, output: Any, request: Any, modes: Sequence[StructuredMode], *, provider: str, rules: Any = ...
    ) -> StructuredMode:
        """Choose the first of a provider's modes that can carry this type. Raises `UnsupportedError`."""
        ...

    def lower(self, request: Any, output: Any, mode: StructuredMode, rules: Any = ...) -> Any:
        """Return the request that asks for the type in this mode."""
        ...

    def tool_names(self, request: Any) -> frozenset[str]:
        """Return the names of the request's own tools."""
        ...

    def lift(self, response: Any, mode: StructuredMode, *, others: Collection[str] = ...) -> Any:
        """Return the response without what the mode added to it."""
        ...

    def chunk_lift(self, output: Any, mode: StructuredMode, *, others: Collection[str] = ...) -> ChunkLift:
        """Return what does the same for the chunks of a new stream."""
        ...

    def fitted(self, response: Any, output: Any, mode: StructuredMode, rules: Any = ...) -> Any:
        """Return the lifted response with its `parsed`. Raises `OutputValidationError`."""
        ...

    def shortfalls(self, output: Any, mode: StructuredMode, rules: Any = ...) -> list[str]:
        """Return what of the type the provider does not enforce in this mode."""
        ...

    def is_correctable(self, response: Any) -> bool:
        """Return whether a response that does not fit may be asked for again."""
        ...

    def reask(self, request: Any, response: Any, error: OutputValidationError) -> Any:
        """Return the request that asks again, with the response and what is wrong with it."""
        ...

    def refused(self, error: MalformedResponseError, output: Any, before: Any) -> OutputValidationError:
        """Return the error for a provider's refusal of its own model's answer."""
        ...

    def was_cut(self, error: BifrostError) -> bool:
        """Return whether a provider refused an answer because it was cut off."""
        ...

    def reask_refused(self, request: Any, error: OutputValidationError) -> Any:
        """Return the request that asks again after such a refusal."""
        ...

    def merged(self, earlier: Any, later: Any) -> Any:
        """Return the later response with the usage, cost, attempts and warnings of both."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Operation(Frozen, Generic[RequestT, ResponseT, ChunkT]):
    """Something that can be asked of a provider.

        EMBEDDINGS = Operation[EmbeddingRequest, EmbeddingResponse, Never](
            name="embeddings", request=EmbeddingRequest, response=EmbeddingResponse
        )

    The request has a field `model`. The response has `provider`, `model`, `request_id`, `attempts`, `warnings` and
    `rate_limit`, which the engine fills in.
    """

    name: OperationName
    """What codecs, call contexts and the test kit call it. With `stream_` in front it is the operation streamed."""
    request: type[RequestT]
    response: type[ResponseT]
    """What answers it. A plugin may answer with one in the provider's place."""
    streaming: Streaming[ChunkT, ResponseT] | None = None
    """`None`: it is never streamed."""
    structured: StructuredOutput | None = None
    """`None`: it cannot be asked for an answer of a type."""
    asks_provider: bool = False
    """The question is put to a provider and not to a model of it, so there is nothing to choose or to fall back to."""

    @property
    def chunk(self) -> type[ChunkT] | None:
        """The class of its chunks."""
        return None if self.streaming is None else self.streaming.chunk
