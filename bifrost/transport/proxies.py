"""Proxies: which one is used for an origin, and the errors about it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import msgspec

from bifrost.config import PROXY_PORTS
from bifrost.errors import ConfigError
from bifrost.wire.hosts import is_loopback, read_authority
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.config import NetworkConfig
    from bifrost.transport.api import Origin


class Proxy(msgspec.Struct, frozen=True):
    """A proxy for connections."""

    scheme: str
    """`http`, `https`, `socks5` or `socks5h`."""

    host: str
    """The host of the proxy."""

    port: int
    """The port of the proxy."""

    auth: Secret | None
    """The user name and password; `None`: no authentication."""

    source: str
    """Where it was set: `environment` or `configuration`."""

    @property
    def is_socks(self) -> bool:
        """Whether it uses SOCKS, not HTTP."""
        return self.scheme.startswith("socks")

    def refusal(self, place: object) -> ConfigError:
        """Return the error for a proxy that refuses us for good."""
        setting = "HTTPS_PROXY" if self.source == "environment" else "network.proxy"
        return ConfigError(f"the proxy on the way to {place} refuses: check {setting} and its credentials")

    def __str__(self) -> str:
        return f"the {self.source}'s proxy"


def proxy_of(network: NetworkConfig, origin: Origin) -> Proxy | None:
    """Return the proxy for an origin, or `None`. Raises `ConfigError` for a proxy that cannot be used."""
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
    """Raise `ConfigError` for plain http through a proxy on another machine, which could read the key."""
    if origin.scheme == "http" and not is_loopback(proxy.host) and not allow_insecure_http:
        raise ConfigError(
            f"plain http to {origin.host} through the proxy {proxy.host} would send the key readable to everyone on "
            "the way; use https, set network.proxy='none', or allow_insecure_http=True if the network is yours"
        )


def _environments(origin: Origin) -> str | None:
    if origin.scheme == "http" and is_loopback(origin.host):
        # Hosts on this machine need no proxy, which could also read the key.
        return None
    proxies: Mapping[str, str] = getproxies_environment()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return address if "://" in address else f"http://{address}"


def _read(address: str, auth: Secret | None, *, source: str) -> Proxy | None:
    """Parse the address of a proxy; `None` if it is invalid. It may contain a password, so nothing is raised here."""
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
