"""Completions through the public clients."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bifrost import StreamInterruptedError, SyncBifrost
from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations import completions
from bifrost.operations.chat.response import Logprobs, TokenLogprob
from bifrost.operations.completions import (
    COMPLETIONS,
    CompletionAccumulator,
    CompletionChoice,
    CompletionRequest,
    CompletionResponse,
    chunks_of,
    completion_request,
)
from bifrost.operations.usage import Usage
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

MODEL = "openai/gpt-3.5-turbo-instruct"
BODY = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 5,
    "model": "gpt-3.5-turbo-instruct:20230824-v2",
    "choices": [{"text": " world", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
EVENTS = [
    {"id": "cmpl-1", "choices": [{"text": " wor", "index": 0, "finish_reason": None}]},
    {"id": "cmpl-1", "choices": [{"text": "ld", "index": 0, "finish_reason": "stop"}]},
    {"id": "cmpl-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
]
STREAM = "".join(f"data: {json.dumps(each)}\n\n" for each in EVENTS) + "data: [DONE]\n\n"
SSE = {"content-type": "text/event-stream"}


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


@pytest.mark.anyio
async def test_a_text_is_continued(mock: MockTransport) -> None:
    mock.on(endpoint="completions").json(BODY)
    async with mock.client() as client:
        reply = await client.complete(MODEL, "hello", max_tokens=5, stop="x")
    assert (reply.text, reply.finish_reason, reply.usage.total_tokens) == (" world", "stop", 3)
    assert (reply.provider, len(reply.attempts), reply.texts) == ("openai", 1, [" world"])
    (call,) = assert_called(mock, times=1, endpoint="completions", provider="openai")
    assert call.request == CompletionRequest(model="gpt-3.5-turbo-instruct", prompt=["hello"], max_tokens=5, stop=["x"])


@pytest.mark.anyio
async def test_a_completion_is_streamed(mock: MockTransport) -> None:
    mock.on(endpoint="completions").raw(200, STREAM.encode(), headers=SSE)
    async with mock.client() as client, client.stream_complete(MODEL, "hello") as stream:
        texts = [text async for text in stream.text_stream]
        reply = await stream.final()
    assert texts == [" wor", "ld"]
    assert (reply.text, reply.finish_reason, reply.usage.output_tokens, reply.provider) == (
        " world",
        "stop",
        2,
        "openai",
    )


@pytest.mark.anyio
async def test_a_stream_that_breaks_raises_with_what_came(mock: MockTransport) -> None:
    mock.on(endpoint="completions").raw(200, STREAM.partition("\n\n")[0].encode() + b"\n\n", headers=SSE)
    async with mock.client() as client, client.stream_complete(MODEL, "hello") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert caught.value.partial.text == " wor"


@pytest.mark.anyio
async def test_a_completion_is_retried_and_falls_back_as_every_call(mock: MockTransport) -> None:
    mock.fail(503).then.json(BODY)
    async with mock.client() as client:
        with no_waits():
            reply = await client.complete(MODEL, "hello")
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]


@pytest.mark.anyio
async def test_a_provider_without_completions_says_so(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="anthropic has no completions endpoint here; it has: chat, models"):
            await client.complete("anthropic/claude-haiku-4-5", "hi")


def test_without_await(mock: MockTransport) -> None:
    mock.on(endpoint="completions").json(BODY).then.raw(200, STREAM.encode(), headers=SSE)
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.complete(MODEL, ["hello"]).text == " world"
        with client.stream_complete(MODEL, "hello") as stream:
            assert "".join(stream.text_stream) == " world"


@pytest.mark.anyio
async def test_over_a_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.json(BODY).then.raw(200, STREAM.encode(), headers=SSE)
        assert (await client.complete(MODEL, "hello")).text == " world"
        async with client.stream_complete(MODEL, "hello") as stream:
            assert (await stream.final()).text == " world"
        assert [call.endpoint for call in server.calls] == ["completions", "completions"]


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ([], {}, "there is nothing to continue"),
    ([[]], {}, "there is nothing to continue"),
    (5, {}, "expected a text or a list of texts, got int"),
    (b"a", {}, "expected a text or a list of texts, got bytes"),
    ([None], {}, r"prompt\[0\]"),
    ("a", {"temprature": 1}, "did you mean temperature"),
    ("a", {"max_tokens": "5"}, "max_tokens: expected `int"),
    ("a", {"extra": {"openai": {"a": float("nan")}}}, "extra"),
]


@pytest.mark.anyio
async def test_what_cannot_be_continued_is_refused(mock: MockTransport) -> None:
    async with mock.client() as client:
        for prompt, options, message in WRONG:
            with pytest.raises(InvalidRequestError, match=message):
                await client.complete(MODEL, prompt, **options)
            with pytest.raises(InvalidRequestError, match=message):
                client.stream_complete(MODEL, prompt, **options)
    assert not mock.calls


def test_prompts_of_every_form() -> None:
    prompts: list[tuple[Any, list[Any]]] = [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], "a"], [[1], "a"]),
        ("", [""]),
    ]
    for given, expected in prompts:
        assert completion_request("m", given, {}).prompt == expected


def test_these_names_of_the_module_are_public() -> None:
    assert {name for name in completions.__all__ if name.startswith("Completion")} == {
        "CompletionAccumulator",
        "CompletionChoice",
        "CompletionChunk",
        "CompletionChunkChoice",
        "CompletionOptions",
        "CompletionRequest",
        "CompletionResponse",
    }


WHOLE = CompletionResponse(
    id="c",
    model="other",
    created=5,
    provider="p",
    choices=[
        CompletionChoice(text="a", finish_reason="stop", native_finish_reason="eos", stop_sequence="x", reasoning="r"),
        CompletionChoice(
            text="b",
            index=1,
            finish_reason="length",
            logprobs=Logprobs(content=[TokenLogprob(token="b", logprob=-0.5)]),
        ),
    ],
    usage=Usage(input_tokens=1, output_tokens=2),
    system_fingerprint="f",
)


def test_a_response_becomes_chunks_and_the_chunks_the_response() -> None:
    streaming = COMPLETIONS.streaming
    assert streaming is not None
    grown = streaming.accumulator(provider="p", model="m")
    for chunk in chunks_of(WHOLE):
        grown.add(chunk)
    assert grown.response() == WHOLE
    assert [streaming.has_content(chunk) for chunk in chunks_of(WHOLE)] == [True, True, True]
    assert CompletionAccumulator(provider="p", model="m").response(warnings=["w"]).warnings == ["w"]
    assert msgspec.json.decode(msgspec.json.encode(WHOLE), type=CompletionResponse) == WHOLE


def test_a_response_shows_its_texts() -> None:
    assert repr(WHOLE) == "CompletionResponse(p/other: 'a', stop, 1+2 tokens)"
    assert "b" in WHOLE._repr_html_()
    assert (CompletionResponse(choices=[]).text, CompletionResponse(choices=[]).finish_reason) == ("", None)
