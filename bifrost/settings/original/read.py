"""Converts the Go gateway's `config.json` to `Settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.account import unknown_provider
from bifrost.config import CallOptions
from bifrost.errors import UnknownProviderError
from bifrost.providers.catalog import CATALOG
from bifrost.providers.custom import derive
from bifrost.settings.keys import check_addresses
from bifrost.settings.original.form import OURS, PROVIDERS, SECTIONS, Client, Custom, Network, ProviderTable
from bifrost.settings.original.keys import has_value, read_keys
from bifrost.settings.original.place import address_of, row_of
from bifrost.settings.original.usage import config_of
from bifrost.settings.problems import below, listed, quoted_name
from bifrost.settings.result import Entry, Settings, account_of, check_provider_name
from bifrost.settings.shape import Reader
from bifrost.wire.auth import BEARER, NoAuth

if TYPE_CHECKING:
    from bifrost.providers.base import Provider
    from bifrost.settings.reading import Reading

_OURS = ("timeout", "max_retries", "fallbacks", "extra_headers", "on_interrupt", "models")
_READ = ("$schema", "version", "client", "providers")


def read_original(document: dict[str, Any], reading: Reading) -> Settings | None:
    """Convert a document in the gateway's format. `None`, with at least one problem, if it is unusable."""
    reader = Reader(reading.problems, unknown=lambda at, alike: _note_unknown(at, alike, reading))
    reader.names(document, "")
    for name, section in document.items():
        if name not in _READ:
            _leave_out(name, section, reading)
    version = document.get("version")
    if version not in (None, 1, 2):
        reading.problems.add("version", "expected 1 or 2 (an empty list of models means all, or none)")
    entries = _Providers(
        reading, reader, empty_means_all=version == 1, drop=_drops(document.get("client"), reader, reading)
    ).read(document.get("providers"))
    account = account_of(entries, keyless="is_key_less: true", problems=reading.problems)
    if reading.problems or account is None:
        return None
    return Settings(account=account, models={}, options=CallOptions(), notes=tuple(reading.notes))


def _leave_out(name: str, section: object, reading: Reading) -> None:
    if name in _OURS:
        reading.problems.add(
            name, "this belongs to bifrost's own format, and the rest of the file to the gateway's config.json; use one"
        )
    elif _says_nothing(section):
        return
    elif name in SECTIONS:
        reading.note(name, f"left out, {SECTIONS[name]}")
    else:
        _note_unknown(below("", quoted_name(name)), "", reading)


def _note_unknown(at: str, alike: str, reading: Reading) -> None:
    reading.note(at, f"left out, this is not known here{f'; did you mean {alike}?' if alike else ''}")


def _drops(value: object, reader: Reader, reading: Reading) -> bool:
    """Read `client`. Returns whether callers are refused when a queue is full."""
    if value is None:
        return False
    table = reader.names(value, "client")
    ours = {name: each for name, each in table.items() if name in Client.__struct_fields__}
    client = reader.table(ours, Client, "client")
    others = [quoted_name(name) for name, each in table.items() if name not in ours and each]
    if others:
        reading.note("client", f"left out, since there is no server, log or object pool: {listed(others)}")
    return client is not None and client.drop_excess_requests is True


def _as_used(row: Provider, name: str, *, with_key: bool) -> Provider:
    """Return a provider under its name in the file. If a server without a key has one there, the key is sent."""
    if with_key and isinstance(row.auth, NoAuth):
        return derive(row, name=name, auth=BEARER)
    return row if row.name == name else derive(row, name=name)


def _says_nothing(section: object) -> bool:
    if isinstance(section, dict):
        return not section or cast("dict[str, Any]", section).get("enabled") is False
    return not section


class _Providers:
    def __init__(self, reading: Reading, reader: Reader, *, empty_means_all: bool, drop: bool) -> None:
        self._reading = reading
        self._problems = reading.problems
        self._reader = reader
        self._empty_means_all = empty_means_all
        self._drop = drop

    def read(self, value: object) -> list[Entry]:
        before = len(self._problems)
        tables = self._reader.names({} if value is None else value, "providers")
        entries = [self._provider(name, table, below("providers", name)) for name, table in tables.items()]
        there = [entry for entry in entries if entry is not None]
        if not there and len(self._problems) == before:
            self._problems.add("providers", f"no provider can be used here; there are: {listed(list(CATALOG))}")
        return there

    def _provider(self, name: str, value: object, at: str) -> Entry | None:
        before = len(self._problems)
        table = self._reader.table(value, ProviderTable, at)
        if table is None:
            return None
        base = self._base(name, table.custom_provider_config, at)
        if base is None:
            return None
        self._note_the_rest(table, at)
        custom, network = table.custom_provider_config, table.network_config or Network()
        keyless = custom is not None and custom.is_key_less is True
        if custom is None:
            base = _as_used(base, name, with_key=has_value(table.keys or []))
        keys, addresses = read_keys(
            table.keys or [],
            provider=name,
            settings=base.key_settings,
            keyless=keyless or isinstance(base.auth, NoAuth),
            empty_means_all=self._empty_means_all,
            at=below(at, "keys"),
            reader=self._reader,
            reading=self._reading,
        )
        address = address_of(network, addresses, at, self._reading)
        row, address = row_of(name, base, custom, address=address, at=at, reading=self._reading)
        config = config_of(table, address, drop=self._drop, at=at, reading=self._reading)
        if config is not None and len(self._problems) == before:
            hint = "add base_url to its network_config"
            check_addresses(keys, row, config, at=at, hint=hint, problems=self._problems)
        if config is None or len(self._problems) > before:
            return None
        return Entry(at=at, row=row, keys=keys, config=config)

    def _base(self, name: str, custom: Custom | None, at: str) -> Provider | None:
        if not check_provider_name(name, at=at, problems=self._problems):
            return None
        if custom is not None and name in CATALOG:
            complaint = f"{name} is a built-in provider; remove this, or choose another name"
            self._problems.add(below(at, "custom_provider_config"), complaint)
            return None
        wanted = name if custom is None else custom.base_provider_type
        base = CATALOG.get(OURS.get(wanted, wanted))
        if base is None and wanted in PROVIDERS:
            there = listed(list(CATALOG))
            self._reading.note(at, f"the provider is left out, there is no {wanted} here; there are: {there}")
        elif base is None and custom is not None:
            at = below(below(at, "custom_provider_config"), "base_provider_type")
            complaint = unknown_provider(wanted, CATALOG).message
            self._problems.add(at, complaint, kind=UnknownProviderError, provider=name)
        elif base is None:
            complaint = f"{unknown_provider(name, CATALOG).message} (a custom provider needs a custom_provider_config)"
            self._problems.add(at, complaint, kind=UnknownProviderError, provider=name)
        return base

    def _note_the_rest(self, table: ProviderTable, at: str) -> None:
        """Report the fields that are read but have no equivalent."""
        if table.send_back_raw_request:
            self._reading.note(below(at, "send_back_raw_request"), "left out, responses do not include their request")
        if table.store_raw_request_response:
            self._reading.note(below(at, "store_raw_request_response"), "left out, there is no log store")
        network, network_at = table.network_config or Network(), below(at, "network_config")
        if network.insecure_skip_verify and network.ca_cert_pem:
            self._problems.add(below(network_at, "insecure_skip_verify"), "this and ca_cert_pem exclude each other")
        if network.insecure_skip_verify:
            note = "left out, certificates are always checked; name your authority in ca_cert_pem"
            self._reading.note(below(network_at, "insecure_skip_verify"), note)
