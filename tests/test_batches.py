"""Batches of chats through the public clients, over a mock and over a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import ChatRequest, InvalidRequestError, Message, SyncBifrost, UnsupportedError
from bifrost.operations.batches import BatchError
from bifrost.testing import LoopbackProvider, MockTransport
from tests.test_files import form_in

pytestmark = pytest.mark.anyio

MODEL = "openai/gpt-4o-mini"
ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
EXPIRED = {"code": "batch_expired", "message": "This request could not be executed in time."}
OUTPUT: list[Any] = [
    {"id": "1", "custom_id": "a", "response": {"status_code": 200, "request_id": "r-1", "body": ANSWER}, "error": None},
    {"custom_id": "b", "response": {"status_code": 200.0, "body": {"error": {"message": "odd", "code": "c"}}}},
    7,
]
FAILURES: list[Any] = [
    {"custom_id": "c", "response": {"status_code": 400, "body": {"error": {"message": "no", "type": "bad"}}}},
    {"custom_id": "d", "response": None, "error": EXPIRED},
]


def lines(items: list[Any]) -> bytes:
    return "\n\r\n".join(json.dumps(item) for item in items).encode()


def batch_at(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "batch-1", "object": "batch", "status": status, **fields}


async def test_a_batch_is_created_awaited_and_read_with_the_key_that_created_it() -> None:
    mock = MockTransport()
    mock.json({"id": "file-1", "object": "file"})
    mock.json(batch_at("validating", request_counts={"total": 0, "completed": 0, "failed": 0}))
    mock.json(batch_at("in_progress"))
    ended = batch_at(
        "expired",
        output_file_id="file-2",
        error_file_id="file-3",
        request_counts={"total": 4.0, "completed": 2, "failed": 2},
        errors=None,
        metadata={"job": "1", "n": 2},
    )
    mock.json(ended).times(2)
    mock.raw(200, lines(OUTPUT), {"content-type": "application/octet-stream"})
    mock.raw(200, lines(FAILURES), {"content-type": "application/octet-stream"})
    requests: dict[str, Any] = {
        "a": "Hi",
        "b": ChatRequest(model=MODEL, messages=[Message(role="user", content="two\nlines")], temperature=0.5),
        "c": {"messages": [{"role": "user", "content": "Hi"}], "top_k": 5},
    }
    async with mock.client(account=mock.account_with({"openai": ["first", "second", "third"]})) as client:
        batch = await client.batches.create(MODEL, requests, metadata={"job": "1"})
        batch = await client.batches.wait(batch, interval=0.001)
        results = await client.batches.results(batch)
    assert (batch.batch.status, batch.batch.total, batch.batch.metadata) == ("expired", 4, {"job": "1"})
    first, second, unreadable, refused, expired = results
    assert first.custom_id == "a"
    assert first.response is not None
    assert (first.response.text, first.response.request_id) == ("Hello", "r-1")
    assert (first.response.usage.input_tokens, first.response.finish_reason) == (3, "stop")
    assert second.error is not None
    assert (second.error.message, second.error.code) == ("odd", "c")
    assert (unreadable.custom_id, unreadable.response) == ("", None)
    assert refused.error == BatchError(message="no", code="bad", status=400)
    assert expired.error == BatchError(message=EXPIRED["message"], code="batch_expired")
    assert len({call.key for call in mock.calls}) == 1
    assert [(call.http.method, call.http.path) for call in mock.calls] == [
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        *[("GET", "/v1/batches/batch-1")] * 3,
        ("GET", "/v1/files/file-2/content"),
        ("GET", "/v1/files/file-3/content"),
    ]
    wire = mock.calls[0].http
    purpose, file = form_in(wire.body, wire.headers["content-type"])
    assert purpose[1] == b"batch"
    sent = [json.loads(line) for line in file[1].splitlines()]
    assert [line["custom_id"] for line in sent] == ["a", "b", "c"]
    assert {(line["method"], line["url"], line["body"]["model"]) for line in sent} == {
        ("POST", "/v1/chat/completions", "gpt-4o-mini")
    }
    assert sent[1]["body"]["messages"] == [{"role": "user", "content": "two\nlines"}]
    assert sent[1]["body"]["temperature"] == 0.5
    assert mock.calls[1].json == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"job": "1"},
    }


async def test_what_cannot_be_sent_or_read() -> None:
    mock = MockTransport()
    mock.json(batch_at("failed", errors={"data": [{"message": "line 1 is wrong"}, None]})).times(2)
    mock.json(batch_at("in_progress"))
    async with mock.client() as client:
        failed = await client.batches.retrieve("batch-1", provider="openai")
        assert failed.batch.errors == ["line 1 is wrong"]
        assert await client.batches.results(failed) == []
        with pytest.raises(InvalidRequestError, match="no results yet"):
            await client.batches.results("batch-1", provider="openai")
        with pytest.raises(InvalidRequestError, match="give provider="):
            await client.batches.cancel("batch-1")
        with pytest.raises(InvalidRequestError, match="at least one"):
            await client.batches.create(MODEL, [])
        with pytest.raises(InvalidRequestError, match="one model"):
            await client.batches.create(MODEL, [{"model": "openai/o3", "messages": [{"role": "user", "content": "a"}]}])
        with pytest.raises(InvalidRequestError, match="expected a list"):
            await client.batches.create(MODEL, "Hi")
        with pytest.raises(UnsupportedError, match="batch"):
            await client.batches.create("perplexity/sonar", ["Hi"])
    assert len(mock.calls) == 3


async def test_a_batch_over_a_real_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.json({"id": "file-1", "object": "file"})
        server.json(batch_at("validating"))
        server.json(batch_at("completed", output_file_id="file-2"))
        server.raw(200, lines(OUTPUT[:1]), {"content-type": "application/octet-stream"})
        batch = await client.batches.create(MODEL, ["Hi"])
        (result,) = await client.batches.results(batch)
    assert result.response is not None
    assert result.response.text == "Hello"


def test_batches_without_await() -> None:
    mock = MockTransport()
    mock.json({"id": "file-1"})
    mock.json(batch_at("validating"))
    mock.json(batch_at("cancelling"))
    mock.json(batch_at("cancelled"))
    mock.json(batch_at("cancelled", output_file_id="file-2")).times(2)
    mock.raw(200, lines(OUTPUT[:1]), {"content-type": "text/plain"})
    mock.json({"object": "list", "data": [batch_at("cancelled"), None], "has_more": True})
    with SyncBifrost(mock.account, transport=mock) as client:
        batch = client.batches.create(MODEL, ["Hi"])
        assert client.batches.cancel(batch).batch.status == "cancelling"
        assert client.batches.wait(batch, interval=0.001).is_ended
        assert client.batches.retrieve(batch).id == "batch-1"
        assert [result.custom_id for result in client.batches.results(batch)] == ["a"]
        page = client.batches.list(provider="openai", limit=1)
    assert ([batch.id for batch in page.data], page.next) == (["batch-1"], "batch-1")
