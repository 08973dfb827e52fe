"""The structure of bifrost's own file format: the arguments of `Bifrost(...)`, `Key` and `ProviderConfig` as tables."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bifrost.routing.balance import BalanceName
from bifrost.settings.environment import EnvName


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key. The fields are those of `bifrost.Key`."""

    value: str | EnvName | None = None
    """The key, or the variable with the key: `"env.NAME"` or `{ env = "NAME" }`. It is omitted for providers without
    keys.
    """
    name: str | None = None
    """The name in logs, errors and attempt records. Default: the provider's name, numbered in a list."""
    id: str | None = None
    """Another identifier, for `key=`. Default: the name."""
    weight: float | None = None
    """Its share of the calls, relative to the other keys. 0: it is used only when no other key is left."""
    models: list[str] | None = None
    """The models that it may be used for; an entry may end in `*`. Default: all models. `[]`: none."""
    deny: list[str] | None = None
    """Models that it must not be used for, even if `models` contains them."""
    aliases: dict[str, str] | None = None
    """The provider's own name (or deployment) of a model, by the name in calls."""
    settings: dict[str, Any] | None = None
    """Settings that only this provider needs, for example `endpoint` and `api_version` of azure."""
    enabled: bool | None = None
    """Whether it is used at all."""


class AuthEntry(msgspec.Struct, frozen=True, kw_only=True):
    """How the key is sent: in a header, in a parameter of the query, or as a signature of AWS."""

    header: str | None = None
    """The name of the header."""
    prefix: str = ""
    """The text before the key in the header."""
    query: str | None = None
    """The name of the parameter."""
    sigv4: str | None = None
    """The name of the service in the signature (AWS Signature Version 4), `bedrock` for example."""
    region: str | None = None
    """The region in the signature, of keys whose settings name none."""


class ProviderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A provider: its keys and its settings, and what defines a provider of your own.

    The table also has the fields of `ProviderConfig`.
    """

    keys: str | list[str | KeyEntry] | None = None
    """Its keys, as tables or as values only. Default: the key in the vendor's environment variable."""
    dialect: str | None = None
    """For a provider of your own: the built-in provider whose format it has."""
    auth: Literal["bearer", "none"] | AuthEntry | None = None
    """How the key is sent, if it differs from the dialect."""
    paths: dict[str, str] | None = None
    """The paths of operations below `base_url` that differ from the dialect's. The path of `chat` also applies to
    `stream_chat`, unless that has its own.
    """
    operations: list[str] | None = None
    """The operations that may be used: `chat`, `stream_chat`, `embeddings`, `models`. Default: all that it supports."""


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    """A model group, with the policy that chooses among its members."""

    members: list[str | tuple[str, float]]
    """Its `provider/model` names, optionally with a weight."""
    balance: BalanceName = "weighted"
    """How the member for a call is chosen: `weighted` at random, `least_busy`, or `round_robin` in turn."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """The options, model groups and providers of a client.

    The table also has the fields of `CallOptions`: timeout, max_retries, fallbacks, extra_headers, on_interrupt.
    """

    schema: str | None = msgspec.field(default=None, name="$schema")
    """The location of the JSON schema of this file, for editors."""
    models: dict[str, list[str | tuple[str, float]] | GroupTable] | None = None
    """Your own names of models, each for one or several `provider/model` names, optionally with weights, or for a table
    with a policy.
    """
    providers: dict[str, ProviderEntry] | None = None
    """The providers by name. Default: those whose keys are in the environment."""


NOT_THE_CLIENTS = ("key", "session")
"""The fields of `CallOptions` that belong to a single call."""
