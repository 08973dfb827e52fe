"""The credentials in the gateway's keys: an Entra application, a Google service account, AWS keys and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.credentials.aws import AwsCredentials
from bifrost.credentials.entra import EntraCredentials
from bifrost.credentials.google import GoogleCredentials
from bifrost.errors import ConfigError
from bifrost.settings.problems import below
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.credentials.base import TokenSource
    from bifrost.settings.problems import Problems

Texts = dict[str, str]
"""The fields of a block that are set, with variables replaced by their values."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    "azure_key_config": ("client_id", "client_secret", "tenant_id"),
    "vertex_key_config": ("auth_credentials",),
    "bedrock_key_config": (
        *("access_key", "secret_key", "session_token"),
        *("role_arn", "external_id", "session_name", "region"),
    ),
}
"""The fields that hold credentials, by the block of the key that has them."""


def credentials_of(
    block: str, texts: Texts, *, has_value: bool, at: str, problems: Problems
) -> Secret | TokenSource | None:
    """Return the value or the source of tokens of a key without a value, or with credentials that go before it.

    `None`: the key's own value is sent.
    """
    make = _MAKERS[block]
    try:
        return make(texts, has_value)
    except ConfigError as error:
        problems.add(at, error.message)
        return None


def _entra(texts: Texts, has_value: bool) -> EntraCredentials | None:
    return None if has_value and not texts else EntraCredentials(**texts)


def _google(texts: Texts, has_value: bool) -> GoogleCredentials | None:
    info = texts.get("auth_credentials")
    return None if has_value and info is None else GoogleCredentials(info=info)


def _aws(texts: Texts, has_value: bool) -> Secret | AwsCredentials | None:
    if has_value:
        return None
    fields: dict[str, Any] = {name: text for name, text in texts.items() if name in _OF_ROLE}
    parts = [texts[name] for name in FIELDS["bedrock_key_config"][:3] if name in texts]
    keys = Secret(":".join(parts)) if parts else None
    if keys is not None and "role_arn" not in fields:
        return keys
    return AwsCredentials(keys=keys, **fields)


_OF_ROLE = frozenset(["role_arn", "external_id", "session_name", "region"])

_MAKERS: Mapping[str, Callable[[Texts, bool], Secret | TokenSource | None]] = {
    "azure_key_config": _entra,
    "vertex_key_config": _google,
    "bedrock_key_config": _aws,
}


def credential_texts(block: str, read: Callable[[str, str], str | None], at: str) -> Texts:
    """Return the fields of a block that hold credentials. `read` returns the text of a field, with its path."""
    found = {name: read(name, below(at, name)) for name in FIELDS[block]}
    return {name: text for name, text in found.items() if text}
