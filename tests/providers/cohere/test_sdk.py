"""Cohere's requests and answers, compared with what Cohere's own SDK sends and reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cohere
import httpx
import pytest

from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.rerank import RerankRequest
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from tests.providers.golden_cases import Case, cases, drive

if TYPE_CHECKING:
    from collections.abc import Iterable

CHATS = [case for case in cases() if case.provider.name == "cohere" and case.operation == "chat"]
V2 = [case for case in CHATS if "/v2/" in case.origin["url"]]
TARGET = Target(provider="cohere", model="m")
CODECS: dict[str, Any] = {str(name): codec for name, codec in CATALOG["cohere"].codecs.items()}
MESSAGES: Any = [{"role": "user", "content": "hi"}]
ANSWER = {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant"}}
END = b'data: {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}\n\n'

# The SDK is written for an older pydantic.
pytestmark = pytest.mark.filterwarnings("ignore:.*__fields__:DeprecationWarning")


class Vendor:
    """Cohere's client, with an answer that it always gets."""

    def __init__(self, body: bytes, *, stream: bool = False) -> None:
        self.sent: list[httpx.Request] = []
        self._answer = body, "text/event-stream" if stream else "application/json"
        http = httpx.Client(transport=httpx.MockTransport(self._handle))
        self.client: Any = cohere.ClientV2(api_key="k", httpx_client=http)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        content, kind = self._answer
        return httpx.Response(200, headers={"content-type": kind}, content=content)

    @property
    def request(self) -> tuple[str, Any]:
        (request,) = self.sent
        return request.url.path, json.loads(request.content)


def joined(texts: Iterable[str | None]) -> str:
    return "".join(text or "" for text in texts)


@pytest.mark.parametrize("case", [case for case in V2 if case.has_request], ids=lambda case: case.id)
def test_the_sdk_sends_the_same_chat(case: Case) -> None:
    body = case.http["body"]
    given = {name: value for name, value in body.items() if name != "stream"}
    vendor = Vendor(END if case.is_stream else json.dumps(ANSWER).encode(), stream=case.is_stream)
    if case.is_stream:
        list(vendor.client.chat_stream(**given))
    else:
        vendor.client.chat(**given)
    path, sent = vendor.request
    assert (path, {"stream": case.is_stream, **body}) == (case.http["path"], sent)
    assert vendor.sent[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("case", [case for case in V2 if not case.is_stream], ids=lambda case: case.id)
def test_the_sdk_reads_an_answer_in_the_same_way(case: Case) -> None:
    theirs = Vendor(case.body).client.chat(model="m", messages=MESSAGES)
    ours = CODECS["chat"].parse(case.answer, case.target)
    message = theirs.message
    content = message.content or []
    assert (ours.id, ours.choices[0].native_finish_reason) == (theirs.id, theirs.finish_reason)
    assert ours.text == joined(block.text for block in content if block.type == "text")
    thoughts = (block.thinking for block in content if block.type == "thinking")
    assert (ours.reasoning or "") == joined((message.tool_plan, *thoughts))
    assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []
    ]
    assert [(cited.start, cited.end, cited.text) for cited in ours.message.citations] == [
        (cited.start, cited.end, cited.text) for cited in message.citations or []
    ]
    tokens = theirs.usage.tokens
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == (tokens.input_tokens, tokens.output_tokens)


@pytest.mark.parametrize("case", [case for case in V2 if case.is_stream], ids=lambda case: case.id)
def test_the_sdk_reads_a_stream_in_the_same_way(case: Case) -> None:
    events = list(Vendor(case.body, stream=True).client.chat_stream(model="m", messages=MESSAGES))
    ours = drive(case, [case.body]).accumulator.response()
    deltas: dict[str, list[Any]] = {}
    for event in events:
        deltas.setdefault(event.type, []).append(getattr(getattr(event, "delta", None), "message", None))
    assert ours.text == joined(message.content.text for message in deltas.get("content-delta", ()))
    assert (ours.reasoning or "") == joined(message.tool_plan for message in deltas.get("tool-plan-delta", ()))
    assert joined(call.arguments for call in ours.tool_calls) == joined(
        message.tool_calls.function.arguments for message in deltas.get("tool-call-delta", ())
    )
    assert events[-1].delta.finish_reason == ours.choices[0].native_finish_reason


def test_the_sdk_sends_the_same_rerank() -> None:
    vendor = Vendor(b'{"id": "1", "results": []}')
    vendor.client.rerank(model="m", query="q", documents=["a"], top_n=1, max_tokens_per_doc=5)
    request = RerankRequest(model="m", query="q", documents=["a"], top_n=1, max_tokens_per_doc=5)
    built = CODECS["rerank"].build(request, TARGET).request
    assert (built.path, json.loads(built.body)) == vendor.request


def test_the_sdk_sends_the_same_texts_to_embed() -> None:
    vendor = Vendor(b'{"id": "1", "embeddings": {"float": [[0.5]]}, "response_type": "embeddings_by_type"}')
    vendor.client.embed(
        model="m",
        texts=["a"],
        input_type="search_query",
        embedding_types=["float"],
        truncate="START",
        output_dimension=256,
    )
    request = EmbeddingRequest(model="m", input=["a"], input_type="query", truncate="start", dimensions=256)
    built = CODECS["embeddings"].build(request, TARGET).request
    assert (built.path, json.loads(built.body)) == vendor.request
