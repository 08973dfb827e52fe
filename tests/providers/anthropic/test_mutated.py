"""Recorded answers with something changed: they are read, or refused in our own words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.providers.anthropic import ANTHROPIC, CHAT
from bifrost.providers.base import ReportedError, Target
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import cases

TARGET = Target(provider="anthropic", model="m", stream=True)
OURS = [case for case in cases() if case.provider.name == "anthropic" and case.operation == "chat"]
ANSWERS = sorted((case.body for case in OURS if not case.is_stream), key=len)[:20]
STREAMS = [
    [line.removeprefix(b"data:").strip() for line in case.body.split(b"\n") if line.startswith(b"data:")]
    for case in OURS
    if case.is_stream and len(case.body) < 32_000
]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
few = settings(max_examples=3 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow])


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys and numbers that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places_in(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """Change a document: another value somewhere, a value gone, or other bytes."""
    kind = draw(st.sampled_from(["value", "value", "gone", "bytes"]))
    if kind == "bytes":
        start = draw(st.integers(0, len(body)))
        return body[:start] + draw(st.binary(max_size=3)) + body[draw(st.integers(start, len(body))) :]
    document = json.loads(body)
    path = draw(st.sampled_from(places_in(document)))
    if not path:
        return json.dumps(draw(json_values)).encode()
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    if kind == "gone":
        del holder[path[-1]]
    else:
        holder[path[-1]] = draw(json_values)
    return json.dumps(document).encode()


@few
@given(st.sampled_from(ANSWERS).flatmap(mutated))
def test_a_changed_answer_is_read_or_refused(body: bytes) -> None:
    answer = HttpResponse(status=200, headers=Headers(), body=body)
    try:
        response = CHAT.parse(answer, TARGET)
    except (MalformedResponseError, ReportedError):
        return
    msgspec.json.encode(response)
    json.dumps(response.to_dict())


@few
@given(st.sampled_from(ANSWERS).flatmap(mutated))
def test_a_changed_error_is_shown(body: bytes) -> None:
    assert ANTHROPIC.parse_error(HttpResponse(status=500, headers=Headers(), body=body)).message


@few
@given(st.data())
def test_a_changed_stream_is_read_or_refused(data: st.DataObject) -> None:
    events = list(data.draw(st.sampled_from(STREAMS)))
    place = data.draw(st.integers(0, len(events) - 1))
    events[place] = data.draw(mutated(events[place]))
    assert CHAT.decoder is not None
    decoder = CHAT.decoder(TARGET)
    accumulator = ChatAccumulator()
    try:
        for event in events:
            for chunk in decoder.feed(SseEvent(event=None, data=event)):
                accumulator.add(chunk)
    except (MalformedResponseError, ReportedError):
        pass
    assert decoder.finish() in {"complete", "unmarked", "cut"}
    msgspec.json.encode(accumulator.response())
