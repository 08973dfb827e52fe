"""What signs a request: a value of the provider's row. It gets the secret and the time, and does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from bifrost.frozen import Value

if TYPE_CHECKING:
    from bifrost.wire.http import HttpRequest
    from bifrost.wire.secrets import Secret


@runtime_checkable
class Auth(Protocol):
    """Adds a credential to a request that is otherwise ready to be sent."""

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Add the credential to a request, in place.

        Args:
            request: The request with its full path, all other headers and its body.
            credential: The key's value; `None` if the provider needs none.
            now: The time, in seconds since the epoch.
            host: Where the request goes, as the `Host` header names it.
            settings: The key's settings.

        Raises `InvalidKeyError` for a credential that cannot be sent, `ConfigError` for missing settings.
        """
        ...


class NoAuth(Value, msgspec.Struct, frozen=True):
    """Send no credential (local servers)."""

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Leave the request as it is."""
