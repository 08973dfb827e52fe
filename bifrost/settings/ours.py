"""Converts a file in bifrost's own format to `Settings`."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, cast

import attrs

from bifrost.account import near, unknown_provider
from bifrost.config import CallOptions, ProviderConfig
from bifrost.errors import ConfigError, UnknownProviderError
from bifrost.providers.base import operations_of
from bifrost.providers.catalog import CATALOG
from bifrost.providers.custom import derive, endpoint_of, is_path
from bifrost.routing.plan import ModelGroup
from bifrost.settings.environment import variable_of
from bifrost.settings.form import NOT_THE_CLIENTS, AuthEntry, File, GroupTable, KeyEntry, ProviderEntry
from bifrost.settings.keys import UNSENT, check_addresses, check_names_differ, default_name, make_key
from bifrost.settings.problems import below, element, listed
from bifrost.settings.result import Entry, Settings, account_of, check_groups, check_names, check_provider_name
from bifrost.settings.shape import Reader
from bifrost.wire.auth import BEARER, NO_CREDENTIALS, HeaderAuth, NoAuth, QueryAuth
from bifrost.wire.auth.sigv4 import SigV4Auth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.account import EnvAccount, Key, StaticAccount
    from bifrost.providers.base import Provider
    from bifrost.routing.plan import GroupForm
    from bifrost.settings.environment import EnvName
    from bifrost.settings.reading import Reading
    from bifrost.wire.auth import Auth
    from bifrost.wire.secrets import Secret


_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PREFIX = re.compile(r"[\x20-\x7e]*")


def read_ours(document: dict[str, Any], reading: Reading) -> Settings | None:
    """Convert a document in bifrost's format. `None`, with at least one problem, if it is unusable."""
    return _OurForm(reading).read(document)


class _OurForm:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._environment = reading.environment
        self._problems = reading.problems
        self._reader = Reader(reading.problems)

    def read(self, document: dict[str, Any]) -> Settings | None:
        # A provider's table has the fields of two shapes; the providers are read one by one.
        head = copy.copy(document)
        providers = head.pop("providers", None)
        self._point_to_providers(head)
        file, options = self._reader.tables(head, (File, CallOptions), "", without=NOT_THE_CLIENTS)
        models = _groups(file)
        account: StaticAccount | EnvAccount | None
        if providers is None:
            account = self._environment.account()
            check_groups(models, problems=self._problems)
        else:
            tables = self._reader.names(providers, "providers")
            entries = self._providers(tables)
            account = account_of(entries, keyless='auth = "none"', problems=self._problems)
            fallbacks = options.fallbacks if options else ()
            check_names(models, fallbacks, entries, providers=[*tables], problems=self._problems)
        if self._problems or account is None:
            return None
        return Settings(account=account, models=models, options=options, notes=tuple(self._reading.notes))

    def _point_to_providers(self, head: dict[str, Any]) -> None:
        for name in [name for name in head if name in CATALOG]:
            self._problems.add("", f"{name} is a provider; write it as providers.{name}")
            del head[name]

    # --- a provider

    def _providers(self, tables: dict[str, Any]) -> list[Entry]:
        if not tables:
            self._problems.add("providers", "there is no provider; add one, or remove this to use the environment's")
        entries = [self._provider(name, table, below("providers", name)) for name, table in tables.items()]
        return [entry for entry in entries if entry is not None]

    def _provider(self, name: str, table: object, at: str) -> Entry | None:
        before = len(self._problems)
        entry: ProviderEntry | None
        config: ProviderConfig | None
        table = self._with_proxys_secret(self._with_address(table, at), name, at)
        entry, config = self._reader.tables(table, (ProviderEntry, ProviderConfig), at)
        row = None if entry is None else self._row(name, entry, at)
        if row is None or entry is None or config is None:
            return None
        if entry.keys is None and name in CATALOG:
            keys = self._vendors_keys(name, at)
        else:
            keys = self._keys(entry.keys or [], row=row, at=below(at, "keys"))
        if config.base_url is None and (entry.keys is None or not row.base_url):
            config = attrs.evolve(config, base_url=self._vendors_address(row, at))
        if len(self._problems) == before:
            variable = f", or set {row.base_url_variable}" if row.base_url_variable else ""
            check_addresses(keys, row, config, at=at, hint=f"add base_url{variable}", problems=self._problems)
        if len(self._problems) > before:
            return None
        return Entry(at=at, row=row, keys=keys, config=config)

    def _with_address(self, table: object, at: str) -> object:
        """Return the table with the address read from its variable."""
        if not isinstance(table, dict):
            return table
        address = cast("dict[str, Any]", table).get("base_url")
        if not isinstance(address, str):
            return cast("object", table)
        changed = copy.copy(cast("dict[str, Any]", table))
        changed["base_url"] = self._environment.text(address, at=below(at, "base_url"), problems=self._problems)
        return changed

    def _with_proxys_secret(self, table: object, provider: str, at: str) -> object:
        """Return the table with the proxy's credentials as a secret, and addresses read from their variables."""
        if not isinstance(table, dict):
            return table
        network = cast("dict[str, Any]", table).get("network")
        if not isinstance(network, dict):
            return cast("dict[str, Any]", table)
        at = below(at, "network")
        changed = copy.copy(cast("dict[str, Any]", network))
        for name in ("proxy", "ca", "client_certificate", "client_key"):
            if isinstance(changed.get(name), str):
                changed[name] = self._environment.text(changed[name], at=below(at, name), problems=self._problems)
        auth = changed.get("proxy_auth")
        if isinstance(auth, str):
            changed["proxy_auth"] = self._environment.secret(
                auth, at=below(at, "proxy_auth"), provider=provider, key="proxy_auth", problems=self._problems
            )
        whole = copy.copy(cast("dict[str, Any]", table))
        whole["network"] = changed
        return whole

    def _vendors_keys(self, provider: str, at: str) -> list[Key]:
        try:
            return list(self._environment.account().keys(provider, None))
        except ConfigError as error:
            self._problems.add(at, error.message, kind=type(error), provider=provider, key=error.key)
            return []

    def _vendors_address(self, row: Provider, at: str) -> str | None:
        """Return the address in the vendor's variable, if there is one."""
        try:
            return self._environment.account().config(row.name).base_url
        except ConfigError as error:
            self._problems.add(at, error.message, kind=type(error), provider=row.name)
            return None

    # --- a provider of the file's own

    def _row(self, name: str, entry: ProviderEntry, at: str) -> Provider | None:
        base = self._base(name, entry, at)
        if base is None:
            return None
        if entry == ProviderEntry(keys=entry.keys):
            return base
        auth = self._auth(entry.auth, below(at, "auth"))
        paths = self._paths(entry.paths or {}, base, below(at, "paths"))
        self._check_operations(entry.operations, base, below(at, "operations"))
        row = derive(base, name=name, auth=auth, paths=paths, operations=entry.operations)
        if entry.dialect is not None:
            return row
        return attrs.evolve(
            row,
            key_variables=base.key_variables,
            other_key_variables=base.other_key_variables,
            joined_key_variables=base.joined_key_variables,
            settings_variables=base.settings_variables,
            base_url_variable=base.base_url_variable,
            other_base_url_variables=base.other_base_url_variables,
        )

    def _base(self, name: str, entry: ProviderEntry, at: str) -> Provider | None:
        if not check_provider_name(name, at=at, problems=self._problems):
            return None
        if entry.dialect is None:
            if name not in CATALOG:
                hint = "for a provider of your own, add dialect = the built-in provider with its format"
                complaint = unknown_provider(name, CATALOG).message
                self._problems.add(at, f"{complaint} ({hint})", kind=UnknownProviderError, provider=name)
            return CATALOG.get(name)
        if name in CATALOG:
            self._problems.add(
                below(at, "dialect"), f"{name} is a built-in provider; remove dialect, or choose another name"
            )
            return None
        base = CATALOG.get(entry.dialect)
        if base is None:
            complaint = unknown_provider(entry.dialect, CATALOG).message
            self._problems.add(below(at, "dialect"), complaint, kind=UnknownProviderError, provider=name)
        return base

    def _auth(self, entry: str | AuthEntry | None, at: str) -> Auth | None:
        if not isinstance(entry, AuthEntry):
            return None if entry is None else _AUTHS[entry]
        if sum(each is not None for each in (entry.header, entry.query, entry.sigv4)) != 1:
            self._problems.add(at, "name one of header, query and sigv4")
            return None
        if entry.header is not None:
            return self._header(entry, entry.header, at)
        if entry.sigv4 is not None:
            return SigV4Auth(service=entry.sigv4, region=entry.region)
        try:
            return QueryAuth(parameter=entry.query or "")
        except ConfigError:
            self._problems.add(below(at, "query"), "this is not the name of a parameter; for example: key")
            return None

    def _header(self, entry: AuthEntry, name: str, at: str) -> Auth | None:
        if not _HEADER.fullmatch(name):
            self._problems.add(below(at, "header"), "this is not a header name; for example: x-api-key")
        if name.lower() in NO_CREDENTIALS:
            self._problems.add(below(at, "header"), "a key cannot be sent in this header, which has another purpose")
            return None
        if not _PREFIX.fullmatch(entry.prefix):
            self._problems.add(below(at, "prefix"), "a header must be printable ASCII")
        return HeaderAuth(header=name.lower(), prefix=entry.prefix)

    def _paths(self, paths: dict[str, str], base: Provider, at: str) -> dict[str, str]:
        known = operations_of(base)
        for operation, path in paths.items():
            self._check_operation(operation, known, base, below(at, operation))
            if not is_path(path):
                self._problems.add(
                    below(at, operation), "a path begins with / and follows base_url; for example: /chat/completions"
                )
        both = {operation: paths.get(endpoint_of(operation)) for operation in known}
        return {**{operation: path for operation, path in both.items() if path is not None}, **paths}

    def _check_operations(self, operations: list[str] | None, base: Provider, at: str) -> None:
        if operations == []:
            self._problems.add(at, "the provider has no operation left; remove operations or the provider")
        for index, operation in enumerate(operations or ()):
            self._check_operation(operation, operations_of(base), base, element(at, index))

    def _check_operation(self, operation: str, known: list[str], base: Provider, at: str) -> None:
        if operation not in known:
            alike = near(operation, known)
            hint = f"did you mean {alike}?" if alike else f"it has: {listed(known)}"
            self._problems.add(at, f"{base.name} has no such operation; {hint}")

    # --- keys

    def _keys(self, given: str | list[str | KeyEntry], *, row: Provider, at: str) -> list[Key]:
        if isinstance(given, str):
            key = self._key(KeyEntry(value=given), row=row, at=at, value_at=at, index=None)
            return [] if key is None else [key]
        keys: list[tuple[str, Key]] = []
        for index, each in enumerate(given):
            here = element(at, index)
            entry = KeyEntry(value=each) if isinstance(each, str) else each
            value_at = here if isinstance(each, str) else below(here, "value")
            key = self._key(entry, row=row, at=here, value_at=value_at, index=index)
            if key is not None:
                keys.append((here, key))
        check_names_differ(keys, problems=self._problems)
        return [key for _, key in keys]

    def _key(self, entry: KeyEntry, *, row: Provider, at: str, value_at: str, index: int | None) -> Key | None:
        name = entry.name if entry.name is not None else default_name(row.name, index)
        variable = None if entry.value is None else variable_of(entry.value)
        if entry.enabled is False and variable is not None and not self._environment.get(variable):
            self._reading.note(at, f"left out, since it is switched off and {variable} is not set")
            return None
        value = self._value(entry.value, row=row, name=name, at=value_at)
        fields = {field: each for field in _GIVEN_ON if (each := getattr(entry, field)) is not None}
        if entry.settings is not None:
            fields["settings"] = self._settings(entry.settings, row, below(at, "settings"))
        return make_key(value, name=name, fields=fields, at=at, problems=self._problems)

    def _settings(self, table: dict[str, Any], row: Provider, at: str) -> Any:
        """Return what only this provider needs of a key, as its dialect's class; `None`, with a problem, if wrong."""
        if row.key_settings is None:
            self._problems.add(at, f"a key of {row.name} has no settings; remove them")
            return None
        read = {
            name: self._environment.text(value, at=below(at, name), problems=self._problems)
            if isinstance(value, str)
            else value
            for name, value in table.items()
        }
        return self._reader.table(read, row.key_settings, at)

    def _value(self, value: str | EnvName | None, *, row: Provider, name: str, at: str) -> Secret | None:
        if not isinstance(row.auth, NoAuth):
            return self._environment.secret(value or "", at=at, provider=row.name, key=name, problems=self._problems)
        if value is not None:
            self._problems.add(
                at, f'{row.name} needs no key, this would not be sent; remove it, or add auth = "bearer"'
            )
        return UNSENT


def _groups(file: File | None) -> dict[str, GroupForm]:
    written = None if file is None else file.models
    return {
        name: ModelGroup(form.members, balance=form.balance) if isinstance(form, GroupTable) else form
        for name, form in (written or {}).items()
    }


_AUTHS: Mapping[str, Auth] = {"bearer": BEARER, "none": NoAuth()}

_GIVEN_ON = ("id", "weight", "models", "deny", "aliases", "enabled")
