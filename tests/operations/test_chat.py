from __future__ import annotations

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.assemble import ChatAccumulator, chunks_of
from bifrost.operations.chat.chunks import Delta
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
)
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.request import ChatRequest, Reasoning
from bifrost.operations.chat.response import ChatResponse, Choice, Logprobs, TokenLogprob, TopLogprob
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.usage import Usage

MESSAGE = AssistantMessage(
    parts=[
        ReasoningPart(text="hm", provider="p"),
        TextPart(text="a", citations=[Citation(url="u", title="t", start=0, end=1, text="cited")]),
        TextPart(text="b"),
        RefusalPart(refusal="no"),
        ToolCall(id="c0", name="f", arguments='{"x":1}'),
        ToolCall(id="c1", name="g", arguments="free", kind="custom"),
        AudioPart(id="s", data="QQ==", transcript="t", expires_at=3),
        OpaquePart(provider="p", kind="k", data={}),
    ]
)
RESPONSE = ChatResponse(
    id="1",
    model="m",
    created=5,
    provider="p",
    choices=[
        Choice(
            message=MESSAGE,
            finish_reason="tool_calls",
            logprobs=Logprobs(
                content=[
                    TokenLogprob(token="a", logprob=-1, bytes=[97], top_logprobs=[TopLogprob(token="a", logprob=-1)])
                ]
            ),
        )
    ],
    usage=Usage(input_tokens=1, output_tokens=2),
    service_tier="default",
    system_fingerprint="fp",
)


def test_shortcuts_are_of_the_first_answer() -> None:
    assert RESPONSE.message is MESSAGE
    assert RESPONSE.text == "ab"
    assert RESPONSE.reasoning == "hm"
    assert [call.name for call in RESPONSE.tool_calls] == ["f", "g"]
    assert RESPONSE.finish_reason == "tool_calls"


def test_openais_paths_are_there() -> None:
    message = RESPONSE.choices[0].message
    assert (message.role, message.content, message.refusal) == ("assistant", "ab", "no")
    assert message.tool_calls is not None
    assert (message.tool_calls[0].type, message.tool_calls[0].function.name) == ("function", "f")
    assert message.tool_calls[0].function.arguments == '{"x":1}'
    assert message.reasoning_content == "hm"
    assert RESPONSE.object == "chat.completion"
    assert RESPONSE.usage is not None
    assert RESPONSE.usage.prompt_tokens == 1


def test_an_answer_without_text_has_no_content() -> None:
    message = AssistantMessage(parts=[ToolCall(id="c", name="f")])
    assert (message.content, message.text) == (None, "")
    empty = AssistantMessage()
    assert (empty.tool_calls, empty.refusal, empty.reasoning, empty.audio, empty.citations) == (
        None,
        None,
        None,
        None,
        [],
    )


def test_the_other_parts_can_be_had() -> None:
    assert MESSAGE.audio == AudioPart(id="s", data="QQ==", transcript="t", expires_at=3)
    assert MESSAGE.opaque == [OpaquePart(provider="p", kind="k", data={})]
    assert [cited.url for cited in MESSAGE.citations] == ["u"]


def test_openais_own_types_read_our_form() -> None:
    form = RESPONSE.to_dict()
    read = ChatCompletion.model_validate(form)
    message = read.choices[0].message
    assert (message.content, message.refusal) == ("ab", "no")
    assert message.annotations is not None
    assert message.annotations[0].url_citation.url == "u"
    assert message.tool_calls is not None
    assert [call.type for call in message.tool_calls] == ["function", "custom"]
    assert message.audio is not None
    assert message.audio.transcript == "t"
    assert read.choices[0].logprobs is not None
    assert read.choices[0].logprobs.content is not None
    assert read.choices[0].logprobs.content[0].top_logprobs[0].token == "a"
    assert read.usage is not None
    assert read.usage.total_tokens == 3
    assert (read.service_tier, read.system_fingerprint) == ("default", "fp")
    assert form["choices"][0]["message"]["reasoning_content"] == "hm"


def test_a_message_of_a_prompt_gives_its_text_and_calls() -> None:
    assert Message(role="user", content="x").text == "x"
    assert Message(role="user", content="x").parts == [TextPart(text="x")]
    assert Message(role="assistant").parts == []
    assert MESSAGE.to_message().text == "ab"
    assert [call.id for call in MESSAGE.to_message().tool_calls] == ["c0", "c1"]


def test_arguments_are_decoded_on_access_only() -> None:
    assert ToolCall(id="c", name="f", arguments='{"x":1}').parse_arguments() == {"x": 1}
    assert ToolCall(id="c", name="f").parse_arguments() == {}
    with pytest.raises(InvalidRequestError, match="the model's arguments for tool 'f' are not JSON"):
        ToolCall(id="c", name="f", arguments='{"x":').parse_arguments()


def test_repr_is_short_and_tells_what_matters() -> None:
    shown = repr(
        ChatResponse(
            model="m", provider="p", choices=[Choice(message=AssistantMessage(parts=[TextPart(text="x" * 999)]))]
        )
    )
    assert shown.startswith("ChatResponse(p/m: 'xxx")
    assert len(shown) < 300
    assert "tool_calls=['f', 'g']" in repr(RESPONSE)


def test_an_answer_is_made_of_a_text() -> None:
    made = ChatResponse.of("hello", finish_reason="length")
    assert (made.text, made.finish_reason) == ("hello", "length")
    assert made.message == AssistantMessage(parts=[TextPart(text="hello")])
    assert ChatResponse.of("").finish_reason == "stop"


def test_a_request_survives_json() -> None:
    request = ChatRequest(
        model="m",
        messages=[
            Message(
                role="user",
                content=[
                    TextPart(text="x", cache=CacheMark(ttl="1h")),
                    ImagePart(data="QQ==", media_type="image/png"),
                    AudioPart(data="QQ==", format="wav"),
                    FilePart(text="x", filename="f"),
                ],
            ),
            MESSAGE.to_message(),
            Message(role="tool", tool_call_id="c0", content="4", is_error=True),
        ],
        tools=[Tool(name="f", parameters={"b": 1, "a": 2}), ProviderTool(definition={"type": "x"})],
        tool_choice=ToolChoice(mode="tool", name="f"),
        reasoning=Reasoning(effort="low"),
        extra={"p": {"x": 1}},
    )
    assert msgspec.json.decode(msgspec.json.encode(request), type=ChatRequest) == request


def test_a_response_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RESPONSE), type=ChatResponse) == RESPONSE


def test_a_text_keeps_its_signature_through_chunks() -> None:
    issuer = Issuer(provider="p", key="k")
    parts: list[Part] = [
        TextPart(text="a", signature="s1", provider="p", issuer=issuer),
        TextPart(text="b"),
        TextPart(text="", signature="s2", provider="p", issuer=issuer),
        ImagePart(data="AA==", media_type="image/png", signature="s3", provider="p", issuer=issuer),
    ]
    response = ChatResponse(choices=[Choice(message=AssistantMessage(parts=parts), finish_reason="stop")])
    grown = ChatAccumulator()
    for chunk in chunks_of(response):
        grown.add(chunk)
    again = grown.response().message.parts
    assert again == parts
    assert [part.issuer for part in again if isinstance(part, TextPart | ImagePart)] == [issuer, None, issuer, issuer]
    assert not Delta(text_signature="s").empty
