"""The ways to cancel that are asyncio's own: they come once, and at any moment."""

from __future__ import annotations

from typing import Any

import pytest

from bifrost.testing import virtual_backends
from tests.engine.cancelling import CALLS, Moment, Style, assert_cancellable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=virtual_backends()[:1], ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("style", "moment"),
    [
        ("task", "waiting"),
        ("task", "crossing"),
        ("wait_for", "crossing"),
        pytest.param("task", "woken", marks=pytest.mark.wide),
        pytest.param("timeout", "waiting", marks=pytest.mark.wide),
        pytest.param("timeout", "crossing", marks=pytest.mark.wide),
        pytest.param("wait_for", "waiting", marks=pytest.mark.wide),
        pytest.param("scope", "crossing", marks=pytest.mark.wide),
    ],
)
@pytest.mark.parametrize("name", CALLS)
async def test_a_task_may_be_cancelled_wherever_its_call_waits(name: str, style: Style, moment: Moment) -> None:
    await assert_cancellable(name, style=style, moment=moment)
