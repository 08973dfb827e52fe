"""Counting tokens through the public clients."""

from __future__ import annotations

from typing import Any

import pytest

from bifrost import ChatRequest, SyncBifrost
from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations import token_count
from bifrost.operations.token_count import TokenCountRequest
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

CLAUDE = "anthropic/claude-sonnet-4-5"
GPT = "openai/gpt-4.1-mini"


def test_these_names_of_the_module_are_public() -> None:
    assert sorted(token_count.__all__) == [
        "COUNT_TOKENS",
        "TokenCountRequest",
        "TokenCountResponse",
        "token_count_request",
    ]


def test_a_request_has_the_fields_of_a_chat() -> None:
    assert set(TokenCountRequest.__struct_fields__) < set(ChatRequest.__struct_fields__)


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


@pytest.mark.anyio
async def test_the_tokens_of_a_chat_are_counted(mock: MockTransport) -> None:
    mock.on(endpoint="count_tokens", provider="anthropic").json({"input_tokens": 12})
    mock.on(endpoint="count_tokens", provider="openai").json({"input_tokens": 13, "object": "response.input_tokens"})
    async with mock.client() as client:
        for model, number in ((CLAUDE, 12), (GPT, 13)):
            count = await client.count_tokens(model, "hi", system="be kind", temperature=0.5)
            assert (count.input_tokens, count.warnings, len(count.attempts)) == (number, [], 1)
            assert f"{count.provider}/{count.model}" == model
    (call,) = assert_called(mock, times=1, endpoint="count_tokens", provider="anthropic")
    assert call.json == {
        "model": "claude-sonnet-4-5",
        "system": "be kind",
        "messages": [{"role": "user", "content": "hi"}],
    }


@pytest.mark.anyio
async def test_a_count_is_retried_and_falls_back_as_every_call(mock: MockTransport) -> None:
    mock.on(provider="anthropic").fail(529)
    mock.on(provider="openai").json({"input_tokens": 7})
    async with mock.client() as client:
        with no_waits():
            count = await client.count_tokens(CLAUDE, "hi", fallbacks=[GPT], max_retries=0)
    assert [attempt.provider for attempt in count.attempts] == ["anthropic", "openai"]
    assert count.input_tokens == 7


@pytest.mark.anyio
async def test_what_is_wrong_with_a_chat_is_wrong_here(mock: MockTransport) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "empty"),
        ({"messages": "hi", "temprature": 1}, "did you mean temperature"),
        ({"messages": "hi", "extra": {"anthropic": {"a": float("nan")}}}, "extra"),
    ]
    async with mock.client() as client:
        for options, message in wrong:
            with pytest.raises(InvalidRequestError, match=message):
                await client.count_tokens(CLAUDE, **options)
        with pytest.raises(UnsupportedError, match="groq has no count_tokens endpoint here"):
            await client.count_tokens("groq/a", "hi")
    assert not mock.calls


def test_without_await(mock: MockTransport) -> None:
    mock.on(endpoint="count_tokens").json({"input_tokens": 3})
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.count_tokens(CLAUDE, [{"role": "user", "content": "hi"}]).input_tokens == 3


@pytest.mark.anyio
async def test_over_a_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.json({"input_tokens": 21})
        assert (await client.count_tokens(CLAUDE, "hi")).input_tokens == 21
        server.json({"input_tokens": 22})
        assert (await client.count_tokens(GPT, "hi")).input_tokens == 22
