"""What the engine's tests share."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _only_what_tests_make_is_collected() -> Iterator[None]:
    """Keep what is loaded out of the collector's way: these tests collect garbage hundreds of times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
