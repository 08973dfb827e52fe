"""Cohere's answers and streams, on what servers vary in: plain and streamed, of v2 and of v1."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bifrost import SyncBifrost
from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.content import OpaquePart, ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.cohere import CHAT
from bifrost.testing import LoopbackProvider, MockTransport
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse

TARGET = Target(provider="cohere", model="command-a-03-2025", stream=True)
MODEL = "cohere/command-a-03-2025"
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
PLAN = {"start": 0, "end": 1, "text": "I", "sources": [], "type": "PLAN"}
DONE = b"[DONE]"


def parse(body: Any) -> ChatResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = CHAT.parse(HttpResponse(status=200, headers=Headers.of(), body=data), TARGET)
    return msgspec.structs.replace(response, raw=b"")


def stream(*events: Any) -> ChatResponse:
    assert CHAT.decoder is not None
    decoder = CHAT.decoder(TARGET)
    grown = ChatAccumulator(provider="cohere", model="command-a-03-2025")
    for event in events:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        for chunk in decoder.feed(SseEvent(event=None, data=data)):
            grown.add(chunk)
    return grown.response()


def message(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", **fields}}


def content(kind: str, index: int, **block: Any) -> dict[str, Any]:
    return {"type": f"content-{kind}", "index": index, "delta": {"message": {"content": block}}}


def call(kind: str, index: Any, **fields: Any) -> dict[str, Any]:
    return {"type": f"tool-call-{kind}", "index": index, "delta": {"message": {"tool_calls": fields}}}


# --- complete answers


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"content": "as text"}, [TextPart(text="as text")]),
        ({"content": None, "tool_calls": None, "tool_plan": None, "citations": None}, []),
        ({"content": [], "tool_calls": [], "tool_plan": "", "citations": []}, []),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "new", "data": {}}, {"type": "text", "text": None}]},
            [TextPart(text="a")],
        ),
        (
            {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]},
            [ToolCall(id="a", name="f", arguments='{"x":1}')],
        ),
        ({"tool_calls": [{"id": "a", "type": "function"}, {}]}, [ToolCall(id="a", name="")]),
        ({"tool_calls": 5, "content": "a"}, None),
        ({"citations": 5, "content": "a"}, [TextPart(text="a")]),
        ({"content": [{"type": "text", "text": 5}]}, None),
    ],
)
def test_a_message_in_other_forms(fields: dict[str, Any], parts: list[Any] | None) -> None:
    if parts is None:
        with pytest.raises(MalformedResponseError):
            parse(message(**fields))
    else:
        assert parse(message(**fields)).message.parts == parts


def test_calls_without_an_id_or_with_the_same_stay_apart() -> None:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": "a", "function": function}, {"id": "a", "function": function}, {"function": function}]
    found = parse(message(tool_calls=calls)).tool_calls
    assert found[0].id == "a"
    assert len({each.id for each in found}) == 3


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", "stop"),
        ("complete", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR", "error"),
        ("TIMEOUT", "error"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR_LIMIT", "length"),
        ("SOMETHING_NEW", "unknown"),
        (None, None),
    ],
)
def test_finish_reasons(native: str | None, reason: str | None) -> None:
    (choice,) = parse({**message(content="a"), "finish_reason": native}).choices
    assert (choice.finish_reason, choice.native_finish_reason) == (reason, native)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            {"tokens": {"input_tokens": 5.0, "output_tokens": 2}, "cached_tokens": 3.0},
            Usage(input_tokens=5, output_tokens=2, cache_read_tokens=3),
        ),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}}, Usage(input_tokens=5, output_tokens=2)),
        ({"tokens": {"input_tokens": 5}, "cached_tokens": 9}, Usage(input_tokens=5, cache_read_tokens=5)),
        ({"tokens": {"input_tokens": "many", "output_tokens": -1}, "cached_tokens": None}, Usage()),
        ({}, Usage()),
        (5, Usage()),
        (None, Usage()),
    ],
)
def test_usage(usage: Any, counts: Usage) -> None:
    assert parse({**message(content="a"), "usage": usage}).usage == counts


def test_citations_belong_to_their_block() -> None:
    document = {"type": "document", "id": "doc:1", "document": {"title": "T", "url": "https://a.example"}}
    tool = {"type": "tool", "id": "f_1:0", "tool_output": {"a": "b"}}
    cited = [
        {"start": 0, "end": 1, "text": "a", "sources": [tool, document], "content_index": 1},
        {"start": 0, "end": 2, "text": "bb", "sources": None, "content_index": 2, "type": "TEXT_CONTENT"},
        {"start": -1, "end": "x", "text": "", "sources": [5]},
        PLAN,
    ]
    blocks = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "bb"},
    ]
    thought, first, second, plan = parse(message(content=blocks, citations=cited)).message.parts
    assert isinstance(thought, ReasoningPart)
    assert isinstance(first, TextPart)
    assert isinstance(second, TextPart)
    assert plan == OpaquePart(provider="cohere", kind="citation", data=PLAN)
    assert [(each.title, each.url, each.document_index, each.native) for each in first.citations or ()] == [
        ("T", "https://a.example", 1, cited[0]),
        (None, None, None, cited[2]),
    ]
    assert [(each.start, each.end, each.text) for each in second.citations or ()] == [(0, 2, "bb")]


def test_log_probabilities() -> None:
    items = [
        {"text": "Hi", "token_ids": [1], "logprobs": [-0.5]},
        {"text": " there", "token_ids": [2, 3], "logprobs": [-0.25, -0.5]},
        {"text": "!", "token_ids": [4], "logprobs": []},
        {"text": "?", "token_ids": [5]},
    ]
    (choice,) = parse({**message(content="Hi there!?"), "logprobs": items}).choices
    assert choice.logprobs is not None
    assert [(each.token, each.logprob) for each in choice.logprobs.content or ()] == [("Hi", -0.5), (" there", -0.75)]


@pytest.mark.parametrize(
    "body", [{}, [], b"", b"no json", {"message": None}, {"id": "1", "message": {}}, {"message": {"content": 5}}]
)
def test_a_body_without_a_message_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse(body)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="busy"):
        parse({"id": "1", "message": "all our servers are busy"})


# --- streams


def test_pieces_of_all_kinds_make_the_plain_answer() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm, well."}, {"type": "text", "text": "Sky."}]
    calls = [
        {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "g_2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    cited = {"start": 0, "end": 3, "text": "Sky", "sources": [], "content_index": 1}
    plain = {
        "id": "1",
        "finish_reason": "TOOL_CALL",
        "message": {"content": blocks, "tool_calls": calls, "tool_plan": "Ask f.", "citations": [cited, PLAN]},
        "usage": {"tokens": {"input_tokens": 5, "output_tokens": 2}},
        "logprobs": [{"text": "Sky.", "logprobs": [-0.5]}],
    }
    events: list[Any] = [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "Ask "}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "f."}}},
        {"type": "debug", "prompt": "<BOS>"},
        content("start", 0, type="thinking", thinking=""),
        content("delta", 0, thinking="Hm, "),
        content("delta", 0, thinking="well."),
        {"type": "content-end", "index": 0},
        content("start", 1, type="text", text="S"),
        {**content("delta", 1, text="ky."), "logprobs": {"text": "Sky.", "logprobs": [-0.5]}},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": cited}}},
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 1},
        call("start", 0, **calls[0] | {"function": {"name": "f", "arguments": ""}}),
        call("delta", 0, function={"arguments": '{"a"'}),
        call("start", 1, **calls[1]),
        call("delta", 0, function={"arguments": ":1}"}),
        {"type": "tool-call-end", "index": 0},
        {"type": "something-new", "delta": {"message": {"content": []}}},
        {"type": "citation-start", "index": 1, "delta": {"message": {"citations": PLAN}}},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": plain["usage"]}},
        DONE,
    ]
    assert stream(*events) == parse(plain)


def test_events_in_other_forms() -> None:
    found = stream(
        {"type": "message-start"},
        {"type": "content-delta", "index": None, "delta": {"message": {"content": [{"text": "a"}]}}},
        {"type": "content-delta", "delta": {"message": {"content": "b"}}},
        {"type": "content-delta", "delta": None},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": [{"id": "x"}, {"id": "x"}]}}},
        {"type": "citation-start", "delta": {"message": {"citations": [{"start": 0}, PLAN]}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": 5}},
    )
    assert found.text == "ab"
    assert [each.id == "x" for each in found.tool_calls] == [True, False]
    assert len(found.message.citations) == 1
    assert not found.usage


@pytest.mark.parametrize(
    ("events", "ending"),
    [
        ([], "cut"),
        ([content("delta", 0, text="a")], "cut"),
        ([content("delta", 0, text="a"), END], "unmarked"),
        ([content("delta", 0, text="a"), END, DONE], "complete"),
        ([END, DONE, b"no json"], "complete"),
    ],
)
def test_how_a_stream_ends(events: list[Any], ending: str) -> None:
    assert CHAT.decoder is not None
    decoder = CHAT.decoder(TARGET)
    for event in events:
        decoder.feed(SseEvent(event=None, data=event if isinstance(event, bytes) else json.dumps(event).encode()))
    assert decoder.finish() == ending


@pytest.mark.parametrize(
    "events",
    [
        [b"no json"],
        [content("delta", 0, text="a"), DONE],
        [{"type": "message-end", "delta": {}}],
        [{"type": "content-delta", "delta": {"message": {"content": {"text": 5}}}}],
        [{"event_type": "stream-end"}],
        [{"event_type": "stream-end", "response": {"text": 5}}],
    ],
)
def test_a_stream_that_cannot_be_read_is_refused(events: list[Any]) -> None:
    with pytest.raises(MalformedResponseError):
        stream(*events)


FAILED = {"finish_reason": "ERROR", "error": "an invalid tool generation", "error_type": "INVALID_TOOL_GENERATION"}


def test_an_error_before_any_content_is_an_error() -> None:
    with pytest.raises(ReportedError, match="an invalid tool generation") as caught:
        stream({"type": "message-start", "id": "1"}, {"type": "message-end", "delta": FAILED})
    assert (caught.value.body.code, caught.value.body.meaning) == ("INVALID_TOOL_GENERATION", "failed_generation")
    with pytest.raises(ReportedError, match="too many"):
        stream({"message": "too many requests", "id": "1"})


def test_an_error_after_content_ends_the_answer_and_says_why() -> None:
    found = stream(content("delta", 0, text="a"), {"type": "message-end", "delta": FAILED})
    assert (found.text, found.finish_reason) == ("a", "error")
    assert [part.data["error"] for part in found.message.opaque] == ["an invalid tool generation"]


def test_many_parts_are_refused() -> None:
    with pytest.raises(ResponseTooLargeError):
        stream(*(content("start", index, type="text", text="") for index in range(10_000)))
    with pytest.raises(ResponseTooLargeError):
        stream(*(call("start", index, id=str(index)) for index in range(10_000)))


# --- the older API

V1_CALLS = [{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {}}]
V1_CITED = {"start": 0, "end": 1, "text": "a", "document_ids": ["web_0", "web_1"]}
V1_DOCUMENTS = [{"id": "web_1", "title": "T", "url": "https://a.example", "snippet": "s"}]
V1 = {
    "response_id": "r",
    "generation_id": "g",
    "text": "a plan",
    "citations": [V1_CITED],
    "documents": V1_DOCUMENTS,
    "tool_calls": V1_CALLS,
    "finish_reason": "COMPLETE",
    "meta": {"tokens": {"input_tokens": 5, "output_tokens": 2}, "warnings": ["model is old"]},
}


def check_v1(found: ChatResponse) -> None:
    assert (found.id, found.text, found.finish_reason) == ("g", "a plan", "tool_calls")
    assert [(each.name, json.loads(each.arguments)) for each in found.tool_calls] == [("f", {"a": 1}), ("g", {})]
    (cited,) = found.message.citations
    assert (cited.title, cited.url, cited.start, cited.text) == ("T", "https://a.example", 0, "a")
    assert found.usage == Usage(input_tokens=5, output_tokens=2)


def test_an_answer_of_v1() -> None:
    check_v1(parse(V1))
    assert parse(V1).warnings == ["model is old"]
    assert parse({"text": "", "generation_id": "g", "finish_reason": "ERROR_TOXIC"}).finish_reason == "content_filter"


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_of_v1(whole: bool) -> None:
    pieces = [
        {"event_type": "tool-calls-chunk", "text": "an"},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "f"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": '{"a":'}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": "1}"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "name": "g"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "parameters": "{}"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 1, "text": "x"}},
    ]
    events = [
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "search-queries-generation", "search_queries": []},
        {"event_type": "search-results", "documents": V1_DOCUMENTS},
        {"event_type": "text-generation", "text": "a plan"},
        {"event_type": "citation-generation", "citations": [V1_CITED]},
        *([] if whole else pieces[1:]),
        {"event_type": "tool-calls-generation", "tool_calls": V1_CALLS},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": V1},
    ]
    check_v1(stream(*events))


def test_the_last_event_of_v1_is_enough() -> None:
    found = stream(
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": V1},
        {"event_type": "text-generation", "text": "more"},
    )
    assert (found.text, [each.name for each in found.tool_calls]) == ("a plan", ["f", "g"])


# --- through the clients


def sse(*events: Any) -> bytes:
    return b"".join(
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n" for event in events
    )


LINES = b"\n".join(
    json.dumps(event).encode()
    for event in (
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "text-generation", "text": "Hello"},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {**V1, "text": "Hello"}},
    )
)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/event-stream", sse({"type": "message-start", "id": "1"}, content("delta", 0, text="Hello"), END, DONE)),
        ("application/stream+json", b"\n \n" + LINES + b"\n"),
        ("application/json", json.dumps(message(content="Hello")).encode()),
        ("application/json", json.dumps({**V1, "text": "Hello", "tool_calls": None}).encode()),
    ],
    ids=["events", "lines of v1", "a document", "a document of v1"],
)
@pytest.mark.anyio
async def test_streams_over_real_sockets(kind: str, body: bytes) -> None:
    async with LoopbackProvider() as server:
        server.raw(200, body, {"content-type": kind}).always()
        account = server.account({"cohere": ["first"]})
        async with server.client(account) as client, client.stream_chat(MODEL, "hi") as answer:
            final = await answer.final()
    assert (final.text, final.provider, final.warnings) == ("Hello", "cohere", [])
    assert server.calls[0].http.path == "/v2/chat"


@pytest.mark.anyio
async def test_an_event_stream_in_answer_to_a_plain_call_is_read() -> None:
    body = sse({"type": "message-start", "id": "1"}, content("delta", 0, text="Hello"), END, DONE)
    async with LoopbackProvider() as server:
        server.raw(200, body, {"content-type": "text/event-stream"})
        async with server.client(server.account({"cohere": ["first"]})) as client:
            assert (await client.chat(MODEL, "hi")).text == "Hello"


def test_without_await() -> None:
    mock = MockTransport()
    mock.json(message(content="Hello"))
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.chat(MODEL, "hi").text == "Hello"
