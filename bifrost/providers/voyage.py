"""Voyage AI: embeddings of texts and images, and rerank. https://docs.voyageai.com/reference/embeddings-api."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import InvalidRequestError
from bifrost.operations.embeddings import EMBEDDINGS, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.rerank import RERANK, RerankRequest, RerankResponse, check_rerank
from bifrost.providers.base import Built, Codec, Provider
from bifrost.providers.documents import text_of_document
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import (
    REQUIRED,
    FieldTable,
    in_some_places,
    left_out,
    left_out_saying,
    local,
    mapped,
    refused,
    sent,
)
from bifrost.providers.openai.embeddings import check_embeddings, parse_embeddings
from bifrost.providers.openai.errors import parse_error
from bifrost.providers.reranked import parse_reranked
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target

_EMBEDDING_FIELDS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": in_some_places(refused("embeds texts only, and no lists of token numbers; give the texts")),
        "images": mapped(),
        "dimensions": mapped(name="output_dimension"),
        "encoding_format": mapped("{field} was left out: output_dtype says what is sent", neutral=("float", "base64")),
        "output_dtype": sent("output_dtype"),
        "input_type": sent("input_type"),
        "input_type=classification": left_out_saying("{field} was left out: {provider} knows query and document"),
        "input_type=clustering": left_out_saying("{field} was left out: {provider} knows query and document"),
        "truncate": mapped(),
        "truncate=start": left_out_saying("truncate 'start' was left out: {provider} cuts inputs at their end"),
        "user": left_out(),
        "extra": sent(),
    },
)

_RERANK_FIELDS = FieldTable(
    RerankRequest,
    {
        "model": REQUIRED,
        "query": REQUIRED,
        "documents": mapped(),
        "top_n": mapped(name="top_k"),
        "max_tokens_per_doc": left_out(),
        "return_documents": local("bifrost adds the documents of the request to the results"),
        "extra": sent(),
    },
)

_PURPOSES = ("classification", "clustering")
_MULTIMODAL = "voyage-multimodal"
"""The beginning of the models that embed texts and images in one space, at an endpoint of their own."""


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request for embeddings. Images go to the multimodal endpoint, with the texts beside them."""
    warnings = _EMBEDDING_FIELDS.check(request, target)
    if not (request.input or request.images):
        raise InvalidRequestError("input: the list is empty; give at least one text")
    if any(not isinstance(text, str) for text in request.input):
        raise _EMBEDDING_FIELDS.refusal("input", target)
    multimodal = bool(request.images) or target.model.startswith(_MULTIMODAL)
    body: dict[str, Any] = {"model": target.model}
    if multimodal:
        texts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in request.input]
        body["inputs"] = [{"content": [part]} for part in [*texts, *map(_image, request.images or ())]]
    else:
        body["input"] = request.input
    for name, wire in _EMBEDDING_FIELDS.plain:
        value = getattr(request, name)
        if value is not None and value not in _PURPOSES:
            body[wire] = value
    if request.truncate in {"none", "end"}:
        body["truncation"] = request.truncate == "end"
    if request.output_dtype in {None, "float"} and request.encoding_format != "float":
        body["output_encoding" if multimodal else "encoding_format"] = "base64"
    return _post("/multimodalembeddings" if multimodal else "/embeddings", body, request, target, warnings)


def build_rerank(request: RerankRequest, target: Target) -> Built:
    """Return the HTTP request for a rerank. A document with fields is sent as lines of names and values."""
    warnings = _RERANK_FIELDS.check(request, target)
    body: dict[str, Any] = {
        "model": target.model,
        "query": request.query,
        "documents": [text_of_document(document) for document in request.documents],
    }
    if request.top_n is not None:
        body["top_k"] = request.top_n
    return _post("/rerank", body, request, target, warnings)


def _image(address: str) -> dict[str, Any]:
    kind = "image_base64" if address.startswith("data:") else "image_url"
    return {"type": kind, kind: json.long_text(address)}


def _post(
    path: str, body: dict[str, Any], request: EmbeddingRequest | RerankRequest, target: Target, warnings: list[str]
) -> Built:
    merge_extra(body, request.extra, target)
    headers = {"content-type": "application/json"}
    return Built(
        request=HttpRequest(method="POST", path=path, headers=headers, body=json.encode(body), source=request),
        warnings=warnings,
    )


VOYAGE = Provider(
    name="voyage",
    base_url="https://api.voyageai.com/v1",
    codecs={
        "embeddings": Codec[EmbeddingRequest, EmbeddingResponse](
            operation=EMBEDDINGS,
            build=build_embeddings,
            parse=parse_embeddings,
            check=check_embeddings,
            fields=_EMBEDDING_FIELDS,
        ),
        "rerank": Codec[RerankRequest, RerankResponse](
            operation=RERANK, build=build_rerank, parse=parse_reranked, check=check_rerank, fields=_RERANK_FIELDS
        ),
    },
    parse_error=parse_error,
    key_variables=("VOYAGE_API_KEY",),
    base_url_variable="VOYAGE_BASE_URL",
    docs="https://docs.voyageai.com/reference/embeddings-api",
)
