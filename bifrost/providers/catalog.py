"""Every provider that is shipped, by name, and what of it an outside judge has seen."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bifrost.providers.anthropic import ANTHROPIC
from bifrost.providers.azure import AZURE
from bifrost.providers.compatible import COMPATIBLE, OPENAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Endpoint, Provider

CATALOG: Mapping[str, Provider] = MappingProxyType(
    {row.name: row for row in (OPENAI, ANTHROPIC, AZURE, *(row for row in COMPATIBLE if row is not OPENAI))}
)
"""The rows by their names, in the order in which a list of providers shows them."""

STABLE: Mapping[str, frozenset[Endpoint]] = MappingProxyType(
    {
        "openai": frozenset(["chat", "embeddings", "models"]),
        "anthropic": frozenset(["chat", "models"]),
        "azure": frozenset(["chat", "embeddings", "models"]),
        "groq": frozenset(["chat"]),
        "deepseek": frozenset(["chat"]),
        "xai": frozenset(["chat"]),
        "openrouter": frozenset(["chat"]),
        "perplexity": frozenset(["chat"]),
        "cerebras": frozenset(["chat"]),
        "together": frozenset(["chat"]),
        "mistral": frozenset(["chat", "embeddings"]),
        "huggingface": frozenset(["chat"]),
        "ollama": frozenset(["chat"]),
        "ollama-cloud": frozenset(["chat"]),
    }
)
"""The operations that a recording of true traffic, or the vendor's own SDK, has judged. All others are experimental."""
