"""Parses a rerank in the form that Voyage and Jina use: scores by position, in `data` or `results`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.rerank import RerankResponse, RerankResult
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.openai.answer import decode_answer, text_of, usage_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Result(msgspec.Struct):
    index: int | None = None
    relevance_score: float | None = None


class _Reranked(msgspec.Struct):
    data: list[_Result] | None = None
    results: list[_Result] | None = None
    id: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_RERANKED = msgspec.json.Decoder(_Reranked, strict=False)


def parse_reranked(response: HttpResponse, target: Target) -> RerankResponse:
    """Return the results, in the order in which they are sent: the most relevant first.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _RERANKED, _Reranked)
    listed = wire.data if wire.results is None else wire.results
    if wire.error or listed is None:
        raise reported_error(response.body, always=bool(wire.error)) or _shapeless(response.body, "no results")
    check_count(len(listed), VECTORS_LIMIT, what="results")
    return RerankResponse(
        results=[_result(each, place, response.body) for place, each in enumerate(listed)],
        id=text_of(wire.id),
        model=text_of(wire.model) or target.model,
        usage=usage_of(wire.usage) or NO_USAGE,
        provider=target.provider,
        raw=response.body,
    )


def _result(wire: _Result, place: int, body: bytes) -> RerankResult:
    if wire.index is None or wire.relevance_score is None:
        raise _shapeless(body, f"no index or score in results[{place}]")
    return RerankResult(index=wire.index, relevance_score=wire.relevance_score)


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")
