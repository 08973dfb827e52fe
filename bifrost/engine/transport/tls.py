"""Whom a TLS connection trusts."""

from __future__ import annotations

import ssl

import httpx

from bifrost.errors import ConfigError


def environment_context() -> ssl.SSLContext:
    """Make the context that trusts whom the environment names, or else the authorities that httpx brings."""
    try:
        context = httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates of authorities cannot be loaded ({type(error).__name__}): "
            "check SSL_CERT_FILE and SSL_CERT_DIR in the environment"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
