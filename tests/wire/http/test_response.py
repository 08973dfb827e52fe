"""Our parser of answers, judged by h11 over generated answers and every cut of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.http.response import (
    FIELDS_LIMIT,
    HEAD_LIMIT,
    INTERIM_LIMIT,
    HeadTooLargeError,
    HttpFormatError,
    InterimAnswersError,
    ResponseParser,
)
from tests.table import table
from tests.wire.http.oracle import by_h11, by_us

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUE = st.binary(max_size=20).map(lambda data: bytes(byte for byte in data if byte > 0x20 and byte != 0x7F))
FRAMING = ("content-length", "transfer-encoding", "connection")


def chunked(pieces: list[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return framed + b"0\r\n" + trailers + b"\r\n"


@st.composite
def answers(draw: Any) -> tuple[bytes, bool]:
    """Give the bytes of a good answer, and whether its end is the end of the connection."""
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    status = draw(st.sampled_from([200, 200, 201, 204, 304, 400, 429, 500, 599, 999]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    reason = draw(st.sampled_from([b"", b" ", b" OK", b" Not At All", b" \xe4"]))
    names = draw(st.lists(TOKEN.filter(lambda name: name.lower() not in FRAMING), max_size=5))
    lines = [b"HTTP/%b %d%b" % (version, status, reason)]
    lines += [b"%b:%b%b" % (name.encode(), draw(st.sampled_from([b"", b" ", b"\t "])), draw(VALUE)) for name in names]
    if draw(st.booleans()):
        lines.append(b"Connection: " + draw(st.sampled_from([b"close", b"keep-alive", b"Close, x", b"x"])))
    body, closes = draw(st.binary(max_size=50)), False
    match draw(st.sampled_from(["length", "twice", "chunks", "close"])):
        case "length":
            lines.append(b"Content-Length: %d" % len(body))
        case "twice":
            lines += [b"content-length: %d" % len(body)] * 2
        case "chunks":
            lines.append(b"Transfer-Encoding: chunked")
            body = chunked(
                [body[:7], body[7:]],
                extension=draw(st.sampled_from([b"", b";a=b", b" "])),
                trailers=draw(st.sampled_from([b"", b"x: y\r\n"])),
            )
        case _:
            closes = True
    if status in (204, 304):
        body = b""
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n"]))
    return interim + end.join(lines) + end * 2 + body, closes


@given(answers(), st.lists(st.integers(0, 400), max_size=6))
def test_a_good_answer_is_read_as_h11_reads_it_however_it_is_cut(answer: tuple[bytes, bool], cuts: list[int]) -> None:
    data, closes = answer
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    read = by_us(*pieces, closes=closes)
    assert read is not None
    assert read == by_h11(data, closes=closes)
    assert read == by_us(*(bytes([byte]) for byte in data), closes=closes)


GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(
    [b"hello", b"you"]
)


@given(st.binary(max_size=6), st.integers(0, len(GOOD)), st.integers(0, 6))
def test_what_h11_refuses_is_refused_when_bytes_are_put_in_or_taken_out(new: bytes, place: int, gone: int) -> None:
    data = GOOD[:place] + new + GOOD[place + gone :]
    ours, theirs = by_us(data), by_h11(data)
    assert ours == by_us(*(bytes([byte]) for byte in data))
    if ours is not None and theirs is not None:
        assert ours == theirs
    if theirs is None and ours is not None:
        # Differences, each on purpose: a control character in a value is kept, as RFC 9110 (5.5) allows.
        assert any(byte < 0x20 and byte not in b"\r\n\t" for byte in data)


HEAD = b"HTTP/1.1 200 OK\r\n"
REFUSED = {
    "two lengths": HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": HEAD + b"content-length: 2, 3\r\n\r\nabc",
    "a negative length": HEAD + b"content-length: -2\r\n\r\nab",
    "a signed length": HEAD + b"content-length: +2\r\n\r\nab",
    "a length in hexadecimal digits": HEAD + b"content-length: 0x2\r\n\r\nab",
    "an empty length": HEAD + b"content-length:\r\n\r\n",
    "a length of twenty digits": HEAD + b"content-length: " + b"1" * 20 + b"\r\n\r\n",
    "other digits": HEAD + "content-length: \u0662\r\n\r\nab".encode(),
    "another coding": HEAD + b"transfer-encoding: gzip\r\n\r\n",
    "a coding before the chunks": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": HEAD + b"content-length : 2\r\n\r\nab",
    "a name with a space": HEAD + b"content length: 2\r\n\r\nab",
    "a field without a name": HEAD + b": 2\r\n\r\nab",
    "a field without a colon": HEAD + b"content-length\r\n\r\n",
    "a first field that is folded": HEAD + b" x: y\r\n\r\n",
    "NUL in a value": HEAD + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    "CR in a value": HEAD + b"x: a\rb\r\ncontent-length: 0\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "version 1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "no HTTP": b"SSH-2.0",
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\n\r\n",
    "a chunk's size with a sign": HEAD + b"transfer-encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n",
    "a chunk's size in other digits": HEAD + b"transfer-encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
    "an empty size": HEAD + b"transfer-encoding: chunked\r\n\r\n\r\n",
    "a size of 17 digits": HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 16 + b"2\r\nab\r\n",
    "a chunk longer than its size": HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "a bare LF behind a size": HEAD + b"transfer-encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
    "a bare LF behind a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n",
    "junk for trailers": HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\njunk\r\n\r\n",
    "an extension without end": HEAD + b"transfer-encoding: chunked\r\n\r\n2;" + b"x" * 5000,
}


def fed(data: bytes, step: int) -> int:
    """Feed an answer in steps, reading what it gives, and give how much was fed."""
    parser = ResponseParser()
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])
        parser.take()
    parser.take()
    return len(data)


@table("step", [0, 1, 7], ids=["whole", "byte by byte", "by sevens"])
@table("what", REFUSED)
def test_a_doubtful_answer_is_refused(what: str, step: int) -> None:
    data = REFUSED[what]
    with pytest.raises(HttpFormatError) as caught:
        fed(data, step or len(data))
    assert str(caught.value).isprintable()


def test_what_comes_before_something_wrong_is_given_first() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n")
    # What follows is not read any more.
    parser.feed(b"2\r\ncd\r\n0\r\n\r\n")
    assert parser.take() == b"ab"
    with pytest.raises(HttpFormatError):
        parser.take()
    with pytest.raises(HttpFormatError):
        parser.feed(b"2\r\ncd\r\n0\r\n\r\n")


def test_white_space_before_an_extension_is_accepted_as_the_standard_asks_and_h11_does_not() -> None:
    data = HEAD + b"transfer-encoding: chunked\r\n\r\n2 ;a=b\r\nab\r\n0\r\n\r\n"
    read = by_us(data)
    assert read is not None
    assert (read.body, by_h11(data)) == (b"ab", None)


def test_a_folded_field_is_one_value() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"x: one\r\n  two\r\n\tthree\r\ncontent-length: 0\r\n\r\n")
    assert parser.fields[0] == (b"x", b"one two three")
    assert parser.complete


@table(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, CLOSE\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore", False),
        (b"HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n", True),
    ],
)
def test_whether_the_connection_persists(head: bytes, reusable: bool) -> None:
    parser = ResponseParser()
    parser.feed(head)
    assert (parser.complete, parser.reusable) == (True, reusable)


def test_what_follows_the_head_of_a_tunnel_is_kept() -> None:
    parser = ResponseParser(bodiless=True)
    parser.feed(b"HTTP/1.1 200 Connection established\r\n\r\nmore")
    assert (parser.status, parser.complete, parser.rest) == (200, True, b"more")


@table(
    ("said", "why"),
    [
        (b"", "without a response"),
        (b"HTTP/1.1 200 OK\r\ncontent", "middle of the head"),
        (HEAD + b"content-length: 5\r\n\r\nab", "middle of the body"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab", "middle of the body"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", "middle of the body"),
    ],
)
def test_a_cut_answer_says_where_it_was_cut(said: bytes, why: str) -> None:
    parser = ResponseParser()
    if said:
        parser.feed(said)
    with pytest.raises(HttpFormatError, match=why):
        parser.end()


# --- bounds


@pytest.mark.parametrize("step", [1, 1000, 10**6])
def test_a_head_without_end_is_refused_at_the_limit(step: int) -> None:
    endless = HEAD + b"x: " + b"x" * HEAD_LIMIT
    assert fed(endless[:HEAD_LIMIT], step) == HEAD_LIMIT
    with pytest.raises(HeadTooLargeError):
        fed(endless, step)


def test_more_fields_than_the_limit_are_refused() -> None:
    ResponseParser().feed(HEAD + b"a: b\r\n" * FIELDS_LIMIT + b"\r\n")
    with pytest.raises(HeadTooLargeError):
        ResponseParser().feed(HEAD + b"a: b\r\n" * (FIELDS_LIMIT + 1) + b"\r\n")


def test_interim_answers_are_bounded_in_number_and_in_bytes() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    parser = ResponseParser()
    parser.feed(interim * INTERIM_LIMIT)
    with pytest.raises(InterimAnswersError):
        parser.feed(interim)
    long = b"HTTP/1.1 103 Hints\r\nlink: " + b"x" * 30_000 + b"\r\n\r\n"
    parser = ResponseParser()
    parser.feed(long * 2)
    with pytest.raises(HeadTooLargeError):
        parser.feed(long)


def test_trailers_are_bounded() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n")
    parser.feed(b"x: abcde\r\n" * (HEAD_LIMIT // 10))
    with pytest.raises(HeadTooLargeError):
        parser.feed(b"x: abcde\r\n" * 10)


def test_a_body_is_given_in_the_pieces_in_which_it_came() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"content-length: 6\r\n\r\nabc")
    assert parser.take() == b"abc"
    assert parser.take() == b""
    parser.feed(b"def")
    assert parser.take() == b"def"
    assert parser.complete
