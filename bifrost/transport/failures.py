"""Translates failures below HTTP (sockets, TLS, timeouts) to bifrost's errors.

The text and the context of foreign errors may contain headers and addresses. Bifrost's errors are therefore raised
after the `except` block has ended, and do not refer to them.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any, cast

from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.transport.wires import (
    ConnectTimeoutError,
    PeerError,
    WireConnectError,
    WireTimeoutError,
    WriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def as_error(error: Exception, *, place: str, sent: bool, phase: str) -> BifrostError:
    """Return bifrost's error for an error of a connection. `phase` says what was awaited.

    A `BifrostError` is returned unchanged.
    """
    if (refused := _client_certificate_problem(error, place)) is not None:
        return refused
    match error:
        case BifrostError():
            return error
        case ConnectTimeoutError():
            failure: BifrostError = CallTimeoutError(f"no connection to {place} in time", phase="connect")
        case WriteTimeoutError():
            failure = CallTimeoutError(f"{place} did not take the request in time", phase="write")
        case WireTimeoutError():
            reading = cast("Any", phase if sent else "connect")
            failure = CallTimeoutError(f"{place} sent nothing for too long", phase=reading)
        case WireConnectError():
            failure = connect_failure(error, place)
        case PeerError():
            failure = ProtocolError(f"{place} broke the HTTP protocol or cut its response: {error}")
        case _:
            failure = TransportError(f"the request to {place} broke off ({type(error).__name__})")
    return failure if sent else never_sent(failure)


_CERTIFICATE_WANTED = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_CERTIFICATE_REQUIRED"})
_CERTIFICATE_REFUSED = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
"""OpenSSL's names of the alerts about a client certificate. With TLS 1.3 they arrive after the handshake."""


def _client_certificate_problem(error: Exception, place: str) -> ConfigError | None:
    """Return an error if a peer requires a client certificate or refuses the one that was sent, else `None`."""
    for cause in _causes(error):
        if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLCertVerificationError):
            continue
        if cause.reason in _CERTIFICATE_WANTED:
            return ConfigError(
                f"{place} wants a client certificate ({cause.reason}); name it in "
                "NetworkConfig(client_certificate=..., client_key=...)"
            )
        if cause.reason in _CERTIFICATE_REFUSED:
            return ConfigError(
                f"{place} refuses the client's certificate, or wants one ({cause.reason}); look at "
                "NetworkConfig(client_certificate=...): who has signed it, and until when it holds"
            )
    return None


def never_sent(error: BifrostError) -> BifrostError:
    """Mark an error as one of a request that was never sent, so that it may be retried."""
    if error.category == "transient":
        error.category = "never_sent"
    return error


_OLD_TLS = frozenset(
    {
        "HTTP_REQUEST",
        "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
"""OpenSSL's names of failures with a peer that does not support TLS, or no secure version. Retrying does not help."""


def connect_failure(error: Exception, place: str) -> BifrostError:
    """Return the error for a connection that could not be established, depending on its causes."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigError(
                f"the certificate of {place} is not trusted ({cause.verify_message}); "
                "if it is yours, name its authority in NetworkConfig(ca=...) or SSL_CERT_FILE"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
            return ConfigError(
                f"{place} refuses the TLS handshake ({cause.reason}): it wants a client certificate "
                "(NetworkConfig(client_certificate=...)), or has no cipher of TLS 1.2 or later in common"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _OLD_TLS:
            return ConfigError(f"{place} does not speak TLS 1.2 or later ({cause.reason}); check scheme and port")
        if isinstance(cause, OSError) and cause.errno is not None:
            # The system's own text, because asyncio replaces it. Name resolution, TLS and test kits have texts of their
            # own.
            is_system = type(cause).__module__ == "builtins"
            return ConnectError(
                f"no connection to {place}: {os.strerror(cause.errno) if is_system else cause.strerror}"
            )
    return ConnectError(f"no connection to {place}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes. In a group of errors for several addresses, the first one is followed."""
    while error is not None:
        yield error
        group = cast(
            "BaseExceptionGroup[BaseException] | None", error if isinstance(error, BaseExceptionGroup) else None
        )
        error = error.__cause__ or error.__context__ if group is None else group.exceptions[0]
