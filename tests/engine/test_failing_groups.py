"""Foreign code that fails in one of several tasks just as they are cancelled: what came of that is no group."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bifrost import BifrostError, CallTimeoutError, Key, ProviderConfig
from bifrost.testing import MockTransport, fake_key, leak_check, virtual_backends
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import KINDS, MODEL, Kind, Recorder, ask, assert_paired

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=virtual_backends(), ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def mock() -> MockTransport:
    mock = MockTransport()
    mock.reply("hello").always()
    return mock


async def fail_when_cancelled(*_: Any) -> None:
    """Wait in two tasks, of which one does not bear to be cancelled."""

    async def fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        await anyio.sleep_forever()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hook", ["before_call", "before", "after", "after_call"])
async def test_a_hook_whose_tasks_fail_at_the_deadline(
    mock: MockTransport, kind: Kind, hook: str, anyio_backend_name: str
) -> None:
    log: list[str] = []
    plugins = [Recorder(log, "a"), Recorder(log, "b", does={hook: fail_when_cancelled}), Recorder(log, "c")]
    async with leak_check(), mock.client(plugins=plugins, timeout=5) as client:
        outcome: Any
        try:
            outcome = await ask(client, kind)
        except BifrostError as error:
            outcome = error
        # On asyncio the failure takes the cancellation's place, and an `after` hook's failure fails nothing.
        if anyio_backend_name == "trio" or hook.startswith("before"):
            assert isinstance(outcome, CallTimeoutError)
            assert outcome.phase == "hook"
        await until(lambda: is_quiet(client))
    assert_paired([note for note in log if not note.endswith((".open", ".close"))])


class Account:
    """Fails so in one of its methods."""

    def __init__(self, method: str) -> None:
        self._method = method

    async def providers(self) -> list[str]:
        await self._fail("providers")
        return ["openai"]

    async def keys(self, provider: str, call: Any) -> list[Key]:
        await self._fail("keys")
        return [Key(name="one", value=fake_key("one"))]

    async def config(self, provider: str) -> ProviderConfig:
        await self._fail("config")
        return ProviderConfig()

    async def _fail(self, method: str) -> None:
        if method == self._method:
            await fail_when_cancelled()


@pytest.mark.parametrize("fallbacks", [[], ["openai/other"]], ids=["alone", "with a fallback"])
@pytest.mark.parametrize("method", ["providers", "keys", "config"])
async def test_an_account_whose_tasks_fail_at_the_deadline(
    mock: MockTransport, method: str, fallbacks: list[str], anyio_backend_name: str
) -> None:
    log: list[str] = []
    async with leak_check(), mock.client(Account(method), plugins=[Recorder(log)], timeout=25) as client:
        with pytest.raises(BifrostError) as caught:
            await client.chat(MODEL, "hi", fallbacks=fallbacks)
        if anyio_backend_name == "trio":
            assert isinstance(caught.value, CallTimeoutError)
            assert caught.value.phase == "hook"
            with pytest.raises(CallTimeoutError):
                await client.explain(MODEL, "hi", fallbacks=fallbacks)
    assert_paired([note for note in log if not note.endswith((".open", ".close"))])
