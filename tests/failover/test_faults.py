"""What a caller sees of each fault, in virtual time at full length."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from bifrost import ContentFilterError, ProviderConfig, StreamInterruptedError, Timeouts
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, leak_check
from tests.failover.faults import FAULTS, WORDS, Fault, Journal, ask, config, fallback

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

PROVIDERS = ["openai", "anthropic"]
RESTART: dict[str, Any] = {"on_interrupt": "restart"}


def faults_of(provider: str) -> dict[str, Fault]:
    """Return the faults that a provider's format can have."""
    return {name: fault for name, fault in FAULTS.items() if provider == "openai" or name != "no final marker"}


CASES = [(provider, name) for provider in PROVIDERS for name in faults_of(provider)]


@pytest.mark.parametrize(("provider", "name"), CASES)
@pytest.mark.parametrize("options", [{}, RESTART], ids=["defaults", "restart"])
async def test_each_fault_passes_or_is_safe(provider: str, name: str, options: dict[str, Any]) -> None:
    fault, mock = FAULTS[name], MockTransport()
    journal = Journal(mock)
    fault.play(mock, "big", 1.0)
    fallback(mock, "small")
    account = mock.account_with({provider: ["one"]}, configs={provider: config(1.0)})
    async with leak_check(), mock.client(account, clock=Clock(random=Random(1).random)) as client:
        seen = await ask(client, journal, f"{provider}/big", f"{provider}/small", **options)
        assert (await client.chat(f"{provider}/small", "hi", timeout=10)).text == WORDS
    assert fault.verdict(seen, 1.0) == ("safe" if fault.breaks_late and not options else "pass")
    if fault.breaks_late and not options:
        assert isinstance(seen.error, StreamInterruptedError)
        assert WORDS.startswith(seen.error.partial.text)
        assert seen.error.partial.text
    if fault.ideal == "error":
        assert isinstance(seen.error, ContentFilterError)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_twelve_pass_by_default_and_four_are_safe(provider: str) -> None:
    late = [name for name, fault in faults_of(provider).items() if fault.breaks_late]
    assert len(late) == 4
    # The outage is the sixteenth.
    assert len(FAULTS) - len(late) + 1 == 12


PLAIN = [
    name
    for name, fault in FAULTS.items()
    if not fault.breaks_late and name not in ("slow first token", "no final marker")
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", PLAIN)
async def test_a_plain_call_passes_too(provider: str, name: str) -> None:
    fault, mock = FAULTS[name], MockTransport()
    journal = Journal(mock)
    fault.play(mock, "big", 1.0)
    fallback(mock, "small")
    account = mock.account_with({provider: ["one"]}, configs={provider: config(1.0)})
    async with leak_check(), mock.client(account, clock=Clock(random=Random(1).random)) as client:
        # A whole answer has no first token: its silence ends with the candidate's share of the timeout.
        seen = await ask(client, journal, f"{provider}/big", f"{provider}/small", stream=False, timeout=60)
    assert fault.verdict(seen, 1.0) == "pass"


@pytest.mark.parametrize(("silent", "primary"), [(29.0, 1), (3.0, 3)])
async def test_a_stall_that_the_provider_ends_is_a_stall(silent: float, primary: int) -> None:
    mock = MockTransport()
    journal = Journal(mock)
    # The silence lies before the last piece, behind which the connection ends.
    mock.on(model="big").stream(["one", " two"]).drip(silent).cut(after_events=1).always()
    fallback(mock, "small")
    # Only the end of the connection ends the silence.
    settings = ProviderConfig(timeouts=Timeouts(first_token=1000, idle_bytes=60))
    account = mock.account_with({"openai": ["one"]}, configs={"openai": settings})
    async with leak_check(), mock.client(account, clock=Clock(random=Random(1).random)) as client:
        seen = await ask(client, journal, "openai/big", "openai/small", **RESTART)
    assert seen.text == WORDS
    assert len(seen.primary) == primary
