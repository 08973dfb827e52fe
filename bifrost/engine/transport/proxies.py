"""Proxies: what one is, and which of them the environment names."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import msgspec

from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.engine.transport.seam import Origin

_PORTS: Mapping[str, int] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that connections go through."""

    scheme: str
    host: str
    port: int
    auth: tuple[bytes, bytes] | None

    @classmethod
    def of(cls, address: str) -> Proxy:
        """Read an address. Raises `ValueError`, whose text may hold the proxy's password."""
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("neither http://, https:// nor socks5:// and a host")
        auth = None
        if parts.username is not None:
            auth = (unquote(parts.username).encode(), unquote(parts.password or "").encode())
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], auth)

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.host}:{self.port})"


def environment_proxy(origin: Origin) -> Proxy | None:
    """Give the proxy that the environment names for an origin. Raises `ConfigError` for one that cannot be used."""
    proxies: Mapping[str, str] = getproxies_environment()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    where = f"the proxy that the environment names for {origin.scheme} cannot be used"
    try:
        proxy = Proxy.of(address)
    except ValueError:
        proxy = None
    if proxy is None:
        raise ConfigError(f"{where}: write it as http://host:port, https://host:port or socks5://host:port")
    if proxy.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(f"{where}: it speaks SOCKS; install bifrost-llm[socks]")
    return proxy
