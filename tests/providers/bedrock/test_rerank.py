"""Rerank and token counts of Bedrock: what is sent, and what is read."""

from __future__ import annotations

import json

import pytest

from bifrost import MalformedResponseError
from bifrost.operations.chat.content import TextPart
from bifrost.operations.chat.messages import Message
from bifrost.operations.rerank import RerankRequest
from bifrost.operations.token_count import TokenCountRequest
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.bedrock import BEDROCK
from bifrost.testing import MockTransport
from bifrost.wire.http import Headers, HttpResponse

COHERE = Target(provider="bedrock", model="cohere.rerank-v3-5:0")
AMAZON = Target(provider="bedrock", model="amazon.rerank-v1:0")
REQUEST = RerankRequest(model="m", query="q", documents=["a", {"text": "b"}, {"title": "c", "n": 1}], top_n=2)


def answer(body: str, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status=200, headers=Headers.of(*headers), body=body.encode())


def test_rerank_is_sent_in_the_models_format() -> None:
    documents = ["a", "b", "title: c\nn: 1\n"]
    for target, more in ((COHERE, {"api_version": 2}), (AMAZON, {})):
        built = BEDROCK.codecs["rerank"].build(REQUEST, target)
        assert json.loads(built.request.body) == {"query": "q", "documents": documents, "top_n": 2, **more}
        assert built.request.path == f"/model/{target.model.replace(':', '%3A')}/invoke"
        assert built.warnings == []


def test_rerank_is_read_with_the_usage_of_the_header() -> None:
    body = '{"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0.0, "relevance_score": 0}], "x": {}}'
    read = BEDROCK.codecs["rerank"].parse(answer(body, ("x-amzn-bedrock-input-token-count", "7")), AMAZON)
    assert [(each.index, each.relevance_score) for each in read.results] == [(1, 0.9), (0, 0.0)]
    assert read.usage == Usage(input_tokens=7)
    read = BEDROCK.codecs["rerank"].parse(answer('{"results": []}', ("x-amzn-bedrock-input-token-count", "x")), AMAZON)
    assert (read.results, read.usage) == ([], Usage())


def test_an_answer_without_results_is_no_answer() -> None:
    for body in ("{}", '{"results": [{"index": 1}]}', '{"results": [{"relevance_score": 1}]}', "[]"):
        with pytest.raises(MalformedResponseError):
            BEDROCK.codecs["rerank"].parse(answer(body), AMAZON)
        with pytest.raises(MalformedResponseError):
            BEDROCK.codecs["count_tokens"].parse(answer(body), AMAZON)
    for operation in ("rerank", "count_tokens"):
        with pytest.raises(ReportedError, match="slow"):
            BEDROCK.codecs[operation].parse(answer('{"message": "slow"}'), AMAZON)


def test_tokens_are_counted_of_the_model_and_not_of_a_profile() -> None:
    request = TokenCountRequest(
        model="m",
        messages=[Message(role="user", content=[TextPart(text="hi")])],
        extra={"bedrock": {"guardrailConfig": {"guardrailIdentifier": "a"}, "toolConfig": {"tools": []}}},
    )
    for model, path in (
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet-4-20250514-v1%3A0"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet-4-20250514-v1%3A0"),
        ("us.amazon-model", "us.amazon-model"),
        ("amazon.nova.us.x", "amazon.nova.us.x"),
    ):
        built = BEDROCK.codecs["count_tokens"].build(request, Target(provider="bedrock", model=model))
        assert built.request.path == f"/model/{path}/count-tokens"
        chat = json.loads(built.request.body)["input"]["converse"]
        assert chat == {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "toolConfig": {"tools": []}}


@pytest.mark.anyio
async def test_the_client_reranks_and_counts() -> None:
    mock = MockTransport()
    mock.on(endpoint="rerank").json({"results": [{"index": 1, "relevance_score": 0.5}]})
    mock.on(endpoint="count_tokens").json({"inputTokens": 23})
    async with mock.client() as client:
        found = await client.rerank("bedrock/amazon.rerank-v1:0", "q", ["a", "b"], top_n=1, return_documents=True)
        assert [(each.index, each.document) for each in found.results] == [(1, "b")]
        counted = await client.count_tokens("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "hi")
        assert counted.input_tokens == 23
