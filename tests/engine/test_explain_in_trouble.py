"""What `explain` tells of keys and breakers in trouble is what a call then meets: random set-ups, in virtual time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from bifrost import BifrostError, BreakerConfig, Key
from bifrost.testing import MockTransport, fake_key
from tests.engine.troubled import MODEL, OTHER, client_of
from tests.wide import few_of

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

TROUBLES: dict[str, dict[str, Any]] = {
    "dead": {"status": 401},
    "quota": {"status": 402},
    "soon": {"status": 429, "retry_after": 5},
    "late": {"status": 429, "retry_after": 50},
}


@pytest.mark.parametrize("part", few_of(range(10), 3))
async def test_what_is_told_is_what_is_sent(mock: MockTransport, part: int) -> None:
    for seed in range(part * 25, part * 25 + 25):
        await assert_told(mock, Random(seed))


async def assert_told(mock: MockTransport, chance: Random) -> None:
    mock.forget()
    names = ["a", "b", "c"][: chance.randint(1, 3)]
    states = {name: chance.choice(["ready", *TROUBLES]) for name in names}
    is_open = chance.random() < 0.25
    options: dict[str, Any] = {"max_retries": 0}
    if chance.random() < 0.3:
        options["fallbacks"] = [OTHER]
    elif chance.random() < 0.2:
        options["key"] = chance.choice(names)
    if chance.random() < 0.2:
        options["session"] = "talk"
    keys = [Key(name=name, value=fake_key(name), weight=chance.choice([0, 1, 5])) for name in names]
    async with client_of(mock, *keys, breaker=BreakerConfig(calls=1)) as client:
        for name, state in states.items():
            if state != "ready":
                mock.on(key=name).fail(**TROUBLES[state])
                with pytest.raises(BifrostError):
                    await client.chat(MODEL, "hi", key=name, max_retries=0)
        if is_open:
            ready = [name for name, state in states.items() if state == "ready"]
            if ready:
                mock.on(key=ready[0]).fail(503)
                with pytest.raises(BifrostError):
                    await client.chat(MODEL, "hi", key=ready[0], max_retries=0)
        mock.on(provider="openai").reply("first").always()
        mock.on(provider="anthropic").reply("second").always()
        told = (await client.explain(MODEL, "hi", **options)).candidates
        before = len(mock.calls)
        try:
            answer: Any = await client.chat(MODEL, "hi", **options)
        except BifrostError as error:
            answer = error
    sent = mock.calls[before:]
    first = told[0]
    if first.problem is None:
        assert sent[0].provider == "openai", (states, options)
        shares = {key.name: key.share for key in first.keys}
        ready = [name for name, share in shares.items() if share]
        assert sent[0].key in ready or not ready, (states, options, shares)
    elif first.goes_on:
        assert [call.provider for call in sent] == ["anthropic"], (states, options)
    else:
        assert sent == []
        assert isinstance(answer, BifrostError)
        assert answer.message == first.problem
