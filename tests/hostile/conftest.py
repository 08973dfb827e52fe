"""What the tests against the hostile server share."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.stage import staged
from tests.plugins.recorder import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.plugins.recorder import Kind

TRANSPORTS: dict[str, Callable[[], Any]] = {"default": lambda: None}
"""What can stand under the engine's seam: makes what is given as `transport=`."""


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module")
def stage(transport: Callable[[], Any]) -> Callable[..., Any]:
    """Give `staged` over one of the transports."""
    return partial(staged, transport=transport())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(scope="module", autouse=True)
def _only_what_tests_make_is_collected() -> Iterator[None]:
    """Keep what is loaded out of the collector's way: these tests collect garbage hundreds of times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
