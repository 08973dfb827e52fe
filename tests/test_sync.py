from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
import trio
from anyio.from_thread import start_blocking_portal

import bifrost
from bifrost import (
    Bifrost,
    CallCancelledError,
    ChunkStream,
    ClientClosedError,
    ConfigError,
    InternalError,
    InvalidRequestError,
    Message,
    MissingKeyError,
    Plugin,
    RateLimitError,
    ShuttingDownError,
    StaticAccount,
    StreamInterruptedError,
    StreamReset,
    UsageError,
)
from bifrost.sync import SyncBifrost, SyncChunkStream, _Call, _LoopThread
from bifrost.testing import LoopbackProvider, MockTransport, fake_key, leak_check, no_waits
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["pytester"]

_ROOT = Path(__file__).parents[1]

GPT = "openai/gpt-4o-mini"


class Plan(msgspec.Struct):
    days: list[str]


LIMIT = 20
"""How long a thread or an event is waited for, in seconds: what comes later never comes."""


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with no_waits():
        yield


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    for thread in own_threads():
        thread.join(LIMIT)
    assert own_threads() == []


def client_of(mock: MockTransport, **options: Any) -> SyncBifrost:
    return SyncBifrost(mock.account, transport=mock, **options)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bifrost"]


class Watcher(Plugin):
    name = "watcher"

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.outcomes: list[Any] = []

    def open(self) -> None:
        self.opened += 1

    def after_call(self, call: Any, outcome: Any) -> None:
        self.outcomes.append(outcome)

    def close(self) -> None:
        self.closed += 1


class Hook(Plugin):
    """Runs functions before the calls, one each; the last of them before every further one."""

    name = "hook"

    def __init__(self, *functions: Callable[[], object]) -> None:
        self.functions = list(functions)

    def before_call(self, call: Any, request: Any) -> None:
        function = self.functions.pop(0) if len(self.functions) > 1 else self.functions[0]
        function()


def nothing() -> None:
    pass


def held(mock: MockTransport, arrived: threading.Event) -> None:
    """Script an answer that takes for ever, and tell when it was asked for."""

    def answer(_: Any) -> str:
        arrived.set()
        return "late"

    mock.function(answer).delay(3600).always()


# --- the same methods


def _public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") or name == "__init__"}


def test_it_has_the_methods_of_the_async_client() -> None:
    assert _public(SyncBifrost).keys() == _public(Bifrost).keys()


@table("name", sorted(name for name, member in _public(Bifrost).items() if callable(member)))
def test_a_method_has_the_same_signature(name: str) -> None:
    ours, theirs = inspect.signature(getattr(SyncBifrost, name)), inspect.signature(getattr(Bifrost, name))
    assert ours.parameters == theirs.parameters
    assert str(ours.return_annotation).removeprefix("Sync") == str(theirs.return_annotation)
    assert not inspect.iscoroutinefunction(getattr(SyncBifrost, name))


@table("name", sorted(name for name, member in _public(Bifrost).items() if callable(member)))
def test_a_method_is_known_by_its_own_name_and_explained_without_await(name: str) -> None:
    method = getattr(SyncBifrost, name)
    assert (method.__qualname__, method.__module__) == (f"SyncBifrost.{name}", "bifrost.sync")
    if name != "__init__":
        told = inspect.getdoc(method) or ""
        assert told
        assert not [words for words in ("await ", "async with", "async for") if words in told]


def test_a_method_has_the_docstring_of_the_async_one() -> None:
    assert SyncBifrost.embed.__doc__ == (Bifrost.embed.__doc__ or "").replace("await ", "")
    assert "    with client.stream_chat(" in (inspect.getdoc(SyncBifrost.stream_chat) or "")
    assert "        for text in stream.text_stream:" in (inspect.getdoc(SyncBifrost.stream_chat) or "")


def test_a_stream_of_text_has_no_partial_values(mock: MockTransport) -> None:
    mock.stream(["a"])
    with client_of(mock) as client, client.stream_chat(GPT, "hi") as stream:
        untyped: Any = stream
        with pytest.raises(UsageError, match="if it was asked for with output="):
            _ = untyped.partial_stream
        assert stream.final().text == "a"


@table("name", ["text_stream", "final", "partial", "close"])
def test_a_stream_has_what_the_async_one_has(name: str) -> None:
    ours: Any = getattr(SyncChunkStream, name)
    theirs: Any = getattr(ChunkStream, name)
    if isinstance(ours, property):
        assert isinstance(theirs, property)
        ours, theirs = ours.fget, theirs.fget
    signature, wanted = inspect.signature(ours), inspect.signature(theirs)
    assert signature.parameters == wanted.parameters
    assert str(signature.return_annotation).removeprefix("Sync") == str(wanted.return_annotation)


def test_every_operation_gives_what_the_async_client_gives(mock: MockTransport) -> None:
    def script() -> None:
        mock.reply("Hello to you", usage=(7, 3))
        mock.embed([[0.5, 0.25]])
        mock.models(["one", "two"])

    async def asked() -> list[Any]:
        async with mock.client() as client:
            return [
                await client.chat(GPT, "hi", system="Be brief.", temperature=0.5),
                await client.embed("openai/text-embedding-3-small", "hi", dimensions=2),
                await client.list_models("openai", limit=2),
            ]

    script()
    wanted = anyio.run(asked)
    script()
    with client_of(mock) as client:
        given = [
            client.chat(GPT, "hi", system="Be brief.", temperature=0.5),
            client.embed("openai/text-embedding-3-small", "hi", dimensions=2),
            client.list_models("openai", limit=2),
        ]

    def told(answer: Any) -> dict[str, Any]:
        timeless = ("attempts", "id", "request_id", "created", "raw")
        return {name: getattr(answer, name) for name in answer.__struct_fields__ if name not in timeless}

    assert [told(answer) for answer in given] == [told(answer) for answer in wanted]
    assert [call.json for call in mock.calls[3:]] == [call.json for call in mock.calls[:3]]


def test_options_of_a_copy_and_of_a_call(mock: MockTransport) -> None:
    mock.fail(500).always()
    with client_of(mock, max_retries=0) as client:
        patient = client.with_options(max_retries=1)
        for asked, attempts in ((client, 1), (patient, 2)):
            with pytest.raises(bifrost.ServerError) as caught:
                asked.chat(GPT, "hi")
            assert len(caught.value.attempts) == attempts
        assert len(own_threads()) == 1
    with pytest.raises(ClientClosedError):
        patient.chat(GPT, "hi")


def test_a_file_sets_it_up(mock: MockTransport, tmp_path: Path) -> None:
    file = tmp_path / "bifrost.toml"
    file.write_text('timeout = 5\n[providers.openai]\nkeys = ["sk-of-the-file"]\n[models]\nfast = ["openai/gpt-4o"]\n')
    mock.reply()
    with SyncBifrost.from_file(file, transport=mock) as client:
        assert client.chat("fast", "hi").text == "ok"
    with pytest.raises(ClientClosedError):
        client.open()
    with pytest.raises(ConfigError):
        SyncBifrost.from_file(tmp_path / "missing.toml")


def test_plugins_are_changed_while_it_runs(mock: MockTransport) -> None:
    first, second = Watcher(), Watcher()
    second.name = "second"
    mock.reply().always()
    with client_of(mock, plugins=[first]) as client:
        client.add_plugin(second, before="watcher")
        assert client.plugins == (second, first)
        client.reorder_plugins(["watcher", "second"])
        client.chat(GPT, "hi")
        client.remove_plugin("second")
        assert client.plugins == (first,)
        with pytest.raises(ConfigError, match="second"):
            client.remove_plugin("second")
    assert (first.opened, first.closed) == (second.opened, second.closed) == (1, 1)
    assert len(first.outcomes) == len(second.outcomes) == 1


def test_providers_are_changed_while_it_runs(mock: MockTransport) -> None:
    mock.reply("hello").always()
    with SyncBifrost(StaticAccount(keys={"openai": fake_key("mine")}), transport=mock) as client:
        client.add_provider("groq", keys=fake_key("first"))
        client.update_provider("groq", keys=fake_key("second"))
        client.chat("groq/llama", "hi")
        client.refresh()
        client.remove_provider("groq")
        with pytest.raises(MissingKeyError):
            client.chat("groq/llama", "hi")
    assert [call.key for call in mock.calls] == ["second"]


def test_its_repr_says_what_it_is_and_how_it_is(mock: MockTransport) -> None:
    client = client_of(mock)
    assert repr(client).startswith("SyncBifrost(StaticAccount(openai, anthropic")
    assert repr(client).endswith(", new)")
    client.open()
    assert "running" in repr(client)
    client.close()
    assert "closed" in repr(client)


# --- errors, context


def test_an_error_comes_unchanged_and_its_traceback_leads_from_the_caller_to_the_cause(mock: MockTransport) -> None:
    mock.fail(429, retry_after=200, message="slow down").always()
    with client_of(mock) as client, pytest.raises(RateLimitError, match="slow down") as caught:
        client.chat(GPT, "hi")
    assert (caught.value.retry_after, len(caught.value.attempts)) == (200, 1)
    assert caught.value.__context__ is None
    places = [Path(frame.filename).name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert places[0] == "test_sync.py"
    assert "sync.py" in places[1:3]
    assert "path.py" in places


def test_the_way_to_the_loop_holds_no_error_once_it_is_forgotten(mock: MockTransport) -> None:
    """What an error holds by its traceback, a stream say, would otherwise live until the collector comes by."""

    class OwnError(Exception):
        pass

    async def refuse() -> None:
        raise OwnError

    known: weakref.ref[OwnError] | None = None
    with client_of(mock) as client:
        gc.disable()
        try:
            client._portal.run(refuse)
        except OwnError as error:
            known = weakref.ref(error)
        # The loop's side of a call ends a moment after the caller's; this one has to wait for it.
        client.open()
        assert known is not None
        assert known() is None
        gc.enable()


def test_hooks_see_the_context_of_the_caller(mock: MockTransport) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []
    mock.reply().always()
    with client_of(mock, plugins=[Hook(lambda: seen.append(tenant.get()))]) as client:
        client.chat(GPT, "hi")
        token = tenant.set("somebody")
        client.chat(GPT, "hi")
        tenant.reset(token)
        client.chat(GPT, "hi")
    assert seen == ["nobody", "somebody", "nobody"]


def test_a_hook_that_exits_the_program_does_it_in_the_callers_thread(mock: MockTransport) -> None:
    mock.reply()
    with client_of(mock, plugins=[Hook(sys.exit, nothing)]) as client:
        with pytest.raises(SystemExit):
            client.chat(GPT, "hi")
        assert client.chat(GPT, "hi").text == "ok"


def test_it_lives_on_when_somebody_ended_its_event_loop(mock: MockTransport) -> None:
    def end() -> None:
        asyncio.get_running_loop().stop()

    mock.reply("alive").times(2)
    with client_of(mock, plugins=[Hook(nothing, end, nothing)]) as client:
        client.chat(GPT, "hi")
        (thread,) = own_threads()
        with pytest.raises((InternalError, ShuttingDownError), match="event loop"):
            client.chat(GPT, "hi")
        thread.join(LIMIT)
        assert client.chat(GPT, "hi").text == "alive"


def test_an_event_loop_that_cannot_be_made_is_an_error_and_no_hang(
    mock: MockTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    mock.reply("alive")
    client = client_of(mock)
    with monkeypatch.context() as patch:
        patch.setattr("asyncio.events.new_event_loop", fail)
        with pytest.raises(InternalError, match="event loop failed: OSError") as caught:
            client.chat(GPT, "hi")
        assert isinstance(caught.value.__cause__, OSError)
    assert client.chat(GPT, "hi").text == "alive"
    client.close()


# --- where it may be used


def test_inside_a_running_event_loop(mock: MockTransport) -> None:
    """As in a notebook: the loop of the caller stands still meanwhile, and is otherwise left alone."""
    mock.reply().always()
    texts: list[str] = []

    async def cell() -> None:
        with client_of(mock) as client:
            texts.append(client.chat(GPT, "hi").text)
            with client.stream_chat(GPT, "hi") as stream:
                texts.extend(stream.text_stream)

    asyncio.run(cell())
    trio.run(cell)
    anyio.run(cell, backend="trio")
    assert texts == ["ok"] * 6


def test_a_hook_may_use_another_client_and_its_own_refuses_at_once(mock: MockTransport) -> None:
    mock.function(lambda request: request.messages[0].text).always()
    inner = client_of(mock)
    outer: SyncBifrost

    def ask() -> None:
        told.append(inner.chat(GPT, "from a hook").text)
        with pytest.raises(UsageError, match="wait for itself"):
            outer.chat(GPT, "hi")
        with pytest.raises(UsageError, match="wait for itself"):
            outer.close()

    told: list[str] = []
    with inner, client_of(mock, plugins=[Hook(ask)]) as outer:
        assert outer.chat(GPT, "hi").text == "hi"
    assert told == ["from a hook"]


def test_from_64_threads_at_once(mock: MockTransport) -> None:
    """They open one client together, and each gets its own answers."""
    mock.function(lambda request: request.messages[-1].text).always()
    watcher = Watcher()
    client = client_of(mock, plugins=[watcher])
    together = threading.Barrier(64)

    def work(number: int) -> list[str]:
        together.wait(LIMIT)
        texts = [client.chat(GPT, f"{number} plain").text]
        with client.stream_chat(GPT, f"{number} streamed") as stream:
            texts += ["".join(stream.text_stream)]
        return texts

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(work, range(64), timeout=LIMIT * 2))
    assert len(own_threads()) == 1
    client.close()
    assert answers == [[f"{number} plain", f"{number} streamed"] for number in range(64)]
    assert (watcher.opened, watcher.closed, len(watcher.outcomes)) == (1, 1, 128)
    assert (mock.connections.open, mock.connections.in_use) == (0, 0)


def test_threads_that_come_first_together_start_one_event_loop(
    mock: MockTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[None] = []

    class Slow(_LoopThread):
        def __init__(self) -> None:
            made.append(None)
            time.sleep(0.05)
            super().__init__()

    monkeypatch.setattr("bifrost.sync._LoopThread", Slow)
    client = client_of(mock)
    with ThreadPoolExecutor(8) as pool:
        for opened in [pool.submit(client.open) for _ in range(8)]:
            opened.result(LIMIT)
    client.close()
    assert len(made) == 1


def test_over_real_connections() -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(LoopbackProvider()) as server:
        with SyncBifrost(server.account()) as client:
            assert client.chat(GPT, "hello").text
            with client.stream_chat("anthropic/claude-haiku-4-5", "hello") as stream:
                assert "".join(stream.text_stream) == stream.final().text
        portal.call(server.all_closed)
        assert server.connections.opened == 2


def test_the_fixture_serves_plain_tests(pytester: pytest.Pytester) -> None:
    # Where bifrost is installed its entry point has loaded the plugin; from a bare clone this does.
    pytester.makeconftest("""
def pytest_addoption(pluginmanager):
    if not pluginmanager.hasplugin("bifrost"):
        pluginmanager.import_plugin("bifrost.testing.pytest_plugin")
""")
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile("""
from bifrost.sync import SyncBifrost

def greet():
    with SyncBifrost() as client:
        return client.chat("openai/gpt-4o-mini", "hi").text

def test_greeting(bifrost_mock):
    bifrost_mock.fail(429, retry_after=0.01).then.reply("hello")
    assert greet() == "hello"
    assert [call.key for call in bifrost_mock.calls] == ["openai-key"] * 2
""")
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)


# --- life


def test_it_opens_on_first_use_and_not_before(mock: MockTransport) -> None:
    mock.reply()
    client = client_of(mock)
    assert len(own_threads()) == 0
    client.chat(GPT, "hi")
    assert len(own_threads()) == 1
    client.close()
    assert len(own_threads()) == 0


def test_clients_one_after_the_other_leave_nothing_behind(mock: MockTransport) -> None:
    mock.reply().always()
    at_exit = vars(weakref.finalize)["_registry"]
    threads, exits = set(threading.enumerate()), len(at_exit)
    with leak_check():
        for _ in range(20):
            with client_of(mock) as client:
                client.chat(GPT, "hi")
    # A thread of another test may end meanwhile: what counts is that none has come.
    assert set(threading.enumerate()) <= threads
    assert len(at_exit) == exits
    assert mock.connections.open == 0


def test_a_closed_client_stays_closed(mock: MockTransport) -> None:
    mock.reply()
    client = client_of(mock)
    client.chat(GPT, "hi")
    client.close()
    client.close()
    for use in (lambda: client.chat(GPT, "hi"), client.open, client.stream_chat(GPT, "hi").__enter__):
        with pytest.raises(ClientClosedError, match="was closed"):
            use()
    never_used = client_of(mock)
    never_used.close()
    with pytest.raises(ClientClosedError):
        never_used.open()


def test_closing_lets_a_running_call_finish(mock: MockTransport) -> None:
    arrived = threading.Event()

    def answer(_: Any) -> str:
        arrived.set()
        return "finished"

    mock.function(answer).delay(0.2)
    client = client_of(mock)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(lambda: client.chat(GPT, "hi"))
        assert arrived.wait(LIMIT)
        client.close()
        assert reply.result(LIMIT).text == "finished"


def test_closing_without_patience_answers_every_waiting_thread(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    client = client_of(mock)
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(lambda: client.chat(GPT, "hi")) for _ in range(8)]
        assert arrived.wait(LIMIT)
        closings = [threading.Thread(target=client.close, kwargs={"drain": 0.0}) for _ in range(3)]
        for closing in closings:
            closing.start()
        for closing in closings:
            closing.join(LIMIT)
        for reply in replies:
            assert isinstance(reply.exception(LIMIT), ShuttingDownError | ClientClosedError)
    assert (mock.connections.open, own_threads()) == (0, [])


def test_an_error_in_the_block_leaves_it_and_nothing_is_waited_for(mock: MockTransport) -> None:
    drains: list[float] = []

    class Told(SyncBifrost):
        def close(self, *, drain: float = 30.0) -> None:
            drains.append(drain)
            super().close(drain=drain)

    def work(*errors: Exception) -> None:
        with Told(mock.account, transport=mock) as client:
            client.chat(GPT, "hi")
            for error in errors:
                raise error

    mock.reply().always()
    with pytest.raises(ValueError, match="mine"):
        work(ValueError("mine"))
    work()
    assert drains == [0.0, 30.0]


def test_a_call_that_the_loop_did_not_take_any_more_is_answered() -> None:
    async def work() -> None:
        pass

    thread = _LoopThread()
    thread.start()
    thread.run(work)
    # Its caller has come so far, and the loop does not hear of it before it ends.
    late: _Call[None] = _Call(work)
    thread._calls.add(late)
    thread.stop()
    assert late.wait(LIMIT)
    with pytest.raises(ClientClosedError):
        late.result()
    thread.join(LIMIT)
    thread.stop()
    with pytest.raises(ClientClosedError):
        thread.run(work)


def test_a_call_that_comes_while_the_loop_ends_is_answered_and_never_made() -> None:
    made: list[None] = []
    calls: list[_Call[None]] = []
    thread = _LoopThread()
    waiting = threading.Event()

    async def work() -> None:
        made.append(None)

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            calls.append(thread.submit(work))

    thread.start()
    thread.submit(wait)
    assert waiting.wait(LIMIT)
    thread.stop()
    thread.join(LIMIT)
    for call in calls:
        assert call.wait(LIMIT)
        with pytest.raises(ClientClosedError):
            call.result()
    assert len(calls) == 1
    assert not made


def test_what_was_not_announced_is_done_with_what_comes_next() -> None:
    async def work() -> int:
        return 3

    closed = asyncio.new_event_loop()
    closed.close()
    thread = _LoopThread()
    thread.start()
    assert thread.run(work) == 3
    loop, thread._loop = thread._loop, closed
    call = thread.submit(work)
    thread._loop = loop
    assert thread.run(work) == 3
    assert call.wait(LIMIT)
    assert call.result() == 3
    thread.stop()
    thread.join(LIMIT)


def test_a_thread_that_cannot_be_started_is_an_error_and_no_hang(
    mock: MockTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    mock.reply("alive")
    client = client_of(mock)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(InternalError, match="event loop failed: RuntimeError"):
            client.chat(GPT, "hi")
    assert client.chat(GPT, "hi").text == "alive"
    client.close()


def test_of_two_threads_that_were_started_one_serves() -> None:
    async def work() -> int:
        return 3

    thread = _LoopThread()
    thread.start()
    assert thread.run(work) == 3
    thread._launch()
    assert thread.run(work) == 3
    assert len(own_threads()) == 1
    thread.stop()
    thread.join(LIMIT)


def test_a_dropped_client_warns_and_ends_its_thread(mock: MockTransport) -> None:
    mock.reply()
    clients = [client_of(mock)]
    clients[0].chat(GPT, "hi")
    (thread,) = own_threads()

    def drop() -> None:
        clients.clear()
        thread.join(LIMIT)
        gc.collect()

    with pytest.warns(ResourceWarning, match="never closed"):
        drop()
    assert not thread.is_alive()


# --- Ctrl-C


def interrupt_when(arrived: threading.Event, client: SyncBifrost) -> threading.Thread:
    """Press Ctrl-C for the main thread as soon as something has arrived and it waits for the client, which is at it."""
    main = threading.main_thread().ident or 0

    def press() -> None:
        arrived.wait(LIMIT)
        end = time.monotonic() + LIMIT
        while sys._current_frames()[main].f_code is not _Call.wait.__code__ and time.monotonic() < end:
            time.sleep(0.001)
        with suppress(bifrost.BifrostError):
            client.open()  # comes to the loop after what the main thread has given it
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_ctrl_c_ends_the_call_and_its_exchange(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    mock.on(model="gpt-4o").reply("next")
    watcher = Watcher()
    with client_of(mock, plugins=[watcher]) as client:
        thread = interrupt_when(arrived, client)
        with pytest.raises(KeyboardInterrupt):
            client.chat(GPT, "hi")
        thread.join(LIMIT)
        assert client.chat("openai/gpt-4o", "hi").text == "next"
    assert [type(outcome) for outcome in watcher.outcomes] == [CallCancelledError, bifrost.ChatResponse]
    assert (mock.connections.open, mock.connections.in_use) == (0, 0)


def test_ctrl_c_ends_a_stream_that_is_being_read(mock: MockTransport) -> None:
    arrived = threading.Event()

    def read(client: SyncBifrost) -> None:
        with client.stream_chat(GPT, "hi") as stream:
            for _ in stream.text_stream:
                arrived.set()

    mock.stream(["a", "b"]).stall(after_events=1)
    watcher = Watcher()
    with client_of(mock, plugins=[watcher]) as client:
        thread = interrupt_when(arrived, client)
        with pytest.raises(KeyboardInterrupt):
            read(client)
        thread.join(LIMIT)
    assert [type(outcome) for outcome in watcher.outcomes] == [CallCancelledError]
    assert (mock.connections.open, mock.connections.in_use) == (0, 0)


@pytest.mark.asyncio
async def test_a_call_whose_caller_left_before_it_began_is_never_made() -> None:
    made: list[None] = []

    async def work() -> None:
        made.append(None)

    call = _Call(work)
    call.cancel()
    call.start()
    assert await asyncio.to_thread(call.wait, LIMIT)
    assert not made


def test_ctrl_c_ends_a_drain(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    client = client_of(mock)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(lambda: client.chat(GPT, "hi"))
        assert arrived.wait(LIMIT)
        thread = interrupt_when(arrived, client)
        with pytest.raises(KeyboardInterrupt):
            client.close(drain=3600)
        thread.join(LIMIT)
        assert isinstance(reply.exception(LIMIT), ShuttingDownError | ClientClosedError)
    assert len(own_threads()) == 0


# --- streams


def test_a_stream_gives_chunks_and_text_and_the_answer_of_a_plain_call(mock: MockTransport) -> None:
    mock.stream(["one", " two"]).times(3)
    with client_of(mock) as client:
        plain = client.chat(GPT, "hi")
        with client.stream_chat(GPT, "hi") as stream:
            chunks = list(stream)
            whole = stream.final()
        with client.stream_chat(GPT, "hi") as stream:
            first = next(stream.text_stream)
            assert (first, stream.partial.text) == ("one", "one")
            assert stream.final().text == "one two"
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text == plain.text == "one two"
    assert (whole.finish_reason, whole.usage, len(whole.attempts)) == (plain.finish_reason, plain.usage, 1)
    assert stream.final().text == "one two"
    assert repr(stream).startswith("SyncChunkStream(ended")


def test_a_stream_that_was_read_to_its_end_tells_its_answer_when_the_client_is_gone(mock: MockTransport) -> None:
    mock.stream(["one", " two"])
    with client_of(mock) as client, client.stream_chat(GPT, "hi") as stream:
        for _ in stream:
            pass
    assert stream.final().text == "one two"


def test_leaving_a_stream_early_lets_its_connection_go(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    mock.reply("next")
    with client_of(mock) as client:
        with client.stream_chat(GPT, "hi") as stream:
            assert next(stream.text_stream) == "a"
        stream.close()
        assert client.chat(GPT, "hi").text == "next"
        with pytest.raises(UsageError, match="before its end"):
            stream.final()
        with pytest.raises(UsageError):
            next(stream)


def test_a_broken_stream_says_so_each_time_with_what_came(mock: MockTransport) -> None:
    mock.stream(["a", "b", "c"]).cut(after_events=2)
    with client_of(mock) as client, client.stream_chat(GPT, "hi") as stream:
        texts: list[str] = []
        with pytest.raises(StreamInterruptedError) as caught:
            texts.extend(stream.text_stream)
        assert caught.value.partial.text == "ab"
        for again in (stream.final, lambda: next(stream)):
            with pytest.raises(StreamInterruptedError):
                again()


def test_a_stream_that_breaks_begins_anew_if_that_is_asked_for(mock: MockTransport) -> None:
    client = SyncBifrost(mock.account, transport=mock, on_interrupt="restart")
    with client:
        for asked in (client, client.with_options(on_interrupt="restart")):
            mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x", "y"])
            with asked.stream_chat(GPT, "hi") as stream:
                with pytest.raises(UsageError, match="StreamReset"):
                    _ = stream.text_stream
                resets = [chunk.partial.text for chunk in stream if isinstance(chunk, StreamReset)]
                assert stream.final().text == "xy"
            assert resets == ["a"]
        mock.stream(["a", "b"]).cut(after_events=1)
        with client.stream_chat(GPT, "hi", on_interrupt="raise") as stream, pytest.raises(StreamInterruptedError):
            stream.final()


def test_partial_values_begin_anew(mock: MockTransport) -> None:
    mock.stream(['{"days": ["mon', 'day"']).cut(after_events=1).then.stream(['{"days": ["tues', 'day"]}'])
    with client_of(mock) as client, client.stream_chat(GPT, "hi", output=Plan, on_interrupt="restart") as stream:
        assert [value["days"] for value in stream.partial_stream] == [["mon"], ["tues"], ["tuesday"]]
        assert stream.final().parsed == Plan(["tuesday"])


def test_a_stream_is_read_once(mock: MockTransport) -> None:
    mock.stream(["a", "b"])
    with client_of(mock) as client, client.stream_chat(GPT, "hi") as stream:
        assert list(stream.text_stream) == ["a", "b"]
        for again in (stream, stream.text_stream):
            with pytest.raises(UsageError, match="read to its end"):
                iter(again)
        assert stream.final().text == "ab"


def test_a_stream_is_entered_once_and_before_it_is_read(mock: MockTransport) -> None:
    mock.reply()
    with client_of(mock) as client:
        stream = client.stream_chat(GPT, "hi")
        with pytest.raises(UsageError):
            next(stream)
        with stream:
            pass
        with pytest.raises(UsageError, match="once"):
            stream.__enter__()
    with pytest.raises(ClientClosedError):
        next(stream)


def test_a_stream_ends_with_its_client(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    client = client_of(mock)
    with client.stream_chat(GPT, "hi") as stream:
        assert next(stream.text_stream) == "a"
        client.close(drain=0)
        with pytest.raises(ClientClosedError):
            next(stream)
    assert mock.connections.open == 0


def test_a_dropped_stream_lets_its_connection_go(mock: MockTransport) -> None:
    ended = threading.Event()
    mock.stream(["a", "b"]).stall(after_events=1)

    class Told(Plugin):
        name = "told"

        def after_call(self, call: Any, outcome: Any) -> None:
            ended.set()

    with client_of(mock, plugins=[Told()]) as client:
        stream = client.stream_chat(GPT, "hi").__enter__()
        assert next(stream.text_stream) == "a"
        del stream
        assert ended.wait(LIMIT)
    assert mock.connections.open == 0


def test_a_conversation_goes_on_with_the_message_of_a_stream(mock: MockTransport) -> None:
    mock.reply("first").then.reply("second")
    messages: list[Any] = [Message(role="user", content="hi")]
    with client_of(mock) as client:
        with client.stream_chat(GPT, messages) as stream:
            messages += [stream.final().message, {"role": "user", "content": "and then?"}]
        assert client.chat(GPT, messages).text == "second"
    assert [message["content"] for message in mock.calls[1].json["messages"]] == ["hi", "first", "and then?"]


# --- processes


_PRELUDE = """
import os, signal, sys, threading
import bifrost
from bifrost import ForkedClientError, Plugin
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport

GPT = "openai/gpt-4o-mini"
mock = MockTransport()

class Told(Plugin):
    name = "told"
    def close(self):
        print("plugin closed", flush=True)

arrived = threading.Event()

def answer(request):
    arrived.set()
    return "late"

def in_child(work):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        sys.stdout.flush()
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)

def wait_for(*children):
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
"""


def run(script: str, *, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    """Run a program of its own. One that hangs is a failure."""
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", _PRELUDE + script],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT * 2,
        check=False,
    )


def said(script: str, *, warnings: str = "error") -> str:
    """Run a program that must end well and complain of nothing, and give what it printed."""
    ran = run(script, warnings=warnings)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout


def test_a_program_that_never_closes_its_client_ends_and_closes_it() -> None:
    assert (
        said("""
mock.reply("hello")
client = SyncBifrost(mock.account, transport=mock, plugins=[Told()])
print(client.chat(GPT, "hi").text, flush=True)
unused = SyncBifrost(mock.account, transport=mock)
""")
        == "hello\nplugin closed\n"
    )


def test_a_program_ends_while_a_stream_is_open_and_a_daemon_waits() -> None:
    assert (
        said("""
mock.stream(["a", "b"]).stall(after_events=1)
mock.function(answer).delay(3600)
client = SyncBifrost(mock.account, transport=mock, plugins=[Told()])
stream = client.stream_chat(GPT, "hi").__enter__()
print(next(stream.text_stream), flush=True)

def ask():
    try:
        client.chat(GPT, "hi")
    except bifrost.BifrostError:
        pass

threading.Thread(target=ask, daemon=True).start()
arrived.wait()
""")
        == "a\nplugin closed\n"
    )


def test_a_program_ends_though_a_plugin_never_closes() -> None:
    assert (
        said(
            """
import anyio
import bifrost.sync
bifrost.sync._END_LIMIT = 0.2

class Stuck(Plugin):
    name = "stuck"
    async def close(self):
        print("closing", flush=True)
        await anyio.sleep_forever()

mock.reply("hello")
client = SyncBifrost(mock.account, transport=mock, plugins=[Stuck()])
print(client.chat(GPT, "hi").text, flush=True)
""",
            warnings="ignore",
        )
        == "hello\nclosing\n"
    )


def test_ctrl_c_ends_a_program_at_once() -> None:
    ran = run("""
mock.function(answer).delay(3600)
client = SyncBifrost(mock.account, transport=mock, plugins=[Told()])

def press():
    arrived.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press).start()
client.chat(GPT, "hi")
""")
    assert ran.returncode == -signal.SIGINT
    assert ran.stdout == "plugin closed\n"
    assert ran.stderr.startswith("Traceback")
    assert ran.stderr.endswith("KeyboardInterrupt\n")
    assert ran.stderr.count("Traceback") == 1


def test_a_client_opened_before_a_fork_is_the_parents_alone() -> None:
    assert (
        said("""
mock.reply("hello").always()
client = SyncBifrost(mock.account, transport=mock, plugins=[Told()])
client.chat(GPT, "hi")
stream = client.stream_chat(GPT, "hi")

def use():
    for call in (lambda: client.chat(GPT, "hi"), stream.__enter__, client.open, client.with_options(timeout=1).open):
        try:
            call()
        except ForkedClientError as error:
            assert "forked" in str(error)
        else:
            raise SystemExit("the child used its parent's client")
    client.close()
    stream.close()
    with SyncBifrost(mock.account, transport=mock) as own:
        print("child:", own.chat(GPT, "hi").text, flush=True)

wait_for(in_child(use))
print("parent:", client.chat(GPT, "hi").text, flush=True)
with stream:
    print("parent:", stream.final().text, flush=True)
""")
        == "child: hello\nparent: hello\nparent: hello\nplugin closed\n"
    )


def test_the_child_of_a_fork_ends_in_order_though_it_does_so_inside_the_block() -> None:
    assert (
        said(
            """
mock.reply("hello").always()
with SyncBifrost(mock.account, transport=mock, plugins=[Told()]) as client:
    client.chat(GPT, "hi")
    child = os.fork()
    if child == 0:
        sys.exit(0)
    wait_for(child)
    print("parent:", client.chat(GPT, "hi").text, flush=True)
""",
            warnings="ignore",
        )
        == "parent: hello\nplugin closed\n"
    )


def test_a_client_made_before_a_fork_and_not_used_works_in_every_process() -> None:
    printed = said("""
mock.reply("hello").always()
client = SyncBifrost(mock.account, transport=mock)
hasty = client.with_options(timeout=5)

def work():
    with hasty.stream_chat(GPT, "hi") as stream:
        os.write(1, f"child: {stream.final().text}\\n".encode())
    client.close()

wait_for(*[in_child(work) for _ in range(3)])
print("parent:", client.chat(GPT, "hi").text, flush=True)
client.close()
""")
    assert sorted(printed.splitlines()) == ["child: hello"] * 3 + ["parent: hello"]


def test_a_pool_of_forked_processes_opens_one_client_in_each() -> None:
    printed = said("""
import multiprocessing

mock.reply("hello").always()
client = SyncBifrost(mock.account, transport=mock)

def work(number):
    return client.chat(GPT, "hi").text, os.getpid()

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = pool.map(work, range(6), chunksize=1)
        pool.close()
        pool.join()
    print({text for text, _ in answers}, len(answers), os.getpid() in {pid for _, pid in answers})
""")
    assert printed == "{'hello'} 6 False\n"


def test_an_unknown_option_is_named_whatever_its_name_is(mock: MockTransport) -> None:
    with SyncBifrost(mock.account, transport=mock) as client:
        options: dict[str, Any] = {"function": "f"}
        with pytest.raises(InvalidRequestError, match="'function' is no option of a chat"):
            client.chat("openai/gpt-4o-mini", "hi", **options)
