"""Whole runs of whole clients, from a seed. `REPLAY=17 pytest tests/simulation` makes the run of seed 17 alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.ledger import Broken
from tests.simulation.run import simulate
from tests.simulation.seeds import keep, seeds
from tests.simulation.world import slowed, world_of
from tests.wide import few_of

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])
_RUNS = 50
_HEDGED = 10


@BOTH
@pytest.mark.parametrize("seed", few_of(seeds(_RUNS), 16))
def test_a_run_keeps_the_invariants(seed: int, backend: Backend) -> None:
    try:
        simulate(world_of(seed), backend)
    except Broken:
        keep(seed)
        raise


@BOTH
@pytest.mark.parametrize("seed", few_of(seeds(_HEDGED), 4))
def test_a_run_with_hedges_keeps_them_too(seed: int, backend: Backend) -> None:
    try:
        simulate(slowed(world_of(seed)), backend)
    except Broken:
        keep(seed)
        raise


@BOTH
def test_the_same_seed_makes_the_same_run(backend: Backend) -> None:
    first, second = (simulate(world_of(3), backend).events for _ in range(2))
    assert len(first) > 200
    assert first == second


def test_runs_are_as_full_of_life_as_they_should_be() -> None:
    """What a checker has never seen it has not checked."""
    ledgers = [simulate(world_of(seed), "asyncio") for seed in range(100, 112)]
    entries = [entry for ledger in ledgers for entry in ledger.entries.values()]
    attempts = [attempt for entry in entries if entry.context for attempt in entry.context.attempts]
    ends = {(entry.ask.kind, end) for entry in entries for end in entry.ends}
    assert len(ends) >= 10
    assert len({attempt.category for attempt in attempts}) >= 12
    assert len({attempt.status for attempt in attempts}) >= 12
    assert any(entry.answered_by_plugin for entry in entries)
    assert any(ledger.closing is not None for ledger in ledgers)
    assert max(len(ledger.limits) for ledger in ledgers) >= 6
    assert any(len({attempt.provider for attempt in entry.context.attempts}) > 1 for entry in entries if entry.context)
    cancelled = {entry.ask.leave.style for entry in entries if entry.ask.leave and entry.ends == ["cancelled"]}
    assert cancelled == {"scope", "task", "wait_for"}


def test_hedges_win_lose_and_fail() -> None:
    ledgers = [simulate(slowed(world_of(seed)), "asyncio") for seed in range(_HEDGED)]
    trails = [entry.context.attempts for ledger in ledgers for entry in ledger.entries.values() if entry.context]
    attempts = [attempt for trail in trails for attempt in trail]
    hedges = [attempt for attempt in attempts if (attempt.note or "").startswith("hedge")]
    assert {"cancelled", "transient", None} <= {attempt.category for attempt in hedges}
    assert len(hedges) > 30
    assert any(attempt.note == "lost to a hedge" for attempt in attempts)
