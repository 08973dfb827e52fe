"""A key in a header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import ConfigError, InvalidKeyError
from bifrost.frozen import Value
from bifrost.wire.secrets import Credential, is_sendable

if TYPE_CHECKING:
    from bifrost.wire.http import HttpRequest
    from bifrost.wire.secrets import Secret

NO_CREDENTIALS = frozenset(
    {
        *("host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "content-type", "content-encoding", "expect", "range", "date", "via", "forwarded"),
        *("accept", "accept-charset", "accept-encoding", "accept-language", "user-agent", "referer", "origin"),
        *("cookie", "cookie2", "set-cookie", "set-cookie2", "location", "x-forwarded-for", "x-forwarded-host"),
        *("anthropic-version", "anthropic-beta", "openai-beta", "idempotency-key"),
    }
)
"""Header fields that have a meaning of their own, or that others on the way read, log or change."""


class HeaderAuth(Value, msgspec.Struct, frozen=True, kw_only=True):
    """Send the secret in one header: `prefix` + secret.

    Raises `ConfigError` for a header that has a meaning of its own.
    """

    header: str
    """The name of the header."""
    prefix: str = ""
    """The text in front of the secret."""

    def __post_init__(self) -> None:
        if self.header.lower() in NO_CREDENTIALS:
            raise ConfigError(f"a key cannot be sent in the header {self.header!r}, which has a meaning of its own")

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Add the header. Its value shows as `***`.

        Raises `InvalidKeyError` for a secret that did not come through `check_secret` and cannot stand in a header:
        HTTP libraries put such a value into their own error's text.
        """
        if credential is None:
            return
        if not is_sendable(credential):
            raise InvalidKeyError(f"the key's value cannot stand in the {self.header} header; set it anew")
        request.headers[self.header] = Credential(self.prefix, credential)


BEARER = HeaderAuth(header="authorization", prefix="Bearer ")
"""The key as a bearer token: `Authorization: Bearer ...`."""
