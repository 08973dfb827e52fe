"""Rerank through the public clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost import SyncBifrost
from bifrost.errors import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations import rerank
from bifrost.operations.rerank import (
    RerankRequest,
    RerankResponse,
    RerankResult,
    rerank_request,
    with_documents,
)
from bifrost.providers.documents import text_of_document
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

MODEL = "cohere/rerank-v3.5"
DOCUMENTS = ["Bern", {"title": "Oslo", "year": 2}, "Paris"]
RESULTS = [{"index": 2, "relevance_score": 0.98}, {"index": 1, "relevance_score": 0.25}]
BODY = {"id": "r-1", "results": RESULTS, "meta": {"billed_units": {"search_units": 1.0}}}


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


def test_these_names_of_the_module_are_public() -> None:
    assert sorted(rerank.__all__) == [
        "RERANK",
        "RerankDocument",
        "RerankRequest",
        "RerankResponse",
        "RerankResult",
        "check_rerank",
        "rerank_request",
        "with_documents",
    ]


@pytest.mark.anyio
async def test_results_name_the_documents(mock: MockTransport) -> None:
    mock.on(endpoint="rerank", model="rerank-v3.5").json(BODY)
    async with mock.client() as client:
        reply = await client.rerank(MODEL, "capital of France", DOCUMENTS, top_n=2)
    assert reply.order == [2, 1]
    assert [result.relevance_score for result in reply.results] == [0.98, 0.25]
    assert [result.document for result in reply.results] == [None, None]
    assert (reply.id, reply.provider, reply.model, reply.search_units) == ("r-1", "cohere", "rerank-v3.5", 1)
    assert [attempt.category for attempt in reply.attempts] == [None]
    (call,) = assert_called(mock, times=1, endpoint="rerank", provider="cohere")
    assert call.json == {
        "model": "rerank-v3.5",
        "query": "capital of France",
        "documents": ["Bern", "title: Oslo\nyear: 2\n", "Paris"],
        "top_n": 2,
    }


@pytest.mark.anyio
async def test_documents_are_added_from_the_request_if_asked_for(mock: MockTransport) -> None:
    mock.json(BODY)
    async with mock.client() as client:
        reply = await client.rerank(MODEL, "capital of France", DOCUMENTS, return_documents=True)
    assert [result.document for result in reply.results] == ["Paris", {"title": "Oslo", "year": 2}]
    assert "return_documents" not in mock.calls[0].json
    assert reply.warnings == []


@pytest.mark.anyio
async def test_a_rerank_is_retried_as_every_call(mock: MockTransport) -> None:
    mock.fail(503).then.json(BODY)
    async with mock.client() as client:
        with no_waits():
            reply = await client.rerank(MODEL, "capital of France", DOCUMENTS)
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]


@pytest.mark.anyio
async def test_over_real_sockets() -> None:
    async with LoopbackProvider() as server:
        server.on(endpoint="rerank").json(BODY)
        async with server.client(server.account({"cohere": ["first"]})) as client:
            reply = await client.rerank(MODEL, "capital of France", DOCUMENTS, return_documents=True)
    assert reply.results[0].document == "Paris"
    assert server.calls[0].http.path == "/v2/rerank"


def test_without_await(mock: MockTransport) -> None:
    mock.json(BODY)
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.rerank(MODEL, "capital of France", DOCUMENTS).order == [2, 1]


@pytest.mark.anyio
async def test_a_provider_without_rerank_is_refused(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="anthropic has no rerank endpoint here; it has: chat, models"):
            await client.rerank("anthropic/claude-haiku-4-5", "hi", ["a"])


@pytest.mark.parametrize("indexes", [[3], [-1], [0, 1, 0]])
@pytest.mark.anyio
async def test_results_of_other_documents_are_refused(indexes: list[int], mock: MockTransport) -> None:
    mock.json({"results": [{"index": index, "relevance_score": 0.5} for index in indexes]})
    async with mock.client() as client:
        with pytest.raises(MalformedResponseError, match="of 3 documents"):
            await client.rerank(MODEL, "hi", DOCUMENTS, max_retries=0)


@pytest.mark.parametrize(
    ("query", "documents", "options", "message"),
    [
        ("q", [], {}, "documents: there is nothing to order"),
        ("q", [""], {}, "documents: there is nothing to order"),
        ("q", ["a", {}], {}, "documents: there is nothing to order"),
        ("q", "a", {}, "documents: expected a list of texts or dicts, got str"),
        ("q", b"a", {}, "documents: expected a list of texts or dicts, got bytes"),
        ("q", 5, {}, "documents: expected a list of texts or dicts, got int"),
        ("q", [5], {}, r"documents\[0\]: expected"),
        ("q", [{"a": float("nan")}], {}, r"documents\[0\]\.a"),
        ("", ["a"], {}, "query: it is empty"),
        (5, ["a"], {}, "query: expected `str`, got `int`"),
        ("q", ["a"], {"top_n": 0}, "top_n: at least one result is returned, not 0"),
        ("q", ["a"], {"top_n": "2"}, "top_n: expected"),
        ("q", ["a"], {"return_documents": 2}, "return_documents: expected `bool`"),
    ],
)
@pytest.mark.anyio
async def test_what_cannot_be_ordered_is_refused(
    query: Any, documents: Any, options: dict[str, Any], message: str, mock: MockTransport
) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=message):
            await client.rerank(MODEL, query, documents, **options)
    assert not mock.calls


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("a", "a"),
        ({"text": "a"}, "a"),
        ({"text": 5}, "text: 5\n"),
        ({"title": "a", "text": "b"}, "title: a\ntext: b\n"),
        ({"tags": ["a", "b"], "none": None}, 'tags: ["a","b"]\nnone: null\n'),
    ],
)
def test_a_document_as_text(document: Any, text: str) -> None:
    assert text_of_document(document) == text


def test_a_response_shows_its_results() -> None:
    response = RerankResponse(
        results=[RerankResult(index=1, relevance_score=0.5), RerankResult(index=0, relevance_score=0.25)],
        model="m",
        provider="p",
    )
    request = rerank_request("m", "q", ["first " * 20, "second"], return_documents=True)
    shown = with_documents(response, request)
    assert repr(shown) == "RerankResponse(p/m: 2 results)"
    assert "second" in shown._repr_html_()
    assert "..." in shown._repr_html_()
    assert shown.to_dict()["results"][0] == {"index": 1, "relevance_score": 0.5, "document": "second"}
    assert response.to_dict()["results"][0] == {"index": 1, "relevance_score": 0.5}
    assert msgspec.json.decode(msgspec.json.encode(shown), type=RerankResponse) == shown
    assert with_documents(response, RerankRequest(model="m", query="q", documents=["a", "b"])) is response
