"""A key in a parameter of the query, which is part of the address of a request and so shows in many places."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import ConfigError, InvalidKeyError
from bifrost.frozen import Value
from bifrost.wire.secrets import Credential, is_sendable

if TYPE_CHECKING:
    from bifrost.wire.http import HttpRequest
    from bifrost.wire.secrets import Secret

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class QueryAuth(Value, msgspec.Struct, frozen=True, kw_only=True):
    """Send the secret as a parameter of the query, `?key=...`.

    The request's `path` does not contain it: a transport adds it when it makes the bytes of the request (`target_of`).
    Prefer a header if the provider takes one; proxies and servers log addresses. Raises `ConfigError` for a name that
    would have to be escaped.
    """

    parameter: str
    """The name of the parameter."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.parameter):
            raise ConfigError(f"QueryAuth.parameter: {self.parameter!r} is not a parameter name; for example: key")

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Add the parameter. Its value shows as `***`. Raises `InvalidKeyError` as `HeaderAuth.sign` does."""
        if credential is None:
            return
        if not is_sendable(credential):
            raise InvalidKeyError(f"the key's value cannot stand in the parameter {self.parameter}; set it anew")
        request.secret_query = {**request.secret_query, self.parameter: Credential("", credential)}
