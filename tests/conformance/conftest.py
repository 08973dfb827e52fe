"""Each test runs over each transport of the table, on both event loops."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.conformance.transports import TRANSPORTS, Route

if TYPE_CHECKING:
    from collections.abc import Iterator


ALWAYS = ("default", "HTTP/2")
"""The transports of the quick run: the usual one, and the one that shares connections."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in ALWAYS else pytest.mark.wide) for name in TRANSPORTS],
)
def route(request: pytest.FixtureRequest) -> Route:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", autouse=True)
def _only_what_tests_make_is_collected() -> Iterator[None]:
    """Keep what is loaded out of the collector's way: these tests collect garbage hundreds of times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
