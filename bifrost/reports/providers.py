"""The providers that a client is set up with: `client.providers()`."""

from __future__ import annotations

import msgspec

from bifrost.frozen import Value
from bifrost.html import table
from bifrost.reports.columns import listed, text_table, without_empty


class KeyInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A key by its name; its value stands nowhere."""

    name: str
    weight: float = 1.0
    enabled: bool = True
    models: list[str] | None = None
    """The models it may be used for; `None`: all."""
    deny: list[str] = []
    aliases: dict[str, str] = {}

    def __str__(self) -> str:
        facts = [
            None if self.enabled else "off",
            None if self.weight == 1.0 else f"weight {self.weight:g}",
            None if self.models is None else f"for {listed(self.models) or 'nothing'}",
            f"not for {', '.join(self.deny)}" if self.deny else None,
            f"aliases {', '.join(self.aliases)}" if self.aliases else None,
        ]
        told = [fact for fact in facts if fact is not None]
        return f"{self.name} ({'; '.join(told)})" if told else self.name


class ProviderInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A provider as it is set up."""

    name: str
    address: str | None = None
    address_from: str | None = None
    """The environment variable that gives the address, if one does."""
    operations: list[str] = []
    """What it can be asked for: `chat`, `stream_chat`, `embeddings`, `models`."""
    keys: list[KeyInfo] = []
    concurrency: int | None = None
    """The most exchanges at once."""
    queue: int | None = None
    """The most callers waiting for one of them."""
    docs: str = ""
    """The vendor's reference of the format."""
    problem: str | None = None
    """Why it cannot be used as it is set up."""


class ProviderTable(list[ProviderInfo]):
    """Providers in the account's order: a list, which prints as a table and is one in a notebook."""

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
