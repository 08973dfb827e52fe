"""The small form of the load that the deep run puts on a client. What is measured in seconds is in virtual ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost.testing import run_virtual
from tests.load.scenarios import black_hole, hold, numbered_calls, outage, storm

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])

pytestmark = pytest.mark.wide


@BOTH
def test_no_call_is_lost_doubled_or_mismatched(backend: Backend) -> None:
    found = anyio.run(numbered_calls, 25_000, backend=backend)
    assert found.exact, found


@pytest.mark.parametrize(("backend", "count"), [("asyncio", 10_000), ("trio", 2_000)])
def test_thousands_of_calls_are_in_flight_at_once_and_all_are_answered(backend: Backend, count: int) -> None:
    found = anyio.run(hold, count, backend=backend)
    assert found.in_flight == found.answered == count


@BOTH
def test_a_storm_is_survived_by_all_but_a_few_calls_and_leaves_nothing_behind(backend: Backend) -> None:
    found = run_virtual(partial(storm, seconds=180, per_second=25), backend=backend)
    assert found.succeeded + found.failed + found.cancelled == found.calls == 4500
    assert not found.mismatched
    assert found.cancelled > 20
    # By chance alone it is 0.973, with a deviation of 0.0025.
    assert found.success >= 0.965
    # Less than one object for each call of the last two minutes.
    assert found.objects[2] - found.objects[0] < 3000


@BOTH
def test_a_provider_that_swallows_everything_does_not_touch_another(backend: Backend) -> None:
    found = run_virtual(partial(black_hole, seconds=5), backend=backend)
    assert found.stuck == 250
    assert found.p99 <= 1.10 * found.p99_alone + 0.005
    assert found.rate >= 0.95 * found.rate_alone


@pytest.mark.parametrize("status", [503, 0], ids=["fails", "refuses"])
def test_an_outage_is_not_made_worse_by_retries(status: int) -> None:
    found = run_virtual(partial(outage, status=status))
    assert found.success_before == found.success_after == 1
    assert found.load <= 1.02
    assert found.worst_second <= 1.5
