from __future__ import annotations

import re

import msgspec
import pytest

from bifrost.operations.chat.assemble import ChatAccumulator, chunks_of
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, StreamReset, ToolCallDelta
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    ImagePart,
    Issuer,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, Logprobs, TokenLogprob
from bifrost.operations.usage import Usage
from tests.table import table


def chunk(delta: Delta, index: int = 0, finish_reason: FinishReason | None = None) -> Chunk:
    return Chunk(id="1", choices=[ChunkChoice(index=index, delta=delta, finish_reason=finish_reason)])


def accumulated(*chunks: Chunk) -> ChatResponse:
    grown = ChatAccumulator(provider="p", model="asked")
    for piece in chunks:
        grown.add(piece)
    return grown.response()


def parts(*deltas: Delta) -> list[Part]:
    return accumulated(*[chunk(delta) for delta in deltas]).message.parts


def call(index: int, arguments: str = "", *, id: str | None = None, name: str | None = None) -> ToolCallDelta:  # noqa: A002 - the field's name
    return ToolCallDelta(index=index, id=id, name=name, arguments=arguments)


def test_text_is_joined() -> None:
    assert parts(Delta(role="assistant", content=""), Delta(content="a"), Delta(content="b")) == [TextPart(text="ab")]


def test_an_answer_of_nothing_has_a_message_without_parts() -> None:
    response = accumulated()
    assert response.message == AssistantMessage()
    assert (response.model, response.provider, response.finish_reason) == ("asked", "p", None)


def test_unnumbered_parts_come_in_the_order_of_a_plain_answer() -> None:
    found = parts(
        Delta(audio=AudioPart(id="a")),
        Delta(tool_calls=[call(1, id="c1", name="g")]),
        Delta(tool_calls=[call(0, id="c0", name="f")]),
        Delta(refusal="no"),
        Delta(content="text"),
        Delta(reasoning="hm", provider="p"),
    )
    assert found == [
        ReasoningPart(text="hm", provider="p"),
        TextPart(text="text"),
        RefusalPart(refusal="no"),
        ToolCall(id="c0", name="f"),
        ToolCall(id="c1", name="g"),
        AudioPart(id="a"),
    ]


def test_numbered_parts_stay_where_they_came() -> None:
    found = parts(
        Delta(content="first", block=0),
        Delta(tool_calls=[call(0, id="c", name="f")], block=1),
        Delta(content="second", block=2),
        Delta(content=" more", block=2),
    )
    assert found == [TextPart(text="first"), ToolCall(id="c", name="f"), TextPart(text="second more")]


def test_tool_calls_are_put_together_by_index() -> None:
    found = parts(
        Delta(tool_calls=[call(0, '{"a"', id="c0", name="f"), call(1, "[", id="c1", name="g")]),
        Delta(tool_calls=[call(1, "]"), call(0, ":1}")]),
    )
    assert found == [ToolCall(id="c0", name="f", arguments='{"a":1}'), ToolCall(id="c1", name="g", arguments="[]")]


def test_a_tool_call_without_an_id_gets_one_that_a_result_can_name() -> None:
    found = parts(Delta(tool_calls=[call(0, name="f")]), Delta(tool_calls=[call(1, name="g")]))
    ids = [part.id for part in found if isinstance(part, ToolCall)]
    assert len(set(ids)) == 2
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call_id) for call_id in ids)


def test_an_id_that_is_given_to_a_tool_call_is_no_other_answers_and_stays() -> None:
    grown, other = ChatAccumulator(), ChatAccumulator()
    for each in (grown, other):
        each.add(chunk(Delta(tool_calls=[call(0, name="f")])))
    [first], [again], [of_other] = (each.response().tool_calls or [] for each in (grown, grown, other))
    assert first.id == again.id != of_other.id


def test_who_made_a_part_makes_it_no_other_part() -> None:
    one, other = (ToolCall(id="c", name="f", issuer=Issuer(provider=name)) for name in "ab")
    assert one == other == ToolCall(id="c", name="f")
    assert len({one, other}) == 1
    assert one != ToolCall(id="d", name="f")
    assert one != TextPart(text="c")


def names(*pieces: ToolCallDelta) -> list[str]:
    found = parts(*[Delta(tool_calls=[piece]) for piece in pieces])
    return [part.name for part in found if isinstance(part, ToolCall)]


def test_a_name_in_pieces_is_joined_and_one_that_comes_again_is_not() -> None:
    pieces = [call(0, name="get_"), call(0, name="weather"), call(0, "{}")]
    assert names(*pieces) == ["get_weather"]
    pieces = [call(0, name="f"), call(0, "{", name="f"), call(0, "}", name="f")]
    assert names(*pieces) == ["f"]


def test_a_custom_call_stays_custom() -> None:
    found = parts(Delta(tool_calls=[ToolCallDelta(index=0, id="c", name="f", kind="custom", arguments="x")]))
    assert found == [ToolCall(id="c", name="f", kind="custom", arguments="x")]


def test_reasoning_keeps_signature_and_provider() -> None:
    found = parts(
        Delta(reasoning="a", provider="p", block=0), Delta(reasoning="b", block=0), Delta(signature="s", block=0)
    )
    assert found == [ReasoningPart(text="ab", signature="s", provider="p")]


def test_pieces_of_nothing_are_no_parts() -> None:
    assert parts(Delta(content="", reasoning="", refusal="")) == []


def test_citations_are_gathered() -> None:
    found = parts(Delta(content="x"), Delta(citations=[Citation(url="u")]), Delta(citations=[Citation(url="v")]))
    assert found == [TextPart(text="x", citations=[Citation(url="u"), Citation(url="v")])]


def test_a_part_that_came_whole_is_kept() -> None:
    block = OpaquePart(provider="p", kind="search", data={})
    assert parts(Delta(content="x", block=0), Delta(part=block, block=1)) == [TextPart(text="x"), block]
    assert parts(Delta(part=block), Delta(part=block)) == [block, block]


def test_sound_is_joined() -> None:
    found = parts(
        Delta(audio=AudioPart(id="a", data="QUJD", transcript="he")),
        Delta(audio=AudioPart(data="REVG", transcript="llo")),
        Delta(audio=AudioPart(expires_at=9)),
    )
    assert found == [AudioPart(id="a", data="QUJDREVG", transcript="hello", expires_at=9)]


@pytest.mark.parametrize(
    ("pieces", "whole"), [(["QQ==", "Qg=="], "QUI="), (["QQ==", "no"], "QQ==no"), (["QQ=="], "QQ==")]
)
def test_sound_that_was_padded_in_pieces_is_one_document(pieces: list[str], whole: str) -> None:
    (part,) = parts(*[Delta(audio=AudioPart(data=piece)) for piece in pieces])
    assert part == AudioPart(data=whole)


def test_answers_are_kept_apart_by_index() -> None:
    response = accumulated(
        chunk(Delta(content="b"), 1), chunk(Delta(content="a"), 0), chunk(Delta(content="B"), 1, "stop")
    )
    assert [(choice.index, choice.message.text, choice.finish_reason) for choice in response.choices] == [
        (0, "a", None),
        (1, "bB", "stop"),
    ]


def test_the_last_usage_counts() -> None:
    grown = ChatAccumulator()
    assert grown.usage is None
    for count in (1, 2):
        grown.add(Chunk(usage=Usage(input_tokens=count)))
    assert grown.usage == Usage(input_tokens=2)
    assert grown.response().usage == Usage(input_tokens=2)


def test_a_reset_takes_back_what_came_before_it() -> None:
    grown = ChatAccumulator(provider="p", model="asked")
    for delta in (Delta(content="gone", reasoning="gone too"), Delta(tool_calls=[call(0, "{", id="c", name="f")])):
        grown.add(msgspec.structs.replace(chunk(delta), usage=Usage(input_tokens=1), service_tier="fast"))
    reset = StreamReset(reason="cut", attempt=2, provider="q", model="other", partial=grown.response())
    grown.add(reset)
    assert grown.response() == ChatAccumulator(provider="q", model="other").response()
    assert reset.partial.text == "gone"
    assert not reset.has_content


def test_log_probabilities_are_gathered() -> None:
    first, second = TokenLogprob(token="a", logprob=-1), TokenLogprob(token="b", logprob=-2)
    response = accumulated(
        Chunk(choices=[ChunkChoice(logprobs=Logprobs(content=[first]))]),
        Chunk(choices=[ChunkChoice(logprobs=Logprobs(content=[second], refusal=[first]))]),
    )
    assert response.choices[0].logprobs == Logprobs(content=[first, second], refusal=[first])


def test_id_model_and_time_are_of_the_first_chunk_that_has_each() -> None:
    response = accumulated(
        Chunk(),
        Chunk(id="1", created=5),
        Chunk(id="2", model="m", created=6, service_tier="flex", system_fingerprint="fp"),
    )
    assert (response.id, response.model, response.created) == ("1", "m", 5)
    assert (response.service_tier, response.system_fingerprint) == ("flex", "fp")


def test_an_answer_is_finished_when_every_choice_is() -> None:
    grown = ChatAccumulator()
    assert not grown.finished
    grown.add(chunk(Delta(content="a"), 0, "stop"))
    assert grown.finished
    grown.add(chunk(Delta(content="b"), 1))
    assert not grown.finished


def test_the_envelope_is_set() -> None:
    response = ChatAccumulator().response(warnings=["w"], request_id="r")
    assert (response.warnings, response.request_id) == (["w"], "r")


def test_text_of_a_chunk_is_of_the_first_answer() -> None:
    both = Chunk(choices=[ChunkChoice(index=1, delta=Delta(content="b")), ChunkChoice(delta=Delta(content="a"))])
    assert both.text == "a"
    assert chunk(Delta(content="b"), 1).text == ""
    assert chunk(Delta(refusal="x")).text == ""


@table(
    ("piece", "committed"),
    [
        (Chunk(), False),
        (chunk(Delta(role="assistant", content="")), False),
        (chunk(Delta(content="x")), True),
        (chunk(Delta(reasoning="x")), True),
        (chunk(Delta(tool_calls=[call(0)])), True),
        (chunk(Delta(refusal="x")), True),
        (chunk(Delta(audio=AudioPart(id="a"))), True),
        (chunk(Delta(), 0, "stop"), True),
        (Chunk(usage=Usage()), True),
    ],
)
def test_content_commits_a_stream(piece: Chunk, committed: bool) -> None:
    assert piece.has_content is committed


def test_deltas_have_openais_paths() -> None:
    delta = Delta(reasoning="hm", tool_calls=[call(0, "{}", name="f")])
    assert delta.reasoning_content == "hm"
    assert delta.tool_calls is not None
    assert (delta.tool_calls[0].type, delta.tool_calls[0].function.arguments) == ("function", "{}")
    assert Chunk().object == "chat.completion.chunk"


def test_chunks_of_an_answer_make_the_same_answer() -> None:
    first = AssistantMessage(
        parts=[
            ReasoningPart(text="hm", signature="s", provider="p"),
            ReasoningPart(redacted="r", provider="p"),
            TextPart(text="a", citations=[Citation(url="u")]),
            ToolCall(id="c0", name="f", arguments="{}", signature="t", provider="p"),
            TextPart(text="b"),
            ToolCall(id="c1", name="g", arguments="x", kind="custom"),
            RefusalPart(refusal="no"),
            ImagePart(url="u"),
            AudioPart(id="a", data="QQ==", transcript="t", format="wav", expires_at=3),
        ]
    )
    logprobs = Logprobs(content=[TokenLogprob(token="a", logprob=-1)])
    response = ChatResponse(
        id="1",
        model="m",
        created=5,
        provider="p",
        choices=[
            Choice(message=first, finish_reason="tool_calls", native_finish_reason="tool_use", logprobs=logprobs),
            Choice(
                message=AssistantMessage(parts=[TextPart(text="c")]), index=1, finish_reason="stop", stop_sequence="."
            ),
        ],
        usage=Usage(input_tokens=1, output_tokens=2),
        service_tier="flex",
        system_fingerprint="fp",
    )
    assert accumulated(*chunks_of(response)) == response


def test_chunks_of_an_answer_in_the_usual_order_make_the_same_answer() -> None:
    message = AssistantMessage(parts=[TextPart(text="x"), ToolCall(id="c", name="f", arguments="{}")])
    response = ChatResponse(
        id="1", model="m", provider="p", choices=[Choice(message=message, finish_reason="tool_calls")]
    )
    assert accumulated(*chunks_of(response)) == response
