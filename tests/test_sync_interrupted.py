"""A signal handler that raises at any moment: nothing hangs, the client works on, and nothing is left behind.

The moments are those at which the interpreter looks for signals, behind calls, at the beginnings of functions and where
loops turn, as far as they are in `bifrost.sync` and in the standard library's threads: it is raised at each in turn.
"""

from __future__ import annotations

import dis
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bifrost.sync
from bifrost import UsageError
from bifrost.sync import SyncBifrost, _Call
from bifrost.testing import MockTransport
from tests.test_sync import GPT, LIMIT, client_of, own_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_PLACES = {bifrost.sync.__file__, threading.__file__}


class Pressed(BaseException):
    """What a signal handler raises."""


class Presser:
    """Raises in the present thread, as a signal handler would, at the moment number `at`."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.moments = 0
        self.pressed = False
        self._last: dict[Any, int] = {}

    def run(self, work: Callable[[], object]) -> None:
        """Do work; that it is interrupted is no error."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            work()
        except Pressed:
            pass
        finally:
            sys.settrace(before)

    def _enter(self, frame: Any, _event: str, _argument: object) -> Any:
        # Finalisers hear of no exception.
        if frame.f_code.co_filename not in _PLACES or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: Any, event: str, _argument: object) -> Any:
        if event == "return":
            self._last.pop(frame, None)
        if event != "opcode" or self.pressed:
            return self._step
        before, self._last[frame] = self._last.get(frame), frame.f_lasti
        if before is not None and before in _looking(frame.f_code):
            self.moments += 1
            if self.moments == self._at:
                self.pressed = True
                raise Pressed
        return self._step


@cache
def _looking(code: CodeType) -> set[int]:
    """Give the places of the instructions after which the interpreter looks for signals."""
    names = ("CALL", "RESUME", "JUMP_BACKWARD")
    return {each.offset for each in dis.get_instructions(code) if each.opname.startswith(names)}


def _chat(client: SyncBifrost) -> None:
    assert client.chat(GPT, "hi").text == "a b"


def _block(client: SyncBifrost) -> None:
    with client:
        client.chat(GPT, "hi")


def _stream(client: SyncBifrost) -> None:
    with client.stream_chat(GPT, "hi") as stream:
        assert "".join(stream.text_stream) == "a b"


def _map(client: SyncBifrost) -> None:
    assert len(list(client.map(["a", "b", "c"], model=GPT, concurrency=2))) == 3


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Give whether what was waited for within a limit came, each time."""
    came: list[bool] = []
    wait = _Call.wait

    def watched(call: _Call[Any], seconds: float = -1) -> bool:
        ended = wait(call, seconds)
        if seconds >= 0:
            came.append(ended)
        return ended

    monkeypatch.setattr(_Call, "wait", watched)
    return came


@pytest.mark.parametrize(
    ("work", "opened"),
    [
        *((work, True) for work in (_chat, _block, _stream, _map)),
        (_chat, False),
        *(pytest.param(work, False, marks=pytest.mark.wide) for work in (_block, _stream, _map)),
    ],
)
@pytest.mark.filterwarnings("ignore:a bifrost client was never closed:ResourceWarning")
def test_interrupted_at_any_moment(waits: list[bool], work: Callable[[SyncBifrost], None], opened: bool) -> None:
    at, pressed = 0, True
    while pressed:
        at += 1
        mock = MockTransport()
        mock.stream(["a", " b"]).always()
        client = client_of(mock)
        if opened:
            client.open()
        presser = Presser(at)
        presser.run(lambda client=client: work(client))
        pressed = presser.pressed
        if work is not _block:
            assert client.chat(GPT, "hi").text == "a b", f"at moment {at}"
        client.close()
        client.close()
        assert mock.connections.in_use == 0, f"at moment {at}"
        assert all(waits), f"a wait ran into its limit at moment {at}"
    assert at > 20
    for thread in own_threads():
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in own_threads())


@pytest.mark.filterwarnings("ignore:a bifrost client was never closed:ResourceWarning")
def test_closing_is_interrupted_at_any_moment(waits: list[bool]) -> None:
    at, pressed = 0, True
    while pressed:
        at += 1
        mock = MockTransport()
        mock.reply("hi")
        client = client_of(mock)
        client.chat(GPT, "hi")
        presser = Presser(at)
        presser.run(client.close)
        pressed = presser.pressed
        client.close()
        assert mock.connections.open == 0, f"at moment {at}"
        assert all(waits), f"a wait ran into its limit at moment {at}"
        for thread in own_threads():
            thread.join(LIMIT)
        assert not any(thread.is_alive() for thread in own_threads()), f"at moment {at}"
    assert at > 10


def test_a_stream_that_was_interrupted_gives_no_chunk_behind_a_gap() -> None:
    at, pressed = 0, True
    while pressed:
        at += 1
        mock = MockTransport()
        mock.stream(["a", "b", "c"])
        with client_of(mock) as client, client.stream_chat(GPT, "hi") as stream:
            texts: list[str] = []

            def read(stream: Any = stream, texts: list[str] = texts) -> None:
                for chunk in stream:
                    texts.append(chunk.text)  # noqa: PERF401 - also those before it raises

            presser = Presser(at)
            presser.run(read)
            pressed = presser.pressed
            with suppress(UsageError):
                read()
            assert "abc".startswith("".join(texts)), f"at moment {at}"
    assert at > 20


_PROGRAM = """
import random, signal, sys, threading
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport

GPT = "openai/gpt-4o-mini"
chance = random.Random(int(sys.argv[1]))
over = threading.Event()

class Alarm(Exception):
    pass

def ring(*_):
    if not over.is_set():
        raise Alarm if chance.random() < 0.5 else KeyboardInterrupt

signal.signal(signal.SIGINT, ring)
signal.signal(signal.SIGALRM, ring)

def use(client):
    kind = chance.randrange(4)
    if kind == 0:
        client.chat(GPT, "hi")
    elif kind == 1:
        with client.stream_chat(GPT, "hi") as stream:
            for _ in stream:
                pass
    elif kind == 2:
        for result in client.map(["a", "b", "c"], model=GPT, concurrency=2):
            assert result.error is None or "closed" in str(result.error), result.error
    else:
        with SyncBifrost(mock.account, transport=mock) as other:
            other.chat(GPT, "hi")

mock = MockTransport()
mock.stream(["a", "b"]).delay(0.002).always()
client = SyncBifrost(mock.account, transport=mock)
client.chat(GPT, "hi")
for _ in range(25):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.02), chance.choice((0, 0.0005, 0.003)))
        use(client)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (Alarm, KeyboardInterrupt):
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                break
            except (Alarm, KeyboardInterrupt):
                pass
over.set()
print(client.chat(GPT, "hi").text)
client.close()
assert mock.connections.in_use == 0
"""


@pytest.mark.parametrize("seed", range(int(os.environ.get("BIFROST_SIGNAL_SEEDS", "2"))))
def test_signals_at_random_moments(seed: int) -> None:
    """More of them with BIFROST_SIGNAL_SEEDS=200."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(seed)],
        env={**os.environ, "PYTHONPATH": str(Path(bifrost.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "ab"
