"""Every provider that is shipped, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bifrost.providers.anthropic import ANTHROPIC
from bifrost.providers.compatible import OPENAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Provider

CATALOG: Mapping[str, Provider] = MappingProxyType({row.name: row for row in (OPENAI, ANTHROPIC)})
"""The rows by their names, in the order in which a list of providers shows them."""
