"""Creates a provider's keys from their settings in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.account import Key
from bifrost.config import check_base_url
from bifrost.errors import ConfigError
from bifrost.settings.problems import below
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.config import ProviderConfig
    from bifrost.providers.base import Provider
    from bifrost.settings.problems import Problems

UNSENT = Secret("unsent")
"""The value of a key of a provider without keys. Such a key exists for its models and aliases."""


def default_name(provider: str, index: int | None) -> str:
    """Return the default name of a key, as `StaticAccount` does: `openai`, or `openai-1`, `openai-2` in a list."""
    return provider if index is None else f"{provider}-{index + 1}"


def make_key(
    value: Secret | None,
    *,
    name: str,
    fields: Mapping[str, Any],
    at: str,
    problems: Problems,
    words: Mapping[str, str] | None = None,
) -> Key | None:
    """Return a key; `None`, with a problem unless only the value is missing, if it is invalid.

    `fields` are the arguments of `Key` in the file; `words` are the file's names for those that it calls differently.
    """
    before = len(problems)
    for field, each in (("name", name), *fields.items()):
        try:
            arguments: dict[str, Any] = {"name": "key", "value": UNSENT, field: each}
            Key(**arguments)
        except ConfigError as error:
            problems.add(below(at, (words or {}).get(field, field)), _without_subject(error.message))
    if len(problems) > before or value is None:
        return None
    try:
        return Key(name=name, value=value, **fields)
    except ConfigError as error:
        problems.add(at, error.message)
        return None


def check_addresses(
    keys: Sequence[Key], row: Provider, config: ProviderConfig, *, at: str, hint: str, problems: Problems
) -> None:
    """Add a problem for a key that has no address, or one that cannot be used. `hint` says where to write one."""
    own = config.base_url or row.base_url
    urls = {key.name: row.address_of(key.settings, own) for key in keys} if row.address_of else {}
    if not own and not (urls and all(urls.values())):
        each = ", or an address in the settings of each key" if row.address_of else ""
        problems.add(at, f"{row.name} has no address of its own; {hint}{each}")
    for name in [name for name, url in urls.items() if url]:
        try:
            check_base_url(urls[name], where=f"key {name!r}", allow_insecure_http=config.allow_insecure_http)
        except ConfigError as error:
            problems.add(at, error.message)


def check_names_differ(keys: Sequence[tuple[str, Key]], *, problems: Problems) -> None:
    """Report each key with the same name as an earlier one. The keys are given with their paths."""
    taken: dict[str, str] = {}
    for at, key in keys:
        other = taken.setdefault(key.name, at)
        if other != at:
            problems.add(below(at, "name"), f"{key.name!r} is the name of {other} too; give each key its own")


def _without_subject(complaint: str) -> str:
    return complaint.removeprefix("key 'key': ").replace("the weight of key 'key'", "the weight")
