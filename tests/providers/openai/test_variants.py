"""What servers of the dialect are known to add or to say otherwise, in whole answers and in streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.chunks import Chunk
from bifrost.operations.chat.content import Citation, ImagePart, ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse, Logprobs, TokenLogprob, TopLogprob
from bifrost.operations.models import ModelInfo
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import ChatDecoder, Quirks, parse_chat, parse_error, parse_models
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

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


@table(
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


@table(("total", "output", "reasoning"), [(17, 7, 5), (15, 5, 5), (12, 2, 2), (None, 7, 5)])
def test_reasoning_that_the_output_leaves_out_is_output(total: int | None, output: int, reasoning: int) -> None:
    used = {**USED, "total_tokens": total, "completion_tokens_details": {"reasoning_tokens": 5}}
    quirks = Quirks(reasoning_tokens_apart=True)
    expected = Usage(input_tokens=10, output_tokens=output, reasoning_tokens=reasoning)
    assert whole(usage=used, quirks=quirks).usage == expected
    (chunk,) = streamed({"choices": [], "usage": used}, quirks=quirks)
    assert chunk.usage == expected
    assert whole(usage=used).usage == expected


@table("inside", [{"id": "r"}, {"id": "r", "usage": None}, None, 5])
def test_what_else_stands_in_groqs_corner_is_passed_over(inside: Any) -> None:
    (chunk,) = streamed(event({"content": "a"}, x_groq=inside))
    assert (chunk.text, chunk.usage) == ("a", None)


def test_usage_in_groqs_corner_is_read_where_it_stands_alone() -> None:
    (chunk,) = streamed(event(finish="stop", x_groq={"usage": USED}))
    assert chunk.usage == Usage(input_tokens=10, output_tokens=2)
    (chunk,) = streamed(event(finish="stop", x_groq={"usage": USED}, usage={**USED, "completion_tokens": 3}))
    assert chunk.usage == Usage(input_tokens=10, output_tokens=3)


def both(usage: Any, quirks: Quirks | None = None) -> Usage:
    """Read a count from a whole answer and from a stream, which must agree."""
    plain = whole(usage=usage, quirks=quirks).usage
    chunks = streamed(event({"content": "a"}), {"choices": [], "usage": usage}, quirks=quirks)
    assert ([chunk.usage for chunk in chunks if chunk.usage is not None] or [Usage()]) == [plain]
    return plain


@table(
    "usage",
    [
        {**USED, "prompt_tokens_details": {"cached_tokens": 8}},
        {**USED, "prompt_token_details": {"cached_tokens": 8}},
        {"input_tokens": 10, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 8}},
        {**USED, "cached_tokens": 8},
        {**USED, "num_cached_tokens": 8, "total_tokens": 12},
        {**USED, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        {"completion_tokens": 2, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        {**USED, "prompt_tokens_details": {"cached_tokens": 8}, "prompt_cache_hit_tokens": 8, "cached_tokens": 8},
        {**USED, "prompt_tokens_details": {"cached_tokens": 0}, "num_cached_tokens": 8},
        {**USED, "prompt_tokens_details": None, "cache_read_input_tokens": 8},
        {"prompt_tokens": 10.0, "completion_tokens": 2.0, "prompt_tokens_details": {"cached_tokens": 8.0}},
        {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 12, "cache_read_input_tokens": 8},
        {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4, "cache_read_input_tokens": 8},
    ],
    ids=str,
)
def test_cached_tokens_are_read_wherever_they_stand(usage: Any) -> None:
    count = both(usage)
    assert count is not None
    assert count == Usage(input_tokens=10, output_tokens=2, cache_read_tokens=8)
    assert count.uncached_tokens == 2


@table(
    ("usage", "expected"),
    [
        ({"total_tokens": 12}, Usage(input_tokens=12)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 12}, Usage(input_tokens=12)),
        ({"prompt_tokens": 10, "total_tokens": 12}, Usage(input_tokens=10, output_tokens=2)),
        ({"completion_tokens": 2, "total_tokens": 12}, Usage(input_tokens=10, output_tokens=2)),
        ({"prompt_tokens": 10, "completion_tokens": None, "total_tokens": None}, Usage(input_tokens=10)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
        ({"total_tokens": "many"}, Usage()),
        ({"prompt_tokens_details": {"cached_tokens": 5}}, Usage()),
    ],
)
def test_a_missing_count_follows_from_the_others(usage: Any, expected: Usage) -> None:
    assert both(usage) == expected


@table("odd", [[], {}, "", 0, False, [1], "none", 5, -3, 1e300, {"cached_tokens": "x"}, 2**60])
@table(
    "member",
    [
        "prompt_tokens_details",
        "prompt_token_details",
        "server_tool_use_details",
        "num_cached_tokens",
        "total_tokens",
        "prompt_audio_seconds",
        "cost_details",
    ],
)
def test_an_odd_detail_takes_no_other_with_it(member: str, odd: Any) -> None:
    details = {"reasoning_tokens": 1}
    count = both({"prompt_tokens": 10, "completion_tokens": 5, member: odd, "completion_tokens_details": details})
    assert count is not None
    if not isinstance(odd, int) or isinstance(odd, bool) or odd <= 0:
        assert (count.input_tokens, count.output_tokens, count.reasoning_tokens) == (10, 5, 1)


def test_sound_that_stands_beside_the_input_is_input() -> None:
    usage = {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264}
    count = both(usage)
    assert count == Usage(input_tokens=2629, output_tokens=635, input_audio_tokens=2625)
    assert count is not None
    assert (count.uncached_tokens, count.total_tokens) == (4, 3264)
    assert both({**usage, "total_tokens": 639}) == Usage(input_tokens=4, output_tokens=635)


def test_reasoning_that_a_gateway_counts_in_the_total_alone_is_output() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 80}
    used = {**usage, "completion_tokens_details": {"reasoning_tokens": 20}}
    assert both(used) == Usage(input_tokens=10, output_tokens=70, reasoning_tokens=20)
    assert both({**used, "total_tokens": 60}) == Usage(input_tokens=10, output_tokens=50, reasoning_tokens=20)


def test_usage_in_the_event_of_an_error_is_told_before_it() -> None:
    decoder = ChatDecoder(TARGET)
    events = [event({"content": "a"}), {"error": {"message": "busy"}, "usage": USED, "choices": []}]
    first, last = (SseEvent(event=None, data=json.dumps(each).encode()) for each in events)
    decoder.feed(first)
    with pytest.raises(ReportedError) as caught:
        decoder.feed(last)
    assert [chunk.usage for chunk in caught.value.chunks] == [Usage(input_tokens=10, output_tokens=2)]


def test_usage_of_an_error_before_any_content_commits_no_stream() -> None:
    decoder = ChatDecoder(TARGET)
    events = [event({"role": "assistant", "content": ""}), {"error": {"message": "busy"}, "usage": USED}]
    first, last = (SseEvent(event=None, data=json.dumps(each).encode()) for each in events)
    decoder.feed(first)
    with pytest.raises(ReportedError) as caught:
        decoder.feed(last)
    assert not caught.value.chunks


# --- members that are there but empty

EMPTY: dict[str, Any] = {
    "refusal": "",
    "tool_calls": [],
    "function_call": {"name": "", "arguments": ""},
    "audio": {"id": "", "data": "", "transcript": "", "expires_at": 0},
    "annotations": [],
    "reasoning": "",
    "reasoning_content": "",
    "reasoning_details": [],
    "images": [],
    "thinking": "",
}


@table(
    "member",
    [
        *({name: value} for name, value in EMPTY.items()),
        EMPTY,
        {"function_call": {}},
        {"function_call": ""},
        {"function_call": []},
        {"audio": {}},
        {"audio": ""},
        {"audio": []},
        {"audio": {"id": "", "expires_at": 0.0}},
        {"tool_calls": ""},
        {"tool_calls": {}},
        {"tool_calls": [None]},
        {"tool_calls": [{}]},
        {"tool_calls": [{"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": ""}}]},
        {"refusal": []},
        {"refusal": False},
        {"annotations": {}},
    ],
    ids=str,
)
def test_nothing_is_made_of_an_empty_member(member: dict[str, Any]) -> None:
    assert whole({"content": "Four.", **member}).message.parts == [TextPart(text="Four.")]
    grown = ChatAccumulator()
    for chunk in streamed(event({"role": "assistant", "content": "Fo", **member}), event({"content": "ur.", **member})):
        grown.add(chunk)
    assert grown.response().message.parts == [TextPart(text="Four.")]


def test_a_server_that_writes_every_member_calls_its_tools() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    members = {**EMPTY, "content": "", "tool_calls": [{**call, "custom": {"name": "", "input": ""}}]}
    expected = [ToolCall(id="c", name="f", arguments="{}")]
    assert whole(members, choice={"finish_reason": "tool_calls"}).message.parts == expected
    grown = ChatAccumulator()
    for chunk in streamed(event(members), event(EMPTY, finish="tool_calls")):
        grown.add(chunk)
    assert grown.response().message.parts == expected


def test_events_without_an_id_tell_model_and_time() -> None:
    grown = ChatAccumulator(model=TARGET.model)
    for each in (event({"role": "assistant"}), event({"content": "a"}, id="", model="served", created=5)):
        for chunk in streamed(each):
            grown.add(chunk)
    response = grown.response()
    assert (response.id, response.model, response.created) == ("", "served", 5)


def test_a_whole_number_may_have_a_point() -> None:
    message = {"content": "a", "audio": {"id": "x", "expires_at": 4.0}}
    choice = {"index": 1.0, "message": message, "finish_reason": "stop"}
    answer = parse_chat(answered({"created": 7.0, "choices": [choice]}), TARGET)
    assert answer.message.audio is not None
    assert (answer.created, answer.choices[0].index, answer.message.audio.expires_at) == (7, 1, 4)


@table("number", ["NaN", "-Infinity", "null", '"NaN"', '"-inf"'])
def test_a_log_probability_that_is_none_takes_no_other_with_it(number: str) -> None:
    top = [{"token": "NaN", "logprob": "?"}, {"token": "b", "logprob": -2}]
    tokens = [{"token": "a", "logprob": -1.5, "top_logprobs": top}, {"token": "c", "logprob": "?"}]
    told = {"content": "NaN"}
    choice = {"message": told, "delta": told, "logprobs": {"content": tokens, "refusal": None}}
    body = json.dumps({"choices": [choice]}).replace('"?"', number)
    expected = Logprobs(
        content=[TokenLogprob(token="a", logprob=-1.5, top_logprobs=[TopLogprob(token="b", logprob=-2)])]
    )
    answer = parse_chat(HttpResponse(status=200, headers=Headers(), body=body.encode()), TARGET)
    assert (answer.text, answer.choices[0].logprobs) == ("NaN", expected)
    (chunk,) = ChatDecoder(TARGET).feed(SseEvent(event=None, data=body.encode()))
    assert (chunk.text, chunk.choices[0].logprobs) == ("NaN", expected)


# --- endings


def test_the_upstreams_word_for_an_ending_is_kept() -> None:
    choice = whole(choice={"finish_reason": "stop", "native_finish_reason": "end_turn"}).choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "end_turn")
    told = {"index": 0, "delta": {}, "finish_reason": "length", "native_finish_reason": "MAX_TOKENS"}
    (chunk,) = streamed({"choices": [told]})
    assert (chunk.choices[0].finish_reason, chunk.choices[0].native_finish_reason) == ("length", "MAX_TOKENS")


@table(
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


@table("thinking", [None, {}, 5, [5], []])
def test_thinking_of_another_shape_is_passed_over(thinking: Any) -> None:
    content = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "So"}]
    assert whole({"content": content}).message.parts == [TextPart(text="So")]


DATA = "data:image/png;base64,iVBORw0KGgo="


@table(
    "message",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": None, "reasoning_text": "hm"},
        {"thinking": "hm"},
        {"reasoning": {"content": "hm"}},
        {"reasoning": {"effort": "low", "summary": "hm"}},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        {"reasoning": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}]},
        {"reasoning_details": [{"text": "h"}, {"type": "reasoning.encrypted", "data": "x"}, {"summary": "m"}]},
        {"reasoning": "hm", "reasoning_content": "hm", "reasoning_details": [{"text": "hm"}]},
    ],
    ids=str,
)
def test_reasoning_is_read_by_each_of_its_names(message: Any) -> None:
    assert whole({"content": "So", **message}).reasoning == "hm"
    (chunk,) = streamed(event({"content": "So", **message}))
    assert (chunk.choices[0].delta.reasoning, chunk.text) == ("hm", "So")


def test_thinking_parts_may_be_text() -> None:
    content = [
        {"type": "thinking", "thinking": "h"},
        {"type": "reasoning", "text": "m"},
        {"type": "text", "text": "So"},
    ]
    assert (whole({"content": content}).reasoning, whole({"content": content}).text) == ("hm", "So")


@pytest.mark.parametrize(
    "message",
    [
        {"content": "So", "images": [{"type": "image_url", "image_url": {"url": DATA}, "index": 0}]},
        {"content": "So", "images": [{"image_url": DATA}]},
        {"content": [{"type": "text", "text": "So"}, {"type": "image_url", "image_url": {"url": DATA}}]},
    ],
    ids=str,
)
def test_pictures_of_an_answer_are_parts_of_it(message: Any) -> None:
    expected = [TextPart(text="So"), ImagePart(media_type="image/png", data="iVBORw0KGgo=")]
    assert whole(message).message.parts == expected
    grown = ChatAccumulator()
    for chunk in streamed(event(message), event(finish="stop"), {"choices": [], "usage": USED}):
        grown.add(chunk)
    assert grown.response().message.parts == expected
    assert grown.response().usage == Usage(input_tokens=10, output_tokens=2)


def test_pictures_come_after_what_is_said_and_called_in_streams_too() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    pictures = [{"image_url": {"url": f"https://a.example/{number}.png"}} for number in range(2)]
    grown = ChatAccumulator()
    for chunk in streamed(event({"images": pictures}), event({"tool_calls": [call]}), event({"content": "So"})):
        grown.add(chunk)
    assert grown.response().message.parts == [
        TextPart(text="So"),
        ToolCall(id="c", name="f", arguments="{}"),
        ImagePart(url="https://a.example/0.png"),
        ImagePart(url="https://a.example/1.png"),
    ]


@table("images", [None, "x", {}, [None], [5], [{}], [{"image_url": {}}], [{"image_url": ""}]])
def test_pictures_of_another_shape_are_passed_over(images: Any) -> None:
    assert whole({"content": "So", "images": images}).message.parts == [TextPart(text="So")]


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


@table(
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


@table(("given", "status"), [(400, 400), (503, 503), (200, None), ("400", None), (True, None)])
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


@table("field", ["context_window", "context_length", "max_context_length", "max_model_len"])
def test_what_servers_tell_of_their_models_is_read(field: str) -> None:
    told = {"id": "a", "name": "A", field: 4096, "max_completion_tokens": 1024}
    (model,) = parse_models(answered({"data": [told]}), TARGET).data
    assert (model.name, model.context_window, model.max_output_tokens) == ("A", 4096, 1024)


@table("value", [None, "many", True, 0, -1, 1.5])
def test_sizes_of_another_kind_are_passed_over(value: Any) -> None:
    (model,) = parse_models(answered({"data": [{"id": "a", "context_length": value}]}), TARGET).data
    assert model.context_window is None
