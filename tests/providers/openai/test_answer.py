from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.content import AudioPart, Citation, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse, Logprobs, TokenLogprob, TopLogprob
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import parse_chat
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

TARGET = Target(provider="somehost", model="asked")


def parse(body: Any) -> ChatResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_chat(HttpResponse(status=200, headers=Headers(), body=data), TARGET)


def answer(message: Any = None, **choice: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "hi"} if message is None else message
    return {"id": "1", "choices": [{"index": 0, "message": said, "finish_reason": "stop", **choice}]}


def parts(**message: Any) -> list[Part]:
    return parse(answer(message)).message.parts


def test_bytes_are_kept() -> None:
    body = json.dumps(answer()).encode()
    assert parse(body).raw == body


def test_what_is_not_told_has_its_default() -> None:
    response = parse({"choices": [{"message": {"content": "hi"}}]})
    assert (response.id, response.model, response.created, response.provider) == ("", "asked", 0, "somehost")
    assert (response.usage, response.service_tier, response.system_fingerprint) == (Usage(), None, None)
    assert (response.finish_reason, response.choices[0].native_finish_reason) == (None, None)


def test_head_fields_of_other_types_are_passed_over() -> None:
    response = parse({**answer(), "id": 5, "model": None, "created": "today", "service_tier": 1, "error": None})
    assert (response.id, response.model, response.created, response.service_tier) == ("", "asked", 0, None)
    assert parse({**answer(), "created": 5.7}).created == 5
    assert parse({**answer(), "created": True}).created == 0


def test_parts_come_in_their_order() -> None:
    found = parts(
        audio={"id": "a", "data": "AA==", "transcript": "t", "expires_at": 9},
        tool_calls=[
            {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"b": 1}'}},
            {"id": "c1", "type": "custom", "custom": {"name": "g", "input": "free"}},
        ],
        refusal="no",
        content="text",
        reasoning_content="hm",
        annotations=[
            {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}},
            {"type": "file", "file": {}},
        ],
    )
    assert found == [
        ReasoningPart(text="hm", provider="somehost"),
        TextPart(text="text", citations=[Citation(url="u", title="t", start=1, end=2)]),
        RefusalPart(refusal="no"),
        ToolCall(id="c0", name="f", arguments='{"b": 1}'),
        ToolCall(id="c1", name="g", arguments="free", kind="custom"),
        AudioPart(id="a", data="AA==", transcript="t", expires_at=9),
    ]


MADE_UP = "made up"


def with_known_ids(parts: list[Part], *known: str) -> list[Part]:
    """Give parts with `MADE_UP` in the place of ids that no server made."""
    return [
        msgspec.structs.replace(part, id=MADE_UP) if isinstance(part, ToolCall) and part.id not in known else part
        for part in parts
    ]


@table(
    ("message", "expected"),
    [
        ({"content": None}, []),
        ({"content": ""}, []),
        ({}, []),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "chart", "data": 1}, {"text": "b"}]},
            [TextPart(text="ab")],
        ),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, [RefusalPart(refusal="no")]),
        ({"content": "x", "reasoning": "hm"}, [ReasoningPart(text="hm", provider="somehost"), TextPart(text="x")]),
        ({"content": "x", "reasoning": {"effort": "low"}}, [TextPart(text="x")]),
        ({"content": "x", "annotations": "none"}, [TextPart(text="x")]),
        ({"content": "x", "tool_calls": None, "audio": None, "function_call": None}, [TextPart(text="x")]),
    ],
)
def test_messages_of_other_shapes_are_read(message: Any, expected: list[Part]) -> None:
    assert parts(**message) == expected


@table(
    ("call", "expected"),
    [
        (
            {"function": {"name": "f", "arguments": {"b": 1, "a": 2}}},
            ToolCall(id=MADE_UP, name="f", arguments='{"b":1,"a":2}'),
        ),
        ({"id": "", "function": {"name": "f", "arguments": None}}, ToolCall(id=MADE_UP, name="f")),
        ({"id": "c", "function": {"name": "f", "arguments": '{"x":'}}, ToolCall(id="c", name="f", arguments='{"x":')),
        ({"id": "c"}, ToolCall(id="c", name="")),
    ],
)
def test_tool_calls_of_other_shapes_are_read(call: Any, expected: ToolCall) -> None:
    assert with_known_ids(parts(tool_calls=[call]), "c") == [expected]


def test_the_old_function_call_is_a_tool_call() -> None:
    response = parse(
        answer({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, finish_reason="function_call")
    )
    assert with_known_ids(response.message.parts) == [ToolCall(id=MADE_UP, name="f", arguments="{}")]
    assert response.finish_reason == "tool_calls"


@table(
    ("native", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("error", "error"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("insufficient_system_resource", "error"),
        ("something new", "unknown"),
        (None, None),
        ("", None),
    ],
)
def test_finish_reasons_are_translated_and_kept(native: str | None, expected: str | None) -> None:
    choice = parse(answer(finish_reason=native)).choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == (expected, native or None)


def test_answers_are_numbered_where_the_server_does_not() -> None:
    response = parse({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]})
    assert [(choice.index, choice.message.text) for choice in response.choices] == [(0, "a"), (1, "b")]


def test_usage_is_read_into_its_buckets() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": "60",
        "total_tokens": 160,
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 10},
        "completion_tokens_details": {
            "reasoning_tokens": 25,
            "audio_tokens": 15,
            "accepted_prediction_tokens": 3,
            "rejected_prediction_tokens": 4,
        },
    }
    assert parse({**answer(), "usage": usage}).usage == Usage(
        input_tokens=100,
        output_tokens=60,
        cache_read_tokens=30,
        cache_write_tokens=20,
        input_audio_tokens=10,
        reasoning_tokens=25,
        output_audio_tokens=15,
        accepted_prediction_tokens=3,
        rejected_prediction_tokens=4,
    )


@table("usage", [None, {}, [], "many", {"prompt_tokens": {}}, {"prompt_tokens_details": None}])
def test_usage_that_cannot_be_read_is_passed_over(usage: Any) -> None:
    assert parse({**answer(), "usage": usage}).usage == Usage()


def test_log_probabilities_are_read() -> None:
    top = {"token": "b", "logprob": -2, "bytes": None}
    content = [{"token": "a", "logprob": -1.5, "bytes": [97], "top_logprobs": [top]}]
    logprobs = parse(answer(logprobs={"content": content, "refusal": None})).choices[0].logprobs
    found = TokenLogprob(token="a", logprob=-1.5, bytes=[97], top_logprobs=[TopLogprob(token="b", logprob=-2)])
    assert logprobs == Logprobs(content=[found])


@table("logprobs", [None, {}, {"tokens": ["a"]}, {"content": [5]}, []])
def test_log_probabilities_that_cannot_be_read_are_passed_over(logprobs: Any) -> None:
    assert parse(answer(logprobs=logprobs)).choices[0].logprobs is None


@pytest.mark.parametrize(
    ("odd", "found"),
    [
        ({"bytes": "none"}, TokenLogprob(token="a", logprob=-1.0)),
        ({"bytes": [97.0, "98"]}, TokenLogprob(token="a", logprob=-1.0, bytes=[97, 98])),
        ({"bytes": [97, "x"]}, TokenLogprob(token="a", logprob=-1.0)),
        ({"bytes": [97, 10**30, None]}, TokenLogprob(token="a", logprob=-1.0)),
        ({"logprob": "-2.5", "bytes": {}}, TokenLogprob(token="a", logprob=-2.5)),
        ({"top_logprobs": {"b": -1.0}}, TokenLogprob(token="a", logprob=-1.0)),
        (
            {"top_logprobs": [5, {"token": "b", "logprob": {}}, {"token": "c", "logprob": -3}]},
            TokenLogprob(token="a", logprob=-1.0, top_logprobs=[TopLogprob(token="c", logprob=-3.0)]),
        ),
        ({"logprob": True, "bytes": {}}, None),
        ({"logprob": {}}, None),
        ({"logprob": "NaN", "bytes": {}}, None),
        ({"logprob": "low"}, None),
        ({"token": 5}, None),
    ],
    ids=str,
)
def test_an_odd_member_of_a_token_takes_no_other_token_with_it(odd: Any, found: TokenLogprob | None) -> None:
    usual = {"token": "z", "logprob": 0, "bytes": [122]}
    logprobs = parse(answer(logprobs={"content": [{"token": "a", "logprob": -1, **odd}, usual]})).choices[0].logprobs
    expected = [TokenLogprob(token="z", logprob=0.0, bytes=[122])]
    assert logprobs == Logprobs(content=[found, *expected] if found else expected)


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert parse(rb'{"choices":[{"message":{"content":"a\ud83d"}}]}').text == "a\ufffd"


@table(
    ("body", "told"),
    [
        (b"", "the response cannot be read"),
        (b"   ", "it is empty"),
        (b"<html>busy</html>", "its 17 bytes begin with: <html>busy</html>"),
        (b'{"choices": [{"mess', "the response cannot be read"),
        (b"null", "the response cannot be read"),
        (b"[]", "the response cannot be read"),
        (b'"hello"', "the response cannot be read"),
        (b"{}", "it has no choices"),
        ({"choices": None}, "it has no choices"),
        ({"choices": []}, "it has no choices"),
        ({"choices": {}}, "the response cannot be read"),
        ({"choices": ["hi"]}, "the response cannot be read"),
        ({"choices": [{}]}, "it has no message in choices[0]"),
        ({"choices": [{"message": "hi"}]}, "the response cannot be read"),
        ({"choices": [{"message": {"content": 5}}]}, "the response cannot be read"),
        ({"choices": [{"message": {"tool_calls": [5]}}]}, "the response cannot be read"),
        ({"object": "error"}, "it has neither choices nor an error"),
        (b'{"x":' + b"[" * 5000, "nested too deeply"),
        (b'{"choices":[{"message":{"content":"\xff"}}]}', "text that is not UTF-8"),
    ],
)
def test_what_holds_no_answer_is_malformed(body: Any, told: str) -> None:
    with pytest.raises(MalformedResponseError) as caught:
        parse(body)
    assert told in caught.value.message


def test_a_choice_that_was_filtered_away_is_an_answer() -> None:
    response = parse({"choices": [{"message": None, "finish_reason": "content_filter"}]})
    assert (response.text, response.finish_reason) == ("", "content_filter")


@table(
    ("body", "code", "status"),
    [
        ({"error": {"message": "busy", "code": 502}}, "502", 502),
        ({"error": {"message": "busy", "code": "rate_limit_exceeded"}}, "rate_limit_exceeded", 429),
        ({"error": {"message": "busy", "type": "server_error"}}, None, 500),
        ({"error": {"message": "busy"}, "choices": []}, None, None),
        ({"error": "busy", "choices": [{"message": {"content": "x"}}]}, None, None),
        ({"object": "error", "message": "busy", "code": 40}, "40", None),
        ([{"error": {"message": "busy", "code": 503}}], "503", 503),
        ({"error": {"message": "busy"}, "choices": 5}, None, None),
    ],
)
def test_an_error_under_a_good_status_is_reported(body: Any, code: str | None, status: int | None) -> None:
    with pytest.raises(ReportedError) as caught:
        parse(body)
    assert (caught.value.body.message, caught.value.body.code, caught.value.status) == ("busy", code, status)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FULL = {
    "id": "1",
    "created": 1,
    "error": None,
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": [1], "top_logprobs": []}]},
            "message": {
                "role": "assistant",
                "content": [{"type": "text", "text": "x"}],
                "refusal": None,
                "reasoning": "hm",
                "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
                "audio": {"id": "a", "expires_at": 1},
                "function_call": {"name": "f", "arguments": "{}"},
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}},
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    match value:
        case dict():
            inner = [found for key, part in value.items() for found in paths(part, (*path, key))]
        case list():
            inner = [found for place, part in enumerate(value) for found in paths(part, (*path, place))]
        case _:
            inner = []
    return [path, *inner]


def mutated(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = mutated(value[path[0]], path[1:], new)
    return copy


@given(st.sampled_from(paths(FULL)), values, st.sampled_from(paths(FULL)), values)
def test_any_other_shape_is_read_or_fails_in_our_words(
    first: tuple[Any, ...], one: Any, second: tuple[Any, ...], other: Any
) -> None:
    body = mutated(FULL, first, one)
    if second[: len(first)] != first:
        body = mutated(body, second, other)
    with suppress(MalformedResponseError, ReportedError):
        assert parse(body).choices


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_fail_in_our_words(body: bytes) -> None:
    with pytest.raises((MalformedResponseError, ReportedError)):
        parse(body)


@given(st.integers(min_value=0, max_value=600))
def test_a_cut_answer_is_malformed(length: int) -> None:
    body = json.dumps(FULL).encode()
    with pytest.raises(MalformedResponseError):
        parse(body[: min(length, len(body) - 1)])
