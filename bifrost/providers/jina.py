"""Jina AI: embeddings of texts and images, and rerank. https://api.jina.ai/redoc."""

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
    from collections.abc import Mapping

    from bifrost.providers.base import Target

_NO_WHOLE_NUMBERS = refused("packs bits (binary, ubinary) and makes no vectors of whole numbers")

_EMBEDDING_FIELDS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": in_some_places(refused("embeds texts only, and no lists of token numbers; give the texts")),
        "images": mapped(),
        "dimensions": sent("dimensions"),
        "encoding_format": mapped(neutral=("float", "base64")),
        "output_dtype": mapped(neutral=("float",)),
        "output_dtype=int8": _NO_WHOLE_NUMBERS,
        "output_dtype=uint8": _NO_WHOLE_NUMBERS,
        "input_type": mapped(),
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
        "top_n": sent("top_n"),
        "max_tokens_per_doc": left_out(),
        "return_documents": local("bifrost adds the documents of the request to the results"),
        "extra": sent(),
    },
)

_TASKS: Mapping[str, str] = {
    "query": "retrieval.query",
    "document": "retrieval.passage",
    "clustering": "separation",
}
"""Jina's tasks, by what vectors are for; other words are sent as they are (`classification`, `text-matching`)."""


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request for embeddings. With images, each text is an object as well."""
    warnings = _EMBEDDING_FIELDS.check(request, target)
    if not (request.input or request.images):
        raise InvalidRequestError("input: the list is empty; give at least one text")
    if any(not isinstance(text, str) for text in request.input):
        raise _EMBEDDING_FIELDS.refusal("input", target)
    body: dict[str, Any] = {"model": target.model, "input": request.input}
    if request.images:
        texts: list[dict[str, Any]] = [{"text": text} for text in request.input]
        body["input"] = [*texts, *({"image": _image(address)} for address in request.images)]
    if request.input_type is not None:
        body["task"] = _TASKS.get(request.input_type, request.input_type)
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.truncate in {"none", "end"}:
        body["truncate"] = request.truncate == "end"
    if request.output_dtype in {None, "float"}:
        body["embedding_type"] = request.encoding_format or "base64"
    else:
        body["embedding_type"] = request.output_dtype
    return _post("/embeddings", body, request, target, warnings)


def build_rerank(request: RerankRequest, target: Target) -> Built:
    """Return the HTTP request for a rerank. The documents are not sent back."""
    warnings = _RERANK_FIELDS.check(request, target)
    body: dict[str, Any] = {
        "model": target.model,
        "query": request.query,
        "documents": [text_of_document(document) for document in request.documents],
        "return_documents": False,
    }
    if request.top_n is not None:
        body["top_n"] = request.top_n
    return _post("/rerank", body, request, target, warnings)


def _image(address: str) -> str | json.LongText:
    """Return an address, or the base64 text of a `data:` URL."""
    return json.long_text(address.partition(",")[2] if address.startswith("data:") else address)


def _post(
    path: str, body: dict[str, Any], request: EmbeddingRequest | RerankRequest, target: Target, warnings: list[str]
) -> Built:
    merge_extra(body, request.extra, target)
    headers = {"content-type": "application/json"}
    return Built(
        request=HttpRequest(method="POST", path=path, headers=headers, body=json.encode(body), source=request),
        warnings=warnings,
    )


JINA = Provider(
    name="jina",
    base_url="https://api.jina.ai/v1",
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
    key_variables=("JINA_API_KEY",),
    base_url_variable="JINA_BASE_URL",
    docs="https://api.jina.ai/redoc",
)
