"""Parameters of which the README's run takes the first few, and `.ci/run` all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def few_of(values: Iterable[Any], few: int) -> list[Any]:
    """Return parameters for these values; those after the first `few` are marked `wide`."""
    return [pytest.param(value, marks=pytest.mark.wide if place >= few else ()) for place, value in enumerate(values)]
