"""Recorded responses with one change: an unexpected type, an unknown member, an event that is missing or repeated.

A response that cannot be read raises one of three errors. Other exceptions are bugs, and so is the loss of text or
calls because of a change elsewhere in the response.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.operations.chat.content import ToolCall
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.base import ReportedError
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, Drive, cases, drive_events, frame
from tests.providers.mutations import ABSENT, Mutation, mutation

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from bifrost.wire.framing.sse import SseEvent

    Events = list[tuple[SseEvent, bool]]

DIALECTS = ("gemini", "bedrock", "cohere", "ollama", "openai", "mistral", "voyage")
MUTATIONS = 300
REFUSALS = (MalformedResponseError, ResponseTooLargeError, ReportedError)

NEEDLESS = frozenset(
    {
        "id",
        "created",
        "model",
        "usage",
        "usageMetadata",
        "modelVersion",
        "responseId",
        "createTime",
        "zz_new",
        "serviceTier",
        "service_tier",
        "metrics",
        "role",
        "system_fingerprint",
        "created_at",
        "total_duration",
        "avgLogprobs",
        "safetyRatings",
        "response_id",
        "logprobs",
        "eval_count",
        "prompt_eval_count",
        "p",
        "citationMetadata",
        "response_type",
        "generation_id",
    }
)
"""Members of any dialect that change neither text nor calls, with what is in them."""


def usable(dialect: str) -> list[Case]:
    """Return the recorded responses of a dialect that are no errors."""
    return [
        case
        for case in cases()
        if case.provider.name == dialect and case.answer.status < 300 and "reported" not in case.expected
    ]


def is_needless(change: Mutation) -> bool:
    """Return whether a member is not needed: it is named so, and in no arguments of a call."""
    names = [step for step in change.path if isinstance(step, str)]
    return not NEEDLESS.isdisjoint(names) and not ARGUMENTS.intersection(names)


ARGUMENTS = frozenset(["args", "input", "arguments", "parameters", "output", "response", "item", "part", "parsed"])
"""Members in which the model, or another format, names the members."""


def facts(response: Any) -> Any:
    """Return the text and the calls of a chat."""
    if not isinstance(response, ChatResponse):
        return None
    return [
        (
            choice.message.text,
            [(part.name, part.arguments) for part in choice.message.parts if isinstance(part, ToolCall)],
        )
        for choice in response.choices
    ]


def parse(case: Case, document: Any) -> Any:
    body = msgspec.json.encode(document)
    return case.codec.parse(HttpResponse(status=200, headers=Headers.of(), body=body), case.target)


def check_complete(case: Case, seeded: Random) -> None:
    document = json.loads(case.body)
    change = mutation(document, seeded)
    refused = False
    try:
        response = parse(case, change.apply(document))
        msgspec.json.encode(response)
    except REFUSALS:
        response, refused = None, True
    if case.operation == "chat" and is_needless(change):
        assert not refused
        assert facts(response) == facts(parse(case, document))


def check_stream(case: Case, seeded: Random) -> None:
    events = frame(case, [case.body])
    place = seeded.choice([place for place, (event, _) in enumerate(events) if event.data.startswith(b"{")])
    event, at_end = events[place]
    document = json.loads(event.data)
    change = mutation(document, seeded)
    events[place] = written(event, document), at_end
    driven = driven_or_none(
        case, [*events[:place], (written(event, change.apply(document)), at_end), *events[place + 1 :]]
    )
    if case.operation == "chat" and is_needless(change):
        assert driven is not None
        assert driven.reported is None
        assert facts(driven.accumulator.response()) == facts(drive_events(case, events).accumulator.response())


def written(event: SseEvent, document: Any) -> SseEvent:
    return msgspec.structs.replace(event, data=msgspec.json.encode(document))


def driven_or_none(case: Case, events: Events) -> Drive | None:
    with suppress(*REFUSALS):
        driven = drive_events(case, events)
        msgspec.json.encode(driven.accumulator.response())
        assert driven.ending != "complete" or driven.reported is None
        return driven
    return None


def repeated(events: Events, place: int) -> Events:
    return [*events[: place + 1], *events[place:]]


def missing(events: Events, place: int) -> Events:
    return [*events[:place], *events[place + 1 :]]


def swapped(events: Events, place: int) -> Events:
    return [*events[:place], *reversed(events[place : place + 2]), *events[place + 2 :]]


def unknown(events: Events, place: int) -> Events:
    event, _ = events[place]
    new = msgspec.structs.replace(event, data=b'{"type":"zz_unknown","zz_new":[null]}')
    return [*events[:place], (new, False), *events[place:]]


def with_error(events: Events, place: int) -> Events:
    event, _ = events[place]
    new = msgspec.structs.replace(event, data=b'{"error":{"message":"m","code":503,"status":"UNAVAILABLE"}}')
    return [*events[:place], (new, False)]


ORDERS: tuple[Callable[[Events, int], Events], ...] = (repeated, missing, swapped, unknown, with_error)


def check_order(case: Case, seeded: Random) -> None:
    """Change the events: none of that raises another exception, and none without its end is complete."""
    events = frame(case, [case.body])
    place = seeded.randrange(len(events))
    driven_or_none(case, seeded.choice(ORDERS)(events, place))
    cut = driven_or_none(case, events[:place])
    assert cut is not None
    if cut.ending == "complete":
        assert cut.accumulator.finished
        assert facts(cut.accumulator.response()) == facts(drive_events(case, events).accumulator.response())


def run(dialect: str, seeds: range) -> None:
    found = usable(dialect)
    assert found
    for seed in seeds:
        seeded = random.Random(f"{dialect} {seed}")
        case = seeded.choice(found)
        checks = (check_stream, check_order) if case.is_stream else (check_complete,)
        try:
            seeded.choice(checks)(case, seeded)
        except Exception as error:
            error.add_note(f"seed {seed}, case {case.id}")
            raise


@pytest.mark.parametrize("dialect", DIALECTS)
def test_changed_responses_are_read_or_refused(dialect: str) -> None:
    run(dialect, range(MUTATIONS))


@pytest.mark.wide
@pytest.mark.parametrize("dialect", DIALECTS)
def test_more_changed_responses_are_read_or_refused(dialect: str) -> None:
    run(dialect, range(MUTATIONS, 10 * MUTATIONS))


def test_changes_are_of_every_kind() -> None:
    document = {"a": [{"b": 1, "type": "text"}], "usage": {"n": 3}}
    changes = [mutation(document, random.Random(seed)) for seed in range(300)]
    assert any(change.value is ABSENT for change in changes)
    assert {change.path for change in changes} >= {("a",), ("a", 0, "b"), ("usage", "n"), ("zz_new",)}
    assert Mutation(("a", 0, "b"), ABSENT).apply(document) == {"a": [{"type": "text"}], "usage": {"n": 3}}
    assert document["usage"] == {"n": 3}
