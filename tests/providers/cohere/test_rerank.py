"""Cohere's rerank, on what servers vary in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.rerank import RerankRequest, RerankResult
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.cohere.rerank import build_rerank, parse_rerank
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases

TARGET = Target(provider="cohere", model="rerank-v3.5")
RECORDED = [case for case in cases() if case.provider.name == "cohere" and case.operation == "rerank"]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_recorded_answers_are_read_as_they_say(case: Case) -> None:
    wire, ours = json.loads(case.body), parse_rerank(case.answer, case.target)
    assert [(each.index, each.relevance_score) for each in ours.results] == [
        (each["index"], each["relevance_score"]) for each in wire["results"]
    ]
    assert (ours.id, ours.search_units) == (wire["id"], wire["meta"]["billed_units"]["search_units"])
    assert ours.model == case.origin["model"]


def test_what_only_cohere_has_is_sent_as_it_is() -> None:
    request = RerankRequest(model="m", query="q", documents=["a"], extra={"cohere": {"priority": 1}, "jina": {"b": 2}})
    body = json.loads(build_rerank(request, TARGET).request.body)
    assert body == {"model": "rerank-v3.5", "query": "q", "documents": ["a"], "priority": 1}


def test_odd_members_are_ignored() -> None:
    body = {
        "id": 5,
        "results": [{"index": 1.0, "relevance_score": 1, "document": {"text": "b"}}],
        "meta": {
            "api_version": "2",
            "billed_units": {"search_units": 2.0, "input_tokens": -1},
            "tokens": {"input_tokens": 7.0, "output_tokens": None},
            "cached_tokens": "many",
            "warnings": ["model is old", 5],
        },
        "new": [{}],
    }
    response = parse_rerank(answer(body), TARGET)
    assert response.results == [RerankResult(index=1, relevance_score=1.0)]
    assert (response.id, response.search_units, response.usage) == ("", 2, Usage(input_tokens=7))
    assert response.warnings == ["model is old"]


@pytest.mark.parametrize("meta", [None, 5, [], {}, {"billed_units": None}, {"billed_units": 5}, {"tokens": []}])
def test_without_a_count_there_is_none(meta: Any) -> None:
    response = parse_rerank(answer({"results": [], "meta": meta}), TARGET)
    assert (response.results, response.search_units, bool(response.usage)) == ([], None, False)


@pytest.mark.parametrize(
    "body", [{}, {"results": None}, {"results": 5}, {"results": [{"index": 1}]}, [], b"no json", b""]
)
def test_an_answer_without_results_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_rerank(answer(body), TARGET)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="too many requests"):
        parse_rerank(answer({"message": "too many requests", "id": "1"}), TARGET)
