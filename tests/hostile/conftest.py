"""What the tests against the hostile server share."""

from __future__ import annotations

import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.hostile.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_BARE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: loading the certificates of authorities for each connection takes long."""


def _of_httpx() -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(verify=_BARE, limits=httpx.Limits(max_connections=1), trust_env=False)


TRANSPORTS: Mapping[str, Any] = {"default": None, "httpx": _of_httpx}
"""What is given as `transport=`. The servers speak HTTP/1.1 byte by byte, so HTTP/2 has hostile peers of its own."""

EACH = "BIFROST_HOSTILE_OVER_EACH"
"""The variable with which all faults are played over each transport, as the deep run does."""

EVERYWHERE = ("default",)
"""Those that all faults are played over. The others carry those of modules with `OVER_EACH_TRANSPORT`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transport" in metafunc.fixturenames:
        everywhere = os.environ.get(EACH) or getattr(metafunc.module, "OVER_EACH_TRANSPORT", False)
        names = TRANSPORTS if everywhere else EVERYWHERE
        params = [pytest.param(name, marks=() if name in EVERYWHERE else pytest.mark.wide) for name in names]
        metafunc.parametrize("transport", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def transport(request: pytest.FixtureRequest) -> Any:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module")
def stage(transport: Any) -> Callable[..., Any]:
    """Give `staged` over one of the transports."""
    return partial(staged, transport=transport)
