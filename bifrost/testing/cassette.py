"""`Cassette`: exchanges that are recorded in a file and played back from it, byte for byte.

It wraps a transport, which it uses only while it records.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import anyio
import anyio.lowlevel

from bifrost.errors import BifrostError, CallTimeoutError, TransportError
from bifrost.testing.mock import make_account
from bifrost.testing.tape import (
    ANSWER_HEADERS,
    CassetteError,
    Cleaner,
    Part,
    RecordedAnswer,
    RecordedRequest,
    Recording,
    bytes_of,
    clean,
    differences,
    failure_of,
    kept_fields,
    piece_of,
    read_file,
    recorded_request,
    write_file,
)
from bifrost.transport import ConnectionBase, ResponseHead, Transport, as_transport
from bifrost.wire.body import Inflater
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from types import TracebackType

    from bifrost.account import StaticAccount
    from bifrost.client import Bifrost
    from bifrost.config import Timeouts
    from bifrost.errors import Phase
    from bifrost.transport import BodyStream, Connection, Origin
    from bifrost.wire.http import HttpRequest

RecordMode: TypeAlias = Literal["none", "once", "new", "all"]
"""What a cassette records. See `Cassette`."""

_MAX_DIFFERENCES = 8
"""The most differences that an error lists."""


class Cassette(Transport):
    """Exchanges recorded in a file, instead of the network.

        with Cassette("tests/cassettes/greeting.json", record="once") as cassette:
            async with Bifrost(transport=cassette) as client:
                reply = await client.chat("openai/gpt-4o-mini", "Say hello")

    A request is answered with the first recording of the same request that was not played yet. It plays the bytes of
    the original response, divided into pieces as they arrived. Leaving the block, or `save()`, writes the file.

    The file contains no secrets. Only a few harmless header fields are recorded. Keys are removed from addresses,
    bodies and responses, as are pieces of them, masked, in base64 or percent-encoded.

    Args:
        path: The file. Its folder is created when it is written.
        record: `none` only plays. `once` records if the file does not exist, and plays it otherwise. `new` plays what
            is recorded and records everything else. `all` records everything and replaces the file.
        transport: The transport for recording, as for `Bifrost`; by default the network.
        match_on: What must be equal: any of `method`, `host`, `path`, `body` (as JSON, if it is JSON) and `headers`.
        ignore_fields: Fields of the body that may differ, as paths: `metadata.trace`.
        redact: Further texts, or regular expressions, that are replaced with `***`.
        keep_headers: Names of further header fields to record (`x-team`, `x-team-*`, `*`). Credentials and cookies are
            never recorded.
        ordered: Whether requests must arrive in the order in which they were recorded.
        repeat: Whether a recording may be played several times.
        record_pace: Whether to record how long each piece took to arrive.
        pace: A factor for the recorded waits when playing; 0 means no waits.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        record: RecordMode = "none",
        transport: Any = None,
        match_on: Sequence[Part] = ("method", "host", "path", "body"),
        ignore_fields: Sequence[str] = (),
        redact: Sequence[str | re.Pattern[str]] = (),
        keep_headers: Sequence[str] = (),
        ordered: bool = False,
        repeat: bool = False,
        record_pace: bool = False,
        pace: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self.record_pace = record_pace
        self.pace = pace
        self.cleaner = Cleaner(redact)
        self._transport = transport
        self._match_on = match_on
        self._ignore = ignore_fields
        self._keep = tuple(name.lower() for name in keep_headers)
        self._ordered = ordered
        self._repeat = repeat
        self._exists = self.path.exists()
        self._old: list[Recording] = []
        self._addresses: dict[str, str] = {}
        if self._exists and record != "all":
            file = read_file(self.path.read_bytes(), place=str(self.path))
            self._old, self._addresses = file.exchanges, file.addresses
        self._new: list[Recording] = []
        self._played: set[int] = set()
        self._unmatched: list[str] = []
        self.recording = record in ("new", "all") or (record == "once" and not self._exists)
        """Whether requests that are not in the file are sent and recorded."""
        if self.recording:
            self._learn_environment()

    # --- for users

    @property
    def exchanges(self) -> Sequence[Recording]:
        """The recordings, in order."""
        return [*self._old, *self._new]

    @property
    def unused(self) -> Sequence[Recording]:
        """The recordings of the file that were not played."""
        return [recording for place, recording in enumerate(self._old) if place not in self._played]

    def account(self, *providers: str) -> StaticAccount:
        """Return an account with a fake key for these providers, by default for all.

        It suffices to play, but not to record.

        Providers whose address was set in the environment during the recording have that address.
        """
        from bifrost.config import ProviderConfig
        from bifrost.providers.catalog import CATALOG

        names = providers or tuple(CATALOG)
        placed = {
            name: ProviderConfig(base_url=address, allow_insecure_http=True)
            for name, address in self._addresses.items()
            if name in names
        }
        return make_account({name: [f"{name}-key"] for name in names}, configs=placed)

    def client(self, account: Any = None, **options: Any) -> Bifrost:
        """Return a client of this cassette, which needs no key to play. The options are those of `Bifrost`."""
        from bifrost.client import Bifrost

        if account is None and not self.recording:
            account = self.account()
        return Bifrost(account=account, transport=self, **options)

    def save(self) -> None:
        """Write the file if something was recorded. Secrets that became known late are removed now."""
        if not self._new:
            return
        for recording in self.exchanges:
            clean(recording, self.cleaner)
        addresses = {**self._addresses, **self._addresses_used()}
        addresses = {name: self.cleaner.url(address) for name, address in addresses.items()}
        data = write_file(self.exchanges, self.cleaner, addresses=addresses)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(data)

    def assert_done(self, *, all_played: bool = False) -> None:
        """Raise `CassetteError` if a request had no recording or, with `all_played`, if a recording was not played."""
        problems = list(self._unmatched)
        if all_played:
            unused = [f"{each.request.method} {each.request.url}" for each in self.unused]
            problems += [f"recorded in {self.path} and never requested: {', '.join(unused)}"] if unused else []
        if problems:
            raise CassetteError("; ".join(problems))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def __repr__(self) -> str:
        return f"Cassette({str(self.path)!r}, {len(self.exchanges)} exchanges, recording={self.recording})"

    # --- for the connections

    def open(self, origin: Origin) -> CassetteConnection:
        """Return a new connection. The client calls it."""
        return CassetteConnection(self, origin)

    def inner(self, origin: Origin) -> Connection:
        """Open a connection of the wrapped transport."""
        self._transport = as_transport(self._transport)
        opened: Connection = self._transport.open(origin)
        return opened

    def incoming_request(self, request: HttpRequest, origin: Origin) -> RecordedRequest:
        """Return the recording of a request, without its secrets."""
        self.cleaner.learn_from(request.headers, request.secret_query)
        return recorded_request(request, origin=_address(origin), cleaner=self.cleaner, keep=self._keep)

    def find(self, incoming: RecordedRequest) -> Recording | None:
        """Return the recording for a request; `None` if the request is to be sent.

        Raises `CassetteError`, which shows the most similar recording.
        """
        for place, recording in enumerate(self._old):
            if place in self._played and not self._repeat:
                continue
            if not self._differences(recording, incoming):
                self._played.add(place)
                return recording
            if self._ordered:
                break
        if self.recording:
            return None
        problem = self._problem_with(incoming)
        self._unmatched.append(problem)
        raise CassetteError(problem)

    def take(self, incoming: RecordedRequest) -> Recording:
        """Begin a recording."""
        recording = Recording(request=incoming, left=True)
        self._new.append(recording)
        return recording

    def drop(self, recording: Recording) -> None:
        """Discard a recording that is useless."""
        self._new.remove(recording)

    def fields(self, headers: Headers, *, more: Sequence[str] = ()) -> list[str]:
        """Return the header fields of a response that may be recorded."""
        return kept_fields(headers, (*ANSWER_HEADERS, *self._keep, *more), self.cleaner)

    # --- inside

    def _differences(self, recording: Recording, incoming: RecordedRequest) -> list[str]:
        return differences(recording.request, incoming, parts=self._match_on, ignore=self._ignore)

    def _problem_with(self, incoming: RecordedRequest) -> str:
        head = f"{incoming.method} {incoming.url} is not recorded in {self.path}"
        advice = "record it with record='new', in pytest --bifrost-record=new"
        if not self._exists:
            return f"{head}: there is no such file; {advice}"
        if not self._old:
            return f"{head}: it is empty; {advice}"
        left = [place for place in range(len(self._old)) if self._repeat or place not in self._played]
        found = [
            (self._differences(self._old[place], incoming), place) for place in (left[:1] if self._ordered else left)
        ]
        if not found:
            return f"{head} again: each of its {len(self._old)} recordings was played once; {advice}"
        nearest, place = min(found, key=lambda each: (len(each[0]), each[1]))
        lines = "".join(f"\n  {line}" for line in nearest[:_MAX_DIFFERENCES])
        more = f"\n  and {len(nearest) - _MAX_DIFFERENCES} more" if len(nearest) > _MAX_DIFFERENCES else ""
        which = "the next in order" if self._ordered else "the nearest"
        return f"{head}; {which}, number {place + 1} of {len(self._old)}, differs:{lines}{more}\n{advice}"

    def _addresses_used(self) -> dict[str, str]:
        """Return the addresses from the environment that were used.

        They are recorded because the environment may differ when the file is played.
        """
        from bifrost.account import EnvAccount
        from bifrost.providers.catalog import CATALOG

        variables = {name: EnvAccount().address_variable(name) for name in CATALOG}
        set_to = {
            name: os.environ.get(variable, "").strip().rstrip("/") for name, variable in variables.items() if variable
        }
        incoming = [recording.request.url for recording in self._new]
        return {name: to for name, to in set_to.items() if to and any(url.startswith(f"{to}/") for url in incoming)}

    def _learn_environment(self) -> None:
        from bifrost.providers.catalog import CATALOG

        for row in CATALOG.values():
            for variable in row.key_variables + row.other_key_variables + row.joined_key_variables:
                self.cleaner.learn(os.environ.get(variable, "").strip())


class CassetteConnection(ConnectionBase):
    """A connection that plays recordings, or records those of another connection."""

    def __init__(self, cassette: Cassette, origin: Origin) -> None:
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None
        self._cassette = cassette
        self._origin = origin
        self._inner: Connection | None = None
        self._used = False
        """Whether the inner connection carries the current exchange, or carried the last one."""
        self._broken = anyio.Event()
        self._read_timeout: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Play the response to a request, or send the request and record the response."""
        await anyio.lowlevel.checkpoint()
        self._read_timeout = read_timeout
        incoming = self._cassette.incoming_request(request, self._origin)
        recording = self._cassette.find(incoming)
        self._used = recording is None
        if recording is None:
            return await self._record(incoming, request, timeouts=timeouts, read_timeout=read_timeout)
        self.sent = False
        self.connect_time = None if self.reused else 0.0
        return await self._play(recording)

    def limit_reads(self, seconds: float | None) -> None:
        """Limit each further wait for bytes of the body, in seconds."""
        self._read_timeout = seconds
        if self._used and self._inner is not None:
            self._inner.limit_reads(seconds)

    def usable(self) -> bool:
        """Return whether the idle connection can send another request."""
        return not self._broken.is_set() and (self._inner is None or self._inner.usable())

    async def finish(self) -> None:
        """End an exchange whose body was read completely."""
        if self._used and self._inner is not None:
            await self._inner.finish()
            self.reused = self._inner.reused
        else:
            self.reused = True

    def cut(self) -> None:
        """Break the connection, so that a waiting reader fails."""
        self._broken.set()
        if self._inner is not None:
            self._inner.cut()

    async def close(self) -> None:
        """Close the connection."""
        self._broken.set()
        if self._inner is not None:
            await self._inner.close()

    # --- recording

    async def _record(
        self, incoming: RecordedRequest, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None
    ) -> ResponseHead:
        inner = self._inner = self._inner or self._cassette.inner(self._origin)
        reused = inner.reused
        recording = self._cassette.take(incoming)
        began = anyio.current_time()
        try:
            answer = await inner.send(request, timeouts=timeouts, read_timeout=read_timeout)
        except BifrostError as error:
            failure = failure_of(error, sent=inner.sent, cleaner=self._cassette.cleaner)
            if failure is None or (reused and isinstance(error, TransportError)):
                # The failure concerns us, or a connection that was kept too long, and not the request.
                self._cassette.drop(recording)
            recording.failure, recording.left = failure, False
            raise
        finally:
            self.sent, self.reused, self.connect_time = inner.sent, reused, inner.connect_time
        return ResponseHead(answer.status, answer.headers, _Tape(self._cassette, recording, answer, began=began))

    # --- playing

    async def _play(self, recording: Recording) -> ResponseHead:
        answer = recording.answer
        waits = [] if answer is None else [wait * self._cassette.pace for wait in answer.waits]
        self.sent = recording.failure is None or recording.failure.sent
        await self.wait(waits[0] if waits else 0.0, phase="headers")
        if answer is not None:
            return ResponseHead(answer.status, Headers.of(*answer.fields()), _Player(self, recording, waits[1:]))
        if recording.failure is not None:
            raise recording.failure.raised()
        # The recording stopped before a response arrived. Playing it requires an equally short timeout.
        await self.wait(math.inf, phase="headers")
        raise CassetteError(f"{recording.request.url}: no answer was waited for when this was recorded")

    async def wait(self, seconds: float, *, phase: Phase) -> None:
        """Wait as long as was recorded, but not longer than the read limit or the life of the connection."""
        limit = math.inf if self._read_timeout is None else self._read_timeout
        if seconds:
            with anyio.move_on_after(min(seconds, limit)):
                await self._broken.wait()
        if self._broken.is_set():
            raise TransportError(f"the request to {self._origin} broke off")
        if seconds > limit:
            raise CallTimeoutError(f"{self._origin} sent nothing for too long", phase=phase)


class _Player:
    """The body of a recorded response, piece by piece."""

    def __init__(self, connection: CassetteConnection, recording: Recording, waits: Sequence[float]) -> None:
        self._connection = connection
        self._recording = recording
        self._pieces = iter(() if recording.answer is None else recording.answer.body)
        self._waits = iter(waits)

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        for piece in self._pieces:
            await self._connection.wait(next(self._waits, 0.0), phase="body")
            if data := bytes_of(piece):
                return data
        await self._connection.wait(0.0, phase="body")
        if self._recording.failure is not None:
            raise self._recording.failure.raised()
        if self._recording.left:
            raise CassetteError(
                f"the recording of {self._recording.request.url} ends here because its reader stopped; record it again"
            )
        return b""


class _Tape:
    """A reader that records what it reads, after decompression."""

    def __init__(self, cassette: Cassette, recording: Recording, answer: ResponseHead, *, began: float) -> None:
        self._cassette = cassette
        self._recording = recording
        self._reader: BodyStream = answer.reader
        self._last = anyio.current_time()
        try:
            coding = ", ".join(answer.headers.all("content-encoding")) or None
            self._inflater: Inflater | None = Inflater(coding, limit=2**40)
            fields = cassette.fields(answer.headers)
        except BifrostError:
            # The client will refuse this coding, which was not requested, and must also refuse the recording.
            self._inflater = None
            fields = cassette.fields(answer.headers, more=["content-encoding"])
        self._answer = recording.answer = RecordedAnswer(status=answer.status, headers=fields)
        if cassette.record_pace:
            self._answer.waits = [_rounded(self._last - began)]

    async def read(self) -> bytes:
        try:
            data = await self._reader.read()
        except BifrostError as error:
            self._recording.failure = failure_of(error, sent=True, cleaner=self._cassette.cleaner)
            self._recording.left = self._recording.failure is None
            raise
        if not data:
            self._recording.left = False
        elif self._inflater is not None:
            self._write(b"".join(self._inflater.feed(data)))
        return data

    def _write(self, data: bytes) -> None:
        """Add a piece as it was received. It is cleaned when the file is written, because secrets may be divided."""
        if not data:
            return
        self._answer.body.append(piece_of(data))
        if self._cassette.record_pace:
            now = anyio.current_time()
            self._answer.waits.append(_rounded(now - self._last))
            self._last = now


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _address(origin: Origin) -> str:
    """Return the address of an origin, without the scheme's default port."""
    return str(origin).removesuffix(":443" if origin.scheme == "https" else ":80")
