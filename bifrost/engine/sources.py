"""Where a stream's chunks come from: what every source can do, and those that are no provider's open answer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

import anyio

from bifrost.errors import BifrostError, CallTimeoutError, PluginError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from typing import Any


class Source(Protocol):
    """Where a stream's chunks come from."""

    warnings: Sequence[str]
    """What was noticed on the way; ends on the answer."""
    held: int
    """The bytes of the events whose chunks came before the first content."""

    async def next(self) -> Sequence[Any] | None:
        """Give the next chunks, `None` at the end. Raises `BifrostError`."""
        ...

    def committed(self) -> None:
        """Hear that the first content has come: from here on silence has limits of its own."""
        ...

    def seen(self) -> None:
        """Hear that the reader took a chunk that had been given before: it is still there."""
        ...

    def release(self) -> None:
        """Let everything behind it go. Synchronous, from any task, any number of times."""
        ...

    async def close(self) -> None:
        """Release it, in the task that read it."""
        ...

    async def gone(self) -> None:
        """Wait until nothing of it is held any more; after `release`."""
        ...


class ReadyChunks:
    """Chunks that are there already: an answer given whole, or by a plugin."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self._chunks: Sequence[Any] | None = list(chunks)
        self.warnings: Sequence[str] = ()
        self.held = 0

    async def next(self) -> Sequence[Any] | None:
        """Give all chunks at once."""
        chunks, self._chunks = self._chunks, None
        return chunks

    def committed(self) -> None:
        """Nothing is waited for."""

    def seen(self) -> None:
        """Nobody is waited for."""

    def release(self) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is held."""

    async def gone(self) -> None:
        """Nothing is held."""


class ForeignChunks:
    """Chunks from a plugin's asynchronous iterator, bounded by the call's deadline."""

    def __init__(self, iterator: AsyncIterator[Any], deadline: float, *, kind: type[Any]) -> None:
        self._iterator = iterator
        self._kind = kind
        self._deadline = deadline
        self.warnings: Sequence[str] = ()
        self.held = 0

    async def next(self) -> Sequence[Any] | None:
        """Give the plugin's next chunk."""
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
        """Do nothing: a generator can only be ended by the task that reads it."""

    async def close(self) -> None:
        """End the iterator, if it is a generator."""
        ending = getattr(self._iterator, "aclose", None)
        if ending is not None:
            with suppress(Exception):  # a plugin's code, whose stream nobody reads any more
                await ending()

    async def gone(self) -> None:
        """Hold nobody up: a plugin's stream has no place in a pool."""
