"""The configured providers of a client: the result of `client.providers()`."""

from __future__ import annotations

import msgspec

from bifrost.frozen import Value
from bifrost.html import table
from bifrost.reports.columns import listed, text_table, without_empty


class KeyInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A key, by its name. Its value is not included."""

    name: str
    """The name of the key."""

    weight: float = 1.0
    """How often the key is chosen, relative to the others."""

    enabled: bool = True
    """Whether the key is used at all."""

    models: list[str] | None = None
    """The models that the key may be used for. `None`: all models."""
    deny: list[str] = []
    """Models that the key may not be used for."""

    aliases: dict[str, str] = {}
    """Names of models in calls, each with the provider's own name of the model."""

    address: str | None = None
    """The address that the key's settings name; `None`: the provider's own."""

    def __str__(self) -> str:
        facts = [
            None if self.enabled else "off",
            None if self.weight == 1.0 else f"weight {self.weight:g}",
            None if self.models is None else f"for {listed(self.models) or 'nothing'}",
            f"not for {', '.join(self.deny)}" if self.deny else None,
            f"aliases {', '.join(self.aliases)}" if self.aliases else None,
            None if self.address is None else f"at {self.address}",
        ]
        known = [fact for fact in facts if fact is not None]
        return f"{self.name} ({'; '.join(known)})" if known else self.name


class ProviderInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A configured provider."""

    name: str
    """The name of the provider."""

    address: str | None = None
    """The base URL. `None`: it is not known yet."""

    address_from: str | None = None
    """The environment variable that sets the address. `None`: no variable sets it."""
    operations: list[str] = []
    """The supported operations: `chat`, `stream_chat`, `embeddings`, `models`."""
    keys: list[KeyInfo] = []
    """The keys of the provider."""

    concurrency: int | None = None
    """The most concurrent requests."""
    queue: int | None = None
    """The most callers that wait for one of these places."""
    docs: str = ""
    """The address of the vendor's API reference."""
    problem: str | None = None
    """Why it cannot be used as configured. `None`: no problem is known."""


class ProviderTable(list[ProviderInfo]):
    """Providers in the account's order: a list that prints as a table and shows one in a notebook."""

    def __str__(self) -> str:
        return text_table(*self._table()) if self else "no providers"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return table(*self._table())

    def _table(self) -> tuple[list[str], list[list[object]]]:
        return without_empty(_COLUMNS, [_cells(provider) for provider in self])


_COLUMNS = ("provider", "address", "operations", "keys", "at once", "queue", "problem")


def _cells(provider: ProviderInfo) -> list[object]:
    return [
        provider.name,
        provider.address if provider.address_from is None else f"{provider.address} ({provider.address_from})",
        listed(provider.operations),
        listed(provider.keys),
        provider.concurrency,
        provider.queue,
        provider.problem,
    ]
