from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.growth.measure import SLACK, growth_of

if TYPE_CHECKING:
    from collections.abc import Callable


def _joined(n: int) -> Callable[[], object]:
    return lambda: [bytes(100) for _ in range(n)]


def _counted(n: int) -> Callable[[], object]:
    names = [str(number) for number in range(n // 8)]
    return lambda: [names.count(name) for name in names]


@pytest.mark.wide
@pytest.mark.parametrize("make", [_counted, lambda n: lambda: re.search("a+b", "a" * n)])
def test_what_is_quadratic_is_seen(make: Callable[[int], Callable[[], object]]) -> None:
    assert growth_of(make) > SLACK


def test_what_is_linear_passes() -> None:
    assert growth_of(_joined) <= SLACK
    assert growth_of(lambda n: lambda: n) == 0.0
