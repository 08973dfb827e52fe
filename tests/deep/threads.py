"""Threads that call at once through one client, and others that look at its counters: never one that cannot be."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import TYPE_CHECKING

from bifrost import BifrostError
from bifrost.sync import SyncBifrost
from bifrost.testing import FaultPlan, MockTransport, no_waits
from tests.deep.row import Row
from tests.load.echo import MODEL
from tests.load.scenarios import STORM

if TYPE_CHECKING:
    from bifrost import Stats

NAME = "threads"
_SECONDS = 60.0
_CALLERS = 8
_WATCHERS = 2


def _impossible(stats: Stats) -> list[str]:
    """Say which counters are out of their bounds."""
    told: list[str] = []
    for name, provider in stats.providers.items():
        budget = provider.budget
        if budget is None or not 0 <= budget.left <= budget.capacity:
            told.append(f"{name}: budget {budget}")
        if not 0 <= provider.in_flight <= provider.concurrency or provider.workers > provider.concurrency:
            told.append(f"{name}: {provider.in_flight} in flight, {provider.workers} workers")
        if not 0 <= provider.waiting <= _CALLERS:
            told.append(f"{name}: {provider.waiting} waiting")
        if provider.worker_restarts:
            told.append(f"{name}: {provider.worker_restarts} workers restarted")
    return told


def _watch(client: SyncBifrost, ended: threading.Event, told: list[str], looks: list[int]) -> None:
    count = 0
    while not ended.is_set():
        told += _impossible(client.stats())
        count += 1
        # Leave the others some of the interpreter.
        time.sleep(0.001)
    looks.append(count)


def _call(client: SyncBifrost, seed: int, end: float, outcomes: list[tuple[int, int]]) -> None:
    chance, answered, failed = Random(seed), 0, 0
    while time.monotonic() < end:
        try:
            if chance.random() < 0.2:
                with client.stream_chat(MODEL, "hi") as stream:
                    stream.final()
            else:
                client.chat(MODEL, "hi")
            answered += 1
        except BifrostError:
            failed += 1
    outcomes.append((answered, failed))


def run() -> list[Row]:
    mock = MockTransport()
    mock.reply("hello").always()
    mock.inject(FaultPlan.storm(0.3, seed=1, faults=STORM))
    told: list[str] = []
    looks: list[int] = []
    outcomes: list[tuple[int, int]] = []
    ended = threading.Event()
    with no_waits(), SyncBifrost(mock.account, transport=mock) as client:
        client.chat(MODEL, "hi")
        end = time.monotonic() + _SECONDS
        callers = [threading.Thread(target=_call, args=(client, seed, end, outcomes)) for seed in range(_CALLERS)]
        watchers = [threading.Thread(target=_watch, args=(client, ended, told, looks)) for _ in range(_WATCHERS)]
        for thread in (*callers, *watchers):
            thread.start()
        for thread in callers:
            thread.join()
        ended.set()
        for thread in watchers:
            thread.join()
        left = client.stats().in_flight + client.stats().waiting
    answered, failed = (sum(column) for column in zip(*outcomes, strict=True))
    return [
        Row(
            f"counters out of bounds in {sum(looks):,} looks of {_WATCHERS} threads, beside {_CALLERS} that call",
            f"{len(told)}{': ' if told else ''}{'; '.join(told[:3])}",
            "0",
            ok=not told,
        ),
        Row(
            f"calls of {_CALLERS} threads in {_SECONDS:g} s: answered, failed, still under way at the end",
            f"{answered:,}, {failed:,}, {left}",
            "all ended",
            ok=len(outcomes) == _CALLERS and not left and answered > failed,
        ),
    ]
