"""TLS settings: which authorities a connection trusts, and its client certificate."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from bifrost.config import NetworkConfig


def context_of(network: NetworkConfig) -> ssl.SSLContext:
    """Return the SSL context for one provider's connections. Raises `ConfigError`, which does not contain a path."""
    if network.ssl_context is not None:
        return network.ssl_context
    context = _usual() if network.ca is None else _trusting(network.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if network.client_certificate is not None:
        try:
            # Without an explicit password, OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(network.client_certificate, network.client_key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"network.client_certificate cannot be loaded ({_why(error)}): it is a PEM file with certificate and "
                "key, or client_key has the key; for an encrypted one give an ssl_context"
            ) from error
    return context


def _usual() -> ssl.SSLContext:
    """Return a context with the authorities that the environment names, or else those of `certifi`, as httpx does."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        if folder:
            return ssl.create_default_context(capath=folder)
        return ssl.create_default_context(cafile=certifi.where())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates of authorities cannot be loaded ({type(error).__name__}): "
            "check SSL_CERT_FILE and SSL_CERT_DIR in the environment"
        ) from error


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        if "-----BEGIN" in ca:
            return ssl.create_default_context(cadata=_certificates(ca, what="the text"))
        if Path(ca).is_dir():
            return ssl.create_default_context(capath=ca)
        # Passed as text, because OpenSSL does not find a certificate after a byte order mark.
        text = Path(ca).read_text(encoding="utf-8-sig", errors="replace")
        return ssl.create_default_context(cadata=_certificates(text, what="the file"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"network.ca cannot be loaded ({_why(error)}): it is a PEM file of authorities, a folder of them made with "
            "openssl rehash, or their text"
        ) from error


def _certificates(text: str, *, what: str) -> str:
    """Return the certificates of a PEM text without comments and other text between them."""
    found: list[str] = []
    kinds: list[str] = []
    begin = text.find(_BEGIN)
    while begin >= 0:
        following = text.find(_BEGIN, begin + 1)
        block = text[begin:] if following < 0 else text[begin:following]
        kind = block[len(_BEGIN) :].partition("-----")[0]
        body, end, _ = block.partition(f"-----END {kind}-----")
        if not end:
            raise ConfigError(
                f"network.ca cannot be loaded: {what} is cut off, it has a -----BEGIN {kind[:40]}----- without its end"
            )
        if kind.endswith("CERTIFICATE"):
            found.append("\n".join(line.strip() for line in (body + end).splitlines()))
        kinds.append(kind[:40])
        begin = following
    if not found:
        has = f"it has {', '.join(dict.fromkeys(kinds[:5]))}" if kinds else "it has no -----BEGIN CERTIFICATE-----"
        raise ConfigError(
            f"network.ca cannot be loaded: {what} holds no certificate of an authority, in PEM form: {has}"
        )
    return "\n".join(found)


_BEGIN = "-----BEGIN "


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
