"""Cancelled scopes, which both event loops have. What only asyncio has is in `test_cancel_asyncio`."""

from __future__ import annotations

from typing import Any

import pytest

from bifrost.testing import virtual_backends
from tests.engine.cancelling import CALLS, Moment, assert_cancellable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=virtual_backends(), ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("moment", ["waiting", "woken"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_scope_may_be_cancelled_wherever_a_call_in_it_waits(name: str, moment: Moment) -> None:
    await assert_cancellable(name, style="scope", moment=moment)
