"""Bounded reading of bodies: decompression whose memory is limited, and reading that stops at a limit."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from bifrost.attempt_record import shown
from bifrost.errors import MalformedResponseError, ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zlib import _Decompress as Unpacker  # pyright: ignore[reportPrivateUsage] - it has no public name

BODY_LIMIT = 64 * 1024 * 1024
"""The most bytes of a complete body, after decompression."""

ERROR_BODY_LIMIT = 64 * 1024
"""The most bytes that are kept of the body of an error response."""

_PIECE = 64 * 1024
"""The most bytes that are decompressed at once."""

_INPUT_PIECE = 16 * 1024
"""The most bytes that are passed to zlib at once, because it copies its unused input at each step."""

_MEMBERS = 1000
"""The most members of a gzip body. One is usual; hundreds of thousands of tiny ones are an attack."""

_BOMB_SIZE = 1024 * 1024
_BOMB_RATIO = 100
"""Data that has grown beyond this size at this ratio is refused before the limit. Zeros compress 1,000 : 1, JSON 5 to
40 : 1.
"""

_ERROR_BODY_SLACK = 1024 * 1024
"""The most bytes of an error body that are read although they decompress to nothing."""

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS


class Inflater:
    """Decodes a body's content coding piece by piece: none, gzip (RFC 1952) or deflate (RFC 1950 or RFC 1951).

    `encoding` is the `Content-Encoding` field, `None` if there is none. Raises `MalformedResponseError` for codings
    that were not requested (br, zstd) and for nested codings. `limit` bounds both the input and the output. Compressed
    data that has grown beyond 1 MiB at more than 100 : 1 is refused as too large, because it is made to exhaust memory.
    """

    __slots__ = ("_begun", "_coding", "_limit", "_members", "_received", "_unpacker", "size", "used")

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        self.size = 0
        """The number of decoded bytes so far."""
        self.used = 0
        """The number of encoded bytes that they came from."""
        self._limit = limit
        self._coding = _coding(encoding)
        self._received = 0
        self._members = 0
        # The first byte of deflate data, until the second one shows which of the two forms it is.
        self._begun = b""
        self._unpacker = zlib.decompressobj(_GZIP) if self._coding == "gzip" else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to, in pieces of at most 64 KiB if it was compressed.

        The iterator must be exhausted.

        Raises `ResponseTooLargeError` when the limit or the ratio is exceeded, before more is decompressed, and
        `MalformedResponseError` if the data is malformed or its checksum does not match.
        """
        self._received += len(data)
        if self._received > self._limit:
            raise _too_large(self._limit)
        if self._coding is None:
            self.size = self.used = self._received
            if data:
                yield data
            return
        for start in range(0, len(data), _INPUT_PIECE):
            bite = data[start : start + _INPUT_PIECE]
            self.used += len(bite)
            yield from self._unpack(bite)

    def finish(self) -> None:
        """Mark the end of the data. Raises `MalformedResponseError` if the compressed data is incomplete."""
        if self._received and self._coding is not None and (self._unpacker is None or not self._unpacker.eof):
            raise MalformedResponseError(f"the response's {self._coding} data was cut off")

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._unpacker is None:
                data = self._begun + data
                if len(data) < 2:
                    self._begun = data
                    return
                self._unpacker = zlib.decompressobj(_ZLIB if _has_zlib_head(data) else _RAW_DEFLATE)
            elif self._unpacker.eof:
                self._unpacker = self._next_member()
            unpacker = self._unpacker
            piece = self._some(unpacker, data)
            while piece:
                yield piece
                piece = self._some(unpacker, unpacker.unconsumed_tail)
            data = unpacker.unused_data

    def _next_member(self) -> Unpacker:
        if self._coding != "gzip":
            raise MalformedResponseError("bytes follow the end of the response's deflate data")
        self._members += 1
        if self._members >= _MEMBERS:
            raise ResponseTooLargeError(f"the response consists of more than {_MEMBERS:,} gzip members")
        return zlib.decompressobj(_GZIP)

    def _some(self, unpacker: Unpacker, data: bytes) -> bytes:
        """Decompress one piece at most, and at most one byte beyond the limit."""
        room = self._limit - self.size
        problem = ""
        try:
            piece = unpacker.decompress(data, min(_PIECE, room + 1))
        except zlib.error as error:
            piece = b""
            problem = str(error)
        if problem:
            raise MalformedResponseError(f"the response's {self._coding} data cannot be unpacked: {problem}")
        if len(piece) > room:
            raise _too_large(self._limit)
        self.size += len(piece)
        if self.size > _BOMB_SIZE and self.size > self.used * _BOMB_RATIO:
            raise ResponseTooLargeError(
                f"the response unpacks to more than {_BOMB_RATIO} times its size on the wire; it was not read further"
            )
        return piece


class BodyReader:
    """Collects a complete body, decompressed, up to `limit` bytes.

    reader = BodyReader(headers.get("content-encoding"), limit=limit)
    for piece in pieces:
        reader.feed(piece)
    body = reader.finish()
    """

    __slots__ = ("_body", "_inflater")

    def __init__(self, encoding: str | None, *, limit: int = BODY_LIMIT) -> None:
        self._inflater = Inflater(encoding, limit=limit)
        self._body = BytesIO()

    def feed(self, data: bytes) -> None:
        """Add the next bytes. Raises `ResponseTooLargeError` and `MalformedResponseError`."""
        for piece in self._inflater.feed(data):
            self._body.write(piece)

    def finish(self) -> bytes:
        """Return the complete body. Raises `MalformedResponseError` if its compressed data is incomplete."""
        self._inflater.finish()
        return self._body.getvalue()


class ErrorBodyReader:
    """Collects the beginning of an error response's body.

    Problems with the rest are ignored, because the status is known.
    """

    __slots__ = ("_body", "_inflater", "_limit")

    def __init__(self, encoding: str | None, *, limit: int = ERROR_BODY_LIMIT) -> None:
        self._limit = limit
        self._body = bytearray()
        self._inflater: Inflater | None = None
        try:
            self._inflater = Inflater(encoding, limit=limit + _ERROR_BODY_SLACK)
        except MalformedResponseError:
            return  # A body that cannot be decoded is ignored.

    @property
    def full(self) -> bool:
        """Whether nothing more is kept, so that reading should stop and the connection be closed."""
        return self._inflater is None

    def feed(self, data: bytes) -> None:
        """Add the next bytes, if they are needed. Raises nothing."""
        if self._inflater is None:
            return
        try:
            for piece in self._inflater.feed(data[: self._limit]):
                self._body += piece[: self._limit - len(self._body)]
                if len(self._body) == self._limit:
                    self._inflater = None
                    return
        except (MalformedResponseError, ResponseTooLargeError):
            self._inflater = None

    def finish(self) -> bytes:
        """Return the beginning of the body."""
        return bytes(self._body)


def _coding(encoding: str | None) -> str | None:
    named = [name for part in (encoding or "").split(",") if (name := part.strip().lower()) not in ("", "identity")]
    match named:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return "gzip"
        case ["deflate"]:
            return "deflate"
        case _:
            raise MalformedResponseError(
                f"the response's content coding {shown(', '.join(named), 100)!r} was not asked for and is not supported"
            )


def _has_zlib_head(data: bytes) -> bool:
    # RFC 1950: method 8, and a check that makes the two bytes a multiple of 31. Bare deflate cannot begin so: its low
    # nibble 8 would be a stored block whose padding is not zero.
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0


def _too_large(limit: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(f"the response is larger than the limit of {limit:,} bytes")
