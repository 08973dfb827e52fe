"""The plan of `explain` is what a call then does, with keys, breakers and model groups in trouble (virtual time)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bifrost import BifrostError
from bifrost.testing import MockTransport
from tests.engine.plans import Plan, bring_about, client_of, setup_of
from tests.wide import few_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

_PART = 20
_PARTS = 25


@pytest.mark.parametrize("part", few_of(range(_PARTS), 2))
async def test_what_is_told_is_what_is_sent(mock: MockTransport, part: int) -> None:
    outcomes = Counter[str]()
    for seed in range(part * _PART, (part + 1) * _PART):
        outcomes[await outcome_of(mock, seed)] += 1
    # Each kind of outcome was checked.
    assert min(outcomes[each] for each in ("answered at once", "another answered", "failed")) > 0, outcomes


async def outcome_of(mock: MockTransport, seed: int) -> str:
    """Explain a call, make it, and compare. Returns how the call ended."""
    setup = setup_of(seed)
    mock.forget()
    async with client_of(mock, setup) as client:
        await bring_about(mock, client, setup)
        plan = Plan(await client.explain(setup.model, "hi", **setup.options))
        before = len(mock.calls)
        try:
            answer: Any = await client.chat(setup.model, "hi", **setup.options)
        except BifrostError as error:
            answer = error
    sent = mock.calls[before:]
    try:
        plan.assert_followed(sent, answer)
    except AssertionError as error:
        error.add_note(f"{setup}\n{plan.candidates}\n{[(call.provider, call.model, call.key) for call in sent]}")
        raise
    if isinstance(answer, BifrostError):
        return "failed"
    return "answered at once" if len(sent) == 1 else "another answered"
