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
        ("task", "woken"),
        ("task", "crossing"),
        ("timeout", "waiting"),
        ("timeout", "crossing"),
        ("wait_for", "waiting"),
        ("wait_for", "crossing"),
        ("scope", "crossing"),
    ],
)
@pytest.mark.parametrize("name", CALLS)
async def test_a_task_may_be_cancelled_wherever_its_call_waits(name: str, style: Style, moment: Moment) -> None:
    await assert_cancellable(name, style=style, moment=moment)
