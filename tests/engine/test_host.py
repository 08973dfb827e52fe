from __future__ import annotations

import asyncio
import gc
import sys
import threading
from contextvars import ContextVar, copy_context
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.engine.host import Host
from bifrost.errors import InternalError, WrongLoopError
from bifrost.event_loop import running_loop
from bifrost.testing import MockTransport, leak_check
from tests.engine.rig import Owner, until

pytestmark = pytest.mark.anyio


async def started(owner: Owner) -> Host:
    host = owner.host()
    host.start()
    await host.ready()
    return host


async def test_a_host_is_started_used_and_stopped_from_different_tasks() -> None:
    async with leak_check():
        owner = Owner()
        hosts: list[Host] = []
        ran = anyio.Event()

        async def start() -> None:
            hosts.append(await started(owner))

        async def work() -> None:
            ran.set()
            await anyio.sleep_forever()

        async def use() -> None:
            hosts[0].run(work)
            await until(ran.is_set)

        async def stop() -> None:
            await hosts[0].stop()

        for step in (start, use, stop):
            async with anyio.create_task_group() as group:
                group.start_soon(step)
        assert hosts[0].ended
        assert owner.ends == hosts
        assert hosts[0].failure is None


async def test_a_host_lives_on_when_the_scope_it_was_started_in_is_cancelled() -> None:
    host = Owner().host()
    with anyio.CancelScope() as scope:
        host.start()
        await host.ready()
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert host.alive
    await host.stop()


async def test_stopping_waits_for_the_end_and_may_be_done_by_several_at_once() -> None:
    host = await started(Owner())
    ended = anyio.Event()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            ended.set()

    host.run(work)
    await anyio.lowlevel.checkpoint()
    async with anyio.create_task_group() as group:
        group.start_soon(host.stop)
        group.start_soon(host.stop)
    assert ended.is_set()
    assert host.ended


async def test_stopping_ends_a_setup_that_never_ends() -> None:
    owner = Owner(anyio.sleep_forever)
    host = owner.host()
    host.start()
    await until(lambda: owner.began)
    with anyio.fail_after(5):
        await host.stop()
        await host.ready()
    assert not host.alive
    assert host.ended


async def test_stopping_before_the_host_ran_at_all_ends_it() -> None:
    owner = Owner()
    host = owner.host()
    host.start()
    with anyio.fail_after(5):
        await host.stop()
    assert host.ended
    assert not host.alive


async def test_a_failing_setup_wakes_whoever_waits_and_is_remembered() -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    owner = Owner(fail)
    host = owner.host()
    host.start()
    with anyio.fail_after(5):
        await host.ready()
    assert isinstance(host.failure, LookupError)
    assert not host.alive
    assert owner.ends == [host]


async def test_a_failing_task_ends_the_host_and_is_remembered_without_its_group() -> None:
    owner = Owner()
    host = await started(owner)

    async def fail() -> None:
        raise LookupError("no such thing")

    host.run(fail)
    await until(lambda: owner.ends)
    assert isinstance(host.failure, LookupError)
    assert host.ended
    with pytest.raises(InternalError):
        host.run(fail)


async def test_tasks_run_in_nobodys_context_or_in_one_that_is_given() -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")
    name.set("owner")
    host = await started(Owner())
    name.set("caller")
    seen: list[str] = []

    async def look() -> None:
        seen.append(name.get())

    host.run(look)
    await until(lambda: seen)
    host.run(look, context=copy_context())
    await until(lambda: len(seen) == 2)
    assert seen == ["nobody", "caller"]
    await host.stop()


async def test_another_threads_loop_is_refused() -> None:
    host = await started(Owner())
    assert host.here()
    errors: list[BaseException] = []

    async def elsewhere() -> None:
        assert not host.here()
        host.check()

    def run(backend: str) -> None:
        try:
            anyio.run(elsewhere, backend=backend)
        except WrongLoopError as error:
            errors.append(error)

    for backend in ("asyncio", "trio"):
        await anyio.to_thread.run_sync(run, backend)
    assert len(errors) == 2
    await host.stop()


async def test_a_function_is_called_on_the_hosts_loop_from_any_thread() -> None:
    host = await started(Owner())
    seen: list[Any] = []
    called = threading.Thread(target=host.call_soon, args=(lambda: seen.append(running_loop()),))
    called.start()
    await until(lambda: seen)
    called.join()
    assert seen == [running_loop()]
    await host.stop()


async def test_a_host_does_not_keep_its_owner_alive() -> None:
    owner = Owner()
    host = await started(owner)
    gone: list[bool] = []

    class Canary:
        def __del__(self) -> None:
            gone.append(True)

    owner.canary = Canary()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    del owner
    gc.collect()
    assert gone
    await host.stop()


async def test_a_signal_wakes_the_task_that_waits() -> None:
    host = await started(Owner())
    signal, woken = host.signal(), anyio.Event()

    async def wait() -> None:
        await signal
        woken.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not woken.is_set()
        signal.set()
        signal.set()
        with anyio.fail_after(5):
            await woken.wait()
    await host.stop()


async def test_a_signal_that_is_set_already_is_not_waited_for() -> None:
    host = await started(Owner())
    signal = host.signal()
    signal.set()
    with anyio.fail_after(5):
        await signal
    await host.stop()


async def test_a_signal_that_comes_after_its_task_was_cancelled_wakes_nobody() -> None:
    host = await started(Owner())
    signal, after = host.signal(), anyio.Event()

    async def wait() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await signal
        assert scope.cancelled_caught
        signal.set()
        await after.wait()

    scopes: list[anyio.CancelScope] = []
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        signal.set()
        await anyio.wait_all_tasks_blocked()
        after.set()
    await host.stop()


@pytest.mark.parametrize("lowlevel", [ModuleType("trio.lowlevel"), None])
def test_a_trio_that_is_too_old_for_anyio_is_nobodys_event_loop(
    monkeypatch: pytest.MonkeyPatch, lowlevel: ModuleType | None
) -> None:
    """httpx's own dependencies import whatever trio there is; what runs is asyncio all the same."""
    old = ModuleType("trio")
    if lowlevel is not None:
        monkeypatch.setattr(old, "lowlevel", lowlevel, raising=False)

    async def use() -> str:
        mock = MockTransport()
        mock.reply("hello")
        async with mock.client() as client:
            return (await client.chat("openai/gpt-4o-mini", "hi")).text

    monkeypatch.setitem(sys.modules, "trio", old)
    assert asyncio.run(use()) == "hello"
