"""Bedrock through the public client, over real sockets and over the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bifrost import (
    AwsCredentials,
    Bifrost,
    BifrostError,
    Key,
    RateLimitError,
    StaticAccount,
    StreamInterruptedError,
    Tool,
)
from bifrost.providers.bedrock import BedrockSettings
from bifrost.testing import LoopbackProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

MODEL = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f"
KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY:IQoJb3JpZ2luX2Vj"


@pytest.fixture
async def server() -> AsyncIterator[LoopbackProvider]:
    async with LoopbackProvider() as server:
        yield server


def client_of(server: LoopbackProvider, value: str = KEY) -> Bifrost:
    settings = BedrockSettings(region="us-east-1", endpoint=server.base_url)
    return Bifrost(StaticAccount(keys={"bedrock": Key(name="own", value=value, settings=settings)}), max_retries=0)


@pytest.mark.parametrize("value", [KEY, "ABSKQmVkcm9ja0FQSUtleS0x"], ids=["signed", "bearer"])
async def test_a_plain_and_a_streamed_call_give_the_same(server: LoopbackProvider, value: str) -> None:
    tools = [Tool(name="weather", parameters={"type": "object"})]
    server.reply("hello there", reasoning="hm", tool_calls=[("weather", {"city": "Bern"})], usage=(7, 5)).times(2)
    async with client_of(server, value) as client:
        plain = await client.chat(MODEL, "hi", tools=tools)
        async with client.stream_chat(MODEL, "hi", tools=tools) as stream:
            pieces = [text async for text in stream.text_stream]
            final = await stream.final()
    assert plain.text == final.text == "".join(pieces) == "hello there"
    assert plain.reasoning == final.reasoning == "hm"
    assert plain.message.parts == final.message.parts
    assert (plain.usage.input_tokens, plain.usage.output_tokens) == (7, 5)
    assert (plain.usage, plain.finish_reason) == (final.usage, final.finish_reason)
    sent = [call.http for call in server.calls]
    assert [request.path.rpartition("/")[2] for request in sent] == ["converse", "converse-stream"]
    signed = value == KEY
    assert all(("x-amz-date" in request.headers) == signed for request in sent)
    assert all(("x-amz-security-token" in request.headers) == signed for request in sent)


async def test_credentials_of_botocores_chain_sign(server: LoopbackProvider) -> None:
    server.reply("hello")
    settings = BedrockSettings(region="us-east-1", endpoint=server.base_url)
    key = Key(name="chain", credentials=AwsCredentials(keys=KEY), settings=settings)
    async with Bifrost(StaticAccount(keys={"bedrock": key}), max_retries=0) as client:
        assert (await client.chat(MODEL, "hi")).text == "hello"
    [call] = server.calls
    assert {"x-amz-date", "x-amz-security-token"} <= set(call.http.headers)


async def test_an_inference_profile_reaches_the_server_as_one_segment(server: LoopbackProvider) -> None:
    server.reply("hello")
    async with client_of(server) as client:
        await client.chat(f"bedrock/{ARN}", "hi")
    [call] = server.calls
    assert call.model == ARN
    assert call.http.path.count("/") == 3


async def test_an_exception_before_and_within_a_stream_has_its_class(server: LoopbackProvider) -> None:
    server.fail(429)
    server.reply("hello there").error_event(at=1, status=429)
    async with client_of(server) as client:
        with pytest.raises(RateLimitError) as caught:
            async with client.stream_chat(MODEL, "hi") as stream:
                await stream.final()
        assert caught.value.code == "ThrottlingException"
        with pytest.raises(BifrostError) as interrupted:
            async with client.stream_chat(MODEL, "hi") as stream:
                await stream.final()
    assert isinstance(interrupted.value, StreamInterruptedError)
    assert interrupted.value.partial.text == "hello"


async def test_a_stream_that_ends_without_its_end_is_interrupted(server: LoopbackProvider) -> None:
    server.reply("hello there").cut(after_events=1)
    async with client_of(server) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            async with client.stream_chat(MODEL, "hi") as stream:
                await stream.final()
    assert caught.value.partial.text == "hello"
