"""The interface of transports: their base class, connections, and the values that they share with the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
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
    """Carries one request and its response at a time to one origin.

    `ConnectionBase` implements `heard` and `connect` for connections that do not support them.
    """

    @property
    def reused(self) -> bool:
        """Whether it was open before this request: it has served another one, or was opened in advance."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the head of the current request may have been sent."""
        ...

    @property
    def heard(self) -> bool:
        """Whether a part of the response to the current request was received."""
        ...

    @property
    def connect_time(self) -> float | None:
        """How long the current request waited for its connection to be opened, in seconds; `None` if it was open."""
        ...

    async def connect(self, *, seconds: float) -> bool:
        """Establish the connection before its first request, including TLS, within `seconds`.

        Returns whether it is established. If not, the first request establishes it.
        """
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
        """End a request whose response was read completely. The connection may serve another one."""
        ...

    def cut(self) -> None:
        """Break the connection at once, so that a waiting reader fails. Any task may call it; `close` must follow."""
        ...

    async def close(self) -> None:
        """Close the connection, whatever its state. It is shielded from cancellation and takes little time."""
        ...


class ConnectionBase:
    """The base class of connections that are established by their first request."""

    __slots__ = ()

    @property
    def heard(self) -> bool:
        """`False`: it is unknown whether a part of the response was received."""
        return False

    async def connect(self, *, seconds: float) -> bool:
        """Return `False`."""
        return False


class Transport(ABC):
    """Opens connections. A transport of your own is a subclass with the method `open`."""

    __slots__ = ()

    @abstractmethod
    def open(self, origin: Origin) -> Connection:
        """Return a new connection to an origin. It does no I/O: the first request establishes the connection."""

    def for_provider(self, config: ProviderConfig, run: Callable[[Task], None], /) -> Transport:
        """Return the transport for a provider with these settings. `run` starts tasks that end with the client.

        The default ignores the network settings and returns this transport.
        """
        return self
