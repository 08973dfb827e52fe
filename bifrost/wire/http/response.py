"""An incremental parser for HTTP/1.1 responses (RFC 9112). There is no I/O here.

A `ResponseParser` reads one final response and the interim responses before it. It is strict: malformed input raises
`HttpFormatError`, and ambiguous input prevents the connection from being reused. Three deviations of real servers are
accepted: a bare LF as a line ending in the head, a folded field, and a length that is repeated with the same value.
"""

from __future__ import annotations

import re
from enum import Enum, auto

HEAD_LIMIT = 64 * 1024
"""The most bytes of a response's head, including its interim responses and trailers."""
FIELDS_LIMIT = 200
"""The most header fields of a response."""
INTERIM_LIMIT = 20
"""The most interim responses (100 to 199) before the final response."""
_LINE_LIMIT = 4096
"""The most bytes of a chunk-size line, including extensions."""

_EMPTY = re.compile(rb"\r?\n")
_BLANK = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*+)?\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([^\x00\r\n]*+)\r?\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\x00\r\n]*+\r?\n)*+\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_SIZE: re.Pattern[bytes] = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]{0,256}+(?:;[^\x00\r\n]{0,3500}+)?\r\n")
_NEXT_SIZE: re.Pattern[bytes] = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})[ \t]{0,256}+(?:;[^\x00\r\n]{0,3500}+)?\r\n")
_PREFIX = b"HTTP/1."
_DIGITS = frozenset(b"0123456789")


class HttpFormatError(ValueError):
    """The bytes are not an HTTP/1.1 response. The message says what is wrong and quotes none of the bytes."""


class HeadTooLargeError(HttpFormatError):
    """The head exceeds the limit of bytes or fields."""


class InterimAnswersError(HttpFormatError):
    """The limit of interim responses was exceeded without a final response."""


class _Phase(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNKS = auto()
    TRAILERS = auto()
    UNTIL_CLOSE = auto()
    COMPLETE = auto()


class ResponseParser:
    """Parses one response: `feed` adds bytes, `take` returns bytes of the body, `end` marks the end of the connection.

    `bodiless` says that the request's method (HEAD, CONNECT) allows no body in a successful response.
    """

    __slots__ = (
        "_bodiless",
        "_buffer",
        "_failure",
        "_head_size",
        "_interim",
        "_left",
        "_next_size",
        "_phase",
        "_pieces",
        "_searched",
        "fields",
        "heard",
        "reusable",
        "status",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        self.status = 0
        """The status of the final response; 0 until its head is complete."""
        self.fields: list[tuple[bytes, bytes]] = []
        """The header fields of the final response in order: names as received, values without surrounding white
        space.
        """
        self.heard = False
        """Whether any bytes were received."""
        self.reusable = False
        """Whether the connection may be used for another request. Meaningful only after the response is complete."""
        self._bodiless = bodiless
        self._phase = _Phase.HEAD
        self._buffer = bytearray()
        """An incomplete head, line or trailer section."""
        self._searched = 0
        """How many of the buffer's bytes were searched for an end."""
        self._head_size = 0
        self._interim = 0
        self._left = 0
        """How many bytes of the body, or of the chunk, are missing."""
        self._next_size: re.Pattern[bytes] = _SIZE
        """The pattern of the next chunk size: after a chunk's data, the line ending of the data comes first."""
        self._pieces: list[bytes] = []
        self._failure: HttpFormatError | None = None
        """The error to raise after the pieces."""

    @property
    def complete(self) -> bool:
        """Whether the response is complete."""
        return self._phase is _Phase.COMPLETE

    @property
    def rest(self) -> bytes:
        """The bytes after a complete response: those of another protocol, if a tunnel was opened."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add the bytes that were received. Raises `HttpFormatError`; the parser cannot be used after that.

        If a part of the body precedes the error, `take` returns that part first and raises the error then.
        """
        self.heard = True
        if self._failure is not None:
            if not self._pieces:
                raise self._failure
            return
        try:
            self._feed(data)
        except HttpFormatError as error:
            if not self._pieces:
                raise
            self._failure = error

    def _feed(self, data: bytes) -> None:
        while data:
            match self._phase:
                case _Phase.HEAD:
                    data = self._feed_head(data)
                case _Phase.LENGTH:
                    data = self._feed_length(data)
                case _Phase.CHUNKS:
                    data = self._feed_chunks(data)
                case _Phase.TRAILERS:
                    data = self._feed_trailers(data)
                case _Phase.UNTIL_CLOSE:
                    self._pieces.append(data)
                    return
                case _Phase.COMPLETE:
                    # These bytes belong to no request.
                    self.reusable = False
                    self._buffer += data
                    return

    def end(self) -> None:
        """Mark the end of the connection. Raises `HttpFormatError` if the response is incomplete."""
        match self._phase:
            case _Phase.COMPLETE:
                pass
            case _Phase.UNTIL_CLOSE:
                self._phase = _Phase.COMPLETE
            case _Phase.HEAD if not self.heard:
                raise HttpFormatError("the connection was closed without a response")
            case _Phase.HEAD:
                raise HttpFormatError("the connection was closed in the middle of the head")
            case _:
                raise HttpFormatError("the connection was closed in the middle of the body")
        self.reusable = False

    def take(self) -> bytes:
        """Return the bytes of the body that were received since the last call; empty if there are none."""
        pieces = self._pieces
        if not pieces:
            if self._failure is not None:
                raise self._failure
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    # --- the head

    def _feed_head(self, data: bytes) -> bytes:
        block, rest = self._block(data, _BLANK, _PREFIX)
        if block is None:
            return b""
        self._head_size += len(block)
        if self._head_size > HEAD_LIMIT:
            raise HeadTooLargeError("the head is too large")
        self._read_head(block)
        return rest

    def _block(self, data: bytes, end: re.Pattern[bytes], prefix: bytes) -> tuple[bytes | None, bytes]:
        """Collect bytes up to an end that the pattern matches. Returns them and what follows, or `None` and nothing."""
        buffer = self._buffer
        whole: bytes | bytearray = data
        if buffer:
            buffer += data
            whole = buffer
        if not whole.startswith(prefix[: len(whole)]):
            raise HttpFormatError("the response does not begin as one of HTTP/1")
        # The longest end has three bytes.
        found = end.search(whole, max(0, self._searched - 2))
        if found is None:
            if len(whole) > HEAD_LIMIT:
                raise HeadTooLargeError("the head is too large")
            if whole is data:
                buffer += data
            self._searched = len(buffer)
            return None, b""
        block, rest = bytes(whole[: found.end()]), bytes(whole[found.end() :])
        buffer.clear()
        self._searched = 0
        return block, rest

    def _read_head(self, head: bytes) -> None:
        first = _STATUS.match(head)
        if first is None:
            raise HttpFormatError("the status line is malformed")
        version, status = first[1], int(first[2])
        fields = _fields_of(head, first.end())
        if status == 101:
            raise HttpFormatError("the peer switches to another protocol, for which nobody has asked")
        if status < 200:
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise InterimAnswersError("too many interim answers")
            return
        self.status, self.fields = status, fields
        self._frame(version, status, fields)

    def _frame(self, version: bytes, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Determine the length of the body (RFC 9112, 6.3), and whether the connection persists (9.3)."""
        lengths: list[bytes] = []
        codings: list[bytes] = []
        closes = version == b"0"
        for name, value in fields:
            match name.lower():
                case b"content-length":
                    lengths += value.split(b",")
                case b"transfer-encoding":
                    codings += value.split(b",")
                case b"connection":
                    closes = closes or b"close" in [option.strip() for option in value.lower().split(b",")]
                case _:
                    pass
        length = _length_of(lengths) if lengths else None
        self.reusable = not closes
        if status in (204, 304) or (self._bodiless and status < 300):
            self._phase = _Phase.COMPLETE
        elif codings:
            if [coding.strip().lower() for coding in codings] != [b"chunked"]:
                raise HttpFormatError("the body has a transfer coding that nobody has asked for")
            # The chunks determine the length, but an intermediary may use the field.
            self.reusable = self.reusable and length is None
            self._phase = _Phase.CHUNKS
        elif length is None:
            self.reusable = False
            self._phase = _Phase.UNTIL_CLOSE
        else:
            self._left = length
            self._phase = _Phase.LENGTH if length else _Phase.COMPLETE

    # --- the body

    def _feed_length(self, data: bytes) -> bytes:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._pieces.append(data)
            return b""
        self._phase = _Phase.COMPLETE
        if len(data) == left:
            self._pieces.append(data)
            return b""
        self._pieces.append(data[:left])
        return data[left:]

    def _feed_chunks(self, data: bytes) -> bytes:
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        position, end, left, size_line = 0, len(data), self._left, self._next_size
        append = self._pieces.append
        while position < end:
            if left:
                piece = data[position : position + left]
                append(piece)
                position += len(piece)
                left -= len(piece)
                size_line = _NEXT_SIZE
                continue
            found = size_line.match(data, position)
            if found is None:
                self._keep_line(data[position : position + _LINE_LIMIT + 1], size_line)
                break
            position = found.end()
            left = int(found[1], 16)
            if not left:
                self._phase = _Phase.TRAILERS
                break
        self._left, self._next_size = left, size_line
        return b"" if self._phase is _Phase.CHUNKS else data[position:]

    def _keep_line(self, line: bytes, size_line: re.Pattern[bytes]) -> None:
        """Store the beginning of a size line until the rest arrives, if it may still become valid."""
        rest = line
        if size_line is _NEXT_SIZE:
            if not b"\r\n".startswith(line[:2]):
                raise HttpFormatError("a chunk is longer than its size")
            rest = line[2:]
        if len(line) > _LINE_LIMIT or b"\n" in rest or (rest and rest[0] not in b"0123456789abcdefABCDEF"):
            raise HttpFormatError("the size of a chunk is malformed")
        self._buffer += line

    def _feed_trailers(self, data: bytes) -> bytes:
        """Read and discard the fields after the last chunk (usually none), up to an empty line."""
        if not self._buffer and (found := _EMPTY.match(data)) is not None:
            self._phase = _Phase.COMPLETE
            return data[found.end() :]
        if bytes(self._buffer) == b"\r" and data.startswith(b"\n"):
            self._buffer.clear()
            self._phase = _Phase.COMPLETE
            return data[1:]
        block, rest = self._block(data, _BLANK, b"")
        if block is None:
            return b""
        self._head_size += len(block)
        if self._head_size > HEAD_LIMIT:
            raise HeadTooLargeError("the trailers are too large")
        if _FIELDS.fullmatch(block) is None:
            raise HttpFormatError("the trailers are malformed")
        self._phase = _Phase.COMPLETE
        return rest


def _fields_of(head: bytes, start: int) -> list[tuple[bytes, bytes]]:
    if head[start : start + 1] in (b" ", b"\t"):
        raise HttpFormatError("the first header field is folded")
    if b"\n " in head or b"\n\t" in head:
        head = _FOLD.sub(b" ", head[start:])
        start = 0
    if _FIELDS.fullmatch(head, start) is None:
        raise HttpFormatError("a header field is malformed")
    found: list[tuple[bytes, bytes]] = _FIELD.findall(head, start)
    if len(found) > FIELDS_LIMIT:
        raise HeadTooLargeError("the head has too many fields")
    return [(name, value.strip(b" \t")) for name, value in found]


def _length_of(values: list[bytes]) -> int:
    """Return the length that all values have. Raises `HttpFormatError` if they differ or one is not a number."""
    digits = {value.strip() for value in values}
    if len(digits) != 1:
        raise HttpFormatError("the response has two lengths")
    value = digits.pop()
    if not value or len(value) > 18 or not _DIGITS.issuperset(value):
        raise HttpFormatError("the length of the response is malformed")
    return int(value)
