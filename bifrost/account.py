"""Where providers, keys and settings come from: the `Account` protocol and the two accounts that need nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs

from bifrost.config import ProviderConfig, check_base_url
from bifrost.errors import BifrostError, ConfigError, MissingKeyError, UnknownProviderError, near_matches
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys, is_surely_key
from bifrost.providers.base import Provider
from bifrost.providers.catalog import CATALOG
from bifrost.wire.auth import NoAuth, Secret, check_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from collections.abc import Set as AbstractSet

    from bifrost.context import CallContext

__all__ = ["Account", "EnvAccount", "Key", "LiveAccount", "Secret", "StaticAccount"]


@attrs.frozen(kw_only=True, init=False, eq=False, repr=False)
class Key(Frozen):
    """A credential of a provider, known by its name; its value shows nowhere.

    Args:
        name: What logs, errors and the attempt trail call it. Different from the names of the provider's other keys.
        value: The secret text, or a `Secret`.
        id: Another handle to pin it by; the name if not given.
        weight: Its share of the calls, on any scale. 0: only when no other key is left.
        models: The models it may be used for, as calls name them; an entry may end in `*`. `None`: all. `[]`: none.
        deny: Models it must not be used for, even if `models` has them.
        aliases: The provider's own name (or deployment) of a model, by the name that calls use, in whatever case.
        enabled: Whether it is used at all.
        settings: What only this provider needs, in a class of its dialect.

    Raises `InvalidKeyError` for a value that cannot stand in a header, `ConfigError` for anything else that is wrong.
    """

    name: str
    value: Secret
    id: str
    weight: float
    models: Sequence[str] | None = attrs.field(hash=False)
    deny: Sequence[str] = attrs.field(hash=False)
    aliases: Mapping[str, str] = attrs.field(hash=False)
    enabled: bool
    settings: Any = attrs.field(hash=False)

    @hides_keys
    def __init__(
        self,
        *,
        name: str,
        value: str | Secret,
        id: str | None = None,  # noqa: A002 - the word users know
        weight: float = 1.0,
        models: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        enabled: bool = True,
        settings: Any = None,
    ) -> None:
        try:
            secret = value if isinstance(value, Secret) else check_secret(value, name=name)
        finally:
            del value  # A traceback may print the locals of this frame.
        self.__attrs_init__(  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue] - attrs makes it
            name=name,
            value=secret,
            id=id or name,
            weight=weight,
            models=models,
            deny=deny,
            aliases=aliases or {},
            enabled=enabled,
            settings=settings,
        )
        _check_key(self)

    def __repr__(self) -> str:
        # It may be asked of a key that is just failing to be made, by whoever prints a traceback's locals.
        return f"Key({getattr(self, 'name', None)!r})"

    def allows(self, model: str) -> bool:
        """Say whether calls that name `model` may use this key, by its lists."""
        if any(_covers(entry, model) for entry in self.deny):
            return False
        return self.models is None or any(_covers(entry, model) for entry in self.models)

    def names(self, model: str) -> bool:
        """Say whether this key speaks of `model` in particular: in its list or its aliases, and not by `*` alone."""
        listed = any(entry != "*" and _covers(entry, model) for entry in self.models or ())
        return (listed or model.lower() in map(str.lower, self.aliases)) and self.allows(model)


class Account(Protocol):
    """What a client asks for its providers, keys and settings. Every method may be `async`."""

    def providers(self) -> Sequence[str | Provider] | Awaitable[Sequence[str | Provider]]:
        """Give the configured providers: names of the catalog, or rows of your own."""
        ...

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key] | Awaitable[Sequence[Key]]:
        """Give a provider's keys. Asked on every call, with that call's context (`None`: outside of a call).

        Give the same list object as long as nothing has changed: what is worked out from it is kept by its identity.
        """
        ...

    def config(self, provider: str) -> ProviderConfig | Awaitable[ProviderConfig]:
        """Give a provider's settings. Asked once, when the provider is first used."""
        ...


KeyEntry: TypeAlias = str | Secret | Key
"""A key as it is written: its value alone, or in full."""

KeyEntries: TypeAlias = "KeyEntry | Sequence[KeyEntry]"
"""One key or several."""

ConfigEntry: TypeAlias = "ProviderConfig | Callable[[ProviderConfig], ProviderConfig]"
"""A provider's settings, or a function that makes them of those that it has."""


class StaticAccount:
    """Providers and keys that are known beforehand.

    ```python
    StaticAccount(keys={"openai": "sk-...", "groq": [Key(name="main", value="gsk_..."), Key(name="spare", ...)]})
    ```

    A key that is given by its value alone is named after its provider: `openai`, or `openai-1`, `openai-2` in a list.
    A provider is configured when it stands in any of the three arguments. `providers` are rows of your own, in addition
    to the catalog's or instead of the catalog's row of that name.

    Raises `UnknownProviderError`, `MissingKeyError`, `InvalidKeyError` or `ConfigError` at once.
    """

    @hides_keys
    def __init__(
        self,
        *,
        keys: Mapping[str, KeyEntries] | None = None,
        configs: Mapping[str, ProviderConfig] | None = None,
        providers: Sequence[Provider] = (),
    ) -> None:
        _check_form(keys, configs)
        self._configs = dict(configs or {})
        self._rows = _own_rows(providers)
        self._keys: dict[str, list[Key]] = {}
        try:
            for provider in keys or {}:
                self._keys[provider] = _read_keys((keys or {})[provider], provider=provider)
        finally:
            del keys  # It may hold values as plain text, and a traceback may print the locals of this frame.
        for name in {**self._keys, **self._configs, **self._rows}:
            self._check(name)

    def providers(self) -> Sequence[str | Provider]:
        """Give the configured providers."""
        named = {**self._keys, **self._configs}
        return [*self._rows.values(), *(name for name in named if name not in self._rows)]

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
        """Give a provider's keys."""
        return self._keys.get(provider, _NO_KEYS)

    def config(self, provider: str) -> ProviderConfig:
        """Give a provider's settings."""
        return self._configs.get(provider) or ProviderConfig()

    def __repr__(self) -> str:
        return f"StaticAccount({', '.join(getattr(self, '_keys', ()))})"

    def _check(self, name: str) -> None:
        row = self._rows.get(name) or CATALOG.get(name)
        if row is None:
            raise unknown_provider(name, {**CATALOG, **self._rows})
        if name in self._configs:
            check_config(self._configs[name], provider=name, account=self)
        keys = self._keys.setdefault(name, [])
        check_keys(keys, provider=name, account=self)
        if not keys and not isinstance(row.auth, NoAuth):
            raise MissingKeyError(
                f"{name} has no key; give one in keys={{{name!r}: ...}} or take the provider out", provider=name
            )


class EnvAccount:
    """Providers whose key stands in the environment, in the variable that the vendor names.

    A provider has one key, named after its variable; its `..._BASE_URL` variable, if it has one, is its address. Names
    that other tools know (`TOGETHERAI_API_KEY`, `OPENAI_API_BASE`) are read where the vendor's own is not set. A
    provider that needs no key counts when that variable is set. The environment is read when the client first asks, and
    once. `environ` stands in for `os.environ`. `providers` are rows of your own, beside the catalog's or instead of the
    catalog's row of that name. They are configured in any case; the rows name the variables of key and address.
    """

    @hides_keys
    def __init__(self, environ: Mapping[str, str] | None = None, *, providers: Sequence[Provider] = ()) -> None:
        self._environ = environ
        self._rows = {**CATALOG, **_own_rows(providers)}
        self._keys: dict[str, list[Key]] = {}
        self._configured: list[str | Provider] | None = None

    def providers(self) -> Sequence[str | Provider]:
        """Give the providers that the environment configures."""
        if self._configured is None:
            own = [row for name, row in self._rows.items() if row is not CATALOG.get(name)]
            self._configured = [
                *own,
                *(name for name, row in CATALOG.items() if row is self._rows[name] and self._configures(row)),
            ]
        return self._configured

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
        """Give a provider's key. Raises `InvalidKeyError` for one that cannot stand in a header."""
        known = self._keys.get(provider)
        if known is None:
            row = self._rows.get(provider)
            variables = [name for name in _key_variables(row) if self._value(name)] if row else []
            known = [Key(name=name, value=self._value(name)) for name in variables[:1]]
            self._keys[provider] = known
        return known

    def config(self, provider: str) -> ProviderConfig:
        """Give a provider's settings. Raises `ConfigError` for an address that cannot be used."""
        variable = self.address_variable(provider)
        if variable is None:
            return ProviderConfig()
        address = self._value(variable)
        return ProviderConfig(base_url=check_base_url(address, where=f"the environment variable {variable}"))

    def address_variable(self, provider: str) -> str | None:
        """Return the environment variable that gives a provider's address, `None` if none does."""
        row = self._rows.get(provider)
        return next((name for name in _address_variables(row) if self._value(name)), None) if row else None

    def __repr__(self) -> str:
        return "EnvAccount()"

    def _configures(self, row: Provider) -> bool:
        needed = _key_variables(row) if not isinstance(row.auth, NoAuth) else _address_variables(row)
        return any(map(self._value, needed))

    def _value(self, variable: str) -> str:
        # Never a local of a longer-lived frame: a mapping that holds every secret of the process prints whole.
        return (os.environ if self._environ is None else self._environ).get(variable, "").strip()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Change(Frozen):
    """What is said of a provider in place of what the account says; `None`: nothing."""

    row: Provider | None = None
    keys: Sequence[Key] | None = None
    config: ProviderConfig | None = None
    removed: bool = False
    lasts: bool = True
    """The account itself has this provider, so that what is said here must be kept."""


class LiveAccount:
    """An account whose providers are added, changed and removed while a client uses it.

    A client makes one around the account that it was given; what is not changed here is asked of that one.
    """

    def __init__(self, account: Account, *, remembered: AbstractSet[str] = frozenset()) -> None:
        self.account = account
        """The account underneath."""
        self._changes: dict[str, Change] = {}
        self._remembered = remembered
        """The names of providers of which it matters that they were there once."""
        self._gone: set[str] = set()

    @property
    def gone(self) -> set[str]:
        """The names of the providers that were taken out, as far as they are remembered."""
        return self._gone | {name for name, change in self._changes.items() if change.removed}

    async def providers(self) -> Sequence[str | Provider]:
        """Give the configured providers."""
        rows = check_providers(await _given(self.account.providers()), account=self.account)
        rows |= {name: change.row for name, change in self._changes.items() if change.row is not None}
        return [row for name, row in rows.items() if not self._of(name).removed]

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key] | Awaitable[Sequence[Key]]:
        """Give a provider's keys."""
        keys = self._of(provider).keys if self._changes else None
        return self.account.keys(provider, call) if keys is None else keys

    def config(self, provider: str) -> ProviderConfig | Awaitable[ProviderConfig]:
        """Give a provider's settings."""
        config = self._of(provider).config
        return self.account.config(provider) if config is None else config

    async def added(
        self, provider: str | Provider, *, keys: KeyEntries | None, config: ProviderConfig | None
    ) -> Change:
        """Give the change that adds a provider. Raises `ConfigError`, or a kind of it, if that cannot be."""
        try:
            row, known = await self._look(provider)
            settings = await self._settings(row.name, config)
            if known:
                raise ConfigError(
                    f"{row.name} is configured already; change it with update_provider", provider=row.name
                )
            read = _NO_KEYS if keys is None else _read_keys(keys, provider=row.name)
        finally:
            del keys  # It may hold values as plain text, and a traceback may print the locals of this frame.
        _check_enough(read, row, account=self)
        return Change(row=row, keys=read, config=settings or ProviderConfig())

    async def updated(self, provider: str | Provider, *, keys: KeyEntries | None, config: ConfigEntry | None) -> Change:
        """Give the change that puts in what is given. Raises `ConfigError`, or a kind of it, if that cannot be."""
        try:
            row, known = await self._look(provider)
            if not known:
                raise ConfigError(f"{row.name} is not configured; add it with add_provider", provider=row.name)
            settings = await self._settings(row.name, config)
            read = None if keys is None else _read_keys(keys, provider=row.name)
        finally:
            del keys  # As above.
        if read is not None:
            _check_enough(read, row, account=self)
        before = self._of(row.name)
        return Change(
            row=before.row if isinstance(provider, str) else row,
            keys=before.keys if read is None else read,
            config=before.config if settings is None else settings,
        )

    async def removed(self, name: str) -> Change:
        """Give the change that takes a provider out. Raises `ConfigError` if there is none of this name."""
        known = check_providers(await self.providers(), account=self)
        if name not in known:
            raise ConfigError(f"{name!r} is not configured; there are: {', '.join(known) or 'none'}")
        below = check_providers(await _given(self.account.providers()), account=self.account)
        return Change(removed=True, lasts=name in below)

    def address_from(self, provider: str) -> str | None:
        """Return the environment variable that gives a provider's address, where the account knows and says so."""
        known = getattr(self.account, "address_variable", None)
        if known is None or self._of(provider).config is not None or self._of(provider).row is not None:
            return None
        return cast("str | None", known(provider))

    def take_over(self, other: LiveAccount) -> None:
        """Say of the providers what was said to another."""
        self._changes.update(other._changes)

    def put(self, name: str, change: Change) -> Change:
        """Make a change; gives what was said of the provider before, to be put back."""
        before, self._changes[name] = self._of(name), change
        return before

    def settle(self, name: str, change: Change) -> None:
        """Forget a provider that was added and is taken out: nothing is left to be said of it."""
        if change.removed and not change.lasts and self._changes.get(name) is change:
            del self._changes[name]
            if name in self._remembered:
                self._gone.add(name)

    def put_back(self, name: str, before: Change, *, change: Change) -> None:
        """Unmake a change, unless another has taken its place meanwhile."""
        if self._changes.get(name) is change:
            self._changes[name] = before

    def _of(self, name: str) -> Change:
        return self._changes.get(name, _NO_CHANGE)

    async def _look(self, provider: str | Provider) -> tuple[Provider, bool]:
        """Give a provider's row, and say whether the provider is configured."""
        known = check_providers(await self.providers(), account=self)
        row = known.get(provider) if isinstance(provider, str) else None
        if row is None:
            (row,) = check_providers([provider], account=self).values()
        return row, row.name in known

    async def _settings(self, provider: str, config: ConfigEntry | None) -> ProviderConfig | None:
        """Give the settings that are said, made of those that are there if a function is to make them."""
        if config is None:
            return None
        made: object = config
        if callable(config):
            made = config(check_config(await _given(self.config(provider)), provider=provider, account=self.account))
        if not isinstance(made, ProviderConfig):
            raise ConfigError(f"config= takes a ProviderConfig, not {_a(made)}", provider=provider)
        return made

    def __repr__(self) -> str:
        return repr(self.account)


_NO_CHANGE = Change()


def _own_rows(providers: Sequence[Provider]) -> dict[str, Provider]:
    for row in providers:
        if not isinstance(row, Provider):  # pyright: ignore[reportUnnecessaryIsInstance] - callers give anything
            raise ConfigError(f"providers has {_a(row)}; give Provider rows, and catalog names in keys")
    return {row.name: row for row in providers}


def _check_enough(keys: Sequence[Key], row: Provider, *, account: object) -> None:
    check_keys(keys, provider=row.name, account=account)
    if not keys and not isinstance(row.auth, NoAuth):
        raise MissingKeyError(f"{row.name} has no key; give one in keys=", provider=row.name)


async def _given(answer: Any) -> Any:
    return await answer if hasattr(answer, "__await__") else answer


# --- what an account answers, checked


def check_providers(answer: object, *, account: object) -> dict[str, Provider]:
    """Give the rows of an account's `providers()`, by name.

    Raises `UnknownProviderError` for a name that the catalog does not have, `ConfigError` for anything else.
    """
    rows: dict[str, Provider] = {}
    for entry in _sequence(answer, account=account, method="providers"):
        if isinstance(entry, Provider):
            rows[entry.name] = entry
        elif not isinstance(entry, str):
            raise ConfigError(
                f"{_kind(account)}.providers() gave {_a(entry)}; give names of the catalog or Provider values"
            )
        elif entry not in rows:
            if entry not in CATALOG:
                raise unknown_provider(entry, CATALOG)
            rows[entry] = CATALOG[entry]
    return rows


def check_keys(answer: object, *, provider: str, account: object) -> Sequence[Key]:
    """Give an account's `keys()` as they are, or raise `ConfigError` if they are not keys with different names."""
    keys = _sequence(answer, account=account, method="keys")
    names: set[str] = set()
    for key in keys:
        if not isinstance(key, Key):
            raise ConfigError(f"{_kind(account)}.keys({provider!r}) gave {_a(key)}; give Key values", provider=provider)
        if key.name in names:
            raise ConfigError(f"{provider} has two keys named {key.name!r}; give each its own name", provider=provider)
        names.add(key.name)
    return cast("Sequence[Key]", keys)  # Just checked; the same object, since callers go by its identity.


def check_config(answer: object, *, provider: str, account: object) -> ProviderConfig:
    """Give an account's `config()`, or raise `ConfigError` if it is something else."""
    if not isinstance(answer, ProviderConfig):
        raise ConfigError(
            f"{_kind(account)}.config({provider!r}) gave {_a(answer)}; give a ProviderConfig", provider=provider
        )
    return answer


def account_failed(error: Exception, *, account: object, method: str) -> BifrostError:
    """Make the error to raise, after the `except` block, when an account's method raised.

    An error of ours stays as it is; of any other only the type is told, since its text may hold a secret.
    """
    if isinstance(error, BifrostError):
        return error
    return ConfigError(f"{_kind(account)}.{method}() failed with {type(error).__name__}; look at the account's own log")


def unknown_provider(name: str, known: Iterable[str]) -> UnknownProviderError:
    """Make the error for a name that no provider has; it names those that look alike."""
    names = sorted(known)
    alike = near(name, names)
    hint = f"did you mean {alike}?" if alike else f"known providers: {', '.join(names)}"
    return UnknownProviderError(f"there is no provider named {name!r}; {hint}")


def near(name: str, names: Iterable[str]) -> str:
    """Give the names that look like `name`, as text for a message; empty if none does."""
    by_lower = {known.lower(): known for known in names}
    return " or ".join(repr(by_lower[match]) for match in near_matches(name.lower(), by_lower))


def check_weight(weight: object, *, where: str) -> None:
    """Raise `ConfigError` unless a weight is a finite number of 0 or more. `where` says whose weight it is."""
    # A bool is an int, and no weight.
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= sys.float_info.max:
        raise ConfigError(f"the weight of {where} must be a number of 0 or more, not {weight!r}")


def how_to_set(provider: Provider) -> str:
    """Say how to configure a provider."""
    if isinstance(provider.auth, NoAuth):
        address = provider.base_url_variable
        return f"set {address} to its address, or name it in the account" if address else "name it in the account"
    variables = " or ".join(provider.key_variables)
    return f"set {variables}, or give a key to the account" if variables else "give a key to the account"


def _key_variables(row: Provider) -> tuple[str, ...]:
    return row.key_variables + row.other_key_variables


def _address_variables(row: Provider) -> tuple[str, ...]:
    return (*((row.base_url_variable,) if row.base_url_variable else ()), *row.other_base_url_variables)


_NO_KEYS: Sequence[Key] = ()


def _check_form(keys: object, configs: object) -> None:
    for what, given in (("keys", keys), ("configs", configs)):
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"{what} is a dict with the names of providers, {{'openai': ...}}, not {_a(given)}")
        for name in cast("Mapping[object, object]", given or {}):
            if isinstance(name, str) and is_surely_key(name):
                raise ConfigError(
                    f"{what}: what should be a provider's name looks like a key; write {{'openai': 'sk-...'}}"
                )


def _check_key(key: Key) -> None:
    where = f"key {key.name!r}"
    name: Any = key.name  # callers give anything
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigError(f"{where}: a key's name must be printable text; logs and errors show it")
    if is_surely_key(name) or is_surely_key(str(key.id)):
        raise ConfigError("a key's name and id are shown in logs and errors, and this one looks like a key's value")
    check_weight(key.weight, where=where)
    for field, entries in (("models", key.models or ()), ("deny", key.deny)):
        if isinstance(entries, str):
            raise ConfigError(f"{where}: {field} is a list of model names, not one string")
        for entry in entries:
            if not _is_name(entry) or "*" in entry[:-1]:
                raise ConfigError(f"{where}: {entry!r} in {field} is no model name; a '*' may stand at its end only")
    _check_aliases(key, where=where)


def _check_aliases(key: Key, *, where: str) -> None:
    if not isinstance(key.aliases, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers give anything
        raise ConfigError(f"{where}: aliases is a mapping from the name that calls use to the provider's own")
    seen: set[str] = set()
    for alias, model in key.aliases.items():
        if not _is_name(alias) or not _is_name(model):
            raise ConfigError(f"{where}: the alias {alias!r}: {model!r} is empty or has blanks around it")
        if alias.lower() in seen:
            raise ConfigError(f"{where}: the alias {alias!r} is given twice in different case")
        if not key.allows(alias):
            raise ConfigError(f"{where}: its models and deny lists keep the alias {alias!r} from ever being used")
        seen.add(alias.lower())


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name == name.strip()


def _covers(entry: str, model: str) -> bool:
    return entry == model or (entry.endswith("*") and model.startswith(entry[:-1]))


def _read_keys(entry: KeyEntries, *, provider: str) -> list[Key]:
    try:
        if isinstance(entry, str | Secret | Key):
            return [_read_key(entry, name=provider)]
        if not isinstance(entry, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - callers give anything
            raise ConfigError(f"keys[{provider!r}] is {_a(entry)}; give a key's value, a Key, or a list of them")
        return [_read_key(entry[place], name=f"{provider}-{place + 1}") for place in range(len(entry))]
    finally:
        del entry  # As above.


def _read_key(entry: KeyEntry, *, name: str) -> Key:
    try:
        return entry if isinstance(entry, Key) else Key(name=name, value=entry)
    finally:
        del entry


def _sequence(answer: object, *, account: object, method: str) -> Sequence[object]:
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise ConfigError(f"{_kind(account)}.{method}() gave {_a(answer)}; give a list")
    return cast("Sequence[object]", answer)  # The elements are the caller's to check.


def _kind(thing: object) -> str:
    return type(thing).__name__


def _a(thing: object) -> str:
    kind = _kind(thing)
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
