from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bifrost import (
    AssistantMessage,
    Bifrost,
    BifrostError,
    ChatResponse,
    ConfigError,
    EnvAccount,
    InvalidRequestError,
    Message,
    ServerError,
    StaticAccount,
    StreamInterruptedError,
    UnsupportedError,
    UsageError,
)
from bifrost.client import __version__
from bifrost.config import BreakerConfig, ProviderConfig
from bifrost.testing import MockTransport, no_waits
from tests.plugins.recorder import MODEL, OTHER, Kind, Recorder, ask, read_into

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

EMBEDDINGS = "openai/text-embedding-3-small"


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with no_waits():
        yield


# --- chat


@pytest.mark.parametrize(
    "prompt",
    [
        "hi",
        Message(role="user", content="hi"),
        {"role": "user", "content": "hi"},
        [Message(role="user", content="hi")],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    ],
    ids=["text", "message", "dict", "messages", "parts"],
)
async def test_a_prompt_may_be_written_in_many_ways(mock: MockTransport, prompt: Any) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        await client.chat(MODEL, prompt)
    (message,) = mock.calls[0].request.messages
    assert (message.role, message.text) == ("user", "hi")


async def test_openais_keyword_names_are_accepted(mock: MockTransport) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        reply = await client.chat(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], system="be kind", temperature=0.5
        )
    assert reply.choices[0].message.content == "hello"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 10
    assert [message["role"] for message in mock.calls[0].json["messages"]] == ["system", "user"]
    assert mock.calls[0].json["temperature"] == 0.5


async def test_an_answer_goes_on_with_the_conversation(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").then.reply("bye")
    messages: list[Message | AssistantMessage | dict[str, Any]] = [{"role": "user", "content": "hi"}]
    async with mock.client() as client:
        messages.append((await ask(client, kind)).message)
        messages.append({"role": "user", "content": "bye"})
        await client.chat(MODEL, messages)
    assert [message.text for message in mock.calls[1].request.messages] == ["hi", "hello", "bye"]


async def test_an_answer_says_where_it_came_from(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello", headers={"x-request-id": "req_1"})
    async with mock.client() as client:
        reply = await ask(client, kind)
    assert (reply.provider, reply.model, reply.request_id) == ("openai", "gpt-4o-mini", "req_1")
    (attempt,) = reply.attempts
    assert (attempt.provider, attempt.key, attempt.status, attempt.ok) == ("openai", "openai-key", 200, True)


async def test_tools_are_called(mock: MockTransport, kind: Kind) -> None:
    mock.reply(tool_calls=[("weather", {"city": "Oslo"})])
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with mock.client() as client:
        reply = await ask(client, kind, tools=[tool], tool_choice="required")
    (call,) = reply.tool_calls
    assert (call.name, call.arguments) == ("weather", '{"city":"Oslo"}')
    assert reply.finish_reason == "tool_calls"


async def test_a_client_says_who_it_is(mock: MockTransport) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        await client.chat(MODEL, "hi")
    assert mock.calls[0].http.headers["user-agent"] == f"bifrost-llm/{__version__}"


# --- streams


async def test_a_stream_gives_text_chunks_and_the_whole_answer(mock: MockTransport) -> None:
    mock.stream(["he", "llo"]).times(2)
    texts: list[str] = []
    async with mock.client() as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            await read_into(texts, stream)
            reply = await stream.final()
        async with client.stream_chat(MODEL, "hi") as stream:
            chunks = [chunk async for chunk in stream]
    assert texts == ["he", "llo"]
    assert isinstance(reply, ChatResponse)
    assert reply.text == "".join(chunk.text for chunk in chunks) == "hello"


async def test_a_stream_that_is_not_entered_asks_nobody(mock: MockTransport) -> None:
    async with mock.client() as client:
        stream = client.stream_chat(MODEL, "hi")
        with pytest.raises(UsageError, match="async with"):
            await anext(stream)
    assert mock.calls == []


async def test_a_stream_is_entered_once(mock: MockTransport) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.final()
        with pytest.raises(UsageError, match="entered once"):
            await stream.__aenter__()


async def test_an_error_of_a_stream_is_raised_on_entering(mock: MockTransport) -> None:
    mock.fail(400)
    read: list[int] = []
    async with mock.client() as client:
        with pytest.raises(BifrostError):
            async with client.stream_chat(MODEL, "hi"):
                read.append(1)
    assert read == []


async def test_what_came_of_a_stream_can_be_seen_at_any_time(mock: MockTransport) -> None:
    mock.stream(["he", "llo"]).cut(after_events=1)
    async with mock.client() as client, client.stream_chat(MODEL, "hi") as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.final()
        assert stream.partial.text == "he"


# --- embeddings


async def test_texts_become_vectors_in_their_order(mock: MockTransport) -> None:
    mock.embed([[1.0, 2.0], [3.0, 4.0]], usage=(7, 0))
    async with mock.client() as client:
        reply = await client.embed(EMBEDDINGS, ["a", "b"], dimensions=2, user="me", encoding_format="float")
    assert reply.vectors == [[1.0, 2.0], [3.0, 4.0]]
    assert reply.usage is not None
    assert reply.usage.input_tokens == 7
    assert mock.calls[0].json["input"] == ["a", "b"]
    assert mock.calls[0].json["dimensions"] == 2
    assert (reply.provider, len(reply.attempts)) == ("openai", 1)


async def test_embeddings_are_retried_and_fall_back(mock: MockTransport) -> None:
    mock.on(endpoint="embeddings").fail(503).times(2).then.embed([[1.0]])
    async with mock.client() as client:
        reply = await client.embed("anthropic/none", "a", fallbacks=[EMBEDDINGS])
        with pytest.raises(UnsupportedError, match="anthropic has no embeddings endpoint") as caught:
            await client.embed("anthropic/none", "a")
    assert [attempt.status for attempt in reply.attempts] == [503, 503, 200]
    assert (caught.value.provider, caught.value.model) == ("anthropic", "none")


# --- model lists


async def test_a_provider_tells_its_models(mock: MockTransport) -> None:
    mock.models(["a", "b"])
    async with mock.client() as client:
        reply = await client.list_models("openai", limit=2)
    assert [model.id for model in reply.data] == ["a", "b"]
    assert (reply.provider, len(reply.attempts)) == ("openai", 1)
    assert mock.calls[0].http.method == "GET"


async def test_a_list_of_models_is_retried_and_has_no_fallbacks(mock: MockTransport) -> None:
    mock.fail(503).times(3)
    async with mock.client(fallbacks=[OTHER]) as client:
        with pytest.raises(ServerError):
            await client.list_models("openai")
    assert [call.provider for call in mock.calls] == ["openai"] * 3


@pytest.mark.parametrize("provider", ["nobody", "openai/gpt-4o", "", 7], ids=repr)
async def test_a_list_of_nobodys_models_is_refused(mock: MockTransport, provider: Any) -> None:
    async with mock.client() as client:
        with pytest.raises((ConfigError, InvalidRequestError)):
            await client.list_models(provider)


# --- options of the call, of a copy, of the client


async def test_the_calls_options_go_before_the_copys_and_those_before_the_clients(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("hello").always()
    seen = Recorder([])
    # Its five failures in a row would open the breaker of the model.
    account = StaticAccount(
        keys={"openai": "sk-test-a", "anthropic": "sk-test-b"},
        configs={"openai": ProviderConfig(breaker=BreakerConfig(enabled=False))},
    )
    async with mock.client(account, plugins=[seen], max_retries=2, timeout=30, fallbacks=[OTHER]) as client:
        copy = client.with_options(max_retries=1, timeout=20)
        for each, options in ((client, {}), (copy, {}), (copy, {"max_retries": 0, "timeout": 10.0})):
            mock.calls.clear()
            reply = await each.chat(MODEL, "hi", **options)  # type: ignore[arg-type]
            assert reply.provider == "anthropic"
        with pytest.raises(ServerError):
            await copy.chat(MODEL, "hi", fallbacks=[])
        assert client.with_options() is not client
    tries = [len(reply.attempts) for reply in seen.seen["after_call"]]
    assert tries == [4, 3, 2, 2]


async def test_a_copy_shares_the_pools_plugins_and_life(mock: MockTransport) -> None:
    mock.reply("hello").times(2)
    async with mock.client(plugins=[Recorder([], "a")]) as client:
        copy = client.with_options(timeout=5)
        await client.chat(MODEL, "hi")
        await copy.chat(MODEL, "hi")
        await copy.add_plugin(Recorder([], "b"))
        assert [plugin.name for plugin in client.plugins] == ["a", "b"]
    assert mock.connections.opened == 1
    with pytest.raises(UsageError):
        await copy.chat(MODEL, "hi")


async def test_a_subclass_stays_one_in_its_copies(mock: MockTransport) -> None:
    class Mine(Bifrost):
        pass

    assert type(Mine(mock.account, transport=mock).with_options(timeout=5)) is Mine


async def test_headers_are_put_together(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello")
    async with mock.client(extra_headers={"X-One": "1", "X-Two": "1"}) as client:
        await ask(
            client.with_options(extra_headers={"X-Two": "2", "X-Three": "2"}), kind, extra_headers={"X-Three": "3"}
        )
    headers = mock.calls[0].http.headers
    assert [headers[name] for name in ("x-one", "x-two", "x-three")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer x"},
        {"x-api-key": "x"},
        {"Host": "elsewhere"},
        {"Content-Length": "7"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Cookie": "a=b"},
        {"X-Split": "a\r\nX-Evil: 1"},
        {"X-Split\r\nX-Evil": "1"},
        {"X Space": "1"},
        {"": "1"},
        {"X-Snowman": "\u2603"},
        {"X-Number": 7},
        {7: "x"},
        ["X-List"],
    ],
    ids=str,
)
async def test_headers_that_would_do_harm_are_refused(mock: MockTransport, kind: Kind, headers: Any) -> None:
    async with mock.client() as client:
        with pytest.raises(ConfigError, match="extra_headers"):
            await ask(client, kind, extra_headers=headers)
        with pytest.raises(ConfigError, match="extra_headers"):
            client.with_options(extra_headers=headers)
    with pytest.raises(ConfigError, match="extra_headers"):
        mock.client(extra_headers=headers)
    assert mock.calls == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"timeout": "5"}, "timeout must be"),
        ({"timeout": True}, "timeout must be"),
        ({"max_retries": -1}, "max_retries must be"),
        ({"max_retries": "2"}, "max_retries must be"),
        ({"fallbacks": OTHER}, r"fallbacks is a list .* write \['anthropic/"),
        ({"fallbacks": 7}, "fallbacks is a list"),
        ({"fallbacks": [7]}, "fallbacks: a model is text, not int"),
        ({"fallbacks": [" "]}, "fallbacks is empty"),
    ],
    ids=str,
)
async def test_settings_that_cannot_work_are_refused(
    mock: MockTransport, kind: Kind, options: dict[str, Any], problem: str
) -> None:
    async with mock.client() as client:
        with pytest.raises((ConfigError, InvalidRequestError), match=problem):
            await ask(client, kind, **options)
        with pytest.raises((ConfigError, InvalidRequestError), match=problem):
            client.with_options(**options)
    with pytest.raises((ConfigError, InvalidRequestError), match=problem):
        mock.client(**options)
    assert mock.calls == []


@pytest.mark.parametrize("model", ["", "  ", None, 7, ["openai/gpt-4o"]], ids=repr)
async def test_a_model_is_text(mock: MockTransport, kind: Kind, model: Any) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=r"^model"):
            await ask(client, kind, model)
        with pytest.raises(InvalidRequestError, match=r"^model"):
            await client.embed(model, "hi")


async def test_a_wrong_argument_is_no_option_of_embeddings(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(TypeError, match="dimension"):
            await client.embed(EMBEDDINGS, "hi", dimension=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# --- making a client


async def test_keys_come_from_the_environment(mock: MockTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-mine")
    mock.reply("hello")
    async with Bifrost(transport=mock) as client:
        assert isinstance(client._engine.account.account, EnvAccount)
        reply = await client.chat(MODEL, "hi")
    assert mock.calls[0].key == "mine"
    assert reply.attempts[0].key == "OPENAI_API_KEY"


async def test_an_httpx_transport_will_do() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(
            200, json={"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}]}
        )

    for transport in (httpx.MockTransport(handle), lambda: httpx.MockTransport(handle)):
        async with Bifrost(StaticAccount(keys={"openai": "sk-x"}), transport=transport) as client:
            assert (await client.chat(MODEL, "hi")).text == "hello"
    assert asked == ["https://api.openai.com/v1/chat/completions"] * 2


@pytest.mark.parametrize("transport", [7, "https://x", object()], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_transport_is_refused(mock: MockTransport, transport: Any) -> None:
    with pytest.raises(ConfigError, match="transport="):
        Bifrost(mock.account, transport=transport)


@pytest.mark.parametrize(
    "models",
    [{"fast": []}, {"a/b": [MODEL]}, {"fast": ["fast"]}, {"fast": [7]}, {"fast": MODEL}, ["fast"], 7],
    ids=str,
)
def test_groups_that_cannot_work_are_refused(mock: MockTransport, models: Any) -> None:
    with pytest.raises(ConfigError, match="models"):
        mock.client(models=models)


async def test_a_clients_repr_tells_no_secret() -> None:
    client = Bifrost(StaticAccount(keys={"openai": "sk-canary"}))
    assert repr(client) == "Bifrost(StaticAccount(openai), new)"
