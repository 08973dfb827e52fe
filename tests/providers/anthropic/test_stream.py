from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.chunks import Chunk
from bifrost.operations.chat.content import Citation, OpaquePart, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.usage import Usage
from bifrost.providers.anthropic import CHAT
from bifrost.providers.base import ReportedError, StreamDecoder, Target
from bifrost.wire.framing.sse import SseEvent
from tests.table import table

TARGET = Target(provider="mine", model="asked-for", stream=True)
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "model": "claude",
        "content": [],
        "usage": {
            "input_tokens": 3,
            "output_tokens": 1,
            "cache_read_input_tokens": 10,
            "cache_creation": {"ephemeral_1h_input_tokens": 4},
            "service_tier": "standard",
        },
    },
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 9},
}
STOP = {"type": "message_stop"}


def decoder() -> StreamDecoder[SseEvent]:
    assert CHAT.decoder is not None
    return CHAT.decoder(TARGET)


def event(data: dict[str, Any] | bytes, name: str | None = None) -> SseEvent:
    if isinstance(data, bytes):
        return SseEvent(event=name, data=data)
    return SseEvent(event=name or data.get("type"), data=json.dumps(data).encode())


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def chunks_of(*events: dict[str, Any]) -> list[Chunk]:
    reader = decoder()
    return [chunk for data in events for chunk in reader.feed(event(data))]


def answer_of(*events: dict[str, Any]) -> ChatResponse:
    accumulator = ChatAccumulator(provider="mine", model="asked-for")
    for chunk in chunks_of(START, *events, END, STOP):
        accumulator.add(chunk)
    return accumulator.response()


def test_text_comes_as_it_is_written() -> None:
    events = [
        start(0, type="text", text=""),
        delta(0, "text_delta", text="Hel"),
        delta(0, "text_delta", text=""),
        delta(0, "text_delta", text="lo"),
        stop(0),
    ]
    chunks = chunks_of(START, *events)
    assert [chunk.text for chunk in chunks] == ["", "Hel", "lo"]
    assert {chunk.id for chunk in chunks} == {"msg_1"}
    assert {chunk.model for chunk in chunks} == {"claude"}
    assert answer_of(*events).message.parts == [TextPart(text="Hello")]


def test_the_start_of_a_message_does_not_commit_the_stream_and_its_usage_comes_with_the_first_content() -> None:
    chunks = chunks_of(START, {"type": "ping"}, start(0, type="text", text=""), delta(0, "text_delta", text="Hi"))
    assert [chunk.has_content for chunk in chunks] == [False, True]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[1].usage == Usage(input_tokens=13, output_tokens=1, cache_read_tokens=10, cache_write_1h_tokens=4)


def test_later_usage_replaces_what_it_names_and_leaves_the_rest() -> None:
    assert answer_of().usage == Usage(input_tokens=13, output_tokens=9, cache_read_tokens=10, cache_write_1h_tokens=4)
    assert answer_of().service_tier == "standard"


def test_usage_that_comes_only_at_the_end() -> None:
    reader = decoder()
    assert reader.feed(event(END))[0].usage == Usage(output_tokens=9)


def test_a_stream_without_usage() -> None:
    ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    accumulator = ChatAccumulator()
    for chunk in chunks_of({"type": "message_start", "message": {"id": "a"}}, ending):
        accumulator.add(chunk)
    response = accumulator.response()
    assert response.usage == Usage()
    assert response.model == "asked-for"


def test_thinking_keeps_its_signature_and_dialect() -> None:
    parts = answer_of(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="h"),
        delta(0, "thinking_delta", thinking="m"),
        delta(0, "signature_delta", signature="sig"),
        stop(0),
        start(1, type="thinking", thinking="", signature=""),
        delta(1, "signature_delta", signature="only"),
        stop(1),
        start(2, type="redacted_thinking", data="xyz"),
        stop(2),
        start(3, type="thinking", thinking="given", signature="whole"),
        stop(3),
    ).message.parts
    assert parts == [
        ReasoningPart(text="hm", signature="sig", provider="mine"),
        ReasoningPart(signature="only", provider="mine"),
        ReasoningPart(redacted="xyz", provider="mine"),
        ReasoningPart(text="given", signature="whole", provider="mine"),
    ]


def test_tool_calls_are_numbered_among_themselves_and_keep_their_place() -> None:
    events = [
        start(0, type="text", text=""),
        delta(0, "text_delta", text="I look."),
        stop(0),
        start(1, type="tool_use", id="t1", name="f", input={}),
        delta(1, "input_json_delta", partial_json=""),
        delta(1, "input_json_delta", partial_json='{"a":'),
        delta(1, "input_json_delta", partial_json=" 1}"),
        stop(1),
        start(2, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(2, "input_json_delta", partial_json='{"query": "x"}'),
        stop(2),
        start(3, type="tool_use", id="t2", name="g", input={}),
        delta(3, "input_json_delta", partial_json='{"b": 2}'),
        stop(3),
    ]
    calls = [call for chunk in chunks_of(*events) for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.name, call.arguments) for call in calls] == [
        (0, "t1", "f", ""),
        (0, None, None, '{"a":'),
        (0, None, None, " 1}"),
        (1, "t2", "g", ""),
        (1, None, None, '{"b": 2}'),
    ]
    assert answer_of(*events).message.parts == [
        TextPart(text="I look."),
        ToolCall(id="t1", name="f", arguments='{"a": 1}'),
        OpaquePart(
            provider="mine",
            kind="server_tool_use",
            data={"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
        ),
        ToolCall(id="t2", name="g", arguments='{"b": 2}'),
    ]


@st.composite
def blocks_in_any_order(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[ToolCall]]:
    """Give tool calls whose blocks are numbered with gaps, mixed and may share an id; and the calls, in order."""
    numbers = draw(st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True))
    queues: dict[int, list[dict[str, Any]]] = {}
    whole: dict[int, ToolCall] = {}
    for number in numbers:
        call_id, texts = draw(st.sampled_from(["t1", "t2"])), draw(st.lists(st.text("{}:1,", max_size=3), max_size=4))
        begin = start(number, type="tool_use", id=call_id, name=f"f{number}", input={})
        inputs = [delta(number, "input_json_delta", partial_json=text) for text in texts]
        queues[number] = [begin, *inputs, stop(number)]
        whole[number] = ToolCall(id=call_id, name=f"f{number}", arguments="".join(texts) or "{}")
    events: list[dict[str, Any]] = []
    begun: list[int] = []
    while queues:
        number = draw(st.sampled_from(sorted(queues)))
        if number not in begun:
            begun.append(number)
        events.append(queues[number].pop(0))
        if not queues[number]:
            del queues[number]
    return events, [whole[number] for number in begun]


@given(blocks_in_any_order())
def test_calls_are_put_together_in_whatever_order_their_pieces_come(case: Any) -> None:
    events, expected = case
    assert answer_of(*events).tool_calls == expected


@given(st.permutations([start(0, type="tool_use", id="t1", name="f", input={}), stop(0)] * 2))
def test_blocks_out_of_turn_give_calls_or_are_told(events: list[dict[str, Any]]) -> None:
    inputs = [delta(0, "input_json_delta", partial_json="{}")]
    for place in range(len(events) + 1):
        open_before = [data["type"] for data in events[:place]][-1:] == ["content_block_start"]
        if open_before:
            found = answer_of(*events[:place], *inputs, *events[place:]).tool_calls
            assert found
            assert all(call.id == "t1" and call.name == "f" for call in found)
        else:
            with pytest.raises(MalformedResponseError, match="block 0"):
                answer_of(*events[:place], *inputs, *events[place:])


@table(
    ("whole", "pieces", "arguments"),
    [
        ({}, [], "{}"),
        ({}, [""], "{}"),
        ({"a": 1}, [], '{"a": 1}'),
        ({}, ['{"a"', ": 2}"], '{"a": 2}'),
        ({}, ['{"a": "cut'], '{"a": "cut'),
    ],
)
def test_a_calls_arguments(whole: dict[str, Any], pieces: list[str], arguments: str) -> None:
    response = answer_of(
        start(0, type="tool_use", id="t1", name="f", input=whole),
        *[delta(0, "input_json_delta", partial_json=piece) for piece in pieces],
        stop(0),
    )
    assert response.tool_calls == [ToolCall(id="t1", name="f", arguments=arguments)]


def test_a_call_made_by_the_providers_sandbox_keeps_its_origin() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srv_1"}
    [call] = answer_of(start(0, type="tool_use", id="t1", name="f", input={}, caller=caller), stop(0)).tool_calls
    assert call.provider == "mine"
    assert json.loads(call.signature or "") == {"caller": caller}


def test_citations_belong_to_their_block() -> None:
    native = {"type": "web_search_result_location", "url": "https://a.example", "cited_text": "c"}
    cited = Citation(provider="mine", url="https://a.example", text="c", native=native)
    parts = answer_of(
        start(0, type="text", text=""),
        delta(0, "text_delta", text="One"),
        stop(0),
        start(1, type="text", text="", citations=[]),
        delta(1, "citations_delta", citation=native),
        delta(1, "text_delta", text="Two"),
        delta(1, "citations_delta", citation=native),
        stop(1),
        start(2, type="text", text="Three", citations=[native]),
        stop(2),
        start(3, type="text", text=""),
        delta(3, "citations_delta"),
        stop(3),
    ).message.parts
    assert parts == [
        TextPart(text="One"),
        TextPart(text="Two", citations=[cited, cited]),
        TextPart(text="Three", citations=[cited]),
    ]


def test_blocks_that_we_do_not_know_come_whole_when_they_end() -> None:
    block = {"type": "hologram", "text": {"not": "text"}, "input": 3}
    chunks = chunks_of(START, start(0, **block), stop(0))
    assert [chunk.choices[0].delta.part for chunk in chunks] == [
        None,
        OpaquePart(provider="mine", kind="hologram", data=block),
    ]


def test_deltas_that_we_do_not_know_complete_a_block_that_we_do_not_know() -> None:
    [part] = answer_of(
        start(0, type="compaction", content=None),
        delta(0, "compaction_delta", content="Summary", encrypted_content="e"),
        stop(0),
    ).message.parts
    data = {"type": "compaction", "content": "Summary", "encrypted_content": "e"}
    assert part == OpaquePart(provider="mine", kind="compaction", data=data)


def test_a_servers_input_that_was_cut_leaves_the_call_as_it_began() -> None:
    [part] = answer_of(
        start(0, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query": "cu'),
        stop(0),
    ).message.parts
    assert isinstance(part, OpaquePart)
    assert part.data["input"] == {}


@table(
    "data",
    [
        {"type": "ping"},
        {"type": "vibration", "index": "three", "delta": [1], "usage": "lots"},
        delta(0, "hologram_delta", text={"x": 1}),
        delta(0, "hologram_delta", x=1),
        {},
        b"",
    ],
)
def test_events_and_deltas_that_we_do_not_know_are_skipped(data: Any) -> None:
    reader = decoder()
    reader.feed(event(START))
    reader.feed(event(start(0, type="text", text="")))
    assert list(reader.feed(event(data))) == []


def test_an_event_is_known_by_its_name_if_its_data_does_not_say() -> None:
    reader = decoder()
    reader.feed(event(END))
    reader.feed(event(b"{}", name="message_stop"))
    assert reader.done


def test_fields_that_we_do_not_know_are_skipped() -> None:
    data = delta(0, "text_delta", text="Hi", mood="good") | {"seq": 7}
    assert decoder().feed(event(data))[0].text == "Hi"


def test_half_an_emoji_is_replaced_and_breaks_nothing() -> None:
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\\ud83d"}}'
    assert decoder().feed(event(data))[0].text == "a\ufffd"


@pytest.mark.parametrize(
    ("native", "ours"), [("max_tokens", "length"), ("refusal", "content_filter"), ("sudden_insight", "unknown")]
)
def test_the_ending(native: str, ours: str) -> None:
    ending = {"type": "message_delta", "delta": {"stop_reason": native, "stop_sequence": "S"}}
    [chunk] = chunks_of(ending)
    choice = chunk.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason, choice.stop_sequence) == (ours, native, "S")


def test_the_explanation_of_a_refusal_comes_last() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    ending = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}}
    accumulator = ChatAccumulator()
    for chunk in chunks_of(START, start(0, type="tool_use", id="t1", name="f", input={}), stop(0), ending):
        accumulator.add(chunk)
    assert accumulator.response().message.parts == [
        ToolCall(id="t1", name="f", arguments="{}"),
        RefusalPart(refusal="Not this."),
    ]


def test_how_a_stream_ended() -> None:
    reader = decoder()
    assert reader.finish() == "cut"
    reader.feed(event(START))
    assert reader.finish() == "cut"
    reader.feed(event({"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 2}}))
    assert reader.finish() == "cut"
    reader.feed(event(END))
    assert reader.finish() == "unmarked"
    assert not reader.done
    reader.feed(event(STOP))
    assert reader.finish() == "complete"
    assert reader.done


def test_what_follows_the_end_is_not_read() -> None:
    reader = decoder()
    reader.feed(event(END))
    reader.feed(event(STOP))
    assert list(reader.feed(event(b"garbage"))) == []


@pytest.mark.parametrize("before", [[], [START], [START, start(0, type="text", text=""), stop(0)]])
def test_a_stream_that_ends_with_neither_content_nor_a_stop_reason_is_malformed(before: list[dict[str, Any]]) -> None:
    with pytest.raises(MalformedResponseError, match="neither content nor a stop reason"):
        chunks_of(*before, STOP)


def test_a_stream_with_content_ends_without_a_stop_reason_too() -> None:
    reader = decoder()
    for each in (START, delta(0, "text_delta", text="Hi"), STOP):
        reader.feed(event(each))
    assert reader.finish() == "complete"


def test_numbers_with_a_point_and_nulls_are_taken() -> None:
    lines = [
        b'{"type": "message_start", "message": {"id": null, "model": null, "usage": {"input_tokens": 3.0}}}',
        b'{"type": "content_block_start", "index": 0.0, "content_block": {"type": "text", "text": null}}',
        b'{"type": "content_block_delta", "index": 0.0, "delta": {"type": "text_delta", "text": "Hi"}}',
        b'{"type": "content_block_delta", "index": null, "delta": {"type": "text_delta", "text": null}}',
        b'{"type": "content_block_stop", "index": 0.0}',
        b'{"type": "content_block_start", "index": 1.0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}',
        b'{"type": "content_block_delta", "index": 1.0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}',
        b'{"type": "content_block_stop", "index": 1.0, "delta": null, "message": null}',
        b'{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5.0}}',
        b'{"type": "message_delta", "delta": null, "usage": null}',
        b'{"type": "message_stop"}',
    ]
    reader, accumulator = decoder(), ChatAccumulator(provider="mine", model="asked-for")
    for line in lines:
        for chunk in reader.feed(event(line)):
            accumulator.add(chunk)
    whole = accumulator.response()
    assert (whole.id, whole.model, whole.text, reader.finish()) == ("", "asked-for", "Hi", "complete")
    assert whole.message.tool_calls == [ToolCall(id="t", name="f", arguments="{}")]
    assert whole.usage == Usage(input_tokens=3, output_tokens=5)


def test_an_error_inside_the_stream_is_reported() -> None:
    reader = decoder()
    reader.feed(event(START))
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    with pytest.raises(ReportedError) as caught:
        reader.feed(event(error))
    assert caught.value.status == 529
    assert (caught.value.body.type, caught.value.body.request_id) == ("overloaded_error", "req_1")
    assert reader.finish() == "cut"


@table(
    "data",
    [
        b"garbage",
        b'{"type": "content_block_delta"',
        b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\xff"}}',
        b"[1]",
        b"[" * 5000,
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_delta", "index": 0, "delta": "text"},
        delta(0, "text_delta", text=3),
        delta(0, "citations_delta", citation="x"),
        {"type": "content_block_delta", "index": 0, "delta": {"type": []}},
        delta(5, "input_json_delta", partial_json="{}"),
        {"type": "content_block_start", "index": 0},
        start(0, type="tool_use", name="f"),
        {"type": "message_start", "message": []},
        {"type": "message_delta", "delta": {"stop_reason": 3}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": "many"}},
    ],
)
def test_known_events_with_another_shape_are_malformed(data: Any) -> None:
    reader = decoder()
    reader.feed(event(START))
    with pytest.raises(MalformedResponseError):
        reader.feed(event(data, name="content_block_delta"))
