"""The sixteenth fault: a model is down for a minute and asked every four seconds. In virtual time, at full length."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from bifrost import ModelGroup
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, leak_check
from tests.failover.faults import WORDS, Journal, Outcome, ask, config, fallback

if TYPE_CHECKING:
    from bifrost import Bifrost

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

DOWN, EVERY, REQUESTS = 60.0, 4.0, 20


class Seen(NamedTuple):
    """What came of the requests."""

    outcomes: list[Outcome]
    attempts: int
    """At the primary model, while it was down."""
    back: float | None
    """After how long it was used again, in seconds after its recovery."""


async def sit_out(client: Bifrost, mock: MockTransport, journal: Journal, primary: str, other: str) -> Seen:
    began = anyio.current_time()
    mock.when(lambda call: call.model == "big" and anyio.current_time() < began + DOWN).fail(
        503, code="overloaded"
    ).always()
    mock.on(model="big").reply(WORDS).always()
    fallback(mock, "small")
    outcomes: list[Outcome] = []
    for number in range(REQUESTS):
        await anyio.sleep_until(began + EVERY * number)
        outcomes.append(await ask(client, journal, primary, other))
    asked = [moment - began for model, moment in journal.asked if model == "big"]
    after = [moment - DOWN for moment in asked if moment >= DOWN]
    return Seen(outcomes, len(asked) - len(after), min(after, default=None))


@pytest.mark.parametrize(("provider", "seed"), [*(("openai", seed) for seed in range(4)), ("anthropic", 0)])
async def test_every_request_is_served_and_the_primary_is_hardly_asked(provider: str, seed: int) -> None:
    mock = MockTransport()
    journal = Journal(mock)
    account = mock.account_with({provider: ["one"]}, configs={provider: config(1.0)})
    async with leak_check(), mock.client(account, clock=Clock(random=Random(seed).random)) as client:
        seen = await sit_out(client, mock, journal, f"{provider}/big", f"{provider}/small")
    assert [outcome.text for outcome in seen.outcomes] == [WORDS] * REQUESTS
    assert max(outcome.seconds for outcome in seen.outcomes) < 4
    assert seen.attempts <= 12
    assert seen.back is not None
    assert seen.back <= 12


@pytest.mark.parametrize("seed", range(2))
async def test_a_group_sits_it_out_as_well(seed: int) -> None:
    mock = MockTransport()
    journal = Journal(mock)
    account = mock.account_with({"openai": ["one"]}, configs={"openai": config(1.0)})
    models: dict[str, Any] = {"both": ModelGroup([("openai/big", 1), ("openai/small", 0)])}
    async with leak_check(), mock.client(account, clock=Clock(random=Random(seed).random), models=models) as client:
        seen = await sit_out(client, mock, journal, "both", "openai/small")
    assert [outcome.text for outcome in seen.outcomes] == [WORDS] * REQUESTS
    assert seen.attempts <= 12
    assert seen.back is not None
    assert seen.back <= 12
