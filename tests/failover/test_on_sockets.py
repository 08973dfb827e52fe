"""What a caller sees of each fault on real sockets, at a hundredth of its length."""

from __future__ import annotations

import pytest

from bifrost.testing import LoopbackProvider, leak_check
from tests.failover.faults import FAULTS, WORDS, Journal, ask, config, fallback
from tests.failover.test_faults import CASES, RESTART

pytestmark = [pytest.mark.anyio, pytest.mark.wide]

SCALE = 0.01


@pytest.mark.parametrize(("provider", "name"), CASES)
async def test_each_fault_passes_on_real_sockets(provider: str, name: str) -> None:
    fault = FAULTS[name]
    async with leak_check(), LoopbackProvider() as server:
        journal = Journal(server)
        fault.play(server, "big", SCALE)
        fallback(server, "small")
        settings = config(SCALE, base_url=server.config(provider).base_url)
        account = server.account({provider: ["one"]}, configs={provider: settings})
        async with server.client(account) as client:
            seen = await ask(client, journal, f"{provider}/big", f"{provider}/small", **RESTART)
            assert (await client.chat(f"{provider}/small", "hi")).text == WORDS
    # How long it took is judged in virtual time.
    assert fault.verdict(seen._replace(seconds=0.0, primary=[moment / SCALE for moment in seen.primary]), 1.0) == "pass"
