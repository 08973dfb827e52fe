"""A provider on the loopback for the code of the pages, and the way there for clients that are told no address."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.account import StaticAccount
from bifrost.config import ProviderConfig
from bifrost.errors import BifrostError
from bifrost.sync import SyncBifrost
from bifrost.testing import fake_key
from bifrost.transport import Origin, Transport, as_transport

if TYPE_CHECKING:
    from bifrost.testing import LoopbackProvider
    from bifrost.testing.calls import MockCall
    from bifrost.transport import Connection


class Detour(Transport):
    """A transport that leads to a provider on the loopback, whatever address elsewhere is wanted."""

    def __init__(self, server: LoopbackProvider) -> None:
        self._origin = Origin.of(server.base_url)
        self._inner = as_transport(None)

    def open(self, origin: Origin) -> Connection:
        return self._inner.open(origin if origin.host == self._origin.host else self._origin)


def asked(call: MockCall) -> dict[str, Any]:
    """Return the content of a request, without the fields that SDKs write and leave empty."""
    body = {name: value for name, value in (call.json or {}).items() if name != "stream_options"}
    return {
        "path": call.http.path,
        "key": call.key,
        "team": call.http.headers.get("x-team"),
        "body": without_empty(body),
    }


def without_empty(value: Any) -> Any:
    match value:
        case dict():
            return {name: without_empty(inner) for name, inner in value.items() if inner not in (None, [])}
        case list():
            return [without_empty(inner) for inner in value]
        case _:
            return value


def failing(row: list[str], server: LoopbackProvider, *, times: int) -> tuple[str, float]:
    """Script the failure of a row of an error table. Return the address to call, and the timeout."""
    match row[0].split():
        case ["no", "connection"]:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                return f"http://127.0.0.1:{listener.getsockname()[1]}/v1", 5.0
        case ["no", "response", *_]:
            server.hang().times(times)
            return f"{server.base_url}/v1", 0.2
        case [status, *code]:
            server.fail(int(status), code=code[0].strip("`") if code else None).times(times)
    return f"{server.base_url}/v1", 5.0


def our_failure(address: str, timeout: float) -> BifrostError:
    """Call an address and return the error."""
    account = StaticAccount(keys={"openai": fake_key("openai")}, configs={"openai": ProviderConfig(base_url=address)})
    with SyncBifrost(account, timeout=timeout, max_retries=0) as client, pytest.raises(BifrostError) as caught:
        client.chat("openai/gpt-4o-mini", "Hello")
    return caught.value
