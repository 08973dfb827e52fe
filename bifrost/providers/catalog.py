"""Every provider that is shipped, by name, and what of it an outside judge has seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.operations.base import Operation, OperationName
    from bifrost.providers.base import Provider


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


class Operations(Mapping[str, "Operation[Any, Any, Any]"]):
    """The operations by their names: those that a row of the catalog has a codec for."""

    @cached_property
    def _operations(self) -> Mapping[OperationName, Operation[Any, Any, Any]]:
        return {codec.operation.name: codec.operation for row in CATALOG.values() for codec in row.codecs.values()}

    def __getitem__(self, name: OperationName) -> Operation[Any, Any, Any]:
        return self._operations[name]

    def __iter__(self) -> Iterator[OperationName]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)


OPERATIONS: Mapping[OperationName, Operation[Any, Any, Any]] = Operations()
"""What can be asked at all. It follows from the codecs; there is no second list."""

STABLE: Mapping[str, frozenset[OperationName]] = MappingProxyType(
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
