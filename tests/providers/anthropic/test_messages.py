from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    UserLocation,
    WebSearch,
)
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.providers.anthropic import CHAT, DEFAULT_MAX_TOKENS
from bifrost.providers.base import Built, Target
from tests.table import table

HELLO = [Message(role="user", content="Hello")]
ANY: Any = "any"
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})


def built(messages: list[Message] | None = None, *, stream: bool = False, **options: Any) -> Built:
    request = ChatRequest(model="ours", messages=HELLO if messages is None else messages, **options)
    return CHAT.build(request, Target(provider="anthropic", model="claude", stream=stream))


def body_of(messages: list[Message] | None = None, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(built(messages, **options).request.body)
    return body


def turns_of(*messages: Message) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = body_of(list(messages))["messages"]
    return turns


def blocks_of(*parts: Part, role: Any = "user") -> list[dict[str, Any]]:
    [turn] = turns_of(Message(role=role, content=list(parts)))
    blocks: list[dict[str, Any]] = turn["content"]
    return blocks


def test_a_plain_question_has_only_what_is_needed() -> None:
    request = built().request
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.headers == {"content-type": "application/json"}
    assert json.loads(request.body) == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert request.source == ChatRequest(model="ours", messages=HELLO)


def test_a_stream_is_asked_for() -> None:
    assert json.loads(built(stream=True).request.body)["stream"] is True


def test_sampling_options_keep_their_values() -> None:
    body = body_of(temperature=0.5, top_p=0.9, top_k=5, max_tokens=10, stop=["END"])
    assert body == {
        **body_of(),
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 10,
        "stop_sequences": ["END"],
    }


def test_a_temperature_above_the_range_is_lowered_with_a_warning() -> None:
    made = built(temperature=1.5)
    assert json.loads(made.request.body)["temperature"] == 1
    assert made.warnings == ["temperature 1.5 was sent as 1: Anthropic's range ends there"]


# --- system prompt


def test_one_system_text_is_a_string() -> None:
    assert body_of([Message(role="system", content="Be brief."), *HELLO])["system"] == "Be brief."


def test_several_system_messages_become_blocks_with_their_cache_marks() -> None:
    body = body_of(
        [
            Message(role="system", content="One."),
            Message(role="developer", content="Two.", cache=CacheMark(ttl="1h")),
            Message(role="system", content=[TextPart(text="Three.", cache=CacheMark())]),
            *HELLO,
        ]
    )
    assert body["system"] == [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Three.", "cache_control": {"type": "ephemeral"}},
    ]
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_a_system_message_amid_the_conversation_is_moved_with_a_warning() -> None:
    made = built([*HELLO, Message(role="system", content="Now in French."), Message(role="user", content="Go on")])
    body = json.loads(made.request.body)
    assert body["system"] == "Now in French."
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert made.warnings == ["messages[1]: a system message amid the conversation was moved to the system prompt"]


def test_a_system_message_in_anthropics_own_blocks_keeps_its_place() -> None:
    block = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}}
    own = Message(role="system", content=[OpaquePart(provider="anthropic", kind="tool_addition", data=block)])
    made = built([*HELLO, own])
    assert json.loads(made.request.body)["messages"][1] == {"role": "system", "content": [block]}
    assert made.warnings == []


def test_a_picture_in_the_system_prompt_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="text only in a system message"):
        built([Message(role="system", content=[ImagePart(url="https://a.example/b.png")]), *HELLO])


# --- turns


def test_neighbours_of_one_role_become_one_turn() -> None:
    assert turns_of(Message(role="user", content="One"), Message(role="user", content=[TextPart(text="Two")])) == [
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]}
    ]


def test_the_results_of_several_tools_open_one_user_turn() -> None:
    turns = turns_of(
        *HELLO,
        Message(role="assistant", content=[ToolCall(id="a", name="f"), ToolCall(id="b", name="g")]),
        Message(role="user", content="By the way"),
        Message(role="tool", tool_call_id="a", content="1"),
        Message(role="tool", tool_call_id="b", content="broken", is_error=True),
        Message(role="user", content="Well?"),
    )
    assert turns[2:] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "broken", "is_error": True},
                {"type": "text", "text": "By the way"},
                {"type": "text", "text": "Well?"},
            ],
        }
    ]


def test_a_tools_result_can_hold_pictures_documents_and_a_cache_mark() -> None:
    parts: list[Part] = [
        TextPart(text="see"),
        ImagePart(data="aGk=", media_type="image/png"),
        FilePart(text="notes", filename="notes.txt"),
    ]
    [turn] = turns_of(Message(role="tool", tool_call_id="a", content=parts, cache=CacheMark()))
    assert turn["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "notes"},
                    "title": "notes.txt",
                },
            ],
            "cache_control": {"type": "ephemeral"},
        }
    ]


def test_a_tools_result_may_be_empty() -> None:
    assert turns_of(Message(role="tool", tool_call_id="a")) == [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}
    ]


def test_a_tools_result_must_name_its_call() -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*tool_call_id"):
        built([*HELLO, Message(role="tool", content="1")])


def test_a_cache_mark_on_a_message_marks_its_last_block_that_can_be() -> None:
    thought = ReasoningPart(text="hm", signature="s", provider="anthropic")
    answer = Message(role="assistant", content=[TextPart(text="A"), thought], cache=CacheMark(ttl="5m"))
    turns = turns_of(Message(role="user", content="Q", cache=CacheMark()), answer)
    assert turns[0]["content"] == [{"type": "text", "text": "Q", "cache_control": {"type": "ephemeral"}}]
    assert turns[1]["content"] == [
        {"type": "text", "text": "A", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
    ]


def test_a_cache_mark_that_finds_no_place_is_told() -> None:
    thought = ReasoningPart(redacted="x", provider="anthropic")
    made = built([*HELLO, Message(role="assistant", content=[thought], cache=CacheMark())])
    assert made.warnings == ["messages[1]: cache was left out: the message has nothing that can be marked"]


def test_a_participants_name_is_left_out_with_a_warning() -> None:
    made = built([Message(role="user", content="Hi", name="Ann")])
    assert made.warnings == ["messages[0]: name was left out: Anthropic has no names of participants"]


def test_an_empty_answer_in_the_history_is_left_out_with_a_warning() -> None:
    made = built([*HELLO, Message(role="assistant", content=[]), Message(role="user", content="Well?")])
    assert len(json.loads(made.request.body)["messages"]) == 1
    assert made.warnings == ["messages[1]: an assistant message without content was left out"]


@table("content", [None, "", " \n", [], [TextPart(text="")], [TextPart(text=" \n")]])
def test_a_user_message_must_say_something(content: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]: the user message has no content"):
        built([Message(role="user", content=content)])


def test_a_role_must_be_known() -> None:
    role: Any = "bot"
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]: role 'bot' is none of system, developer, user"):
        built([Message(role=role, content="Hi")])


def test_a_block_without_a_type_breaks_nothing() -> None:
    odd = Message(role="user", content=[OpaquePart(provider="anthropic", kind="x", data={"a": 1})], cache=CacheMark())
    assert turns_of(*HELLO, odd)[0]["content"][1] == {"a": 1, "cache_control": {"type": "ephemeral"}}


def test_there_must_be_messages() -> None:
    with pytest.raises(InvalidRequestError, match="no messages"):
        built([])


def test_a_system_prompt_alone_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedError, match="needs a user message"):
        built([Message(role="system", content="Be brief.")])


# --- parts


@table(
    ("part", "source"),
    [
        (ImagePart(url="https://a.example/b.png"), {"type": "url", "url": "https://a.example/b.png"}),
        (
            ImagePart(data="aGk=", media_type="image/png"),
            {"type": "base64", "media_type": "image/png", "data": "aGk="},
        ),
        (
            ImagePart(url="data:image/gif;base64,aGk="),
            {"type": "base64", "media_type": "image/gif", "data": "aGk="},
        ),
        (ImagePart(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_pictures(part: ImagePart, source: dict[str, Any]) -> None:
    assert blocks_of(part) == [{"type": "image", "source": source}]


def test_a_pictures_detail_is_left_out_with_a_warning() -> None:
    part = ImagePart(url="https://a.example/b.png", detail="high", cache=CacheMark())
    made = built([Message(role="user", content=[part])])
    assert json.loads(made.request.body)["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert made.warnings == ["messages[0].content[0]: an image's detail was left out: Anthropic has no such option"]


@table(
    ("part", "source"),
    [
        (FilePart(url="https://a.example/b.pdf"), {"type": "url", "url": "https://a.example/b.pdf"}),
        (
            FilePart(data="aGk=", media_type="application/pdf"),
            {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
        ),
        (
            FilePart(url="data:application/pdf;base64,aGk="),
            {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
        ),
        (
            FilePart(data=b64encode("grün".encode()).decode(), media_type="text/markdown"),
            {"type": "text", "media_type": "text/plain", "data": "grün"},
        ),
        (FilePart(text="plain"), {"type": "text", "media_type": "text/plain", "data": "plain"}),
        (FilePart(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_documents(part: FilePart, source: dict[str, Any]) -> None:
    assert blocks_of(part) == [{"type": "document", "source": source}]


def test_a_document_keeps_title_context_citations_and_cache_mark() -> None:
    part = FilePart(text="t", filename="a.txt", context="from Ann", citations=True, cache=CacheMark())
    assert blocks_of(part) == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "t"},
            "title": "a.txt",
            "context": "from Ann",
            "citations": {"enabled": True},
            "cache_control": {"type": "ephemeral"},
        }
    ]


@table(
    ("part", "problem"),
    [
        (ImagePart(), "the image has no source"),
        (ImagePart(data="aGk="), "the image has data but no media_type"),
        (FilePart(filename="a.pdf"), "the file has no source"),
        (FilePart(data="aGk="), "the file has data but no media_type"),
        (FilePart(data="a", media_type="text/plain"), "not base64 of UTF-8 text"),
        (FilePart(data="/w==", media_type="text/plain"), "not base64 of UTF-8 text"),
        (ToolCall(id="", name="f"), "'f' has no id"),
    ],
)
def test_parts_that_are_wrong_in_themselves(part: Part, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        built([*HELLO, Message(role="user", content=[part])])
    assert str(caught.value).startswith("messages[1]: ")
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (AudioPart(data="aGk=", format="wav"), "takes no sound"),
        (FilePart(data="aGk=", media_type="application/zip"), "not as application/zip"),
        (
            ToolCall(id="a", name="shell", arguments="ls", kind="custom"),
            r"no tools that take free text \(messages\[0\].content\[0\]\)",
        ),
    ],
)
def test_parts_that_anthropic_has_no_words_for(part: Part, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        built([Message(role="user", content=[part])])


def test_a_spoken_answer_is_sent_as_its_transcript() -> None:
    made = built([*HELLO, Message(role="assistant", content=[AudioPart(id="a", transcript="Hi.")])])
    assert json.loads(made.request.body)["messages"][1]["content"] == [{"type": "text", "text": "Hi."}]
    assert made.warnings == ["messages[1]: sound was left out, its transcript sent"]


def test_thinking_goes_back_unchanged() -> None:
    assert blocks_of(
        ReasoningPart(text="hm", signature="s", provider="anthropic"),
        ReasoningPart(text="", signature="only", provider="anthropic"),
        ReasoningPart(redacted="xyz", provider="anthropic"),
        TextPart(text="A"),
        role="assistant",
    ) == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "", "signature": "only"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "A"},
    ]


@table(
    ("part", "warning"),
    [
        (ReasoningPart(text="hm", signature="s", provider="gemini"), "reasoning of another provider was left out"),
        (ReasoningPart(text="hm"), "reasoning of another provider was left out"),
        (ReasoningPart(text="hm", provider="anthropic"), "reasoning without a signature was left out"),
        (OpaquePart(provider="openai", kind="search", data={}), "openai's own block 'search' was left out"),
    ],
)
def test_what_belongs_to_another_provider_is_left_out_with_one_warning(part: Part, warning: str) -> None:
    made = built([*HELLO, Message(role="assistant", content=[part, part, TextPart(text="A")])])
    assert json.loads(made.request.body)["messages"][1]["content"] == [{"type": "text", "text": "A"}]
    assert made.warnings == [f"messages[1]: {warning}"]


def test_the_providers_own_blocks_go_back_unchanged() -> None:
    data = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"b": 1, "a": None}}
    assert blocks_of(OpaquePart(provider="anthropic", kind="server_tool_use", data=data), role="assistant") == [data]


def test_a_refusal_is_text() -> None:
    blocks = blocks_of(RefusalPart(refusal="No."), RefusalPart(refusal=""), role="assistant")
    assert blocks == [{"type": "text", "text": "No."}]


def test_anthropics_own_citations_go_back_unchanged() -> None:
    native = {"type": "char_location", "cited_text": "x", "document_index": 0}
    cited = [Citation(provider="anthropic", native=native), Citation(url="https://a.example")]
    made = built([*HELLO, Message(role="assistant", content=[TextPart(text="A", citations=cited)])])
    assert json.loads(made.request.body)["messages"][1]["content"] == [
        {"type": "text", "text": "A", "citations": [native]}
    ]
    assert made.warnings == ["messages[1]: citations that are not Anthropic's were left out"]


# --- tool calls


def test_a_calls_arguments_are_sent_as_the_model_wrote_them() -> None:
    written = '{"b":  1.10, "a": "\\u00fc", "b2": 12345678901234567890}'
    call = ToolCall(id="a", name="f", arguments=written, cache=CacheMark())
    request = built([*HELLO, Message(role="assistant", content=[call])]).request
    assert f'"input":{written}'.encode() in request.body
    assert json.loads(request.body)["messages"][1]["content"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("arguments", ["", " \n", "{}"])
def test_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    [block] = blocks_of(ToolCall(id="a", name="f", arguments=arguments), role="assistant")
    assert block == {"type": "tool_use", "id": "a", "name": "f", "input": {}}


@table(
    "arguments",
    ["[1]", "3", "null", '{"a":', "{'a': 1}", '{"a": NaN}', '"{}"', '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"],
    ids=range(8),
)
def test_arguments_that_are_no_object_go_as_the_text_in_one(arguments: str) -> None:
    call = ToolCall(id="a", name="weather", arguments=arguments)
    sent = built([*HELLO, Message(role="assistant", content=[call])])
    assert sent.warnings == [
        "messages[1]: the arguments of tool 'weather' are no JSON object, and were sent as the text in one"
    ]
    [block] = json.loads(sent.request.body)["messages"][1]["content"]
    assert block["input"] == {"unreadable_arguments": arguments}


def test_half_a_surrogate_pair_in_arguments_keeps_no_conversation_from_going_on() -> None:
    [block] = blocks_of(ToolCall(id="a", name="f", arguments='{"a": "\ud800"}'), role="assistant")
    assert block["input"] == {"unreadable_arguments": '{"a": "?"}'}


def test_other_providers_ids_are_made_acceptable_in_call_and_result_alike() -> None:
    turns = turns_of(
        *HELLO,
        Message(role="assistant", content=[ToolCall(id="functions.add:0", name="add")]),
        Message(role="tool", tool_call_id="functions.add:0", content="1"),
    )
    made = turns[1]["content"][0]["id"]
    assert made == turns[2]["content"][0]["tool_use_id"]
    assert re.fullmatch("toolu_[a-zA-Z0-9]{24}", made)


def test_a_picture_that_a_model_made_is_left_out() -> None:
    answer = Message(role="assistant", content=[TextPart(text="Here:"), ImagePart(url="https://a.example/b.png")])
    sent = built([*HELLO, answer])
    assert json.loads(sent.request.body)["messages"][1]["content"] == [{"type": "text", "text": "Here:"}]
    assert sent.warnings == ["messages[1]: a picture was left out: Anthropic takes none from a model"]


def test_a_signature_that_was_changed_is_told() -> None:
    call = ToolCall(id="a", name="f", signature="{", provider="anthropic")
    with pytest.raises(InvalidRequestError, match="the signature of tool call 'a' was changed"):
        built([*HELLO, Message(role="assistant", content=[call])])


def test_another_providers_signature_is_not_sent() -> None:
    [block] = blocks_of(ToolCall(id="a", name="f", signature="xyz", provider="gemini"), role="assistant")
    assert block == {"type": "tool_use", "id": "a", "name": "f", "input": {}}


# --- tools


def test_a_strict_tool_gets_the_form_that_strict_mode_takes() -> None:
    schema = {
        "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"type": "string", "format": "uri"}},
        "required": ["a"],
    }
    request = built(tools=[Tool(name="f", parameters=schema, strict=True)])
    assert json.loads(request.request.body)["tools"][0] == {
        "name": "f",
        "input_schema": {
            "properties": {
                "a": {"type": "integer", "description": "(minimum: 1)"},
                "b": {"type": "string", "format": "uri"},
            },
            "required": ["a"],
            "type": "object",
            "additionalProperties": False,
        },
        "strict": True,
    }
    assert request.warnings == ["tool f: $.a: minimum is stated in words only"]


@table(
    ("parameters", "reason"),
    [
        ({"type": "object", "properties": {"a": {}}}, "$.a: it may be anything"),
        ({"type": "object", "additionalProperties": True}, "$: it may have any keys"),
        (
            {"type": "object", "properties": {f"k{number}": {"type": "null"} for number in range(25)}},
            "it has 25 keys that may be left out, of 24 at most",
        ),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}},
            "it contains itself",
        ),
    ],
)
def test_a_tool_that_cannot_be_strict_is_not(parameters: dict[str, Any], reason: str) -> None:
    request = built(tools=[Tool(name="f", parameters=parameters, strict=True)])
    assert "strict" not in json.loads(request.request.body)["tools"][0]
    assert request.warnings == [f"tool f: strict was left out, since {reason}"]


def test_a_tool_of_a_name_that_anthropic_refuses_is_refused_here() -> None:
    with pytest.raises(UnsupportedError, match=r"'a\.b'; rename it"):
        built(tools=[Tool(name="a.b")])


def test_a_schemas_keys_keep_their_order() -> None:
    kind = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["z", "a"],
        "properties": {"z": kind, "a": kind},
        "additionalProperties": False,
    }
    tool = Tool(name="f", description="does f", parameters=schema, strict=True, cache=CacheMark())
    request = built(tools=[tool]).request
    assert msgspec.json.encode(schema) in request.body
    assert json.loads(request.body)["tools"] == [
        {
            "name": "f",
            "description": "does f",
            "input_schema": schema,
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        }
    ]


def test_a_tool_without_parameters_takes_none() -> None:
    assert body_of(tools=[Tool(name="f")])["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    ]


@pytest.mark.parametrize("provider", ["anthropic", None])
def test_a_providers_tool_is_sent_as_it_is(provider: str | None) -> None:
    definition = {"type": "code_execution_20260120", "name": "code_execution", "max_uses": None}
    assert body_of(tools=[ProviderTool(provider=provider, definition=definition)])["tools"] == [definition]


@table(
    ("choice", "wire"),
    [
        (ToolChoice(mode="auto"), {"type": "auto"}),
        (ToolChoice(mode="none"), {"type": "none"}),
        (ToolChoice(mode="required"), {"type": "any"}),
        (ToolChoice(mode="tool", name="weather"), {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choices(choice: ToolChoice, wire: dict[str, Any]) -> None:
    assert body_of(tools=[WEATHER], tool_choice=choice)["tool_choice"] == wire


@table(
    ("choice", "parallel", "wire"),
    [
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="auto"), True, {"type": "auto"}),
        (None, True, None),
        (None, None, None),
    ],
)
def test_parallel_calls(choice: ToolChoice | None, parallel: bool | None, wire: dict[str, Any] | None) -> None:
    assert body_of(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == wire


def test_a_choice_without_tools_is_not_sent() -> None:
    assert body_of(tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=False) == body_of()


def test_allowed_tools_are_all_that_is_sent_and_a_warning_says_so() -> None:
    made = built(tools=[WEATHER, Tool(name="other")], tool_choice=ToolChoice(mode="required", allowed=["weather"]))
    body = json.loads(made.request.body)
    assert [tool["name"] for tool in body["tools"]] == ["weather"]
    assert body["tool_choice"] == {"type": "any"}
    assert len(made.warnings) == 1
    assert "tool_choice.allowed" in made.warnings[0]


@table(
    ("options", "problem"),
    [
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice is 'required', but the request has no tools"),
        ({"tool_choice": ToolChoice(mode="tool", name="f")}, "tool_choice is 'tool', but the request has no tools"),
        ({"tool_choice": ToolChoice(mode="tool"), "tools": [WEATHER]}, "names no tool"),
        ({"tool_choice": ToolChoice(mode=ANY)}, "mode 'any' is none of auto, none, required, tool"),
        ({"tool_choice": ToolChoice(allowed=["g"]), "tools": [WEATHER]}, r"allows \['g'\]"),
        ({"response_format": ResponseFormat(type="json_schema")}, "has no schema"),
    ],
)
def test_options_that_are_wrong_in_themselves(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        built(**options)
    assert not isinstance(caught.value, UnsupportedError)


def test_web_search_is_anthropics_server_tool() -> None:
    search = WebSearch(
        max_uses=2,
        allowed_domains=["a.example"],
        blocked_domains=["b.example"],
        user_location=UserLocation(city="Bern", country="CH"),
        context_size="low",
    )
    made = built(tools=[WEATHER], web_search=search)
    assert json.loads(made.request.body)["tools"][1] == {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 2,
        "allowed_domains": ["a.example"],
        "blocked_domains": ["b.example"],
        "user_location": {"type": "approximate", "city": "Bern", "country": "CH"},
    }
    assert made.warnings == ["web_search.context_size was left out: Anthropic has no such option"]


# --- reasoning and format


@table(
    ("reasoning", "wire"),
    [
        (Reasoning(effort="high"), {"output_config": {"effort": "high"}}),
        (Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        (Reasoning(enabled=False, display="omitted"), {"thinking": {"type": "disabled"}}),
        (Reasoning(enabled=True), {"thinking": {"type": "adaptive"}}),
        (
            Reasoning(enabled=True, effort="max"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        ),
        (Reasoning(display="summarized"), {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (
            Reasoning(max_tokens=2000, display="omitted"),
            {
                "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
                "max_tokens": DEFAULT_MAX_TOKENS + 2000,
            },
        ),
        (Reasoning(), {}),
    ],
)
def test_reasoning(reasoning: Reasoning, wire: dict[str, Any]) -> None:
    assert body_of(reasoning=reasoning) == {**body_of(), **wire}


def test_the_least_effort_is_sent_as_the_lowest_there_is() -> None:
    made = built(reasoning=Reasoning(effort="minimal"))
    assert json.loads(made.request.body)["output_config"] == {"effort": "low"}
    assert made.warnings == ["reasoning.effort 'minimal' was sent as 'low': Anthropic's scale begins there"]


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    wanted = ResponseFormat(type="json_schema", name="n", schema=schema, description="d", strict=True)
    made = built(response_format=wanted, reasoning=Reasoning(effort="low"))
    assert json.loads(made.request.body)["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    assert made.warnings == ["response_format.description was left out: write it into the schema"]


def test_text_is_the_format_anyway() -> None:
    assert body_of(response_format=ResponseFormat(type="text")) == body_of()


# --- what Anthropic has no words for


@table(
    ("options", "problem"),
    [
        ({"n": 2}, "n must be 1"),
        ({"logprobs": True}, "no log probabilities"),
        ({"top_logprobs": 3}, "no log probabilities"),
        ({"modalities": ["text", "audio"]}, "answers in text only"),
        ({"audio": AudioOutput(voice="a", format="wav")}, "answers in text only"),
        ({"response_format": ResponseFormat(type="json_object")}, "give a schema"),
        ({"tools": [Tool(name="shell", kind="custom")]}, r"free text \(tools\[0\]\); give them JSON parameters"),
        (
            {"tools": [ProviderTool(provider="openai", definition={"type": "file_search"})]},
            "openai's tool 'file_search'",
        ),
    ],
)
def test_what_would_change_the_meaning_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem) as caught:
        built(**options)
    assert caught.value.fallback


@table(
    "options",
    [
        {"presence_penalty": 0.1},
        {"frequency_penalty": 0.1},
        {"seed": 1},
        {"logit_bias": {"1": 1.0}},
        {"safety_identifier": "s"},
        {"store": False},
        {"verbosity": "low"},
        {"prompt_cache_key": "k"},
        {"prompt_cache_retention": "24h"},
        {"prediction": Prediction(content="x")},
        {"stream_options": StreamOptions(include_obfuscation=False)},
        {"service_tier": "flex"},
        {"metadata": {"team": "a"}},
    ],
)
def test_what_only_tunes_is_left_out_with_a_warning_that_names_it(options: dict[str, Any]) -> None:
    made = built(**options)
    assert json.loads(made.request.body) == body_of()
    assert len(made.warnings) == 1
    assert next(iter(options)) in made.warnings[0]


@pytest.mark.parametrize("options", [{"n": 1}, {"modalities": ["text"]}, {"logprobs": False}])
def test_what_goes_without_saying_is_not_said(options: dict[str, Any]) -> None:
    made = built(**options)
    assert json.loads(made.request.body) == body_of()
    assert made.warnings == []


@pytest.mark.parametrize(
    ("given", "sent"), [("auto", "auto"), ("default", "standard_only"), ("standard_only", "standard_only")]
)
def test_service_tiers(given: str, sent: str) -> None:
    assert body_of(service_tier=given)["service_tier"] == sent


@pytest.mark.parametrize("options", [{"user": "u"}, {"metadata": {"user_id": "u"}}])
def test_the_user_is_named_in_the_metadata(options: dict[str, Any]) -> None:
    made = built(**options)
    assert json.loads(made.request.body)["metadata"] == {"user_id": "u"}
    assert made.warnings == []


# --- extra


def test_extra_is_merged_into_the_body_and_leaves_what_was_given_as_it_was() -> None:
    schema: dict[str, Any] = {"type": "object"}
    request = ChatRequest(
        model="ours",
        messages=HELLO,
        response_format=ResponseFormat(type="json_schema", schema=schema),
        extra={
            "anthropic": {
                "output_config": {"task_budget": {"total": 5}, "format": {"schema": {"title": "T"}}},
                "container": "c",
                "max_tokens": 7,
            },
            "openai": {"seed": 1},
        },
    )
    before = msgspec.json.encode(request)
    body = json.loads(CHAT.build(request, Target(provider="anthropic", model="claude")).request.body)
    assert body == {
        **body_of(),
        "max_tokens": 7,
        "container": "c",
        "output_config": {
            "task_budget": {"total": 5},
            "format": {"type": "json_schema", "schema": {"type": "object", "title": "T"}},
        },
    }
    assert msgspec.json.encode(request) == before


def test_betas_go_into_the_header() -> None:
    request = built(extra={"anthropic": {"betas": ["a-1", "b-2"], "speed": "fast"}}).request
    assert request.headers["anthropic-beta"] == "a-1,b-2"
    assert json.loads(request.body) == {**body_of(), "speed": "fast"}


def test_extra_is_read_by_the_providers_own_name() -> None:
    request = ChatRequest(model="m", messages=HELLO, extra={"anthropic": {"speed": "fast"}, "mine": {"container": "c"}})
    body = json.loads(CHAT.build(request, Target(provider="mine", model="claude")).request.body)
    assert body == {**body_of(), "container": "c"}


def test_streaming_is_not_a_matter_of_extra() -> None:
    with pytest.raises(InvalidRequestError, match=r"stream_chat\(\)"):
        built(extra={"anthropic": {"stream": True}})


@table("betas", ["a-1", [1], {"a": 1}, ["a\nb"], ["ü"], [""]])
def test_betas_must_be_names(betas: Any) -> None:
    with pytest.raises(InvalidRequestError, match='"betas" must be a list of names'):
        built(extra={"anthropic": {"betas": betas}})
