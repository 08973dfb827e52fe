"""Cohere's embeddings: https://docs.cohere.com/reference/embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.operations.embeddings import EMBEDDINGS, Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.cohere.fields import EMBEDDINGS as FIELDS
from bifrost.providers.cohere.wire import Meta, decode, shapeless, usage_of, warnings_of
from bifrost.providers.extra import merge_extra
from bifrost.providers.openai.embeddings import check_embeddings, vector_of
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Embedded(msgspec.Struct):
    embeddings: dict[str, list[msgspec.Raw] | None] | list[msgspec.Raw] | None = None
    """The vectors by type; v1 has a list if it returns only numbers."""
    meta: Meta | None = None


_EMBEDDED = msgspec.json.Decoder(_Embedded, strict=False)
_NEEDED = frozenset(["embeddings"])
_INPUT_TYPES: Mapping[str, str] = {"query": "search_query", "document": "search_document"}
_DEFAULT_TYPE = "search_document"
"""Sent if the caller does not say what the vectors are for, because Cohere requires it."""


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request. Texts beside images are sent as inputs of content. Raises `InvalidRequestError`."""
    warnings = FIELDS.check(request, target)
    if not (request.input or request.images):
        raise InvalidRequestError("input: the list is empty; give at least one text")
    body: dict[str, Any] = {"model": target.model, **_inputs(request, target)}
    body["embedding_types"] = [_number_type(request, target, warnings)]
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = request.truncate.upper()
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/v2/embed",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def _inputs(request: EmbeddingRequest, target: Target) -> dict[str, Any]:
    texts = [text for text in request.input if isinstance(text, str)]
    if len(texts) < len(request.input):
        raise FIELDS.refusal("input", target)
    images = [json.long_text(url) for url in request.images or ()]
    asked = request.input_type
    if not images:
        return {"texts": texts, "input_type": _INPUT_TYPES.get(asked or "", asked or _DEFAULT_TYPE)}
    if not texts:
        return {"images": images, "input_type": _INPUT_TYPES.get(asked or "", asked or "image")}
    parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return {
        "inputs": [{"content": [part]} for part in parts],
        "input_type": _INPUT_TYPES.get(asked or "", asked or _DEFAULT_TYPE),
    }


def _number_type(request: EmbeddingRequest, target: Target, warnings: list[str]) -> str:
    if request.output_dtype is None:
        return request.encoding_format or "float"
    if request.encoding_format == "base64":
        warnings.append(FIELDS.warning("encoding_format", target))
    return request.output_dtype


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return the vectors, in the order of the inputs. Of several types, floating-point numbers are preferred.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode(response.body, _EMBEDDED, _Embedded, needed=_NEEDED)
    found = wire.embeddings
    if isinstance(found, dict):
        found = found.get("float") or next((vectors for vectors in found.values() if vectors), None)
    if not found:
        raise reported_error(response.body) or shapeless(response.body, "no vectors")
    check_count(len(found), VECTORS_LIMIT, what="vectors")
    data = [
        Embedding(embedding=vector_of(vector, response.body, what=f"embeddings[{place}]"), index=place)
        for place, vector in enumerate(found)
    ]
    return EmbeddingResponse(
        data=data,
        model=target.model,
        usage=usage_of(wire.meta),
        provider=target.provider,
        warnings=warnings_of(wire.meta),
        raw=response.body,
    )


CODEC = Codec[EmbeddingRequest, EmbeddingResponse](
    operation=EMBEDDINGS, build=build_embeddings, parse=parse_embeddings, check=check_embeddings, fields=FIELDS
)
"""The codec of embeddings."""
