"""Gemini's embeddings: https://ai.google.dev/api/embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.chat.content import ImagePart
from bifrost.operations.embeddings import Embedding, EmbeddingResponse
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.chat import built, model_path
from bifrost.providers.gemini.errors import reported_error
from bifrost.providers.gemini.fields import EMBEDDINGS
from bifrost.providers.gemini.media import media
from bifrost.providers.gemini.usage import read_usage, usage_of
from bifrost.providers.sizes import NUMBERS_LIMIT, SPARSE, VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.embeddings import EmbeddingRequest
    from bifrost.providers.base import Built, Target
    from bifrost.wire.http import HttpResponse


class _Embedding(msgspec.Struct):
    values: msgspec.Raw = msgspec.Raw(b"")


class _Embeddings(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding] | None = None
    embedding: _Embedding | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


_TASKS: Mapping[str, str] = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}

_EMBEDDINGS = msgspec.json.Decoder(_Embeddings, strict=False)
_VECTOR: msgspec.json.Decoder[list[float] | None] = msgspec.json.Decoder(list[float] | None, strict=False)
_SHORT = 6
"""Numbers of fewer bytes than this, including the comma, would take many times that in memory (32 bytes each)."""


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request for embeddings. `extra` applies to each input (`taskType`, for example)."""
    warnings = EMBEDDINGS.check(request, target)
    path = model_path(target)
    requests: list[dict[str, Any]] = []
    for part in inputs_of(request):
        body: dict[str, Any] = {"model": path, "content": {"parts": [part]}}
        if request.dimensions is not None:
            body["outputDimensionality"] = request.dimensions
        if request.input_type is not None:
            body["taskType"] = task_of(request.input_type)
        merge_extra(body, request.extra, target)
        requests.append(body)
    return built(f"/v1beta/{path}:batchEmbedContents", {"requests": requests}, warnings, request)


def inputs_of(request: EmbeddingRequest) -> list[dict[str, Any]]:
    """Return the texts and images of a request. Raises `InvalidRequestError` for token numbers, and if it has none."""
    texts = [text for text in request.input if isinstance(text, str)]
    if len(texts) < len(request.input):
        raise InvalidRequestError("input: Gemini takes texts, not lists of token numbers")
    images = [media(ImagePart(url=url), f"images[{place}]", "image") for place, url in enumerate(request.images or ())]
    if not texts and not images:
        raise InvalidRequestError("input: the list is empty; give at least one text")
    return [*({"text": text} for text in texts), *images]


def task_of(input_type: str) -> str:
    """Return Gemini's word for what vectors are for. Its own words may be written in small letters."""
    return _TASKS.get(input_type, input_type.upper())


def check_embeddings(request: EmbeddingRequest, response: EmbeddingResponse) -> None:
    """Check that there is one vector for each text and image. Raises `MalformedResponseError` if not."""
    inputs, vectors = len(request.input) + len(request.images or ()), len(response.data)
    if inputs != vectors:
        raise shapeless(response.raw, f"{vectors} vectors for {inputs} inputs")


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return the vectors, in the order of the inputs.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = json.decode(response.body, _EMBEDDINGS, what="the response", sparse=SPARSE)
    if bytes(wire.error) not in (b"", b"null"):
        raise reported_error(response.body)
    found = [wire.embedding] if wire.embedding is not None else wire.embeddings or []
    if not found:
        raise shapeless(response.body, "no embeddings")
    check_count(len(found), VECTORS_LIMIT, what="vectors")
    vectors = [vector_of(each.values, place, response.body) for place, each in enumerate(found)]
    return EmbeddingResponse(
        data=[Embedding(embedding=vector, index=place) for place, vector in enumerate(vectors)],
        model=target.model,
        usage=usage_of(read_usage(wire.usage_metadata)) or NO_USAGE,
        provider=target.provider,
        raw=response.body,
    )


def vector_of(values: msgspec.Raw, place: int, body: bytes) -> list[float]:
    """Return one vector."""
    what = f"the vector in embeddings[{place}]"
    check_count(bytes(values).count(b",") + 1, NUMBERS_LIMIT, what="numbers in a vector")
    given = json.decode(values, _VECTOR, what=what) if values else None
    if not given:
        raise shapeless(body, f"no vector in embeddings[{place}]")
    vector = read_vector(given, what=what)
    if len(bytes(values)) < _SHORT * len(vector):
        # Such short numbers have few different values; each is stored once.
        known: dict[float, float] = {}
        vector = [known.setdefault(number, number) for number in vector]
    return vector


def shapeless(body: bytes, problem: str) -> MalformedResponseError:
    """Return the error for an answer without the vectors that were requested."""
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")
