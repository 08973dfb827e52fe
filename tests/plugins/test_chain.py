from __future__ import annotations

import gc
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from bifrost import (
    AssistantMessage,
    BadRequestError,
    Bifrost,
    BifrostError,
    CallCancelledError,
    CallContext,
    CallTimeoutError,
    ChatRequest,
    ChatResponse,
    Choice,
    Chunk,
    Plugin,
    PluginError,
    ServerError,
    ShuttingDownError,
    StreamInterruptedError,
    TextPart,
)
from bifrost.operations.chat.chunks import ChunkChoice, Delta
from bifrost.testing import MockTransport, no_waits
from tests.engine.rig import until
from tests.plugins.recorder import MODEL, OTHER, Kind, Recorder, ask, assert_paired, read_into, three, upper
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

BY_HOOK = ("before_call", "before", "after", "after_call")


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with no_waits():
        yield


def answer(text: str) -> ChatResponse:
    return ChatResponse(
        id="mine",
        model="own",
        choices=[Choice(message=AssistantMessage(parts=[TextPart(text=text)]), finish_reason="stop")],
    )


def chunk(text: str, *, ending: bool = False) -> Chunk:
    return Chunk(choices=[ChunkChoice(delta=Delta(content=text), finish_reason="stop" if ending else None)])


async def chunks(*texts: str) -> AsyncIterator[Chunk]:
    for text in texts:
        await anyio.lowlevel.checkpoint()
        yield chunk(text)
    yield chunk("", ending=True)


def raising(error: BaseException) -> Callable[..., Any]:
    def hook(*_arguments: object) -> Any:
        raise error

    return hook


def giving(result: Any) -> Callable[[CallContext, Any], Any]:
    return lambda _call, _value: result() if callable(result) else result


# --- order and symmetry


@table("waits", [False, True], ids=["plain hooks", "async hooks"])
async def test_before_runs_forwards_and_after_backwards(kind: Kind, waits: bool) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[Recorder(log, "a", waits=waits), Recorder(log, "b", waits=waits)]) as client:
        assert (await ask(client, kind)).text == "hello"
    assert log == [
        "a.open", "b.open",
        "a.before_call", "b.before_call",
        "a.before", "b.before",
        "b.after", "a.after",
        "b.after_call", "a.after_call",
        "b.close", "a.close",
    ]  # fmt: skip


async def test_candidate_hooks_run_for_each_candidate_and_not_for_each_retry(kind: Kind) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.on(provider="openai").fail(503).times(3)
    mock.on(provider="anthropic").reply("hello")
    plugin = Recorder(log, "a")
    async with mock.client(plugins=[plugin]) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert [note for note in log if "call" in note] == ["a.before_call", "a.after_call"]
    assert log.count("a.before") == log.count("a.after") == 2
    assert [type(outcome) for outcome in plugin.seen["after"]] == [ServerError, ChatResponse]
    assert [attempt.provider for attempt in reply.attempts] == ["openai"] * 3 + ["anthropic"]
    assert_paired(log)


async def test_each_candidate_is_told_to_its_hooks() -> None:
    told: list[tuple[str, str, int, str]] = []

    def note(call: CallContext, request: ChatRequest) -> None:
        told.append((call.provider, call.model, call.fallback_index, request.model))

    mock = MockTransport()
    mock.on(provider="openai").fail(404)
    mock.on(provider="anthropic").reply("hello")
    async with mock.client(plugins=[Recorder([], before=note)]) as client:
        await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert told == [
        ("openai", "gpt-4o-mini", 0, "gpt-4o-mini"),
        ("anthropic", "claude-haiku-4-5", 1, "claude-haiku-4-5"),
    ]


async def test_only_overridden_hooks_are_run() -> None:
    class OnlyAfter(Recorder):
        before = Plugin.before
        before_call = Plugin.before_call

    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[OnlyAfter(log, "a")]) as client:
        await client.chat(MODEL, "hi")
    assert log == ["a.open", "a.after", "a.after_call", "a.close"]


@table("hook", ["before_call", "before"])
async def test_a_hook_that_refuses_ends_the_way_forward(kind: Kind, hook: str) -> None:
    log: list[str] = []
    verdict = BadRequestError("not with us")
    mock = MockTransport()
    async with mock.client(plugins=three(log, does={hook: raising(verdict)})) as client:
        with pytest.raises(BadRequestError, match="not with us") as caught:
            await ask(client, kind)
    assert caught.value is verdict
    assert f"c.{hook}" not in log
    assert {"a.after_call", "b.after_call"} <= set(log)
    assert_paired(log)
    assert mock.calls == []


@pytest.mark.parametrize("hook", BY_HOOK)
async def test_what_is_no_error_of_ours_is_isolated(kind: Kind, hook: str, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=three(log, does={hook: raising(ValueError("private words"))})) as client:
        reply = await ask(client, kind)
    assert reply.text == "hello"
    assert reply.warnings == [f"plugin 'b' failed in {hook}: ValueError"]
    assert [record.name for record in caplog.records] == ["bifrost.plugins"]
    assert caplog.records[0].exc_info is not None
    assert_paired(log)


@table("hook", ["before_call", "before"])
async def test_a_guard_that_fails_fails_the_call(kind: Kind, hook: str) -> None:
    log: list[str] = []
    guard = Recorder(log, "guard", on_error="fail", does={hook: raising(ValueError("private words"))})
    mock = MockTransport()
    async with mock.client(plugins=[Recorder(log, "a"), guard, Recorder(log, "c")]) as client:
        with pytest.raises(PluginError, match="'guard' failed in") as caught:
            await ask(client, kind, fallbacks=[OTHER])
    assert isinstance(caught.value.__cause__, ValueError)
    assert "private" not in str(caught.value)
    assert mock.calls == []
    assert_paired(log)


@table("hook", ["after", "after_call"])
async def test_what_came_is_kept_when_a_guard_fails_on_the_way_back(kind: Kind, hook: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    guard = Recorder(log, "guard", on_error="fail", does={hook: raising(ValueError())})
    async with mock.client(plugins=[Recorder(log, "a"), guard]) as client:
        reply = await ask(client, kind)
    assert (reply.text, reply.warnings) == ("hello", [f"plugin 'guard' failed in {hook}: ValueError"])
    assert_paired(log)


@table("hook", BY_HOOK)
@table(
    "result",
    [7, "text", {"a": 1}, [1, 2], object(), ValueError("returned"), ChatRequest],
    ids=lambda value: type(value).__name__,
)
async def test_a_result_of_the_wrong_type_is_a_failure(kind: Kind, hook: str, result: Any) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=three(log, does={hook: giving(lambda: result)})) as client:
        reply = await ask(client, kind)
        assert reply.text == "hello"
        (warning,) = reply.warnings
        assert warning.startswith(f"plugin 'b' failed in {hook}: {hook} returned {type(result).__name__}, but it may")
    assert_paired(log)


async def test_a_guard_that_returns_nonsense_fails_the_call() -> None:
    mock = MockTransport()
    guard = Recorder([], "guard", on_error="fail", before=giving(7))
    async with mock.client(plugins=[guard]) as client:
        with pytest.raises(PluginError, match="before returned int, but it may return only ChatResponse, an error"):
            await client.chat(MODEL, "hi")


async def test_an_answer_of_another_operation_is_none() -> None:
    mock = MockTransport()
    mock.embed([[1.0]])
    async with mock.client(plugins=[Recorder([], before=giving(answer("no vectors")))]) as client:
        reply = await client.embed("openai/text-embedding-3-small", "hi")
    assert reply.vectors == [[1.0]]
    assert "returned ChatResponse, but it may return only EmbeddingResponse" in reply.warnings[0]


async def test_chunks_answer_chats_only() -> None:
    mock = MockTransport()
    mock.models(["m"])
    async with mock.client(plugins=[Recorder([], before=giving(lambda: [chunk("x")]))]) as client:
        reply = await client.list_models("openai")
    assert [model.id for model in reply.data] == ["m"]
    assert "returned list" in reply.warnings[0]


# --- changing what passes


@table("wrong", [{"model": None}, {"fallbacks": OTHER}, {"fallbacks": [5]}], ids=str)
async def test_before_call_that_sets_something_else_than_names_is_told(kind: Kind, wrong: dict[str, Any]) -> None:
    def route(call: CallContext, _request: Any) -> None:
        for name, value in wrong.items():
            setattr(call, name, value)

    async with MockTransport().client(plugins=[Recorder([], before_call=route)]) as client:
        with pytest.raises(PluginError, match="before_call has "):
            await ask(client, kind)


async def test_before_call_may_set_model_fallbacks_and_tenant(kind: Kind) -> None:
    tenants: list[str | None] = []

    class Account:
        def __init__(self, inner: Any) -> None:
            self.providers, self.config, self._keys = inner.providers, inner.config, inner.keys

        def keys(self, provider: str, call: CallContext | None) -> Any:
            tenants.append(None if call is None else call.tenant)
            return self._keys(provider, call)

    def route(call: CallContext, _request: Any) -> None:
        call.model, call.fallbacks, call.tenant = "openai/gpt-4.1", (OTHER,), "blue"

    mock = MockTransport()
    mock.on(provider="openai", model="gpt-4.1").fail(404)
    mock.on(provider="anthropic").reply("hello")
    async with Bifrost(Account(mock.account), transport=mock, plugins=[Recorder([], before_call=route)]) as client:
        reply = await ask(client, kind)
    assert [(attempt.provider, attempt.model) for attempt in reply.attempts] == [
        ("openai", "gpt-4.1"),
        ("anthropic", "claude-haiku-4-5"),
    ]
    assert tenants == ["blue", "blue"]


async def test_before_call_may_return_a_request_for_another_model(kind: Kind) -> None:
    def change(_call: CallContext, request: ChatRequest) -> ChatRequest:
        return msgspec.structs.replace(request, model=OTHER, temperature=0.5)

    mock = MockTransport()
    mock.on(provider="anthropic").reply("hello")
    async with mock.client(plugins=[Recorder([], before_call=change)]) as client:
        await ask(client, kind)
    assert mock.calls[0].json["temperature"] == 0.5
    assert mock.calls[0].model == "claude-haiku-4-5"


async def test_before_changes_the_request_of_its_candidate_only(kind: Kind) -> None:
    def change(call: CallContext, request: ChatRequest) -> ChatRequest | None:
        return msgspec.structs.replace(request, temperature=0.5) if call.provider == "openai" else None

    mock = MockTransport()
    mock.on(provider="openai").fail(404)
    mock.on(provider="anthropic").reply("hello")
    async with mock.client(plugins=[Recorder([], before=change)]) as client:
        await ask(client, kind, fallbacks=[OTHER])
    assert mock.calls[0].json["temperature"] == 0.5
    assert "temperature" not in mock.calls[1].json


async def test_before_may_name_another_model_of_its_provider(kind: Kind) -> None:
    def change(call: CallContext, request: ChatRequest) -> ChatRequest | None:
        return msgspec.structs.replace(request, model="gpt-4.1") if call.provider == "openai" else None

    mock = MockTransport()
    mock.on(provider="openai").fail(404)
    mock.on(provider="anthropic").reply("hello")
    plugins = [Recorder([], before=change)]
    async with mock.client(plugins=plugins) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert [call.model for call in mock.calls] == ["gpt-4.1", "claude-haiku-4-5"]
    assert [attempt.model for attempt in reply.attempts] == ["gpt-4.1", "claude-haiku-4-5"]
    assert plugins[0].seen["after"][0].model == "gpt-4.1"


async def test_the_changed_request_goes_to_the_next_hook() -> None:
    seen: list[Any] = []

    def note(_call: CallContext, request: ChatRequest) -> None:
        seen.append(request.seed)

    def change(_call: CallContext, request: ChatRequest) -> ChatRequest:
        return msgspec.structs.replace(request, seed=7)

    mock = MockTransport()
    mock.reply("hello")
    plugins = [Recorder([], "a", before=note), Recorder([], "b", before=change), Recorder([], "c", before=note)]
    async with mock.client(plugins=plugins) as client:
        await client.chat(MODEL, "hi")
    assert seen == [None, 7]


async def test_the_callers_objects_stay_as_they_were() -> None:
    def meddle(_call: CallContext, request: ChatRequest) -> ChatRequest:
        request.messages.append(request.messages[0])
        request.model = "openai/other"  # pyright: ignore[reportAttributeAccessIssue] - frozen: this raises, and is isolated
        return request

    prompt = [{"role": "user", "content": "hi"}]
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[Recorder([], before_call=meddle)]) as client:
        reply = await client.chat(MODEL, prompt)
    assert prompt == [{"role": "user", "content": "hi"}]
    assert reply.warnings == ["plugin 'a' failed in before_call: AttributeError"]
    assert mock.calls[0].model == "gpt-4o-mini"


async def test_hooks_keep_what_they_need_in_the_context() -> None:
    def remember(call: CallContext, _value: Any) -> None:
        call.values["me"] = call.id

    def recall(call: CallContext, _value: Any) -> None:
        assert call.values == {"me": call.id}

    mock = MockTransport()
    mock.reply("hello").times(2)
    async with mock.client(plugins=[Recorder([], before_call=remember, after_call=recall)]) as client:
        first, second = await client.chat(MODEL, "hi"), await client.chat(MODEL, "hi")
    assert first.warnings == second.warnings == []


# --- answering in the provider's place


@table(
    "given",
    [
        lambda: answer("mine"),
        lambda: [chunk("mi"), chunk("ne"), chunk("", ending=True)],
        lambda: iter((chunk("mine"), chunk("", ending=True))),
        lambda: chunks("mi", "ne"),
    ],
    ids=["response", "list of chunks", "iterator", "async iterator"],
)
async def test_a_plugin_answers_by_itself(kind: Kind, given: Callable[[], Any]) -> None:
    log: list[str] = []
    mock = MockTransport()
    async with mock.client(plugins=three(log, before=giving(given))) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert (reply.text, reply.finish_reason, reply.attempts) == ("mine", "stop", [])
    assert (reply.provider, reply.model != "") == ("openai", True)
    assert mock.calls == []
    assert "c.before" not in log
    assert "c.after" not in log
    assert log.count("b.after") == log.count("a.after") == 1
    assert "c.after_call" in log
    assert_paired(log)


async def test_a_streams_own_answer_keeps_what_the_response_said() -> None:
    given = msgspec.structs.replace(answer("mine"), request_id="req_7", warnings=["from the cache"], provider="cache")
    async with MockTransport().client(plugins=[Recorder([], before=giving(given))]) as client:
        reply = await ask(client, "stream")
    assert (reply.id, reply.model, reply.request_id, reply.warnings, reply.provider) == (
        "mine",
        "own",
        "req_7",
        ["from the cache"],
        "cache",
    )


async def test_a_plugin_answers_embeddings_and_model_lists() -> None:
    def given(call: CallContext, _request: Any) -> Any:
        from bifrost import EmbeddingResponse, ModelsResponse

        return EmbeddingResponse(data=[]) if call.endpoint == "embeddings" else ModelsResponse(data=[])

    async with MockTransport().client(plugins=[Recorder([], before=given)]) as client:
        assert (await client.embed("openai/e", "hi")).vectors == []
        assert (await client.list_models("openai")).data == []


@table("returned", [False, True], ids=["raised", "returned"])
async def test_a_plugins_error_may_fall_back(kind: Kind, returned: bool) -> None:
    def deny(call: CallContext, _request: Any) -> Any:
        if call.provider != "openai":
            return None
        error = ServerError("not this one")
        if returned:
            return error
        raise error

    log: list[str] = []
    mock = MockTransport()
    mock.on(provider="anthropic").reply("hello")
    async with mock.client(plugins=three(log, before=deny)) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert reply.provider == "anthropic"
    assert log.count("c.before") == 1
    assert_paired(log)


@table("hook", ["before", "after"])
async def test_an_error_that_forbids_it_keeps_the_fallbacks_from_being_tried(kind: Kind, hook: str) -> None:
    error = ServerError("that is all")
    error.fallback = False
    mock = MockTransport()
    mock.on(provider="openai").fail(404).always()
    async with mock.client(plugins=[Recorder([], does={hook: raising(error)})]) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, fallbacks=[OTHER])
    assert caught.value is error
    assert caught.value.errors == ()
    assert {call.provider for call in mock.calls} <= {"openai"}


@table("given", [lambda: answer("mine"), lambda: chunks("mine")], ids=["response", "iterator"])
async def test_afters_see_a_plugins_answer(kind: Kind, given: Callable[[], Any]) -> None:
    first = Recorder([], "a")
    async with MockTransport().client(plugins=[first, Recorder([], "b", before=giving(given))]) as client:
        await ask(client, kind)
    for hook in ("after", "after_call"):
        (outcome,) = first.seen[hook]
        assert outcome.text == "mine"


async def test_a_sync_iterable_that_fails_is_a_failure_of_the_hook(kind: Kind) -> None:
    def broken() -> Iterator[Chunk]:
        yield chunk("x")
        raise ValueError

    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[Recorder([], before=giving(broken))]) as client:
        reply = await ask(client, kind)
    assert (reply.text, reply.warnings) == ("hello", ["plugin 'a' failed in before: ValueError"])


async def test_an_async_iterable_that_fails_is_told_as_the_plugins_failure() -> None:
    async def broken() -> AsyncIterator[Chunk]:
        yield chunk("so far")
        raise ValueError("private words")

    log: list[str] = []
    async with MockTransport().client(plugins=three(log, before=giving(broken))) as client:
        with pytest.raises(PluginError, match="a plugin's stream failed: ValueError") as plain:
            await ask(client, "plain")
        with pytest.raises(StreamInterruptedError) as streamed:
            await ask(client, "stream")
    assert isinstance(plain.value.__cause__, ValueError)
    assert streamed.value.partial.text == "so far"
    assert isinstance(streamed.value.__cause__, PluginError)
    assert_paired(log)


async def test_an_async_iterable_of_something_else_is_told_as_the_plugins_failure(kind: Kind) -> None:
    async def wrong() -> AsyncIterator[Any]:
        yield "text"

    log: list[str] = []
    async with MockTransport().client(plugins=three(log, before=giving(wrong))) as client:
        with pytest.raises(BifrostError, match="plugin's stream gave str, where it may give Chunk"):
            await ask(client, kind)
    assert_paired(log)


async def test_an_async_iterable_that_hangs_ends_with_the_call(kind: Kind) -> None:
    async def endless() -> AsyncIterator[Chunk]:
        yield chunk("so far")
        await anyio.sleep_forever()

    log: list[str] = []
    async with MockTransport().client(plugins=three(log, before=giving(endless))) as client:
        with anyio.fail_after(5), pytest.raises((CallTimeoutError, StreamInterruptedError)) as caught:
            await ask(client, kind, timeout=0.1)
    error = caught.value.__cause__ if isinstance(caught.value, StreamInterruptedError) else caught.value
    assert isinstance(error, CallTimeoutError)
    assert error.phase == ("hook" if kind == "plain" else "stream")
    assert_paired(log)


async def test_a_plugins_stream_that_is_not_read_to_its_end_is_closed() -> None:
    closed: list[bool] = []

    async def given() -> AsyncIterator[Chunk]:
        try:
            for _ in range(100):
                yield chunk("x")
        finally:
            closed.append(True)

    log: list[str] = []
    client = MockTransport().client(plugins=three(log, before=giving(given)))
    async with client, client.stream_chat(MODEL, "hi") as stream:
        await anext(stream)
    assert closed == [True]
    assert_paired(log)


# --- changing what comes back


@table("hook", ["after", "after_call"])
async def test_an_error_is_recovered(kind: Kind, hook: str) -> None:
    def recover(_call: CallContext, outcome: Any) -> Any:
        return answer("instead") if isinstance(outcome, BifrostError) else None

    log: list[str] = []
    mock = MockTransport()
    mock.fail(400)
    plugins = three(log, does={hook: recover})
    async with mock.client(plugins=plugins) as client:
        reply = await ask(client, kind)
    assert (reply.text, reply.finish_reason) == ("instead", "stop")
    assert [attempt.status for attempt in reply.attempts] == [400]
    assert isinstance(plugins[2].seen[hook][0], BadRequestError)
    assert plugins[0].seen[hook][0].text == "instead"
    assert_paired(log)


async def test_a_recovered_candidate_needs_no_fallback(kind: Kind) -> None:
    mock = MockTransport()
    mock.on(provider="openai").fail(404)
    async with mock.client(plugins=[Recorder([], after=giving(answer("instead")))]) as client:
        assert (await ask(client, kind, fallbacks=[OTHER])).text == "instead"
    assert len(mock.calls) == 1


@table("hook", ["after", "after_call"])
async def test_a_timeout_is_recovered(kind: Kind, hook: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.hang()
    plugins = three(log, does={hook: giving(answer("instead"))})
    async with mock.client(plugins=plugins) as client:
        with anyio.fail_after(5):
            reply = await ask(client, kind, timeout=0.1)
    assert reply.text == "instead"
    assert isinstance(plugins[2].seen[hook][0], CallTimeoutError)
    assert [attempt.category for attempt in reply.attempts] == ["transient"]
    assert_paired(log)


@table("hook", ["after", "after_call"])
@table("returned", [False, True], ids=["raised", "returned"])
async def test_an_answer_is_invalidated(kind: Kind, hook: str, returned: bool) -> None:
    error = ServerError("not good enough")
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    plugins = three(log, does={hook: giving(error) if returned else raising(error)})
    async with mock.client(plugins=plugins) as client:
        with pytest.raises(ServerError, match="not good enough") as caught:
            await ask(client, kind)
    assert caught.value is error
    assert [attempt.status for attempt in error.attempts] == [200]
    assert plugins[0].seen[hook] == [error]
    assert_paired(log)


async def test_an_invalidated_candidate_falls_back() -> None:
    def judge(call: CallContext, _outcome: Any) -> Any:
        return ServerError("not good enough") if call.provider == "openai" else None

    mock = MockTransport()
    mock.on(provider="openai").reply("bad")
    mock.on(provider="anthropic").reply("good")
    async with mock.client(plugins=[Recorder([], after=judge)]) as client:
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert reply.text == "good"


async def test_a_stream_is_not_started_over_when_its_end_is_invalidated() -> None:
    log: list[str] = []
    texts: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b"])
    client = mock.client(plugins=three(log, after=giving(ServerError("not good enough"))))
    async with client, client.stream_chat(MODEL, "hi", fallbacks=[OTHER]) as stream:
        with pytest.raises(ServerError):
            await read_into(texts, stream)
        with pytest.raises(ServerError):
            await stream.final()
    assert texts == ["a", "b"]
    assert len(mock.calls) == 1
    assert_paired(log)


async def test_the_last_word_is_the_callers_hook() -> None:
    mock = MockTransport()
    mock.fail(400)
    plugins = [Recorder([], "a", after=giving(ServerError("worse"))), Recorder([], "b", after=giving(answer("better")))]
    async with mock.client(plugins=plugins) as client:
        with pytest.raises(ServerError, match="worse"):
            await client.chat(MODEL, "hi")


# --- chunks


async def test_chunks_are_changed_and_taken_out() -> None:
    mock = MockTransport()
    mock.stream(["a", "b"])
    plugin = Recorder([], on_chunk=upper)
    async with mock.client(plugins=[plugin]) as client, client.stream_chat(MODEL, "hi") as stream:
        seen = [chunk async for chunk in stream]
        reply = await stream.final()
    assert [chunk.text for chunk in seen if chunk.text] == ["A", "B"]
    assert reply.text == "AB"
    assert len(seen) < len(plugin.seen["on_chunk"])
    assert plugin.seen["after"][0].text == "AB"


async def test_chunks_pass_the_plugins_backwards() -> None:
    def add(letter: str) -> Callable[[CallContext, Chunk], Chunk]:
        return lambda _call, seen: chunk(seen.text + letter) if seen.text else seen

    mock = MockTransport()
    mock.stream(["x"])
    plugins = [Recorder([], "a", on_chunk=add("a")), Recorder([], "b", on_chunk=add("b"))]
    async with mock.client(plugins=plugins) as client:
        assert (await ask(client, "stream")).text == "xba"


async def test_a_chunks_verdict_interrupts_the_stream() -> None:
    def guard(_call: CallContext, seen: Chunk) -> None:
        if "bad" in seen.text:
            raise BadRequestError("no such words")

    log: list[str] = []
    texts: list[str] = []
    mock = MockTransport()
    mock.stream(["good", "bad", "never seen"])
    async with mock.client(plugins=three(log, on_chunk=guard)) as client, client.stream_chat(MODEL, "hi") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await read_into(texts, stream)
        with pytest.raises(StreamInterruptedError):
            await anext(stream)
    assert texts == ["good"]
    assert caught.value.partial.text == "good"
    assert isinstance(caught.value.__cause__, BadRequestError)
    assert mock.connections.in_use == 0
    assert_paired(log)


@pytest.mark.parametrize("on_chunk", [raising(ValueError()), giving("text")], ids=["raises", "wrong type"])
async def test_what_fails_on_a_chunk_is_isolated_and_told_once(
    on_chunk: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    mock = MockTransport()
    mock.stream(["a", "b", "c"])
    async with mock.client(plugins=[Recorder([], on_chunk=on_chunk)]) as client:
        reply = await ask(client, "stream")
    assert reply.text == "abc"
    assert len(reply.warnings) == len(caplog.records) == 1
    assert reply.warnings[0].startswith("plugin 'a' failed in on_chunk: ")


async def test_a_guard_that_fails_on_a_chunk_interrupts_the_stream() -> None:
    mock = MockTransport()
    mock.stream(["a", "b"])
    guard = Recorder([], "guard", on_error="fail", on_chunk=raising(ValueError()))
    async with mock.client(plugins=[guard]) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            await ask(client, "stream")
    assert isinstance(caught.value.__cause__, PluginError)


async def test_only_plugins_that_were_entered_see_the_chunks() -> None:
    given = giving(lambda: [chunk("x"), chunk("", ending=True)])
    plugins = [Recorder([], "a"), Recorder([], "b", before=given), Recorder([], "c")]
    async with MockTransport().client(plugins=plugins) as client:
        await ask(client, "stream")
    assert ["on_chunk" in plugin.seen for plugin in plugins] == [True, True, False]


# --- the end of a stream


async def test_hooks_wait_for_the_end_of_a_stream() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b"])
    async with mock.client(plugins=[Recorder(log, "a")]) as client, client.stream_chat(MODEL, "hi") as stream:
        assert (await anext(stream)).text in ("", "a")
        assert "a.after" not in log
        await stream.final()
        assert log[-2:] == ["a.after", "a.after_call"]
        await stream.close()
        await stream.final()
    assert_paired(log)


async def test_hooks_see_what_was_read_of_a_stream_that_is_closed_early() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b", "c"])
    plugin = Recorder(log, "a")
    async with mock.client(plugins=[plugin]) as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            async for text in stream.text_stream:
                assert text == "a"
                break
        (outcome,) = plugin.seen["after"]
        assert (outcome.text, outcome.warnings) == ("a", ["closed_early"])
        assert [attempt.ok for attempt in outcome.attempts] == [True]
    assert_paired(log)


async def test_hooks_see_the_error_of_a_stream_that_breaks() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b"]).cut(after_events=1)
    plugin = Recorder(log, "a")
    async with mock.client(plugins=[plugin]) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            await ask(client, "stream", fallbacks=[OTHER])
    assert plugin.seen["after"] == plugin.seen["after_call"] == [caught.value]
    assert len(mock.calls) == 1
    assert_paired(log)


async def test_a_broken_stream_is_recovered_to_a_clean_end() -> None:
    mock = MockTransport()
    mock.stream(["a", "b"]).cut(after_events=1)
    async with mock.client(plugins=[Recorder([], after=lambda _call, error: error.partial)]) as client:
        reply = await ask(client, "stream")
    assert reply.text == "a"


async def test_hooks_run_for_a_stream_that_is_dropped(recwarn: pytest.WarningsRecorder) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b", "c"])
    ended = anyio.Event()
    plugin = Recorder(log, "a", after_call=lambda _call, _outcome: ended.set())
    async with mock.client(plugins=[plugin]) as client:
        stream = client.stream_chat(MODEL, "hi")
        await stream.__aenter__()
        await anext(stream)
        del stream
        gc.collect()
        with anyio.fail_after(5):
            await ended.wait()
        assert plugin.seen["after"][0].warnings == ["dropped_unclosed"]
    assert mock.connections.in_use == 0
    assert_paired(log)


async def test_a_stream_that_breaks_before_its_first_content_is_a_failed_candidate() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.on(provider="openai").stream(["a"]).cut(after_events=0).times(3)
    mock.on(provider="anthropic").stream(["b"])
    async with mock.client(plugins=three(log)) as client:
        reply = await ask(client, "stream", fallbacks=[OTHER])
    assert (reply.text, reply.provider) == ("b", "anthropic")
    assert log.count("a.before") == 2
    assert_paired(log)


# --- time and cancellation


@table("hook", BY_HOOK)
async def test_a_hook_that_blocks_ends_with_the_call(kind: Kind, hook: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello").always()
    plugins = three(log, does={hook: lambda _call, _value: anyio.sleep_forever()})
    async with mock.client(plugins=plugins) as client:
        with anyio.fail_after(5), pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=0.1)
    assert caught.value.phase == "hook"
    assert isinstance(plugins[0].seen["after_call"][0], CallTimeoutError)
    assert_paired(log)


@table("hook", ["after", "after_call"])
async def test_an_error_is_not_lost_in_a_hook_that_blocks(kind: Kind, hook: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.fail(400).then.stream(["a", "b"]).cut(after_events=1)
    plugins = three(log, {hook: lambda _call, _value: anyio.sleep_forever()})
    async with mock.client(plugins=plugins) as client:
        with pytest.raises(BadRequestError) as caught:
            await ask(client, kind, timeout=1)
        assert plugins[0].seen["after_call"] == [caught.value]
        with pytest.raises(StreamInterruptedError):
            await ask(client, "stream", timeout=1)
    assert_paired(log)


@table("hook", BY_HOOK)
async def test_a_plugins_own_timeout_ends_its_hook(kind: Kind, hook: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    slow = Recorder(log, "slow", timeout=0.05, does={hook: lambda _call, _value: anyio.sleep_forever()})
    async with mock.client(plugins=[Recorder(log, "a"), slow, Recorder(log, "c")]) as client:
        with anyio.fail_after(5):
            reply = await ask(client, kind)
    assert reply.text == "hello"
    assert reply.warnings == [f"plugin 'slow' failed in {hook}: it took longer than 0.05 s"]
    assert_paired(log)


@table("hook", ["before_call", "before"])
async def test_a_guard_that_takes_too_long_fails_the_call(kind: Kind, hook: str) -> None:
    log: list[str] = []
    guard = Recorder(
        log, "guard", timeout=0.05, on_error="fail", does={hook: lambda _call, _value: anyio.sleep_forever()}
    )
    async with MockTransport().client(plugins=[guard]) as client:
        with anyio.fail_after(5), pytest.raises(CallTimeoutError, match="'guard' failed in") as caught:
            await ask(client, kind)
    assert caught.value.phase == "hook"
    assert_paired(log)


async def test_a_timeout_that_a_hook_raises_itself_is_its_own_failure() -> None:
    guard = Recorder([], "guard", timeout=5.0, on_error="fail", before=raising(TimeoutError()))
    async with MockTransport().client(plugins=[guard]) as client:
        with pytest.raises(PluginError, match="TimeoutError"):
            await client.chat(MODEL, "hi")


@table("last", ["plain", "async"])
async def test_hooks_that_block_after_the_end_are_stopped_and_the_others_run(kind: Kind, last: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.hang()
    block = lambda _call, _value: anyio.sleep_forever()  # noqa: E731 - a hook in a word
    plugins = [Recorder(log, "a", waits=last == "async"), Recorder(log, "b", after=block, after_call=block)]
    async with mock.client(plugins=plugins) as client:
        begin = anyio.current_time()
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=2)
        # The last hook of the four takes no time of its second.
        assert anyio.current_time() - begin == pytest.approx(2 + 7 + 2)
    assert caught.value.phase == "headers"
    assert_paired(log)


def leaving(how: str) -> Any:
    """Give what ends a call that hangs: its own time, or a caller who leaves."""
    return pytest.raises(CallTimeoutError) if how == "deadline" else anyio.move_on_after(2)


@table("how", ["deadline", "cancel"])
async def test_each_hook_has_a_second_of_its_own_after_the_end(kind: Kind, how: str) -> None:
    settled: list[str] = []

    class Reserving(Plugin):
        def __init__(self, name: str) -> None:
            self.name = name

        def before_call(self, call: CallContext, request: Any) -> None:
            call.values[self.name] = "reserved"

        async def after_call(self, call: CallContext, outcome: Any) -> None:
            await anyio.sleep(0.9)
            settled.append(self.name)

    block = lambda _call, _value: anyio.sleep_forever()  # noqa: E731 - a hook in a word
    slow = [Recorder([], f"slow {number}", after=block, after_call=block) for number in range(4)]
    plugins: list[Plugin] = [slow[0], Reserving("a"), slow[1], slow[2], Reserving("b"), slow[3], Reserving("c")]
    mock = MockTransport()
    mock.hang().always()
    async with mock.client(plugins=plugins) as client:
        begin = anyio.current_time()
        with leaving(how):
            await ask(client, kind, timeout=2 if how == "deadline" else 60)
        took = anyio.current_time() - begin
    assert settled == ["c", "b", "a"]
    assert took <= 2 + 11.1


@table("count", [1, 2, 5, 10, 20])
async def test_hooks_that_hang_after_the_end_have_ten_seconds_together(count: int) -> None:
    begun: list[float] = []

    class Slow(Plugin):
        def __init__(self, number: int) -> None:
            self.name = f"slow {number}"

        async def after_call(self, call: CallContext, outcome: Any) -> None:
            begun.append(anyio.current_time())
            await anyio.sleep_forever()

    mock = MockTransport()
    mock.hang()
    plugins = [Slow(number) for number in range(count)]
    async with mock.client(plugins=plugins) as client:
        with pytest.raises(CallTimeoutError):
            await ask(client, "plain", timeout=2)
        ended = anyio.current_time()
    times = [after - before for before, after in pairwise([*begun, ended])]
    assert min(times) >= 0.999
    # Where there are more than ten, each still has its second.
    assert sum(times) == pytest.approx(max(10, count))


async def test_closing_waits_for_the_hooks_of_calls_that_it_cut_off() -> None:
    order: list[str] = []

    class Slow(Plugin):
        name = "slow"

        async def after_call(self, call: CallContext, outcome: Any) -> None:
            await anyio.sleep(8)
            order.append("settled")

        def close(self) -> None:
            order.append("closed")

    mock = MockTransport()
    mock.hang()
    client = mock.client(plugins=[Slow()])
    async with anyio.create_task_group() as group:

        async def call() -> None:
            with pytest.raises(ShuttingDownError):
                await client.chat(MODEL, "hi")

        group.start_soon(call)
        await until(lambda: mock.connections.in_use == 1)
        await client.close(drain=0)
    assert order == ["settled", "closed"]


@table("place", [*BY_HOOK, "provider"])
async def test_hooks_are_paired_when_the_callers_scope_is_cancelled(kind: Kind, place: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    there = anyio.Event()

    async def block(_call: CallContext, _value: Any) -> None:
        there.set()
        await anyio.sleep_forever()

    def arrived(_request: Any) -> str:
        if place == "provider":
            there.set()
        return "hello"

    script = mock.function(arrived)
    script.stall() if place == "provider" else script.always()
    plugins = three(log, {} if place == "provider" else {place: block})
    async with mock.client(plugins=plugins) as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, client, kind)
                await there.wait()
                group.cancel_scope.cancel()
        assert isinstance(plugins[0].seen["after_call"][0], CallCancelledError)
        if place == "provider":
            assert isinstance(plugins[1].seen["after"][0], CallCancelledError)
            assert [attempt.category for attempt in plugins[1].seen["after"][0].attempts] == ["cancelled"]
    assert mock.connections.in_use == 0
    assert_paired(log)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@table("times", [1, 2])
@table("place", [*BY_HOOK, "provider"])
async def test_hooks_are_paired_when_the_callers_task_is_cancelled(kind: Kind, place: str, times: int) -> None:
    import asyncio

    log: list[str] = []
    mock = MockTransport()
    there = anyio.Event()

    async def block(_call: CallContext, _value: Any) -> None:
        there.set()
        await anyio.sleep_forever()

    def arrived(_request: Any) -> str:
        if place == "provider":
            there.set()
        return "hello"

    script = mock.function(arrived)
    script.stall() if place == "provider" else script.always()
    plugins = [Recorder(log, "a", waits=True), *three(log, {} if place == "provider" else {place: block})[1:]]
    async with mock.client(plugins=plugins) as client:
        task = asyncio.create_task(ask(client, kind))
        async with asyncio.timeout(5):
            await there.wait()
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
    assert mock.connections.in_use == 0
    assert_paired(log)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_hooks_are_paired_under_asyncios_own_timeout(kind: Kind) -> None:
    import asyncio

    log: list[str] = []
    mock = MockTransport()
    mock.hang()
    async with mock.client(plugins=three(log)) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask(client, kind)
    assert_paired(log)


async def test_hooks_are_paired_when_the_caller_leaves_while_reading() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b"]).stall(after_events=1)
    plugins = three(log)
    reading = anyio.Event()

    async def read(client: Bifrost) -> None:
        async with client.stream_chat(MODEL, "hi") as stream:
            async for _ in stream.text_stream:
                reading.set()

    async with mock.client(plugins=plugins) as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(read, client)
                await reading.wait()
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
    for plugin in plugins:
        assert isinstance(plugin.seen["after"][0], CallCancelledError)
    assert_paired(log)


async def test_a_streams_hooks_share_its_deadline() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.stream(["a", "b"])
    plugins = three(log, after=lambda _call, _value: anyio.sleep_forever())
    async with mock.client(plugins=plugins) as client, client.stream_chat(MODEL, "hi", timeout=0.2) as stream:
        with anyio.fail_after(5), pytest.raises(CallTimeoutError) as caught:
            await stream.final()
    assert caught.value.phase == "hook"
    assert_paired(log)


async def test_a_defect_is_an_error_of_ours_and_hooks_are_paired(kind: Kind) -> None:
    from bifrost import InternalError
    from bifrost.engine.clock import Clock

    async def broken(_seconds: float) -> None:
        raise ZeroDivisionError

    log: list[str] = []
    mock = MockTransport()
    mock.fail(503)
    async with mock.client(plugins=three(log), clock=Clock(sleep=broken, random=lambda: 0.5)) as client:
        with pytest.raises(InternalError, match="ZeroDivisionError where none is expected") as caught:
            await ask(client, kind, fallbacks=[OTHER])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert [attempt.status for attempt in caught.value.attempts] == [503]
    assert_paired(log)


async def test_what_ends_the_program_passes_through_and_hooks_are_paired() -> None:
    class EndOfProgram(BaseException):
        pass

    log: list[str] = []
    async with MockTransport().client(plugins=three(log, before=raising(EndOfProgram()))) as client:
        with pytest.raises(EndOfProgram):
            await client.chat(MODEL, "hi")
    assert_paired(log)


async def test_a_call_that_nobody_runs_any_more_ends_at_once() -> None:
    async with MockTransport().client(plugins=[Recorder([], waits=True)]) as client:
        call = client.chat(MODEL, "hi")
        call.send(None)
        call.close()


# --- plugins that use the client


async def test_a_hook_may_call_the_client_itself(kind: Kind) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.on(model="judge").reply("fine").times(2)
    mock.on(model="gpt-4o-mini").reply("hello")

    async def judge(call: CallContext, value: Any) -> None:
        if call.model == "judge" or call.values.get("judged"):
            return
        reply = await client.chat("openai/judge", "is this fine?")
        assert reply.text == "fine"

    from bifrost import ProviderConfig

    account = mock.account_with({"openai": ["one"]}, configs={"openai": ProviderConfig(concurrency=1)})
    async with mock.client(account, plugins=[Recorder(log, "a", before=judge, after=judge)]) as client:
        with anyio.fail_after(5):
            assert (await ask(client, kind)).text == "hello"
    assert_paired(log)


# --- changing the chain while it is used


async def test_running_calls_keep_the_plugins_they_started_with(kind: Kind) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello").times(2)

    async def change(_call: CallContext, _request: Any) -> None:
        await client.remove_plugin("b")
        await client.add_plugin(Recorder(log, "late"))

    plugins = [Recorder(log, "a", before_call=change), Recorder(log, "b")]
    async with mock.client(plugins=plugins) as client:
        await ask(client, kind)
        first = [note for note in log if "open" not in note and "close" not in note]
        log.clear()
        await client.remove_plugin("a")
        await ask(client, kind)
        second = [note for note in log if note.startswith("late") and "close" not in note]
    assert first == [
        "a.before_call", "b.before_call",
        "a.before", "b.before",
        "b.after", "a.after",
        "b.after_call", "a.after_call",
    ]  # fmt: skip
    assert second == ["late.before_call", "late.before", "late.after", "late.after_call"]


async def test_plugins_are_added_replaced_reordered_and_removed() -> None:
    log: list[str] = []
    mock = MockTransport()
    async with mock.client(plugins=[Recorder(log, "a"), Recorder(log, "b")]) as client:

        def names() -> list[str]:
            return [plugin.name for plugin in client.plugins]

        await client.add_plugin(Recorder(log, "c"))
        assert names() == ["a", "b", "c"]
        await client.add_plugin(Recorder(log, "first"), before="a")
        assert names() == ["first", "a", "b", "c"]
        await client.reorder_plugins(["c", "b", "a", "first"])
        assert names() == ["c", "b", "a", "first"]
        log.clear()
        await client.add_plugin(Recorder(log, "b"))
        assert names() == ["c", "b", "a", "first"]
        assert log == ["b.open", "b.close"]
        await client.add_plugin(Recorder(log, "b"), before="c")
        assert names() == ["b", "c", "a", "first"]
        log.clear()
        await client.remove_plugin("a")
        assert (names(), log) == (["b", "c", "first"], ["a.close"])


async def test_changes_at_the_same_time_do_not_lose_each_other() -> None:
    log: list[str] = []
    async with MockTransport().client() as client:
        async with anyio.create_task_group() as group:
            for name in "abcde":
                group.start_soon(client.add_plugin, Recorder(log, name, waits=True))
        assert sorted(plugin.name for plugin in client.plugins) == list("abcde")


async def test_a_change_that_came_too_late_leaves_nothing_open() -> None:
    log: list[str] = []

    async def meanwhile() -> None:
        await client.remove_plugin("a")

    async with MockTransport().client(plugins=[Recorder([], "a")]) as client:
        with pytest.raises(BifrostError, match="there is no plugin named 'a'"):
            await client.add_plugin(Recorder(log, "late", open=meanwhile), before="a")
        assert client.plugins == ()
    assert log == ["late.open", "late.close"]


async def test_plugins_of_a_client_that_is_not_open_are_opened_with_it() -> None:
    log: list[str] = []
    client = MockTransport().client()
    await client.add_plugin(Recorder(log, "a"))
    assert log == []
    async with client:
        assert log == ["a.open"]
    assert log == ["a.open", "a.close"]


@pytest.mark.parametrize("error", [ValueError("private words"), ServerError("ours")], ids=["foreign", "ours"])
async def test_a_plugin_that_cannot_open_fails_the_opening_and_closes_the_others(error: Exception) -> None:
    log: list[str] = []
    plugins = three(log, open=raising(error))
    client = MockTransport().client(plugins=plugins)
    with pytest.raises(ServerError if isinstance(error, ServerError) else PluginError):
        await client.open()
    assert log == ["a.open", "b.open", "a.close"]
    await client.close()
    assert log == ["a.open", "b.open", "a.close"]


async def test_a_plugin_that_cannot_open_is_not_added() -> None:
    log: list[str] = []
    async with MockTransport().client(plugins=[Recorder(log, "a")]) as client:
        with pytest.raises(PluginError):
            await client.add_plugin(Recorder(log, "b", open=raising(ValueError())))
        assert [plugin.name for plugin in client.plugins] == ["a"]


@pytest.mark.parametrize(
    "close",
    [raising(ValueError()), raising(ServerError("x")), anyio.sleep_forever],
    ids=["raises", "raises ours", "blocks"],
)
async def test_nothing_keeps_a_client_from_closing(close: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    with anyio.fail_after(6):
        async with MockTransport().client(plugins=three(log, close=close)):
            pass
    assert log[-3:] == ["c.close", "b.close", "a.close"]
    assert len(caplog.records) == 1


# --- what blocks


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("hook", ["before_call", "before", "on_chunk", "after", "after_call"])
async def test_a_hook_that_blocks_the_event_loop_is_told_once(
    hook: str, timeout: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    def block(*_: Any) -> None:
        time.sleep(0.25)

    mock = MockTransport()
    mock.stream(["a"]).always()
    log: list[str] = []
    async with mock.client(plugins=[Recorder(log, "slow\n", timeout=timeout, does={hook: block})]) as client:
        for _ in range(2):
            await ask(client, "stream")
    [told] = [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]
    assert told.startswith("plugin 'slow\\n' blocked the event loop for 0.")
    assert f" s in {hook}: " in told


async def test_a_hook_that_waits_blocks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def wait(*_: Any) -> None:
        await anyio.sleep(0.25)

    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[Recorder([], before=wait)]) as client:
        await ask(client, "plain")
    assert not [record for record in caplog.records if "blocked" in record.getMessage()]
