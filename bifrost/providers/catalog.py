"""All built-in providers by name, and which of their operations were verified against real responses."""

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
    """The providers by name, in the order in which they are listed.

    The dialects are imported when the first provider is looked up. Otherwise `import bifrost` would take a fifth
    longer.
    """

    @cached_property
    def _rows(self) -> Mapping[str, Provider]:
        from bifrost.providers.anthropic import ANTHROPIC
        from bifrost.providers.azure import AZURE
        from bifrost.providers.bedrock import BEDROCK
        from bifrost.providers.cohere import COHERE
        from bifrost.providers.compatible import COMPATIBLE, OPENAI
        from bifrost.providers.gemini import GEMINI
        from bifrost.providers.jina import JINA
        from bifrost.providers.ollama import OLLAMA, OLLAMA_CLOUD
        from bifrost.providers.responses import with_all
        from bifrost.providers.vertex import VERTEX
        from bifrost.providers.voyage import VOYAGE

        rows = (
            OPENAI,
            ANTHROPIC,
            GEMINI,
            VERTEX,
            AZURE,
            BEDROCK,
            COHERE,
            OLLAMA,
            OLLAMA_CLOUD,
            *(row for row in COMPATIBLE if row is not OPENAI),
            VOYAGE,
            JINA,
        )
        return {row.name: with_all(row) for row in rows}

    def __getitem__(self, name: str) -> Provider:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


CATALOG: Mapping[str, Provider] = Catalog()


class Operations(Mapping[str, "Operation[Any, Any, Any]"]):
    """The operations by name: those for which a provider of the catalog has a codec."""

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
"""All operations. They follow from the codecs."""

STABLE: Mapping[str, frozenset[OperationName]] = MappingProxyType(
    {
        "openai": frozenset(["chat", "embeddings", "models", "moderations", "count_tokens", "completions"])
        | {"responses", "compactions"},
        "anthropic": frozenset(["chat", "models", "count_tokens"]),
        "gemini": frozenset(["chat", "embeddings", "count_tokens"]),
        "vertex": frozenset(["chat", "embeddings"]),
        "azure": frozenset(["chat", "embeddings", "models"]),
        "cohere": frozenset(["chat", "embeddings", "rerank"]),
        "bedrock": frozenset(["chat", "embeddings", "count_tokens"]),
        "groq": frozenset(["chat"]),
        "deepseek": frozenset(["chat"]),
        "xai": frozenset(["chat"]),
        "openrouter": frozenset(["chat"]),
        "perplexity": frozenset(["chat"]),
        "cerebras": frozenset(["chat"]),
        "together": frozenset(["chat", "completions"]),
        "mistral": frozenset(["chat", "embeddings"]),
        "huggingface": frozenset(["chat"]),
        "ollama": frozenset(["chat", "completions", "embeddings", "models"]),
        "ollama-openai": frozenset(["chat"]),
        "ollama-cloud-openai": frozenset(["chat"]),
        "voyage": frozenset(["embeddings", "rerank"]),
    }
)
"""The operations that were verified with recorded real traffic or with the vendor's own SDK. All others are
experimental.
"""
