"""One exchange on a shared HTTP/2 connection: what was received of its response, and the task that waits for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bifrost.transport.heads import interim_alone
from bifrost.transport.wires import PeerError
from bifrost.wire.http.response import INTERIM_LIMIT

if TYPE_CHECKING:
    import anyio
    from h2.events import Event

_REFUSED = 7


class UntakenError(Exception):
    """The peer has not processed the request and will not process it on this connection."""


class Http2Stream:
    """One exchange."""

    __slots__ = (
        "_interim",
        "_length",
        "_place",
        "_received",
        "chunks",
        "ended",
        "failure",
        "fields",
        "heard",
        "id",
        "is_known",
        "news",
        "owed",
        "said_all",
        "sent",
        "sent_at",
        "status",
    )

    def __init__(self, place: str) -> None:
        self._place = place
        self.id = 0
        self.sent = False
        """Whether its head may have been sent."""
        self.sent_at = 0.0
        self.said_all = False
        """Whether the complete request was sent."""
        self.status: int | None = None
        self.fields: list[tuple[bytes, bytes]] = []
        self.chunks: deque[bytes] = deque()
        self.owed = 0
        """Received bytes for which the window was not opened again yet."""
        self.ended = False
        """Whether the complete response was received."""
        self.failure: Exception | None = None
        self.heard = False
        """Whether a part of the response was received."""
        self.is_known = False
        """Whether the peer knows that the stream has ended, because it said so itself."""
        self.news: anyio.Event | None = None
        """The event that the exchange waits for."""
        self._interim = 0
        self._length: int | None = None
        """The length of the body according to the head; `None` if the head has none."""
        self._received = 0

    def feed(self, event: Event) -> None:
        """Process an event of this stream."""
        from h2 import events

        self.heard = True
        match event:
            case events.InformationalResponseReceived():
                self._interim += 1
                if self._interim > INTERIM_LIMIT:
                    self.fail(interim_alone(self._place))
            case events.ResponseReceived():
                self._begin([(bytes(name), bytes(value)) for name, value in event.headers or []])
            case events.DataReceived():
                self._received += len(event.data or b"")
                if event.data:
                    self.chunks.append(event.data)
                self.owed += event.flow_controlled_length or 0
            case events.StreamEnded():
                self._end()
            case events.StreamReset():
                self.is_known = True
                if not self.ended:
                    refused = event.error_code == _REFUSED
                    self.fail(UntakenError() if refused else PeerError("the peer has reset the stream"))
            case _:
                return
        self.wake()

    def fail(self, error: Exception) -> None:
        """End the stream with an error, and wake its waiting task."""
        self.failure = self.failure or error
        self.wake()

    def check(self) -> None:
        """Raise the error that ended it, if there is one."""
        if self.failure is not None:
            raise self.failure

    def wake(self) -> None:
        """Wake its waiting task."""
        if self.news is not None:
            self.news.set()

    def _begin(self, fields: list[tuple[bytes, bytes]]) -> None:
        status = [value for name, value in fields if name == b":status"]
        if len(status) != 1 or len(status[0]) != 3 or not status[0].isdigit():
            self.fail(PeerError("the status is malformed"))
            return
        self.fields = [(name, value) for name, value in fields if not name.startswith(b":")]
        lengths = {value.strip() for name, value in self.fields if name.lower() == b"content-length"}
        if lengths:
            length = lengths.pop()
            if lengths or len(length) > 18 or not length.isdigit():
                self.fail(PeerError("the length of the response is malformed"))
                return
            self._length = int(length)
        self.status = int(status[0])

    def _end(self) -> None:
        if self.status is None:
            self.fail(PeerError("the stream ended without a response"))
        elif self._length not in (None, self._received) and self.status not in (204, 304):
            self.fail(PeerError("the response has another length than it said"))
        else:
            self.ended = True
