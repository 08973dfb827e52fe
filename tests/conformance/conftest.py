"""Each test runs over each transport of the table, on both event loops."""

from __future__ import annotations

import pytest

from tests.conformance.transports import TRANSPORTS, Route

ALWAYS = ("default",)
"""The transports of the quick run."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in ALWAYS else pytest.mark.wide) for name in TRANSPORTS],
)
def route(request: pytest.FixtureRequest) -> Route:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param
