"""Answers and streams of servers that are only nearly Bedrock, and blocks that the recordings lack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import MalformedResponseError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.content import AudioPart, ImagePart, OpaquePart, ReasoningPart, TextPart
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.base import Target
from bifrost.providers.bedrock import BEDROCK
from bifrost.wire.framing.aws_event_stream import EventStreamMessage
from bifrost.wire.http import Headers, HttpResponse

TARGET = Target(provider="bedrock", model="m", stream=True)
CITED: dict[str, Any] = {
    "title": "t",
    "source": "https://a.example/d",
    "sourceContent": [{"text": "pas"}, {"text": "sage"}],
    "location": {"documentChar": {"documentIndex": 1.0, "start": 0, "end": 7}},
}
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


def answered(*blocks: Any, **fields: Any) -> ChatResponse:
    body = {"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": "end_turn", **fields}
    answer = HttpResponse(status=200, headers=Headers.of(), body=json.dumps(body).encode())
    return BEDROCK.codecs["chat"].parse(answer, TARGET)


def event(kind: str, **payload: Any) -> EventStreamMessage:
    return EventStreamMessage({":message-type": "event", ":event-type": kind}, json.dumps(payload).encode())


def delta(index: int, **piece: Any) -> EventStreamMessage:
    return event("contentBlockDelta", contentBlockIndex=index, delta=piece)


def start(index: int, **piece: Any) -> EventStreamMessage:
    return event("contentBlockStart", contentBlockIndex=index, start=piece)


def stop(index: int) -> EventStreamMessage:
    return event("contentBlockStop", contentBlockIndex=index)


END = (event("messageStop", stopReason="end_turn"), event("metadata", usage=USAGE, metrics={"latencyMs": 1.5}))


def streamed(*events: EventStreamMessage) -> tuple[ChatResponse, str]:
    make = BEDROCK.codecs["chat"].decoder
    assert make is not None
    decoder, grown = make(TARGET), ChatAccumulator(provider="bedrock", model="m")
    for each in events:
        for chunk in decoder.feed(each):
            grown.add(chunk)
    return grown.response(), decoder.finish()


def test_stop_reasons_have_their_words() -> None:
    for reason, expected in (
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("tool_use", "tool_calls"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"), ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"), ("malformed_model_output", "error"), ("malformed_tool_use", "error"),
        ("brand_new", "unknown"),
    ):  # fmt: skip
        plain = answered({"text": "a"}, stopReason=reason)
        stream, ending = streamed(delta(0, text="a"), event("messageStop", stopReason=reason), END[1])
        assert [each.choices[0].finish_reason for each in (plain, stream)] == [expected, expected]
        assert plain.choices[0].native_finish_reason == reason
        assert ending == "complete"


def test_usage_counts_everything_once() -> None:
    usage = {
        "inputTokens": 3.0,
        "outputTokens": 2,
        "cacheReadInputTokens": 10,
        "cacheWriteInputTokens": 20,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 15}],
        "serverToolUsage": {"webSearches": 2, "other": None},
    }
    found = answered({"text": "a"}, usage=usage).usage
    assert (found.input_tokens, found.uncached_tokens, found.output_tokens) == (33, 3, 2)
    assert (found.cache_read_tokens, found.cache_write_tokens, found.cache_write_1h_tokens) == (10, 20, 5)
    assert found.server_tool_calls == 2
    empty = {"cacheDetails": None, "serverToolUsage": None, "cacheReadInputTokens": None}
    assert answered({"text": "a"}, usage={**USAGE, **empty}).usage.input_tokens == 3
    assert not answered({"text": "a"}, usage=None).usage


def test_citations_are_read_plain_and_streamed() -> None:
    plain = answered({"citationsContent": {"content": [{"text": "so"}], "citations": [CITED]}})
    stream, _ = streamed(delta(0, text="so"), delta(0, citation=CITED), stop(0), *END)
    assert plain.message.parts == stream.message.parts
    [cited] = plain.message.citations
    assert (cited.url, cited.title, cited.text, cited.document_index) == ("https://a.example/d", "t", "passage", 1)
    assert cited.native == CITED
    for odd in (
        {"location": "x"},
        {"location": {"web": {"url": "https://w.example"}}},
        {},
        {"location": {"new": None}},
    ):
        [found] = answered({"citationsContent": {"content": [{"text": "a"}], "citations": [odd]}}).message.citations
        assert found.native == odd
    assert answered({"citationsContent": {}}, {"text": "a"}).text == "a"


def test_pictures_and_sound_of_a_model_are_parts() -> None:
    picture = ImagePart(data="YWJj", media_type="image/png")
    plain = answered({"image": {"format": "png", "source": {"bytes": "YWJj"}}}, {"image": {"format": "png"}})
    stream, _ = streamed(
        start(0, image={"format": "png"}),
        delta(0, image={"source": {"bytes": "YWJ"}}),
        delta(0, image={"source": {"bytes": "j"}}),
        delta(0, image={"error": {"message": "x"}}),
        stop(0),
        *END,
    )
    assert plain.message.parts == stream.message.parts == [picture]
    sound = answered({"audio": {"format": "wav", "source": {"bytes": "YQ=="}}})
    assert sound.message.parts == [AudioPart(data="YQ==", format="wav")]


def test_unknown_blocks_events_and_deltas_break_nothing() -> None:
    plain = answered({"brandNew": {"a": 1}}, {}, {"text": ""}, {"reasoningContent": {}}, {"text": "a"})
    kept = OpaquePart(provider="bedrock", kind="brandNew", data={"brandNew": {"a": 1}})
    assert plain.message.parts == [kept, TextPart(text="a")]
    stream, ending = streamed(
        event("initial-response"),
        event("messageStart", role="assistant", p="abc"),
        event("brandNew", a=1),
        start(0, brandNew={}),
        event("contentBlockStart", contentBlockIndex=1),
        delta(0, brandNew={"a": 1}),
        event("contentBlockDelta", contentBlockIndex=0, delta=None),
        delta(0, text=None),
        delta(0, reasoningContent={}),
        stop(9),
        delta(1, text="a"),
        *END,
    )
    assert (stream.message.parts, ending) == ([TextPart(text="a")], "complete")
    assert stream.usage.output_tokens == 2


def test_calls_without_input_or_id_are_calls() -> None:
    plain = answered({"toolUse": {"toolUseId": None, "name": "f", "input": None}}, stopReason="tool_use")
    for pieces in ([], [delta(0, toolUse={"input": ""})], [delta(0, toolUse={"input": None})]):
        stream, _ = streamed(start(0, toolUse={"name": "f"}), *pieces, *END)
        for response in (plain, stream):
            [call] = response.tool_calls
            assert (call.name, call.arguments) == ("f", "{}")
            assert call.id
    with pytest.raises(MalformedResponseError, match="block 3, which is no tool's"):
        streamed(delta(3, toolUse={"input": "{}"}))


def test_reasoning_is_read_plain_and_streamed() -> None:
    plain = answered(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "eHk="}},
        {"text": "a"},
    )
    stream, _ = streamed(
        delta(0, reasoningContent={"text": "h"}),
        delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "sig"}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": "eH"}),
        delta(1, reasoningContent={"redactedContent": "k="}),
        stop(1),
        delta(2, text="a"),
        stop(2),
        *END,
    )
    assert plain.message.parts == stream.message.parts
    assert isinstance(plain.message.parts[0], ReasoningPart)


def test_tools_that_bedrock_ran_come_whole_plain_and_streamed() -> None:
    use = {"toolUseId": "a", "name": "nova_grounding", "input": {"q": 1}, "type": "server_tool_use"}
    result = {
        "toolUseId": "a",
        "type": "x_result",
        "status": "success",
        "content": [{"text": "ab"}, {"json": {"b": 1}}],
    }
    plain = answered({"toolUse": use}, {"toolResult": result}, {"text": "so"})
    head = {name: value for name, value in result.items() if name != "content"}
    events = (
        start(0, toolUse={name: value for name, value in use.items() if name != "input"}),
        delta(0, toolUse={"input": '{"q":'}),
        delta(0, toolUse={"input": "1}"}),
        stop(0),
        start(1, toolResult=head),
        delta(1, toolResult=[{"text": "a"}]),
        delta(1, toolResult=[{"text": "b"}, {"json": {"b": 1}}]),
        delta(1, toolResult=None),
        stop(1),
        delta(2, text="so"),
    )
    stream, _ = streamed(*events, *END)
    assert plain.message.parts == stream.message.parts
    assert [part.kind for part in plain.message.opaque] == ["toolUse", "toolResult"]
    cut, ending = streamed(*events[:2])
    assert (cut.message.parts, ending) == ([], "cut")


def test_the_end_is_told_apart() -> None:
    assert streamed(delta(0, text="a"), stop(0))[1] == "cut"
    assert streamed(delta(0, text="a"), END[0])[1] == "unmarked"
    assert streamed(delta(0, text="a"), *END, delta(1, text="b"))[0].text == "a"
    # Usage before the end is no end.
    assert streamed(delta(0, text="a"), END[1])[1] == "cut"


def test_a_router_a_tier_and_a_stop_sequence_are_told() -> None:
    trace = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/a.b"}}
    told = answered(
        {"text": "a"}, trace=trace, serviceTier={"type": "flex"}, additionalModelResponseFields={"stop_sequence": "x"}
    )
    assert (told.model, told.service_tier, told.choices[0].stop_sequence) == ("a.b", "flex", "x")
    for odd in ("x", None, [1], {"promptRouter": 7}):
        plain = answered({"text": "a"}, trace=odd, additionalModelResponseFields=odd)
        assert (plain.model, plain.choices[0].stop_sequence) == ("m", None)
    stream, _ = streamed(delta(0, text="a"), END[0], event("metadata", trace=trace, serviceTier={"type": "flex"}))
    assert (stream.model, stream.service_tier) == ("a.b", "flex")


def test_an_answer_without_a_message_is_none() -> None:
    for body in ("{}", '{"output": null}', '{"output": {}}', '{"output": {"message": {}}}', "[]", "x", ""):
        answer = HttpResponse(status=200, headers=Headers.of(), body=body.encode())
        with pytest.raises(MalformedResponseError):
            BEDROCK.codecs["chat"].parse(answer, TARGET)
    assert answered(stopReason="guardrail_intervened").finish_reason == "content_filter"


def test_nothing_that_is_not_needed_breaks_an_answer() -> None:
    odd: dict[str, Any] = {
        "usage": {"inputTokens": "many", "outputTokens": 2, "serverToolUsage": [], "cacheDetails": "none"},
        "serviceTier": "default",
        "stopReason": {},
        "trace": 3,
    }
    blocks = ({"text": None}, {"text": "a", "image": "none"}, {"toolUse": {"toolUseId": 3, "name": "f", "input": {}}})
    read = answered(*blocks, **odd)
    assert (read.text, read.usage.total_tokens, read.finish_reason) == ("a", 2, None)
    assert [(call.name, call.arguments) for call in read.tool_calls] == [("f", "{}")]
    assert len(read.choices[0].message.parts) == 2
    streamed_one, ending = streamed(
        delta(0, text="a", reasoningContent="none", citation=3),
        event("messageStop", stopReason=3.0),
        event("metadata", usage=odd["usage"], serviceTier="default"),
    )
    assert (streamed_one.text, streamed_one.usage.total_tokens, ending) == ("a", 2, "complete")


def test_input_in_a_string_is_the_arguments() -> None:
    for value, expected in (('{"a": 1}', '{"a": 1}'), ("", "{}"), (None, "{}"), ({"a": 1}, '{"a": 1}')):
        [call] = answered({"toolUse": {"toolUseId": "t", "name": "f", "input": value}}).tool_calls
        assert call.arguments == expected


def test_text_of_another_type_is_refused() -> None:
    with pytest.raises(MalformedResponseError, match="text"):
        answered({"text": {"value": "a"}})
    with pytest.raises(MalformedResponseError, match="contentBlockIndex"):
        streamed(event("contentBlockDelta", contentBlockIndex={"n": 0}, delta={"text": "a"}))
