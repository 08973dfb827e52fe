"""One answer of a test provider, and how it is played: whole, late, in pieces, spoilt or cut. No I/O here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import attrs
import msgspec

from bifrost.errors import UsageError
from bifrost.testing.calls import MockCall
from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.testing.script import Script

Trouble: TypeAlias = Literal["refuse", "black_hole", "garbage"]
"""What can happen instead of an answer: no connection, a connection that is never made, bytes that are not HTTP."""

Ending: TypeAlias = Literal["clean", "hang_up", "cut", "stall", "reset"]
"""How a body ends: whole, whole with the connection closed behind it or too early, never, or with a reset."""

_BROKEN = frozenset({"cut", "stall", "reset"})
_PLAIN_SLICES = 8
"""Into how many pieces a plain answer falls when it drips."""
_FILLING = Event(b" " * 65536)
"""What makes an answer too large: blanks, which JSON may begin with and which are held in memory once."""


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
_Change: TypeAlias = "Callable[[Answer, Dialect], Answer]"


@attrs.define(eq=False)
class Step:
    """One answer or fault of a script. Its methods change how it is played and give the step itself."""

    _script: Script
    _name: str
    _write: Write | None = None
    _trouble: Trouble | None = None
    _uses: float = attrs.field(default=1, init=False)
    _used: int = attrs.field(default=0, init=False)
    _required: bool = attrs.field(default=True, init=False)
    _delay: float = attrs.field(default=0.0, init=False)
    _pace: float = attrs.field(default=0.0, init=False)
    _ending: Ending = attrs.field(default="clean", init=False)
    _after_bytes: int | None = attrs.field(default=None, init=False)
    _after_events: int | None = attrs.field(default=None, init=False)
    _after_share: float | None = attrs.field(default=None, init=False)
    _changes: list[_Change] = attrs.field(factory=list["_Change"], init=False)

    @property
    def then(self) -> Script:
        """The script, to go on writing: `mock.fail(429).then.reply("ok")`."""
        return self._script

    def times(self, count: int) -> Self:
        """Play this step `count` times before the next one's turn comes."""
        self._uses = count
        return self

    def always(self) -> Self:
        """Play this step for every further call; it need not be used at all."""
        self._uses = math.inf
        self._required = False
        return self

    def delay(self, seconds: float) -> Self:
        """Wait so long before the head of the answer."""
        self._delay = seconds
        return self

    def drip(self, seconds: float) -> Self:
        """Wait so long before each piece of the body: each event of a stream, each eighth of a plain answer."""
        self._pace = seconds
        return self

    def cut(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Close the connection too early: after so much of the body, or with nothing given before any answer.

        `after_events` counts the events that carry a piece of the answer; 0 is after the stream's preamble. A plain
        answer is one such event. `after_share` is a part of the body's bytes, 0.5 for half of them.
        """
        return self.end("cut", after_bytes, after_events, after_share)

    def stall(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Send nothing more after so much of the body, and keep the connection open. Arguments as for `cut`."""
        return self.end("stall", after_bytes, after_events, after_share)

    def reset(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: float | None = None,
    ) -> Self:
        """Reset the connection (TCP RST) after so much of the body. Arguments as for `cut`."""
        return self.end("reset", after_bytes, after_events, after_share)

    def later(self, *, delay: float, pace: float) -> Self:
        """Play it so much later and no faster than that."""
        self._delay += delay
        self._pace = max(self._pace, pace)
        return self

    def hang_up(self) -> Self:
        """Close the connection behind the whole answer, as a peer does with one that is idle."""
        self._ending = "hang_up"
        return self

    def malformed_event(self, *, at: int = 1) -> Self:
        """Send an event that is not JSON before the stream's content event number `at` (0 is the first)."""

        def change(answer: Answer, dialect: Dialect) -> Answer:
            return self._intruded(answer, at, dialect.event('{"broken": '), is_last=False)

        self._changes.append(change)
        return self

    def error_event(
        self,
        *,
        at: int = 1,
        status: int = 529,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
    ) -> Self:
        """Send an error inside the stream instead of its content event number `at`, and end the stream there.

        `status` chooses what the provider would say; it is not sent, the head with its 200 has gone out before.
        """

        def change(answer: Answer, dialect: Dialect) -> Answer:
            return self._intruded(answer, at, dialect.error_event(status, message, type, code), is_last=True)

        self._changes.append(change)
        return self

    def bad_json(self, *, at: int = 0) -> Self:
        """Send JSON that ends in the middle in HTTP that is whole; in a stream, such an event as `malformed_event`."""

        def change(answer: Answer, dialect: Dialect) -> Answer:
            if answer.stream:
                return self._intruded(answer, at, dialect.event('{"broken": '), is_last=False)
            body = b"".join(event.data for event in answer.events)
            return msgspec.structs.replace(answer, events=[Event(body[: len(body) // 2], content=True)])

        self._changes.append(change)
        return self

    def oversize(self, size: int) -> Self:
        """Make the answer at least so many bytes longer: by blanks before it, or in a stream by an endless line."""
        filling = [_FILLING] * -(-size // len(_FILLING.data))

        def change(answer: Answer, _dialect: Dialect) -> Answer:
            long = [Event(b"data: "), *filling, Event(b"\n\n")] if answer.stream else filling
            return msgspec.structs.replace(answer, events=[*long, *answer.events])

        self._changes.append(change)
        return self

    def _intruded(self, answer: Answer, at: int, event: bytes, *, is_last: bool) -> Answer:
        if not answer.stream:
            raise UsageError(f"{self!r} scripts an event of a stream, and the call asks for a plain answer")
        place = _place(answer.events, at)
        rest = () if is_last else answer.events[place:]
        return msgspec.structs.replace(answer, events=[*answer.events[:place], Event(event, content=True), *rest])

    def end(self, ending: Ending, after_bytes: int | None, after_events: int | None, after_share: float | None) -> Self:
        """Do what `cut`, `stall` and `reset` do."""
        if sum(place is not None for place in (after_bytes, after_events, after_share)) > 1:
            raise UsageError(f"{ending}() takes one of after_bytes, after_events and after_share")
        self._ending, self._after_bytes, self._after_events = ending, after_bytes, after_events
        self._after_share = after_share
        return self

    # --- for the transport and the server that play it

    @property
    def left(self) -> bool:
        """It can be played once more."""
        return self._used < self._uses

    @property
    def missing(self) -> int:
        """How often it should still have been played."""
        return int(self._uses - self._used) if self._required else 0

    @property
    def trouble(self) -> Trouble | None:
        """What happens instead of an answer."""
        return self._trouble

    def use(self) -> None:
        """Count one playing."""
        self._used += 1

    def play(self, call: MockCall, dialect: Dialect) -> Play:
        """Say what is to be done for a call. Raises `UsageError` if the step does not fit what is asked."""
        if self._write is None:
            return Play(trouble=self._trouble, delay=self._delay)
        answer = self._write(call, dialect)
        for change in self._changes:
            answer = change(answer, dialect)
        pieces = self._pieces(answer)
        # A plain answer says how long it is: once all of it is there, nobody minds what becomes of the connection.
        whole = not answer.stream and sum(map(len, pieces)) == answer.length and not self._before_head
        return msgspec.structs.replace(
            answer.play(),
            pieces=pieces,
            before_head=self._before_head,
            ending="clean" if whole and self._ending != "hang_up" else self._ending,
            delay=self._delay,
            pace=self._pace,
        )

    @property
    def write(self) -> Write | None:
        """What writes its answer; `None` if there is none."""
        return self._write

    @property
    def _before_head(self) -> bool:
        places = (self._after_bytes, self._after_events, self._after_share)
        return self._ending in _BROKEN and all(place is None for place in places)

    def _pieces(self, answer: Answer) -> list[bytes]:
        events = answer.events
        if self._after_events is not None:
            events = events[: _place(events, self._after_events)]
        pieces = [event.data for event in events if event.data]
        if self._after_bytes is not None:
            pieces = _first(pieces, self._after_bytes)
        if self._after_share is not None:
            pieces = _first(pieces, int(self._after_share * answer.length))
        if self._pace and not answer.stream:
            pieces = _slices(b"".join(pieces))
        return pieces

    def __repr__(self) -> str:
        return f"{self._name}{self._script.told}"


def split_events(data: bytes) -> list[bytes]:
    """Split the bytes of an event stream after each blank line."""
    events = [event + b"\n\n" for event in data.replace(b"\r\n", b"\n").split(b"\n\n")]
    events[-1] = events[-1][:-2]
    return [event for event in events if event]


def _place(events: Sequence[Event], count: int) -> int:
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


def _first(pieces: list[bytes], count: int) -> list[bytes]:
    """Give the first `count` bytes, in the same pieces."""
    kept: list[bytes] = []
    for piece in pieces:
        if count <= 0:
            break
        kept.append(piece[:count])
        count -= len(piece)
    return kept


def _slices(data: bytes) -> list[bytes]:
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
