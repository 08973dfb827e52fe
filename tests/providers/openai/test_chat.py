from __future__ import annotations

import json
from typing import Any

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
from bifrost.operations.chat.structured.strict_schema import OPENAI_RULES
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.providers.base import Built, Target
from bifrost.providers.openai import Quirks, build_chat
from tests.table import table

HELLO = Message(role="user", content="hello")


def build(request: ChatRequest, *, stream: bool = False, provider: str = "openai") -> Built:
    return build_chat(request, Target(provider=provider, model="gpt", stream=stream), quirks=Quirks())


def body(*messages: Message, stream: bool = False, **options: Any) -> dict[str, Any]:
    return json.loads(build(chat(*messages, **options), stream=stream).request.body)


def chat(*messages: Message, **options: Any) -> ChatRequest:
    return ChatRequest(model="asked", messages=list(messages or (HELLO,)), **options)


def warnings(*messages: Message, **options: Any) -> list[str]:
    return build(chat(*messages, **options)).warnings


def written(*parts: Part, role: Any = "user") -> Any:
    (message,) = body(Message(role=role, content=list(parts)))["messages"]
    return message


def test_request_goes_to_the_endpoint_with_the_targets_model() -> None:
    request = chat()
    built = build(request)
    assert (built.request.method, built.request.path) == ("POST", "/chat/completions")
    assert built.request.headers == {"content-type": "application/json"}
    assert built.request.source is request
    assert json.loads(built.request.body) == {"model": "gpt", "messages": [{"role": "user", "content": "hello"}]}
    assert built.warnings == []


# --- options


@table(
    ("options", "wire"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"presence_penalty": 1.0}, {"presence_penalty": 1.0}),
        ({"frequency_penalty": 1.0}, {"frequency_penalty": 1.0}),
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"stop": ["a"]}, {"stop": ["a"]}),
        ({"seed": 0}, {"seed": 0}),
        ({"n": 2}, {"n": 2}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"logit_bias": {"1": 5.0, "2": 0.5}}, {"logit_bias": {"1": 5, "2": 0.5}}),
        ({"user": "u"}, {"user": "u"}),
        ({"safety_identifier": "s"}, {"safety_identifier": "s"}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"store": False}, {"store": False}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"verbosity": "low"}, {"verbosity": "low"}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
        ({"prompt_cache_retention": "24h"}, {"prompt_cache_retention": "24h"}),
        ({"modalities": ["text", "audio"]}, {"modalities": ["text", "audio"]}),
        ({"audio": AudioOutput(voice="v", format="wav")}, {"audio": {"voice": "v", "format": "wav"}}),
        ({"reasoning": Reasoning(effort="low")}, {"reasoning_effort": "low"}),
        ({"reasoning": Reasoning(enabled=False)}, {"reasoning_effort": "none"}),
        ({"prediction": Prediction(content="x")}, {"prediction": {"type": "content", "content": "x"}}),
        (
            {"prediction": Prediction(content=[TextPart(text="x")])},
            {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
        ),
        ({"response_format": ResponseFormat()}, {"response_format": {"type": "text"}}),
        ({"response_format": ResponseFormat(type="json_object")}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": ResponseFormat(type="json_schema", schema={"b": 1}, description="d", strict=True)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "description": "d", "schema": {"b": 1}, "strict": True},
                }
            },
        ),
        ({"web_search": WebSearch()}, {"web_search_options": {}}),
        (
            {"web_search": WebSearch(context_size="low", user_location=UserLocation(city="Bonn", country="DE"))},
            {
                "web_search_options": {
                    "search_context_size": "low",
                    "user_location": {"type": "approximate", "approximate": {"city": "Bonn", "country": "DE"}},
                }
            },
        ),
    ],
)
def test_options_are_said_in_openais_words(options: dict[str, Any], wire: dict[str, Any]) -> None:
    assert body(**options) == {"model": "gpt", "messages": [{"role": "user", "content": "hello"}], **wire}
    assert warnings(**options) == []


@table(
    ("options", "warning"),
    [
        ({"top_k": 5}, "top_k was left out: openai has no such option"),
        (
            {"reasoning": Reasoning(max_tokens=100)},
            "reasoning.max_tokens was left out: openai takes an effort, not a budget",
        ),
        (
            {"reasoning": Reasoning(enabled=True)},
            "reasoning.enabled was left out: openai takes an effort (reasoning.effort) in its place",
        ),
        ({"reasoning": Reasoning(display="summarized")}, "reasoning.display was left out: openai has no such option"),
        ({"web_search": WebSearch(max_uses=3)}, "web_search.max_uses was left out: openai has no such option"),
    ],
)
def test_an_option_that_only_tunes_is_left_out_with_a_warning(options: dict[str, Any], warning: str) -> None:
    assert warnings(**options) == [warning]
    assert "5" not in json.dumps(body(**options))


def test_search_in_some_domains_only_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="cannot keep a web search to some domains"):
        build(chat(web_search=WebSearch(allowed_domains=["example.com"])))


def test_a_schema_format_without_a_schema_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no schema"):
        build(chat(response_format=ResponseFormat(type="json_schema")))


def test_streams_ask_for_usage() -> None:
    assert body(stream=True)["stream"] is True
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream" not in body()


def test_usage_of_a_stream_is_not_asked_for_when_told_so() -> None:
    told = body(stream=True, stream_options=StreamOptions(include_usage=False))
    assert told["stream"] is True
    assert "stream_options" not in told


def test_obfuscation_of_a_stream_is_asked_for_as_told() -> None:
    told = body(stream=True, stream_options=StreamOptions(include_obfuscation=False))
    assert told["stream_options"] == {"include_usage": True, "include_obfuscation": False}


# --- tools


def test_a_tool_gets_an_object_with_properties_and_lists_with_items() -> None:
    inner = {"type": "array", "prefixItems": [{"type": "integer"}], "maxItems": 1}
    for given, sent in (
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"properties": {"a": {}}, "type": "object"}),
        ({"type": ["object", "null"], "properties": {}}, {"type": "object", "properties": {}}),
        ({"anyOf": [{"type": "object"}]}, {"anyOf": [{"type": "object"}], "type": "object"}),
        (
            {"type": "object", "properties": {"a": inner, "b": {"type": "array"}}},
            {
                "type": "object",
                "properties": {
                    "a": {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
                    "b": {"type": "array", "items": {}},
                },
            },
        ),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"type": "null"}}}}},
            {
                "type": "object",
                "properties": {"a": {"type": "null"}},
                "$defs": {"A": {"type": "object", "properties": {"a": {"type": "null"}}}},
            },
        ),
    ):
        before = json.dumps(given)
        assert body(tools=[Tool(name="f", parameters=given)])["tools"][0]["function"]["parameters"] == sent
        assert json.dumps(given) == before


def test_a_strict_tool_gets_the_form_that_strict_mode_takes() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "pattern": "^[A-Z]"},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "near": {"type": "object", "properties": {"km": {"type": "integer", "minimum": 1, "maxLength": 3}}},
        },
        "required": ["city"],
    }
    request = ChatRequest(model="m", messages=[HELLO], tools=[Tool(name="f", parameters=schema, strict=True)])
    made = build_chat(request, Target(provider="openai", model="m"), quirks=Quirks(schema_rules=OPENAI_RULES))

    assert json.loads(made.request.body)["tools"][0]["function"] == {
        "name": "f",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "pattern": "^[A-Z]"},
                "unit": {"type": "string", "enum": ["C", "F"], "description": '(default: "C")'},
                "near": {
                    "type": "object",
                    "properties": {"km": {"type": "integer", "minimum": 1, "description": "(maxLength: 3)"}},
                    "required": ["km"],
                    "additionalProperties": False,
                },
            },
            "required": ["city", "unit", "near"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    assert made.warnings == [
        "tool f: $.near.km, $.unit, $.near must be given in strict mode; $.near.km: maxLength is stated in words only"
    ]


def test_a_tool_that_cannot_be_strict_is_not() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    request = ChatRequest(model="m", messages=[HELLO], tools=[Tool(name="f", parameters=schema, strict=True)])
    made = build_chat(request, Target(provider="openai", model="m"), quirks=Quirks())

    assert json.loads(made.request.body)["tools"][0]["function"] == {"name": "f", "parameters": schema}
    assert made.warnings == ["tool f: strict was left out, since $.a: it may have any keys"]


@pytest.mark.parametrize("kind", ["string", "array", ["string", "null"]])
def test_parameters_that_describe_no_object_are_refused(kind: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"tool f: parameters describe .*, and no object"):
        body(tools=[Tool(name="f", parameters={"type": kind})])


@table("name", ["", "get weather", "größe", "a/b", "a" * 129, "f()"])
def test_a_name_that_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[1\]: .* cannot be a tool's name"):
        body(tools=[Tool(name="f"), Tool(name=name)])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[1\]: there are two tools of the name 'f'; rename one"):
        body(tools=[Tool(name="f"), Tool(name="f")])


def test_tools_are_said_in_openais_words_with_their_keys_in_order() -> None:
    schema = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"b": {"type": "string"}, "a": {"type": "string"}},
        "additionalProperties": False,
    }
    tools = [
        Tool(name="f", description="", parameters=schema, strict=True),
        Tool(name="g"),
        Tool(name="h", kind="custom", description="d", format={"type": "text"}),
        Tool(name="i", kind="custom"),
        ProviderTool(definition={"type": "x"}),
        ProviderTool(definition={"type": "y"}, provider="openai"),
    ]
    sent = body(tools=tools)["tools"]
    function = {"name": "f", "description": "", "parameters": schema, "strict": True}
    assert sent == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g"}},
        {"type": "custom", "custom": {"name": "h", "description": "d", "format": {"type": "text"}}},
        {"type": "custom", "custom": {"name": "i"}},
        {"type": "x"},
        {"type": "y"},
    ]
    assert json.dumps(sent[0]["function"]["parameters"]) == json.dumps(schema)


def test_a_providers_tool_of_a_row_of_its_own_is_sent() -> None:
    request = chat(tools=[ProviderTool(definition={"type": "x"}, provider="somehost")])
    assert json.loads(build(request, provider="somehost").request.body)["tools"] == [{"type": "x"}]


def test_another_providers_tool_is_refused() -> None:
    tool = ProviderTool(definition={"type": "web_search_20250305"}, provider="anthropic")
    with pytest.raises(UnsupportedError) as caught:
        build(chat(tools=[tool]))
    assert caught.value.message == "openai cannot run anthropic's tool 'web_search_20250305'; leave it out"
    assert (caught.value.provider, caught.value.model) == ("openai", "gpt")


@table(
    ("choice", "wire"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice(mode="none", allowed=["f"]), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="tool", name="f"), {"type": "function", "function": {"name": "f"}}),
        (ToolChoice(mode="tool", name="c"), {"type": "custom", "custom": {"name": "c"}}),
        (
            ToolChoice(mode="required", allowed=["f", "c"]),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "c"}},
                    ],
                },
            },
        ),
    ],
)
def test_tool_choices_are_said_in_openais_words(choice: ToolChoice, wire: Any) -> None:
    tools = [Tool(name="f"), Tool(name="c", kind="custom")]
    assert body(tools=tools, tool_choice=choice)["tool_choice"] == wire


def test_a_choice_of_a_tool_without_its_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="names no tool"):
        build(chat(tool_choice=ToolChoice(mode="tool")))


# --- messages


def test_roles_names_and_plain_text_are_kept() -> None:
    messages = [
        Message(role="system", content="s"),
        Message(role="developer", content="d"),
        Message(role="user", content="u", name="Ann"),
        Message(role="assistant", content="a"),
    ]
    assert body(*messages)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "name": "Ann", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]


@table(
    ("part", "wire"),
    [
        (TextPart(text="x", citations=[Citation(url="u")]), {"type": "text", "text": "x"}),
        (ImagePart(url="https://x/y.png"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
        (
            ImagePart(data="AA==", media_type="image/png", detail="low"),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        ),
        (
            AudioPart(data="AA==", format="wav"),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ),
        (FilePart(file_id="f1"), {"type": "file", "file": {"file_id": "f1"}}),
        (FilePart(data="AA==", filename="x"), {"type": "file", "file": {"filename": "x", "file_data": "AA=="}}),
        (
            FilePart(data="AA==", media_type="application/pdf"),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ),
        (FilePart(data="AA=="), {"type": "file", "file": {"filename": "document", "file_data": "AA=="}}),
        (OpaquePart(provider="openai", kind="x", data={"type": "x", "y": 1}), {"type": "x", "y": 1}),
    ],
)
def test_parts_of_a_user_message_are_said_in_openais_words(part: Part, wire: dict[str, Any]) -> None:
    assert written(part) == {"role": "user", "content": [wire]}
    assert warnings(Message(role="user", content=[part])) == []


@table(
    ("part", "told"),
    [
        (ImagePart(file_id="f"), "takes no image by file_id"),
        (FilePart(url="https://x/y.pdf"), "takes no file by url"),
        (ReasoningPart(text="hm"), "takes no reasoning part in a user message"),
        (ToolCall(id="c", name="f"), "takes no tool_call part in a user message"),
        (RefusalPart(refusal="no"), "takes no refusal part in a user message"),
    ],
)
def test_a_part_that_openai_has_no_words_for_is_refused(part: Part, told: str) -> None:
    with pytest.raises(UnsupportedError, match=told):
        written(part)


@table("part", [ImagePart(), ImagePart(data="AA=="), AudioPart(id="a"), AudioPart(data="AA=="), FilePart()])
def test_a_part_without_its_source_is_refused_with_its_place(part: Part) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\].content\[0\]") as caught:
        written(part)
    assert not isinstance(caught.value, UnsupportedError)


def test_a_document_of_text_is_sent_as_text() -> None:
    message = Message(role="user", content=[FilePart(text="all of it", context="from Ann", citations=True)])
    assert body(message)["messages"][0]["content"] == [
        {"type": "text", "text": "from Ann"},
        {"type": "text", "text": "all of it"},
    ]
    assert len(warnings(message)) == 3


def test_anothers_own_block_is_left_out_with_a_warning() -> None:
    block = OpaquePart(provider="anthropic", kind="search", data={})
    message = Message(role="user", content=[TextPart(text="x"), block])
    assert body(message)["messages"][0]["content"] == [{"type": "text", "text": "x"}]
    assert warnings(message) == ["messages[0].content[1]: anthropic's own block 'search' was left out"]


def test_an_answer_goes_back_in_the_fields_it_came_in() -> None:
    message = written(
        ReasoningPart(text="hm", provider="openai"),
        TextPart(text="a"),
        TextPart(text="b"),
        RefusalPart(refusal="no"),
        ToolCall(id="c0", name="f", arguments='{"x": 1}', signature="s", provider="gemini"),
        ToolCall(id="c1", name="g", arguments="free", kind="custom"),
        AudioPart(id="s", data="AA=="),
        role="assistant",
    )
    assert message == {
        "role": "assistant",
        "content": "ab",
        "refusal": "no",
        "tool_calls": [
            {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "c1", "type": "custom", "custom": {"name": "g", "input": "free"}},
        ],
        "audio": {"id": "s"},
    }


def test_an_answer_of_tool_calls_has_no_content() -> None:
    assert "content" not in written(ToolCall(id="c", name="f"), role="assistant")


def test_an_answer_of_nothing_has_empty_content() -> None:
    assert written(role="assistant") == {"role": "assistant", "content": ""}


def test_own_reasoning_is_left_out_and_anothers_with_a_warning() -> None:
    own, other = (
        ReasoningPart(text="a", provider="openai"),
        ReasoningPart(text="b", provider="anthropic", signature="s"),
    )
    assert warnings(Message(role="assistant", content=[own, TextPart(text="x")])) == []
    message = Message(role="assistant", content=[other, other, TextPart(text="x")])
    assert warnings(message) == ["messages[0]: reasoning of another provider was left out"]
    assert body(message)["messages"] == [{"role": "assistant", "content": "x"}]


def test_sound_without_an_id_goes_back_as_its_transcript() -> None:
    message = Message(role="assistant", content=[AudioPart(data="AA==", transcript="hi")])
    assert body(message)["messages"] == [{"role": "assistant", "content": "hi"}]
    assert warnings(message) == ["messages[0]: sound without an id was left out, its transcript sent"]


def test_an_answer_with_mute_sound_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="in an assistant message"):
        written(AudioPart(data="AA=="), role="assistant")


def test_a_picture_that_a_model_made_is_left_out() -> None:
    message = Message(role="assistant", content=[TextPart(text="x"), ImagePart(url="u")])
    assert body(message)["messages"] == [{"role": "assistant", "content": "x"}]
    assert warnings(message) == ["messages[0]: a picture was left out: openai takes none from a model"]


def test_a_call_without_an_id_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="has no id"):
        written(ToolCall(id="", name="f"), role="assistant")


def test_tool_results_name_their_call() -> None:
    messages = [
        Message(role="tool", tool_call_id="c", content="4"),
        Message(role="tool", tool_call_id="c", content=[TextPart(text="4")], name="f"),
        Message(role="tool", tool_call_id="c"),
    ]
    assert body(*messages)["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        {"role": "tool", "name": "f", "tool_call_id": "c", "content": [{"type": "text", "text": "4"}]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
    ]


def test_a_tool_result_without_its_call_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*tool_call_id"):
        build(chat(HELLO, Message(role="tool", content="4")))


def test_a_picture_in_a_tool_result_is_refused() -> None:
    message = Message(role="tool", tool_call_id="c", content=[TextPart(text="x"), ImagePart(url="u")])
    with pytest.raises(UnsupportedError) as caught:
        build(chat(message))
    assert caught.value.message == (
        "openai takes no image part in a tool message (messages[0].content[1]); put it into a user message"
    )


def test_a_failed_tools_flag_is_left_out_with_a_warning() -> None:
    assert len(warnings(Message(role="tool", tool_call_id="c", content="4", is_error=True))) == 1


@pytest.mark.parametrize("message", [Message(role="user"), Message(role="system", content=[])])
def test_a_message_without_content_is_refused(message: Message) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]: the \w+ message has no content"):
        build(chat(message))


def test_no_messages_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="messages: the list is empty"):
        build(ChatRequest(model="m", messages=[]))


# --- cache marks


MARKED = [
    Message(role="system", content="s", cache=CacheMark()),
    Message(role="user", content=[TextPart(text="a", cache=CacheMark(ttl="1h")), TextPart(text="b")]),
    Message(role="assistant", content=[ToolCall(id="c", name="f")], cache=CacheMark()),
]


def test_cache_marks_are_left_out_with_one_warning() -> None:
    (warning,) = warnings(*MARKED)
    assert "prompt_cache_options" in warning
    assert "breakpoint" not in json.dumps(body(*MARKED))
    assert body(*MARKED)["messages"][0] == {"role": "system", "content": "s"}


def test_cache_marks_are_sent_to_a_model_that_takes_them() -> None:
    extra = {"openai": {"prompt_cache_options": {"mode": "explicit"}}}
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    assert warnings(*MARKED, extra=extra) == [
        "the ttl of cache marks was left out: openai has no lifetimes of them",
        f"messages[{len(MARKED) - 1}]: cache was left out: the message has nothing that can be marked",
    ]
    assert body(*MARKED, extra=extra)["messages"][:2] == [
        {"role": "system", "content": [{"type": "text", "text": "s", **mark}]},
        {"role": "user", "content": [{"type": "text", "text": "a", **mark}, {"type": "text", "text": "b"}]},
    ]


# --- extra


def test_extra_is_merged_into_the_body_and_wins() -> None:
    schema = {"properties": {"a": 1}, "type": "object"}
    extra = {
        "openai": {
            "temperature": 1,
            "moderation": {"model": "m"},
            "response_format": {"json_schema": {"schema": {"z": 1, "type": None}}},
        },
        "anthropic": {"temperature": 0},
    }
    wanted = ResponseFormat(type="json_schema", name="n", schema=schema)
    sent = body(temperature=0.5, response_format=wanted, extra=extra)
    assert sent["temperature"] == 1
    assert sent["moderation"] == {"model": "m"}
    inner = sent["response_format"]["json_schema"]
    assert json.dumps(inner) == json.dumps({"name": "n", "schema": {"properties": {"a": 1}, "type": None, "z": 1}})
    assert schema == {"properties": {"a": 1}, "type": "object"}


def test_extra_goes_by_the_rows_name() -> None:
    request = chat(extra={"somehost": {"x": 1}, "openai": {"y": 2}})
    sent = json.loads(build(request, provider="somehost").request.body)
    assert sent["x"] == 1
    assert "y" not in sent


def test_streaming_is_not_said_in_extra() -> None:
    with pytest.raises(InvalidRequestError, match="stream"):
        build(chat(extra={"openai": {"stream": True}}))


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        build(chat(extra={"openai": {"x": value}}))


def test_a_server_may_know_the_limit_by_its_old_name() -> None:
    target = Target(provider="somehost", model="m")
    built = build_chat(chat(max_tokens=5), target, quirks=Quirks(max_tokens_field="max_tokens"))
    assert json.loads(built.request.body)["max_tokens"] == 5
    assert b"max_completion_tokens" not in built.request.body
