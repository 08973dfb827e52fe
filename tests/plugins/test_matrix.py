"""Each way a hook may go wrong, in each hook, at each place in the row of plugins, for each kind of call.

Whatever it is, every hook that was entered is left once, in order; the call ends, with an answer or an error of ours;
and the next call of the same client is served.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from bifrost import AssistantMessage, BifrostError, ChatResponse, Choice, TextPart
from bifrost.testing import MockTransport, leak_check
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import KINDS, Kind, Recorder, ask, assert_paired

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost import Bifrost, CallContext

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


def _raises(_client: Bifrost) -> Any:
    raise LookupError("bad luck")


async def _raises_later(_client: Bifrost) -> Any:
    await anyio.lowlevel.checkpoint()
    raise LookupError("bad luck")


def _refuses(_client: Bifrost) -> Any:
    raise BifrostError("no")


async def _hangs(_client: Bifrost) -> Any:
    await anyio.sleep_forever()


def _gives_nothing(_client: Bifrost) -> Any:
    return None


def _gives_nonsense(_client: Bifrost) -> Any:
    return object()


def _gives_a_class(_client: Bifrost) -> Any:
    return ChatResponse


def _gives_an_answer(_client: Bifrost) -> Any:
    message = AssistantMessage(parts=[TextPart(text="own")])
    return ChatResponse(id="x", model="m", choices=[Choice(message=message, finish_reason="stop")])


async def _enters_the_client_again(client: Bifrost) -> Any:
    if client.stats().calls < 40:  # a hook runs for its own calls too
        await client.with_options(timeout=5).embed("openai/text-embedding-3-small", "again")


async def _cancels_a_scope_of_its_own(_client: Bifrost) -> Any:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.sleep(1)


async def _ends_as_if_cancelled(_client: Bifrost) -> Any:
    raise anyio.get_cancelled_exc_class()


async def _leaves_a_task_group_broken(_client: Bifrost) -> Any:
    async with anyio.create_task_group() as group:
        group.start_soon(_raises_later, _client)
        await anyio.sleep_forever()


DEEDS: dict[str, Callable[[Bifrost], Any]] = {
    function.__name__.strip("_"): function
    for function in (
        _raises,
        _raises_later,
        _refuses,
        _hangs,
        _gives_nothing,
        _gives_nonsense,
        _gives_a_class,
        _gives_an_answer,
        _enters_the_client_again,
        _cancels_a_scope_of_its_own,
        _ends_as_if_cancelled,
        _leaves_a_task_group_broken,
    )
}


def _mutates(call: CallContext, value: Any) -> None:
    """Change what can be changed: a frozen value refuses, lists inside of it do not."""
    for name in ("provider", "endpoint", "deadline", "tenant"):
        setattr(call, name, getattr(call, name))
    call.values["mine"] = value
    call.warnings.append("noted")
    for name in ("model", "id", "messages"):
        with pytest.raises(AttributeError):
            setattr(value, name, "other")


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("deed", DEEDS)
async def test_no_hook_that_goes_wrong_takes_the_client_along(deed: str, place: int) -> None:
    async with leak_check():
        for number, hook in enumerate(("before_call", "before", "after", "after_call")):
            for kind in KINDS:
                # Which plugins fail a call is another matter than where they stand: each is met with each hook.
                on_error = "fail" if (number + place + (kind == "stream")) % 2 else "skip"
                await _go_wrong(DEEDS[deed], hook, place, kind, on_error)


async def _go_wrong(deed: Callable[[Bifrost], Any], hook: str, place: int, kind: Kind, on_error: Any) -> None:
    mock = MockTransport()
    mock.on(endpoint="embeddings").embed([[0.5]]).always()
    mock.reply("hello").always()
    log: list[str] = []
    armed = True

    def act(call: CallContext, _value: object) -> Any:
        return deed(client) if armed and call.endpoint == "chat" else None

    plugins = [
        Recorder(log, "abc"[index], on_error=on_error, does={hook: act} if index == place else {}) for index in range(3)
    ]
    async with mock.client(plugins=plugins, timeout=10) as client:
        with anyio.fail_after(60):
            # What ends a task passes through, as it must; anything else is an error of ours.
            with suppress(BifrostError, anyio.get_cancelled_exc_class()):
                assert (await ask(client, kind)).text in ("hello", "own")
            await until(lambda: is_quiet(client))
            if deed is not _enters_the_client_again:
                assert_paired([note for note in log if not note.endswith((".open", ".close"))])
            for pair in ("before", "before_call"):
                after = pair.replace("before", "after")
                assert sum(note.endswith(f".{pair}") for note in log) == sum(note.endswith(f".{after}") for note in log)
            armed = False
            assert (await ask(client, kind)).text == "hello"
            await until(lambda: is_quiet(client))


@pytest.mark.parametrize("hook", ["before_call", "before", "after", "after_call"])
async def test_a_hook_cannot_change_what_others_hold(hook: str) -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    plugins = [Recorder([], "a", on_error="fail", does={hook: _mutates}), Recorder([], "b")]
    async with mock.client(plugins=plugins) as client:
        reply = await ask(client, "plain")
    assert reply.text == "hello"
    assert "noted" in reply.warnings
    assert reply.provider == "openai"
