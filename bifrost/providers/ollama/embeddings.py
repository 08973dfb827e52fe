"""Ollama's embeddings: https://docs.ollama.com/api/embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.embeddings import EMBEDDINGS, Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.base import Built, Codec
from bifrost.providers.extra import merge_extra
from bifrost.providers.ollama.errors import reported_error
from bifrost.providers.ollama.fields import EMBEDDINGS as FIELDS
from bifrost.providers.openai.answer import decode_answer, text_of, whole_of
from bifrost.providers.openai.embeddings import check_embeddings
from bifrost.providers.sizes import NUMBERS_LIMIT, SPARSE, VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest
from bifrost.wire.vectors import read_vector

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Embeddings(msgspec.Struct):
    embeddings: list[list[float]] | None = None
    model: Any = None
    prompt_eval_count: Any = None
    error: Any = None


_EMBEDDINGS = msgspec.json.Decoder(_Embeddings, strict=False)


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request for embeddings."""
    warnings = FIELDS.check(request, target)
    if not request.input:
        raise InvalidRequestError("input: the list is empty; give at least one text")
    if any(not isinstance(text, str) for text in request.input):
        raise FIELDS.refusal("input", target)
    body: dict[str, Any] = {"model": target.model, "input": request.input}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.truncate in {"none", "end"}:
        body["truncate"] = request.truncate == "end"
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/api/embed",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return the vectors in the order of the texts.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _EMBEDDINGS, _Embeddings, sparse=SPARSE)
    if wire.error:
        raise reported_error(response.body)
    if not wire.embeddings:
        raise MalformedResponseError(f"the response has no embeddings; {json.excerpt(response.body)}")
    check_count(len(wire.embeddings), VECTORS_LIMIT, what="vectors")
    data = [_embedding(vector, place) for place, vector in enumerate(wire.embeddings)]
    tokens = whole_of(wire.prompt_eval_count)
    return EmbeddingResponse(
        data=data,
        model=text_of(wire.model) or target.model,
        usage=NO_USAGE if tokens is None else Usage(input_tokens=tokens),
        provider=target.provider,
        raw=response.body,
    )


def _embedding(vector: list[float], place: int) -> Embedding:
    check_count(len(vector), NUMBERS_LIMIT, what="numbers in a vector")
    if not vector:
        raise MalformedResponseError(f"the response has no vector in embeddings[{place}]")
    return Embedding(embedding=read_vector(vector, what=f"the vector in embeddings[{place}]"), index=place)


CODEC = Codec[EmbeddingRequest, EmbeddingResponse](
    operation=EMBEDDINGS, build=build_embeddings, parse=parse_embeddings, check=check_embeddings, fields=FIELDS
)
