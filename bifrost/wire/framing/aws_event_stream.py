"""An incremental parser for AWS event streams, a binary format: https://smithy.io/2.0/aws/amazon-eventstream.html.

A message is: its length and the length of its headers (4 bytes each, big-endian), a CRC-32 of these, the headers, the
payload, and a CRC-32 of everything before.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import TypeAlias
from zlib import crc32

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.wire.framing.base import EVENT_LIMIT, STREAM_LIMIT, too_large

HeaderValue: TypeAlias = bool | int | bytes | str
"""The value of a header. A timestamp is the milliseconds since the epoch, a UUID its 16 bytes."""

_HEADERS_LIMIT = 128 * 1024
"""The most bytes of a message's headers that AWS sends."""

_KNOWN, _KNOWN_SIZE = 32, 512
"""How many headers of how many bytes at most are kept, to be read once."""

_PRELUDE = Struct(">III")
_CRC = Struct(">I")
_SHORTEST = _PRELUDE.size + _CRC.size
_FIXED: Mapping[int, Struct] = {2: Struct(">b"), 3: Struct(">h"), 4: Struct(">i"), 5: Struct(">q"), 8: Struct(">q")}
_LENGTH = Struct(">H")
_BYTES, _TEXT, _UUID = 6, 7, 9


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message of an event stream."""

    headers: Mapping[str, HeaderValue]
    """Its headers by their names: `:message-type`, `:event-type`, `:exception-type`, `:content-type` and others."""
    data: bytes
    """Its payload, usually JSON, not decoded."""


class EventStreamParser:
    """Converts the bytes of one event stream to messages, however they are divided into pieces."""

    __slots__ = ("_buffer", "_event_limit", "_known", "_received", "_stream_limit")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        self._event_limit = event_limit
        self._stream_limit = stream_limit
        self._received = 0
        self._buffer = bytearray()
        self._known: dict[bytes, Mapping[str, HeaderValue]] = {}
        """Headers by their bytes: those of nearly all messages of a stream are the same."""

    def feed(self, data: bytes) -> list[EventStreamMessage]:
        """Add bytes. Returns the messages that are complete.

        Raises `ResponseTooLargeError` if a message or the stream exceeds its limit, and `MalformedResponseError` for a
        wrong checksum or length. Then nothing more can be read.
        """
        self._received += len(data)
        if self._received > self._stream_limit:
            raise too_large("the event stream is", self._stream_limit)
        buffer = self._buffer
        buffer += data
        messages: list[EventStreamMessage] = []
        start = 0
        while len(buffer) - start >= _PRELUDE.size:
            end = start + self._length_at(start)
            if len(buffer) < end:
                break
            messages.append(self._message(bytes(buffer[start:end])))
            start = end
        del buffer[:start]
        return messages

    def finish(self) -> list[EventStreamMessage]:
        """Return nothing: a message that has begun was cut off."""
        self._buffer.clear()
        return []

    def _length_at(self, start: int) -> int:
        """Return the length of the message that begins there, when its prelude is right."""
        length, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if crc32(self._buffer[start : start + 8]) != checksum:
            raise MalformedResponseError("a message of the event stream has a wrong checksum")
        if length > self._event_limit:
            raise too_large("a message of the event stream is", self._event_limit)
        if headers > _HEADERS_LIMIT or headers > length - _SHORTEST:
            raise MalformedResponseError("a message of the event stream has a wrong length")
        return int(length)

    def _message(self, data: bytes) -> EventStreamMessage:
        if crc32(data[:-4]) != _CRC.unpack_from(data, len(data) - 4)[0]:
            raise MalformedResponseError("a message of the event stream has a wrong checksum")
        end = _PRELUDE.size + _CRC.unpack_from(data, 4)[0]
        written = data[_PRELUDE.size : end]
        headers = self._known.get(written)
        if headers is None:
            headers = self._read(written)
        return EventStreamMessage(headers, data[end:-4])

    def _read(self, written: bytes) -> Mapping[str, HeaderValue]:
        try:
            headers = _headers(written)
        except (IndexError, ValueError, KeyError):  # It ends too early, is not text, or is of an unknown type.
            headers = None
        if headers is None:
            raise MalformedResponseError("a message of the event stream has malformed headers")
        if len(written) <= _KNOWN_SIZE and len(self._known) < _KNOWN:
            self._known[written] = MappingProxyType(headers)
        return headers


def _headers(data: bytes) -> dict[str, HeaderValue]:
    """Return the headers. Raises `IndexError`, `ValueError` or `KeyError` for what is malformed."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(data):
        name, at = _slice(data, at + 1, data[at])
        value, at = _value(data, at + 1, data[at])
        headers[name.decode()] = value
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    if kind in (0, 1):
        return kind == 0, at
    if kind in (_BYTES, _TEXT):
        length, at = _slice(data, at, _LENGTH.size)
        value, at = _slice(data, at, _LENGTH.unpack(length)[0])
        return (value.decode() if kind == _TEXT else value), at
    if kind == _UUID:
        return _slice(data, at, 16)
    number, at = _slice(data, at, _FIXED[kind].size)
    return int(_FIXED[kind].unpack(number)[0]), at


def _slice(data: bytes, start: int, length: int) -> tuple[bytes, int]:
    """Return so many bytes, and where they end. Raises `IndexError` if there are fewer."""
    end = start + length
    if end > len(data):
        raise IndexError
    return data[start:end], end
