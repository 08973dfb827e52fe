"""The transport that a user passes as `transport=`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from bifrost.errors import ConfigError
from bifrost.transport.api import Transport
from bifrost.transport.logs import guard_loggers

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from bifrost.transport.api import Connection, Origin


def as_transport(transport: Any) -> Transport:
    """Return the transport for the value of `transport=`: a `Transport`, an httpx transport, or a function.

    All connections share an httpx transport as it is. A function without arguments is called once per connection and
    returns an httpx transport for it. Raises `ConfigError` for anything else.
    """
    if transport is None:
        from bifrost.transport.direct import DirectTransport

        return DirectTransport()
    guard_loggers()
    if _is_of_httpx(transport):
        return _SharedHttpxTransport(transport)
    if isinstance(transport, Transport):
        return transport
    if hasattr(transport, "open") and not isinstance(transport, type):
        raise ConfigError(f"transport=: make {type(transport).__name__} a subclass of bifrost.transport.Transport")
    if callable(transport):
        return _HttpxTransportFactory(cast("Callable[[], httpx.AsyncBaseTransport]", transport))
    raise ConfigError(
        "transport= takes an httpx.AsyncBaseTransport, a function that makes one, or a bifrost Transport, "
        f"not {type(transport).__name__}"
    )


def _is_of_httpx(transport: Any) -> TypeGuard[httpx.AsyncBaseTransport]:
    # If httpx is not loaded, the object is not of its type. Loading httpx takes longer than loading all of bifrost.
    loaded = sys.modules.get("httpx")
    return isinstance(transport, getattr(loaded, "AsyncBaseTransport", ()))


class _SharedHttpxTransport(Transport):
    """Connections that share one httpx transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    def open(self, origin: Origin) -> Connection:
        from bifrost.transport.httpx_adapter import HttpxConnection

        return HttpxConnection(self._transport, origin, owned=False)


class _HttpxTransportFactory(Transport):
    """Connections with an httpx transport each."""

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._make = make

    def open(self, origin: Origin) -> Connection:
        from bifrost.transport.httpx_adapter import HttpxConnection

        try:
            transport = self._make()
        except Exception as error:  # noqa: BLE001 - a user's function; raised outside the block
            problem = f"raised {type(error).__name__}"
        else:
            if _is_of_httpx(transport):
                return HttpxConnection(transport, origin, owned=True)
            problem = f"returned {type(transport).__name__}"
        raise ConfigError(f"the function given as transport= {problem}; it makes an httpx.AsyncBaseTransport each time")
