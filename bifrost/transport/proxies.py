"""Proxies: which one an origin is reached through, and how a way through it is asked for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import msgspec

from bifrost.config import PROXY_PORTS
from bifrost.errors import ConfigError
from bifrost.wire.auth import Secret
from bifrost.wire.hosts import is_loopback, read_authority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.config import NetworkConfig
    from bifrost.transport.api import Origin


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that connections go through."""

    scheme: str
    host: str
    port: int
    auth: Secret | None
    source: str
    """Who named it: the environment, or the configuration."""

    @property
    def is_socks(self) -> bool:
        """It speaks SOCKS, not HTTP."""
        return self.scheme.startswith("socks")

    def refusal(self, place: object) -> ConfigError:
        """Make the error of a proxy that will never let us through."""
        setting = "HTTPS_PROXY" if self.source == "environment" else "network.proxy"
        return ConfigError(f"the proxy on the way to {place} refuses: check {setting} and its credentials")

    def __str__(self) -> str:
        return f"the {self.source}'s proxy"


def proxy_of(network: NetworkConfig, origin: Origin) -> Proxy | None:
    """Give the proxy for an origin, if there is one. Raises `ConfigError` for one that cannot be used."""
    if network.proxy == "none":
        return None
    if network.proxy != "environment":
        proxy = _read(network.proxy, network.proxy_auth, source="configuration")
        where = f"the proxy configured for {origin.scheme} cannot be used"
    else:
        address = _environments(origin)
        if address is None:
            return None
        proxy = _read(address, None, source="environment")
        where = f"the proxy that the environment names for {origin.scheme} cannot be used"
    if proxy is None:
        raise ConfigError(f"{where}: write it as http://host:port, https://host:port or socks5://host:port")
    if proxy.is_socks and find_spec("socksio") is None:
        raise ConfigError(f"{where}: it speaks SOCKS; install bifrost-llm[socks]")
    return proxy


def check_plain(proxy: Proxy, origin: Origin, *, allow_insecure_http: bool) -> None:
    """Raise `ConfigError` for plain http that would go through a proxy on another machine, the key readable to it."""
    if origin.scheme == "http" and not is_loopback(proxy.host) and not allow_insecure_http:
        raise ConfigError(
            f"plain http to {origin.host} through the proxy {proxy.host} would send the key readable to everyone on "
            "the way; use https, set network.proxy='none', or allow_insecure_http=True if the network is yours"
        )


def _environments(origin: Origin) -> str | None:
    if origin.scheme == "http" and is_loopback(origin.host):
        # What is on this machine needs no proxy, and the proxy could read the key.
        return None
    proxies: Mapping[str, str] = getproxies_environment()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return address if "://" in address else f"http://{address}"


def _read(address: str, auth: Secret | None, *, source: str) -> Proxy | None:
    """Read an address; `None` for one that is none. It may hold a password, so nothing is raised here."""
    try:
        parts = urlsplit(address)
        credentials, _, authority = parts.netloc.rpartition("@")
        host, port = read_authority(authority)
    except ValueError:
        return None
    if parts.scheme not in PROXY_PORTS:
        return None
    if credentials:
        user, _, password = credentials.partition(":")
        auth = Secret(f"{unquote(user)}:{unquote(password)}")
    return Proxy(parts.scheme, host, port or PROXY_PORTS[parts.scheme], auth, source)
