"""The Responses API over a chat: requests, responses and streams, with what a chat cannot express."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import UnsupportedError
from bifrost.operations.chat.assemble import chunks_of
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    Issuer,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, Logprobs, TokenLogprob
from bifrost.operations.responses.assemble import ResponsesAccumulator
from bifrost.operations.responses.chat_items import items_of_parts
from bifrost.operations.responses.chat_messages import messages_of
from bifrost.operations.responses.chunks import ResponsesChunk
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    CustomToolCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)
from bifrost.operations.responses.options import AnyInput, responses_request, to_input
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.usage import Usage
from bifrost.providers.base import Ending, ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.responses_over_chat.answer import response_of
from bifrost.providers.responses_over_chat.stream import OverChatDecoder
from bifrost.wire.framing.sse import SseEvent

HERE = Issuer(provider="anthropic", address="https://a.example", key="first")
CITED = Citation(url="https://a.example", title="t", start=0, end=2, provider="anthropic", native={"type": "x"})
PARTS: list[Part] = [
    ReasoningPart(text="thought", signature="s", provider="anthropic", issuer=HERE),
    ReasoningPart(redacted="r", provider="anthropic", issuer=HERE),
    TextPart(text="first", citations=[CITED]),
    TextPart(text="second"),
    OpaquePart(provider="anthropic", kind="server_tool_use", data={"type": "server_tool_use"}, issuer=HERE),
    RefusalPart(refusal="no"),
    ToolCall(id="c", name="f", arguments="{}", signature="s", provider="anthropic", issuer=HERE),
    ToolCall(id="d", name="g", arguments="free", kind="custom", provider="anthropic", issuer=HERE),
    ImagePart(data="AA==", media_type="image/png"),
    AudioPart(id="a", transcript="t"),
]


def body_of(provider: str, given: Any, **given_options: Any) -> tuple[dict[str, Any], list[str]]:
    options: Any = given_options
    request = responses_request(f"{provider}/m", given, options)
    built = CATALOG[provider].codecs["responses"].build(request, Target(provider=provider, model="m"))
    assert built.request.source is request
    return json.loads(built.request.body), built.warnings


def items(given: AnyInput) -> list[Item]:
    found = to_input(given)
    assert not isinstance(found, str)
    return found


# --- requests


def test_a_request_becomes_a_chat() -> None:
    body, warnings = body_of(
        "mistral",
        [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "abcdefghi", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "abcdefghi", "output": "22"},
        ],
        instructions="be brief",
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        max_output_tokens=50,
        temperature=0.5,
        reasoning={"effort": "high"},
    )
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "22"},
    ]
    assert body["tools"][0]["function"]["name"] == "f"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["max_tokens"], body["temperature"], body["reasoning_effort"]) == (50, 0.5, "high")
    assert warnings == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"previous_response_id": "resp_1"}, "stores no responses"),
        ({"conversation": "conv_1"}, "has no conversations"),
        ({"background": True}, "has no background runs"),
        ({"prompt": {"id": "p"}}, "stores no prompts"),
        ({"tools": [{"type": "code_interpreter"}]}, "cannot run the tool 'code_interpreter'"),
        ({"tools": [{"type": "mcp", "server_label": "a"}]}, "cannot run the tool 'mcp'"),
        ({"tool_choice": {"type": "mcp"}}, "cannot express the tool_choice"),
        ({"tool_choice": "sometimes"}, "cannot express the tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}}, "the tool_choice"),
    ],
)
def test_what_a_chat_cannot_express_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UnsupportedError, match=f"anthropic .*{match}") as caught:
        body_of("anthropic", "hi", **options)
    assert caught.value.param in options


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "compaction", "encrypted_content": "x"},
        {"id": "no type", "type": ""},
        {"type": "message", "role": "critic", "content": "a"},
        {"type": "message", "role": "user", "content": [{"type": "novelty"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "novelty"}]},
    ],
)
def test_an_item_that_a_chat_cannot_express_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"cannot express .* in a chat \(input\[0\]"):
        body_of("anthropic", [item])


def test_what_only_tunes_is_left_out_with_a_warning() -> None:
    _, warnings = body_of(
        "mistral",
        [{"type": "web_search_call", "id": "ws_1"}, {"role": "user", "content": "hi"}],
        include=["file_search_call.results", "reasoning.encrypted_content"],
        truncation="auto",
        max_tool_calls=3,
        reasoning={"effort": "low", "context": "all_turns"},
        text={"verbosity": "low", "novelty": 1},
        tools=[{"type": "function", "name": "f", "defer_loading": True}],
    )
    found = "\n".join(warnings)
    for words in (
        "include: file_search_call.results was left out",
        "truncation was left out",
        "max_tool_calls was left out",
        "reasoning.context was left out",
        "text.novelty was left out",
        "tools[0].defer_loading was left out",
        "verbosity was left out",
        "openai's own block 'web_search_call' was left out",
    ):
        assert words in found
    assert "encrypted_content" not in found


def test_log_probabilities_and_a_search_have_their_place_in_a_chat() -> None:
    body, _ = body_of("together", "hi", include=["message.output_text.logprobs"])
    assert body["logprobs"] == 1
    search = {"type": "web_search", "search_context_size": "low", "user_location": {"type": "approximate", "city": "P"}}
    body, warnings = body_of("perplexity", "hi", tools=[{**search, "filters": {"allowed_domains": ["a.example"]}}])
    assert body["search_domain_filter"] == ["a.example"]
    assert body["web_search_options"]["search_context_size"] == "low"
    assert warnings == []


# --- state


def test_the_parts_of_a_chat_come_back_as_they_were() -> None:
    (message,) = messages_of(items_of_parts(PARTS))
    assert message.role == "assistant"
    assert message.parts == PARTS
    issuers = [getattr(part, "issuer", None) for part in message.parts]
    assert issuers == [getattr(part, "issuer", None) for part in PARTS]


def test_a_turn_that_a_provider_cannot_read_is_no_empty_message() -> None:
    foreign = {"provider": "openai", "address": "https://a.example"}
    question = MessageItem(role="user", content="hi")
    thought = ReasoningItem(id="rs_1", summary=["a"], issuer=Issuer(**foreign))
    search = OpaqueItem(kind="web_search_call", data={"type": "web_search_call"}, issuer=Issuer(**foreign))
    for provider in ("anthropic", "mistral", "cohere"):
        body, warnings = body_of(provider, [question, thought, search, question])
        assert '"assistant"' not in json.dumps(body)
        assert [text for text in warnings if "reasoning of another" in text]
        assert [text for text in warnings if "web_search_call" in text]


def test_a_message_of_a_chat_is_sent_by_a_chat_as_it_was() -> None:
    mark = CacheMark(ttl="1h")
    call = ToolCall(id="c", name="f", arguments="{}", cache=mark)
    messages = [
        Message(role="user", content=[TextPart(text="a", cache=mark), ImagePart(url="https://a.example", cache=mark)]),
        Message(role="assistant", content=[TextPart(text="a", cache=mark), call], name="model"),
        Message(role="tool", tool_call_id="c", content="oops", is_error=True, name="f"),
        Message(
            role="user", content=[FilePart(text="a", filename="b", context="c"), AudioPart(data="AA==", format="wav")]
        ),
        Message(
            role="user", content=[VideoPart(url="https://a.example"), FilePart(file_id="f", citations=True)], name="bo"
        ),
        Message(role="user", content=[OpaquePart(provider="anthropic", kind="k", data={"type": "k"})]),
    ]
    assert messages_of(items(messages)) == messages
    (message,) = messages_of(items(Message(role="user", content="a", cache=mark)))
    assert message.content == [TextPart(text="a", cache=mark)]
    assert messages_of(items([{"role": "user", "name": "bo", "content": "a"}]))[0].name == "bo"
    custom = ToolCall(id="d", name="g", arguments="free", kind="custom")
    asked = to_input([AssistantMessage(parts=[custom]), Message(role="tool", tool_call_id="d", content="done")])
    assert [type(item) for item in asked] == [CustomToolCallItem, CustomToolCallOutputItem]


# --- responses


def chat(parts: list[Part], finish_reason: FinishReason | None = "stop", **more: Any) -> ChatResponse:
    choice = Choice(message=AssistantMessage(parts=parts), finish_reason=finish_reason, **more)
    return ChatResponse(
        id="1", model="m", created=5, provider="anthropic", choices=[choice], usage=Usage(input_tokens=1)
    )


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("pause", "incomplete", "pause"),
        ("error", "incomplete", "error"),
        ("unknown", "completed", None),
    ],
)
def test_a_finish_reason_becomes_a_status(finish_reason: FinishReason, status: str, reason: str | None) -> None:
    found = response_of(chat([TextPart(text="a")], finish_reason))
    assert (found.status, found.incomplete_reason) == (status, reason)
    expected = "stop" if finish_reason in ("tool_calls", "unknown") else finish_reason
    assert found.finish_reason == expected


def test_log_probabilities_stay_with_the_text() -> None:
    logprobs = Logprobs(content=[TokenLogprob(token="a", logprob=-1.0)])
    found = response_of(chat([TextPart(text="a")], logprobs=logprobs))
    assert found.to_dict()["output"][0]["content"][0]["logprobs"][0]["token"] == "a"


# --- streams


class Chunks:
    """A decoder of a chat whose events are indexes of chunks."""

    def __init__(self, chunks: list[Chunk], ending: Ending = "complete") -> None:
        self.done = False
        self._chunks = chunks
        self._ending: Ending = ending

    def feed(self, event: SseEvent, /) -> list[Chunk]:
        place = int(event.data)
        self.done = self._ending == "complete" and place == len(self._chunks) - 1
        return [self._chunks[place]]

    def finish(self) -> Ending:
        return self._ending


def streamed(chunks: list[Chunk], ending: Ending = "complete") -> list[ResponsesChunk]:
    decoder = OverChatDecoder(Chunks(chunks, ending), Target(provider="anthropic", model="m"))
    made: list[ResponsesChunk] = []
    for place in range(len(chunks)):
        made += decoder.feed(SseEvent(None, str(place).encode()))
    if not decoder.done:
        assert decoder.finish() == ending
        made += decoder.close()
    assert decoder.done
    assert decoder.feed(SseEvent(None, b"0")) == ()
    return made


def grown(chunks: list[ResponsesChunk]) -> ResponsesResponse:
    accumulator = ResponsesAccumulator(provider="anthropic", model="m")
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.response()


@pytest.mark.parametrize("ending", ["complete", "unmarked"])
@pytest.mark.parametrize("parts", [PARTS, PARTS[2:4], PARTS[6:8], [], [RefusalPart(refusal="no")]])
def test_a_streamed_chat_is_the_response_of_a_plain_one(parts: list[Part], ending: Ending) -> None:
    answer = chat(parts, "length")
    events = streamed(chunks_of(answer), ending)
    assert grown(events) == response_of(answer)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.incomplete"
    items = grown(events[1:-1])
    assert items.output == response_of(answer).output, "without the last event"
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    done = [event.output_index for event in events if event.type == "response.output_item.done"]
    assert sorted(added) == sorted(done) == list(range(len(added)))
    assert all(event.output_index in added for event in events if event.delta)


def test_calls_in_fragments_and_out_of_order() -> None:
    def piece(index: int, text: str, **first: Any) -> Chunk:
        call = ToolCallDelta(index=index, arguments=text, **first)
        return Chunk(choices=[ChunkChoice(delta=Delta(tool_calls=[call]))])

    chunks = [
        piece(0, "", id="a", name="f"),
        piece(1, "{", id="b", name="g"),
        piece(0, "{}"),
        piece(1, "}"),
        Chunk(choices=[ChunkChoice(finish_reason="tool_calls")], usage=Usage(output_tokens=3)),
    ]
    events = streamed(chunks)
    assert [(event.output_index, event.delta) for event in events if event.delta] == [(1, "{"), (0, "{}"), (1, "}")]
    assert [(call.id, call.arguments) for call in grown(events).tool_calls] == [("a", "{}"), ("b", "{}")]
    assert events[-1].usage == Usage(output_tokens=3)


def test_an_error_in_the_stream_keeps_what_came_with_it() -> None:
    class Broken(Chunks):
        def feed(self, event: SseEvent, /) -> list[Chunk]:
            error = ReportedError.__new__(ReportedError)
            error.chunks = [Chunk(choices=[ChunkChoice(delta=Delta(content="last"))])]
            raise error

    decoder = OverChatDecoder(Broken([]), Target(provider="anthropic", model="m"))
    with pytest.raises(ReportedError) as caught:
        decoder.feed(SseEvent(None, b"0"))
    assert [chunk.text for chunk in caught.value.chunks] == ["", "", "last"]
