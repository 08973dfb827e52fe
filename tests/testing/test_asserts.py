from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest

import bifrost
from bifrost.testing import (
    LoopbackProvider,
    MockTransport,
    assert_called,
    assert_no_secret,
    attempts_of,
    fake_key,
    no_waits,
)
from tests.table import table

pytestmark = pytest.mark.anyio

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
SECRET = "sk-a+secret/of-nobody"


@pytest.fixture
async def mock() -> MockTransport:
    """A mock that was asked three things."""
    mock = MockTransport()
    mock.on(provider="openai", stream=False).fail(503).then.reply("a")
    mock.stream(["b"])
    with no_waits():
        async with mock.client() as client:
            await client.chat(GPT, "the first question")
            async with client.stream_chat(CLAUDE, "the second") as stream:
                await stream.final()
    return mock


async def test_calls_are_found_by_what_they_were(mock: MockTransport) -> None:
    assert len(assert_called(mock)) == 3
    assert assert_called(mock, times=2, provider="openai", key="openai-key") == mock.calls[:2]
    assert_called(mock, times=1, provider="anthropic", stream=True, model="claude-haiku-4-5", endpoint="chat")
    assert_called(mock, times=2, containing="first question")
    assert_called(mock, times=0, endpoint="embeddings")


async def test_an_endpoint_that_is_no_operation_is_refused(mock: MockTransport) -> None:
    with pytest.raises(bifrost.UsageError, match=r"endpoint='dance'\): the endpoints are chat, embeddings"):
        assert_called(mock, times=0, endpoint="dance")


async def test_what_was_called_instead_is_shown(mock: MockTransport) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_called(mock, provider="groq", containing="hello")
    assert str(caught.value) == (
        "expected a call with provider='groq', containing='hello', found 0; all calls:"
        "\n  MockCall(0: chat to openai/gpt-4o-mini, key openai-key)"
        "\n  MockCall(1: chat to openai/gpt-4o-mini, key openai-key)"
        "\n  MockCall(2: stream to anthropic/claude-haiku-4-5, key anthropic-key)"
    )
    with pytest.raises(AssertionError, match=r"expected 1 call, found 3"):
        assert_called(mock, times=1)
    with pytest.raises(AssertionError, match=r"expected 2 calls, found 0; all calls: none"):
        assert_called(LoopbackProvider(), times=2)


async def test_a_trail_is_told_without_what_changes_from_run_to_run() -> None:
    mock = MockTransport()
    mock.on(provider="openai").fail(429).always()
    mock.on(provider="anthropic").refuse().then.reply("ok")
    with no_waits():
        async with mock.client(max_retries=1) as client:
            reply = await client.chat(GPT, "hi", fallbacks=[CLAUDE])
            with pytest.raises(bifrost.RateLimitError) as caught:
                await client.chat(GPT, "hi")
    throttled = "openai/gpt-4o-mini throttled 429"
    assert attempts_of(reply) == [
        throttled,
        throttled,
        "anthropic/claude-haiku-4-5 never_sent",
        "anthropic/claude-haiku-4-5 ok",
    ]
    assert attempts_of(reply.attempts) == attempts_of(reply)
    assert attempts_of(caught.value) == [throttled, throttled]


@table("text", [SECRET, quote(SECRET, safe=""), b64encode(SECRET.encode()).decode(), SECRET[:12]])
def test_a_secret_is_seen_in_every_form_and_not_repeated(text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_no_secret("harmless", f"before {text} after", secrets=["sk-other-key", SECRET])
    assert str(caught.value) == "str shows a secret (*** here): ...before *** after..."


def test_a_secret_is_seen_in_all_that_hangs_on_an_error() -> None:
    def error_with(inner: Exception) -> Exception:
        try:
            try:
                raise inner
            except Exception as error:
                raise bifrost.ServerError("outer") from error
        except bifrost.ServerError as error:
            return error

    other = bifrost.ServerError("of the primary")
    other.errors = [bifrost.ServerError(SECRET)]
    for error in (error_with(KeyError(SECRET)), other, ExceptionGroup("several", [ValueError(SECRET)])):
        with pytest.raises(AssertionError, match="shows a secret"):
            assert_no_secret(error, secrets=[SECRET])
    assert_no_secret(error_with(KeyError("x")), secrets=[SECRET])


async def test_a_client_and_its_errors_show_no_secret(mock: MockTransport) -> None:
    mock.fail(401, message=f"no such key: {fake_key('openai-key')}")
    async with mock.client() as client:
        with pytest.raises(bifrost.AuthenticationError) as caught:
            await client.chat(GPT, "hi")
    assert_no_secret(client, caught.value, *mock.calls, secrets=[fake_key("openai-key")])
