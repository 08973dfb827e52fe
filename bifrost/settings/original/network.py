"""Converts the gateway's `proxy_config` and the TLS settings in its `network_config` to a `NetworkConfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.config import NetworkConfig, check_proxy
from bifrost.errors import ConfigError
from bifrost.settings.original.form import Network
from bifrost.settings.original.keys import plain
from bifrost.settings.problems import below
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from bifrost.settings.original.form import ProviderTable, Proxy, Reference
    from bifrost.settings.reading import Reading


def network_of(table: ProviderTable, at: str, reading: Reading) -> NetworkConfig | None:
    """Return the network settings of a provider. `None`, with a problem, if they are invalid."""
    before = len(reading.problems)
    network, network_at = table.network_config or Network(), below(at, "network_config")
    ca = _text(network.ca_cert_pem, below(network_at, "ca_cert_pem"), reading)
    proxy, auth = _proxy(table.proxy_config, below(at, "proxy_config"), reading)
    if len(reading.problems) > before:
        return None
    return NetworkConfig(proxy=proxy, proxy_auth=auth, ca=ca, http2=network.enforce_http2 is True)


def _proxy(proxy: Proxy | None, at: str, reading: Reading) -> tuple[str, Secret | None]:
    if proxy is None or proxy.type in ("none", "environment"):
        return "environment" if proxy is None else proxy.type, None
    if proxy.ca_cert_pem:
        note = "left out; a proxy is checked as the provider is, put its authority into ca_cert_pem of network_config"
        reading.note(below(at, "ca_cert_pem"), note)
    address = _text(proxy.url, below(at, "url"), reading)
    if not proxy.url:
        complaint = f"a proxy of type {proxy.type} needs a URL; for example: http://host:port"
        reading.problems.add(below(at, "url"), complaint)
    if address and "://" not in address:
        address = f"{proxy.type}://{address}"
    if address:
        _check(address, below(at, "url"), reading)
    return address or "none", _auth(proxy, at, reading)


def _check(address: str, at: str, reading: Reading) -> None:
    try:
        check_proxy(address, where="")
    except ConfigError as error:
        complaint = error.message.removeprefix(": ").replace("proxy_auth to user:password", "username and password")
        reading.problems.add(at, complaint)


def _auth(proxy: Proxy, at: str, reading: Reading) -> Secret | None:
    if not proxy.username:
        return None
    user = _text(proxy.username, below(at, "username"), reading) or ""
    return Secret(f"{user}:{_text(proxy.password, below(at, 'password'), reading) or ''}")


def _text(value: str | Reference | None, at: str, reading: Reading) -> str | None:
    """Return the text of a setting, from the variable if it names one."""
    named = plain(value, at=at, reading=reading)
    return reading.environment.text(named, at=at, problems=reading.problems) if named else None
