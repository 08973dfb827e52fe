"""What the sources that use a vendor's SDK share: importing it on first use, and its errors without secrets."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bifrost.attempt_record import shown
from bifrost.errors import ConfigError, TokenError
from bifrost.misplaced_keys import without_keys
from bifrost.wire.secrets import Secret, redact

_MESSAGE_LIMIT = 500
"""The most characters of an SDK's message that are shown."""


def sdk(module: str, *, package: str, extra: str, user: str) -> Any:
    """Return a module of an SDK. Raises `ConfigError`, which names the extra, if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        missing = ConfigError(f"{user} needs the package {package}; install bifrost-llm[{extra}]")
    raise missing


def as_secret(value: str | Secret | None) -> Secret | None:
    """Return a text as a `Secret`."""
    return Secret(value) if isinstance(value, str) else value


def failed(user: str, error: Exception, *secrets: Secret | None) -> TokenError:
    """Return the error for a failure of an SDK, with its message in one line and without secrets.

    Raise it after the `except` block, because the frames of the SDK hold the secrets.
    """
    text = " ".join(str(error).split())
    for secret in secrets:
        text = redact(text, secret)
    return TokenError(f"{user}: {type(error).__name__}: {shown(without_keys(text), _MESSAGE_LIMIT)}")
