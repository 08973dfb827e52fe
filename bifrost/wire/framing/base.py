"""What divides the bytes of a stream into events, whatever the events are, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from bifrost.errors import ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT_LIMIT = 8 * 1024 * 1024
"""The most bytes of one event."""

STREAM_LIMIT = 256 * 1024 * 1024
"""The most bytes of one stream."""


class Event(Protocol):
    """A framed piece of a stream."""

    @property
    def data(self) -> bytes:
        """Its content, not decoded."""
        ...


EventT_co = TypeVar("EventT_co", bound=Event, covariant=True)


class Framer(Protocol[EventT_co]):
    """Divides the bytes of a stream into events. A new one is made for each stream."""

    def feed(self, data: bytes, /) -> Sequence[EventT_co]:
        """Add bytes. Returns the events that are complete.

        Raises `ResponseTooLargeError` if an event or the stream exceeds its limit, and `MalformedResponseError`.
        """
        ...

    def finish(self) -> Sequence[EventT_co]:
        """Return the events that are complete at the end of the input."""
        ...


def too_large(what: str, limit: int) -> ResponseTooLargeError:
    """Return the error of an event or a stream (`what`, with its verb) that exceeds its limit."""
    return ResponseTooLargeError(f"{what} larger than the limit of {limit:,} bytes")
