"""JSON lines, AWS event streams and raw bytes: whole, cut at every byte, and beyond their limits."""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.wire.framing.aws_event_stream import EventStreamMessage, EventStreamParser
from bifrost.wire.framing.jsonl import JsonLine, JsonLinesParser
from bifrost.wire.framing.raw import RawBytes, RawPiece
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.wire.framing.base import Framer

FRAMERS: dict[str, Callable[..., Framer[Any]]] = {
    "lines": JsonLinesParser,
    "messages": EventStreamParser,
    "bytes": RawBytes,
}


def read(make: Callable[..., Framer[Any]], *pieces: bytes, **limits: int) -> list[Any]:
    framer = make(**limits)
    return [*(event for piece in pieces for event in framer.feed(piece)), *framer.finish()]


# --- lines of JSON

LINES = b'{"a": 1}\n\r\n  {"b": "\xe2\x80\xa8"} \r\n\n{"c": 3}'
READ = [JsonLine(b'{"a": 1}'), JsonLine(b'{"b": "\xe2\x80\xa8"}'), JsonLine(b'{"c": 3}')]


def test_lines_are_the_same_however_they_are_cut() -> None:
    assert read(JsonLinesParser, LINES) == READ
    for first in range(len(LINES) + 1):
        for second in range(first, len(LINES) + 1):
            assert read(JsonLinesParser, LINES[:first], LINES[first:second], LINES[second:]) == READ


def test_a_line_is_given_as_soon_as_it_ends() -> None:
    parser = JsonLinesParser()
    assert parser.feed(b'{"a"') == []
    assert parser.feed(b": 1}\n{") == [JsonLine(b'{"a": 1}')]


# --- AWS event streams

Headers = dict[str, "tuple[int, bytes]"]


def message(payload: bytes, headers: Headers) -> bytes:
    """Write a message as the format's description says."""
    written = b"".join(
        bytes([len(name)]) + name.encode() + bytes([kind]) + value for name, (kind, value) in headers.items()
    )
    prelude = pack(">II", 16 + len(written) + len(payload), len(written))
    data = prelude + pack(">I", crc32(prelude)) + written + payload
    return data + pack(">I", crc32(data))


def text(value: str) -> tuple[int, bytes]:
    return 7, pack(">H", len(value.encode())) + value.encode()


KINDS: Headers = {
    "yes": (0, b""),
    "no": (1, b""),
    "byte": (2, b"\xff"),
    "short": (3, b"\x80\x00"),
    "int": (4, pack(">i", -5)),
    "long": (5, pack(">q", 2**40)),
    "bytes": (6, b"\x00\x03abc"),
    "text": text("é"),
    "time": (8, pack(">q", 8675309)),
    "uuid": (9, bytes(range(16))),
}
VALUES = {
    "yes": True,
    "no": False,
    "byte": -1,
    "short": -32768,
    "int": -5,
    "long": 2**40,
    "bytes": b"abc",
    "text": "é",
    "time": 8675309,
    "uuid": bytes(range(16)),
}

# From the format's published test vectors: no headers and no payload; and one header of type int32 with a JSON payload.
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
INT32 = bytes.fromhex(
    "0000002d00000010 41c424b8 0a6576656e742d74797065 04 0000a00c 7b27666f6f273a27626172277d 36f480a0"
)


def test_the_published_vectors() -> None:
    assert read(EventStreamParser, EMPTY) == [EventStreamMessage({}, b"")]
    assert read(EventStreamParser, INT32) == [EventStreamMessage({"event-type": 40972}, b"{'foo':'bar'}")]


def test_every_type_of_header_is_read() -> None:
    (found,) = read(EventStreamParser, message(b"{}", KINDS))
    assert found == EventStreamMessage(VALUES, b"{}")
    assert {name: type(value) for name, value in found.headers.items()} == {
        name: type(value) for name, value in VALUES.items()
    }


def test_messages_are_the_same_however_they_are_cut() -> None:
    stream = message(b'{"a": 1}', {":event-type": text("delta")}) + EMPTY + message(b"", KINDS)
    whole = read(EventStreamParser, stream)
    assert [event.data for event in whole] == [b'{"a": 1}', b"", b""]
    for first in range(len(stream) + 1):
        assert read(EventStreamParser, stream[:first], stream[first:]) == whole
    assert read(EventStreamParser, *(stream[at : at + 1] for at in range(len(stream)))) == whole


def test_a_message_that_was_cut_off_is_no_event() -> None:
    data = message(b'{"a": 1}', {})
    for end in range(len(data)):
        assert read(EventStreamParser, data[:end]) == []


@table("place", range(len(INT32)))
def test_a_byte_that_was_changed_is_noticed(place: int) -> None:
    data = bytearray(INT32)
    data[place] ^= 1
    with pytest.raises((MalformedResponseError, ResponseTooLargeError)):
        # What follows makes up for a length that was made larger.
        read(EventStreamParser, bytes(data), bytes(300))


@table(
    "headers",
    [
        b"\x05ab",
        b"\x01a",
        b"\x01a\x0a",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05ab",
        b"\x01a\x07\x00\x01\xff",
        b"\x01\xff\x00",
        b"\x01a\x09ab",
        b"\x01a\x05ab",
    ],
)
def test_malformed_headers_are_refused(headers: bytes) -> None:
    prelude = pack(">II", 16 + len(headers), len(headers))
    data = prelude + pack(">I", crc32(prelude)) + headers
    with pytest.raises(MalformedResponseError, match="headers"):
        read(EventStreamParser, data + pack(">I", crc32(data)))


@table(("length", "headers"), [(15, 0), (16, 1), (0, 0), (200_000, 131_073)])
def test_impossible_lengths_are_refused(length: int, headers: int) -> None:
    prelude = pack(">II", length, headers)
    with pytest.raises(MalformedResponseError, match="wrong length"):
        read(EventStreamParser, prelude + pack(">I", crc32(prelude)))


# --- what all have in common


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_raw_bytes_are_passed_on(pieces: list[bytes]) -> None:
    assert read(RawBytes, *pieces) == [RawPiece(piece) for piece in pieces if piece]


@pytest.mark.parametrize(("framer", "stream"), [("lines", LINES), ("messages", EMPTY * 3), ("bytes", b"x" * 48)])
def test_the_limit_of_a_stream(framer: str, stream: bytes) -> None:
    make = FRAMERS[framer]
    read(make, stream, stream_limit=len(stream))
    for cut in (0, 5, len(stream)):
        with pytest.raises(ResponseTooLargeError, match=f"larger than the limit of {len(stream) - 1} bytes"):
            read(make, stream[:cut], stream[cut:], stream_limit=len(stream) - 1)


@pytest.mark.parametrize(
    ("framer", "event"), [("lines", b'{"a": 1}'), ("messages", message(b'{"a": 1}', {":event-type": text("x")}))]
)
def test_the_limit_of_an_event(framer: str, event: bytes) -> None:
    make, end = FRAMERS[framer], b"\n" if framer == "lines" else b""
    assert len(read(make, event + end + event + end, event_limit=len(event))) == 2
    for cut in range(len(event)):
        with pytest.raises(ResponseTooLargeError, match=r"of the (event )?stream is"):
            read(make, event[:cut], event[cut:] + end, event_limit=len(event) - 1)
