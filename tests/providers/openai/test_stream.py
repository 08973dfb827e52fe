from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import AudioPart, Citation, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse, Logprobs, TokenLogprob
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import ChatDecoder
from bifrost.wire.framing.sse import SseEvent
from tests.providers.openai.test_answer import FULL, MADE_UP, mutated, paths, values, with_known_ids
from tests.table import table

TARGET = Target(provider="somehost", model="asked", stream=True)
DONE = SseEvent(None, b"[DONE]")


def event(data: Any, name: str | None = None) -> SseEvent:
    return SseEvent(name, data if isinstance(data, bytes) else json.dumps(data).encode())


def piece(delta: Any = None, index: int | None = 0, **choice: Any) -> SseEvent:
    return event({"id": "1", "choices": [{"index": index, "delta": delta or {}, **choice}]})


def fed(*events: SseEvent) -> list[Chunk]:
    decoder = ChatDecoder(TARGET)
    return [chunk for one in events for chunk in decoder.feed(one)]


def answer(*events: SseEvent) -> ChatResponse:
    grown = ChatAccumulator(provider=TARGET.provider, model=TARGET.model)
    for chunk in fed(*events):
        grown.add(chunk)
    return grown.response()


def parts(*deltas: dict[str, Any]) -> list[Part]:
    return answer(*[piece(delta) for delta in deltas]).message.parts


def calls(*deltas: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    found = answer(*[piece({"tool_calls": delta}) for delta in deltas]).tool_calls
    known = {piece.get("id") for delta in deltas for piece in delta}
    return [(call.id if call.id in known else MADE_UP, call.name, call.arguments) for call in found or ()]


def ending(*events: SseEvent) -> str:
    decoder = ChatDecoder(TARGET)
    for one in events:
        decoder.feed(one)
    return decoder.finish()


def test_an_event_becomes_a_chunk() -> None:
    wire = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "service_tier": "flex",
        "system_fingerprint": "fp",
        "choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "hi"}, "logprobs": None, "finish_reason": None}
        ],
        "usage": None,
        "obfuscation": "xyz",
    }
    choice = ChunkChoice(index=1, delta=Delta(role="assistant", content="hi"))
    expected = Chunk(id="1", created=5, model="m", service_tier="flex", system_fingerprint="fp", choices=[choice])
    assert fed(event(wire)) == [expected]


def test_text_alone_is_content() -> None:
    assert fed(piece({"content": "hi"})) == [
        Chunk(id="1", model="asked", choices=[ChunkChoice(delta=Delta(content="hi"))])
    ]


def test_every_field_of_a_delta_is_read() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "u"}}
    found = parts(
        {"role": "assistant", "content": ""},
        {"reasoning_content": "h"},
        {"reasoning": "m"},
        {"content": "te"},
        {"content": [{"type": "text", "text": "xt"}]},
        {"annotations": [citation]},
        {"refusal": "no"},
        {"audio": {"id": "a", "transcript": "t"}},
        {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "y"}}]},
    )
    assert found == [
        ReasoningPart(text="hm", provider="somehost"),
        TextPart(text="text", citations=[Citation(url="u")]),
        RefusalPart(refusal="no"),
        ToolCall(id="c", name="f", arguments="xy", kind="custom"),
        AudioPart(id="a", transcript="t"),
    ]


def test_usage_may_come_last_or_twice_or_never() -> None:
    counted = {"prompt_tokens": 1, "completion_tokens": 2}
    last = event({"id": "1", "choices": [], "usage": counted})
    early = event({"id": "1", "choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 1}})
    assert answer(piece({"content": "x"}), last, DONE).usage == Usage(input_tokens=1, output_tokens=2)
    assert answer(early, last, DONE).usage == Usage(input_tokens=1, output_tokens=2)
    assert answer(piece({"content": "x"}), DONE).usage == Usage()


def test_log_probabilities_come_with_their_chunk() -> None:
    (chunk,) = fed(piece({"content": "a"}, logprobs={"content": [{"token": "a", "logprob": -1}]}))
    assert chunk.choices[0].logprobs == Logprobs(content=[TokenLogprob(token="a", logprob=-1)])


def test_finish_reasons_are_translated_and_kept() -> None:
    (chunk,) = fed(piece(finish_reason="something new"))
    assert (chunk.choices[0].finish_reason, chunk.choices[0].native_finish_reason) == ("unknown", "something new")


@table(
    "data",
    [
        {},
        {"id": "1", "choices": []},
        {"choices": None, "prompt_filter_results": []},
        {"type": "ping"},
        {"id": "1", "choices": [], "moderation": {}, "usage": None},
        b"",
        b"  ",
    ],
)
def test_an_event_that_adds_nothing_gives_no_chunk(data: Any) -> None:
    assert fed(event(data)) == []


@pytest.mark.parametrize("data", [b"not json", b'{"choices": 5}', b"[1]"])
def test_an_event_of_an_unknown_name_is_passed_over(data: bytes) -> None:
    assert fed(event(data, "heartbeat")) == []


def test_an_event_may_name_what_it_is() -> None:
    decoder = ChatDecoder(TARGET)
    (chunk,) = decoder.feed(event({"choices": [{"delta": {"content": "x"}}]}, "chat.completion.chunk"))
    assert chunk.text == "x"


@table(
    "data",
    [b"not json", b'{"choices": [{"del', b'{"choices": 5}', b"[1]", b'"x"', b'{"choices":[{"delta":{"content":5}}]}'],
)
def test_an_event_that_cannot_be_read_is_malformed(data: bytes) -> None:
    for name in (None, "message"):
        with pytest.raises(MalformedResponseError, match="an event of the stream"):
            fed(event(data, name))


def test_nothing_is_read_after_the_final_marker() -> None:
    decoder = ChatDecoder(TARGET)
    assert not decoder.done
    assert decoder.feed(DONE) == ()
    assert decoder.done
    assert decoder.feed(event(b"not json")) == ()


@table(
    ("events", "expected"),
    [
        ([], "cut"),
        ([piece({"content": "x"})], "cut"),
        ([piece({"content": "x"}), piece(finish_reason="stop")], "unmarked"),
        ([piece({"content": "x"}, 0, finish_reason="stop"), piece({"content": "y"}, 1)], "cut"),
        ([piece({}, 0, finish_reason="stop"), piece({}, 1, finish_reason="stop")], "unmarked"),
        ([piece(finish_reason="stop"), event({"choices": [], "usage": {"prompt_tokens": 1}})], "unmarked"),
        ([piece({"content": "x"}), DONE], "complete"),
        ([DONE], "complete"),
        ([SseEvent(None, b"[DONE] ")], "complete"),
    ],
)
def test_a_stream_tells_how_it_ended(events: list[SseEvent], expected: str) -> None:
    assert ending(*events) == expected


# --- tool calls


def test_parallel_calls_are_put_together() -> None:
    assert calls(
        [{"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"a"'}}],
        [{"index": 1, "id": "c1", "function": {"name": "g", "arguments": "["}}],
        [{"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "]"}}],
    ) == [("c0", "f", '{"a":1}'), ("c1", "g", "[]")]


def test_a_piece_names_kind_id_and_name_as_the_server_does() -> None:
    (chunk,) = fed(piece({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]}))
    assert chunk.choices[0].delta.tool_calls == [ToolCallDelta(index=0, id="c", name="f", kind="function")]


@table(
    ("deltas", "expected"),
    [
        pytest.param(
            [[{"id": "a", "function": {"name": "f", "arguments": "1"}}], [{"function": {"arguments": "2"}}]],
            [("a", "f", "12")],
            id="no index: a piece without id and name goes on with the last call",
        ),
        pytest.param(
            [
                [{"id": "a", "function": {"name": "f", "arguments": "1"}}],
                [{"id": "b", "function": {"name": "f", "arguments": "2"}}],
                [{"id": "a", "function": {"arguments": "3"}}],
            ],
            [("a", "f", "13"), ("b", "f", "2")],
            id="no index: the id tells",
        ),
        pytest.param(
            [[{"function": {"name": "f", "arguments": "1"}}, {"function": {"name": "f", "arguments": "2"}}]],
            [(MADE_UP, "f", "1"), (MADE_UP, "f", "2")],
            id="no index and no id: a name begins a call",
        ),
        pytest.param(
            [
                [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}],
                [{"index": 0, "id": "b", "function": {"name": "f", "arguments": "2"}}],
                [{"index": 0, "function": {"arguments": "3"}}],
            ],
            [("a", "f", "1"), ("b", "f", "23")],
            id="every index 0: another id begins a call",
        ),
        pytest.param(
            [
                [{"index": 0, "id": "", "function": {"name": "f", "arguments": "1"}}],
                [{"index": 0, "id": "", "function": {"name": "g", "arguments": "2"}}],
            ],
            [(MADE_UP, "f", "1"), (MADE_UP, "g", "2")],
            id="every index 0, ids empty: another name begins a call",
        ),
        pytest.param(
            [
                [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}],
                [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "2"}}],
            ],
            [("a", "f", "12")],
            id="id and name in every piece",
        ),
        pytest.param(
            [[{"index": 0, "function": {"name": "f"}}], [{"index": 0, "id": "a", "function": {"arguments": "1"}}]],
            [("a", "f", "1")],
            id="the id comes late",
        ),
        pytest.param(
            [[{"index": 7, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]],
            [("a", "f", '{"x":1}')],
            id="numbers begin anywhere, arguments are an object",
        ),
        pytest.param([[{"index": 0}]], [], id="a call of nothing is none"),
    ],
)
def test_calls_are_kept_apart_whatever_a_server_forgets(
    deltas: list[list[dict[str, Any]]], expected: list[tuple[str, str, str]]
) -> None:
    assert calls(*deltas) == expected


@st.composite
def pieces_in_any_order(draw: st.DrawFn) -> tuple[list[list[dict[str, Any]]], list[tuple[str, str, str]]]:
    """Give parallel calls as events with their pieces mixed, numbered with gaps; and the calls, in order of begin."""
    numbers = draw(st.lists(st.integers(0, 60), min_size=1, max_size=5, unique=True))
    queues: dict[int, list[dict[str, Any]]] = {}
    whole: dict[int, tuple[str, str, str]] = {}
    for number in numbers:
        name, texts = draw(st.sampled_from("fg")), draw(st.lists(st.text("{}:1,", max_size=3), max_size=4))
        begin = {"index": number, "id": f"call_{60 - number}", "function": {"name": name, "arguments": ""}}
        queues[number] = [begin, *({"index": number, "function": {"arguments": text}} for text in texts)]
        whole[number] = (f"call_{60 - number}", name, "".join(texts))
    events: list[list[dict[str, Any]]] = [[]]
    begun: list[int] = []
    while queues:
        number = draw(st.sampled_from(sorted(queues)))
        if number not in begun:
            begun.append(number)
        events[-1].append(queues[number].pop(0))
        if not queues[number]:
            del queues[number]
        if draw(st.booleans()):
            events.append([])
    return events, [whole[number] for number in begun]


@given(pieces_in_any_order())
def test_calls_are_put_together_in_whatever_order_their_pieces_come(case: Any) -> None:
    events, expected = case
    assert calls(*events) == expected


@st.composite
def careless_piece(draw: st.DrawFn) -> dict[str, Any]:
    function: dict[str, Any] = {}
    piece: dict[str, Any] = {"function": function}
    for into, name, choices in (
        (piece, "index", (0, 1, 7, -1, None, "1", 10**6)),
        (piece, "id", ("call_0", "call_1", "", None)),
        (function, "name", ("f", "g", "", None)),
        (function, "arguments", ("{", '"a": 1', "", None)),
    ):
        if draw(st.booleans()):
            into[name] = draw(st.sampled_from(choices))
    return piece


@given(st.lists(careless_piece(), max_size=10))
def test_no_piece_of_a_call_is_lost_or_doubled_and_no_two_calls_are_called_the_same(pieces: Any) -> None:
    found = answer(*[piece({"tool_calls": [each]}) for each in pieces]).tool_calls or []
    told = "".join(each["function"].get("arguments") or "" for each in pieces)
    assert sorted("".join(call.arguments for call in found)) == sorted(told)
    assert len({call.id for call in found}) == len(found)
    assert all(call.id for call in found)


def test_the_old_function_call_is_a_tool_call() -> None:
    found = answer(
        piece({"function_call": {"name": "f", "arguments": ""}}),
        piece({"function_call": {"arguments": "{}"}}),
        piece(finish_reason="function_call"),
    )
    assert with_known_ids(found.message.parts) == [ToolCall(id=MADE_UP, name="f", arguments="{}")]
    assert found.finish_reason == "tool_calls"


def test_calls_of_several_answers_are_kept_apart() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}
    response = answer(piece({"tool_calls": [call]}, 0), piece({"tool_calls": [{**call, "id": "b"}]}, 1))
    assert [choice.message.tool_calls for choice in response.choices] == [
        [ToolCall(id="a", name="f", arguments="1")],
        [ToolCall(id="b", name="f", arguments="1")],
    ]


# --- errors and damage


@table("name", [None, "error"])
@table(
    ("data", "status"),
    [
        ({"error": {"message": "busy", "type": "server_error", "code": None}}, 500),
        ({"error": {"message": "busy", "code": 429}}, 429),
        ({"error": "busy"}, None),
        ({"object": "error", "message": "busy", "type": "x"}, None),
        ({"error": {"message": "busy"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}, None),
        ({"error": {"message": "busy"}, "choices": 5}, None),
        ([{"error": {"message": "busy"}}], None),
    ],
)
def test_an_error_event_is_reported(data: Any, status: int | None, name: str | None) -> None:
    with pytest.raises(ReportedError) as caught:
        fed(event(data, name))
    assert (caught.value.body.message, caught.value.status) == ("busy", status)


@pytest.mark.parametrize("data", [b"busy", b'{"message": "busy"}', b'{"detail": "busy"}'])
def test_an_event_named_error_is_one_in_whatever_words(data: bytes) -> None:
    with pytest.raises(ReportedError, match="busy"):
        fed(event(data, "error"))


@table("error", [None, {}, "", False])
def test_an_error_field_of_nothing_is_none(error: Any) -> None:
    (chunk,) = fed(event({"choices": [{"delta": {"content": "x"}}], "error": error}))
    assert chunk.text == "x"


def test_a_character_cut_in_two_loses_no_other_text() -> None:
    first = event(rb'{"choices":[{"delta":{"content":"a\ud83d"}}]}')
    second = event(rb'{"choices":[{"delta":{"content":"\ude00b"}}]}')
    assert answer(first, second).text == "a\ufffd\ufffdb"


def test_indexes_may_be_text_or_missing() -> None:
    response = answer(event({"choices": [{"index": "1", "delta": {"content": "b"}}]}), piece({"content": "a"}, None))
    assert [(choice.index, choice.message.text) for choice in response.choices] == [(0, "a"), (1, "b")]


EVENT = {**FULL, "choices": [{**FULL["choices"][0], "delta": FULL["choices"][0]["message"]}]}


@given(st.sampled_from(paths(EVENT)), values, st.sampled_from([None, "message", "error", "other"]))
def test_any_other_shape_is_read_or_fails_in_our_words(path: tuple[Any, ...], value: Any, name: str | None) -> None:
    grown = ChatAccumulator()
    with suppress(MalformedResponseError, ReportedError):
        for chunk in fed(event(mutated(EVENT, path, value), name)):
            grown.add(chunk)
    assert grown.response().choices


PLAIN_DELTA = dict.fromkeys(EVENT["choices"][0]["delta"]) | {
    "content": "x",
    "reasoning_content": None,
    "reasoning_details": None,
}
PLAIN = dict.fromkeys(
    ["object", "model", "usage", "service_tier", "system_fingerprint", "citations", "search_results", "x_groq", "error"]
) | {
    "id": "1",
    "created": 1,
    "choices": [{"index": 0, "delta": PLAIN_DELTA, "finish_reason": None, "stop_reason": None, "logprobs": None}],
}
TOLD: list[Any] = [
    "some text",
    "error",
    EVENT["usage"],
    {"usage": EVENT["usage"]},
    ["url"],
    [{"url": "u", "title": "t"}],
    *EVENT["choices"][0]["delta"].values(),
]
"""What may stand where a plain event has nothing."""


@given(st.sampled_from(paths(PLAIN)), values, st.sampled_from([None, "message", "error"]))
def test_an_event_says_the_same_whether_or_not_it_is_expected_to_be_plain(
    path: tuple[Any, ...], value: Any, name: str | None
) -> None:
    check_expectation(path, value, name)


@table("path", paths(PLAIN), ids=str)
def test_what_an_event_tells_beside_its_text_is_not_missed(path: tuple[Any, ...]) -> None:
    for value in TOLD:
        check_expectation(path, value, None)


def check_expectation(path: tuple[Any, ...], value: Any, name: str | None) -> None:
    one = event(mutated(PLAIN, path, value), name)
    tried, other = ChatDecoder(TARGET), ChatDecoder(TARGET)
    # After an event that was not plain the next is not tried as one.
    assert other.feed(event({"object": "something else"})) == ()

    assert outcome(tried, one) == outcome(other, one)
    assert outcome(tried, piece({"content": "more"})) == outcome(other, piece({"content": "more"}))
    assert tried.finish() == other.finish()


def outcome(decoder: ChatDecoder, one: SseEvent) -> Any:
    try:
        return list(decoder.feed(one))
    except (MalformedResponseError, ReportedError) as error:
        return type(error), str(error)


def test_text_is_read_after_whatever_else_comes_in_between() -> None:
    thought = [piece({"reasoning": "hm "})] * 200
    text = [piece({"content": "a"})] * 200
    response = answer(*thought, *text, *thought, *text)
    assert (response.message.reasoning, response.message.text) == ("hm " * 400, "a" * 400)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_or_fail_in_our_words(data: list[bytes]) -> None:
    with suppress(MalformedResponseError, ReportedError):
        assert fed(*[event(one) for one in data]) == []
