"""Voyage and Jina: embeddings and rerank, built and parsed, and through the public client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import BadRequestError, InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.embeddings import EmbeddingRequest, embedding_request
from bifrost.operations.rerank import rerank_request
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.reranked import parse_reranked
from bifrost.testing import MockTransport
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.vectors import encode_vector

PICTURE = "https://a.example/cat.png"
INLINE = "data:image/png;base64,AA=="


def embed(model: str, texts: Any, **options: Any) -> tuple[str, dict[str, Any], list[str]]:
    provider, _, name = model.partition("/")
    request = embedding_request(name, texts, **options)
    built = CATALOG[provider].codecs["embeddings"].build(request, Target(provider=provider, model=name))
    return built.request.path, json.loads(bytes(built.request.body)), built.warnings


def rerank(provider: str, documents: Any, **options: Any) -> tuple[str, dict[str, Any], list[str]]:
    request = rerank_request("m", "q", documents, **options)
    built = CATALOG[provider].codecs["rerank"].build(request, Target(provider=provider, model="m"))
    return built.request.path, json.loads(bytes(built.request.body)), built.warnings


TEXT = {"model": "m", "input": ["a"]}
PARTS = [
    {"content": [{"type": "text", "text": "a"}]},
    {"content": [{"type": "image_url", "image_url": PICTURE}]},
    {"content": [{"type": "image_base64", "image_base64": INLINE}]},
]

# What is asked for at Voyage, and at Jina.
SENT: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {"encoding_format": "base64"}, {"embedding_type": "base64"}),
    ({"encoding_format": "float"}, {}, {"embedding_type": "float"}),
    (
        {"input_type": "query", "dimensions": 8, "truncate": "none"},
        {"input_type": "query", "output_dimension": 8, "truncation": False, "encoding_format": "base64"},
        {"task": "retrieval.query", "dimensions": 8, "truncate": False, "embedding_type": "base64"},
    ),
    (
        {"input_type": "document", "truncate": "end"},
        {"input_type": "document", "truncation": True, "encoding_format": "base64"},
        {"task": "retrieval.passage", "truncate": True, "embedding_type": "base64"},
    ),
    ({"output_dtype": "ubinary"}, {"output_dtype": "ubinary"}, {"embedding_type": "ubinary"}),
    (
        {"extra": {"voyage": {"new": 1}, "jina": {"late_chunking": True}}},
        {"encoding_format": "base64", "new": 1},
        {"embedding_type": "base64", "late_chunking": True},
    ),
]


def test_options_have_the_names_of_the_vendor() -> None:
    for options, voyage, jina in SENT:
        assert embed("voyage/m", "a", **options) == ("/embeddings", {**TEXT, **voyage}, [])
        assert embed("jina/m", "a", **options) == ("/embeddings", {**TEXT, **jina}, [])


def test_images_are_embedded_beside_texts() -> None:
    path, body, _ = embed("voyage/voyage-multimodal-3", ["a"], images=[PICTURE, INLINE])
    assert (path, body["inputs"], body["output_encoding"]) == ("/multimodalembeddings", PARTS, "base64")
    assert embed("voyage/voyage-multimodal-3", "a")[1]["inputs"] == PARTS[:1]
    path, body, _ = embed("jina/jina-clip-v2", ["a"], images=[PICTURE, INLINE])
    assert (path, body["input"]) == ("/embeddings", [{"text": "a"}, {"image": PICTURE}, {"image": "AA=="}])


LEFT_OUT: list[tuple[str, dict[str, Any], str]] = [
    ("voyage", {"input_type": "clustering"}, "input_type was left out: voyage knows query and document"),
    ("voyage", {"truncate": "start"}, "truncate 'start' was left out: voyage cuts inputs at their end"),
    ("jina", {"truncate": "start"}, "truncate 'start' was left out: jina cuts inputs at their end"),
    ("jina", {"user": "u"}, "user was left out: jina has no such option"),
]


def test_what_is_left_out_is_told() -> None:
    for provider, options, warning in LEFT_OUT:
        assert embed(f"{provider}/m", "a", **options)[1:] == (embed(f"{provider}/m", "a")[1], [warning])
    assert embed("jina/m", "a", input_type="clustering")[1]["task"] == "separation"


def test_what_cannot_be_embedded_is_refused() -> None:
    for provider in ("voyage", "jina"):
        with pytest.raises(UnsupportedError, match="no lists of token numbers"):
            embed(f"{provider}/m", [[1, 2]])
        with pytest.raises(InvalidRequestError, match="the list is empty"):
            CATALOG[provider].codecs["embeddings"].build(
                EmbeddingRequest(model="m"), Target(provider=provider, model="m")
            )
    with pytest.raises(UnsupportedError, match="jina packs bits"):
        embed("jina/m", "a", output_dtype="int8")


def test_documents_are_sent_as_texts() -> None:
    given = ["a", {"text": "b"}, {"name": "c"}]
    documents = ["a", "b", "name: c\n"]
    base = {"model": "m", "query": "q", "documents": documents}
    assert rerank("voyage", given, top_n=2) == ("/rerank", {**base, "top_k": 2}, [])
    assert rerank("jina", given, top_n=2) == ("/rerank", {**base, "top_n": 2, "return_documents": False}, [])
    assert rerank("voyage", given, max_tokens_per_doc=5)[2] == [
        "max_tokens_per_doc was left out: voyage has no such option"
    ]


# --- responses


def reranked(body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = HttpResponse(status=200, headers=Headers.of(), body=data)
    return parse_reranked(response, Target(provider="jina", model="m"))


def test_a_rerank_is_read_in_both_forms() -> None:
    listed = [{"index": 1, "relevance_score": 0.5, "document": {"text": "x"}}, {"index": 0.0, "relevance_score": 0}]
    for name in ("data", "results"):
        reply = reranked({name: listed, "model": "served", "usage": {"total_tokens": 7}})
        assert (reply.order, reply.model, reply.usage.input_tokens) == ([1, 0], "served", 7)
    assert reranked({"results": []}).order == []


def test_a_rerank_without_results_is_refused() -> None:
    for body in ({}, {"data": None}, {"data": [{"index": 0}]}, {"data": [{"relevance_score": 1}]}, [], b"no json"):
        with pytest.raises(MalformedResponseError):
            reranked(body)
    with pytest.raises(ReportedError, match="busy"):
        reranked({"error": "busy"})


@pytest.mark.anyio
async def test_through_the_client() -> None:
    mock = MockTransport()
    account = mock.account_with({"voyage": ["main"], "jina": ["main"]})
    vector = {"data": [{"index": 0, "embedding": encode_vector([0.5, 1.0])}], "usage": {"total_tokens": 3}}
    mock.on(endpoint="embeddings").json(vector).times(2)
    mock.on(endpoint="rerank").json({"results": [{"index": 0, "relevance_score": 0.5}]}).times(2)
    async with mock.client(account) as client:
        for provider in ("voyage", "jina"):
            reply = await client.embed(f"{provider}/m", "a", input_type="query")
            assert (reply.vectors, reply.usage.input_tokens) == ([[0.5, 1.0]], 3)
            ranked = await client.rerank(f"{provider}/m", "q", ["a"], return_documents=True)
            assert ranked.results[0].document == "a"
    assert {call.key for call in mock.calls} == {"main"}


@pytest.mark.anyio
async def test_an_error_is_the_vendors() -> None:
    mock = MockTransport()
    mock.json({"detail": "Model x is not supported."}, status=400)
    async with mock.client(mock.account_with({"voyage": ["main"]})) as client:
        with pytest.raises(BadRequestError, match="Model x is not supported"):
            await client.embed("voyage/x", "a")
