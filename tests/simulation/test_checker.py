"""The checker sees: each client, provider or plugin here has one defect, and the run with it is found to be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from bifrost import Bifrost, BifrostError, RateLimitError
from bifrost.reports.stats import BudgetStats
from bifrost.testing import MockTransport, fake_key
from bifrost.testing.mock import MockConnection
from tests.simulation.ledger import Broken
from tests.simulation.run import Watch, simulate
from tests.simulation.world import world_of

if TYPE_CHECKING:
    from bifrost import CallContext, ChatResponse
    from bifrost.reports.stats import Stats
    from bifrost.testing.virtual import Backend
    from bifrost.transport import Origin, ResponseHead

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

_NUMBER = 5
"""The call that the defect befalls."""


class _Asking(Bifrost):
    """A client whose plain calls are made by `_ask`."""

    async def chat(self, model: str, messages: Any, **options: Any) -> Any:
        return await self._ask(model, messages, **options)

    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        return await super().chat(model, messages, **options)


class MixesUp(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        _, _, words = messages.partition(":")
        return await super()._ask(model, f"{_NUMBER}:{words}", **options)


class Loses(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        await anyio.sleep_forever()
        return await super()._ask(model, messages, **options)


class Doubles(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        await super()._ask(model, messages, **options)
        return await super()._ask(model, messages, **options)


class Foreign(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        try:
            return await super()._ask(model, messages, **options)
        except BifrostError as error:
            raise ValueError("somebody else's") from error


class Late(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        try:
            return await super()._ask(model, messages, **options)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(options["timeout"])


class Talks(_Asking):
    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        try:
            return await super()._ask(model, messages, **options)
        except BifrostError as error:
            error.add_note(f"the key was {fake_key('openai-0')}")
            raise


class Forgets(_Asking):
    """Its errors do not tell what was tried."""

    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        try:
            return await super()._ask(model, messages, **options)
        except BifrostError as error:
            error.attempts = ()
            raise


class GivesUp(_Asking):
    """Once it has failed it does not serve any more."""

    failed = False

    async def _ask(self, model: str, messages: Any, **options: Any) -> ChatResponse:
        if self.failed:
            raise RateLimitError("never again")
        try:
            return await super()._ask(model, messages, **options)
        except BifrostError:
            self.failed = True
            raise


class Overdraws(Bifrost):
    def stats(self) -> Stats:
        stats = super().stats()
        for name, provider in stats.providers.items():
            stats.providers[name] = msgspec.structs.replace(provider, budget=BudgetStats(left=-5, capacity=200))
        return stats


class Miscounts(Bifrost):
    def stats(self) -> Stats:
        stats = super().stats()
        return msgspec.structs.replace(stats, calls=stats.calls + 1)


class Overruns(Bifrost):
    def stats(self) -> Stats:
        stats = super().stats()
        for name, provider in stats.providers.items():
            stats.providers[name] = msgspec.structs.replace(provider, in_flight=provider.in_flight + 8)
        return stats


class Unlimited(Bifrost):
    def stats(self) -> Stats:
        stats = super().stats()
        for name, provider in stats.providers.items():
            stats.providers[name] = msgspec.structs.replace(provider, limit=provider.concurrency + 1)
        return stats


@pytest.mark.parametrize(
    ("client", "invariant"),
    [
        (MixesUp, "I5"),
        (Loses, "I5"),
        (Doubles, "I3"),
        (Foreign, "I5"),
        (Late, "I8"),
        (Talks, "I6"),
        (Forgets, "I7"),
        (GivesUp, "I9"),
        (Overdraws, "I7"),
        (Miscounts, "I3"),
        (Overruns, "I1"),
        (Unlimited, "I1"),
    ],
)
def test_a_client_with_a_defect_is_found(client: type[Bifrost], invariant: str, backend: Backend) -> None:
    with pytest.raises(Broken, match=f"{invariant} at") as raised:
        simulate(world_of(3), backend, client=client)
    assert "REPLAY=3" in str(raised.value)


class Echoes(MockTransport):
    """Answers with the answer to another call."""

    def function(self, answer: Any) -> Any:
        return super().function(lambda request: answer(request).replace("<", "<1"))


class _Kept(MockConnection):
    async def close(self) -> None:
        """Stay open."""


class Keeps(MockTransport):
    """A connection of its never closes."""

    def open(self, origin: Origin) -> MockConnection:
        return _Kept(self, origin)


class _Unseen(MockConnection):
    async def send(self, request: Any, **options: Any) -> ResponseHead:
        answer = await super().send(request, **options)
        self._mock.calls.append(self._mock.calls[-1])
        return answer


class Repeats(MockTransport):
    """What it is asked arrives twice."""

    def open(self, origin: Origin) -> MockConnection:
        return _Unseen(self, origin)


class _Deaf(MockConnection):
    async def send(self, request: Any, **options: Any) -> ResponseHead:
        answer = await super().send(request, **options)
        del self._mock.calls[-1]
        return answer


class Forgetful(MockTransport):
    """It was never asked what is told of it."""

    def open(self, origin: Origin) -> MockConnection:
        return _Deaf(self, origin)


@pytest.mark.parametrize(
    ("transport", "invariant"), [(Echoes, "I5"), (Keeps, "I2"), (Repeats, "I7"), (Forgetful, "I7")]
)
def test_a_road_with_a_defect_is_found(transport: type[MockTransport], invariant: str, backend: Backend) -> None:
    with pytest.raises(Broken, match=f"{invariant} at"):
        simulate(world_of(3), backend, transport=transport)


class Unheard(Watch):
    async def after(self, call: CallContext, outcome: Any) -> Any:
        if call.values[Watch] != _NUMBER:
            return await super().after(call, outcome)
        return None


class Twice(Watch):
    async def after_call(self, call: CallContext, outcome: Any) -> Any:
        await super().after_call(call, outcome)
        return await super().after_call(call, outcome)


@pytest.mark.parametrize("watch", [Unheard, Twice])
def test_a_hook_that_is_missing_or_runs_twice_is_found(watch: type[Watch], backend: Backend) -> None:
    with pytest.raises(Broken, match="I4 at"):
        simulate(world_of(3), backend, watch=watch)
