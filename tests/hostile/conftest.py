"""What the tests against the hostile server share."""

from __future__ import annotations

import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conformance.transports import Route
from tests.hostile.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: loading the certificates of authorities for each connection takes long."""


def _of_httpx() -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(verify=_BARE, limits=httpx.Limits(max_connections=1), trust_env=False)


TRANSPORTS: Mapping[str, Route] = {
    "default": Route(),
    "default, TLS": Route(tls=True),
    "HTTP proxy": Route(proxy="http"),
    "CONNECT proxy": Route(tls=True, proxy="http"),
    "SOCKS proxy": Route(proxy="socks5"),
    "httpx": Route(given=_of_httpx),
}
"""How the servers are reached. They speak HTTP/1.1 byte by byte, so HTTP/2 has hostile peers of its own."""

USUAL = ("default",)
"""Over these the README's run plays the faults; over the others they are marked `wide`."""

EACH = "BIFROST_HOSTILE_OVER_EACH"
"""The variable with which all faults are played over each route, as the deep run does."""

_ALL_FAULTS = ("default", "httpx")
"""Over these all faults are played in any case; over the others those of the modules with `OVER_EACH_ROUTE`.
A module with `ROUTES_ITSELF` has TLS and proxies of its own, which a transport of httpx would bring itself."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transport" in metafunc.fixturenames:
        each = os.environ.get(EACH) or getattr(metafunc.module, "OVER_EACH_ROUTE", False)
        names = TRANSPORTS if each else _ALL_FAULTS
        if getattr(metafunc.module, "ROUTES_ITSELF", False):
            names = USUAL
        params = [pytest.param(name, marks=() if name in USUAL else pytest.mark.wide) for name in names]
        metafunc.parametrize("transport", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def transport(request: pytest.FixtureRequest) -> Route:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module")
def stage(transport: Route) -> Callable[..., Any]:
    """Give `staged` over one of the transports."""
    return partial(staged, route=transport)
