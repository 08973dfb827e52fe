"""A client among hostile servers, and what must hold of it afterwards, whatever they did.

After each fault the same client serves a good call, its hooks are paired, the servers saw as many attempts as the
trails tell, nothing is open or running any more, no error of another library came out, and the key was seen nowhere.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest

from bifrost import Bifrost, BifrostError, Key, ProviderConfig, RetryConfig, StaticAccount
from bifrost.testing import leak_check, no_waits
from tests.canary import CANARY, assert_unseen, listening, shown_by
from tests.engine.rig import is_quiet, until
from tests.hostile.answers import MODEL, good
from tests.hostile.server import HostileServer
from tests.plugins.recorder import Kind, Recorder, ask, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from bifrost import ChatResponse
    from tests.hostile.server import Script

ErrorT = TypeVar("ErrorT", bound=BifrostError)

LATE = 10.0
"""How much later than its deadline a call may end on a busy machine, in seconds."""
TIMEOUT = 20.0
"""The timeout of a call that is not about timeouts."""
RETRIES = RetryConfig(max_retries=2)
KEY = CANARY
SPARE = "sk-spare-0123456789"


class Scene:
    """A client, the server that its OpenAI is at, and a good one that its Anthropic is at."""

    def __init__(self, server: HostileServer, other: HostileServer, client: Bifrost, log: list[str]) -> None:
        self.server = server
        self.other = other
        self.client = client
        self.timeout = TIMEOUT
        self.calls = 0
        self.attempts = 0
        """Those on the trails of all calls."""
        self.counts = True
        """Whether the servers can have seen every attempt."""
        self._log = log

    async def ask(self, kind: Kind = "plain", model: str = MODEL, **options: Any) -> ChatResponse:
        """Make a call within its deadline; its whole answer."""
        return await self.run(lambda: ask(self.client, kind, model, **options), timeout=options.get("timeout"))

    async def run(self, call: Callable[[], Awaitable[ChatResponse]], *, timeout: float | None = None) -> ChatResponse:
        """Make a call in a way of its own."""
        self.calls += 1
        error: BifrostError
        try:
            with anyio.fail_after((timeout or self.timeout) + LATE):
                reply = await call()
        except BifrostError as caught:
            error = caught
        else:
            self.attempts += len(reply.attempts)
            return reply
        self.attempts += len(error.attempts)
        assert_unseen(*shown_by(error))
        raise error

    async def fails(
        self, expected: type[ErrorT], kind: Kind = "plain", model: str = MODEL, **options: Any
    ) -> ErrorT:
        """Make a call that fails; its error."""
        with pytest.raises(expected) as caught:
            await self.ask(kind, model, **options)
        return caught.value

    async def heal(self) -> None:
        """See that the same client serves as soon as the server does."""
        self.server.play(good)
        for kind in ("plain", "stream"):
            reply = await self.ask(kind, "openai/spare")
            assert reply.text == "hello"

    async def quiet(self) -> None:
        """Wait until nothing of the client is in use."""
        await until(lambda: is_quiet(self.client), seconds=LATE)

    def assert_paired(self) -> None:
        """Each hook that was entered was left, once, and each call has its last one."""
        assert_paired(self._log)
        assert self._log.count("watch.after_call") == self.calls


@asynccontextmanager
async def staged(
    *scripts: Script,
    transport: Any = None,
    server: HostileServer | None = None,
    url: str | None = None,
    timeout: float = TIMEOUT,
    keys: Sequence[str] = (KEY,),
    heals: bool = True,
    loud: bool = True,
    **config: Any,
) -> AsyncIterator[Scene]:
    """Give a client whose OpenAI is at a server that plays `scripts` (or `server`, or at `url`), and see what it left.

    The server may have been started, and its address be known, before. `config` goes to `ProviderConfig`. The client waits for no backoff. `loud=False` leaves out the listening to logs,
    for exchanges of very many events.
    """
    config = {"retry": RETRIES, **config}
    hooks: list[str] = []
    with ExitStack() as around:
        around.enter_context(no_waits())
        log = around.enter_context(listening()) if loud else None
        async with leak_check():
            with server or HostileServer(*scripts) as peer, HostileServer(good) as other:
                account = StaticAccount(
                    keys={
                        "openai": [
                            *(Key(name=f"key {n}", value=key) for n, key in enumerate(keys)),
                            Key(name="spare", value=SPARE, models=["spare"]),
                        ],
                        "anthropic": [Key(name="other", value=KEY)],
                    },
                    configs={
                        "openai": ProviderConfig(base_url=f"{url or peer.url}/v1", **config),
                        "anthropic": ProviderConfig(base_url=other.url),
                    },
                )
                client = Bifrost(account, plugins=[Recorder(hooks, "watch")], transport=transport, timeout=timeout)
                async with client:
                    scene = Scene(peer, other, client, hooks)
                    scene.timeout = timeout
                    yield scene
                    if heals:
                        await scene.heal()
                    await scene.quiet()
                scene.assert_paired()
                await peer.all_closed()
                await other.all_closed()
                if scene.counts:
                    assert peer.attempts + other.attempts == scene.attempts
        if log is not None:
            assert_unseen(*log.lines)
