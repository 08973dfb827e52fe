"""Providers that are added, changed and removed while calls run: no call is lost, none is made twice."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    Bifrost,
    ConfigError,
    Key,
    MissingKeyError,
    Plugin,
    ProviderConfig,
    ServerError,
    ShuttingDownError,
    StaticAccount,
    UnknownProviderError,
)
from bifrost.account import Change
from bifrost.config import RetryConfig, Timeouts
from bifrost.engine.clock import Clock
from bifrost.providers.compatible import speaks_openai
from bifrost.testing import MockTransport, fake_key, leak_check
from tests.engine.changing import NEW, OLD, Callers, Upstream, change_under_load, client_of, config_of
from tests.engine.peers import MODEL, running
from tests.engine.rig import until
from tests.wide import few_of

if TYPE_CHECKING:
    from bifrost import CallContext

pytestmark = pytest.mark.anyio

OTHER = "anthropic/claude-haiku-4-5"


def pool_of(client: Bifrost, provider: str = "openai") -> Any:
    return running(client).upstreams._upstreams[provider].pool


# --- adding


async def test_settings_can_be_made_of_those_that_are_there() -> None:
    upstream = Upstream()
    async with client_of(upstream, concurrency=3) as client:
        await client.update_provider("openai", config=lambda config: attrs.evolve(config, concurrency=5))
        [told] = await client.providers()
        assert (told.address, told.concurrency) == (OLD, 5)
        await client.update_provider("openai", config=lambda config: attrs.evolve(config, queue=7))
        [told] = await client.providers()
        assert (told.address, told.concurrency, told.queue) == (OLD, 5, 7)
        for wrong in ({"concurrency": 1}, lambda _: None):
            with pytest.raises(ConfigError, match=r"config= takes a ProviderConfig, not a (dict|NoneType)"):
                await client.update_provider("openai", config=wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def test_a_provider_that_is_added_serves_at_once() -> None:
    upstream = Upstream()
    async with leak_check(), client_of(upstream) as client:
        with pytest.raises(MissingKeyError, match="groq is not configured"):
            await client.chat("groq/llama", "early")
        await client.add_provider("groq", keys=fake_key("groq"), config=config_of(NEW))
        assert (await client.chat("groq/llama", "hi")).text == "hi"
        assert upstream.asked == [("new", "hi")]


async def test_what_cannot_work_changes_nothing() -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        with pytest.raises(ConfigError, match="openai is configured already; change it with update_provider"):
            await client.add_provider("openai", keys="sk-other")
        with pytest.raises(MissingKeyError, match="groq has no key; set one in keys="):
            await client.add_provider("groq")
        with pytest.raises(ConfigError, match="groq is not configured; add it with add_provider"):
            await client.update_provider("groq", keys="gsk-other")
        with pytest.raises(UnknownProviderError, match="did you mean 'groq'"):
            await client.add_provider("grok", keys="sk-other")
        with pytest.raises(ConfigError, match="'groq' is not configured; there are: openai"):
            await client.remove_provider("groq")
        with pytest.raises(ConfigError, match="azure has no address of its own"):
            await client.add_provider("azure", keys=fake_key("azure"))
        with pytest.raises(MissingKeyError, match="azure is not configured"):
            await client.chat("azure/gpt", "hi")
        assert (await client.chat(MODEL, "hi")).text == "hi"


async def test_changes_before_the_first_use_count_too() -> None:
    upstream = Upstream()
    client = client_of(upstream)
    await client.update_provider("openai", config=config_of(NEW))
    assert (await client.chat(MODEL, "hi")).text == "hi"
    assert upstream.asked == [("new", "hi")]
    await client.close()


# --- changing


async def test_new_keys_are_used_from_the_next_call_on() -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        await client.chat(MODEL, "1")
        await client.update_provider("openai", keys=[Key(name="second", value=fake_key("second"))])
        reply = await client.chat(MODEL, "2")
    assert upstream.keys == [fake_key("first"), fake_key("second")]
    assert reply.attempts[0].key == "second"


async def test_settings_that_need_no_new_connection_keep_the_pool() -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        await client.chat(MODEL, "1")
        before = pool_of(client)
        await client.update_provider("openai", config=config_of(OLD, concurrency=3, timeouts=Timeouts(write=1)))
        await client.chat(MODEL, "2")
        assert pool_of(client) is before
        assert before.config.concurrency == 3


@pytest.mark.parametrize("used", [False, True], ids=["before its first use", "in use"])
async def test_a_call_with_retries_of_its_own_goes_by_the_other_settings_of_now(used: bool) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    class Refusing(Plugin):
        refuses = not used

        def before(self, call: CallContext, request: Any) -> Any:
            return ServerError("not now") if self.refuses else None

    mock, plugin = MockTransport(), Refusing()
    mock.fail(503).always()
    first = ProviderConfig(retry=RetryConfig(backoff_base=0.5))
    account = mock.account_with(
        configs={"openai": first if used else ProviderConfig(retry=RetryConfig(backoff_base=4))}
    )
    async with mock.client(account, plugins=[plugin], clock=Clock(sleep=sleep, random=lambda: 0.5)) as client:
        with pytest.raises(ServerError):
            await client.chat(MODEL, "hi", max_retries=1, fallbacks=[OTHER])
        if used:
            await client.update_provider("openai", config=ProviderConfig(retry=RetryConfig(backoff_base=4)))
        plugin.refuses, slept[:] = False, []
        with pytest.raises(ServerError):
            await client.chat(MODEL, "hi", max_retries=1)
    assert slept == [2.0]


async def test_more_concurrency_takes_waiting_calls_at_once() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=1) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 4)
            await client.update_provider("openai", config=config_of(OLD, concurrency=4))
            await until(lambda: len(upstream.asked) == 4)
            assert pool_of(client).queued == 1
            upstream.gate.set()
        assert callers.answers == {str(number): str(number) for number in range(5)}


async def test_less_concurrency_takes_effect_as_calls_finish() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=4) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 4)
            await client.update_provider("openai", config=config_of(OLD, concurrency=1))
            assert pool_of(client).workers == 4
            upstream.gate.set()
        assert sorted(callers.answers) == [str(number) for number in range(8)]
        await until(lambda: pool_of(client).workers <= 1)
        # Parked workers go too.
        await client.update_provider("openai", config=config_of(OLD, concurrency=4))
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(callers.ask, f"again {number}")
        await client.update_provider("openai", config=config_of(OLD, concurrency=1))
        await until(lambda: pool_of(client).workers <= 1)


async def test_a_smaller_queue_refuses_newcomers_and_nobody_who_waits() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=1) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 3)
            await client.update_provider("openai", config=config_of(OLD, concurrency=1, queue=1, on_full="drop"))
            await callers.ask("late")
            assert type(callers.errors["late"]).__name__ == "QueueFullError"
            upstream.gate.set()
        assert sorted(callers.answers) == ["0", "1", "2", "3"]


async def test_queued_calls_move_to_the_new_address_and_running_ones_finish_at_the_old() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=2) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 2 and pool_of(client).queued == 4)
            await client.update_provider("openai", config=config_of(NEW, concurrency=2))
            await until(lambda: len(upstream.asked) == 4)
            assert [place for place, _ in upstream.asked] == ["old", "old", "new", "new"]
            upstream.gate.set()
        assert callers.answers == {str(number): str(number) for number in range(6)}
        assert len({text for _, text in upstream.asked}) == len(upstream.asked) == 6
        await until(lambda: not running(client).upstreams._retired)


async def test_a_change_that_fails_takes_no_other_with_it() -> None:
    upstream = Upstream()
    asked, may_fail = anyio.Event(), anyio.Event()

    class Account(StaticAccount):
        fails = False

        def providers(self) -> Any:
            return self._failing() if self.fails else super().providers()

        async def _failing(self) -> Any:
            asked.set()
            await may_fail.wait()
            raise OSError

    account = Account(keys={"openai": fake_key("first")}, configs={"openai": config_of(OLD)})

    async def change_in_vain() -> None:
        with pytest.raises(ConfigError, match="OSError"):
            await client._engine.change_provider("openai", Change(config=config_of("https://bad.example/v1")))

    async with leak_check(), Bifrost(account, transport=upstream) as client:
        await client.chat(MODEL, "1")
        async with anyio.create_task_group() as group:
            account.fails = True
            group.start_soon(change_in_vain)
            await asked.wait()
            account.fails = False
            group.start_soon(partial(client.update_provider, "openai", config=config_of(NEW)))
            await anyio.wait_all_tasks_blocked()
            may_fail.set()
        await client.chat(MODEL, "2")
    assert upstream.asked == [("old", "1"), ("new", "2")]


async def test_queued_calls_take_a_key_of_the_new_address_and_show_it_no_other() -> None:
    upstream = Upstream(is_open=False)
    old, new = fake_key("first"), [Key(name="second", value=fake_key("second"))]
    async with leak_check(), client_of(upstream, concurrency=1) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 2)
            await client.update_provider("openai", config=config_of(NEW, concurrency=1), keys=new)
            upstream.gate.set()
        assert callers.answers == {str(number): str(number) for number in range(3)}
        places = [place for place, _ in upstream.asked]
        assert list(zip(places, upstream.keys, strict=True)) == [
            ("old", old),
            ("new", fake_key("second")),
            ("new", fake_key("second")),
        ]
        assert [(key.name, key.in_flight) for key in client.stats().providers["openai"].keys or ()] == [("second", 0)]
        await until(lambda: not running(client).upstreams._retired)


async def test_calls_that_wait_for_a_place_move_as_well() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=1, queue=1) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client)._system.waiting == 3)
            await client.update_provider("openai", config=config_of(NEW, concurrency=1, queue=1))
            upstream.gate.set()
        assert sorted(callers.answers) == ["0", "1", "2", "3", "4"]
        assert len(upstream.asked) == 5


async def test_an_open_stream_goes_on_when_its_provider_is_changed() -> None:
    from bifrost.testing import MockTransport

    mock = MockTransport()
    mock.stream(["a", "b", "c"]).then.reply("next")
    async with leak_check(), mock.client() as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            first = await anext(aiter(stream.text_stream))
            await client.update_provider("openai", config=ProviderConfig(base_url="https://api.openai.com/v2"))
            reply = await stream.final()
        assert (first, reply.text) == ("a", "abc")
        assert (await client.chat(MODEL, "hi")).text == "next"


# --- removing


async def test_a_provider_that_is_removed_finishes_what_it_is_at() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=1) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 2)
            group.start_soon(client.remove_provider, "openai")
            await until(lambda: callers.done == 2)
            with pytest.raises(MissingKeyError, match="openai is not configured"):
                await client.chat(MODEL, "late")
            upstream.gate.set()
        assert list(callers.answers) == [text for _, text in upstream.asked]
        assert {type(error) for error in callers.errors.values()} == {ShuttingDownError}
        assert not running(client).upstreams._retired


async def test_queued_calls_of_a_removed_provider_fall_back() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream, concurrency=1) as client:
        await client.add_provider("groq", keys=fake_key("groq"), config=config_of(NEW))
        callers = Callers(client, fallbacks=["groq/llama"])
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 2)
            group.start_soon(client.remove_provider, "openai")
            await until(lambda: len(upstream.asked) == 3)
            upstream.gate.set()
        assert sorted(callers.answers) == ["0", "1", "2"]
        assert [place for place, _ in upstream.asked] == ["old", "new", "new"]
        assert {text for _, text in upstream.asked} == set(callers.answers)


async def test_what_is_not_done_when_the_drain_ends_is_cut_off_and_not_sent_again() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check(), client_of(upstream) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            group.start_soon(callers.ask, "hi")
            await until(lambda: len(upstream.asked) == 1)
            await client.remove_provider("openai", drain=0.01)
        assert isinstance(callers.errors["hi"], ShuttingDownError)
        assert len(upstream.asked) == 1


async def test_a_removed_provider_can_be_added_again() -> None:
    upstream = Upstream()
    async with leak_check(), client_of(upstream) as client:
        await client.chat(MODEL, "1")
        await client.remove_provider("openai")
        await client.add_provider("openai", keys=fake_key("second"), config=config_of(NEW))
        assert (await client.chat(MODEL, "2")).text == "2"
    assert upstream.asked == [("old", "1"), ("new", "2")]


GROUPS = {"fast": ["openai/a", "groq/b"], "slow": ["groq/b"]}
LEFT_OUT = "groq/b was left out of model group 'fast': groq is no longer configured"


@pytest.mark.parametrize("in_use", [False, True])
async def test_a_group_goes_on_without_a_removed_provider_and_says_so(in_use: bool) -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    async with mock.client(mock.account_with({"openai": ["k"], "groq": ["k"]}), models=GROUPS) as client:
        if in_use:
            assert (await client.chat("slow", "hi")).warnings == []
        await client.remove_provider("groq")
        for _ in range(5):
            reply = await client.chat("fast", "hi")
            assert reply.attempts[0].provider == "openai"
            assert reply.warnings == [LEFT_OUT]
        async with client.stream_chat("fast", "hi") as stream:
            assert (await stream.final()).warnings == [LEFT_OUT]
        told = await client.explain("fast", "hi")
        assert [candidate.name for candidate in told.candidates] == ["openai/a"]
        assert f"warning: {LEFT_OUT}" in str(told)
        with pytest.raises(
            ConfigError, match="'slow' has no member left: the providers of groq/b were removed from the client"
        ):
            await client.chat("slow", "hi")
        mock.forget()
        mock.fail(400).then.reply("hello").always()
        with pytest.raises(BadRequestError):
            await client.chat("openai/a", "hi", fallbacks=["slow"])
        await client.add_provider("groq", keys=fake_key("groq"))
        assert (await client.chat("slow", "hi")).warnings == []


async def test_a_group_fails_as_a_fallback_in_its_turn_when_nobody_of_it_is_left() -> None:
    mock = MockTransport()
    mock.fail(401).always()
    async with mock.client(mock.account_with({"openai": ["k"], "groq": ["k"]}), models=GROUPS) as client:
        await client.remove_provider("groq")
        with pytest.raises(AuthenticationError) as caught:
            await client.chat("openai/a", "hi", fallbacks=["slow"])
    assert [type(error) for error in caught.value.errors] == [MissingKeyError]


async def test_a_client_that_is_closed_meanwhile_closes_what_was_replaced() -> None:
    upstream = Upstream(is_open=False)
    async with leak_check():
        client = client_of(upstream, concurrency=1)
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(callers.ask, str(number))
            await until(lambda: len(upstream.asked) == 1 and pool_of(client).queued == 1)
            await client.update_provider("openai", config=config_of(NEW))
            await until(lambda: len(upstream.asked) == 2)
            await client.close(drain=0.01)
        assert {type(error) for error in callers.errors.values()} == {ShuttingDownError}
        assert len(upstream.asked) == 2


# --- an account that changes by itself


class Directory:
    """An account that others write to."""

    def __init__(self) -> None:
        self.configs: dict[str, Any] = {"openai": config_of(OLD)}

    async def providers(self) -> list[str]:
        return list(self.configs)

    async def keys(self, provider: str, call: Any) -> list[Key]:
        return [Key(name=provider, value=fake_key(provider))]

    async def config(self, provider: str) -> ProviderConfig:
        return self.configs[provider]


async def test_the_account_is_asked_again() -> None:
    upstream, directory = Upstream(), Directory()
    async with leak_check(), Bifrost(directory, transport=upstream) as client:
        await client.chat(MODEL, "1")
        directory.configs = {"openai": config_of(NEW), "groq": config_of(OLD)}
        await client.chat(MODEL, "2")
        await client.refresh("openai")
        await client.chat(MODEL, "3")
        await client.chat("groq/llama", "4")
        del directory.configs["groq"]
        await client.refresh()
        with pytest.raises(MissingKeyError, match="groq is not configured"):
            await client.chat("groq/llama", "5")
    assert upstream.asked == [("old", "1"), ("old", "2"), ("new", "3"), ("old", "4")]


async def test_a_group_goes_on_without_a_provider_that_the_account_no_longer_has() -> None:
    upstream, directory = Upstream(), Directory()
    directory.configs["groq"] = config_of(NEW)
    async with Bifrost(directory, transport=upstream, models=GROUPS) as client:
        await client.chat("slow", "1")
        del directory.configs["groq"]
        await client.refresh()
        assert (await client.chat("fast", "2")).warnings == [LEFT_OUT]


async def test_an_account_that_fails_when_asked_again_changes_nothing() -> None:
    upstream, directory = Upstream(), Directory()
    async with Bifrost(directory, transport=upstream) as client:
        await client.chat(MODEL, "1")
        directory.configs = {"openai": None, "groq": None}
        with pytest.raises(ConfigError, match=r"Directory.config\('openai'\) returned a NoneType"):
            await client.refresh()
        assert (await client.chat(MODEL, "2")).text == "2"


# --- tenants with a provider each


async def test_providers_that_come_and_go_leave_nothing_behind() -> None:
    upstream = Upstream()
    sizes: dict[int, int] = {}
    async with client_of(upstream) as client:
        for number in range(1, 121):
            name = f"tenant-{number}"
            row = speaks_openai(name, f"https://{name}.example/v1", f"{name.upper()}_KEY")
            await client.add_provider(row, keys=fake_key(name))
            assert (await client.chat(f"{name}/model", "hi", max_retries=number)).text == "hi"
            await client.update_provider(name, config=ProviderConfig(concurrency=3))
            await client.remove_provider(name)
            if number in (40, 80, 120):
                await until(lambda: not running(client).upstreams._retired)
                assert not _mentioning("tenant-20", client)
                sizes[number] = _reachable(client)
        assert list(client.stats().providers) == ["openai"] or not client.stats().providers
    # What grows with each of them would be eighty of at least a few.
    assert sizes[120] - sizes[40] < 80, sizes


async def test_keys_that_are_only_asked_for_leave_nothing_behind() -> None:
    """A bare name makes every provider's keys be asked for, also of those that nobody calls."""
    upstream = Upstream()
    async with client_of(upstream) as client:
        await client.add_provider(
            speaks_openai("tenant", NEW, "TENANT_KEY"), keys=[Key(name="a", value=fake_key("a"), models=["m"])]
        )
        assert (await client.chat("m", "hi")).text == "hi"
        await client.remove_provider("tenant")
        await until(lambda: not running(client).upstreams._retired)
        assert not _mentioning("tenant", client)


@pytest.mark.parametrize("opened", [True, False])
async def test_a_member_of_a_group_that_came_and_went_is_remembered(opened: bool) -> None:
    upstream = Upstream()
    client = Bifrost(
        StaticAccount(keys={"openai": fake_key("first")}, configs={"openai": config_of(OLD)}),
        transport=upstream,
        models={"any": [MODEL, "tenant/model"]},
    )
    async with client if opened else AsyncExitStack():
        await client.add_provider(speaks_openai("tenant", NEW, "TENANT_KEY"), keys=fake_key("tenant"))
        await client.remove_provider("tenant")
        reply = await client.chat("any", "hi")
        assert reply.provider == "openai"
        assert reply.warnings == ["tenant/model was left out of model group 'any': tenant is no longer configured"]
    await client.close()


async def test_a_provider_of_the_account_stays_removed() -> None:
    async with client_of(Upstream()) as client:
        await client.remove_provider("openai")
        await client.refresh()
        with pytest.raises(MissingKeyError):
            await client.chat(MODEL, "hi")
        await client.add_provider("openai", keys=fake_key("again"), config=config_of(OLD))
        assert (await client.chat(MODEL, "hi")).text == "hi"


async def test_retry_settings_for_any_number_of_retries_are_bounded() -> None:
    async with client_of(Upstream()) as client:
        for number in range(1_100):
            await client.chat(MODEL, "hi", max_retries=number)
        assert len(running(client).upstreams._retries) <= 1_000


def _inside(client: Bifrost) -> list[Any]:
    """Give all that a client holds, as far as it is no code."""
    seen: dict[int, Any] = {}
    todo: list[Any] = [client._engine]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType | CodeType | Upstream):
            continue
        seen[id(thing)] = thing
        todo += gc.get_referents(thing)
        if isinstance(thing, MethodType):
            todo.append(thing.__self__)
    return list(seen.values())


def _reachable(client: Bifrost) -> int:
    gc.collect()
    return len(_inside(client))


def _mentioning(name: str, client: Bifrost) -> list[Any]:
    return [thing for thing in _inside(client) if thing == name or getattr(thing, "name", None) == name]


# --- under load


@pytest.mark.parametrize("seed", few_of(range(4), 1))
async def test_changes_under_load_lose_no_call_and_double_none(seed: int) -> None:
    """A bounded part: the deep run (`changes`) makes a thousand changes in many orders of tasks."""
    answered, refused = await change_under_load(seed, 100)
    assert answered > 100
    assert refused > 0
