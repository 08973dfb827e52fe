"""The interface of transports: protocols, and the values that they exchange with the engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from bifrost.wire.hosts import read_authority
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from bifrost.config import ProviderConfig, Timeouts
    from bifrost.wire.http import HttpRequest


Task: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""A function that runs in a task of its own."""


class Origin(msgspec.Struct, frozen=True):
    """The destination of a connection: scheme, host and port. Connections and credentials belong to one origin."""

    scheme: str
    """`http` or `https`."""

    host: str
    """The host, in lower case."""

    port: int
    """The port."""

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Return the origin of a checked base URL. Raises `ValueError` for an invalid host."""
        parts = urlsplit(base_url)
        host, port = read_authority(parts.netloc)
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))

    @property
    def authority(self) -> str:
        """Host and port for the `Host` field, without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class BodyStream(Protocol):
    """The body of a response."""

    async def read(self) -> bytes:
        """Return the next bytes as they were received, without decompression; empty at the regular end."""
        ...


class ResponseHead(msgspec.Struct, frozen=True):
    """The head of a response, and a reader for its body."""

    status: int
    """The HTTP status."""

    headers: Headers
    """The header fields."""

    reader: BodyStream
    """Reads the body."""


class Connection(Protocol):
    """Carries one exchange at a time to one origin."""

    @property
    def reused(self) -> bool:
        """Whether it was open before this exchange: it has served another one, or was opened in advance."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the head of the current request may have been sent."""
        ...

    @property
    def connect_time(self) -> float | None:
        """How long the current exchange waited for its connection to be opened, in seconds; `None` if it was open."""
        ...

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Send a request and wait for the head of the response.

        `read_timeout` limits each wait for bytes, in seconds.
        """
        ...

    def limit_reads(self, seconds: float | None) -> None:
        """Limit each further wait for bytes of the body, in seconds. Called before the first read of the body.

        `None` means that another task watches the reader and calls `cut` if it waits too long.
        """
        ...

    def usable(self) -> bool:
        """Return whether the idle connection can send another request: it is open, and no bytes are pending."""
        ...

    async def finish(self) -> None:
        """End an exchange whose body was read completely. The connection may serve another one."""
        ...

    def cut(self) -> None:
        """Break the connection at once, so that a waiting reader fails. Any task may call it; `close` must follow."""
        ...

    async def close(self) -> None:
        """Close the connection, whatever its state. It is shielded from cancellation and takes little time."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Opens connections. `open` does no I/O: a connection is established with its first request."""

    def open(self, origin: Origin) -> Connection:
        """Return a new connection to an origin."""
        ...


@runtime_checkable
class Early(Protocol):
    """A connection that can be established before its first request."""

    async def connect(self, *, seconds: float) -> None:
        """Establish the connection, including TLS, within `seconds`."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A connection that can distinguish a peer that has closed it from one that has begun to respond."""

    @property
    def heard(self) -> bool:
        """Whether a part of the response to the current request was received."""
        ...


@runtime_checkable
class PerProvider(Protocol):
    """A transport that applies network settings."""

    def for_provider(self, config: ProviderConfig, run: Callable[[Task], None], /) -> Transport:
        """Return the transport for a provider with these settings. `run` starts tasks that end with the client."""
        ...
