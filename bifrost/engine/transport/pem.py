"""Certificates as PEM, for a client that takes no context of `ssl`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bifrost.engine.transport.tls import context_of
from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.config import NetworkConfig

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Papers(msgspec.Struct, frozen=True):
    """Whom TLS connections trust, and what they show of themselves."""

    authorities: tuple[bytes, ...] = ()
    identity: bytes | None = None
    """Certificate and key."""

    def __repr__(self) -> str:
        return f"Papers({len(self.authorities)} authorities)"


def papers_of(network: NetworkConfig) -> Papers:
    """Read what a provider's settings name, or else the environment. Raises `ConfigError`."""
    if network.ca is not None or network.client_certificate is not None:
        # Only to see that all of it can be used: `ssl` says better than others what is wrong.
        context_of(network)
    found = _environments() if network.ca is None else _read(network.ca)
    # A folder has each of them under two names.
    return Papers(tuple(dict.fromkeys(found)), _identity(network))


def _environments() -> Iterator[bytes]:
    try:
        if file := os.environ.get("SSL_CERT_FILE"):
            yield from _certificates(Path(file))
        if folder := os.environ.get("SSL_CERT_DIR"):
            yield from _folder(Path(folder))
    except OSError as error:
        raise ConfigError(
            f"the certificates of authorities cannot be loaded ({type(error).__name__}): "
            "check SSL_CERT_FILE and SSL_CERT_DIR in the environment"
        ) from error


def _read(ca: str) -> Iterator[bytes]:
    if ca.lstrip().startswith("-----BEGIN"):
        return iter(_CERTIFICATE.findall(ca.encode()))
    path = Path(ca)
    return _folder(path) if path.is_dir() else iter(_certificates(path))


def _folder(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield from _certificates(path)


def _certificates(path: Path) -> list[bytes]:
    return _CERTIFICATE.findall(path.read_bytes())


def _identity(network: NetworkConfig) -> bytes | None:
    if network.client_certificate is None:
        return None
    files = [network.client_certificate, *([network.client_key] if network.client_key else [])]
    return b"\n".join(Path(file).read_bytes() for file in files)
