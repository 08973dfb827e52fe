"""The exchanges of a cassette as values: writing, removal of secrets, and comparison. There is no I/O here."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections import deque
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    ConnectError,
    InternalError,
    Phase,
    ProtocolError,
    TransportError,
    UsageError,
)
from bifrost.frozen import Value
from bifrost.testing.calls import CREDENTIALS
from bifrost.wire.redaction import merged, without
from bifrost.wire.secrets import Secret, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bifrost.wire.http import HttpRequest
    from bifrost.wire.ngrams import Span
    from bifrost.wire.redaction import Pieces

Part: TypeAlias = Literal["method", "host", "path", "body", "headers"]
"""The parts of a request that can be compared."""

Piece: TypeAlias = str | list[str] | dict[Literal["base64"], str]
"""Some bytes of a body in the file: a text, its lines, or base64 if they are not valid text."""

_MASK = "***"
_VERSION = 1
_NEVER_KEPT = CREDENTIALS | {
    *("cookie", "set-cookie", "set-cookie2", "authentication-info", "proxy-authentication-info"),
    *("x-amz-security-token", "x-csrf-token", "x-xsrf-token"),
}
"""Header fields that contain the credential of a request or a session."""

REQUEST_HEADERS = ("accept", "content-type", "anthropic-version", "anthropic-beta", "openai-beta")
"""The only header fields of a request that are recorded."""
ANSWER_HEADERS = (
    *("content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"),
    *("x-ratelimit-*", "anthropic-ratelimit-*", "openai-processing-ms", "openai-version", "cf-ray"),
)
"""The only header fields of a response that are recorded."""

_SECRET_QUERY = re.compile(
    r"(?<=[?&])(key|api[-_]?key|access[-_]?token|token|sig|signature|x-amz-[a-z-]+)=[^&]*", re.IGNORECASE
)


class CassetteError(UsageError, AssertionError):
    """A cassette has no response to a request, or cannot be read. It is neither retried nor sent to a fallback."""

    category = "local"
    fallback = False


class RecordedRequest(Value, msgspec.Struct, kw_only=True, omit_defaults=True):
    """A recorded request."""

    method: str
    """The HTTP method."""

    url: str
    """The address, without secrets."""

    headers: list[str] = []
    """The header fields, as lines."""

    json: Any = msgspec.UNSET
    """The body, if it is JSON."""
    body: list[Piece] = []
    """The body, if it is not JSON."""

    def part(self, part: Part) -> Any:
        """Return one of the parts that are compared."""
        address = urlsplit(self.url)
        match part:
            case "method":
                return self.method
            case "host":
                return address.hostname
            case "path":
                return f"{address.path}?{address.query}" if address.query else address.path
            case "headers":
                return self.headers
            case "body":
                return body_of(self.body) if self.json is msgspec.UNSET else self.json


class RecordedFailure(Value, msgspec.Struct, kw_only=True, omit_defaults=True):
    """How an exchange failed."""

    error: Literal["ConnectError", "CallTimeoutError", "ProtocolError", "TransportError"]
    """The class of the error."""

    message: str
    """The message of the error."""

    phase: Phase | None = None
    """The phase, for a timeout."""

    category: str | None = None
    """The category of the failure, if it differs from the class's."""

    sent: bool = True
    """Whether the request was sent."""

    def raised(self) -> BifrostError:
        """Return the error."""
        error: BifrostError
        match self.error:
            case "CallTimeoutError":
                error = CallTimeoutError(self.message, phase=self.phase or "headers")
            case "ConnectError":
                error = ConnectError(self.message)
            case "ProtocolError":
                error = ProtocolError(self.message)
            case "TransportError":
                error = TransportError(self.message)
        if self.category is not None:
            error.category = self.category
        return error


class RecordedAnswer(Value, msgspec.Struct, kw_only=True, omit_defaults=True):
    """A recorded response."""

    status: int
    """The HTTP status."""

    headers: list[str] = []
    """The header fields, as lines."""

    body: list[Piece] = []
    """The body, with a piece per read, as the bytes arrived."""
    waits: list[float] = []
    """Seconds before the head and before each piece, if they were recorded."""

    def fields(self) -> list[tuple[str, str]]:
        """Return the header fields as pairs."""
        return [(name, value) for name, _, value in (line.partition(": ") for line in self.headers)]


class Recording(Value, msgspec.Struct, kw_only=True, omit_defaults=True):
    """One exchange: a request and its outcome."""

    request: RecordedRequest
    """The request."""

    answer: RecordedAnswer | None = None
    """The response; `None` if there was none."""

    failure: RecordedFailure | None = None
    """The failure before or within the response; `None` if there was none."""
    left: bool = False
    """Whether the caller stopped reading before the end."""


class CassetteFile(Value, msgspec.Struct, kw_only=True, omit_defaults=True):
    """The content of a cassette's file."""

    bifrost_cassette: int
    """The version of the format."""
    addresses: dict[str, str] = {}
    """The addresses of providers that were set in the environment, by provider."""
    exchanges: list[Recording]
    """The exchanges, in order."""


def read_file(data: bytes, *, place: str) -> CassetteFile:
    """Return the content of a cassette's file. Raises `CassetteError`, which says where it is malformed."""
    try:
        file = msgspec.json.decode(data, type=CassetteFile)
    except msgspec.MsgspecError as error:
        raise CassetteError(f"{place} is not a cassette: {error}") from error
    if file.bifrost_cassette != _VERSION:
        raise CassetteError(f"{place} is a cassette of version {file.bifrost_cassette}; record it again")
    return file


def write_file(
    exchanges: Sequence[Recording], cleaner: Cleaner, *, addresses: Mapping[str, str] | None = None
) -> bytes:
    """Return the content of a cassette's file, indented, with the exchanges in order."""
    file = CassetteFile(bifrost_cassette=_VERSION, addresses=dict(addresses or {}), exchanges=list(exchanges))
    raw = msgspec.json.encode(file)
    written = msgspec.json.format(raw, indent=2) + b"\n"
    # The names of providers are not secrets, although a fake key may be made of one.
    if cleaner.is_seen_in(msgspec.json.encode((list(file.addresses.values()), file.exchanges))):
        raise InternalError("a key would have been written into a cassette; nothing was written")
    return written


# --- secrets


class Cleaner:
    """Removes secrets from recordings: all keys that were sent or are known, and what the user names."""

    def __init__(self, extra: Sequence[str | re.Pattern[str]] = ()) -> None:
        self._secrets: dict[Secret, None] = {}
        self._search: Pieces | None = None
        self._patterns = [re.compile(re.escape(each)) if isinstance(each, str) else each for each in extra]

    def learn(self, value: str) -> None:
        """Treat a value as a secret from now on."""
        secret = Secret(value)
        if value and secret not in self._secrets:
            self._secrets[secret] = None
            self._search = None

    def learn_from(self, headers: Mapping[str, str], secret_query: Mapping[str, str]) -> None:
        """Treat the credentials of a request as secrets."""
        for name, value in (*headers.items(), *secret_query.items()):
            # `encode` returns what is sent; the text of a signed request's credential is masked.
            sent = value.encode("latin-1").decode("latin-1")
            if name.lower() in CREDENTIALS or sent != str(value):
                self.learn(sent.rpartition(" ")[2])

    def text(self, text: str, *, thorough: bool = False) -> str:
        """Return a text without secrets. `thorough` as in `Pieces.spans`: for errors and header fields."""
        data = text.encode("utf-8", "surrogatepass")
        return without(data, self._spans(data, "surrogatepass", thorough=thorough)).decode("utf-8", "surrogatepass")

    def data(self, data: bytes, *, thorough: bool = False) -> bytes:
        """Return a body without secrets."""
        return without(data, self._spans(data, "surrogateescape", thorough=thorough))

    def pieces(self, pieces: Sequence[bytes], *, thorough: bool = False) -> list[bytes]:
        """Return a divided body without secrets, divided in the same way. A secret may extend over two pieces."""
        whole = b"".join(pieces)
        spans = self._spans(whole, "surrogateescape", thorough=thorough)
        if not spans:
            return list(pieces)
        clean = without(whole, spans)
        waiting = deque(spans)
        ends = [0]
        place = shift = 0
        for piece in pieces:
            place += len(piece)
            while waiting and waiting[0][1] <= place:
                start, end = waiting.popleft()
                shift += len(_MASK) - (end - start)
            is_within = waiting and waiting[0][0] < place
            ends.append((waiting[0][0] + len(_MASK) if is_within else place) + shift)
        return [clean[start:end] for start, end in pairwise(ends)]

    def _spans(self, data: bytes, errors: str, *, thorough: bool) -> list[Span]:
        if self._search is None:
            self._search = pieces_of(self._secrets)
        spans = self._search.spans(data, thorough=thorough)
        if self._patterns:
            text = data.decode("utf-8", errors)
            for pattern in self._patterns:
                spans += _places(pattern, text, errors)
        return merged(spans)

    def url(self, url: str) -> str:
        """Return an address without secrets."""
        return self.text(_SECRET_QUERY.sub(rf"\1={_MASK}", url))

    def is_seen_in(self, data: bytes) -> bool:
        """Return whether a piece of a secret is left, except for one that may be a common word."""
        return pieces_of(self._secrets).shows_piece(data)


def _places(pattern: re.Pattern[str], text: str, errors: str) -> Iterator[Span]:
    """Yield the positions of a pattern in a text, counted in bytes."""
    place = size = 0
    for match in pattern.finditer(text):
        start = size + len(text[place : match.start()].encode("utf-8", errors))
        place, size = match.end(), start + len(match[0].encode("utf-8", errors))
        if size > start:
            yield start, size


# --- recording


def recorded_request(
    request: HttpRequest, *, origin: str, cleaner: Cleaner, keep: Iterable[str] = ()
) -> RecordedRequest:
    """Return the recording of a request, without secrets. It is used for recording and for playing."""
    body = cleaner.data(request.body)
    made = RecordedRequest(
        method=request.method,
        url=cleaner.url(f"{origin}{request.path}"),
        headers=kept_fields(request.headers.items(), (*REQUEST_HEADERS, *keep), cleaner),
    )
    try:
        made.json = msgspec.json.decode(body) if body else msgspec.UNSET
    except (msgspec.DecodeError, RecursionError):
        made.body = [piece_of(body)]
    return made


def clean(recording: Recording, cleaner: Cleaner) -> None:
    """Remove secrets from a recording in place: from the response, and from the rest those that became known later."""
    request, answer, failure = recording.request, recording.answer, recording.failure
    request.url = cleaner.url(request.url)
    request.headers = [cleaner.text(line, thorough=True) for line in request.headers]
    request.body = [piece_of(piece) for piece in cleaner.pieces(list(map(bytes_of, request.body)))]
    if request.json is not msgspec.UNSET:
        request.json = msgspec.json.decode(cleaner.data(msgspec.json.encode(request.json)))
    if answer is not None:
        answer.headers = [cleaner.text(line, thorough=True) for line in answer.headers]
        # A successful response is changed as little as possible, because it is a model's text.
        bodies = cleaner.pieces(list(map(bytes_of, answer.body)), thorough=answer.status >= 300)
        answer.body = [piece_of(piece) for piece in bodies]
    if failure is not None:
        failure.message = cleaner.text(failure.message, thorough=True)


def kept_fields(fields: Iterable[tuple[str, str]], names: Iterable[str], cleaner: Cleaner) -> list[str]:
    """Return the header fields that may be recorded, as lines sorted by name. A name may also contain a key."""
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    kept = [
        (name.lower(), value)
        for name, value in fields
        if (name.lower() in exact or (beginnings and name.lower().startswith(beginnings)))
        and name.lower() not in _NEVER_KEPT
    ]
    return [
        f"{cleaner.text(name, thorough=True)}: {cleaner.text(str(value), thorough=True)}"
        for name, value in sorted(kept, key=lambda field: field[0])
    ]


def piece_of(data: bytes) -> Piece:
    """Return bytes in a form that can be read and edited in the file."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    return lines if len(lines) > 1 else text


def bytes_of(piece: Piece) -> bytes:
    """Return the bytes of a piece."""
    match piece:
        case str():
            return piece.encode()
        case list():
            return "".join(piece).encode()
        case dict():
            return b64decode(piece["base64"])


def body_of(pieces: Sequence[Piece]) -> bytes:
    """Return the bytes of a body."""
    return b"".join(map(bytes_of, pieces))


def failure_of(error: BifrostError, *, sent: bool, cleaner: Cleaner) -> RecordedFailure | None:
    """Return the recording of an error; `None` for one that does not concern the exchange."""
    if isinstance(error, CallTimeoutError):
        kind: Any = "CallTimeoutError"
    elif isinstance(error, TransportError):
        known = (ConnectError, ProtocolError)
        kind = next((each.__name__ for each in known if isinstance(error, each)), "TransportError")
    else:
        return None
    return RecordedFailure(
        error=kind,
        message=cleaner.text(error.message),
        phase=error.phase if isinstance(error, CallTimeoutError) else None,
        category=error.category if error.category != type(error).category else None,
        sent=sent,
    )


# --- comparing


def differences(
    recorded: RecordedRequest, incoming: RecordedRequest, *, parts: Sequence[Part], ignore: Sequence[str] = ()
) -> list[str]:
    """Return the differences between two requests, one line each."""
    found: list[str] = []
    for part in parts:
        here, there = recorded.part(part), incoming.part(part)
        if part == "body":
            here, there = _without(here, ignore), _without(there, ignore)
            found += _differences_in(here, there, "body")
        elif here != there:
            found.append(_difference(part, here, there))
    return found


def _without(body: Any, ignore: Sequence[str]) -> Any:
    """Return a decoded body without fields that are given as paths: `metadata.trace`."""
    for path in ignore:
        body = _without_one(body, path.split("."))
    return body


def _without_one(body: Any, path: Sequence[str]) -> Any:
    fields = dict(cast("dict[str, Any]", body)) if isinstance(body, dict) else {}
    if path[0] not in fields:
        return cast("Any", body)
    if len(path) == 1:
        del fields[path[0]]
    else:
        fields[path[0]] = _without_one(fields[path[0]], path[1:])
    return fields


_NOTHING = object()


def _differences_in(here: Any, there: Any, place: str) -> Iterator[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        recorded, incoming = cast("dict[str, Any]", here), cast("dict[str, Any]", there)
        for name in dict.fromkeys((*recorded, *incoming)):
            yield from _differences_in(recorded.get(name, _NOTHING), incoming.get(name, _NOTHING), f"{place}.{name}")
    elif isinstance(here, list) and isinstance(there, list):
        ours, theirs = cast("list[object]", here), cast("list[object]", there)
        for index, pair in enumerate(zip_longest(ours, theirs, fillvalue=_NOTHING)):
            yield from _differences_in(*pair, f"{place}[{index}]")
    elif here != there:
        yield _difference(place, here, there)


def _difference(place: str, here: Any, there: Any) -> str:
    return f"{place}: recorded {_excerpt(here)}, asked {_excerpt(there)}"


def _excerpt(value: Any) -> str:
    return "nothing" if value is _NOTHING or value is msgspec.UNSET else shown(repr(value), 200)
