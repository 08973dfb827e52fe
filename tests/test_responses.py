"""The Responses API through the public clients: plain, streamed, of a type, with fallbacks, retries and restarts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import anyio
import msgspec
import pytest

from bifrost import (
    BadRequestError,
    InvalidRequestError,
    NotFoundError,
    OutputValidationError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    SyncBifrost,
    Tool,
    UnsupportedError,
    Usage,
    UsageError,
)
from bifrost.operations.responses import (
    FunctionCallOutputItem,
    MessageItem,
    OutputText,
    ParsedResponsesResponse,
    ReasoningItem,
    ResponsesChunk,
    ResponsesReset,
    ResponsesResponse,
)
from bifrost.testing import LoopbackProvider, MockTransport

pytestmark = pytest.mark.anyio

NATIVE = "openai/gpt-5"
MAPPED = "anthropic/claude-sonnet-4-5"
BOTH = pytest.mark.parametrize("model", [NATIVE, MAPPED])
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})


class Trip(msgspec.Struct):
    city: str
    days: int = 1


@BOTH
async def test_a_response_and_its_stream_say_the_same(model: str) -> None:
    mock = MockTransport()
    mock.reply("Hello there, you", reasoning="hm", tool_calls=[("weather", {"city": "Oslo"})], usage=(7, 5)).times(2)
    async with mock.client() as client:
        reply = await client.respond(model, "Hi", tools=[WEATHER], instructions="be nice")
        async with client.stream_respond(model, "Hi", tools=[WEATHER], instructions="be nice") as stream:
            events = [event async for event in stream]
            streamed = await stream.final()
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello there, you", "hm", "tool_calls")
    assert [call.parse_arguments() for call in reply.tool_calls] == [{"city": "Oslo"}]
    assert reply.usage == Usage(input_tokens=7, output_tokens=5)
    assert "".join(event.text for event in events) == reply.text
    assert "".join(event.reasoning for event in events) == "hm"
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    ids = {"id": "", "attempts": [], "request_id": None}
    for item, other in zip(reply.output, streamed.output, strict=True):
        assert type(item) is type(other)
    assert streamed.replace(output=[], **ids) == reply.replace(output=[], raw=b"", **ids)
    assert [attempt.provider for attempt in reply.attempts] == [model.partition("/")[0]]


@BOTH
async def test_the_text_of_a_stream(model: str) -> None:
    mock = MockTransport()
    mock.stream(["a", "b"])
    async with mock.client() as client, client.stream_respond(model, "Hi") as stream:
        assert [text async for text in stream.text_stream] == ["a", "b"]


@BOTH
async def test_an_answer_is_sent_back_with_the_result_of_its_call(model: str) -> None:
    mock = MockTransport()
    mock.reply(tool_calls=[("weather", {"city": "Oslo"})])
    mock.reply("It rains.")
    question = {"role": "user", "content": "Weather in Oslo?"}
    async with mock.client() as client:
        reply = await client.respond(model, question, tools=[WEATHER])
        (call,) = reply.tool_calls
        result = FunctionCallOutputItem(call_id=call.id, output="rain")
        last = await client.respond(model, [question, *reply.output, result], tools=[WEATHER])
    assert last.text == "It rains."
    sent = json.dumps(mock.calls[1].json)
    assert call.id in sent
    assert "rain" in sent
    assert last.warnings == []


async def test_a_fallback_may_be_a_provider_without_the_api() -> None:
    mock = MockTransport()
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("from a chat")
    async with mock.client() as client:
        reply = await client.respond(NATIVE, "Hi", fallbacks=[MAPPED], max_retries=0)
    assert (reply.text, reply.provider, len(reply.attempts)) == ("from a chat", "anthropic", 2)


async def test_reasoning_of_another_key_is_left_out_and_a_session_keeps_its_key() -> None:
    mock = MockTransport()
    mock.reply("a", reasoning="hm").always()
    account = mock.account_with({"openai": ["first", "second"]})
    async with mock.client(account=account) as client:
        first = await client.respond(NATIVE, "Hi", key="first")
        other = await client.respond(NATIVE, [*first.output, {"role": "user", "content": "again"}], key="second")
        same = await client.respond(NATIVE, [*first.output, {"role": "user", "content": "again"}], key="first")
        replies = [await client.respond(NATIVE, "Hi", session="one") for _ in range(8)]
        again = await client.respond(NATIVE, [*replies[0].output, *replies[7].output], session="one")
    assert isinstance(first.output[0], ReasoningItem)
    assert other.warnings == ["input[0]: reasoning of another provider or key was left out: openai cannot read it"]
    assert same.warnings == again.warnings == []
    assert len({reply.attempts[0].key for reply in replies}) == 1


@pytest.mark.parametrize("model", [NATIVE, MAPPED, "mistral/m", "perplexity/m"])
async def test_output_of_a_type(model: str) -> None:
    mock = MockTransport()
    mock.reply('{"city":"Oslo","days":3}').times(2)
    async with mock.client() as client:
        reply = await client.respond(model, "Plan", output=Trip)
        async with client.stream_respond(model, "Plan", output=Trip) as stream:
            streamed = await stream.final()
    assert isinstance(reply, ParsedResponsesResponse)
    assert reply.parsed == streamed.parsed == Trip(city="Oslo", days=3)
    assert reply.text == streamed.text


@pytest.mark.parametrize("model", ["groq/m", "huggingface/m"])
async def test_output_by_a_tool(model: str) -> None:
    mock = MockTransport()
    call = ("final_answer", {"city": "Oslo", "days": 3})
    mock.reply(tool_calls=[call]).times(2)
    async with mock.client() as client:
        reply = await client.respond(model, "Plan", output=Trip)
        opening: Any = client.stream_respond(model, "Plan", output=Trip)
        async with opening as stream:
            partial = [value async for value in stream.partial_stream]
            streamed = await stream.final()
    assert reply.parsed == streamed.parsed == Trip(city="Oslo", days=3)
    assert (reply.tool_calls, reply.finish_reason) == ([], "stop")
    assert partial[-1] == {"city": "Oslo", "days": 3}


async def test_output_that_does_not_fit_is_asked_for_again() -> None:
    mock = MockTransport()
    mock.reply('{"city": 5}')
    mock.reply('{"city": "Oslo"}')
    mock.reply('{"city": 5}')
    async with mock.client() as client:
        reply = await client.respond(NATIVE, "Plan", output=Trip, max_output_retries=1)
        assert reply.parsed == Trip(city="Oslo")
        again = mock.calls[1].json["input"]
        assert [item["role"] for item in again] == ["user", "assistant", "user"]
        assert "expected" in again[2]["content"]
        with pytest.raises(OutputValidationError):
            await client.respond(NATIVE, "Plan", output=Trip)
        with pytest.raises(InvalidRequestError, match="pass output= or the format"):
            await client.respond(NATIVE, "Plan", output=Trip, text={"format": {"type": "text"}})


async def test_a_cut_and_a_refused_output_say_why() -> None:
    mock = MockTransport()
    mock.reply('{"city":', finish_reason="length")
    async with mock.client() as client:
        with pytest.raises(OutputValidationError, match="raise max_output_tokens"):
            await client.respond(NATIVE, "Plan", output=Trip, max_output_retries=2)
    assert len(mock.calls) == 1


@BOTH
async def test_a_stream_that_is_cut_is_interrupted_and_keeps_what_came(model: str) -> None:
    mock = MockTransport()
    mock.stream(["a", "b", "c"]).cut(after_events=2)
    async with mock.client() as client:
        with pytest.raises(StreamInterruptedError) as caught:
            async with client.stream_respond(model, "Hi") as stream:
                _ = [event async for event in stream]
    partial: Any = caught.value.partial
    assert isinstance(partial, ResponsesResponse)
    assert (partial.text, partial.finish_reason) == ("ab", None)


@BOTH
async def test_a_failure_before_the_first_content_is_retried_silently(model: str) -> None:
    mock = MockTransport()
    mock.stream(["a"]).cut(after_events=0)
    mock.stream(["b"])
    async with mock.client() as client, client.stream_respond(model, "Hi") as stream:
        reply = await stream.final()
    assert (reply.text, len(reply.attempts)) == ("b", 2)


@BOTH
async def test_a_restarted_stream_says_so(model: str) -> None:
    mock = MockTransport()
    mock.stream(["a", "b"]).cut(after_events=1)
    mock.stream(["c", "d"])
    async with mock.client() as client, client.stream_respond(model, "Hi", on_interrupt="restart") as stream:
        events = [event async for event in stream]
        reply = await stream.final()
    (reset,) = [event for event in events if isinstance(event, ResponsesReset)]
    assert (reset.partial.text, reset.attempt, reply.text) == ("a", 2, "cd")


async def test_errors_of_the_api() -> None:
    mock = MockTransport()
    mock.fail(400, message="no", code="decimal_below_min_value")
    mock.json({"id": "r", "status": "failed", "output": [], "error": {"code": "server_error", "message": "oops"}})
    failed = {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}}
    mock.raw(200, f"data: {json.dumps(failed)}\n\n", {"content-type": "text/event-stream"})
    async with mock.client(max_retries=0) as client:
        with pytest.raises(BadRequestError) as refused:
            await client.respond(NATIVE, "Hi", temperature=-1.0)
        with pytest.raises(ServerError, match="oops"):
            await client.respond(NATIVE, "Hi")
        with pytest.raises(RateLimitError, match="slow down"):
            async with client.stream_respond(NATIVE, "Hi") as stream:
                await stream.final()
    assert refused.value.code == "decimal_below_min_value"


async def test_a_stream_that_was_answered_with_a_document() -> None:
    mock = MockTransport()
    content = [{"type": "output_text", "text": "hello there"}]
    mock.json({"id": "r", "output": [{"type": "message", "role": "assistant", "content": content}]})
    async with mock.client() as client, client.stream_respond(NATIVE, "Hi") as stream:
        events = [event async for event in stream]
        reply = await stream.final()
    assert [event.text for event in events if event.text] == ["hello there"]
    assert reply.text == "hello there"


async def test_the_first_event_of_a_background_run_comes_at_once() -> None:
    response = {"id": "resp_1", "status": "queued", "background": True, "output": []}
    mock = MockTransport()
    first = f"data: {json.dumps({'type': 'response.created', 'response': response, 'sequence_number': 0})}\n\n"
    mock.raw(200, first, {"content-type": "text/event-stream"}).stall(after_bytes=len(first))
    async with mock.client() as client, client.stream_respond(NATIVE, "Hi", background=True) as stream:
        event: ResponsesChunk = await stream.__anext__()
    assert event.response is not None
    assert (event.response.id, event.response.finish_reason) == ("resp_1", None)


async def test_what_cannot_be_sent_is_refused_before() -> None:
    mock = MockTransport()
    number: Any = 5
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="stores no responses"):
            await client.respond(MAPPED, "Hi", previous_response_id="resp_1")
        with pytest.raises(InvalidRequestError, match="input: expected text"):
            await client.respond(NATIVE, number)
    assert mock.calls == []


async def test_a_stored_response_is_retrieved_resumed_cancelled_and_deleted() -> None:
    run = {"id": "resp_1", "status": "in_progress", "background": True, "output": []}
    failed = {"id": "resp_1", "status": "failed", "output": [], "error": {"code": "server_error", "message": "oops"}}
    events = [
        {"type": "response.output_text.delta", "sequence_number": 8, "output_index": 0, "delta": "late"},
        {"type": "response.completed", "sequence_number": 9, "response": {**run, "status": "completed"}},
    ]
    mock = MockTransport()
    mock.json(run)
    mock.json(failed)
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    mock.raw(200, body, {"content-type": "text/event-stream"})
    mock.json({**run, "status": "cancelled"})
    mock.json({"id": "resp_1", "object": "response.deleted", "deleted": True})
    mock.fail(404, message="no such response")
    async with mock.client() as client:
        stored = client.responses
        first = await stored.retrieve("resp_1", provider="openai", include=["a", "b"])
        second = await stored.retrieve("resp_1", provider="openai")
        async with stored.stream("resp_1", provider="openai", starting_after=7) as stream:
            resumed = await stream.final()
        cancelled = await stored.cancel("resp_1", provider="openai")
        deleted = await stored.delete("resp_1", provider="openai")
        with pytest.raises(NotFoundError):
            await stored.retrieve("resp_2", provider="openai")
        with pytest.raises(InvalidRequestError, match="id: expected the id of a response"):
            await stored.retrieve("..", provider="openai")
        with pytest.raises(UnsupportedError, match="stored_responses"):
            await stored.retrieve("resp_1", provider="anthropic")
        with pytest.raises(UsageError, match=r"client\.respond"):
            _ = stored.create  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    assert not first.is_ended
    assert second.error is not None
    assert (second.error.code, second.is_ended) == ("server_error", True)
    assert (resumed.text, resumed.status) == ("late", "completed")
    assert (cancelled.status, deleted.status, deleted.id) == ("cancelled", "deleted", "resp_1")
    assert [(call.http.method, call.http.path) for call in mock.calls] == [
        ("GET", "/v1/responses/resp_1?include%5B%5D=a&include%5B%5D=b"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=7"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_2"),
    ]


def run(status: str) -> dict[str, Any]:
    return {"id": "resp_1", "status": status, "background": True, "output": []}


async def test_a_background_run_is_awaited() -> None:
    mock = MockTransport()
    mock.json(run("queued"))
    mock.json(run("in_progress"))
    mock.json(run("completed"))
    async with mock.client() as client:
        reply = await client.responses.wait("resp_1", provider="openai", interval=0.001)
    assert reply.status == "completed"
    assert [call.http.method for call in mock.calls] == ["GET"] * 3


async def test_a_background_run_is_cancelled_when_its_caller_leaves() -> None:
    mock = MockTransport()
    mock.json(run("in_progress")).always()
    async with mock.client() as client:
        with anyio.move_on_after(0.05) as scope:
            await client.responses.wait("resp_1", provider="openai", interval=60.0)
    assert scope.cancelled_caught
    assert (mock.calls[-1].http.method, mock.calls[-1].http.path) == ("POST", "/v1/responses/resp_1/cancel")


async def test_a_run_that_cannot_be_retrieved_is_not_cancelled() -> None:
    mock = MockTransport()
    mock.fail(404, message="no such response")
    async with mock.client() as client:
        with pytest.raises(NotFoundError):
            await client.responses.wait("resp_1", provider="openai")
    assert len(mock.calls) == 1


async def test_the_items_of_an_input_are_read_page_by_page() -> None:
    first = {"object": "list", "data": [{"type": "message", "role": "user", "content": "a"}], "has_more": True}
    mock = MockTransport()
    mock.json({**first, "last_id": "msg_1"})
    mock.json({"object": "list", "data": [{"type": "web_search_call"}], "has_more": False, "last_id": None})
    async with mock.client() as client:
        items = await client.responses.input_items("resp_1", provider="openai", include=["a"])
    assert [type(item).__name__ for item in items] == ["MessageItem", "OpaqueItem"]
    assert [call.http.path.partition("?")[2] for call in mock.calls] == [
        "include%5B%5D=a&order=asc&limit=100",
        "include%5B%5D=a&order=asc&limit=100&after=msg_1",
    ]


async def test_a_conversation_is_compacted() -> None:
    compacted = {"type": "compaction", "id": "cmp_1", "encrypted_content": "e"}
    mock = MockTransport()
    mock.json({"id": "resp_1", "object": "response.compaction", "output": [compacted], "usage": {"input_tokens": 3}})
    mock.reply("a")
    async with mock.client() as client:
        shorter = await client.responses.compact(NATIVE, "a long story", instructions="be brief")
        await client.respond(NATIVE, shorter.output)
        with pytest.raises(InvalidRequestError, match="temperature"):
            await client.responses.compact(NATIVE, "a", temperature=1.0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        with pytest.raises(UnsupportedError, match="compactions"):
            await client.responses.compact(MAPPED, "a")
    assert mock.calls[0].http.path == "/v1/responses/compact"
    assert mock.calls[0].json == {"model": "gpt-5", "input": "a long story", "instructions": "be brief"}
    assert shorter.usage == Usage(input_tokens=3)
    assert mock.calls[1].json["input"] == [compacted]


def test_stored_responses_without_await() -> None:
    mock = MockTransport()
    mock.json({"id": "resp_1", "status": "queued", "output": []}).times(2)
    mock.json({"id": "resp_1", "deleted": True})
    event = {"type": "response.completed", "response": {"id": "resp_1", "output": []}}
    mock.raw(200, f"data: {json.dumps(event)}\n\n", {"content-type": "text/event-stream"})
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.responses.retrieve("resp_1", provider="openai").status == "queued"
        assert client.responses.cancel("resp_1", provider="openai").id == "resp_1"
        assert client.responses.delete("resp_1", provider="openai").status == "deleted"
        with client.responses.stream("resp_1", provider="openai") as stream:
            assert stream.final().status == "completed"
        mock.json(run("completed"))
        mock.json({"data": [], "has_more": False})
        mock.json({"output": []})
        assert client.responses.wait("resp_1", provider="openai").status == "completed"
        assert client.responses.input_items("resp_1", provider="openai") == []
        assert client.responses.compact(NATIVE, "a").output == []


async def test_over_a_real_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.on(provider="openai").reply("over a socket").times(2)
        reply = await client.respond(NATIVE, "Hi")
        async with client.stream_respond(NATIVE, "Hi") as stream:
            streamed = await stream.final()
        server.on(provider="anthropic").reply("over a chat").times(2)
        mapped = await client.respond(MAPPED, "Hi")
        async with client.stream_respond(MAPPED, "Hi") as stream:
            last = await stream.final()
        unscripted = await client.respond(NATIVE, "Hi")
    assert reply.text == streamed.text == "over a socket"
    assert mapped.text == last.text == "over a chat"
    assert unscripted.text.startswith("Hello!")


async def test_a_stream_that_may_restart_is_not_read_as_text() -> None:
    mock = MockTransport()
    mock.stream(["a"])
    async with mock.client() as client:
        with pytest.raises(UsageError, match="may begin anew"):
            async with client.stream_respond(NATIVE, "Hi", on_interrupt="restart") as stream:
                _ = stream.text_stream


def test_without_await() -> None:
    mock = MockTransport()
    mock.reply("Hello there").times(2)
    with SyncBifrost(mock.account, transport=mock) as client:
        reply = client.respond(NATIVE, [MessageItem(role="user", content="Hi")])
        with client.stream_respond(MAPPED, "Hi") as stream:
            texts = list(stream.text_stream)
    assert reply.text == "".join(texts) == "Hello there"
    (item,) = reply.output
    assert isinstance(item, MessageItem)
    assert item.content == [OutputText(text="Hello there", annotations=[], logprobs=[])]


def test_a_chat_imports_nothing_of_it() -> None:
    script = """
import sys
from bifrost import Bifrost
from bifrost.providers.catalog import CATALOG
CATALOG["openai"].codecs["chat"]
print([name for name in sys.modules if ".responses" in name and name != "bifrost.providers.responses"])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
