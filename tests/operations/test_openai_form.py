from __future__ import annotations

import copy
import json
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.openai_form import (
    chat_request_from_openai,
    option_fields,
    to_messages,
    to_response_format,
    to_stop,
    to_tool_choice,
    to_tools,
)
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
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from tests.table import table

HELLO = {"role": "user", "content": "hello"}


def unchecked(**fields: Any) -> Message:
    return Message(**fields)


def refusal(prompt: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        to_messages(prompt)
    return caught.value.message


def body_refusal(**body: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        chat_request_from_openai({"model": "m", "messages": [HELLO], **body})
    return caught.value.message


def only_part(part: Any, role: str = "user") -> Part:
    (message,) = to_messages({"role": role, "content": [part]})
    assert not isinstance(message.content, str)
    assert message.content is not None
    return message.content[0]


# --- prompts


def test_text_is_the_users_message() -> None:
    assert to_messages("hello") == [Message(role="user", content="hello")]


def test_system_comes_first() -> None:
    messages = to_messages([HELLO], system="be kind")
    assert messages == [Message(role="system", content="be kind"), Message(role="user", content="hello")]


@pytest.mark.parametrize("prompt", [HELLO, MappingProxyType(HELLO), Message(role="user", content="hello")])
def test_one_message_is_a_prompt(prompt: Any) -> None:
    assert to_messages(prompt) == [Message(role="user", content="hello")]
    assert to_messages((prompt,)) == [Message(role="user", content="hello")]


def test_messages_of_all_kinds_may_be_mixed() -> None:
    answer = AssistantMessage(parts=[TextPart(text="hi"), ToolCall(id="c", name="f", arguments="{}")])
    messages = to_messages([HELLO, answer, Message(role="tool", tool_call_id="c", content="4")])
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert messages[1].content == answer.parts


@table("role", ["system", "developer", "user", "assistant"])
def test_every_role_is_kept(role: str) -> None:
    assert to_messages([{"role": role, "content": "x"}])[0].role == role


def test_name_and_cache_mark_of_a_message_are_kept() -> None:
    form = {**HELLO, "name": "Ann", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert to_messages(form) == [Message(role="user", content="hello", name="Ann", cache=CacheMark(ttl="1h"))]


@pytest.mark.parametrize("prompt", ["", [], ()])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:
    assert "empty" in refusal(prompt)


@table(
    ("prompt", "told"),
    [
        (None, "messages: expected text, a message or a list of messages, got NoneType"),
        (b"hello", "messages: expected text, a message or a list of messages, got bytes"),
        (7, "messages: expected text, a message or a list of messages, got int"),
        (["hello"], 'messages[0]: a list holds messages, not bare text; write {"role": "user", "content": ...}'),
        ([HELLO, 7], "messages[1]: expected a Message or a dict, got int"),
        ([{"content": "x"}], "messages[0].role is missing; known: system, developer, user, assistant, tool"),
        (
            [{"role": "usr", "content": "x"}],
            "messages[0].role: unknown value 'usr'; known: system, developer, user, assistant, tool",
        ),
        ([{"role": "function", "content": "x"}], "messages[0].role: unknown value 'function'; known: system, "),
        ([{"role": ["user"], "content": "x"}], "messages[0].role: unknown value ['user']; known: "),
        ([{"role": "user"}], "messages[0]: content is missing; give text or a list of parts"),
        ([{"role": "user", "content": 5}], "messages[0].content: expected text or a list of parts, got int"),
        (
            [{"role": "tool", "tool_call_id": "c", "content": {"rain": True}}],
            "messages[0].content: a tool's result is text, not a dict; give json.dumps(...) of it",
        ),
        ([{**HELLO, "contnet": "x"}], "messages[0]: unknown key 'contnet'; did you mean 'content'?"),
        ([{**HELLO, 5: "x"}], "messages[0]: unknown key 5; known: role, content, name, cache_control"),
        ([{**HELLO, "name": 5}], "messages[0].name: expected `str`, got `int`"),
        ([{**HELLO, "tool_calls": []}], "messages[0]: unknown key 'tool_calls'; known: "),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]: expected an object (a dict), got str"),
        (
            [{"role": "user", "content": [{"text": "x"}]}],
            "messages[0].content[0].type is missing; known: text, image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            "messages[0].content[0].type: unknown value 'image'; known: text, image_url, input_audio, video_url, file",
        ),
        ([unchecked(role="usr", content="x")], "messages[0].role: unknown value 'usr'"),
        ([unchecked(role="user", content=5)], "messages[0].content: expected text or a list"),
        ([unchecked(role="user", content=["x"])], "messages[0].content[0]: expected a part"),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(prompt: Any, told: str) -> None:
    assert refusal(prompt).startswith(told)


def test_foreign_objects_are_told_how_to_be_given() -> None:
    class Foreign:
        def model_dump(self) -> dict[str, Any]:
            return dict(HELLO)

    assert "model_dump()" in refusal([Foreign()])
    assert "give its .message" in refusal([HELLO, ChatResponse(model="m", choices=[])])


# --- parts


@table(
    ("form", "part"),
    [
        ({"type": "text", "text": "x"}, TextPart(text="x")),
        (
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
            TextPart(text="x", cache=CacheMark()),
        ),
        (
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            TextPart(text="x", cache=CacheMark()),
        ),
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, ImagePart(url="https://x/y.png")),
        ({"type": "image_url", "image_url": "https://x/y.png"}, ImagePart(url="https://x/y.png")),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ImagePart(data="AA==", media_type="image/png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;x=y;base64,AA=="}},
            ImagePart(url="data:image/png;x=y;base64,AA=="),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            AudioPart(data="AA==", format="wav"),
        ),
        ({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}, VideoPart(url="https://x/y.mp4")),
        (
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA=="}, "cache_control": {"ttl": "1h"}},
            VideoPart(data="AA==", media_type="video/mp4", cache=CacheMark(ttl="1h")),
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, FilePart(file_id="f1")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            FilePart(data="AA==", media_type="application/pdf", filename="a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "AA=="}}, FilePart(data="AA==")),
        ({"type": "file", "file": {"file_data": "https://x/y.pdf"}}, FilePart(url="https://x/y.pdf")),
        (TextPart(text="x"), TextPart(text="x")),
    ],
)
def test_parts_are_read(form: Any, part: Part) -> None:
    assert only_part(form) == part


@table(
    ("form", "told"),
    [
        ({"type": "text"}, ".text: expected text, got NoneType"),
        ({"type": "text", "txt": "x"}, ": unknown key 'txt'; did you mean 'text'"),
        ({"type": "image_url", "image_url": {}}, ".image_url: url is missing"),
        ({"type": "image_url"}, ".image_url: expected an object (a dict), got NoneType"),
        ({"type": "image_url", "image_url": {"url": 5}}, ".image_url.url: expected text, got int"),
        ({"type": "input_audio", "input_audio": {"data": "AA=="}}, ".input_audio: format is missing"),
        ({"type": "file", "file": {"filename": "x"}}, ".file: give file_data (a data: URL in base64) or file_id"),
        ({"type": "video_url", "video_url": {"url": ""}}, ".video_url: url is missing"),
        ({"type": "video_url", "video_url": {"uri": "x"}}, ".video_url: unknown key 'uri'; did you mean 'url'"),
        ({"type": "refusal"}, ": refusal is missing"),
        ({"type": "text", "text": "x", "cache_control": {"type": "forever"}}, ".cache_control.type: unknown value"),
        (
            {"type": "text", "text": "x", "cache_control": {"ttl": "2d"}},
            ".cache_control.ttl: unknown value '2d'; known: 5m, 1h",
        ),
    ],
)
def test_a_part_that_is_wrong_is_refused_with_its_place(form: Any, told: str) -> None:
    assert refusal({"role": "user", "content": [form]}).startswith(f"messages[0].content[0]{told}")


# --- assistant and tool messages


def test_an_answer_keeps_its_parts_in_order() -> None:
    (message,) = to_messages(
        {
            "role": "assistant",
            "content": "text",
            "refusal": "no",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b":1, "a":2}'}},
                {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "free"}},
            ],
            "audio": {"id": "a1"},
        }
    )
    assert message.content == [
        ReasoningPart(text="hm"),
        TextPart(text="text"),
        RefusalPart(refusal="no"),
        ToolCall(id="c1", name="f", arguments='{"b":1, "a":2}'),
        ToolCall(id="c2", name="g", arguments="free", kind="custom"),
        AudioPart(id="a1"),
    ]


def test_an_answer_of_text_alone_stays_text() -> None:
    form = {
        "role": "assistant",
        "content": "x",
        "refusal": None,
        "annotations": [],
        "function_call": None,
        "audio": None,
    }
    assert to_messages(form) == [Message(role="assistant", content="x")]


def test_an_empty_answer_is_kept() -> None:
    assert to_messages({"role": "assistant", "content": ""}) == [Message(role="assistant", content="")]


def test_empty_text_beside_tool_calls_is_no_part() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    (message,) = to_messages({"role": "assistant", "content": "", "tool_calls": [call]})
    assert message.content == [ToolCall(id="c", name="f")]


def test_our_own_parts_and_calls_may_stand_in_dicts_and_messages() -> None:
    call = ToolCall(id="c", name="f")
    assert to_messages({"role": "assistant", "tool_calls": [call]}) == [Message(role="assistant", content=[call])]
    message = Message(role="user", content=[TextPart(text="x"), ImagePart(url="u")])
    assert to_messages([message])[0] is message


def test_citations_of_an_answer_are_kept() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}}
    (message,) = to_messages({"role": "assistant", "content": "text", "annotations": [note, {"type": "other"}]})
    assert message.content == [TextPart(text="text", citations=[Citation(url="u", title="t", start=1, end=2)])]


def test_arguments_that_were_decoded_are_written_again() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": {"b": 1, "a": [2]}}}
    (message,) = to_messages({"role": "assistant", "tool_calls": [call]})
    assert message.tool_calls[0].arguments == '{"b":1,"a":[2]}'


def test_our_own_form_of_an_answer_can_be_read_back() -> None:
    answer = AssistantMessage(
        parts=[ReasoningPart(text="hm"), TextPart(text="x"), ToolCall(id="c", name="f", arguments="{}")]
    )
    (message,) = to_messages(answer.to_dict())
    assert message.content == answer.parts


@table(
    ("form", "told"),
    [
        ({}, ": an assistant message needs content, tool_calls, a refusal or audio"),
        ({"function_call": {"name": "f"}}, ": function_call is the old form"),
        ({"tool_calls": {}}, ".tool_calls: expected a list, got dict"),
        ({"tool_calls": [{"function": {"name": "f"}}]}, ".tool_calls[0]: id is missing"),
        ({"tool_calls": [{"id": "c"}]}, ".tool_calls[0].function: expected an object (a dict), got NoneType"),
        ({"tool_calls": [{"id": "c", "function": {}}]}, ".tool_calls[0].function: name is missing"),
        (
            {"tool_calls": [{"id": "c", "type": "web"}]},
            ".tool_calls[0].type: unknown value 'web'; known: function, custom",
        ),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": 5}}]},
            ".tool_calls[0].function.arguments: expected an object (a dict), got int",
        ),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"x": object()}}}]},
            ".tool_calls[0].function.arguments: cannot be written as JSON",
        ),
        ({"content": "x", "audio": {}}, ".audio: id is missing"),
        ({"content": "x", "annotations": [5]}, ".annotations[0]: expected an object (a dict), got int"),
        ({"content": "x", "reasoning_content": 5}, ".reasoning_content: expected `str`, got `int`"),
        ({"content": "x", "thinking": "y"}, ": unknown key 'thinking'; "),
    ],
)
def test_an_answer_that_is_wrong_is_refused_with_its_place(form: Any, told: str) -> None:
    assert refusal({"role": "assistant", **form}).startswith(f"messages[0]{told}")


def test_a_tool_result_is_read() -> None:
    form = {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "4"}], "is_error": True}
    expected = Message(role="tool", tool_call_id="c", content=[TextPart(text="4")], is_error=True)
    assert to_messages(form) == [expected]


def test_a_tool_result_without_its_call_is_refused() -> None:
    assert "tool_call_id is missing" in refusal([HELLO, {"role": "tool", "content": "4"}])


# --- tools and choices


SCHEMA = {"type": "object", "required": ["b", "a"], "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}


def test_a_function_is_read_with_its_schema_as_it_is() -> None:
    function = {"name": "f", "description": "", "parameters": SCHEMA, "strict": True}
    tools = to_tools([{"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}])
    assert tools == [Tool(name="f", description="", parameters=SCHEMA, strict=True, cache=CacheMark())]
    assert tools is not None
    assert isinstance(tools[0], Tool)
    assert json.dumps(tools[0].parameters) == json.dumps(SCHEMA)


def test_a_custom_tool_is_read() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    tools = to_tools([{"type": "custom", "custom": {"name": "f", "description": "d", "format": grammar}}])
    assert tools == [Tool(kind="custom", name="f", description="d", format=grammar)]


def test_a_tool_of_another_type_is_the_providers_own() -> None:
    assert to_tools([{"type": "web_search", "depth": 3}]) == [
        ProviderTool(definition={"type": "web_search", "depth": 3})
    ]


def test_tools_of_ours_are_taken_as_they_are() -> None:
    given = [Tool(name="f"), ProviderTool(definition={"type": "x"})]
    assert to_tools(given) == given


def test_no_tools_stay_none() -> None:
    assert to_tools(None) is None
    assert to_tools([]) == []


@table(
    ("tools", "told"),
    [
        ({"type": "function"}, "tools: expected a list of tools, got dict"),
        ([5], "tools[0]: expected a Tool or a dict, got int"),
        ([print], "tools[0]: expected a Tool or a dict, got builtin_function_or_method; describe it with Tool("),
        ([{"name": "f", "parameters": {}}], 'tools[0]: type is missing; write {"type": "function", '),
        ([{"type": "fucntion"}], "tools[0].type: unknown value 'fucntion'; known: function, custom"),
        ([{"type": "function", "function": {}}], "tools[0].function: name is missing"),
        (
            [{"type": "function", "function": {"name": "f", "params": {}}}],
            "tools[0].function: unknown key 'params'; did",
        ),
        (
            [{"type": "function", "function": {"name": "f", "parameters": []}}],
            "tools[0].function.parameters: expected an",
        ),
        (
            [{"type": "function", "function": {"name": "f", "strict": "yes"}}],
            "tools[0].function.strict: expected `bool`",
        ),
        ([{"type": "custom", "custom": {"name": 5}}], "tools[0].custom.name: expected text, got int"),
    ],
)
def test_a_tool_that_is_wrong_is_refused_with_its_place(tools: Any, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_tools(tools)
    assert caught.value.message.startswith(told)


@table(
    ("form", "choice"),
    [
        (None, None),
        ("auto", ToolChoice(mode="auto")),
        ("none", ToolChoice(mode="none")),
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(mode="tool", name="f")),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice(mode="tool", name="f")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice(mode="required", allowed=["f"]),
        ),
        (ToolChoice(mode="none"), ToolChoice(mode="none")),
    ],
)
def test_tool_choices_are_read(form: Any, choice: ToolChoice | None) -> None:
    assert to_tool_choice(form) == choice


@table(
    ("form", "told"),
    [
        ("any", "tool_choice: unknown value 'any'; known: auto, none, required"),
        (5, 'tool_choice: expected "auto"'),
        ({"type": "tool", "name": "f"}, "tool_choice.type: unknown value 'tool'"),
        ({"type": "function"}, "tool_choice.function: expected an object"),
        ({"type": "function", "name": "f"}, "tool_choice: unknown key 'name'"),
        ({"type": "allowed_tools", "allowed_tools": {"tools": []}}, "tool_choice.allowed_tools.mode is missing"),
    ],
)
def test_a_tool_choice_that_is_wrong_is_refused(form: Any, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_tool_choice(form)
    assert caught.value.message.startswith(told)


def test_response_formats_are_read() -> None:
    assert to_response_format(None) is None
    assert to_response_format({"type": "text"}) == ResponseFormat()
    assert to_response_format({"type": "json_object"}) == ResponseFormat(type="json_object")
    inner = {"name": "n", "schema": SCHEMA, "description": "d", "strict": False}
    read = to_response_format({"type": "json_schema", "json_schema": inner})
    assert read == ResponseFormat(type="json_schema", name="n", schema=SCHEMA, description="d", strict=False)
    assert read is not None
    assert json.dumps(read.schema) == json.dumps(SCHEMA)
    assert to_response_format(read) is read


@table(
    ("form", "told"),
    [
        ("json", "response_format: expected an object (a dict), got str"),
        (dict, "response_format: dict is a type; give it as output="),
        ({"type": "json"}, "response_format.type: unknown value 'json'; known: text, json_object, json_schema"),
        ({"type": "json_schema", "schema": {}}, "response_format: unknown key 'schema'; did you mean 'json_schema'?"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema: name is missing"),
    ],
)
def test_a_response_format_that_is_wrong_is_refused(form: Any, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_response_format(form)
    assert caught.value.message.startswith(told)


def test_stop_is_one_or_many() -> None:
    assert to_stop(None) is None
    assert to_stop("END") == ["END"]
    assert to_stop(("a", "b")) == ["a", "b"]
    numbers: Any = [5]
    with pytest.raises(InvalidRequestError, match=r"^stop\[0\]: "):
        to_stop(numbers)


# --- the whole body


def test_every_option_of_openai_is_understood() -> None:
    body = {
        "model": "gpt",
        "messages": [HELLO],
        "audio": {"voice": "alloy", "format": "wav"},
        "frequency_penalty": 1,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "max_completion_tokens": 9,
        "metadata": {"a": "b"},
        "modalities": ["text", "audio"],
        "n": 2,
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "same"},
        "presence_penalty": 0.5,
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "safety_identifier": "s",
        "seed": 7,
        "service_tier": "flex",
        "stop": "END",
        "store": True,
        "stream": True,
        "stream_options": {"include_usage": False},
        "temperature": 1,
        "tool_choice": "auto",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "top_logprobs": 3,
        "top_p": 0.1,
        "user": "u",
        "verbosity": "low",
        "web_search_options": {
            "search_context_size": "high",
            "user_location": {"type": "approximate", "approximate": {"country": "FR"}},
        },
        "moderation": {"model": "omni"},
    }
    assert chat_request_from_openai(body) == ChatRequest(
        model="gpt",
        messages=[Message(role="user", content="hello")],
        audio=AudioOutput(voice="alloy", format="wav"),
        frequency_penalty=1.0,
        logit_bias={"50256": -100.0},
        logprobs=True,
        max_tokens=9,
        metadata={"a": "b"},
        modalities=["text", "audio"],
        n=2,
        parallel_tool_calls=False,
        prediction=Prediction(content="same"),
        presence_penalty=0.5,
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        reasoning=Reasoning(effort="low"),
        response_format=ResponseFormat(type="json_object"),
        safety_identifier="s",
        seed=7,
        service_tier="flex",
        stop=["END"],
        store=True,
        stream_options=StreamOptions(include_usage=False),
        temperature=1.0,
        tool_choice=ToolChoice(mode="auto"),
        tools=[Tool(name="f")],
        top_logprobs=3,
        top_p=0.1,
        user="u",
        verbosity="low",
        web_search=WebSearch(context_size="high", user_location=UserLocation(country="FR")),
        extra={"openai": {"moderation": {"model": "omni"}}},
    )


def test_what_other_gateways_have_is_understood() -> None:
    request = chat_request_from_openai(
        {"model": "m", "messages": "hello", "top_k": 5, "reasoning": {"effort": "high", "max_tokens": 100}}
    )
    assert request.top_k == 5
    assert request.reasoning == Reasoning(effort="high", max_tokens=100)


def test_effort_goes_beside_the_rest_of_reasoning() -> None:
    fields = option_fields({"reasoning": {"max_tokens": 100}, "reasoning_effort": "low"})
    assert fields == {"reasoning": Reasoning(effort="low", max_tokens=100)}


def test_prediction_may_be_text_parts() -> None:
    fields = option_fields({"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}})
    assert fields == {"prediction": Prediction(content=[TextPart(text="x")])}


def test_the_old_name_of_the_limit_is_understood() -> None:
    assert option_fields({"max_tokens": 5}) == {"max_tokens": 5}
    assert option_fields({"max_tokens": 5, "max_completion_tokens": 5}) == {"max_tokens": 5}


def test_what_is_not_given_is_left_out() -> None:
    assert option_fields({"temperature": None, "tools": None, "stop": None, "reasoning": None}) == {}


def test_options_in_our_own_types_are_taken_as_they_are() -> None:
    audio = AudioOutput(voice="v", format="wav")
    assert option_fields({"audio": audio, "stream_options": StreamOptions()}) == {
        "audio": audio,
        "stream_options": StreamOptions(),
    }


@table(
    ("body", "told"),
    [
        ({"temprature": 1}, "unknown key 'temprature'; did you mean 'temperature'?"),
        ({"extra_body": {}}, "unknown key 'extra_body'; "),
        ({"temperature": "hot"}, "temperature: expected `float`, got `str`"),
        ({"logit_bias": {"a": "b"}}, "logit_bias[...]: expected `float`, got `str`"),
        ({"n": 1.5}, "n: expected `int`, got `float`"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens is the old name of max_completion_tokens"),
        ({"verbosity": "loud"}, "verbosity: unknown value 'loud'; known: low, medium, high"),
        ({"audio": {"voice": "v"}}, "audio: object missing required field `format`"),
        ({"audio": {"voice": "v", "format": "wav", "speed": 2}}, "audio: unknown key 'speed'; known: voice, format"),
        ({"stream_options": True}, "stream_options: expected an object (a dict), got bool"),
        ({"prediction": {"type": "x", "content": "y"}}, "prediction.type: unknown value 'x'"),
        (
            {"prediction": {"content": [{"type": "refusal", "refusal": "x"}]}},
            "prediction.content: a prediction holds text parts only",
        ),
        ({"web_search_options": {"depth": 1}}, "web_search_options: unknown key 'depth'"),
        ({"web_search_options": {"search_context_size": "x"}}, "web_search_options.search_context_size: unknown value"),
        (
            {"web_search_options": {"user_location": {"type": "approximate"}}},
            "web_search_options.user_location.approximate: expected an object",
        ),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "low"}, "give reasoning_effort or reasoning.effort"),
        ({"messages": None}, "messages is missing"),
        ({"model": None}, "model is missing"),
        ({"model": 5}, "model: expected text, got int"),
    ],
)
def test_a_body_that_is_wrong_is_refused(body: dict[str, Any], told: str) -> None:
    assert body_refusal(**body).startswith(told)


def test_what_is_no_body_is_refused() -> None:
    body: Any = []
    with pytest.raises(InvalidRequestError, match=r"the request: expected an object \(a dict\), got list"):
        chat_request_from_openai(body)


def test_nothing_that_was_handed_in_is_changed() -> None:
    body = {
        "model": "m",
        "messages": [HELLO, {"role": "assistant", "content": "x", "tool_calls": None}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "logit_bias": {"1": 2},
    }
    before = copy.deepcopy(body)
    request = chat_request_from_openai(body)
    assert body == before
    assert request.tools is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
message_keys = st.sampled_from(
    ["role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "annotations"]
)
words = st.sampled_from(["user", "assistant", "tool", "text", "image_url", "function", "x"])


@given(
    st.dictionaries(message_keys, words | json_values | st.lists(st.dictionaries(st.just("type"), words)), max_size=5)
)
def test_any_message_is_read_or_refused(form: dict[str, Any]) -> None:
    with suppress(InvalidRequestError):
        assert len(to_messages([form])) == 1


option_keys = st.sampled_from(
    ["tools", "tool_choice", "response_format", "stop", "audio", "prediction", "web_search_options", "reasoning", "n"]
)


@given(st.dictionaries(option_keys, json_values, max_size=4))
def test_any_options_are_read_or_refused(options: dict[str, Any]) -> None:
    with suppress(InvalidRequestError):
        assert isinstance(option_fields(options), dict)
