"""Sources of a stream's chunks: the protocol, and sources other than a provider's open response."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

import anyio

from bifrost.errors import BifrostError, CallTimeoutError, PluginError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from typing import Any


class Source(Protocol):
    """A source of a stream's chunks."""

    warnings: Sequence[str]
    """Warnings that become part of the response."""
    held: int
    """The bytes of the events before the first content."""

    async def next(self) -> Sequence[Any] | None:
        """Return the next chunks; `None` at the end. Raises `BifrostError`."""
        ...

    def committed(self) -> None:
        """Apply the time limits for silence, because the first content has arrived."""
        ...

    def seen(self) -> None:
        """Record that the reader is active: it took a chunk that was returned before."""
        ...

    def release(self) -> None:
        """Release everything behind it. It is synchronous, and any task may call it repeatedly."""
        ...

    async def close(self) -> None:
        """Release it, in the task that read it."""
        ...

    async def gone(self) -> None:
        """Wait until nothing is held any more, after `release`."""
        ...


class ReadyChunks:
    """Chunks that are available already: a complete response, or one of a plugin."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks: Sequence[Any] | None = list(chunks)
        self.warnings: Sequence[str] = ()
        self.held = 0

    async def next(self) -> Sequence[Any] | None:
        """Return all chunks at once."""
        chunks, self._chunks = self._chunks, None
        return chunks

    def committed(self) -> None:
        """Do nothing: there is no silence."""

    def seen(self) -> None:
        """Do nothing: there is no time limit."""

    def release(self) -> None:
        """Do nothing: nothing is held."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""

    async def gone(self) -> None:
        """Do nothing: nothing is held."""


class ForeignChunks:
    """Chunks of a plugin's asynchronous iterator, limited by the call's deadline."""

    def __init__(self, iterator: AsyncIterator[Any], deadline: float, *, kind: type[Any]) -> None:
        self._iterator = iterator
        self._kind = kind
        self._deadline = deadline
        self.warnings: Sequence[str] = ()
        self.held = 0

    async def next(self) -> Sequence[Any] | None:
        """Return the plugin's next chunk."""
        with anyio.CancelScope(deadline=self._deadline):
            try:
                chunk = cast("object", await self._iterator.__anext__())
                if not isinstance(chunk, self._kind):
                    raise PluginError(
                        f"a plugin's stream gave {type(chunk).__name__}, where it may give {self._kind.__name__} values"
                    )
                return (chunk,)
            except StopAsyncIteration:
                return None
            except BifrostError:
                raise
            except Exception as error:
                raise PluginError(f"a plugin's stream failed: {type(error).__name__}") from error
        raise CallTimeoutError("the call's time ended inside a plugin's stream", phase="stream")

    def committed(self) -> None:
        """Do nothing: the call's deadline is the only limit."""

    def seen(self) -> None:
        """Do nothing: the call's deadline is the only limit."""

    def release(self) -> None:
        """Do nothing: a generator can be closed only by the task that reads it."""

    async def close(self) -> None:
        """Close the iterator, if it is a generator."""
        ending = getattr(self._iterator, "aclose", None)
        if ending is not None:
            with suppress(Exception):  # a plugin's code, whose stream is no longer read
                await ending()

    async def gone(self) -> None:
        """Return at once: a plugin's stream has no place in a pool."""
