"""A client whose key is the canary, watched from all sides while it does what a test wants."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from bifrost import BifrostError, Key, Plugin, StaticAccount
from tests.canary import CANARY, assert_shows_nothing, assert_unseen, listening
from tests.engine.rig import is_quiet, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    import pytest

    from bifrost import Bifrost, CallContext, ProviderConfig
    from bifrost.providers.base import Provider


def account_of(url_of: Mapping[str, ProviderConfig], *, rows: tuple[Provider, ...] = ()) -> StaticAccount:
    """Give an account whose every key is the canary."""
    return StaticAccount(
        keys={name: [Key(name="main", value=CANARY)] for name in url_of}, configs=dict(url_of), providers=rows
    )


class Watcher(Plugin):
    """Keeps all that hooks are given."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def before_call(self, call: CallContext, request: Any) -> None:
        self.seen += [call, request]

    def before(self, call: CallContext, request: Any) -> None:
        self.seen += [call, request]

    def on_chunk(self, call: CallContext, chunk: Any) -> None:
        self.seen += [call, chunk]

    def after(self, call: CallContext, outcome: Any) -> None:
        self.seen += [call, outcome]

    def after_call(self, call: CallContext, outcome: Any) -> None:
        self.seen += [call, outcome]


class Watch:
    """What was met on the way. Everything that it is told of is looked at."""

    def __init__(self) -> None:
        self.plugin = Watcher()

    async def error_of(self, call: Awaitable[object]) -> BifrostError:
        """Give the error that a call ends with, looked at."""
        try:
            with anyio.fail_after(20):
                await call
        except BifrostError as error:
            found = error
        else:
            raise AssertionError("the call did not fail")
        self.look(found, found.attempts, found.errors, found.body)
        return found

    async def client(self, client: Bifrost) -> None:
        """Look at a client that is at rest, and all that it tells of itself."""
        await until(lambda: is_quiet(client))
        await self.busy_client(client)

    async def busy_client(self, client: Bifrost) -> None:
        """Look at a client in the middle of calls."""
        assert_shows_nothing(client, copies=False)
        account = client._engine.account
        self.look(account, client.stats(), await client.providers(), client._options)
        for provider in await client.providers():
            self.look(await client.explain(f"{provider.name}/any", "hi"))
            self.look(*await _keys(account, provider.name))

    def look(self, *things: object) -> None:
        """Look at things in every way that there is."""
        assert_shows_nothing(*things)


async def _keys(account: Any, provider: str) -> list[object]:
    keys = account.keys(provider, None)
    keys = await keys if hasattr(keys, "__await__") else keys
    return [keys, *keys]


@asynccontextmanager
async def watching(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Watch]:
    """Watch loggers, warnings and the terminal, and look at all that hooks were given."""
    watch = Watch()
    with ExitStack() as stack:
        log = stack.enter_context(listening())
        warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        yield watch
    by_id = {id(each): each for each in watch.plugin.seen}
    assert_shows_nothing(*by_id.values())
    assert_unseen(*log.lines, *(str(each.message) for each in warned), *map(repr, warned))
    assert_unseen(*map(str, capsys.readouterr()))
