"""Servers that are nearly OpenAI, asked through the public client: plain, and streams whole, by event, byte by byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bifrost import Bifrost, StaticAccount
from bifrost.errors import MalformedResponseError, ServerError, StreamInterruptedError
from bifrost.operations.chat.content import ImagePart
from bifrost.providers import openai
from bifrost.providers.catalog import CATALOG
from bifrost.providers.events import events_of, is_event_stream, lone_event
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

OPENAIS = [
    name
    for name, row in CATALOG.items()
    if row.parse_error is openai.parse_error and "chat" in row.codecs and name != "azure"
]
USED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Pieces(httpx.AsyncByteStream):
    """A body in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def whole(body: bytes) -> list[bytes]:
    return [body]


def by_event(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def by_byte(body: bytes) -> list[bytes]:
    return [body[place : place + 1] for place in range(len(body))]


CUTS = [whole, by_event, by_byte]


def client_of(
    name: str, body: bytes, *, kind: str = "text/event-stream", cut: Callable[[bytes], list[bytes]] = whole
) -> Bifrost:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": kind}, stream=Pieces(cut(body)))

    account = StaticAccount(keys={name: "k-0123456789abcdef"})
    return Bifrost(account, transport=httpx.MockTransport(answer), max_retries=0)


def chunk(delta: Any = None, finish: str | None = None, **head: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "model": "served",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}],
        **head,
    }


def sse(*events: Any, done: bool = True) -> bytes:
    ending = b"data: [DONE]\n\n" if done else b""
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + ending


def answer_of(message: Any, **head: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"id": "c", "model": "served", "choices": [choice], **head}


# --- an event stream in answer to a plain call

HELLO = sse(
    chunk({"role": "assistant", "content": "he"}),
    chunk({"content": "llo"}),
    chunk({}, "stop"),
    {"choices": [], "usage": USED},
)
CLAUDE = {
    "type": "message",
    "id": "m",
    "model": "served",
    "role": "assistant",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
CLAUDES = [
    {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
NAMED = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in CLAUDES).encode()


GEMINI = [
    {"modelVersion": "served", "candidates": [{"content": {"parts": [{"text": "hel"}], "role": "model"}}]},
    {
        "modelVersion": "served",
        "candidates": [{"content": {"parts": [{"text": "lo"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
    },
]
GEMINIS = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in GEMINI).encode()


@table("kind", ["text/event-stream", "application/json", "text/plain"])
@table(
    ("name", "body"),
    [
        *(pytest.param(name, HELLO, id=name) for name in OPENAIS),
        pytest.param("vllm", sse(answer_of({"content": "hello"}, usage=USED)), id="the whole response as one event"),
        pytest.param("vllm", sse(answer_of({"content": "hello"}, usage=USED), done=False)[:-2], id="one line"),
        pytest.param("vllm", b": ping\n\n" + HELLO, id="a comment first"),
        pytest.param("vllm", b"\xef\xbb\xbf\r\n" + HELLO.replace(b"\n", b"\r\n"), id="a mark, a blank line, CRLF"),
        pytest.param("vllm", HELLO.removesuffix(b"data: [DONE]\n\n"), id="no final marker"),
        pytest.param("anthropic", NAMED, id="anthropic"),
        pytest.param("gemini", GEMINIS, id="gemini"),
        pytest.param(
            "anthropic", f"event: message\ndata: {json.dumps(CLAUDE)}\n\n".encode(), id="anthropic, one event"
        ),
    ],
)
async def test_an_event_stream_in_answer_to_a_plain_call_is_the_answer(name: str, body: bytes, kind: str) -> None:
    async with client_of(name, body, kind=kind, cut=by_byte) as client:
        reply = await client.chat(f"{name}/m", "hi")
    assert (reply.text, reply.model, reply.finish_reason) == ("hello", "served", "stop")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.raw) == (3, 2, body)


async def test_calls_that_come_as_events_are_calls() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    body = sse(
        chunk({"tool_calls": [call]}), chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, "stop")
    )
    async with client_of("vllm", body) as client:
        [found] = (await client.chat("vllm/m", "hi")).tool_calls
    assert (found.id, found.name, found.arguments) == ("a", "f", "{}")


@table("body", [sse(chunk({"content": "he"}), done=False), b"data:\n\n", b": ping\n\n", b"data: x\n\n"])
async def test_events_that_end_before_the_answer_are_none(body: bytes) -> None:
    async with client_of("vllm", body) as client:
        with pytest.raises(MalformedResponseError):
            await client.chat("vllm/m", "hi")


async def test_an_error_among_events_is_the_calls_error() -> None:
    body = sse(chunk({"content": "he"}), {"error": {"message": "busy", "code": 500}})
    async with client_of("vllm", body) as client:
        with pytest.raises(ServerError, match="busy"):
            await client.chat("vllm/m", "hi")


async def test_vectors_and_models_may_come_as_one_event() -> None:
    async with client_of("openai", sse({"data": [{"embedding": [1.0], "index": 0}]})) as client:
        assert (await client.embed("openai/e", "a")).vectors == [[1.0]]
    async with client_of("openai", sse({"data": [{"id": "m"}]})) as client:
        assert [model.id for model in (await client.list_models("openai")).data] == ["m"]


@table("name", ["openai", "mistral", "together", "vllm"])
@table("numbers", [[0], [1], [0, 1, 2]])
async def test_not_one_vector_for_each_text_is_no_answer(name: str, numbers: list[int]) -> None:
    body = json.dumps({"data": [{"embedding": [1.0], "index": number} for number in numbers]}).encode()
    async with client_of(name, body, kind="application/json") as client:
        with pytest.raises(MalformedResponseError, match="vectors"):
            await client.embed(f"{name}/e", ["a", "b"])


def test_what_is_no_event_stream_is_none() -> None:
    for body in (b"", b"{}", b"[]", b"<html>data: x", b"hello", b" \n"):
        assert not is_event_stream(body)
        assert lone_event(body) is None
    assert lone_event(b"data: 1\n\ndata: 2\n\n") is None
    assert lone_event(b"data: 1\n\ndata: [DONE]\n\n") == b"1"
    assert [event.data for event in events_of(b"data: a\n\n" * 30_000)] == [b"a"] * 30_000


# --- the same through streams, however they are cut

ODD: list[Any] = [
    pytest.param(
        [
            chunk({"tool_calls": [{"index": 0, "id": 0, "function": {"name": "f", "arguments": '{"a":1}'}}]}),
            chunk({"tool_calls": [{"index": 0, "id": 1, "function": {"name": "f", "arguments": '{"a":2}'}}]}),
        ],
        lambda reply: [(call.id, call.arguments) for call in reply.tool_calls],
        [("0", '{"a":1}'), ("1", '{"a":2}')],
        id="two calls at one index",
    ),
    pytest.param(
        [
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "get_"}}]}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "it", "arguments": "{"}}]}),
            chunk({"tool_calls": [{"index": 0, "id": "b", "function": {"arguments": "}"}}]}),
        ],
        lambda reply: [(call.id, call.name, call.arguments) for call in reply.tool_calls],
        [("a", "get_it", "{}")],
        id="one call, its name in pieces, its id changed",
    ),
    pytest.param(
        [chunk({"content": "hi", "function_call": {"name": ""}, "audio": {"id": ""}, "tool_calls": []}, usage=[])],
        lambda reply: (reply.text, reply.tool_calls, reply.message.audio, len(reply.message.parts)),
        ("hi", [], None, 1),
        id="empty members",
    ),
    pytest.param(
        [chunk({"reasoning": None, "reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]})],
        lambda reply: reply.reasoning,
        "hm",
        id="reasoning in the details alone",
    ),
    pytest.param(
        [chunk({"content": "hi", "images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]})],
        lambda reply: reply.message.parts[-1],
        ImagePart(media_type="image/png", data="AAAA"),
        id="a picture",
    ),
    pytest.param(
        [chunk({"content": "hi"}, usage={**USED, "num_cached_tokens": 2.0, "prompt_tokens_details": []})],
        lambda reply: (reply.text, reply.usage.input_tokens, reply.usage.cache_read_tokens),
        ("hi", 3, 2),
        id="an odd detail of usage",
    ),
]


@table("cut", CUTS)
@table("name", ["vllm", "openrouter", "mistral"])
@table(("events", "read", "expected"), ODD)
async def test_an_odd_stream_is_read_however_it_is_cut(
    name: str, events: list[Any], read: Any, expected: Any, cut: Callable[[bytes], list[bytes]]
) -> None:
    client = client_of(name, sse(*events, chunk({}, "stop")), cut=cut)
    async with client, client.stream_chat(f"{name}/m", "hi") as stream:
        reply = await stream.final()
    assert read(reply) == expected


async def test_usage_in_the_event_of_an_error_is_in_what_came() -> None:
    body = sse(chunk({"content": "he"}), {"error": {"message": "busy", "code": 500}, "usage": USED})
    async with client_of("vllm", body) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            async with client.stream_chat("vllm/m", "hi") as stream:
                await stream.final()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "he"
    assert caught.value.partial.usage is not None
    assert caught.value.partial.usage.input_tokens == 3
