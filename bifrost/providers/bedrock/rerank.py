"""Rerank with the models of Amazon and Cohere.

https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.rerank import RerankRequest, RerankResponse, RerankResult
from bifrost.providers.base import Built
from bifrost.providers.bedrock.errors import reported_error
from bifrost.providers.bedrock.fields import RERANK
from bifrost.providers.bedrock.invoke import invoke_request, invoked_usage
from bifrost.providers.documents import text_of_document
from bifrost.providers.extra import merge_extra
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_COHERE_VERSION = 2
"""The version of Cohere's format, which its models require."""


class _Result(msgspec.Struct):
    index: int | None = None
    relevance_score: float | None = None


class _Reranked(msgspec.Struct):
    results: list[_Result] | None = None


_RERANKED = msgspec.json.Decoder(_Reranked, strict=False)


def build_rerank(request: RerankRequest, target: Target) -> Built:
    """Return the HTTP request. A document with fields is sent as lines of names and values."""
    warnings = RERANK.check(request, target)
    body: dict[str, Any] = {
        "query": request.query,
        "documents": [text_of_document(document) for document in request.documents],
    }
    if request.top_n is not None:
        body["top_n"] = request.top_n
    if "cohere" in target.model.lower():
        body["api_version"] = _COHERE_VERSION
    merge_extra(body, request.extra, target)
    return Built(request=invoke_request(body, target, source=request), warnings=warnings)


def parse_rerank(response: HttpResponse, target: Target) -> RerankResponse:
    """Return the results.

    Raises `ReportedError` for an exception with a success status, and `MalformedResponseError` for other content.
    """
    found = json.decode(response.body, _RERANKED, what="the response").results
    if found is None:
        raise reported_error(response.body) or _shapeless(response.body, "no results")
    check_count(len(found), VECTORS_LIMIT, what="results")
    results = [
        RerankResult(index=each.index, relevance_score=each.relevance_score)
        for each in found
        if each.index is not None and each.relevance_score is not None
    ]
    if len(results) < len(found):
        raise _shapeless(response.body, "a result without its index or its score")
    return RerankResponse(
        results=results,
        model=target.model,
        usage=invoked_usage(response.headers),
        provider=target.provider,
        raw=response.body,
    )


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")
