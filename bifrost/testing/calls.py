"""Calls as the test kit records them. Credentials are masked when a call is recorded."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from bifrost.errors import UsageError
from bifrost.frozen import Value
from bifrost.operations.base import OperationName
from bifrost.providers.catalog import OPERATIONS
from bifrost.wire.http import HttpRequest

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"})
"""The header fields that contain a credential."""
_MASK = "***"
_FAKE = "sk-test-"


class MockCall(Value, msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One request that reached the mock or the loopback provider."""

    index: int
    """The number of the call, from 0."""
    provider: str
    """The provider's name in the account. For the loopback provider, which sees only bytes, the name of the format."""
    endpoint: str
    """The name of the operation (`chat`, `embeddings`, ...); empty for an unknown path."""
    model: str
    """The provider's own name of the model, as it was sent."""
    stream: bool
    """Whether a stream was requested."""
    has_key: bool
    """Whether a credential was sent."""
    key: str | None
    """The name of the key, if it is a `fake_key`; else `None`."""
    connection: int
    """The number of the connection, from 1; 0 if none could be established."""
    request: Any = None
    """The unified request of the client. The loopback provider, which sees only bytes, has `None`."""
    http: HttpRequest
    """The HTTP request, with credentials masked as `***`."""
    json: Any = None
    """The body decoded from JSON; `None` if it is not JSON."""

    def __repr__(self) -> str:
        kind = "stream" if self.stream else self.endpoint
        return f"MockCall({self.index}: {kind} to {self.provider}/{self.model}, key {self.key or self.has_key})"


def check_endpoint(endpoint: OperationName | None, *, where: str) -> None:
    """Raise `UsageError` for an operation that does not exist."""
    if endpoint is not None and endpoint not in OPERATIONS:
        raise UsageError(f"{where}(endpoint={endpoint!r}): the endpoints are {', '.join(OPERATIONS)}")


def fake_key(name: str) -> str:
    """Return the value of a fake key, which contains its name so that a test provider can recognise it.

    It looks like a key, and no provider accepts it.
    """
    return _FAKE + name


def key_of(request: HttpRequest) -> tuple[bool, str | None]:
    """Return whether a request (header names in lower case) has a credential, and the name of the key if it is fake."""
    _, fake, name = request.path.rpartition(_FAKE)
    if fake:
        return True, name.partition("&")[0]
    for value in (*map(request.headers.get, CREDENTIALS), *request.secret_query.values()):
        if value is not None:
            # `encode` returns what is sent; the text of a signed request's credential is masked.
            sent = value.encode("latin-1").decode("latin-1").rpartition(" ")[2]
            return True, sent.removeprefix(_FAKE) if sent.startswith(_FAKE) else None
    return False, None


def masked(request: HttpRequest) -> HttpRequest:
    """Return a copy of a request with its credentials masked."""
    headers = {name: _MASK if name.lower() in CREDENTIALS else str(value) for name, value in request.headers.items()}
    return HttpRequest(
        method=request.method, path=_shown(request), headers=headers, body=request.body, source=request.source
    )


def _shown(request: HttpRequest) -> str:
    """Return a request's path with its key masked, as `bifrost` or a server sees the key."""
    before, fake, after = request.shown_path.partition(_FAKE)
    if not fake:
        return before
    _, mark, others = after.partition("&")
    return f"{before}{_MASK}{mark}{others}"


def body_of(request: HttpRequest) -> Any:
    """Return the body of a request decoded from JSON; `None` if it is not JSON."""
    try:
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, RecursionError):
        return None


def field_of(body: Any, name: str) -> Any:
    """Return a field of a decoded body; `None` if the body is not an object or has no such field."""
    return cast("dict[str, Any]", body).get(name) if isinstance(body, dict) else None
