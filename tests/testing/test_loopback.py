from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest
import trustme

import bifrost
from bifrost import Key, ProviderConfig, RetryConfig, Timeouts
from bifrost.providers.catalog import CATALOG
from bifrost.testing import LoopbackProvider, MockTransport, RawServer, fake_key, leak_check, no_waits
from bifrost.testing.loopback import reset_connection
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from anyio.abc import ByteStream

    from bifrost.testing import Rules

pytestmark = pytest.mark.anyio

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with no_waits():
        yield


@pytest.fixture
async def server() -> AsyncIterator[LoopbackProvider]:
    async with leak_check(), LoopbackProvider() as server:
        yield server


async def streamed(client: bifrost.Bifrost, model: str, prompt: str = "hi") -> tuple[list[str], bifrost.ChatResponse]:
    async with client.stream_chat(model, prompt) as stream:
        texts = [text async for text in stream.text_stream]
        return texts, await stream.final()


# --- recorded answers


async def test_the_recorded_question_gets_its_recorded_answer(server: LoopbackProvider) -> None:
    async with server.client() as client:
        gpt = await client.chat(GPT, "hello")
        claude = await client.chat(CLAUDE, "hello")
        counted, whole = await streamed(client, "openai/gpt-3.5-turbo", "Count to 5")
        sum_, _ = await streamed(client, "anthropic/claude-sonnet-4-5", "What is 1+1? Answer with just the number.")
        _, thought = await streamed(client, "anthropic/claude-sonnet-4-0", "How do I cross the street?")

    assert gpt.text == "Hello! How can I assist you today?"
    assert gpt.usage is not None
    assert (gpt.usage.input_tokens, gpt.usage.output_tokens) == (8, 9)
    assert claude.text == "Hi there! How are you doing today? Is there anything I can help you with?"
    assert "".join(counted) == whole.text == "1, 2, 3, 4, 5"
    assert len(counted) > 5
    assert sum_ == ["2"]
    assert thought.reasoning
    assert "crossing the street" in thought.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_answered(server: LoopbackProvider, stream: bool) -> None:
    model, question, name, result, final = (
        ("openai/gpt-4o", "What is the largest city in the user country?", "get_user_country", "Mexico", "Mexico City")
        if not stream
        else (GPT, "What is the capital of the UK? Use the tool, then answer.", "get_capital", "London", "London")
    )
    tools = [bifrost.Tool(name=name, parameters={"type": "object"})]
    messages: list[Any] = [{"role": "user", "content": question}]

    async def ask(client: bifrost.Bifrost) -> bifrost.ChatResponse:
        if not stream:
            return await client.chat(model, messages, tools=tools)
        async with client.stream_chat(model, messages, tools=tools) as answer:
            return await answer.final()

    async with server.client() as client:
        asked = await ask(client)
        (call,) = asked.tool_calls
        assert call.name == name
        messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": result}]
        assert final in (await ask(client)).text


async def test_anthropic_calls_tools_too(server: LoopbackProvider) -> None:
    tools = [bifrost.Tool(name="get_weather", parameters={"type": "object"})]
    async with server.client() as client:
        reply = await client.chat(CLAUDE, "What's the weather and elevation in Denver?", tools=tools)
        assert [call.name for call in reply.tool_calls] == ["get_weather", "get_elevation"]
        _, streamed_reply = await streamed(client, CLAUDE)
    assert streamed_reply.text


async def test_embeddings_come_for_each_text(server: LoopbackProvider) -> None:
    async with server.client() as client:
        once = await client.embed("openai/text-embedding-3-small", "Hello, world!")
        twice = await client.embed("openai/text-embedding-3-small", ["a", "b"], encoding_format="float")
    assert len(once.vectors[0]) == 128
    assert twice.vectors == once.vectors * 2
    assert once.usage is not None
    assert once.usage.input_tokens == 4


async def test_models_are_listed(server: LoopbackProvider) -> None:
    async with server.client() as client:
        gpt = await client.list_models("openai")
        claude = await client.list_models("anthropic")
    assert "gpt-4o-mini" in [model.id for model in gpt.data]
    assert "claude-haiku-4-5" in [model.id for model in claude.data]


async def test_other_providers_that_speak_the_format_can_be_sent_there(server: LoopbackProvider) -> None:
    row = attrs.evolve(CATALOG["openai"], name="house", base_url="https://house.example")
    account = bifrost.StaticAccount(
        providers=[row], keys={"house": fake_key("k")}, configs={"house": server.config("openai")}
    )
    async with server.client(account) as client:
        reply = await client.chat("house/some-model", "hello")
    assert reply.text == "Hello! How can I assist you today?"


async def test_without_a_key_it_says_so() -> None:
    async with RawClient() as (server, send):
        answer = await send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"invalid_api_key" in answer
        assert not server.calls[0].has_key


async def test_an_unknown_path_is_not_found() -> None:
    async with RawClient() as (_, send):
        answer = await send(b"GET /v2/nothing HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_requests_in_chunks_are_read() -> None:
    async with RawClient() as (server, send):
        head = b"POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        answer = await send(head + b'7\r\n{"model\r\n6\r\n":"m"}\r\n0\r\n\r\n')
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.calls[0].model == "m"
        await server.all_closed()


class RawClient:
    """A server, and a function that sends bytes to it and gives what comes back first."""

    async def __aenter__(self) -> tuple[LoopbackProvider, Callable[[bytes], Any]]:
        self._server = await LoopbackProvider().__aenter__()
        port = int(self._server.base_url.rpartition(":")[2])
        self._stream = await anyio.connect_tcp("127.0.0.1", port)
        return self._server, self._send

    async def _send(self, data: bytes) -> bytes:
        await self._stream.send(data)
        answer = b""
        with anyio.fail_after(5):
            while not answer.endswith((b"}", b"\n\n")):
                answer += await self._stream.receive()
        return answer

    async def __aexit__(self, *error: object) -> None:
        await self._stream.aclose()
        await self._server.stop()


# --- the script


async def test_the_script_goes_before_the_recordings(server: LoopbackProvider) -> None:
    server.on(provider="anthropic").reply("scripted")
    async with server.client() as client:
        assert (await client.chat(CLAUDE, "hello")).text == "scripted"
        assert (await client.chat(CLAUDE, "hello")).text != "scripted"
    server.assert_done()


async def test_a_rate_limited_key_and_a_provider_that_fails(server: LoopbackProvider) -> None:
    spare = Key(name="spare", value=fake_key("spare"), weight=0)
    server.on(provider="openai", key="main").fail(429, retry_after=30)
    server.on(provider="openai", key="spare").fail(503).always()
    async with server.client(server.account({"openai": ["main", spare], "anthropic": ["a"]})) as client:
        reply = await client.chat(GPT, "hello", fallbacks=[CLAUDE])
    trail = [(attempt.provider, attempt.key, attempt.status) for attempt in reply.attempts]
    assert trail == [
        ("openai", "main", 429),
        ("openai", "spare", 503),
        ("openai", "spare", 503),
        ("anthropic", "a", 200),
    ]


async def test_a_recorded_stream_is_paced() -> None:
    async with LoopbackProvider(pace=0.01) as server, server.client() as client:
        started = anyio.current_time()
        texts, _ = await streamed(client, "openai/gpt-3.5-turbo", "Count to 5")
        assert anyio.current_time() - started >= 0.01 * len(texts)


async def test_a_function_gets_the_body(server: LoopbackProvider) -> None:
    server.function(lambda body: body["messages"][0]["content"] + "!")
    async with server.client() as client:
        assert (await client.chat(GPT, "well")).text == "well!"


async def test_an_error_of_the_script_is_raised_at_the_end() -> None:
    server = LoopbackProvider()
    await server.start()
    server.function(lambda body: body["no such field"])
    async with server.client(max_retries=0) as client:
        with pytest.raises(bifrost.TransportError):
            await client.chat(GPT, "hi")
    with pytest.raises(KeyError, match="no such field"):
        await server.stop()


async def test_a_refusal_cannot_be_scripted_per_call() -> None:
    server = LoopbackProvider()
    await server.start()
    server.refuse()
    async with server.client(max_retries=0) as client:
        with pytest.raises(bifrost.TransportError):
            await client.chat(GPT, "hi")
    with pytest.raises(bifrost.UsageError, match="go_down"):
        await server.stop()


async def test_calls_tell_what_was_asked_and_no_secret(server: LoopbackProvider) -> None:
    async with server.client() as client:
        await client.chat(CLAUDE, "hello")
        await client.chat(GPT, "hello")
    claude, gpt = server.calls
    assert (claude.index, claude.provider, claude.endpoint, claude.model) == (
        0,
        "anthropic",
        "chat",
        "claude-haiku-4-5",
    )
    assert (claude.key, claude.http.headers["x-api-key"]) == ("anthropic-key", "***")
    assert (gpt.key, gpt.http.headers["authorization"]) == ("openai-key", "***")
    assert gpt.json["messages"] == [{"role": "user", "content": "hello"}]


# --- connections


async def test_connections_are_kept_and_counted(server: LoopbackProvider) -> None:
    async with server.client() as client:
        for _ in range(3):
            await client.chat(GPT, "hello")
        with anyio.fail_after(5):
            # The client may have read the last byte before the server's task goes on.
            while server.connections.in_use:
                await anyio.lowlevel.checkpoint()
        assert (server.connections.opened, server.connections.open) == (1, 1)
    with anyio.fail_after(5):
        await server.all_closed()
    assert [call.connection for call in server.calls] == [1, 1, 1]


async def test_a_caller_that_leaves_closes_the_connection(server: LoopbackProvider) -> None:
    server.hang()
    async with server.client() as client:
        with anyio.move_on_after(0.2):
            await client.chat(GPT, "hi")
        with anyio.fail_after(5):
            await server.all_closed()
    assert len(server.calls) == 1


async def test_a_provider_goes_down_and_comes_back(server: LoopbackProvider) -> None:
    address = server.base_url
    async with server.client(max_retries=0) as client:
        await client.chat(GPT, "hello")
        await server.go_down()
        assert server.connections.open == 0
        with pytest.raises(bifrost.ConnectError):
            await client.chat(GPT, "hello")
        await server.come_back()
        assert (await client.chat(GPT, "hello")).text
    assert server.base_url == address


async def test_going_down_twice_is_a_mistake(server: LoopbackProvider) -> None:
    await server.go_down()
    with pytest.raises(bifrost.UsageError):
        await server.go_down()
    await server.come_back()
    with pytest.raises(bifrost.UsageError):
        await server.come_back()


async def test_it_is_started_and_stopped_in_different_tasks() -> None:
    server = LoopbackProvider()
    for step in (server.start, server.stop):
        async with anyio.create_task_group() as group:
            group.start_soon(step)
    assert server.connections.open == 0


async def test_stopping_ends_what_is_open() -> None:
    server = LoopbackProvider()
    await server.start()
    server.hang()
    async with server.client(max_retries=0) as client, anyio.create_task_group() as group:
        group.start_soon(_fails, client)
        with anyio.fail_after(5):
            while not server.connections.in_use:  # noqa: ASYNC110 - the server tells no one when a request has come
                await anyio.sleep(0.001)
        await server.stop()
    assert server.connections.open == 0


async def _fails(client: bifrost.Bifrost) -> None:
    with pytest.raises(bifrost.TransportError):
        await client.chat(GPT, "hi")


async def test_it_speaks_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async with leak_check(), LoopbackProvider(ssl_context=context) as server:
        assert server.base_url.startswith("https://")
        async with server.client() as client:
            assert (await client.chat(GPT, "hello")).text
        monkeypatch.delenv("SSL_CERT_FILE")
        async with server.client() as client:
            with pytest.raises(bifrost.ConfigError, match="certificate"):
                await client.chat(GPT, "hello")


# --- the mock and the embedded provider agree

SCRIPTS: dict[str, Callable[[Rules], object]] = {
    "reply": lambda rules: rules.reply("Hello to you", usage=(3, 4)).always(),
    "tool calls": lambda rules: rules.reply(tool_calls=[("f", {"a": 1})]).always(),
    "stream": lambda rules: rules.stream(["a", "b c"], reasoning="so").always(),
    "json": lambda rules: rules.json({"error": {"message": "no", "code": "invalid_api_key"}}, status=401).always(),
    "rate limit": lambda rules: rules.fail(429, retry_after=1).then.reply("ok").always(),
    "server error": lambda rules: rules.fail(500).always(),
    "bad request": lambda rules: rules.fail(400, message="bad").always(),
    "reset": lambda rules: rules.reset().always(),
    "reset in the body": lambda rules: rules.reset(after_bytes=20).always(),
    "cut": lambda rules: rules.cut().always(),
    "cut in the body": lambda rules: rules.cut(after_bytes=20).always(),
    "cut after a piece": lambda rules: rules.stream(["a", "b"]).cut(after_events=1).always(),
    "hang": lambda rules: rules.hang().always(),
    "stall in the body": lambda rules: rules.stall(after_bytes=20).always(),
    "stall after a piece": lambda rules: rules.stream(["a", "b"]).stall(after_events=1).always(),
    "garbage": lambda rules: rules.garbage().always(),
    "html": lambda rules: rules.html().always(),
    "html error": lambda rules: rules.html(502).always(),
    "empty": lambda rules: rules.empty().always(),
    "drip": lambda rules: rules.drip(0.001).always(),
    "delay": lambda rules: rules.delay(0.001).always(),
    "malformed event": lambda rules: rules.on(stream=True).malformed_event(at=1).then.reply("x").always(),
    "error event": lambda rules: rules.on(stream=True).error_event(at=1).always(),
    "error event at once": lambda rules: rules.on(stream=True).error_event(at=0).always(),
}


@table("model", [GPT, CLAUDE], ids=["openai", "anthropic"])
@table("name", SCRIPTS)
async def test_the_mock_does_what_a_real_connection_does(name: str, model: str) -> None:
    mock = MockTransport()
    async with LoopbackProvider() as server:
        expected = await outcomes(server, server.client, server.account, model, name)
        got = await outcomes(mock, mock.client, mock.account_with, model, name)
    assert got == expected
    assert mock.connections.opened == server.connections.opened


async def outcomes(rules: Rules, make_client: Any, make_account: Any, model: str, name: str) -> list[Any]:
    """Take a plain and a streamed call through a script and tell what came of them."""
    SCRIPTS[name](rules)
    rules.reply("plain").always()
    provider = model.partition("/")[0]
    silent = name.startswith(("hang", "stall"))
    config = attrs.evolve(
        rules.config(provider) if isinstance(rules, LoopbackProvider) else ProviderConfig(),
        retry=RetryConfig(max_retries=0 if silent else 1),
        timeouts=Timeouts(first_token=0.1, idle_bytes=0.1) if silent else Timeouts(),
    )
    account = make_account({provider: ["k"]}, configs={provider: config})
    async with make_client(account, timeout=0.3 if silent else 20) as client:
        return [await outcome(client, model), await outcome(client, model, stream=True)]


async def outcome(client: bifrost.Bifrost, model: str, *, stream: bool = False) -> Any:
    try:
        reply = (await streamed(client, model))[1] if stream else await client.chat(model, "hi")
    except bifrost.BifrostError as error:
        partial = error.partial.text if isinstance(error, bifrost.StreamInterruptedError) else None
        phase = error.phase if isinstance(error, bifrost.CallTimeoutError) else None
        trail = [(attempt.status, attempt.category) for attempt in error.attempts]
        return type(error), partial, phase, error.status, error.code, error.type, trail
    trail = [(attempt.status, attempt.category) for attempt in reply.attempts]
    return reply.text, reply.reasoning, reply.tool_calls, reply.usage, reply.finish_reason, trail


# --- byte by byte


async def test_a_raw_server_is_driven_byte_by_byte() -> None:
    async def handler(stream: ByteStream) -> None:
        assert (await stream.receive()).startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        for byte in b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n":
            await stream.send(bytes([byte]))

    async with leak_check(), RawServer(handler) as server:
        config = ProviderConfig(base_url=f"{server.url}/v1", retry=RetryConfig(max_retries=0))
        account = bifrost.StaticAccount(keys={"openai": fake_key("k")}, configs={"openai": config})
        async with bifrost.Bifrost(account) as client:
            with pytest.raises(bifrost.ServerError):
                await client.chat(GPT, "hi")
        with anyio.fail_after(5):
            await server.all_closed()
        assert server.connections.opened == 1


async def test_a_raw_server_raises_what_its_handler_did_wrong() -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        raise ValueError("my own mistake")

    server = RawServer(handler)
    await server.start()
    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(b"x")
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    with pytest.raises(ValueError, match="my own mistake"):
        await server.stop()


async def test_a_reset_is_a_reset() -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        reset_connection(stream)

    async with leak_check(), RawServer(handler) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                await anyio.to_thread.run_sync(client.recv, 1)
