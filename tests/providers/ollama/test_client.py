"""Ollama through the public client: the test kit speaks its format, in memory and over sockets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost import NotFoundError, StreamInterruptedError, SyncBifrost
from bifrost.testing import LoopbackProvider, MockTransport, no_waits

MODEL = "ollama/llama3.2"
LINES = b'{"response":"a","done":false}\n{"response":"b","done":true,"done_reason":"stop","eval_count":2}\n'
NDJSON = {"content-type": "application/x-ndjson"}
pytestmark = pytest.mark.anyio


class Pet(msgspec.Struct):
    """What is asked for."""

    name: str


def mocked() -> MockTransport:
    mock = MockTransport()
    mock.account = mock.account_with({"ollama": [], "ollama-cloud": ["main"]})
    return mock


async def stream_of(client: Any, model: str = MODEL) -> tuple[list[str], Any]:
    async with client.stream_chat(model, "hi") as stream:
        texts = [text async for text in stream.text_stream]
        return texts, await stream.final()


async def test_a_chat_and_its_stream_are_the_same() -> None:
    mock = mocked()
    mock.reply("It rains.", reasoning="hm", tool_calls=[("w", {"a": 1})]).times(2)
    async with mock.client(mock.account) as client:
        plain = await client.chat(MODEL, "hi")
        texts, streamed = await stream_of(client)
    assert (plain.text, plain.reasoning, plain.finish_reason) == ("It rains.", "hm", "tool_calls")
    assert ("".join(texts), streamed.reasoning, streamed.usage) == ("It rains.", "hm", plain.usage)
    assert [call.arguments for call in streamed.tool_calls] == ['{"a":1}']
    assert [call.http.path for call in mock.calls] == ["/api/chat", "/api/chat"]
    assert [call.json["stream"] for call in mock.calls] == [False, True]
    assert not mock.calls[0].has_key


async def test_the_hosted_models_get_the_key() -> None:
    mock = mocked()
    mock.reply("hello")
    async with mock.client(mock.account) as client:
        assert (await client.chat("ollama-cloud/gpt-oss:120b", "hi")).text == "hello"
    assert mock.calls[0].key == "main"


async def test_output_of_a_type_is_asked_for_with_its_schema() -> None:
    mock = mocked()
    mock.reply('{"name": "Loki"}')
    async with mock.client(mock.account) as client:
        reply = await client.chat(MODEL, "a cat", output=Pet)
    assert reply.parsed == Pet(name="Loki")
    assert mock.calls[0].json["format"]["required"] == ["name"]


async def test_a_model_that_is_not_there() -> None:
    mock = mocked()
    mock.fail(404, message="model 'llama3.2' not found")
    async with mock.client(mock.account) as client:
        with pytest.raises(NotFoundError, match="try pulling it first"):
            await client.chat(MODEL, "hi")


async def test_an_error_in_a_stream_before_its_content_is_retried() -> None:
    mock = mocked()
    mock.raw(200, b'{"error":"server busy, please try again"}\n', NDJSON).then.stream(["a", "b"])
    async with mock.client(mock.account) as client:
        with no_waits():
            texts, reply = await stream_of(client)
    assert ("".join(texts), len(reply.attempts)) == ("ab", 2)


async def test_a_stream_that_ends_early_is_interrupted() -> None:
    mock = mocked()
    mock.stream(["a", "b", "c"]).cut(after_events=2)
    async with mock.client(mock.account) as client, client.stream_chat(MODEL, "hi") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert caught.value.partial.text == "ab"


async def test_every_operation_over_a_socket() -> None:
    async with LoopbackProvider() as server:
        server.on(endpoint="chat").reply("It rains.").times(2)
        server.on(endpoint="completions").json({"response": "ab", "done": True}).then.raw(200, LINES, NDJSON)
        server.on(endpoint="embeddings").embed([[0.5], [1.5]])
        server.on(endpoint="models").models(["llama3.2"])
        async with server.client(server.account({"ollama": ["main"]})) as client:
            assert (await client.chat(MODEL, "hi")).text == "It rains."
            assert (await stream_of(client))[1].text == "It rains."
            assert (await client.complete(MODEL, "a")).text == "ab"
            async with client.stream_complete(MODEL, "a") as stream:
                assert "".join([text async for text in stream.text_stream]) == "ab"
            assert (await client.embed(MODEL, ["a", "b"])).vectors == [[0.5], [1.5]]
            assert [model.id for model in (await client.list_models("ollama")).data] == ["llama3.2"]


def test_without_await() -> None:
    mock = mocked()
    mock.stream(["a", "b"])
    with SyncBifrost(mock.account, transport=mock) as client, client.stream_chat(MODEL, "hi") as stream:
        assert list(stream.text_stream) == ["a", "b"]
