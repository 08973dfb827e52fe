from __future__ import annotations

import gc
import re
import sys
import tracemalloc
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bifrost.config import SizeLimits
from bifrost.errors import ResponseTooLargeError
from bifrost.wire.framing.sse import EVENT_LIMIT, STREAM_LIMIT, SseEvent, SseParser
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(*pieces: bytes, **limits: int) -> list[SseEvent]:
    parser = SseParser(**limits)
    return [event for piece in pieces for event in parser.feed(piece)]


def read_slowly(stream: bytes) -> tuple[list[SseEvent], list[SseEvent]]:
    """The standard's algorithm in its own words, over the whole input: the events, and what is left at the end."""
    *lines, last = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[SseEvent] = []
    counted = 0
    data, name = b"", b""
    for number, line in enumerate([*lines, last, b""]):
        if number == len(lines):
            counted = len(events)
        if line == b"":
            if data:
                events.append(SseEvent(name.decode("utf-8", "replace") or None, data[:-1]))
            data, name = b"", b""
            continue
        if line.startswith(b":"):
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data += value + b"\n"
        if field == b"event":
            name = value
    return events[:counted], [event for event in events[counted:] if event.data]


def pieces_of(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
words = st.text('a{}": ,\u2028\u0085\x0b\x0c\x1c\x00\ufeff é€😀', max_size=12).map(str.encode)
names = st.sampled_from([b"data", b"event", b"id", b"retry", b"", b"datax", b"Data", b" data", b"unknown"])
lines = st.one_of(
    st.builds(b"".join, st.tuples(names, st.sampled_from([b":", b": ", b":  ", b""]), words)),
    st.just(b""),
    st.just(b""),
    st.just(b": heartbeat"),
)
streams = st.builds(
    lambda start, body, rest: start + b"".join(body) + rest,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.builds(bytes.__add__, lines, ends), max_size=20),
    st.one_of(st.just(b""), lines),
)
cuts = st.lists(st.integers(0, 300), max_size=40)


@given(streams, cuts)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2, 3])
def test_any_split_of_any_stream_gives_the_events_of_the_standard(stream: bytes, cuts: list[int]) -> None:
    parser = SseParser()
    events = [event for piece in pieces_of(stream, cuts) for event in parser.feed(piece)]
    assert (events, parser.finish()) == read_slowly(stream)


@given(st.lists(st.sampled_from([b"\n", b"\r", b"data", b": ", b":", b"event", b"x", b"\xef", b"\xbb", b"\xbf"])))
def test_any_bytes_fed_one_by_one_give_the_events_of_the_standard(tokens: list[bytes]) -> None:
    stream = b"".join(tokens)
    parser = SseParser()
    events = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert (events, parser.finish()) == read_slowly(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_line_end_ends_an_event(end: bytes) -> None:
    assert parse(b"data: 1" + end * 2 + b"event: e" + end + b"data: 2" + end * 2) == [
        SseEvent(None, b"1"),
        SseEvent("e", b"2"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_of_several_lines_may_be_split_anywhere(end: bytes) -> None:
    lines = [b"event: e", b"data: 1", b"data: 2", b"", b": beat", b"data: 3", b"", b"data: 4", b"data: 5", b"", b""]
    stream = b"\xef\xbb\xbf" + end.join(lines)
    whole = [SseEvent("e", b"1\n2"), SseEvent(None, b"3"), SseEvent(None, b"4\n5")]
    assert parse(stream) == whole
    assert parse(*(bytes([byte]) for byte in stream)) == whole
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == whole


def test_a_stream_of_lone_data_lines_may_be_split_anywhere() -> None:
    stream = b"data: 1\n\ndata: 2\n\ndata: 3\n\n"
    whole = [SseEvent(None, b"1"), SseEvent(None, b"2"), SseEvent(None, b"3")]
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == whole


def test_without_limits_of_ones_own_those_of_the_settings_hold() -> None:
    limits = SizeLimits()
    assert (EVENT_LIMIT, STREAM_LIMIT) == (limits.event, limits.stream) == (8 * 1024 * 1024, 256 * 1024 * 1024)


def test_an_event_ends_with_the_cr_of_its_blank_line_without_waiting_for_an_lf() -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\r\n\r") == [SseEvent(None, b"1")]
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: 2\r\n\r\n") == [SseEvent(None, b"2")]


def test_nothing_between_a_cr_and_its_lf_does_not_part_them() -> None:
    assert parse(b"data: 1\r", b"", b"\ndata: 2\r\n\r\n") == [SseEvent(None, b"1\n2")]


def test_an_lf_belongs_to_the_cr_right_before_it_and_to_no_earlier_one() -> None:
    assert parse(b"data: 1\r", b"data: 2\n", b"\ndata: 3\n\n") == [SseEvent(None, b"1\n2"), SseEvent(None, b"3")]


def test_a_blank_line_that_begins_a_piece_ends_the_event_before_whatever_ends_the_lines_after() -> None:
    assert parse(b"data: 1\n", b"\ndata: 2\r\n\r\n") == [SseEvent(None, b"1"), SseEvent(None, b"2")]


def test_an_event_is_a_value_that_none_of_its_readers_can_change() -> None:
    (event,) = parse(b"event: e\ndata: 1\n\n")
    assert {event: 1}[SseEvent("e", b"1")] == 1
    reader: Any = event
    with pytest.raises(AttributeError):
        reader.data = b"2"


@table("char", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_what_other_splitters_take_for_a_line_end_stays_in_the_text(char: str) -> None:
    text = f'{{"text":"a{char}b"}}'.encode()
    assert parse(b"data: " + text + b"\n\n") == [SseEvent(None, text)]


def test_data_lines_are_joined_by_lf_and_lose_one_blank_only() -> None:
    assert parse(b"data:a\ndata:  b\ndata\ndata:c\n\n") == [SseEvent(None, b"a\n b\n\nc")]


def test_comments_unknown_fields_ids_and_retry_give_nothing() -> None:
    assert parse(b": ping\n\nid: 1\nretry: 5\nfoo: bar\nevent: lonely\n\n:\n\ndata: x\nid: 2\n\n") == [
        SseEvent(None, b"x")
    ]


def test_the_last_event_line_counts_and_an_empty_one_names_nothing() -> None:
    assert parse(b"event: a\nevent: b\ndata: x\n\nevent: \ndata: y\n\nevent:\ndata:z\n\n") == [
        SseEvent("b", b"x"),
        SseEvent(None, b"y"),
        SseEvent(None, b"z"),
    ]


def test_an_event_name_that_is_not_utf8_is_carried_with_a_mark() -> None:
    assert parse(b"event: \xff\ndata: x\n\nevent:\xff\ndata: x\n\n") == [SseEvent("\ufffd", b"x")] * 2


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert parse(b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\ndata: 3\n\n") == [
        SseEvent(None, b"1"),
        SseEvent(None, b"3"),
    ]


def test_empty_data_is_an_event_but_no_data_is_none() -> None:
    assert parse(b"data:\n\nevent: x\n\n") == [SseEvent(None, b"")]


@table(
    ("rest", "given"),
    [
        (b"data: [DONE]", [SseEvent(None, b"[DONE]")]),
        (b"event: stop\ndata: {}\n", [SseEvent("stop", b"{}")]),
        (b'data: {"a":', [SseEvent(None, b'{"a":')]),
        (b"data: [DONE]\r", [SseEvent(None, b"[DONE]")]),
        (b"data", []),
        (b"data:", []),
        (b"event: stop", []),
        (b": comment", []),
        (b"", []),
    ],
)
def test_what_no_blank_line_ends_is_given_at_the_finish_only(rest: bytes, given: list[SseEvent]) -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\n\n" + rest) == [SseEvent(None, b"1")]
    assert parser.finish() == given
    assert parser.finish() == []


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_an_event_up_to_the_limit_passes_and_one_byte_more_does_not(pieces: int) -> None:
    def feed(size: int) -> list[SseEvent]:
        stream = b"data: " + b"x" * (size - 6) + b"\n\n"
        return parse(*pieces_of(stream, range(0, len(stream), -(-len(stream) // pieces))), event_limit=100)

    assert len(feed(100)) == 1
    with pytest.raises(ResponseTooLargeError, match="an event of the stream is larger than the limit of 100 bytes"):
        feed(101)


def test_an_endless_line_is_refused_before_it_fills_memory() -> None:
    tracemalloc.start()
    with pytest.raises(ResponseTooLargeError):
        parse(*repeat(b"x" * 65_536, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 1024 * 1024


def test_an_event_of_very_many_lines_is_refused() -> None:
    def lines(count: int) -> bytes:
        return b"data\n" * count + b"\n"

    assert parse(lines(65_536)) == [SseEvent(None, b"\n" * 65_535)]
    with pytest.raises(ResponseTooLargeError, match="more than 65,536 lines"):
        parse(lines(65_537))


def test_one_event_that_is_too_large_is_refused_among_small_ones() -> None:
    small = b"data: 12\n\n"
    assert len(parse(small * 100, event_limit=20)) == 100
    with pytest.raises(ResponseTooLargeError):
        parse(small + b"data: " + b"x" * 20 + b"\n\n" + small, event_limit=20)


def test_a_blank_line_too_many_is_no_part_of_the_event_that_follows() -> None:
    largest = b"data: " + b"x" * 94
    assert len(parse(b"data: 1\n\n\n", largest, b"\n\n", event_limit=100)) == 2
    assert len(parse(b"\n", largest, b"\n\n", event_limit=100)) == 1


def test_what_comes_with_the_event_before_is_no_larger_for_it() -> None:
    largest = b"data: " + b"x" * 94
    assert len(parse(b"data: 1\n\n" + largest[:50], largest[50:], b"\n\n", event_limit=100)) == 2


def test_a_stream_above_its_limit_is_refused_even_if_its_events_are_small() -> None:
    parser = SseParser(stream_limit=1000)
    for _ in range(100):
        parser.feed(b"data: 12\n\n")
    with pytest.raises(ResponseTooLargeError, match="the event stream is larger than the limit of 1,000 bytes"):
        parser.feed(b"\n")


def test_blank_lines_and_heartbeats_without_end_are_not_kept() -> None:
    parser = SseParser(event_limit=100)
    for _ in range(200):
        assert parser.feed(b"\n") == []
        assert parser.feed(b"\r\n") == []
        assert parser.feed(b": ping\n\n") == []
    assert parser.feed(b"data: x\n\n") == [SseEvent(None, b"x")]


# --- what it costs


def calls_of(stream: bytes) -> int:
    """Count what is called to read a stream that comes in one piece, functions of C included."""
    parser, calls = SseParser(), 0

    def count(_frame: Any, event: str, _what: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # Others may have it call them.
    sys.setprofile(count)
    try:
        parser.feed(stream)
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return calls


@pytest.mark.parametrize(
    ("event", "most"),
    [
        (b"data: {}\n\n", 1),
        (b"event: e\ndata: {}\n\n", 5),
    ],
)
def test_the_events_that_providers_send_are_read_without_looking_at_each_line(event: bytes, most: int) -> None:
    few, many = calls_of(event * 10), calls_of(event * 1010)
    assert (many - few) / 1000 <= most
