"""The embeddings operation."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal, Never, TypeAlias, get_args

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as
from bifrost.operations.usage import NO_USAGE, Usage

Encoding: TypeAlias = Literal["float", "base64"]
"""How the provider sends the numbers."""
ENCODINGS: Final[tuple[Encoding, ...]] = get_args(Encoding)

InputType: TypeAlias = Literal["query", "document", "classification", "clustering"]
"""What vectors are for. Providers know further words, which are sent as they are."""
OutputType: TypeAlias = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""The type of the numbers of a vector."""
Truncation: TypeAlias = Literal["none", "start", "end"]
"""Where an input that is too long is cut."""


class EmbeddingRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to convert texts (or lists of token numbers) to vectors. `None` means the provider's default."""

    model: str
    """`provider/model`, or the name of a model group."""

    input: list[str | list[int]] = []
    """The texts, each of which has a vector."""

    images: list[str] | None = None
    """The addresses of images (`https:` or `data:` URLs), each of which has a vector after those of the texts."""

    dimensions: int | None = None
    """The number of dimensions of the vectors."""

    encoding_format: Encoding | None = None
    """How the numbers are sent; the response has floats in either case. Base64 is exact and a third of the size."""
    output_dtype: OutputType | str | None = None
    """The type of the numbers. `binary` and `ubinary` pack eight dimensions into each number."""

    input_type: InputType | str | None = None
    """What the vectors are for. `query` and `document` are the two sides of a search."""

    truncate: Truncation | None = None
    """Where an input is cut that is too long: at its `start` or `end`; `none` requests an error instead."""

    user: str | None = None
    """An identifier of the end user, for the provider's abuse detection."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name."""


class Embedding(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The vector of one input."""

    embedding: list[float]
    """The vector; whole numbers if `output_dtype` asks for them."""

    index: int = 0
    """The position of the input in the request, from 0. Images follow the texts."""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "embedding"


class EmbeddingResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vectors, in the order of the inputs."""

    data: list[Embedding]
    """The vectors with their positions."""

    model: str = ""
    """The model that the provider reports."""

    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""
    provider: str = ""
    """The provider that responded."""

    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""

    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""

    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""

    cost: Decimal | None = None
    """The cost of the call, in US dollars; `None` if it is unknown."""

    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""
    raw: bytes = b""
    """The provider's response as bytes."""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "list"

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors without their positions."""
        return [item.embedding for item in self.data]

    def to_dict(self) -> dict[str, Any]:
        """Return the response in OpenAI's form."""
        form: dict[str, Any] = {
            "object": "list",
            "model": self.model,
            "data": [{"object": "embedding", "index": d.index, "embedding": d.embedding} for d in self.data],
        }
        if self.usage:
            form["usage"] = {
                "prompt_tokens": self.usage.input_tokens,
                "total_tokens": self.usage.total_tokens,
            }
        return form

    def __repr__(self) -> str:
        size = len(self.data[0].embedding) if self.data else 0
        return f"EmbeddingResponse({self.provider}/{self.model}: {len(self.data)} vectors of {size})"

    def _repr_html_(self) -> str:
        rows = [(d.index, len(d.embedding), ", ".join(f"{x:.4f}" for x in d.embedding[:_SHOWN])) for d in self.data]
        spent = bool(self.usage) and f"{self.usage.input_tokens} tokens"
        return block(table(("index", "size", "begins"), rows), note(f"{self.provider}/{self.model}", spent))


_SHOWN = 4


EMBEDDINGS: Final = Operation[EmbeddingRequest, EmbeddingResponse, Never](
    name="embeddings", request=EmbeddingRequest, response=EmbeddingResponse
)


def embedding_request(model: str, texts: object, **options: Any) -> EmbeddingRequest:
    """Return a request for a text, several texts, or lists of token numbers.

    Raises `InvalidRequestError` if there is nothing to embed, or an input is not text.
    """
    if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
        raise InvalidRequestError(f"input: expected a text or a list of texts, got {type(texts).__name__}")
    inputs: list[Any] = [texts] if isinstance(texts, str) else [*texts]
    if inputs and all(type(token) is int for token in inputs):
        inputs = [inputs]  # one text, as token numbers
    if not (inputs or options.get("images")) or any(text in ("", []) for text in inputs):
        raise InvalidRequestError(
            "input: there is nothing to embed; pass a text, or a list of texts that are not empty"
        )
    form = options.get("encoding_format")
    if form not in (None, *ENCODINGS):
        raise InvalidRequestError(f"encoding_format: unknown value {form!r}; known: {', '.join(ENCODINGS)}")
    return read_as({"model": model, "input": inputs, **options}, EmbeddingRequest, "")
