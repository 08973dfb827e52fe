"""What a test provider does for one call: a rendered response, and how much of it is sent. There is no I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.testing.calls import MockCall

Trouble: TypeAlias = Literal["refuse", "black_hole", "garbage"]
"""What can happen instead of a response: no connection, a connection that is never established, bytes that are not
HTTP.
"""

Ending: TypeAlias = Literal["clean", "hang_up", "cut", "stall", "reset"]
"""How a body ends: complete, complete with the connection closed afterwards, cut off, never, or with a reset."""

_PLAIN_SLICES = 8
"""The number of pieces of a plain response that is sent slowly."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a step, rendered in the format of the call."""

    status: int = 200
    """The HTTP status."""

    headers: Mapping[str, str]
    """The header fields."""

    events: Sequence[Event]
    """The events of a stream, or one event for the whole body."""
    stream: bool = False
    """Whether it is a stream."""

    @property
    def length(self) -> int:
        """The length of the whole body, in bytes."""
        return sum(len(event.data) for event in self.events)

    def play(self, *, pace: float = 0.0) -> Play:
        """Return how it is sent without faults, with `pace` seconds between the events of a stream."""
        return Play(
            status=self.status,
            headers=self.headers,
            pieces=[event.data for event in self.events if event.data],
            length=self.length,
            stream=self.stream,
            pace=pace if self.stream else 0.0,
        )


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport or a server does for one call."""

    trouble: Trouble | None = None
    """What happens instead of a response; `None` if there is a response."""

    status: int = 200
    """The HTTP status."""

    headers: Mapping[str, str] = {}
    """The header fields."""

    pieces: Sequence[bytes] = ()
    """The pieces of the body that are sent."""
    length: int = 0
    """The length of the complete body, in bytes."""
    stream: bool = False
    """Whether it is a stream."""

    before_head: bool = False
    """Whether it ends before anything is sent."""
    ending: Ending = "clean"
    """How the body ends."""

    delay: float = 0.0
    """Seconds before the head."""

    pace: float = 0.0
    """Seconds before each piece of the body."""


Write: TypeAlias = "Callable[[MockCall, Dialect], Answer]"
"""Renders the response to a call."""


def split_events(data: bytes) -> list[bytes]:
    """Split the bytes of an event stream after each blank line."""
    events = [event + b"\n\n" for event in data.replace(b"\r\n", b"\n").split(b"\n\n")]
    events[-1] = events[-1][:-2]
    return [event for event in events if event]


def place_after(events: Sequence[Event], count: int) -> int:
    """Return the index after `count` content events (after the preamble for 0), before the next content event."""
    seen = 0
    place = 0
    for index, event in enumerate(events):
        if event.content:
            if seen == count:
                return index
            seen += 1
            place = index + 1
    return place


def first_bytes(pieces: list[bytes], count: int) -> list[bytes]:
    """Return the first `count` bytes, divided into the same pieces."""
    first: list[bytes] = []
    for piece in pieces:
        if count <= 0:
            break
        first.append(piece[:count])
        count -= len(piece)
    return first


def slices(data: bytes) -> list[bytes]:
    """Divide a plain response into the pieces that are sent slowly."""
    size = max(1, -(-len(data) // _PLAIN_SLICES))
    return [data[start : start + size] for start in range(0, len(data), size)]


_JSON: Mapping[str, str] = {"content-type": "application/json"}
_HTML: Mapping[str, str] = {"content-type": "text/html; charset=utf-8"}
_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in to go on.</body></html>"


def document(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a plain response, with JSON as its content type unless the headers have another one."""
    return Answer(status=status, headers={**_JSON, **(headers or {})}, events=[Event(body, content=True)])


def web_page(status: int) -> Answer:
    """Return a response as sent by proxies and captive portals."""
    return document(status, _PAGE, _HTML)
