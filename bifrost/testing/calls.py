"""What the test kit remembers of a call: who asked what of whom. Credentials are masked as they are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.errors import UsageError
from bifrost.frozen import Value
from bifrost.operations.base import OperationName
from bifrost.providers.catalog import OPERATIONS
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"})
"""The header fields that hold one."""
_MASK = "***"
_FAKE = "sk-test-"


class MockCall(Value, msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One request as it reached the mock or the embedded provider."""

    index: int
    """0 for the first call."""
    provider: str
    """The provider's name in the account. The embedded provider, which sees only bytes, has the format's name."""
    endpoint: str
    """The name of the operation (`chat`, `embeddings`, ...); empty for a path that no dialect has."""
    model: str
    """As it was sent: the provider's own name."""
    stream: bool
    """A stream was asked for."""
    has_key: bool
    """A credential was sent."""
    key: str | None
    """The name of the key, if it is one of the test kit's own (`fake_key`)."""
    connection: int
    """The number of the connection that carried it, 1 for the first; 0 if none could be made."""
    request: Any = None
    """The unified request, as `client.chat(...)` made it. The embedded provider, which sees only bytes, has none."""
    http: HttpRequest
    """What was sent; a credential's value shows as `***`."""
    json: Any = None
    """The body, decoded; `None` if it is not JSON."""

    def __repr__(self) -> str:
        kind = "stream" if self.stream else self.endpoint
        return f"MockCall({self.index}: {kind} to {self.provider}/{self.model}, key {self.key or self.has_key})"


def check_endpoint(endpoint: OperationName | None, *, where: str) -> None:
    """Raise `UsageError` for a name that no operation has."""
    if endpoint is not None and endpoint not in OPERATIONS:
        raise UsageError(f"{where}(endpoint={endpoint!r}): the endpoints are {', '.join(OPERATIONS)}")


def fake_key(name: str) -> str:
    """Give the value of a key for tests, made from its name so that a test provider can tell which one was used.

    It has the look of a key and no provider knows it.
    """
    return _FAKE + name


def key_of(headers: Mapping[str, str]) -> tuple[bool, str | None]:
    """Say whether headers (names in lower case) hold a credential, and the name of the fake key if it is one."""
    for name in CREDENTIALS:
        value = headers.get(name)
        if value is not None:
            # What is sent comes out of `encode`; the text of a signed request's credential is already a mask.
            sent = value.encode("latin-1").decode("latin-1").rpartition(" ")[2]
            return True, sent.removeprefix(_FAKE) if sent.startswith(_FAKE) else None
    return False, None


def masked(request: HttpRequest) -> HttpRequest:
    """Copy a request with its credentials masked."""
    headers = {name: _MASK if name.lower() in CREDENTIALS else str(value) for name, value in request.headers.items()}
    return HttpRequest(
        method=request.method, path=request.path, headers=headers, body=request.body, source=request.source
    )


def body_of(request: HttpRequest) -> Any:
    """Decode a request's body, `None` if it is not JSON."""
    try:
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, RecursionError):
        return None


def field_of(body: Any, name: str) -> Any:
    """Give a field of a decoded body, `None` if the body is no object or has none of that name."""
    return cast("dict[str, Any]", body).get(name) if isinstance(body, dict) else None
