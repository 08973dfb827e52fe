"""`Settings`: the content of a file in the form that a client accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from bifrost.account import EnvAccount, Key, StaticAccount, near
from bifrost.config import CallOptions, ProviderConfig
from bifrost.errors import ConfigError, MissingKeyError, UnknownProviderError
from bifrost.providers.base import Provider
from bifrost.providers.catalog import CATALOG
from bifrost.routing.plan import GroupEntry, GroupForm, ModelGroup, ModelGroups
from bifrost.settings.problems import below, element, listed
from bifrost.wire.auth import NoAuth

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bifrost.settings.problems import Problems


@attrs.frozen(kw_only=True)
class Settings:
    """The content of a configuration file."""

    account: StaticAccount | EnvAccount
    """The providers with their keys and settings; those of the environment if the file names no provider."""
    models: Mapping[str, GroupForm]
    """The model groups by name."""
    options: CallOptions = attrs.field(repr=False)
    """The client's defaults for all calls."""
    notes: tuple[str, ...] = ()
    """Fields of the file that have no equivalent and are ignored, with their paths."""

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for `Bifrost(...)`."""
        options = self.options
        return {
            "account": self.account,
            "models": self.models,
            "timeout": options.timeout,
            "max_retries": options.max_retries,
            "fallbacks": options.fallbacks,
            "extra_headers": options.extra_headers,
            "on_interrupt": options.on_interrupt,
        }


@attrs.frozen(kw_only=True)
class Entry:
    """A provider of a file, read and checked."""

    at: str
    """The path of its table."""
    row: Provider
    keys: list[Key]
    config: ProviderConfig


def account_of(entries: Sequence[Entry], *, keyless: str, problems: Problems) -> StaticAccount | None:
    """Return the account. `None`, with a problem for each provider that lacks a key.

    `keyless` is how the file's format declares that a provider needs no key.
    """
    before = len(problems)
    for entry in entries:
        if not entry.keys and not isinstance(entry.row.auth, NoAuth):
            problems.add(entry.at, _no_key(entry.row, keyless), kind=MissingKeyError, provider=entry.row.name)
    if len(problems) > before:
        return None
    return StaticAccount(
        keys={entry.row.name: entry.keys for entry in entries},
        configs={entry.row.name: entry.config for entry in entries},
        providers=[entry.row for entry in entries if CATALOG.get(entry.row.name) is not entry.row],
    )


def check_names(
    models: Mapping[str, GroupForm],
    fallbacks: Sequence[str],
    entries: Sequence[Entry],
    *,
    providers: Collection[str],
    problems: Problems,
) -> None:
    """Report every model of a group or fallback that no provider of the file can have.

    `providers` are the names of all providers of the file, including those with problems.
    """
    check_groups(models, problems=problems)
    for group, form in models.items():
        members, at = _members(form, below("models", group))
        for index, member in enumerate(members):
            provider, slash, _ = (member if isinstance(member, str) else member[0]).partition("/")
            if slash and provider not in providers:
                _unknown(provider, providers, at=element(at, index), problems=problems)
    if len(entries) < len(providers):
        return  # Keys that could not be read may contain the names of the fallbacks.
    for index, name in enumerate(fallbacks):
        provider, slash, _ = name.partition("/")
        known = name in models or any(key.names(name) for entry in entries for key in entry.keys)
        if known or (slash and provider in providers):
            continue
        at = element("fallbacks", index)
        if slash:
            _unknown(provider, providers, at=at, problems=problems)
        else:
            problems.add(at, f"{name!r} is no model group and in no key's models; write it as provider/model")


def check_groups(models: Mapping[str, GroupForm], *, problems: Problems) -> None:
    """Report every invalid model group."""
    for group, form in models.items():
        members, at = _members(form, below("models", group))
        if not members:
            problems.add(at, "a group has at least one member, written 'provider/model'")
            continue
        try:
            ModelGroups({group: form})
        except ConfigError as error:
            problems.add(at, error.message.removeprefix(f"models[{group!r}]: ").removeprefix("models: "))


def _members(form: GroupForm, at: str) -> tuple[Sequence[GroupEntry], str]:
    """Return the members of a group, and their path."""
    return (form.members, below(at, "members")) if isinstance(form, ModelGroup) else (form, at)


def _unknown(provider: str, providers: Collection[str], *, at: str, problems: Problems) -> None:
    alike = near(provider, providers)
    hint = f"did you mean {alike}?" if alike else f"there are: {listed(sorted(providers))}"
    problems.add(at, f"this file has no provider {provider!r}; {hint}", kind=UnknownProviderError)


def check_provider_name(name: str, *, at: str, problems: Problems) -> bool:
    """Return whether a name is valid for a provider, and report it if not: calls use `provider/model`."""
    if name and name.isprintable() and not any(c in name for c in "/ "):
        return True
    problems.add(at, "a provider's name is printable, without blank and '/'; calls write provider/model")
    return False


def _no_key(row: Provider, keyless: str) -> str:
    variable = row.key_variables[0] if row.key_variables else "NAME"
    # A provider without variables is one of the file's own, which may need no key.
    other = "" if row.key_variables else f", or {keyless} if it wants none"
    return f'{row.name} has no key; add keys with a value, "env.{variable}" say{other}'
