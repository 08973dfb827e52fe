"""Every golden case, both directions; streams in whatever pieces they come, and cut wherever they can be."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.providers.base import ReportedError
from tests.providers.golden_cases import Case, Drive, cases, drive, drive_events, frame, read_answer
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = cases(request=True)
COMPLETE = cases(stream=False)
STREAMS = cases(stream=True)

SMALL = 8 * 1024
"""Streams below this are split at every byte."""

PLACES = 200
"""In how many places longer ones are split."""

EVENTS = 400
"""Up to how many events a stream is cut after each one; at random ones beyond."""

SCHEMA_KEYS = {"parameters", "schema", "input_schema", "parametersJsonSchema", "responseJsonSchema", "responseSchema"}

WITHOUT_MARKER = {"gemini", "vertex"}
"""Streams of these providers end without a marker: the finish reason says that they are complete."""


def by_id(case: Case) -> str:
    return case.id


def test_there_are_cases_of_each_kind() -> None:
    assert REQUESTS
    assert COMPLETE
    assert STREAMS


@table("case", REQUESTS, ids=by_id)
def test_request_becomes_the_http_request(case: Case) -> None:
    before = msgspec.json.encode(case.request)
    built = case.build()
    sent = json.loads(built.request.body)
    assert sent == case.http["body"]
    assert [json.dumps(schema) for schema in schemas(sent)] == [json.dumps(s) for s in schemas(case.http["body"])]
    assert (built.request.method, built.request.path) == (case.http["method"], case.http["path"])
    assert built.request.headers == {"content-type": "application/json", **case.http.get("headers", {})}
    assert built.warnings == case.http.get("warnings", [])
    assert built.request.source is case.request
    assert msgspec.json.encode(case.request) == before


@table("case", REQUESTS, ids=by_id)
def test_request_file_is_understood_whole(case: Case) -> None:
    assert json.loads(msgspec.json.encode(case.request)) == case.json("request.json")


@table("case", COMPLETE, ids=by_id)
def test_answer_is_read(case: Case) -> None:
    assert read_answer(case) == case.expected


@table("case", STREAMS, ids=by_id)
def test_stream_becomes_the_answer(case: Case) -> None:
    whole = drive(case, [case.body])
    assert whole.result == case.expected
    assert case.operation != "chat" or all(chunk.model for chunk in whole.chunks)
    single = [bytes([byte]) for byte in case.body]
    assert drive(case, single).chunks == whole.chunks
    assert drive(case, pieces_of(case)).chunks == whole.chunks


@table("case", STREAMS, ids=by_id)
def test_stream_split_in_two_gives_the_same_events(case: Case) -> None:
    body = case.body
    whole = frame(case, [body])
    places = range(len(body)) if len(body) < SMALL else random.Random(case.id).sample(range(len(body)), PLACES)
    for place in places:
        assert frame(case, [body[:place], body[place:]]) == whole, place


@table("case", STREAMS, ids=by_id)
def test_stream_cut_after_an_event_is_seen_as_cut(case: Case) -> None:
    events = frame(case, [case.body])
    marker = marker_of(case)
    places = range(len(events) + 1)
    if len(places) > EVENTS:
        places = [*sorted(random.Random(case.id).sample(places, EVENTS)), marker, marker + 1, len(events)]
    for place in places:
        cut = drive_events(case, events[:place])
        assert cut.ending == ending_of(cut, marked=place > marker), place


@table("case", STREAMS, ids=by_id)
def test_stream_cut_within_an_event_is_seen_as_cut(case: Case) -> None:
    body = case.body
    marker = len(b"".join(list(pieces_of(case))[: marker_of(case)]))
    for place in random.Random(case.id).sample(range(marker), min(50, marker)):
        cut = drive(case, [body[:place]])
        assert cut.ending == ending_of(cut, marked=False), place


def ending_of(driven: Drive, *, marked: bool) -> str:
    """What a stream that brought these chunks may be called."""
    if marked:
        return "complete"
    if driven.case.provider.name in WITHOUT_MARKER:
        return "complete" if driven.accumulator.finished else "cut"
    return "unmarked" if driven.accumulator.finished else "cut"


def marker_of(case: Case) -> int:
    """The number of the event that is the final marker; the number of events, if there is none."""
    assert case.codec.decoder is not None
    decoder = case.codec.decoder(case.target)
    events = frame(case, [case.body])
    for number, (event, _) in enumerate(events):
        try:
            decoder.feed(event)
        except ReportedError:
            break  # nothing behind it is read
        if decoder.done:
            return number
    return len(events)


def pieces_of(case: Case) -> Iterator[bytes]:
    """The stream's bytes, an event each."""
    rest = case.body
    while rest and (case.folder / "response.eventstream").exists():
        length = int.from_bytes(rest[:4])
        yield rest[:length]
        rest = rest[length:]
    marks = (b"\n",) if case.is_of_lines else (b"\n\n", b"\r\n\r\n", b"\r\r")
    while rest:
        ends = [rest.find(mark) + len(mark) for mark in marks if mark in rest]
        end = min(ends, default=len(rest))
        yield rest[:end]
        rest = rest[end:]


def schemas(value: Any) -> Iterator[Any]:
    """The JSON schemas in a body, whose keys stand in the caller's order."""
    match value:
        case dict():
            for key, inner in value.items():
                if key in SCHEMA_KEYS and isinstance(inner, dict):
                    yield inner
                else:
                    yield from schemas(inner)
        case list():
            for inner in value:
                yield from schemas(inner)
        case _:
            pass
