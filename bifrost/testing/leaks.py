"""`leak_check()`: detects tasks and sockets that a block of code leaves open."""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_DESCRIPTORS = Path("/dev/fd")
_ROUNDS = 10
"""The number of turns of the event loop before the check, because tasks and sockets may end one turn late."""
_PAUSE = 0.01

_RUNNERS = ("TestRunner.",)
"""Coroutines with which anyio's pytest plugin runs a fixture: its teardown runs in other tasks than its set-up."""


def leak_check(*, settle: float = 1.0) -> LeakCheck:
    """Fail if the block leaves tasks or sockets open, or an object is collected that was never closed.

        async with leak_check():
            async with Bifrost() as client:
                ...

    Raises `AssertionError`, which lists the leaks: new tasks of the running event loop (asyncio or trio), open sockets
    (if the system lists them in `/dev/fd`), and `ResourceWarning`s. It waits up to `settle` seconds for tasks and
    sockets to end. A plain `with` checks sockets and warnings only, for code without an event loop. An error of the
    block itself is not replaced.
    """
    return LeakCheck(settle)


class LeakCheck:
    """The context manager that `leak_check` returns."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._tasks: set[Any] = set()
        self._sockets: set[tuple[int, int]] = set()
        self._watch = _Warnings()

    def __enter__(self) -> None:
        gc.collect()
        self._sockets = set(_sockets())
        self._watch.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            gc.collect()
        finally:
            self._watch.stop()
        if error is None:
            self._judge([])

    async def __aenter__(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._tasks = set(_tasks())
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._wait()
            gc.collect()
        finally:
            self._watch.stop()
        if error is None:
            self._judge(self._new_tasks())

    async def _wait(self) -> None:
        """Wait for tasks and sockets that are about to end."""
        for _ in range(_ROUNDS):
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(self._settle):
            while self._new_tasks() or self._new_sockets():  # noqa: ASYNC110 - no event reports a closed socket
                await anyio.sleep(_PAUSE)

    def _new_tasks(self) -> list[Any]:
        here = anyio.get_current_task().id
        found = [task for task in _tasks() if task not in self._tasks and id(task) != here]
        return [task for task in found if not _coroutine(task).startswith(_RUNNERS)]

    def _new_sockets(self) -> list[tuple[int, int]]:
        return [found for found in _sockets() if found not in self._sockets]

    def _judge(self, tasks: list[Any]) -> None:
        leaks = [f"task: {_task_name(task)}" for task in tasks]
        leaks += [f"socket: {_peers(descriptor)}" for descriptor, _ in self._new_sockets()]
        leaks += [f"ResourceWarning: {text}" for text in self._watch.seen]
        if leaks:
            raise AssertionError("leaked: " + "; ".join(leaks))


class _Warnings:
    """Collects `ResourceWarning`s and passes on all other warnings."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._filters = warnings.catch_warnings()

    def start(self) -> None:
        self._filters.__enter__()
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, ResourceWarning):
                self.seen.append(str(message))
            else:
                shown(message, category, *place, **more)

        warnings.simplefilter("always", ResourceWarning)
        warnings.showwarning = show

    def stop(self) -> None:
        self._filters.__exit__(None, None, None)


def _tasks() -> Iterator[Any]:
    """Yield the tasks of the running event loop. A library that is not loaded is not running, so none is imported."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        yield from _below(trio.lowlevel.current_root_task())
        return
    yield from sys.modules["asyncio"].all_tasks()


def _below(task: Any) -> Iterator[Any]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _below(child)


def _task_name(task: Any) -> str:
    return f"{task.name if hasattr(task, 'name') else task.get_name()} ({_coroutine(task)})"


def _coroutine(task: Any) -> str:
    coroutine = task.coro if hasattr(task, "coro") else task.get_coro()
    return str(getattr(coroutine, "__qualname__", coroutine))


def _sockets() -> Iterator[tuple[int, int]]:
    """Yield the descriptor and inode of each open socket; nothing if the system does not list them."""
    try:
        names = os.listdir(_DESCRIPTORS)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return
    for name in names:
        try:
            found = os.fstat(int(name))
        except (OSError, ValueError):
            continue
        if stat.S_ISSOCK(found.st_mode):
            yield int(name), found.st_ino


def _peers(descriptor: int) -> str:
    """Return a description of what a socket is connected to."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        try:
            here = copy.getsockname()
            return f"{here} - {copy.getpeername()}"
        except OSError:
            return f"{copy.family.name}, not connected, descriptor {descriptor}"
