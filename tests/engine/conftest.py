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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot be: the fast transport on trio, which `test_fast.py` sees refused."""
    impossible = [item for item in items if {"fast", "trio"} <= _parameters(item)]
    items[:] = [item for item in items if item not in impossible]
    config.hook.pytest_deselected(items=impossible)


def _parameters(item: pytest.Item) -> set[object]:
    spec = getattr(item, "callspec", None)
    return set() if spec is None else {value for value in spec.params.values() if isinstance(value, str)}
