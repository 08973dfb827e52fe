"""The shape of a file of our own form: the words of `Bifrost(...)`, `Key` and `ProviderConfig`, as tables."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bifrost.routing.balance import BalanceName
from bifrost.settings.environment import EnvName


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key. The fields are those of `bifrost.Key`."""

    value: str | EnvName | None = None
    """The key's text, or where it stands: `"env.NAME"` or `{ env = "NAME" }`. Not given where a provider takes none."""
    name: str | None = None
    """What logs, errors and the attempt trail call it; the provider's name if not given, numbered in a list."""
    id: str | None = None
    """Another handle to pin it by; the name if not given."""
    weight: float | None = None
    """Its share of the calls, on any scale. 0: only when no other key is left."""
    models: list[str] | None = None
    """The models it may be used for; an entry may end in `*`. Not given: all. `[]`: none."""
    deny: list[str] | None = None
    """Models it must not be used for, even if `models` has them."""
    aliases: dict[str, str] | None = None
    """The provider's own name (or deployment) of a model, by the name that calls use."""
    settings: dict[str, Any] | None = None
    """What only this provider needs of a key, azure's `endpoint` and `api_version` for example."""
    enabled: bool | None = None
    """Whether it is used at all."""


class HeaderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A header that carries the key."""

    header: str
    """The header's name."""
    prefix: str = ""
    """What stands before the key."""


class ProviderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A provider: its keys, how it is used, and what makes it one of your own.

    Beside these fields stand those of `ProviderConfig`.
    """

    keys: str | list[str | KeyEntry] | None = None
    """Its keys, in full or by their value alone. Not given: the one in the vendor's environment variable."""
    dialect: str | None = None
    """For a provider of your own: the shipped provider whose format it speaks."""
    auth: Literal["bearer", "none"] | HeaderEntry | None = None
    """How the key is sent, where it is not as the dialect does it."""
    paths: dict[str, str] | None = None
    """The path of an operation below `base_url`, where it is not the dialect's. That of `chat` is that of `stream_chat`
    too, unless this has its own."""
    operations: list[str] | None = None
    """What the provider may be used for: `chat`, `stream_chat`, `embeddings`, `models`. Not given: all that it can."""


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    """A model group with the policy that chooses among its members."""

    members: list[str | tuple[str, float]]
    """Its `provider/model` names, with a weight if you like."""
    balance: BalanceName = "weighted"
    """How the member for a call is chosen: by chance and weight, the least busy, or by turns."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A client's options, model groups and providers.

    Beside these fields stand those of `CallOptions`: timeout, max_retries, fallbacks, extra_headers,
    on_interrupt.
    """

    schema: str | None = msgspec.field(default=None, name="$schema")
    """Where the JSON schema of this file is, for editors."""
    models: dict[str, list[str | tuple[str, float]] | GroupTable] | None = None
    """Your own names for models, each standing for one or several `provider/model`, with a weight if you like; or a
    table that also says how one is chosen among them."""
    providers: dict[str, ProviderEntry] | None = None
    """The providers by name. Not given: those whose keys stand in the environment."""


NOT_THE_CLIENTS = ("key", "session")
"""The fields of `CallOptions` that are a call's alone."""
