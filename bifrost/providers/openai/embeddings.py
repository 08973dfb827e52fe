"""OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings/create."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.base import Built
from bifrost.providers.extra import merge_extra
from bifrost.providers.openai.answer import PLAIN, decode_answer, text_of, usage_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import NUMBERS_LIMIT, SPARSE, VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest
from bifrost.wire.vectors import read_vector

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.providers.openai.quirks import Quirks
    from bifrost.wire.http import HttpResponse


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw(b"")
    index: int | None = None


class _Embeddings(msgspec.Struct):
    data: list[_Embedding] | None = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_EMBEDDINGS = msgspec.json.Decoder(_Embeddings, strict=False)
_VECTOR: msgspec.json.Decoder[str | list[float] | None] = msgspec.json.Decoder(str | list[float] | None, strict=False)
_SHORT = 6
"""Numbers of fewer bytes than this, including the comma, would take many times that in memory (32 bytes each)."""


def build_embeddings(request: EmbeddingRequest, target: Target, *, quirks: Quirks = PLAIN) -> Built:
    """Return the HTTP request for embeddings.

    Base64 is requested unless the caller chooses otherwise or the server does not support it: it is exact, and a third
    of the size of numbers in JSON.
    """
    warnings = quirks.embeddings.check(request, target)
    if not request.input:
        raise InvalidRequestError("input: the list is empty; give at least one text")
    body: dict[str, Any] = {"model": target.model, "input": request.input}
    for name, wire in quirks.embeddings.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if not quirks.vectors_are_numbers:
        body["encoding_format"] = request.encoding_format or "base64"
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/embeddings",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def check_embeddings(request: EmbeddingRequest, response: EmbeddingResponse) -> None:
    """Check that there is one vector for each text or image. Raises `MalformedResponseError` if not."""
    texts, vectors = len(request.input) + len(request.images or ()), len(response.data)
    numbers = [item.index for item in response.data]
    if texts != vectors:
        problem = f"{vectors} vectors for {texts} texts"
    elif numbers != list(range(texts)):
        problem = f"vectors numbered {numbers[:5]} where 0 to {texts - 1} were asked for"
    else:
        return
    raise _shapeless(response.raw, problem)


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return vectors, sent as base64 or as numbers, in the order of the inputs.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _EMBEDDINGS, _Embeddings, sparse=SPARSE)
    if wire.error or not wire.data:
        raise reported_error(response.body) or _shapeless(response.body, "no data")
    check_count(len(wire.data), VECTORS_LIMIT, what="vectors")
    # Without indexes, or with the same one for all, they are in the order of the texts.
    numbered = len({item.index for item in wire.data}) > 1 or len(wire.data) == 1
    data = [_embedding(item, place, response.body, numbered=numbered) for place, item in enumerate(wire.data)]
    data.sort(key=lambda item: item.index)
    return EmbeddingResponse(
        data=data,
        model=text_of(wire.model) or target.model,
        usage=usage_of(wire.usage) or NO_USAGE,
        provider=target.provider,
        raw=response.body,
    )


def _embedding(item: _Embedding, place: int, body: bytes, *, numbered: bool) -> Embedding:
    vector = vector_of(item.embedding, body, what=f"data[{place}]")
    return Embedding(embedding=vector, index=item.index if numbered and item.index is not None else place)


def vector_of(raw: msgspec.Raw, body: bytes, *, what: str) -> list[float]:
    """Return the numbers of a vector, sent as base64 or as numbers. `what` says where it is in the body.

    Raises `MalformedResponseError` if there is none.
    """
    check_count(bytes(raw).count(b",") + 1, NUMBERS_LIMIT, what="numbers in a vector")
    place = f"the vector in {what}"
    given = json.decode(raw, _VECTOR, what=place) if raw else None
    if not given:
        raise _shapeless(body, f"no vector in {what}")
    vector = read_vector(given, what=place)
    if len(raw) < _SHORT * len(vector):
        # Such short numbers have few different values; each is stored once.
        known: dict[float, float] = {}
        vector = [known.setdefault(number, number) for number in vector]
    return vector


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")
