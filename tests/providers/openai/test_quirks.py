from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from bifrost.errors import ConfigError, InvalidRequestError, UnsupportedError
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    WebSearch,
)
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.base import Built, Target
from bifrost.providers.openai import OPENAI_ALONE, Quirks, build_chat, build_embeddings
from bifrost.providers.openai.fields import LACKS
from tests.table import table

HELLO = Message(role="user", content="hello")
F, G = Tool(name="f", parameters={"type": "object"}), Tool(name="g", parameters={"type": "object"})


def build(quirks: Quirks, *messages: Message, stream: bool = False, **options: Any) -> Built:
    request = ChatRequest(model="asked", messages=list(messages or (HELLO,)), **options)
    return build_chat(request, Target(provider="somehost", model="m", stream=stream), quirks=quirks)


def body(quirks: Quirks, *messages: Message, stream: bool = False, **options: Any) -> dict[str, Any]:
    sent = json.loads(build(quirks, *messages, stream=stream, **options).request.body)
    return {name: value for name, value in sent.items() if name not in {"model", "messages"}}


def warnings(quirks: Quirks, *messages: Message, **options: Any) -> list[str]:
    return build(quirks, *messages, **options).warnings


def written(quirks: Quirks, *parts: Part, role: Any = "assistant") -> dict[str, Any]:
    sent = json.loads(build(quirks, Message(role=role, content=list(parts))).request.body)
    (message,) = sent["messages"]
    return {name: value for name, value in message.items() if name != "role"}


def lacking(*names: str) -> Quirks:
    return Quirks(lacks=frozenset(names))


KNOBS = {name for name, fields in LACKS.items() if all("was left out" in field.words for field in fields.values())}
NEEDS = {name: field.words for name, fields in LACKS.items() for field in list(fields.values())[:1] if field.is_refused}


def test_nothing_is_both_a_knob_and_a_need() -> None:
    assert not KNOBS & NEEDS.keys()
    assert LACKS.keys() - KNOBS - NEEDS.keys() == {"refusals", "named_tool", "allowed_tools"}
    assert LACKS.keys() >= OPENAI_ALONE


def test_a_lack_that_has_no_such_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is called tempreature"):
        lacking("tempreature", "n")


def test_quirks_are_equal_by_what_they_say() -> None:
    assert Quirks(lacks=frozenset(["n"])) == attrs.evolve(Quirks(), lacks=frozenset(["n"]))
    changed = attrs.evolve(Quirks(), lacks=frozenset(["n"])).chat
    assert (changed["n"].support, changed["top_k"].support) == ("unsupported", "unsupported")
    assert "n" not in dict(changed.plain)


# --- options

ASKED: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "seed": {"seed": 5},
    "logit_bias": {"logit_bias": {"5": 5.0}},
    "user": {"user": "u5"},
    "safety_identifier": {"safety_identifier": "u5"},
    "metadata": {"metadata": {"a": "5"}},
    "store": {"store": True},
    "service_tier": {"service_tier": "tier5"},
    "verbosity": {"verbosity": "low"},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "prompt_cache_key": {"prompt_cache_key": "5"},
    "prompt_cache_retention": {"prompt_cache_retention": "5m"},
    "prediction": {"prediction": Prediction(content="5")},
    "reasoning": {"reasoning": Reasoning(effort="low")},
}


@table("name", sorted(KNOBS - {"include_obfuscation", "names", "refusals"}))
def test_a_knob_that_is_lacking_is_left_out_with_a_warning(name: str) -> None:
    assert body(lacking(name), **ASKED[name]) == {}
    assert warnings(lacking(name), **ASKED[name]) == [f"{name} was left out: somehost has no such option"]
    assert warnings(Quirks(), **ASKED[name]) == []
    assert warnings(lacking(name)) == []


NEEDED: dict[str, dict[str, Any]] = {
    "tools": {"tools": [F]},
    "custom_tools": {"tools": [Tool(name="f", kind="custom")]},
    "tool_choice": {"tools": [F], "tool_choice": ToolChoice(mode="required")},
    "json_object": {"response_format": ResponseFormat(type="json_object")},
    "json_schema": {"response_format": ResponseFormat(type="json_schema", schema={})},
    "stop": {"stop": ["x"]},
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"top_logprobs": 3},
    "modalities": {"modalities": ["text", "audio"]},
    "web_search": {"web_search": WebSearch()},
}


@table("name", sorted(NEEDS.keys() - {"images", "sounds", "files"}))
def test_a_need_that_is_lacking_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build(lacking(name), **NEEDED[name])
    place = " (tools[0])" if name == "custom_tools" else ""
    assert caught.value.message == f"somehost {NEEDS[name].replace('; ', f'{place}; ')}"
    assert caught.value.param in {path.partition("=")[0] for path in LACKS[name]}
    assert (caught.value.provider, caught.value.model) == ("somehost", "m")
    build(Quirks(), **NEEDED[name])
    build(lacking(name))


@pytest.mark.parametrize(
    ("feature", "part", "place"),
    [
        ("images", ImagePart(url="https://a.example/b.png"), "takes no images (messages[0].content[0])"),
        ("sounds", AudioPart(data="AA==", format="wav"), "takes no sound (messages[0].content[0])"),
        ("files", FilePart(data="AA==", media_type="application/pdf"), "takes no files (messages[0].content[0])"),
    ],
)
def test_a_part_that_is_lacking_is_refused_with_its_place(feature: str, part: Part, place: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build(lacking(feature), Message(role="user", content=[part]))
    assert caught.value.message.startswith(f"somehost {place}; ")
    build(Quirks(), Message(role="user", content=[part]))


def test_a_document_given_as_text_needs_no_files() -> None:
    assert written(lacking("files"), FilePart(text="x"), role="user") == {"content": [{"type": "text", "text": "x"}]}


@table("options", [{"n": 1}, {"logprobs": False}, {"top_logprobs": 0}, {"modalities": ["text"]}], ids=str)
def test_what_asks_for_nothing_is_no_need(options: dict[str, Any]) -> None:
    (name,) = options
    assert body(lacking(name), **options) == {}
    assert warnings(lacking(name), **options) == []


def test_sound_is_refused_where_answers_are_text_only() -> None:
    with pytest.raises(UnsupportedError, match="answers in text only"):
        build(lacking("modalities"), audio=AudioOutput(voice="v", format="wav"))


def test_options_have_the_servers_names() -> None:
    quirks = Quirks(max_tokens_field="max_tokens", renames={"seed": "random_seed"}, top_k=True)
    assert body(quirks, max_tokens=5, seed=6, top_k=7) == {"max_tokens": 5, "random_seed": 6, "top_k": 7}
    assert warnings(quirks, top_k=7) == []


@table(
    ("options", "wire"),
    [
        ({"logprobs": True}, {"logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}),
        ({"logprobs": False, "top_logprobs": 5}, {}),
        ({"top_logprobs": 5}, {"logprobs": 5}),
        ({"top_logprobs": 0}, {}),
        ({}, {}),
    ],
)
def test_logprobs_are_counted(options: dict[str, Any], wire: dict[str, Any]) -> None:
    assert body(Quirks(logprobs_are_counted=True), **options) == wire


def test_a_prediction_is_text() -> None:
    prediction = Prediction(content=[TextPart(text="a"), TextPart(text="b")])
    sent = body(Quirks(prediction_is_text=True), prediction=prediction)
    assert sent == {"prediction": {"type": "content", "content": "ab"}}


def test_usage_that_comes_unasked_is_not_asked_for() -> None:
    assert body(Quirks(usage_comes_unasked=True), stream=True) == {"stream": True}


def test_obfuscation_that_is_not_known_is_left_out_with_a_warning() -> None:
    built = build(lacking("include_obfuscation"), stream=True, stream_options=StreamOptions(include_obfuscation=False))
    assert json.loads(built.request.body)["stream_options"] == {"include_usage": True}
    assert built.warnings == ["stream_options.include_obfuscation was left out: somehost has no such option"]


@table(
    ("style", "reasoning", "wire"),
    [
        ("thinking", Reasoning(effort="high"), {"reasoning_effort": "high"}),
        ("thinking", Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        ("thinking", Reasoning(enabled=False), {"thinking": {"type": "disabled"}}),
        ("thinking", Reasoning(enabled=True), {"thinking": {"type": "enabled"}}),
        (
            "thinking",
            Reasoning(effort="max", enabled=True),
            {"reasoning_effort": "max", "thinking": {"type": "enabled"}},
        ),
        ("switch", Reasoning(effort="low"), {"reasoning_effort": "low"}),
        ("switch", Reasoning(enabled=False), {"reasoning": {"enabled": False}}),
        ("switch", Reasoning(effort="low", enabled=True), {"reasoning_effort": "low", "reasoning": {"enabled": True}}),
        ("object", Reasoning(effort="none"), {"reasoning": {"effort": "none"}}),
        ("object", Reasoning(max_tokens=5), {"reasoning": {"max_tokens": 5}}),
        ("object", Reasoning(enabled=True, display="omitted"), {"reasoning": {"enabled": True, "exclude": True}}),
        ("object", Reasoning(), {}),
    ],
)
def test_reasoning_is_asked_for_in_the_servers_words(style: Any, reasoning: Reasoning, wire: dict[str, Any]) -> None:
    assert body(Quirks(reasoning=style), reasoning=reasoning) == wire
    assert warnings(Quirks(reasoning=style), reasoning=reasoning) == []


@pytest.mark.parametrize(
    ("style", "reasoning", "warning"),
    [
        ("thinking", Reasoning(max_tokens=5), "max_tokens was left out: somehost takes an effort, not a budget"),
        ("object", Reasoning(display="summarized"), "display was left out: somehost has no such option"),
        ("switch", Reasoning(display="omitted"), "display was left out: somehost has no such option"),
    ],
)
def test_reasoning_that_cannot_be_said_is_left_out_with_a_warning(
    style: Any, reasoning: Reasoning, warning: str
) -> None:
    assert warnings(Quirks(reasoning=style), reasoning=reasoning) == [f"reasoning.{warning}"]


# --- tools


def test_parameters_that_are_needed_are_there() -> None:
    sent = body(Quirks(parameters_are_needed=True), tools=[Tool(name="f"), G])["tools"]
    assert [tool["function"]["parameters"] for tool in sent] == [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {}},
    ]


RULED_OUT = (
    "the tools that tool_choice rules out were left out of the request: somehost cannot choose among them by name"
)


def names_of(sent: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in sent.get("tools", [])]


def test_allowed_tools_that_cannot_be_named_stand_alone() -> None:
    choice = ToolChoice(mode="required", allowed=["g"])
    tools = [F, G, ProviderTool(definition={"type": "search"})]
    sent = body(lacking("allowed_tools"), tools=tools, tool_choice=choice)
    assert (names_of(sent), sent["tool_choice"]) == (["g"], "required")
    assert warnings(lacking("allowed_tools"), tools=tools, tool_choice=choice) == [RULED_OUT]
    assert warnings(lacking("allowed_tools"), tools=[G], tool_choice=choice) == []


def test_a_tool_that_cannot_be_named_stands_alone() -> None:
    choice = ToolChoice(mode="tool", name="f")
    sent = body(lacking("named_tool"), tools=[F, G], tool_choice=choice)
    assert (names_of(sent), sent["tool_choice"]) == (["f"], "required")
    assert warnings(lacking("named_tool"), tools=[F, G], tool_choice=choice) == [RULED_OUT]


@pytest.mark.parametrize(
    "choice", [ToolChoice(mode="tool", name="missing"), ToolChoice(allowed=["missing", "gone"])], ids=str
)
def test_a_choice_of_a_tool_that_is_not_there_is_refused(choice: ToolChoice) -> None:
    with pytest.raises(InvalidRequestError, match="which tools does not have"):
        build(lacking("named_tool", "allowed_tools"), tools=[F], tool_choice=choice)


def test_where_nothing_can_be_chosen_auto_is_what_happens_anyway() -> None:
    sent = body(lacking("tool_choice"), tools=[F], tool_choice=ToolChoice())
    assert (names_of(sent), "tool_choice" in sent) == (["f"], False)
    assert warnings(lacking("tool_choice"), tools=[F], tool_choice=ToolChoice()) == []


def test_where_nothing_can_be_chosen_none_leaves_the_tools_out() -> None:
    none = ToolChoice(mode="none")
    assert body(lacking("tool_choice"), tools=[F], tool_choice=none) == {}
    assert warnings(lacking("tool_choice"), tools=[F], tool_choice=none) == [
        "the tools were left out: somehost cannot be told to call none"
    ]
    assert warnings(lacking("tool_choice"), tool_choice=none) == []


def test_an_empty_list_of_tools_is_none() -> None:
    assert body(Quirks(), tools=[]) == {}
    assert body(lacking("tools"), tools=[]) == {}


# --- messages


def test_a_developer_is_called_what_the_server_knows() -> None:
    sent = json.loads(build(Quirks(developer_role="system"), Message(role="developer", content="d")).request.body)
    assert sent["messages"] == [{"role": "system", "content": "d"}]


def test_names_that_are_not_known_are_left_out_with_a_warning() -> None:
    built = build(lacking("names"), Message(role="user", content="u", name="Ann"))
    assert json.loads(built.request.body)["messages"] == [{"role": "user", "content": "u"}]
    assert built.warnings == ["messages[0]: name was left out: somehost has no names of participants"]


def test_refusals_that_have_no_field_are_sent_as_text() -> None:
    message = Message(role="assistant", content=[RefusalPart(refusal="No.")])
    assert written(lacking("refusals"), *message.parts) == {"content": "No."}
    assert warnings(lacking("refusals"), message) == ["messages[0]: a refusal was sent as text"]


def test_spoken_answers_are_sent_as_text_where_there_is_no_sound() -> None:
    message = Message(role="assistant", content=[AudioPart(id="a", transcript="hi")])
    assert written(lacking("modalities"), *message.parts) == {"content": "hi"}
    assert warnings(lacking("modalities"), message) == ["messages[0]: sound was left out, its transcript sent"]
    with pytest.raises(UnsupportedError, match="audio part"):
        build(lacking("modalities"), Message(role="assistant", content=[AudioPart(id="a")]))


CALL = ToolCall(id="c", name="f", arguments="{}")
WIRE_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THOUGHTS = (ReasoningPart(text="a", provider="somehost"), ReasoningPart(text="b"))


@table(
    ("field", "parts", "wire"),
    [
        (None, [*THOUGHTS, TextPart(text="t")], {"content": "t"}),
        ("reasoning_content", [*THOUGHTS, TextPart(text="t")], {"content": "t", "reasoning_content": "ab"}),
        ("reasoning", [*THOUGHTS, CALL], {"reasoning": "ab", "tool_calls": [WIRE_CALL]}),
        ("reasoning_details", [*THOUGHTS, TextPart(text="t")], {"content": "t", "reasoning": "ab"}),
        (
            "reasoning_details",
            [ReasoningPart(text="ab", signature='[{"type":"x","b":1,"a":2}]\n[{"type":"y"}]\n', provider="somehost")],
            {"content": "", "reasoning_details": [{"type": "x", "b": 1, "a": 2}, {"type": "y"}]},
        ),
        (
            "thinking",
            [*THOUGHTS, TextPart(text="t")],
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                    {"type": "text", "text": "t"},
                ]
            },
        ),
        (
            "thinking",
            [ReasoningPart(text="a"), CALL],
            {
                "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}],
                "tool_calls": [WIRE_CALL],
            },
        ),
        ("reasoning_content", [TextPart(text="t")], {"content": "t"}),
    ],
)
def test_reasoning_goes_back_to_where_it_came_from(field: Any, parts: list[Part], wire: dict[str, Any]) -> None:
    assert written(Quirks(reasoning_field=field), *parts) == wire


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning_details", "thinking"])
def test_reasoning_of_another_provider_is_left_out_with_a_warning(field: Any) -> None:
    message = Message(role="assistant", content=[ReasoningPart(text="a", provider="other"), TextPart(text="t")])
    assert written(Quirks(reasoning_field=field), *message.parts) == {"content": "t"}
    assert warnings(Quirks(reasoning_field=field), message) == [
        "messages[0]: reasoning of another provider was left out"
    ]


def test_calls_that_need_reasoning_have_it_even_if_there_was_none() -> None:
    quirks = Quirks(reasoning_field="reasoning_content", calls_need_reasoning=True)
    assert written(quirks, CALL) == {"tool_calls": [WIRE_CALL], "reasoning_content": ""}
    assert written(quirks, TextPart(text="t")) == {"content": "t"}


CACHED = Message(role="user", content=[TextPart(text="a", cache=CacheMark(ttl="1h")), TextPart(text="b")])


def test_cache_marks_are_written_as_the_server_has_them() -> None:
    quirks = Quirks(cache_marks="cache_control")
    sent = json.loads(build(quirks, CACHED, marked_message(), tools=[marked_tool()]).request.body)
    control = {"type": "ephemeral", "ttl": "1h"}
    assert sent["messages"][0]["content"] == [
        {"type": "text", "text": "a", "cache_control": control},
        {"type": "text", "text": "b"},
    ]
    assert sent["messages"][1]["content"] == [{"type": "text", "text": "end", "cache_control": {"type": "ephemeral"}}]
    assert sent["tools"] == [{"type": "function", "function": {"name": "f"}, "cache_control": control}]


def marked_message() -> Message:
    return Message(role="user", content="end", cache=CacheMark())


def marked_tool() -> Tool:
    return Tool(name="f", cache=CacheMark(ttl="1h"))


@pytest.mark.parametrize("style", [None, "breakpoint"])
def test_cache_marks_that_are_not_taken_are_left_out_with_a_warning(style: Any) -> None:
    built = build(Quirks(cache_marks=style), CACHED, marked_message(), tools=[marked_tool()])
    assert "cache" not in built.request.body.decode()
    assert len(built.warnings) == 1
    assert built.warnings[0].startswith("cache marks were left out: somehost ")


VIDEO = "https://a.example/b.mp4"


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (VideoPart(url=VIDEO), {"type": "video_url", "video_url": {"url": VIDEO}}),
        (
            VideoPart(data="AA==", media_type="video/mp4"),
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA=="}},
        ),
    ],
)
def test_videos_are_sent_where_they_are_taken(part: VideoPart, wire: dict[str, Any]) -> None:
    assert written(Quirks(videos=True), part, role="user") == {"content": [wire]}
    with pytest.raises(UnsupportedError, match=r"takes no videos \(messages\[0\].content\[0\]\)"):
        written(Quirks(), part, role="user")


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (VideoPart(), "no source"),
        (VideoPart(data="AA=="), "no media_type"),
        (VideoPart(file_id="f"), "takes no video by file_id"),
    ],
)
def test_a_video_that_cannot_be_sent_is_refused(part: VideoPart, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        written(Quirks(videos=True), part, role="user")


PDF = FilePart(data="AA==", media_type="application/pdf", filename="a.pdf")
FAR = FilePart(url="https://a.example/b.pdf", filename="b.pdf")


@table(
    ("quirks", "part", "wire"),
    [
        (
            Quirks(files_by_url=True),
            FAR,
            {"type": "file", "file": {"filename": "b.pdf", "file_data": "https://a.example/b.pdf"}},
        ),
        (
            Quirks(files_by_url=True),
            FilePart(url="https://a.example/b"),
            {"type": "file", "file": {"filename": "document", "file_data": "https://a.example/b"}},
        ),
        (
            Quirks(files="document_url"),
            FAR,
            {"type": "document_url", "document_url": "https://a.example/b.pdf", "document_name": "b.pdf"},
        ),
        (
            Quirks(files="document_url"),
            PDF,
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,AA==",
                "document_name": "a.pdf",
            },
        ),
        (
            Quirks(files="document_url"),
            FilePart(url="https://a.example/b"),
            {"type": "document_url", "document_url": "https://a.example/b"},
        ),
        (Quirks(files="document_url"), FilePart(file_id="f"), {"type": "file", "file_id": "f"}),
        (
            Quirks(files="file_url"),
            FAR,
            {"type": "file_url", "file_url": {"url": "https://a.example/b.pdf"}, "file_name": "b.pdf"},
        ),
        (Quirks(files="file_url"), FilePart(data="AA=="), {"type": "file_url", "file_url": {"url": "AA=="}}),
    ],
)
def test_files_are_said_in_the_servers_words(quirks: Quirks, part: FilePart, wire: dict[str, Any]) -> None:
    assert written(quirks, part, role="user") == {"content": [wire]}


@table("part", [FilePart(), FilePart(filename="x")])
@table("style", ["document_url", "file_url"])
def test_a_file_without_a_source_is_refused(style: Any, part: FilePart) -> None:
    with pytest.raises(InvalidRequestError, match="no source"):
        written(Quirks(files=style), part, role="user")


def test_a_file_by_id_is_refused_where_only_addresses_are_taken() -> None:
    with pytest.raises(UnsupportedError, match="takes no file by file_id"):
        written(Quirks(files="file_url"), FilePart(file_id="f"), role="user")


def test_sound_can_be_bare() -> None:
    sound = AudioPart(data="AA==", format="wav")
    assert written(Quirks(sound_is_bare=True), sound, role="user") == {
        "content": [{"type": "input_audio", "input_audio": "AA=="}]
    }


def test_custom_tools_of_the_history_are_refused_where_there_are_none() -> None:
    call = ToolCall(id="c", name="f", arguments="x", kind="custom")
    with pytest.raises(UnsupportedError, match=r"has no tools that take free text \(messages\[0\].content\[0\]\)"):
        written(lacking("custom_tools"), call)


# --- embeddings


def embedding(quirks: Quirks, **options: Any) -> Built:
    request = EmbeddingRequest(model="asked", input=["a"], **options)
    return build_embeddings(request, Target(provider="somehost", model="m"), quirks=quirks)


def test_vectors_that_are_numbers_are_not_asked_for_as_base64() -> None:
    built = embedding(Quirks(vectors_are_numbers=True, renames={"dimensions": "output_dimension"}), dimensions=5)
    assert json.loads(built.request.body) == {"model": "m", "input": ["a"], "output_dimension": 5}


def test_a_user_who_is_not_known_is_left_out_of_embeddings_with_a_warning() -> None:
    built = embedding(lacking("user"), user="u")
    assert "user" not in json.loads(built.request.body)
    assert built.warnings == ["user was left out: somehost has no such option"]
