"""Clients opened here and closed there, and programs that end without being asked to."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

import bifrost
from bifrost import Plugin, ShuttingDownError, WrongLoopError
from bifrost.testing import MockTransport, leak_check
from bifrost.transport import Transport
from tests.engine.peers import MODEL
from tests.engine.rig import is_quiet, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

pytest_plugins = ["pytester"]

ROOT = Path(bifrost.__file__).parents[1]


@pytest.fixture
def mock() -> MockTransport:
    mock = MockTransport()
    mock.reply("hello").always()
    return mock


# --- tasks


async def test_a_client_is_opened_used_and_closed_in_different_tasks(mock: MockTransport) -> None:
    async with leak_check():
        client = mock.client()

        async def use() -> None:
            assert (await client.chat(MODEL, "hi")).text == "hello"

        for step in (client.open, use, use, client.close):
            async with anyio.create_task_group() as group:
                group.start_soon(step)
    assert mock.connections.open == 0


async def test_a_client_opened_in_a_scope_that_is_cancelled_lives_on(mock: MockTransport) -> None:
    async with leak_check():
        client = mock.client()
        with anyio.CancelScope() as scope:
            await client.chat(MODEL, "hi")
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        assert (await client.chat(MODEL, "hi")).text == "hello"
        await client.close()


async def test_the_first_caller_may_leave_while_the_client_opens_for_all(mock: MockTransport) -> None:
    opened: list[str] = []
    may_open = anyio.Event()

    class Slow(Plugin):
        name = "slow"

        async def open(self) -> None:
            opened.append("opened")
            await may_open.wait()

    async with leak_check():
        client = mock.client(plugins=[Slow()])
        answers: list[str] = []

        async def call() -> None:
            answers.append((await client.chat(MODEL, "hi")).text)

        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.01):
                await call()
            for _ in range(3):
                group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            may_open.set()
        assert answers == ["hello"] * 3
        assert opened == ["opened"]
        await client.close()


async def test_another_threads_loop_may_not_use_the_client(mock: MockTransport) -> None:
    async with mock.client() as client:

        async def elsewhere() -> None:
            with pytest.raises(WrongLoopError):
                await client.chat(MODEL, "hi")
            with pytest.raises(WrongLoopError):
                await client.stream_chat(MODEL, "hi").__aenter__()
            with pytest.raises(WrongLoopError):
                await client.close()

        for backend in ("asyncio", "trio"):
            await anyio.to_thread.run_sync(lambda name=backend: anyio.run(elsewhere, backend=name))
        assert (await client.chat(MODEL, "hi")).text == "hello"
        await until(lambda: is_quiet(client))


async def test_a_hook_that_closes_its_own_client_does_not_wait_for_itself_for_ever(mock: MockTransport) -> None:
    class Closing(Plugin):
        name = "closing"

        async def before(self, call: Any, request: Any) -> None:
            await client.close(drain=0.05)

    async with leak_check():
        client = mock.client(plugins=[Closing()])
        with anyio.fail_after(5), pytest.raises(ShuttingDownError):
            await client.chat(MODEL, "hi")


@pytest.mark.parametrize("how", ["cancelled", "fails"])
async def test_a_block_that_is_never_entered_leaves_nothing_behind(mock: MockTransport, how: str) -> None:
    closed: list[str] = []

    class Told(Plugin):
        name = "told"

        def close(self) -> None:
            closed.append("closed")

    class Slow(Plugin):
        name = "slow"

        async def open(self) -> None:
            if how == "fails":
                raise LookupError
            await anyio.sleep_forever()

    async def use() -> None:
        async with mock.client(plugins=[Told(), Slow()]):
            raise AssertionError("it was entered")

    async with leak_check():
        if how == "fails":
            with pytest.raises(bifrost.PluginError):
                await use()
        else:
            with anyio.move_on_after(0.05):
                await use()
        await until(lambda: closed)
    assert closed == ["closed"]


# --- whose context


class Watching(Transport):
    """A user's transport, which notes what it is told by the context it runs in."""

    def __init__(self, mock: MockTransport, look: Callable[[], Any]) -> None:
        self.seen: list[Any] = []
        self._mock = mock
        self._look = look

    def open(self, origin: Any) -> Any:
        self.seen.append(self._look())
        return self._mock.open(origin)


@pytest.mark.parametrize("how", ["opened", "opens with its first call"])
async def test_a_callers_context_is_never_seen_in_anothers_job(how: str, mock: MockTransport) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    watching = Watching(mock, tenant.get)
    hooks: list[str] = []

    class Told(Plugin):
        name = "told"

        def open(self) -> None:
            watching.seen.append(tenant.get())

        def before(self, call: Any, request: Any) -> None:
            hooks.append(tenant.get())

    tenant.set("the maker")
    client = bifrost.Bifrost(mock.account, transport=watching, plugins=[Told()])
    tenant.set("the owner")
    if how == "opened":
        await client.open()

    async def call(name: str) -> None:
        tenant.set(name)
        # So that each needs a connection of its own, and perhaps a worker.
        async with client.stream_chat(MODEL, name) as stream:
            await stream.__anext__()

    async with anyio.create_task_group() as group:
        for name in "ABC":
            group.start_soon(call, name)
    await client.close()
    assert watching.seen == ["nobody"] * 4
    assert sorted(hooks) == ["A", "B", "C"]


async def test_hooks_at_the_end_of_a_dropped_stream_see_the_context_of_its_reader(mock: MockTransport) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []

    class Told(Plugin):
        name = "told"

        def after_call(self, call: Any, outcome: Any) -> None:
            seen.append(tenant.get())

    mock.forget()
    mock.stream(["a", "b"]).stall(after_events=1)

    async def drop() -> None:
        tenant.set("A")
        stream = await client.stream_chat(MODEL, "hi").__aenter__()
        await stream.__anext__()

    async with mock.client(plugins=[Told()]) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(drop)
        gc.collect()
        await until(lambda: seen)
    assert seen == ["A"]


# --- programs


def run(program: str, *arguments: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own. It must end in time."""
    start = textwrap.dedent(
        """
        import asyncio, gc, os, signal, sys, threading, time
        import anyio
        from bifrost import *
        from bifrost.testing import LoopbackProvider, MockTransport

        MODEL = "openai/gpt-4o-mini"
        mock = MockTransport()
        mock.reply("hello").always()

        async def ask(client):
            assert (await client.chat(MODEL, "hi")).text == "hello"
        """
    )
    return subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", start + textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def assert_silent(done: subprocess.CompletedProcess[str], output: str = "") -> None:
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, output, "")


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_program_that_never_closes_its_client_is_warned_and_ends(backend: str) -> None:
    done = run(
        """
        async def main():
            async with LoopbackProvider() as server:
                client = server.client()
                await client.chat(MODEL, "hi")
                async with client.stream_chat(MODEL, "hi") as stream:
                    await stream.__anext__()
                    print("used")

        anyio.run(main, backend=sys.argv[1])
        """,
        backend,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "used")
    assert "ResourceWarning: a bifrost client was never closed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Task was destroyed" not in done.stderr


def test_a_client_of_a_module_serves_one_loop_after_another(backend: str) -> None:
    done = run(
        """
        client = mock.client()

        async def last():
            await ask(client)
            await client.close()
            try:
                await ask(client)
            except ClientClosedError as error:
                print("closed")

        anyio.run(ask, client, backend=sys.argv[1])
        anyio.run(ask, client, backend="trio" if sys.argv[1] == "asyncio" else "asyncio")
        anyio.run(last, backend=sys.argv[1])
        try:
            anyio.run(ask, client, backend=sys.argv[1])
        except ClientClosedError as error:
            print("closed")
        """,
        backend,
    )
    assert_silent(done, "closed\nclosed")


def test_a_client_whose_loop_was_closed_under_it_opens_again_on_the_next() -> None:
    done = run(
        """
        client = mock.client()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask(client))
        loop.close()

        async def last():
            await ask(client)
            await client.close()

        asyncio.run(last())
        print("served")
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "served")
    assert "bifrost.errors" not in done.stderr


def test_a_forked_child_is_refused_and_its_parent_goes_on(backend: str) -> None:
    done = run(
        """
        async def main():
            async with LoopbackProvider() as server, server.client() as client:
                await client.chat(MODEL, "hi")
                stream = client.stream_chat(MODEL, "hi")
                await stream.__aenter__()
                child = os.fork()
                if not child:
                    try:
                        await client.chat(MODEL, "hi")
                    except ForkedClientError:
                        del stream, client
                        gc.collect()
                        os._exit(7)
                    os._exit(1)
                _, status = await anyio.to_thread.run_sync(os.waitpid, child, 0)
                assert os.waitstatus_to_exitcode(status) == 7
                await client.chat(MODEL, "hi")
                assert (await stream.final()).text
                await stream.close()
                print("parent served")

        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        anyio.run(main, backend=sys.argv[1])
        """,
        backend,
    )
    assert_silent(done, "parent served")


def test_ctrl_c_during_a_hundred_calls_ends_the_program_at_once(backend: str) -> None:
    done = run(
        """
        hanging = MockTransport()
        hanging.hang().always()

        async def main():
            async with hanging.client() as client, anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(client.chat, MODEL, "hi")
                while len(hanging.calls) < 100:
                    await anyio.sleep(0.001)
                started.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
                await anyio.sleep(60)

        started = []
        try:
            anyio.run(main, backend=sys.argv[1])
        except* KeyboardInterrupt:
            print("interrupted")
        assert time.monotonic() - started[0] < 2
        """,
        backend,
    )
    assert_silent(done, "interrupted")


def test_sigterm_during_a_hundred_calls_ends_the_program_at_once(backend: str) -> None:
    done = run(
        """
        hanging = MockTransport()
        hanging.hang().always()

        async def main():
            async with hanging.client() as client, anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(client.chat, MODEL, "hi")
                while len(hanging.calls) < 100:
                    await anyio.sleep(0.001)
                os.kill(os.getpid(), signal.SIGTERM)
                await anyio.sleep(60)

        anyio.run(main, backend=sys.argv[1])
        """,
        backend,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


def test_a_program_that_leaves_in_order_on_sigterm_does_so(backend: str) -> None:
    """As servers do: the signal is taken as the end of the scope, and every call is answered on the way out."""
    done = run(
        """
        hanging = MockTransport()
        hanging.hang().always()
        errors = []

        async def call(client):
            try:
                await client.chat(MODEL, "hi")
            except BifrostError as error:
                errors.append(type(error).__name__)

        async def main():
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async with hanging.client() as client, anyio.create_task_group() as group:
                    for _ in range(100):
                        group.start_soon(call, client)
                    while len(hanging.calls) < 100:
                        await anyio.sleep(0.001)
                    os.kill(os.getpid(), signal.SIGTERM)
                    async for _ in signals:
                        break
                    await client.close(drain=0.1)
            print(sorted(set(errors)), len(errors))

        anyio.run(main, backend=sys.argv[1])
        """,
        backend,
    )
    assert_silent(done, "['ShuttingDownError'] 100")


def test_a_sync_client_that_is_not_closed_ends_with_sigterm_and_with_exit() -> None:
    program = """
        hanging = MockTransport()
        hanging.hang().always()
        client = SyncBifrost(hanging.account, transport=hanging)

        def call():
            try:
                client.chat(MODEL, "hi")
            except BifrostError:
                pass

        for _ in range(8):
            threading.Thread(target=call, daemon=True).start()
        while len(hanging.calls) < 8:
            time.sleep(0.001)
        """
    ends = {"os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)": -signal.SIGTERM, "sys.exit(3)": 3}
    for end, code in ends.items():
        done = run(f"{textwrap.dedent(program)}\n{end}\n")
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_ctrl_c_that_hits_a_worker_is_no_defect(backend: str) -> None:
    done = run(
        """
        from bifrost.transport import Transport

        class Busy(Transport):
            # A user's transport that keeps the event loop busy: the signal comes while a worker runs.
            def open(self, origin):
                signal.raise_signal(signal.SIGINT)
                for _ in range(1000):
                    time.sleep(0.00001)
                return mock.open(origin)

        async def main():
            async with Bifrost(mock.account, transport=Busy()) as client:
                await ask(client)
                await anyio.sleep(10)

        try:
            anyio.run(main, backend=sys.argv[1])
        except KeyboardInterrupt:
            print("interrupted")
        """,
        backend,
    )
    assert_silent(done, "interrupted")


# --- fixtures


_TESTS = """
import pytest
from bifrost.testing import LoopbackProvider

MODEL = "openai/gpt-4o-mini"

{backend}

async def make():
    async with LoopbackProvider() as server:
        async with server.client() as client:
            yield client
        await server.all_closed()

@{fixture}(scope="function")
async def function_client():
    async for client in make():
        yield client

@{fixture}(scope="module"{loop})
async def module_client():
    async for client in make():
        yield client

async def use(client):
    assert (await client.chat(MODEL, "hi")).text
    async with client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()

{mark}
async def test_function(function_client):
    await use(function_client)

{module_mark}
@pytest.mark.parametrize("number", range(2))
async def test_module(module_client, number):
    await use(module_client)
"""


def _run_tests(pytester: pytest.Pytester, plugin: str, *, option: str, passed: int, **parts: str) -> None:
    pytester.makepyfile(_TESTS.format(**parts))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", plugin, "-o", option)
    result.assert_outcomes(passed=passed)


@pytest.fixture
def bare_pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Run tests with the plugins that are asked for and no others."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def test_a_client_may_be_a_fixture_under_pytest_asyncio(bare_pytester: pytest.Pytester) -> None:
    _run_tests(
        bare_pytester,
        "pytest_asyncio.plugin",
        option="asyncio_default_fixture_loop_scope=function",
        passed=3,
        backend="import pytest_asyncio",
        fixture="pytest_asyncio.fixture",
        loop=', loop_scope="module"',
        mark="@pytest.mark.asyncio",
        module_mark='@pytest.mark.asyncio(loop_scope="module")',
    )


def test_a_client_may_be_a_fixture_under_anyios_plugin(bare_pytester: pytest.Pytester) -> None:
    _run_tests(
        bare_pytester,
        "anyio.pytest_plugin",
        option="anyio_mode=strict",
        passed=6,
        backend="@pytest.fixture(scope='module', params=['asyncio', 'trio'])\ndef anyio_backend(request):\n"
        "    return request.param",
        fixture="pytest.fixture",
        loop="",
        mark="@pytest.mark.anyio",
        module_mark="@pytest.mark.anyio",
    )
