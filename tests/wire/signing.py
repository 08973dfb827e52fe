"""Signing headers alone, for tests of what a signed value shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.wire.auth import Auth
    from bifrost.wire.secrets import Secret


def sign(headers: dict[str, str], auth: Auth, secret: Secret | None) -> None:
    """Sign a request with these headers, in place."""
    request = HttpRequest(method="POST", path="/", headers=headers)
    auth.sign(request, secret, now=0.0, host="host.example", settings=None)
