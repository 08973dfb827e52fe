"""The simulation's runs over real sockets, on every transport and both event loops, with the same checker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.transports import TRANSPORTS
from tests.simulation.ledger import Broken
from tests.simulation.peer import SimulatedProvider
from tests.simulation.seeds import seeds
from tests.simulation.sockets import simulate_on_sockets
from tests.simulation.test_checker import Doubles, Foreign, Loses, MixesUp

if TYPE_CHECKING:
    from bifrost import Bifrost
    from bifrost.testing.virtual import Backend

pytestmark = pytest.mark.wide
_RUNS = 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("seed", seeds(_RUNS))
def test_a_run_over_sockets_keeps_the_invariants(seed: int, transport: str, backend: Backend) -> None:
    ledger = simulate_on_sockets(seed, backend, transport)
    # Calls of each end were checked.
    assert min(ledger.counts[end] for end in ("succeeded", "failed", "cancelled")) > 0, ledger.counts


@pytest.mark.parametrize(("client", "invariant"), [(MixesUp, "I5"), (Loses, "I5"), (Doubles, "I3"), (Foreign, "I5")])
def test_a_client_with_a_defect_is_found_over_sockets(client: type[Bifrost], invariant: str) -> None:
    with pytest.raises(Broken, match=f"{invariant} at") as raised:
        simulate_on_sockets(3, "asyncio", "default", client=client)
    assert "REPLAY=3" in str(raised.value)


class Mismatched(SimulatedProvider):
    """Answers with the answer to another call."""

    def function(self, answer: Any) -> Any:
        return super().function(lambda request: answer(request).replace("<", "<1"))


class Repeated(SimulatedProvider):
    """Records each request twice."""

    def _record(self, request: Any, number: int) -> Any:
        call, dialect = super()._record(request, number)
        self.calls.append(call)
        return call, dialect


@pytest.mark.parametrize(("provider", "invariant"), [(Mismatched, "I5"), (Repeated, "I7")])
def test_a_provider_with_a_defect_is_found_over_sockets(provider: type[SimulatedProvider], invariant: str) -> None:
    with pytest.raises(Broken, match=f"{invariant} at"):
        simulate_on_sockets(3, "trio", "HTTP/2", provider=provider)
