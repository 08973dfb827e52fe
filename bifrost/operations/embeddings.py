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
ENCODINGS: Final[tuple[Encoding, ...]] = get_args(Encoding)


class EmbeddingRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts (or lists of token numbers) to turn into vectors."""

    model: str
    input: list[str | list[int]]
    dimensions: int | None = None
    encoding_format: Encoding | None = None
    """How numbers travel; the answer holds floats either way. Base64 is exact and a third of the size."""
    user: str | None = None
    extra: dict[str, dict[str, Any]] | None = None


class Embedding(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The vector of one input, by its place in the request."""

    embedding: list[float]
    index: int = 0

    @property
    def object(self) -> str:
        """OpenAI's name of the kind of object."""
        return "embedding"


class EmbeddingResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Vectors in the order of the inputs."""

    data: list[Embedding]
    model: str = ""
    usage: Usage = NO_USAGE
    """The tokens. Where the provider tells nothing it is false, and 0 everywhere; it is never `None`."""
    provider: str = ""
    request_id: str | None = None
    attempts: list[AttemptRecord] = []
    warnings: list[str] = []
    cost: Decimal | None = None
    rate_limit: RateLimit | None = None
    """What the provider told of its allowances with this answer."""
    raw: bytes = b""

    @property
    def object(self) -> str:
        """OpenAI's name of the kind of object."""
        return "list"

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors alone."""
        return [item.embedding for item in self.data]

    def to_dict(self) -> dict[str, Any]:
        """Give the answer in OpenAI's form."""
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
    """Make a request of a text, of texts, or of lists of token numbers.

    Raises `InvalidRequestError` if there is nothing to embed, or something else than text.
    """
    if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
        raise InvalidRequestError(f"input: expected a text or a list of texts, got {type(texts).__name__}")
    inputs: list[Any] = [texts] if isinstance(texts, str) else [*texts]
    if inputs and all(type(token) is int for token in inputs):
        inputs = [inputs]  # one text, as token numbers
    if not inputs or any(text in ("", []) for text in inputs):
        raise InvalidRequestError(
            "input: there is nothing to embed; give a text, or a list of texts that are not empty"
        )
    form = options.get("encoding_format")
    if form not in (None, *ENCODINGS):
        raise InvalidRequestError(f"encoding_format: unknown value {form!r}; known: {', '.join(ENCODINGS)}")
    return read_as({"model": model, "input": inputs, **options}, EmbeddingRequest, "")
