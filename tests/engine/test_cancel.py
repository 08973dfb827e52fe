"""Cancelled scopes, which both event loops have. What only asyncio has is in `test_cancel_asyncio`."""

from __future__ import annotations

import pytest

from tests.engine.cancelling import CALLS, Moment, assert_cancellable
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@table("moment", ["waiting", "woken"])
@table("name", CALLS)
async def test_a_scope_may_be_cancelled_wherever_a_call_in_it_waits(name: str, moment: Moment) -> None:
    await assert_cancellable(name, style="scope", moment=moment)
