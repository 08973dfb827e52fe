"""What a test provider does for one call: an answer, written out, and how much of it is sent. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.testing.calls import MockCall

Trouble: TypeAlias = Literal["refuse", "black_hole", "garbage"]
"""What can happen instead of an answer: no connection, a connection that is never made, bytes that are not HTTP."""

Ending: TypeAlias = Literal["clean", "hang_up", "cut", "stall", "reset"]
"""How a body ends: whole, whole with the connection closed behind it or too early, never, or with a reset."""

_PLAIN_SLICES = 8
"""Into how many pieces a plain answer falls when it drips."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A step's answer, written in the dialect of the call."""

    status: int = 200
    headers: Mapping[str, str]
    events: Sequence[Event]
    """A stream's events, or one for the whole body."""
    stream: bool = False

    @property
    def length(self) -> int:
        """The length of the whole body, in bytes."""
        return sum(len(event.data) for event in self.events)

    def play(self, *, pace: float = 0.0) -> Play:
        """Say how it is sent as it is, with `pace` seconds between the events of a stream."""
        return Play(
            status=self.status,
            headers=self.headers,
            pieces=[event.data for event in self.events if event.data],
            length=self.length,
            stream=self.stream,
            pace=pace if self.stream else 0.0,
        )


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport or a server has to do for one call."""

    trouble: Trouble | None = None
    status: int = 200
    headers: Mapping[str, str] = {}
    pieces: Sequence[bytes] = ()
    """The body as it is sent, piece by piece, as far as it is sent."""
    length: int = 0
    """The length of the body if it were sent whole."""
    stream: bool = False
    before_head: bool = False
    """The ending comes before anything was sent."""
    ending: Ending = "clean"
    delay: float = 0.0
    pace: float = 0.0


Write: TypeAlias = "Callable[[MockCall, Dialect], Answer]"
"""Writes the answer to a call."""


def split_events(data: bytes) -> list[bytes]:
    """Split the bytes of an event stream after each blank line."""
    events = [event + b"\n\n" for event in data.replace(b"\r\n", b"\n").split(b"\n\n")]
    events[-1] = events[-1][:-2]
    return [event for event in events if event]


def place_after(events: Sequence[Event], count: int) -> int:
    """Give the place behind so many content events (and behind the preamble if 0), before the next one."""
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
    """Give the first `count` bytes, in the same pieces."""
    kept: list[bytes] = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece[:count])
        count -= len(piece)
    return kept


def slices(data: bytes) -> list[bytes]:
    """Divide a plain answer into the pieces in which it drips."""
    size = max(1, -(-len(data) // _PLAIN_SLICES))
    return [data[start : start + size] for start in range(0, len(data), size)]


_JSON: Mapping[str, str] = {"content-type": "application/json"}
_HTML: Mapping[str, str] = {"content-type": "text/html; charset=utf-8"}
_PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in to go on.</body></html>"


def document(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Make a plain answer; of JSON, if the headers do not say otherwise."""
    return Answer(status=status, headers={**_JSON, **(headers or {})}, events=[Event(body, content=True)])


def web_page(status: int) -> Answer:
    """Make an answer as proxies and captive portals give it."""
    return document(status, _PAGE, _HTML)
