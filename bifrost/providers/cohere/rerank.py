"""Cohere's rerank: https://docs.cohere.com/reference/rerank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.operations.rerank import (
    RERANK,
    RerankRequest,
    RerankResponse,
    RerankResult,
    check_rerank,
)
from bifrost.providers.base import Built, Codec
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.cohere.fields import RERANK as FIELDS
from bifrost.providers.cohere.wire import Meta, count_of, decode, shapeless, text_of, usage_of, warnings_of
from bifrost.providers.documents import text_of_document
from bifrost.providers.extra import merge_extra
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Reranked(msgspec.Struct):
    id: Any = None
    results: list[_Result] | None = None
    meta: Meta | None = None


_RERANKED = msgspec.json.Decoder(_Reranked, strict=False)
_NEEDED = frozenset(["results", "index", "relevance_score"])


def build_rerank(request: RerankRequest, target: Target) -> Built:
    """Return the HTTP request. A document with fields is sent as lines of names and values, as Cohere recommends."""
    warnings = FIELDS.check(request, target)
    body: dict[str, Any] = {
        "model": target.model,
        "query": request.query,
        "documents": [text_of_document(document) for document in request.documents],
    }
    for name, wire in FIELDS.plain:
        if getattr(request, name) is not None:
            body[wire] = getattr(request, name)
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/v2/rerank",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def parse_rerank(response: HttpResponse, target: Target) -> RerankResponse:
    """Return the results.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode(response.body, _RERANKED, _Reranked, needed=_NEEDED)
    if wire.results is None:
        raise reported_error(response.body) or shapeless(response.body, "no results")
    meta = wire.meta
    check_count(len(wire.results), VECTORS_LIMIT, what="results")
    return RerankResponse(
        results=[RerankResult(index=each.index, relevance_score=each.relevance_score) for each in wire.results],
        id=text_of(wire.id),
        model=target.model,
        usage=usage_of(meta),
        search_units=None if meta is None or meta.billed_units is None else count_of(meta.billed_units.search_units),
        provider=target.provider,
        warnings=warnings_of(meta),
        raw=response.body,
    )


CODEC = Codec[RerankRequest, RerankResponse](
    operation=RERANK, build=build_rerank, parse=parse_rerank, check=check_rerank, fields=FIELDS
)
"""The codec of rerank."""
