"""What servers of the dialect are known to add or to say otherwise, in whole answers and in streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import ChatDecoder, Quirks, parse_chat, parse_error, parse_models
from bifrost.schema.chat import ChatResponse
from bifrost.schema.chunks import Chunk
from bifrost.schema.content import Citation, ReasoningPart, TextPart
from bifrost.schema.models import ModelInfo
from bifrost.schema.usage import Usage
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.sse import SseEvent

TARGET = Target(provider="somehost", model="m")
DETAILS = Quirks(reasoning_field="reasoning_details")


def answered(body: Any) -> HttpResponse:
    return HttpResponse(status=200, headers=Headers(), body=json.dumps(body).encode())


def whole(message: Any = None, *, quirks: Quirks | None = None, choice: Any = None, **head: Any) -> ChatResponse:
    only = {"message": message or {"content": "hi"}, "finish_reason": "stop", **(choice or {})}
    return parse_chat(answered({"choices": [only], **head}), TARGET, quirks=quirks or Quirks())


def streamed(*events: Any, quirks: Quirks | None = None) -> list[Chunk]:
    decoder = ChatDecoder(TARGET, quirks=quirks or Quirks())
    return [chunk for event in events for chunk in decoder.feed(SseEvent(event=None, data=json.dumps(event).encode()))]


def event(delta: Any = None, *, finish: str | None = None, **head: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **head}


# --- usage

USED = {"prompt_tokens": 10, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cached_tokens": 4}, {"cache_read_tokens": 4}),
        ({"reasoning_tokens": 1, "num_search_queries": 3}, {"reasoning_tokens": 1, "server_tool_calls": 3}),
        ({"server_tool_use_details": {"web_search_requests": 2}}, {"server_tool_calls": 2}),
        ({"server_tool_use_details": None, "cost": 0.5, "prompt_time": 0.1}, {}),
    ],
)
def test_counts_under_other_names_are_read(usage: dict[str, Any], expected: dict[str, int]) -> None:
    assert whole(usage={**USED, **usage}).usage == Usage(input_tokens=10, output_tokens=2, **expected)


@pytest.mark.parametrize(("total", "output"), [(17, 7), (12, 2), (None, 2)])
def test_reasoning_that_only_the_total_counts_is_output(total: int | None, output: int) -> None:
    used = {**USED, "total_tokens": total, "completion_tokens_details": {"reasoning_tokens": 5}}
    quirks = Quirks(reasoning_tokens_apart=True)
    expected = Usage(input_tokens=10, output_tokens=output, reasoning_tokens=5)
    assert whole(usage=used, quirks=quirks).usage == expected
    (chunk,) = streamed({"choices": [], "usage": used}, quirks=quirks)
    assert chunk.usage == expected
    assert whole(usage={**used, "total_tokens": 17}).usage == Usage(
        input_tokens=10, output_tokens=2, reasoning_tokens=5
    )


@pytest.mark.parametrize("inside", [{"id": "r"}, {"id": "r", "usage": None}, None, 5])
def test_what_else_stands_in_groqs_corner_is_passed_over(inside: Any) -> None:
    (chunk,) = streamed(event({"content": "a"}, x_groq=inside))
    assert (chunk.text, chunk.usage) == ("a", None)


def test_usage_in_groqs_corner_is_read_where_it_stands_alone() -> None:
    (chunk,) = streamed(event(finish="stop", x_groq={"usage": USED}))
    assert chunk.usage == Usage(input_tokens=10, output_tokens=2)
    (chunk,) = streamed(event(finish="stop", x_groq={"usage": USED}, usage={**USED, "completion_tokens": 3}))
    assert chunk.usage == Usage(input_tokens=10, output_tokens=3)


# --- endings


def test_the_upstreams_word_for_an_ending_is_kept() -> None:
    choice = whole(choice={"finish_reason": "stop", "native_finish_reason": "end_turn"}).choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "end_turn")
    told = {"index": 0, "delta": {}, "finish_reason": "length", "native_finish_reason": "MAX_TOKENS"}
    (chunk,) = streamed({"choices": [told]})
    assert (chunk.choices[0].finish_reason, chunk.choices[0].native_finish_reason) == ("length", "MAX_TOKENS")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("stop_reason", "END", "END"),
        ("matched_stop", "END", "END"),
        ("stop_reason", 128009, None),
        ("matched_stop", None, None),
    ],
)
def test_the_stop_sequence_is_told_where_the_server_does(field: str, value: Any, expected: str | None) -> None:
    assert whole(choice={field: value}).choices[0].stop_sequence == expected
    (chunk,) = streamed({"choices": [{"delta": {}, "finish_reason": "stop", field: value}]})
    assert chunk.choices[0].stop_sequence == expected


def test_an_upstreams_failure_within_an_answer_is_reported() -> None:
    with pytest.raises(ReportedError, match="upstream gave up") as caught:
        whole(choice={"finish_reason": "error", "error": {"code": 502, "message": "upstream gave up"}})
    assert caught.value.status == 502
    assert whole(choice={"error": None}).text == "hi"


# --- reasoning


@pytest.mark.parametrize(
    "thinking",
    [
        [{"type": "text", "text": "h"}, {"type": "tool_reference", "tool": "x"}, {"type": "text", "text": "m"}],
        [{"text": "hm"}, {"text": None}],
    ],
)
def test_thinking_parts_of_the_content_are_reasoning(thinking: Any) -> None:
    content = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "So"}, {"type": "reference"}]
    assert whole({"content": content}).message.parts == [
        ReasoningPart(text="hm", provider="somehost"),
        TextPart(text="So"),
    ]
    (chunk,) = streamed(event({"content": content}))
    assert (chunk.choices[0].delta.reasoning, chunk.choices[0].delta.provider) == ("hm", "somehost")
    assert chunk.text == "So"


@pytest.mark.parametrize("thinking", [None, {}, 5, [5], [], "hm"])
def test_thinking_of_another_shape_is_passed_over(thinking: Any) -> None:
    content = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "So"}]
    assert whole({"content": content}).message.parts == [TextPart(text="So")]


def test_details_of_a_whole_answer_are_kept_where_they_go_back() -> None:
    message = {"content": "So", "reasoning": None, "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}
    thought, text = whole(message, quirks=DETAILS).message.parts
    assert thought == ReasoningPart(
        signature='[{"type":"reasoning.encrypted","data":"x"}]\n', provider="somehost", text=""
    )
    assert text == TextPart(text="So")
    assert whole(message).message.parts == [TextPart(text="So")]


def test_details_of_a_stream_come_with_its_ending() -> None:
    piece = {"type": "reasoning.text", "text": "h", "index": 0}
    chunks = streamed(
        event({"reasoning": "h", "reasoning_details": [piece]}),
        event({"reasoning": "m", "reasoning_details": [{**piece, "text": "m"}]}),
        event({"content": "So"}),
        event(finish="stop"),
        event(finish="stop"),
        quirks=DETAILS,
    )
    signatures = [chunk.choices[0].delta.signature for chunk in chunks]
    assert signatures == [None, None, None, '[{"type":"reasoning.text","text":"hm","index":0}]\n', None]
    assert chunks[3].choices[0].delta.provider == "somehost"


# --- sources


def test_sources_beside_the_answer_are_its_citations() -> None:
    results = [{"url": "https://a.example", "title": "A", "snippet": "s", "date": None}, {"title": "nowhere"}]
    head = {"citations": ["https://a.example"], "search_results": results}
    assert whole(**head).message.citations == [Citation(url="https://a.example", title="A", text="s")]
    assert whole(citations=["https://b.example"]).message.citations == [Citation(url="https://b.example")]


@pytest.mark.parametrize("head", [{"citations": None}, {"citations": [], "search_results": []}, {"citations": "x"}])
def test_sources_of_another_shape_are_none(head: dict[str, Any]) -> None:
    assert whole(**head).message.citations == []
    (chunk,) = streamed(event({"content": "a"}, **head))
    assert chunk.choices[0].delta.citations is None


def test_each_source_of_a_stream_is_told_once() -> None:
    a, b = "https://a.example", "https://b.example"
    chunks = streamed(
        event({"content": "x"}, citations=[a]),
        event({"content": "y"}, citations=[a, b]),
        event(finish="stop", citations=[a, b]),
        {"choices": [], "citations": [a, b], "usage": USED},
    )
    cited = [choice.delta.citations for chunk in chunks for choice in chunk.choices]
    assert cited == [[Citation(url=a)], [Citation(url=b)], None]


def test_annotations_tell_the_passage() -> None:
    source = {"url": "https://a.example", "title": "A", "content": "passage", "start_index": 1, "end_index": 2}
    notes = [{"type": "url_citation", "url_citation": source}, {"type": "file", "file": {}}]
    assert whole({"content": "hi", "annotations": notes}).message.citations == [
        Citation(url="https://a.example", title="A", text="passage", start=1, end=2)
    ]


# --- errors and models


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            {"code": "Client specified an invalid argument", "error": "No such model"},
            "No such model",
            "Client specified",
        ),
        (
            {"error": {"code": 429, "message": "Failed", "metadata": {"raw": "slow down", "provider_name": "Up"}}},
            "Failed (Up): slow down",
            "429",
        ),
        ({"error": {"code": 403, "message": "Flagged", "metadata": {"reasons": ["x"]}}}, "Flagged", "403"),
        ({"message": "Wrong key", "type": "invalid_request_error", "param": "api_key", "code": "wrong"}, "Wrong", "wr"),
    ],
)
def test_errors_in_other_forms_are_read(body: Any, message: str, code: str) -> None:
    error = parse_error(HttpResponse(status=400, headers=Headers(), body=json.dumps(body).encode()))
    assert error.message.startswith(message)
    assert (error.code or "").startswith(code)


@pytest.mark.parametrize(("given", "status"), [(400, 400), (503, 503), (200, None), ("400", None), (True, None)])
def test_an_error_event_may_tell_its_status(given: Any, status: int | None) -> None:
    decoder = ChatDecoder(TARGET)
    with pytest.raises(ReportedError) as caught:
        decoder.feed(
            SseEvent(event="error", data=json.dumps({"error": {"message": "m", "status_code": given}}).encode())
        )
    assert caught.value.status == status


def test_a_bare_list_of_models_is_read() -> None:
    answer = parse_models(answered([{"id": "a", "display_name": "A", "context_length": 8192}]), TARGET)
    assert answer.data == [ModelInfo(id="a", provider="somehost", name="A", context_window=8192)]


@pytest.mark.parametrize("field", ["context_window", "context_length", "max_context_length", "max_model_len"])
def test_what_servers_tell_of_their_models_is_read(field: str) -> None:
    told = {"id": "a", "name": "A", field: 4096, "max_completion_tokens": 1024}
    (model,) = parse_models(answered({"data": [told]}), TARGET).data
    assert (model.name, model.context_window, model.max_output_tokens) == ("A", 4096, 1024)


@pytest.mark.parametrize("value", [None, "many", True, 0, -1, 1.5])
def test_sizes_of_another_kind_are_passed_over(value: Any) -> None:
    (model,) = parse_models(answered({"data": [{"id": "a", "context_length": value}]}), TARGET).data
    assert model.context_window is None
