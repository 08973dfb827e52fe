from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
import trio
import trio.testing

import bifrost
from bifrost import Key, ProviderConfig, RetryConfig, Timeouts, ToolCall, Usage
from bifrost.config import ConnectionConfig
from bifrost.providers.catalog import CATALOG
from bifrost.providers.compatible import speaks_openai
from bifrost.testing import MockTransport, UnexpectedCallError, fake_key, no_waits
from bifrost.transport import Origin
from bifrost.wire.http import HttpRequest
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with no_waits():
        yield


async def streamed(client: bifrost.Bifrost, model: str = GPT) -> tuple[list[str], bifrost.ChatResponse]:
    async with client.stream_chat(model, "hi") as stream:
        texts = [text async for text in stream.text_stream]
        return texts, await stream.final()


# --- answers


def test_a_reply_that_is_no_text_is_told_how_to_be_one(mock: MockTransport) -> None:
    value: Any = {"city": "Oslo"}
    with pytest.raises(
        bifrost.UsageError, match=r"a text, not dict; of a value make JSON: reply\(json.dumps\(value\)\)"
    ):
        mock.reply(value)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_a_reply_is_given_plain_or_as_a_stream_as_it_is_asked_for(mock: MockTransport, model: str) -> None:
    mock.reply("Hello to you", usage=(7, 3), model="its-own-name", finish_reason="length").times(2)

    async with mock.client() as client:
        plain = await client.chat(model, "hi")
        texts, whole = await streamed(client, model)

    assert texts == ["Hello", " to", " you"]
    for reply in (plain, whole):
        assert (reply.text, reply.model, reply.finish_reason) == ("Hello to you", "its-own-name", "length")
        assert reply.usage == Usage(input_tokens=7, output_tokens=3)
    assert [call.stream for call in mock.calls] == [False, True]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_tool_calls_are_given_plain_and_as_a_stream(mock: MockTransport, model: str) -> None:
    wave = ToolCall(id="mine", name="wave", arguments='{"hands":1}')
    mock.reply(tool_calls=[("look", {"at": "sky"}), ("wait", '{"s":1}'), wave]).times(2)

    async with mock.client() as client:
        plain = await client.chat(model, "hi")
        _, whole = await streamed(client, model)

    for reply in (plain, whole):
        assert [(call.id, call.name, call.parse_arguments()) for call in reply.tool_calls] == [
            ("call_1", "look", {"at": "sky"}),
            ("call_2", "wait", {"s": 1}),
            ("mine", "wave", {"hands": 1}),
        ]
        assert reply.finish_reason == "tool_calls"
        assert reply.text == ""


@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_reasoning_is_given(mock: MockTransport, model: str) -> None:
    mock.reply("42", reasoning="Six times seven.").times(2)
    async with mock.client() as client:
        assert (await client.chat(model, "hi")).reasoning == "Six times seven."
        assert (await streamed(client, model))[1].reasoning == "Six times seven."


async def test_pieces_of_a_stream_come_as_they_are_scripted(mock: MockTransport) -> None:
    mock.stream(["a b", "c"]).times(2)
    async with mock.client() as client:
        assert (await streamed(client))[0] == ["a b", "c"]
        assert (await client.chat(GPT, "hi")).text == "a bc"


async def test_embeddings_and_models_are_given(mock: MockTransport) -> None:
    mock.embed([[0.5, 1.0], [0.0, -1.0]], usage=(6, 0)).then.models(["m1", "m2"])
    async with mock.client() as client:
        vectors = await client.embed("openai/text-embedding-3-small", ["a", "b"])
        listed = await client.list_models("openai")
    assert vectors.vectors == [[0.5, 1.0], [0.0, -1.0]]
    assert vectors.usage is not None
    assert vectors.usage.input_tokens == 6
    assert [model.id for model in listed.data] == ["m1", "m2"]


async def test_a_function_sees_the_unified_request(mock: MockTransport) -> None:
    mock.function(lambda request: request.messages[0].text.upper()).always()
    async with mock.client() as client:
        assert (await client.chat(CLAUDE, "one")).text == "ONE"
        assert (await streamed(client))[0] == ["HI"]


async def test_a_function_may_give_a_body(mock: MockTransport) -> None:
    body = {"id": "x", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "raw"}}]}
    mock.function(lambda _: body).then.json(body)
    async with mock.client() as client:
        assert (await client.chat(GPT, "hi")).text == "raw"
        assert (await client.chat(GPT, "hi")).text == "raw"


async def test_raw_bytes_are_sent_as_they_are(mock: MockTransport) -> None:
    event = {"choices": [{"index": 0, "delta": {"content": "hey"}, "finish_reason": "stop"}]}
    body = b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode(event)
    mock.raw(200, body, {"Content-Type": "text/event-stream"}).then.raw(418, "short and stout")
    async with mock.client() as client:
        assert (await streamed(client))[0] == ["hey"]
        with pytest.raises(bifrost.BifrostError) as caught:
            await client.chat(GPT, "hi")
    assert (caught.value.status, caught.value.body) == (418, b"short and stout")


async def test_headers_reach_the_client(mock: MockTransport) -> None:
    mock.reply("x", headers={"x-request-id": "req-7"})
    async with mock.client() as client:
        assert (await client.chat(GPT, "hi")).request_id == "req-7"


# --- the script


async def test_steps_are_played_in_order_and_as_often_as_scripted(mock: MockTransport) -> None:
    mock.fail(429, retry_after=1).times(2).then.reply("ok")
    mock.reply("ever").always()
    async with mock.client() as client:
        first = await client.chat(GPT, "hi")
        texts = [(await client.chat(GPT, "hi")).text for _ in range(3)]
    assert [attempt.status for attempt in first.attempts] == [429, 429, 200]
    assert first.attempts[1].wait >= 1
    assert texts == ["ever"] * 3
    mock.assert_done()


async def test_the_first_rule_that_matches_and_has_a_step_left_plays(mock: MockTransport) -> None:
    mock.reply("any").always()
    mock.on(provider="openai", stream=False).reply("first")
    mock.on(model="gpt-4o-mini").reply("second")
    mock.when(lambda call: call.request.messages[0].text == "special").reply("picked")
    async with mock.client() as client:
        assert (await client.chat(CLAUDE, "hi")).text == "any"
        assert [(await client.chat(GPT, "hi")).text for _ in range(3)] == ["first", "second", "any"]
        assert (await client.chat(GPT, "special")).text == "picked"


async def test_a_key_can_be_picked_by_its_name(mock: MockTransport) -> None:
    spare = Key(name="spare", value=fake_key("spare"), weight=0)
    mock.on(key="main").fail(429).then.fail(429)
    mock.on(key="spare").reply("saved")
    async with mock.client(mock.account_with({"openai": ["main", spare]})) as client:
        reply = await client.chat(GPT, "hi")
    assert reply.text == "saved"
    assert [call.key for call in mock.calls] == ["main", "spare"]


async def test_a_call_beyond_the_script_is_refused_at_once(mock: MockTransport) -> None:
    mock.reply("only one")
    async with mock.client(fallbacks=[CLAUDE]) as client:
        await client.chat(GPT, "hi")
        with pytest.raises(UnexpectedCallError, match=r"script is at its end: call 2, chat to openai/gpt-4o-mini"):
            await client.chat(GPT, "hi")
    assert len(mock.calls) == 2
    with pytest.raises(AssertionError, match="call 2"):
        mock.assert_done()


async def test_nothing_scripted_says_so(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(AssertionError, match="nothing is scripted"):
            await client.chat(GPT, "hi")


async def test_steps_left_over_are_told(mock: MockTransport) -> None:
    mock.reply("a").times(3).then.fail(500)
    mock.on(provider="groq").reply("b")
    async with mock.client() as client:
        await client.chat(GPT, "hi")
    with pytest.raises(AssertionError) as caught:
        mock.assert_done()
    told = (
        "scripted and never requested: reply('b') on provider='groq' (x1), reply('a') (x2), fail(500) (x1); "
        "no call matched on(provider='groq'); the calls were: "
        "(provider='openai', model='gpt-4o-mini', endpoint='chat', key='openai-key', stream=False)"
    )
    assert str(caught.value) == told

    mock.forget()
    mock.assert_done()


async def test_a_rule_that_matched_nothing_is_named(mock: MockTransport) -> None:
    mock.on(provider="opanai").reply("a").always()
    mock.when(lambda call: call.model == "nothing").reply("b").always()
    mock.on(model="gpt-4o-mini").reply("c")
    async with mock.client() as client:
        assert (await client.chat(GPT, "hi")).text == "c"
        with pytest.raises(UnexpectedCallError) as caught:
            await client.chat(GPT, "hi", key="openai-key")
    assert "no call has matched on(provider='opanai'), when(...), and this one is (provider='openai'," in str(
        caught.value
    )


async def test_a_provider_is_known_by_its_name_in_the_account(mock: MockTransport) -> None:
    own = speaks_openai("mine", "https://api.openai.com/v1", "MINE_KEY")
    account = bifrost.StaticAccount(
        providers=[own],
        keys={"azure": fake_key("a"), "mine": fake_key("m"), "openai": fake_key("o"), "groq": fake_key("g")},
        configs={
            "azure": ProviderConfig(base_url="https://contoso.openai.azure.com"),
            "groq": ProviderConfig(base_url="https://gateway.example/groq"),
        },
    )
    for name in ("azure", "mine", "openai", "groq"):
        mock.on(provider=name).reply(name)
    async with mock.client(account) as client:
        for name in ("azure", "mine", "openai", "groq"):
            assert (await client.chat(f"{name}/m", "hi")).text == name
    assert [call.provider for call in mock.calls] == ["azure", "mine", "openai", "groq"]


async def test_a_model_may_be_named_as_calls_name_it(mock: MockTransport) -> None:
    mock.on(model=CLAUDE).reply("claude")
    mock.on(model="openrouter/meta-llama/llama-4").reply("llama")
    async with mock.client() as client:
        assert (await client.chat("openrouter/meta-llama/llama-4", "hi")).text == "llama"
        assert (await client.chat(CLAUDE, "hi")).text == "claude"


MISTAKES: list[tuple[Any, str]] = [
    (lambda mock: mock.reply(usage={"input_tokens": 3}), r"not dict: usage=\(12, 3\)"),
    (lambda mock: mock.reply(usage=(1, 2, 3)), "not tuple"),
    (lambda mock: mock.reply(usage=("1", 2)), "not tuple"),
    (lambda mock: mock.reply(tool_calls=[{"name": "w"}]), "pairs of name and arguments"),
    (lambda mock: mock.reply(tool_calls=["weather"]), "pairs of name and arguments"),
    (lambda mock: mock.stream("It rains."), r"stream\(\['It ', 'rains.'\]\)"),
    (lambda mock: mock.stream([1, 2]), "takes the pieces of a text"),
    (lambda mock: mock.fail("429"), r"not '429': fail\(429\)"),
    (lambda mock: mock.fail(True), "not True"),
    (lambda mock: mock.fail(200), r"raw\(200\)"),
    (lambda mock: mock.fail(429, retry_after="7"), "takes seconds, a number, not '7'"),
    (lambda mock: mock.raw("200"), r"raw\(200\)"),
    (lambda mock: mock.json({}, status=None), "not None"),
    (lambda mock: mock.html(7), "not 7"),
    (lambda mock: mock.empty(2000), "not 2000"),
    (lambda mock: mock.reply("a").times(0), "whole number of 1 or more, not 0"),
    (lambda mock: mock.reply("a").times("2"), "not '2'"),
    (lambda mock: mock.reply("a").delay("1"), "not '1'"),
    (lambda mock: mock.reply("a").drip(-1), "not -1"),
    (lambda mock: mock.on(endpoint="embedding"), "the endpoints are chat, embeddings, models, moderations, "),
]


@table(("write", "told"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_script_that_cannot_be_played_is_refused_as_it_is_written(write: Any, told: str) -> None:
    with pytest.raises(bifrost.UsageError, match=told):
        write(MockTransport())


@pytest.mark.parametrize("verb", ["reply", "embed", "models"])
async def test_a_step_that_does_not_fit_the_question_says_so(mock: MockTransport, verb: str) -> None:
    getattr(mock, verb)(*([[]] if verb != "reply" else []))
    async with mock.client() as client:
        with pytest.raises(bifrost.UsageError, match="script's next step is"):
            await (client.list_models("openai") if verb != "models" else client.chat(GPT, "hi"))


async def test_an_event_cannot_be_scripted_into_a_plain_answer(mock: MockTransport) -> None:
    mock.error_event()
    async with mock.client() as client:
        with pytest.raises(bifrost.UsageError, match="does not request a stream"):
            await client.chat(GPT, "hi")


def test_a_cut_has_one_place(mock: MockTransport) -> None:
    with pytest.raises(bifrost.UsageError, match="takes one of"):
        mock.cut(after_bytes=1, after_events=1)


# --- faults


async def fails(mock: MockTransport, *, stream: bool = False, timeouts: Timeouts | None = None) -> bifrost.BifrostError:
    config = ProviderConfig(retry=RetryConfig(max_retries=0), timeouts=timeouts or Timeouts())
    async with mock.client(mock.account_with({"openai": ["k"]}, configs={"openai": config}), timeout=5) as client:
        with pytest.raises(bifrost.BifrostError) as caught:
            await (streamed(client) if stream else client.chat(GPT, "hi"))
    assert (mock.connections.open, mock.connections.in_use) == (0, 0)
    return caught.value


async def test_a_refused_connection_was_never_made(mock: MockTransport) -> None:
    mock.refuse()
    error = await fails(mock)
    assert isinstance(error, bifrost.ConnectError)
    assert error.category == "never_sent"
    assert mock.connections.opened == 0
    assert mock.calls[0].connection == 0


async def test_a_black_hole_lasts_as_long_as_the_time_to_connect(mock: MockTransport) -> None:
    mock.black_hole()
    error = await fails(mock, timeouts=Timeouts(connect=0.02))
    assert isinstance(error, bifrost.CallTimeoutError)
    assert (error.phase, error.category) == ("connect", "never_sent")


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("reset", bifrost.TransportError),
        ("cut", bifrost.ProtocolError),
        ("garbage", bifrost.ProtocolError),
        ("html", bifrost.MalformedResponseError),
        ("empty", bifrost.MalformedResponseError),
    ],
)
async def test_failures_of_an_answer(mock: MockTransport, verb: str, kind: type[bifrost.BifrostError]) -> None:
    getattr(mock, verb)()
    assert type(await fails(mock)) is kind


@pytest.mark.parametrize("verb", ["cut", "reset"])
async def test_a_body_that_breaks_off(mock: MockTransport, verb: str) -> None:
    getattr(mock, verb)(after_bytes=20)
    error = await fails(mock)
    assert isinstance(error, bifrost.TransportError)
    assert error.status == 200


async def test_a_provider_that_hangs_is_left_when_its_time_is_over(mock: MockTransport) -> None:
    mock.hang()
    error = await fails(mock, stream=True, timeouts=Timeouts(first_token=0.02))
    assert isinstance(error, bifrost.CallTimeoutError)
    assert error.phase in ("headers", "first_token")


async def test_a_stream_that_falls_silent_is_left_when_its_time_is_over(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    error = await fails(mock, stream=True, timeouts=Timeouts(idle_bytes=0.02))
    assert isinstance(error, bifrost.StreamInterruptedError)
    assert error.partial.text == "a"


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
async def test_a_stream_is_cut_after_so_many_pieces(mock: MockTransport, model: str, count: int) -> None:
    mock.stream(["a", "b", "c"]).cut(after_events=count)
    async with mock.client(max_retries=0) as client:
        with pytest.raises(bifrost.BifrostError) as caught:
            await streamed(client, model)
    if count == 0:
        assert isinstance(caught.value, bifrost.TransportError)
    else:
        assert isinstance(caught.value, bifrost.StreamInterruptedError)
        assert caught.value.partial.text == "abc"[:count]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize("verb", ["malformed_event", "error_event"])
async def test_a_bad_event_in_a_stream_interrupts_it(mock: MockTransport, model: str, verb: str) -> None:
    getattr(mock.stream(["a", "b"]), verb)(at=1)
    async with mock.client(max_retries=0) as client:
        with pytest.raises(bifrost.StreamInterruptedError) as caught:
            await streamed(client, model)
    assert caught.value.partial.text == "a"


@pytest.mark.parametrize("verb", ["malformed_event", "error_event"])
async def test_a_bad_event_before_the_first_piece_is_retried(mock: MockTransport, verb: str) -> None:
    getattr(mock, verb)(at=0).then.reply("good")
    async with mock.client() as client:
        texts, reply = await streamed(client)
    assert texts == ["good"]
    assert len(reply.attempts) == 2


async def test_an_error_event_says_what_is_scripted(mock: MockTransport) -> None:
    mock.error_event(at=0, status=500, message="oh dear", type="api_error")
    error = await fails(mock, stream=True)
    assert "oh dear" in str(error)


async def test_a_delayed_answer_comes_late(mock: MockTransport) -> None:
    mock.delay(0.05)
    async with mock.client() as client:
        reply = await client.chat(GPT, "hi")
    assert (reply.attempts[0].first_byte or 0) >= 0.05


async def test_an_answer_that_drips_comes_in_pieces(mock: MockTransport) -> None:
    mock.drip(0.001).then.stream(["a", "b"]).drip(0.001)
    async with mock.client() as client:
        assert (await client.chat(GPT, "hi")).text == "ok"
        assert (await streamed(client))[0] == ["a", "b"]


def test_time_may_be_virtual() -> None:
    """An hour of a hanging provider passes at once where the event loop's clock is not the wall's."""
    mock = MockTransport()
    mock.reply("late").delay(500).drip(10).then.hang()

    async def ask() -> float:
        async with mock.client() as client:
            assert (await client.chat(GPT, "hi")).text == "late"
            with pytest.raises(bifrost.CallTimeoutError):
                await client.chat(GPT, "hi", timeout=3600)
        return anyio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    started = time.monotonic()
    assert anyio.run(ask, backend="trio", backend_options={"clock": clock}) >= 4000
    assert time.monotonic() - started < 60


async def test_a_slow_body_ends_with_the_calls_time(mock: MockTransport) -> None:
    mock.reply("slow").drip(60)
    async with mock.client() as client:
        with pytest.raises(bifrost.CallTimeoutError) as caught:
            await client.chat(GPT, "hi", timeout=0.15)
    assert caught.value.phase == "body"
    assert mock.connections.in_use == 0


# --- connections


async def test_a_connection_is_used_again(mock: MockTransport) -> None:
    mock.reply("x").times(3)
    async with mock.client() as client:
        for _ in range(3):
            await client.chat(GPT, "hi")
        assert (mock.connections.opened, mock.connections.open, mock.connections.in_use) == (1, 1, 0)
    assert [call.connection for call in mock.calls] == [1, 1, 1]
    assert mock.connections.open == 0


async def test_a_provider_that_goes_down_closes_what_is_open(mock: MockTransport) -> None:
    mock.reply("up").then.refuse()
    async with mock.client(max_retries=0) as client:
        await client.chat(GPT, "hi")
        with pytest.raises(bifrost.ConnectError):
            await client.chat(GPT, "hi")
    assert len(mock.calls) == 2


async def test_a_connection_that_went_stale_costs_no_attempt(mock: MockTransport) -> None:
    mock.reply("warm").then.reset().then.reply("again")
    async with mock.client() as client:
        await client.chat(GPT, "hi")
        reply = await client.chat(GPT, "hi")
    assert reply.text == "again"
    assert mock.connections.opened == 2


async def test_a_caller_that_leaves_frees_the_connection(mock: MockTransport) -> None:
    mock.hang()
    async with mock.client() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.chat, GPT, "hi")
            with anyio.fail_after(5):
                while not mock.connections.in_use:
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            while mock.connections.open:
                await anyio.lowlevel.checkpoint()
    assert mock.connections.in_use == 0


async def test_misuse_of_a_connection_is_told(mock: MockTransport) -> None:
    """The mock stands in for real connections, which would break in stranger ways."""
    mock.reply("x").always()
    connection = mock.open(Origin("https", "api.openai.com", 443))
    request = HttpRequest(method="POST", path="/v1/chat/completions", body=b"{}")

    await connection.send(request, timeouts=Timeouts(), read_timeout=None)

    with pytest.raises(bifrost.InternalError, match="busy"):
        await connection.send(request, timeouts=Timeouts(), read_timeout=None)
    with pytest.raises(bifrost.InternalError, match="not read to its end"):
        await connection.finish()
    await connection.close()
    with pytest.raises(bifrost.InternalError, match="closed"):
        await connection.send(request, timeouts=Timeouts(), read_timeout=None)


async def test_a_connection_can_be_cut_under_its_reader(mock: MockTransport) -> None:
    mock.reply("x").stall(after_bytes=1)
    connection = mock.open(Origin("https", "api.openai.com", 443))
    request = HttpRequest(method="POST", path="/v1/chat/completions", body=b"{}")
    answer = await connection.send(request, timeouts=Timeouts(), read_timeout=None)
    assert await answer.reader.read() == b"{"

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(_expect, bifrost.TransportError, answer.reader.read)
            await anyio.lowlevel.checkpoint()
            connection.cut()
    await connection.close()
    assert mock.connections.open == 0


async def _expect(kind: type[Exception], function: Any) -> None:
    with pytest.raises(kind):
        await function()


# --- what is remembered


async def test_calls_tell_what_was_asked_and_no_secret(mock: MockTransport) -> None:
    mock.reply("x").always()
    own = mock.account_with({"anthropic": [Key(name="own", value="sk-own-and-secret")]})
    async with mock.client(own) as client:
        await client.chat(CLAUDE, "hi", temperature=0.5)

    (call,) = mock.calls
    assert (call.index, call.provider, call.endpoint, call.model) == (0, "anthropic", "chat", "claude-haiku-4-5")
    assert (call.has_key, call.key, call.stream) == (True, None, False)
    assert call.json["temperature"] == 0.5
    assert call.request.messages[0].text == "hi"
    assert call.http.path == "/v1/messages"
    assert call.http.headers["x-api-key"] == "***"
    assert "secret" not in f"{call!r} {call.http!r} {call.http.headers} {mock!r}"


async def test_a_provider_without_a_key_is_seen_to_have_none(mock: MockTransport) -> None:
    mock.reply("x")
    request = HttpRequest(method="POST", path="/v1/chat/completions", body=b"not json")
    await mock.open(Origin("http", "localhost", 8999)).send(request, timeouts=Timeouts(), read_timeout=None)
    (call,) = mock.calls
    assert (call.provider, call.has_key, call.key, call.json, call.model) == ("localhost", False, None, None, "")


def test_every_provider_of_the_catalog_has_a_fake_key(mock: MockTransport) -> None:
    assert set(mock.account.providers()) == set(CATALOG)
    assert [key.name for key in mock.account.keys("openai", None)] == ["openai-key"]


async def test_settings_of_a_provider_may_be_given(mock: MockTransport) -> None:
    mock.reply("x").times(2)
    config = ProviderConfig(connections=ConnectionConfig(requests=1))
    async with mock.client(mock.account_with({"openai": ["k"]}, configs={"openai": config})) as client:
        await client.chat(GPT, "hi")
        await client.chat(GPT, "hi")
    assert mock.connections.opened == 2
