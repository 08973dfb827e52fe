"""Every provider that is shipped, by name, and what of it an outside judge has seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.providers.base import Endpoint, Provider


class Catalog(Mapping[str, "Provider"]):
    """The rows by their names, in the order in which a list of providers shows them.

    The dialects are imported when the first row is looked up: `import bifrost` would take a fifth longer with them.
    """

    @cached_property
    def _rows(self) -> Mapping[str, Provider]:
        from bifrost.providers.anthropic import ANTHROPIC
        from bifrost.providers.azure import AZURE
        from bifrost.providers.compatible import COMPATIBLE, OPENAI

        rows = (OPENAI, ANTHROPIC, AZURE, *(row for row in COMPATIBLE if row is not OPENAI))
        return {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Provider:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


CATALOG: Mapping[str, Provider] = Catalog()

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
