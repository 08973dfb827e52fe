"""The engine of a client, and, in a test with a stand-in for the network, an engine for that test.

A client may be made at module level, long before a test replaces the network with a mock, or in one test and used in
the next. Therefore the transport of a client without an explicit one is determined when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.account import Account
    from bifrost.engine.core import Engine
    from bifrost.plugins.base import Plugin
    from bifrost.transport import Transport


class StandIn:
    """Replaces the network, during one test, for clients without an explicit transport.

    Clients without an explicit account use `account`; `None`: the environment's.
    """

    def __init__(self, transport: Transport, account: Account | None = None) -> None:
        self.transport = transport
        self.account = account
        self.engines: dict[Engines, Engine] = {}
        """The engines that were made for this test, by client."""

    def end(self) -> None:
        """End the engines that were made for it."""
        for engine in self.engines.values():
            engine.abandon()
        self.engines.clear()


def present() -> StandIn | None:
    """Return the stand-in for the network: `None`. The pytest plugin replaces this function during a test."""
    return None


class Engines:
    """Returns the current engine of a client and its copies.

    `make` returns an engine with plugins, for an account and a transport; `None` means the default.
    """

    __slots__ = ("__weakref__", "_account", "_made_in", "_make", "_own", "_plain", "_transport")

    def __init__(
        self,
        make: Callable[[Account | None, Transport | None, Sequence[Plugin]], Engine],
        *,
        account: Account | None,
        transport: Transport | None,
        plugins: Sequence[Plugin],
    ) -> None:
        self._make = make
        self._account = account
        self._transport = transport
        self._made_in = present()
        self._own = self._made(self._made_in, plugins)
        self._plain: Engine | None = None
        """The engine of a client that was made under a stand-in that has ended."""

    def now(self) -> Engine:
        """Return the current engine."""
        stand_in = present()
        if stand_in is self._made_in or (self._transport is not None and self._account is not None):
            return self._own
        if stand_in is None:
            if self._plain is None:
                self._plain = self._copy(None)
            return self._plain
        engine = stand_in.engines.get(self)
        return stand_in.engines.setdefault(self, self._copy(stand_in)) if engine is None else engine

    def _copy(self, stand_in: StandIn | None) -> Engine:
        """Return an engine with the plugins and providers of the client's own, without its state."""
        engine = self._made(stand_in, self._own.chain.plugins)
        engine.account.take_over(self._own.account)
        return engine

    def _made(self, stand_in: StandIn | None, plugins: Sequence[Plugin]) -> Engine:
        account, transport = self._account, self._transport
        if stand_in is not None:
            account = stand_in.account if account is None else account
            transport = stand_in.transport if transport is None else transport
        return self._make(account, transport, plugins)
