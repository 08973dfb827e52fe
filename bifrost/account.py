"""Accounts: the source of providers, keys and settings. The `Account` protocol, and its implementations."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs

from bifrost.config import ProviderConfig, check_base_url
from bifrost.credentials.base import Credentials, TokenSource, check_credentials
from bifrost.errors import BifrostError, ConfigError, MissingKeyError, UnknownProviderError, near_matches
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys, is_surely_key
from bifrost.operations.other_libraries import explains_arguments
from bifrost.providers.base import Provider
from bifrost.providers.catalog import CATALOG
from bifrost.wire.auth import NoAuth
from bifrost.wire.secrets import Secret, check_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from collections.abc import Set as AbstractSet

    from bifrost.context import CallContext

__all__ = ["Account", "EnvAccount", "Key", "LiveAccount", "Secret", "StaticAccount"]


@attrs.frozen(kw_only=True, init=False, eq=False, repr=False)
class Key(Frozen):
    """A key of a provider, identified by its name. Its value is never shown.

        Key(name="main", value=os.environ["OPENAI_API_KEY"], weight=2, models=["gpt-4o*"])
        Key(name="entra", credentials=EntraCredentials())

    It has either a value or credentials. Raises `InvalidKeyError` for a value that cannot be sent in a header, and
    `ConfigError` for other invalid arguments.
    """

    name: str
    """The name in logs, errors and attempt records. It must differ from those of the provider's other keys."""

    value: Secret | None
    """The key. A `str` is converted to a `Secret`. `None`: `credentials` returns what is sent."""

    id: str
    """Another identifier, for `key=`. Default: the name."""

    weight: float
    """Its share of the calls, relative to the other keys. 0: it is used only when no other key is left. Default: 1."""

    models: Sequence[str] | None = attrs.field(hash=False)
    """The models that it may be used for, as calls name them; an entry may end in `*`. `None` (default): all models.
    `[]`: none.
    """

    deny: Sequence[str] = attrs.field(hash=False)
    """Models that it must not be used for, even if `models` contains them. Default: none."""

    aliases: Mapping[str, str] = attrs.field(hash=False)
    """The provider's own name (or deployment) of a model, by the name in calls, regardless of case. Default: none."""

    enabled: bool
    """Whether it is used at all. Default: `True`."""

    settings: Any = attrs.field(hash=False)
    """Settings that only this provider needs, of a class of its dialect. `None`: none."""

    credentials: Credentials | None = attrs.field(hash=False)
    """The source of tokens that expire, in place of a value: an object with `fetch` or a function. Default: none."""

    @hides_keys
    def __init__(
        self,
        *,
        name: str,
        value: str | Secret | None = None,
        id: str | None = None,  # noqa: A002 - the word users know
        weight: float = 1.0,
        models: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        enabled: bool = True,
        settings: Any = None,
        credentials: Credentials | None = None,
    ) -> None:
        try:
            if credentials is not None and value is not None:
                raise ConfigError(f"key {name!r} has a value and credentials; give one of them")
            secret = value if isinstance(value, Secret) else None
            if secret is None and credentials is None:
                secret = check_secret(cast("Any", value), name=name)
        finally:
            del value  # A traceback may print the local variables of this frame.
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
            credentials=credentials,
        )
        _check_key(self)

    def __repr__(self) -> str:
        # A traceback with local variables may call it for a key whose construction has failed.
        return f"Key({getattr(self, 'name', None)!r})"

    def allows(self, model: str) -> bool:
        """Return whether calls to `model` may use this key, according to its lists."""
        if any(_covers(entry, model) for entry in self.deny):
            return False
        return self.models is None or any(_covers(entry, model) for entry in self.models)

    def names(self, model: str) -> bool:
        """Return whether this key names `model`: in its list (not by `*` alone) or in its aliases."""
        listed = any(entry != "*" and _covers(entry, model) for entry in self.models or ())
        return (listed or model.lower() in map(str.lower, self.aliases)) and self.allows(model)


class Account(Protocol):
    """The source of a client's providers, keys and settings. Every method may be `async`."""

    def providers(self) -> Sequence[str | Provider] | Awaitable[Sequence[str | Provider]]:
        """Return the configured providers: names of the catalog, or `Provider` values of your own."""
        ...

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key] | Awaitable[Sequence[Key]]:
        """Return a provider's keys. It is called for every call, with the call's context (`None`: outside of a call).

        Return the same list object as long as nothing has changed, because results that depend on it are cached by its
        identity.
        """
        ...

    def config(self, provider: str) -> ProviderConfig | Awaitable[ProviderConfig]:
        """Return a provider's settings. It is called once, when the provider is first used."""
        ...


KeyEntry: TypeAlias = str | Secret | Key | TokenSource
"""A key: its value only, the source of its tokens only, or with all settings."""

KeyEntries: TypeAlias = "KeyEntry | Sequence[KeyEntry]"
"""One key or several."""

ConfigEntry: TypeAlias = "ProviderConfig | Callable[[ProviderConfig], ProviderConfig]"
"""A provider's settings, or a function that returns new ones from the current ones."""


class StaticAccount:
    """Providers and keys that are known in advance.

        StaticAccount(
            keys={"openai": "sk-...", "groq": [Key(name="main", value="gsk_..."), Key(name="spare", value="gsk_...")]}
        )

    A key without a name is named after its provider: `openai`, or `openai-1`, `openai-2` in a list. A provider is
    configured if any of the three arguments contains it. `providers` are `Provider` values of your own, in addition to
    the catalog's or instead of one of the same name.

    Raises `UnknownProviderError`, `MissingKeyError`, `InvalidKeyError` or `ConfigError` at once.
    """

    @hides_keys
    @explains_arguments
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
        """Return the configured providers."""
        named = {**self._keys, **self._configs}
        return [*self._rows.values(), *(name for name in named if name not in self._rows)]

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
        """Return a provider's keys."""
        return self._keys.get(provider, _NO_KEYS)

    def config(self, provider: str) -> ProviderConfig:
        """Return a provider's settings."""
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
                f"{name} has no key; set one in keys={{{name!r}: ...}} or remove the provider", provider=name
            )


class EnvAccount:
    """Providers whose keys are in environment variables with the vendors' names.

    A provider has one key, named after its variable. Its `..._BASE_URL` variable, if it has one, is its address.
    Variables of other tools (`TOGETHERAI_API_KEY`, `OPENAI_API_BASE`) are read if the vendor's own is not set. A key
    may consist of several variables (`AWS_ACCESS_KEY_ID`, ...), and have settings (`AWS_REGION`). A provider without
    keys is configured if its address variable is set. The environment is read once, when the client first uses the
    account.

    Args:
        environ: The variables. `None`: `os.environ`.
        providers: `Provider` values of your own, in addition to the catalog's or instead of one of the same name. They
            are always configured, and name the variables of their keys and addresses.
    """

    @hides_keys
    def __init__(self, environ: Mapping[str, str] | None = None, *, providers: Sequence[Provider] = ()) -> None:
        self._environ = environ
        self._rows = {**CATALOG, **_own_rows(providers)}
        self._keys: dict[str, list[Key]] = {}
        self._configured: list[str | Provider] | None = None

    def providers(self) -> Sequence[str | Provider]:
        """Return the providers that the environment configures."""
        if self._configured is None:
            own = [row for name, row in self._rows.items() if row is not CATALOG.get(name)]
            self._configured = [
                *own,
                *(name for name, row in CATALOG.items() if row is self._rows[name] and self._configures(row)),
            ]
        return self._configured

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
        """Return a provider's key. Raises `InvalidKeyError` for one that cannot be sent in a header."""
        known = self._keys.get(provider)
        if known is None:
            row = self._rows.get(provider)
            known = self._keys[provider] = [] if row is None else self._keys_of(row)
        return known

    def config(self, provider: str) -> ProviderConfig:
        """Return a provider's settings. Raises `ConfigError` for an address that cannot be used."""
        variable = self.address_variable(provider)
        if variable is None:
            return ProviderConfig()
        address = self._value(variable)
        return ProviderConfig(base_url=check_base_url(address, where=f"the environment variable {variable}"))

    def address_variable(self, provider: str) -> str | None:
        """Return the environment variable that sets a provider's address; `None` if there is none."""
        row = self._rows.get(provider)
        return next((name for name in _address_variables(row) if self._value(name)), None) if row else None

    def __repr__(self) -> str:
        return "EnvAccount()"

    def _keys_of(self, row: Provider) -> list[Key]:
        name = next(filter(self._value, _key_variables(row)), None)
        if name is not None:
            return [Key(name=name, value=self._value(name), settings=self._settings_of(row))]
        if not self._has_joined_key(row):
            return []
        names = row.joined_key_variables
        return [Key(name=names[0], value=self._joined(names), settings=self._settings_of(row))]

    def _has_joined_key(self, row: Provider) -> bool:
        return bool(row.joined_key_variables) and all(map(self._value, row.joined_key_variables[:2]))

    def _joined(self, names: Sequence[str]) -> str:
        return ":".join(filter(None, map(self._value, names)))

    def _settings_of(self, row: Provider) -> Any:
        """Return the settings of the environment's key; `None` if no variable sets one."""
        found = {
            field: self._value(name)
            for field, names in row.settings_variables.items()
            if (name := next(filter(self._value, names), None)) is not None
        }
        return row.key_settings(**found) if found and row.key_settings is not None else None

    def _configures(self, row: Provider) -> bool:
        if isinstance(row.auth, NoAuth):
            return any(map(self._value, _address_variables(row)))
        return any(map(self._value, _key_variables(row))) or self._has_joined_key(row)

    def _value(self, variable: str) -> str:
        # It is never stored in a local variable of a long-lived frame, where a traceback would print all secrets of the
        # process.
        return (os.environ if self._environ is None else self._environ).get(variable, "").strip()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Change(Frozen):
    """A change of a provider that overrides the account. `None` means that the account's value applies."""

    row: Provider | None = None
    """The provider."""

    keys: Sequence[Key] | None = None
    """Its keys."""

    config: ProviderConfig | None = None
    """Its settings."""

    removed: bool = False
    """Whether it was removed."""

    lasts: bool = True
    """Whether the account itself has this provider, so that the change must be kept."""


class LiveAccount:
    """An account whose providers can be added, changed and removed while a client uses it.

    A client wraps its account in one. What is not changed is read from the wrapped account.
    """

    def __init__(self, account: Account, *, remembered: AbstractSet[str] = frozenset()) -> None:
        self.account = account
        """The wrapped account."""
        self._changes: dict[str, Change] = {}
        self._remembered = remembered
        """Names of providers whose removal must be remembered."""
        self._gone: set[str] = set()

    @property
    def gone(self) -> set[str]:
        """The names of the providers that were removed, if they are remembered."""
        return self._gone | {name for name, change in self._changes.items() if change.removed}

    async def providers(self) -> Sequence[str | Provider]:
        """Return the configured providers."""
        rows = check_providers(await _awaited(self.account.providers()), account=self.account)
        rows |= {name: change.row for name, change in self._changes.items() if change.row is not None}
        return [row for name, row in rows.items() if not self._of(name).removed]

    def keys(self, provider: str, call: CallContext | None) -> Sequence[Key] | Awaitable[Sequence[Key]]:
        """Return a provider's keys."""
        keys = self._of(provider).keys if self._changes else None
        return self.account.keys(provider, call) if keys is None else keys

    def config(self, provider: str) -> ProviderConfig | Awaitable[ProviderConfig]:
        """Return a provider's settings."""
        config = self._of(provider).config
        return self.account.config(provider) if config is None else config

    async def added(
        self, provider: str | Provider, *, keys: KeyEntries | None, config: ProviderConfig | None
    ) -> Change:
        """Return the change that adds a provider. Raises `ConfigError` or a subclass if it is invalid."""
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
        """Return the change that sets new values. Raises `ConfigError` or a subclass if it is invalid."""
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
        """Return the change that removes a provider. Raises `ConfigError` if there is none of this name."""
        known = check_providers(await self.providers(), account=self)
        if name not in known:
            raise ConfigError(f"{name!r} is not configured; there are: {', '.join(known) or 'none'}")
        below = check_providers(await _awaited(self.account.providers()), account=self.account)
        return Change(removed=True, lasts=name in below)

    def address_from(self, provider: str) -> str | None:
        """Return the environment variable that sets a provider's address; `None` if the account does not say."""
        known = getattr(self.account, "address_variable", None)
        if known is None or self._of(provider).config is not None or self._of(provider).row is not None:
            return None
        return cast("str | None", known(provider))

    def take_over(self, other: LiveAccount) -> None:
        """Copy the changes of another account."""
        self._changes.update(other._changes)

    def put(self, name: str, change: Change) -> Change:
        """Apply a change. Returns the previous one, for `put_back`."""
        before, self._changes[name] = self._of(name), change
        return before

    def settle(self, name: str, change: Change) -> None:
        """Discard the changes of a provider that was added and removed again."""
        if change.removed and not change.lasts and self._changes.get(name) is change:
            del self._changes[name]
            if name in self._remembered:
                self._gone.add(name)

    def put_back(self, name: str, before: Change, *, change: Change) -> None:
        """Revert a change, unless another one has replaced it."""
        if self._changes.get(name) is change:
            self._changes[name] = before

    def _of(self, name: str) -> Change:
        return self._changes.get(name, _NO_CHANGE)

    async def _look(self, provider: str | Provider) -> tuple[Provider, bool]:
        """Return a provider, and whether it is configured."""
        known = check_providers(await self.providers(), account=self)
        row = known.get(provider) if isinstance(provider, str) else None
        if row is None:
            (row,) = check_providers([provider], account=self).values()
        return row, row.name in known

    async def _settings(self, provider: str, config: ConfigEntry | None) -> ProviderConfig | None:
        """Return the new settings; a function is called with the current ones."""
        if config is None:
            return None
        made: object = config
        if callable(config):
            made = config(check_config(await _awaited(self.config(provider)), provider=provider, account=self.account))
        if not isinstance(made, ProviderConfig):
            raise ConfigError(f"config= takes a ProviderConfig, not {_a(made)}", provider=provider)
        return made

    def __repr__(self) -> str:
        return repr(self.account)


_NO_CHANGE = Change()


def _own_rows(providers: Sequence[Provider]) -> dict[str, Provider]:
    for row in providers:
        if not isinstance(row, Provider):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may pass any type
            raise ConfigError(
                f"providers contains {_a(row)}; it takes Provider values, and keys takes names of the catalog"
            )
    return {row.name: row for row in providers}


def _check_enough(keys: Sequence[Key], row: Provider, *, account: object) -> None:
    check_keys(keys, provider=row.name, account=account)
    if not keys and not isinstance(row.auth, NoAuth):
        raise MissingKeyError(f"{row.name} has no key; set one in keys=", provider=row.name)


async def _awaited(answer: Any) -> Any:
    return await answer if hasattr(answer, "__await__") else answer


# --- checks of what an account returns


def check_providers(answer: object, *, account: object) -> dict[str, Provider]:
    """Return the result of an account's `providers()` by name.

    Raises `UnknownProviderError` for a name that is not in the catalog, and `ConfigError` for other invalid values.
    """
    rows: dict[str, Provider] = {}
    for entry in _sequence(answer, account=account, method="providers"):
        if isinstance(entry, Provider):
            rows[entry.name] = entry
        elif not isinstance(entry, str):
            raise ConfigError(
                f"{_kind(account)}.providers() returned {_a(entry)}; return names of the catalog or Provider values"
            )
        elif entry not in rows:
            if entry not in CATALOG:
                raise unknown_provider(entry, CATALOG)
            rows[entry] = CATALOG[entry]
    return rows


def check_keys(answer: object, *, provider: str, account: object) -> Sequence[Key]:
    """Return the result of an account's `keys()`. Raises `ConfigError` unless they are keys with different names."""
    keys = _sequence(answer, account=account, method="keys")
    names: set[str] = set()
    for key in keys:
        if not isinstance(key, Key):
            raise ConfigError(
                f"{_kind(account)}.keys({provider!r}) returned {_a(key)}; return Key values", provider=provider
            )
        if key.name in names:
            raise ConfigError(f"{provider} has two keys named {key.name!r}; rename one of them", provider=provider)
        names.add(key.name)
    return cast("Sequence[Key]", keys)  # Just checked; the same object, since callers go by its identity.


def check_key_settings(keys: Sequence[Key], row: Provider) -> None:
    """Raise `ConfigError` for a key with settings if the keys of its provider have none."""
    if row.key_settings is not None or row.address_of is not None:
        return
    for key in keys:
        if key.settings is not None:
            own = "" if row.name in CATALOG else ", or set `key_settings` of the Provider to their class"
            raise ConfigError(
                f"key {key.name!r}: a key of {row.name} has no settings; remove them{own}",
                provider=row.name,
                key=key.name,
            )


def check_config(answer: object, *, provider: str, account: object) -> ProviderConfig:
    """Return the result of an account's `config()`. Raises `ConfigError` if it is not a `ProviderConfig`."""
    if not isinstance(answer, ProviderConfig):
        raise ConfigError(
            f"{_kind(account)}.config({provider!r}) returned {_a(answer)}; return a ProviderConfig", provider=provider
        )
    return answer


def account_failed(error: Exception, *, account: object, method: str) -> BifrostError:
    """Return the error for an account's method that has raised. Raise it after the `except` block.

    bifrost's own errors are returned unchanged. Of other errors only the type is shown, because the text may contain a
    secret.
    """
    if isinstance(error, BifrostError):
        return error
    return ConfigError(f"{_kind(account)}.{method}() failed with {type(error).__name__}; see the account's own log")


def unknown_provider(name: str, known: Iterable[str]) -> UnknownProviderError:
    """Return the error for an unknown provider, with similar names."""
    names = sorted(known)
    alike = near(name, names)
    hint = f"did you mean {alike}?" if alike else f"known providers: {', '.join(names)}"
    return UnknownProviderError(f"there is no provider named {name!r}; {hint}")


def near(name: str, names: Iterable[str]) -> str:
    """Return the names similar to `name`, as text for a message; empty if there are none."""
    by_lower = {known.lower(): known for known in names}
    return " or ".join(repr(by_lower[match]) for match in near_matches(name.lower(), by_lower))


def check_weight(weight: object, *, where: str) -> None:
    """Raise `ConfigError` unless a weight is a finite number of 0 or more. `where` says whose weight it is."""
    # A bool is an int, but not a weight.
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= sys.float_info.max:
        raise ConfigError(f"the weight of {where} must be a number of 0 or more, not {weight!r}")


def how_to_set(provider: Provider) -> str:
    """Return how to configure a provider, for a message."""
    if isinstance(provider.auth, NoAuth):
        address = provider.base_url_variable
        return f"set {address} to its address, or set it in the account" if address else "set it in the account"
    variables = " or ".join(provider.key_variables)
    if provider.joined_key_variables:
        variables += " or " * bool(variables) + " and ".join(provider.joined_key_variables[:2])
    if variables and provider.settings_variables and not provider.base_url:
        settings = " and ".join(names[0] for names in provider.settings_variables.values())
        return f"set {variables}, and {settings}, or add a key with settings to the account"
    if variables and provider.base_url_variable and not provider.base_url:
        return f"set {variables} and {provider.base_url_variable}, or add a key and the address to the account"
    return f"set {variables}, or add a key to the account" if variables else "add a key to the account"


def _key_variables(row: Provider) -> tuple[str, ...]:
    return row.key_variables + row.other_key_variables


def _address_variables(row: Provider) -> tuple[str, ...]:
    return (*((row.base_url_variable,) if row.base_url_variable else ()), *row.other_base_url_variables)


_NO_KEYS: Sequence[Key] = ()


def _check_form(keys: object, configs: object) -> None:
    for what, given in (("keys", keys), ("configs", configs)):
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"{what} must be a dict with the names of providers, {{'openai': ...}}, not {_a(given)}")
        for name in cast("Mapping[object, object]", given or {}):
            if isinstance(name, str) and is_surely_key(name):
                raise ConfigError(
                    f"{what}: what should be a provider's name looks like a key; write {{'openai': 'sk-...'}}"
                )


def _check_key(key: Key) -> None:
    where = f"key {key.name!r}"
    name: Any = key.name  # callers may pass any type
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigError(f"{where}: a key's name must be printable text; logs and errors show it")
    if is_surely_key(name) or is_surely_key(str(key.id)):
        raise ConfigError("a key's name and id are shown in logs and errors, and this one looks like a key's value")
    if key.credentials is not None:
        check_credentials(key.credentials, where=where)
    check_weight(key.weight, where=where)
    for field, entries in (("models", key.models or ()), ("deny", key.deny)):
        if isinstance(entries, str):
            raise ConfigError(f"{where}: {field} must be a list of model names, not a string")
        for entry in entries:
            if not _is_name(entry) or "*" in entry[:-1]:
                raise ConfigError(f"{where}: {entry!r} in {field} is not a model name; '*' is allowed at its end only")
    _check_aliases(key, where=where)


def _check_aliases(key: Key, *, where: str) -> None:
    if not isinstance(key.aliases, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may pass any type
        raise ConfigError(f"{where}: aliases must be a mapping from names in calls to the provider's own names")
    seen: set[str] = set()
    for alias, model in key.aliases.items():
        if not _is_name(alias) or not _is_name(model):
            raise ConfigError(f"{where}: the alias {alias!r}: {model!r} is empty or has surrounding spaces")
        if alias.lower() in seen:
            raise ConfigError(f"{where}: the alias {alias!r} occurs twice in different case")
        if not key.allows(alias):
            raise ConfigError(f"{where}: its models and deny lists prevent the use of the alias {alias!r}")
        seen.add(alias.lower())


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name == name.strip()


def _covers(entry: str, model: str) -> bool:
    return entry == model or (entry.endswith("*") and model.startswith(entry[:-1]))


def _read_keys(entry: KeyEntries, *, provider: str) -> list[Key]:
    try:
        if isinstance(entry, str | Secret | Key | TokenSource):
            return [_read_key(entry, name=provider)]
        if not isinstance(entry, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may pass any type
            raise ConfigError(f"keys[{provider!r}] is {_a(entry)}; it must be a key's value, a Key, or a list of them")
        return [_read_key(entry[place], name=f"{provider}-{place + 1}") for place in range(len(entry))]
    finally:
        del entry  # As above.


def _read_key(entry: KeyEntry, *, name: str) -> Key:
    try:
        if isinstance(entry, TokenSource):
            return Key(name=name, credentials=entry)
        return entry if isinstance(entry, Key) else Key(name=name, value=entry)
    finally:
        del entry


def _sequence(answer: object, *, account: object, method: str) -> Sequence[object]:
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise ConfigError(f"{_kind(account)}.{method}() returned {_a(answer)}; return a list")
    return cast("Sequence[object]", answer)  # The elements are the caller's to check.


def _kind(thing: object) -> str:
    return type(thing).__name__


def _a(thing: object) -> str:
    kind = _kind(thing)
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
