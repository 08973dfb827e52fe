from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import repeat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.wire.body import BODY_LIMIT, BodyReader, ErrorBodyReader, Inflater
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIB = 1024 * 1024


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "none": (None, bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", lambda data: gzip.compress(data, mtime=0)),
    "gzip of several members": (
        "x-gzip",
        lambda data: b"".join(gzip.compress(data[start : start + 50], mtime=0) for start in range(0, len(data), 50)),
    ),
    "deflate in zlib's form": ("deflate", zlib.compress),
    "bare deflate": (" Deflate ", bare_deflate),
}


def gzip_bomb(size: int) -> bytes:
    """Zeros, packed a thousand to one: one packed block, over and over."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // MIB - 1)


def inflate(encoding: str | None, pieces: Iterable[bytes], limit: int = BODY_LIMIT) -> bytes:
    inflater = Inflater(encoding, limit=limit)
    unpacked = b"".join(part for piece in pieces for part in inflater.feed(piece))
    inflater.finish()
    return unpacked


def read(encoding: str | None, pieces: Iterable[bytes], limit: int = BODY_LIMIT) -> bytes:
    reader = BodyReader(encoding, limit=limit)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("kind", PACKERS)
@given(st.binary(max_size=500), st.lists(st.integers(0, 600), max_size=20))
def test_any_split_of_a_packed_body_unpacks_to_the_body(kind: str, data: bytes, cuts: list[int]) -> None:
    encoding, pack = PACKERS[kind]
    assert inflate(encoding, split(pack(data), cuts)) == data


@table("kind", PACKERS)
def test_a_body_larger_than_a_piece_unpacks_in_bounded_pieces(kind: str) -> None:
    encoding, pack = PACKERS[kind]
    data = bytes(i * i % 251 for i in range(40_000)) * 8
    if kind == "gzip of several members":
        data = data[:20_000]
    inflater = Inflater(encoding, limit=MIB)
    parts = [part for piece in split(pack(data), range(0, 400_000, 50_000)) for part in inflater.feed(piece)]
    inflater.finish()
    assert b"".join(parts) == data
    assert inflater.size == len(data)
    assert max(map(len, parts)) <= 65_536


def test_what_a_stream_has_flushed_is_given_at_once() -> None:
    packer = zlib.compressobj(wbits=31)
    inflater = Inflater("gzip", limit=MIB)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        flushed = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(inflater.feed(flushed)) == event


@table("encoding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "gzip, br", "\x1b[31m"])
def test_a_coding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(MalformedResponseError, match="was not asked for and is not supported") as caught:
        Inflater(encoding, limit=MIB)
    assert "\x1b" not in str(caught.value)


@table("encoding", [None, "", " ", "identity", "Identity, identity", ","])
def test_no_coding_leaves_the_body_as_it_is(encoding: str | None) -> None:
    assert read(encoding, [b"ab", b"", b"c"]) == b"abc"


@pytest.mark.parametrize("kind", ["gzip", "deflate in zlib's form", "bare deflate"])
def test_packed_data_cut_anywhere_is_malformed(kind: str) -> None:
    encoding, pack = PACKERS[kind]
    whole = pack(b'{"text": "what was said"}' * 3)
    for length in range(1, len(whole)):
        with pytest.raises(MalformedResponseError, match="was cut off"):
            read(encoding, [whole[:length]])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_empty_body_needs_no_coding(encoding: str) -> None:
    assert read(encoding, [b""]) == b""
    assert read(encoding, []) == b""


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_unpack_or_fail_with_our_error(data: bytes, encoding: str) -> None:
    failure = None
    try:
        inflate(encoding, [data])
    except MalformedResponseError as error:
        failure = error
    assert failure is None or failure.__context__ is None


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_byte_never_gives_another_body(place: int, change: int) -> None:
    body = b'{"text": "what was said"}' * 9
    packed = bytearray(gzip.compress(body, mtime=0))
    packed[place % len(packed)] ^= change
    try:
        unpacked = inflate("gzip", [bytes(packed)])
    except MalformedResponseError:
        return
    assert unpacked == body  # The header's time or system was changed, which is none of the body.


@pytest.mark.parametrize(("encoding", "rest"), [("gzip", b"junk"), ("gzip", b"\0\0\0"), ("deflate", b"junk")])
def test_bytes_after_the_end_of_packed_data_are_malformed(encoding: str, rest: bytes) -> None:
    packed = gzip.compress(b"body") if encoding == "gzip" else zlib.compress(b"body")
    with pytest.raises(MalformedResponseError):
        read(encoding, [packed + rest])
    with pytest.raises(MalformedResponseError):
        read(encoding, [packed, rest])


@table("kind", PACKERS)
def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(kind: str) -> None:
    encoding, pack = PACKERS[kind]
    body = b"abcdefghij" * 30_000 if kind != "gzip of several members" else b"abcdefghij" * 300
    assert read(encoding, [pack(body)], limit=len(body)) == body
    with pytest.raises(ResponseTooLargeError, match=f"larger than the limit of {len(body) - 1:,} bytes"):
        read(encoding, [pack(body)], limit=len(body) - 1)


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = gzip_bomb(1024 * MIB)
    assert len(bomb) < 2 * MIB
    tracemalloc.start()
    with pytest.raises(ResponseTooLargeError, match="unpacks to more than 100 times its size"):
        read("gzip", [bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * MIB


def test_a_bomb_in_a_stream_is_given_in_small_pieces_up_to_the_limit() -> None:
    inflater = Inflater("gzip", limit=32 * MIB)
    bomb = gzip_bomb(64 * MIB)
    tracemalloc.start()
    with pytest.raises(ResponseTooLargeError):
        sum(map(len, inflater.feed(bomb)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert inflater.size <= 32 * MIB
    assert peak < MIB


@pytest.mark.parametrize("together", [1, 1000])
def test_members_by_the_hundred_thousand_are_refused(together: int) -> None:
    member = gzip.compress(b"", mtime=0)
    with pytest.raises(ResponseTooLargeError, match="more than 1,000 gzip members"):
        read("gzip", repeat(member * together, 100_000 // together))


def test_packed_data_that_unpacks_to_nothing_without_end_is_refused() -> None:
    nothing = b"\0\0\0\xff\xff" * 1000  # Stored blocks of length 0.
    with pytest.raises(ResponseTooLargeError):
        read("deflate", repeat(nothing), limit=MIB)


def test_an_endless_body_is_refused_at_the_limit() -> None:
    with pytest.raises(ResponseTooLargeError):
        read(None, repeat(b"x" * 65_536), limit=MIB)


@table("kind", PACKERS)
def test_of_a_failure_the_beginning_is_kept(kind: str) -> None:
    encoding, pack = PACKERS[kind]
    body = bytes(range(250)) * 40
    reader = ErrorBodyReader(encoding, limit=1000)
    for piece in split(pack(body), range(0, 20_000, 70)):
        reader.feed(piece)
    assert reader.full
    assert reader.finish() == body[:1000]


def test_a_failure_within_the_limit_is_kept_whole() -> None:
    reader = ErrorBodyReader("gzip")
    reader.feed(gzip.compress(b"no more credit"))
    assert not reader.full
    assert reader.finish() == b"no more credit"


def test_a_failure_whose_coding_breaks_gives_what_came_before() -> None:
    packed = zlib.compress(b"a" * 100_000)
    reader = ErrorBodyReader("deflate", limit=200_000)
    reader.feed(packed[:-4] + b"\0\0\0\0")
    reader.feed(b"more")
    assert reader.full
    assert reader.finish() == b"a" * 65_536


def test_a_failure_in_a_coding_nobody_asked_for_is_not_kept() -> None:
    reader = ErrorBodyReader("br")
    assert reader.full
    reader.feed(b"\x8b\x01\x80")
    assert reader.finish() == b""


def test_a_failure_that_unpacks_to_nothing_without_end_is_given_up() -> None:
    reader = ErrorBodyReader("deflate", limit=10_000)
    fed = 0
    while not reader.full:
        reader.feed(b"\0\0\0\xff\xff" * 1000)
        fed += 5000
        assert fed < 3 * MIB
    assert reader.finish() == b""
