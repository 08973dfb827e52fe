"""The gateway's keys: values, references, lists of models, aliases, and what stands in them about the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.settings.environment import variable_of
from bifrost.settings.keys import UNSENT, check_names_differ, default_name, make_key
from bifrost.settings.original.form import Alias, KeyBlock, KeyTable, Reference, is_block
from bifrost.settings.problems import below, element

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.account import Key
    from bifrost.settings.reading import Reading
    from bifrost.settings.shape import Reader
    from bifrost.wire.auth import Secret

_WORDS: Mapping[str, str] = {"deny": "blacklisted_models"}


def read_keys(
    given: list[Any],
    *,
    provider: str,
    keyless: bool,
    empty_means_all: bool,
    at: str,
    reader: Reader,
    reading: Reading,
) -> tuple[list[Key], list[tuple[str, str]]]:
    """Give a provider's keys, and the addresses that stand in them, with their paths."""
    keys: list[tuple[str, Key]] = []
    addresses: list[tuple[str, str]] = []
    for index, each in enumerate(given):
        here = element(at, index)
        before = len(reading.problems)
        table = reader.names(each, here)
        if len(reading.problems) > before:
            continue
        blocks = {name: value for name, value in table.items() if is_block(name)}
        deployments = _read_blocks(blocks, addresses, at=here, reader=reader, reading=reading)
        read = reader.table({name: value for name, value in table.items() if name not in blocks}, KeyTable, here)
        if read is None:
            continue
        fields = _fields(read, deployments, empty_means_all=empty_means_all, at=here, reading=reading)
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
    """Say whether one of the keys has a value, or names where it stands."""
    return any(isinstance(each, dict) and cast("dict[str, Any]", each).get("value") for each in given)


def plain(value: str | Reference | None, *, at: str, reading: Reading) -> str | None:
    """Give a value in its short form: itself, or `env.NAME`; `None`, with a problem, for a vault's."""
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


def _read_blocks(
    blocks: dict[str, Any], addresses: list[tuple[str, str]], *, at: str, reader: Reader, reading: Reading
) -> dict[str, str]:
    """Read what a key needs at one kind of provider; give the deployments, and add the addresses to `addresses`."""
    deployments: dict[str, str] = {}
    for name, value in blocks.items():
        here = below(at, name)
        block = None if value is None else reader.table(value, KeyBlock, here)
        if block is None:
            continue
        for field, each in (("url", block.url), ("endpoint", block.endpoint)):
            text = plain(each, at=below(here, field), reading=reading)
            if text and (address := reading.environment.text(text, at=below(here, field), problems=reading.problems)):
                addresses.append((below(here, field), address))
        if block.api_version:
            reading.note(below(here, "api_version"), "left out, the paths of version 1 need none")
        deployments.update(block.deployments or {})
    return deployments
