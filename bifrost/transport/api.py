"""What the engine knows of a transport: the protocols, and the two values that pass between."""

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
"""What runs in a task of its own."""


class Origin(msgspec.Struct, frozen=True):
    """Where connections go: scheme, host and port. Connections, and credentials, belong to one origin."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Read the origin of a checked base address. Raises `ValueError` for a host that is none."""
        parts = urlsplit(base_url)
        host, port = read_authority(parts.netloc)
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))

    @property
    def authority(self) -> str:
        """Host and port as the `Host` field names them: without a port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Reader(Protocol):
    """The body of an answer."""

    async def read(self) -> bytes:
        """Give the next bytes as they came (content coding not undone); empty bytes at the clean end."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """The head of an answer, and a reader for its body."""

    status: int
    headers: Headers
    reader: Reader


class Connection(Protocol):
    """Carries one exchange at a time to one origin."""

    @property
    def reused(self) -> bool:
        """It stood ready before this exchange: it has served another, or was made ahead."""
        ...

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        ...

    @property
    def connect_time(self) -> float | None:
        """How long the present exchange waited for its connection to be made, in seconds."""
        ...

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer. `read_timeout` bounds each wait for bytes."""
        ...

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes; called before the body's first read.

        `None`: the reader is watched over, and `cut` if it waits too long.
        """
        ...

    def usable(self) -> bool:
        """Say whether the idle connection can take another request (the peer has neither closed nor spoken)."""
        ...

    async def finish(self) -> None:
        """End an exchange whose body was read to its end; the connection may serve another."""
        ...

    def cut(self) -> None:
        """Break the connection under a waiting reader, at once and from any task. `close` must still follow."""
        ...

    async def close(self) -> None:
        """Throw the connection away, whatever state it is in. Shielded and brief."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Opens connections. Opening does no I/O: a connection is made with its first request."""

    def open(self, origin: Origin) -> Connection:
        """Give a new connection to an origin."""
        ...


@runtime_checkable
class Early(Protocol):
    """A connection that can be made ahead of its first request."""

    async def connect(self, *, seconds: float) -> None:
        """Connect and shake hands, within so many seconds."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """A connection that can tell a peer that has closed it from one that has begun to answer."""

    @property
    def heard(self) -> bool:
        """Something has come of an answer to the present request."""
        ...


@runtime_checkable
class PerProvider(Protocol):
    """A transport that knows of network settings."""

    def for_provider(self, config: ProviderConfig, run: Callable[[Task], None], /) -> Transport:
        """Return the transport for a provider with these settings. `run` starts tasks that end with the client."""
        ...
