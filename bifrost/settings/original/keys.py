"""The gateway's keys: values, references, lists of models, aliases, and settings of the provider in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.settings.environment import variable_of
from bifrost.settings.keys import UNSENT, check_names_differ, default_name, make_key
from bifrost.settings.original.form import Alias, KeyBlock, KeyTable, Reference, is_block
from bifrost.settings.problems import below, element
from bifrost.settings.shape import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.account import Key
    from bifrost.settings.reading import Reading
    from bifrost.settings.shape import Reader
    from bifrost.wire.secrets import Secret

_WORDS: Mapping[str, str] = {"deny": "blacklisted_models"}


def read_keys(
    given: list[Any],
    *,
    provider: str,
    settings: type[Any] | None,
    keyless: bool,
    empty_means_all: bool,
    at: str,
    reader: Reader,
    reading: Reading,
) -> tuple[list[Key], list[tuple[str, str]]]:
    """Return a provider's keys, and the addresses in them that are the provider's, with their paths.

    `settings` is the class of the settings of a key, for a provider whose keys have some: each may name its address.
    """
    keys: list[tuple[str, Key]] = []
    addresses: list[tuple[str, str]] = []
    for index, each in enumerate(given):
        here = element(at, index)
        before = len(reading.problems)
        table = reader.names(each, here)
        if len(reading.problems) > before:
            continue
        blocks = {name: value for name, value in table.items() if is_block(name)}
        found = _Blocks(addresses=addresses, settings=settings)
        for block, value in blocks.items():
            found.read(value, at=below(here, block), reader=reader, reading=reading)
        read = reader.table({name: value for name, value in table.items() if name not in blocks}, KeyTable, here)
        if read is None:
            continue
        fields = _fields(read, found.deployments, empty_means_all=empty_means_all, at=here, reading=reading)
        if found.made is not None:
            fields["settings"] = found.made
        name = read.name or default_name(provider, index)
        value = plain(read.value, at=below(here, "value"), reading=reading)
        if read.enabled is False and _is_unset(value, reading):
            reading.note(here, "left out, since it is switched off and its variable is not set")
            continue
        secret = _secret(value, name=name, provider=provider, keyless=keyless, at=below(here, "value"), reading=reading)
        key = make_key(secret, name=name, fields=fields, at=here, problems=reading.problems, words=_WORDS)
        if key is not None:
            keys.append((here, key))
    check_names_differ(keys, problems=reading.problems)
    if any(isinstance(each, dict) and cast("dict[str, Any]", each).get("use_for_batch_api") for each in given):
        reading.note(at, "use_for_batch_api is left out, there are no batches")
    return [key for _, key in keys], addresses


def has_value(given: list[Any]) -> bool:
    """Return whether one of the keys has a value or a reference to one."""
    return any(isinstance(each, dict) and cast("dict[str, Any]", each).get("value") for each in given)


def plain(value: str | Reference | None, *, at: str, reading: Reading) -> str | None:
    """Return a value in its short form, itself or `env.NAME`. `None`, with a problem, for a vault's."""
    if isinstance(value, Reference):
        named = value.env_var or value.ref or value.value or ""
        if value.type == "env" or value.from_env:
            return f"env.{named.removeprefix('env.')}"
        value = f"vault.{named}" if value.type == "vault" else value.value
    if value is not None and value.startswith("vault."):
        reading.problems.add(at, "a vault cannot be asked from here; put the value into the environment: env.NAME")
        return None
    return value


def _is_unset(value: str | None, reading: Reading) -> bool:
    variable = variable_of(value) if value else None
    return variable is not None and not reading.environment.get(variable)


def _secret(value: str | None, *, name: str, provider: str, keyless: bool, at: str, reading: Reading) -> Secret | None:
    if keyless:
        if value:
            reading.note(at, f"left out, {provider} takes no key")
        return UNSENT
    return reading.environment.secret(value or "", at=at, provider=provider, key=name, problems=reading.problems)


def _fields(
    key: KeyTable, deployments: dict[str, str], *, empty_means_all: bool, at: str, reading: Reading
) -> dict[str, Any]:
    models = key.models
    if models is not None and ("*" in models or (not models and empty_means_all)):
        models = None
    fields = {
        "id": key.id or None,
        "weight": key.weight,
        "models": models,
        "deny": key.blacklisted_models,
        "aliases": _aliases(key.aliases or {}, deployments, at=at, reading=reading),
        "enabled": key.enabled,
    }
    return {field: each for field, each in fields.items() if each is not None}


def _aliases(
    aliases: dict[str, str | Alias], deployments: dict[str, str], *, at: str, reading: Reading
) -> dict[str, str]:
    names = {name: alias.model_id if isinstance(alias, Alias) else alias for name, alias in aliases.items()}
    for name, deployment in deployments.items():
        if names.setdefault(name, deployment) != deployment:
            complaint = "the key's deployments have another name for this model; keep one"
            reading.problems.add(below(below(at, "aliases"), name), complaint)
    return names


class _Blocks:
    """The settings in the blocks of one key: deployments, the provider's address, or settings of the key."""

    def __init__(self, *, addresses: list[tuple[str, str]], settings: type[Any] | None) -> None:
        self.deployments: dict[str, str] = {}
        self.made: Any = None
        """The settings of the key."""
        self._addresses = addresses
        self._settings = settings

    def read(self, value: object, *, at: str, reader: Reader, reading: Reading) -> None:
        """Read the settings of a key for one kind of provider."""
        block = None if value is None else reader.table(value, KeyBlock, at)
        if block is None:
            return
        address = ""
        for field, each in (("url", block.url), ("endpoint", block.endpoint)):
            found = _setting(each, below(at, field), reading)
            if found and self._settings is None:
                self._addresses.append((below(at, field), found))
            address = found or address
        version_at = below(at, "api_version")
        version = _setting(block.api_version, version_at, reading)
        if self._settings is not None:
            self._make({"endpoint": address, "api_version": version}, at, reader)
        elif version:
            reading.note(version_at, "left out, this provider's paths have no version")
        self.deployments.update(block.deployments or {})

    def _make(self, fields: dict[str, str | None], at: str, reader: Reader) -> None:
        known = fields_of(self._settings) if self._settings is not None else {}
        said = {name: each for name, each in fields.items() if each and name in known}
        if said and self._settings is not None:
            self.made = reader.table(said, self._settings, at)


def _setting(value: str | Reference | None, at: str, reading: Reading) -> str | None:
    """Return a setting's text, from the variable if it names one."""
    text = plain(value, at=at, reading=reading)
    return reading.environment.text(text, at=at, problems=reading.problems) if text else None
