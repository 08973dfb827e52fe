from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    CallContext,
    ConfigError,
    Key,
    MissingKeyError,
    PermissionDeniedError,
    ProviderConfig,
    UnknownProviderError,
)
from bifrost.testing import MockTransport, fake_key
from tests.plugins.recorder import KINDS, MODEL, OTHER, Kind, Recorder, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


class Directory:
    """An account whose methods wait, and give (or raise) what a test wants instead of what they would give."""

    def __init__(self, **instead: Any) -> None:
        self.instead = instead
        self.asked: list[str] = []

    async def providers(self) -> Any:
        return self._give("providers", ["openai", "anthropic"])

    async def keys(self, provider: str, call: CallContext | None) -> Any:
        name = provider if call is None or call.tenant is None else f"{provider}-{call.tenant}"
        return self._give("keys", [Key(name=name, value=fake_key(name))])

    async def config(self, provider: str) -> Any:
        return self._give("config", ProviderConfig())

    def _give(self, method: str, value: Any) -> Any:
        self.asked.append(method)
        value = self.instead.get(method, value)
        if isinstance(value, Exception):
            raise value
        return value


async def test_an_account_may_be_async(kind: Kind) -> None:
    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(Directory(), transport=mock) as client:
        assert (await ask(client, kind)).text == "hello"
    assert mock.calls[0].key == "openai"


async def test_providers_and_settings_are_asked_once_and_keys_for_each_call() -> None:
    account = Directory()
    mock = MockTransport()
    mock.reply("hello").times(3)
    async with Bifrost(account, transport=mock) as client:
        for _ in range(3):
            await client.chat(MODEL, "hi")
    assert account.asked.count("providers") == account.asked.count("config") == 1
    assert account.asked.count("keys") == 3


async def test_nothing_is_asked_before_the_first_call() -> None:
    account = Directory()
    async with Bifrost(account, transport=MockTransport()):
        pass
    assert account.asked == []


async def test_keys_may_differ_from_call_to_call(kind: Kind) -> None:
    tenants = iter(["blue", "green"])

    def route(call: CallContext, _request: Any) -> None:
        call.tenant = next(tenants)

    mock = MockTransport()
    mock.reply("hello").times(2)
    async with Bifrost(Directory(), transport=mock, plugins=[Recorder([], before_call=route)]) as client:
        replies = [await ask(client, kind), await ask(client, kind)]
    assert [call.key for call in mock.calls] == ["openai-blue", "openai-green"]
    assert [reply.attempts[0].key for reply in replies] == ["openai-blue", "openai-green"]


async def test_one_tenants_keys_are_not_anothers_at_the_same_time() -> None:
    def route(call: CallContext, request: Any) -> None:
        call.tenant = request.user

    mock = MockTransport()
    mock.reply("hello").always()
    async with (
        Bifrost(Directory(), transport=mock, plugins=[Recorder([], waits=True, before_call=route)]) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(20):
            group.start_soon(lambda number=number: client.chat(MODEL, "hi", user=f"tenant{number}"))
    assert len(mock.calls) == 20
    assert all(call.key == f"openai-{call.json['user']}" for call in mock.calls)


@pytest.mark.parametrize("method", ["providers", "keys", "config"])
async def test_what_an_account_raises_is_told_without_its_text(kind: Kind, method: str) -> None:
    account = Directory(**{method: ValueError("canary")})
    async with Bifrost(account, transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match=rf"Directory\.{method}\(\) failed with ValueError") as caught:
            await ask(client, kind)
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize("method", ["providers", "keys", "config"])
async def test_an_accounts_own_verdict_is_the_calls(kind: Kind, method: str) -> None:
    verdict = PermissionDeniedError("not today")
    async with Bifrost(Directory(**{method: verdict}), transport=MockTransport()) as client:
        with pytest.raises(PermissionDeniedError) as caught:
            await ask(client, kind)
    assert caught.value is verdict


@pytest.mark.parametrize(
    ("method", "garbage", "problem"),
    [
        ("providers", None, r"Directory.providers\(\) gave a NoneType; give a list"),
        ("providers", "openai", r"gave a str; give a list"),
        ("providers", [7], r"gave an int; give names of the catalog or Provider values"),
        ("providers", ["opnai"], "there is no provider named 'opnai'; did you mean 'openai'"),
        ("keys", None, r"Directory.keys\(\) gave a NoneType; give a list"),
        ("keys", ["sk-canary"], r"Directory.keys\('openai'\) gave a str; give Key values"),
        ("keys", [], "openai has no key; set OPENAI_API_KEY"),
        ("config", None, r"Directory.config\('openai'\) gave a NoneType; give a ProviderConfig"),
        ("config", {}, "gave a dict; give a ProviderConfig"),
    ],
    ids=str,
)
async def test_garbage_of_an_account_is_told(kind: Kind, method: str, garbage: Any, problem: str) -> None:
    async with Bifrost(Directory(**{method: garbage}), transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match=problem) as caught:
            await ask(client, kind)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_two_keys_of_one_name_are_told(kind: Kind) -> None:
    keys = [Key(name="same", value=fake_key("a")), Key(name="same", value=fake_key("b"))]
    async with Bifrost(Directory(keys=keys), transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match="two keys named 'same'"):
            await ask(client, kind)


async def test_an_account_that_fails_for_one_provider_leaves_the_fallbacks(kind: Kind) -> None:
    class Broken(Directory):
        async def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
            if provider == "openai":
                raise ConnectionError("the vault is sealed")
            return await super().keys(provider, call)

    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(Broken(), transport=mock) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert reply.provider == "anthropic"


async def test_an_account_that_recovers_is_asked_again() -> None:
    account = Directory(providers=ConnectionError(), config=ConnectionError())
    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(account, transport=mock) as client:
        for method in ("providers", "config"):
            with pytest.raises(ConfigError, match=method):
                await client.chat(MODEL, "hi")
            del account.instead[method]
        assert (await client.chat(MODEL, "hi")).text == "hello"


async def test_settings_of_a_provider_hold(kind: Kind) -> None:
    mock = MockTransport()
    mock.reply("hello")
    config = ProviderConfig(base_url="https://proxy.example/openai/v9/", extra_headers={"X-Team": "blue"})
    async with Bifrost(Directory(config=config), transport=mock) as client:
        await ask(client, kind)
    (call,) = mock.calls
    assert (call.provider, call.http.path) == ("proxy.example", "/openai/v9/chat/completions")
    assert call.http.headers["x-team"] == "blue"


@pytest.mark.parametrize(
    "wrong", ["openai", {"openai": "sk-canary"}, 7, Directory, object()], ids=lambda wrong: type(wrong).__name__
)
def test_what_is_no_account_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="account= takes an object with the methods providers, keys and config") as e:
        Bifrost(wrong)
    assert "canary" not in "".join(traceback.format_exception(e.value))


async def test_a_provider_that_is_not_the_accounts_is_told(kind: Kind) -> None:
    async with Bifrost(Directory(providers=["anthropic"]), transport=MockTransport()) as client:
        with pytest.raises(MissingKeyError, match="openai is not configured; set OPENAI_API_KEY"):
            await ask(client, kind)
        with pytest.raises(UnknownProviderError):
            await ask(client, kind, "nobody/model")


async def test_one_callers_error_is_not_anothers(kind: Kind) -> None:
    errors: list[BifrostError] = []

    async def call() -> None:
        try:
            await ask(client, kind)
        except BifrostError as error:
            errors.append(error)

    client = Bifrost(Directory(keys=ValueError()), transport=MockTransport())
    async with client, anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(call)
    assert len({id(error) for error in errors}) == 2
