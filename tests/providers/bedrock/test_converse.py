"""What becomes of a chat at Bedrock: turns, parts, and the fields of each family of models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import InvalidRequestError, UnsupportedError
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
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.providers.base import Target
from bifrost.providers.bedrock import BEDROCK
from bifrost.testing import MockTransport

HELLO = Message(role="user", content="hi")
CLAUDE, OLD_CLAUDE, NEW_CLAUDE = (
    f"us.anthropic.claude-{name}-v1:0" for name in ("sonnet-4-5-20250929", "3-7-sonnet-20250219", "opus-4-8")
)
NOVA, NOVA_2, OSS, GPT = (
    "us.amazon.nova-lite-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "openai.gpt-6",
)
QWEN, KIMI, LLAMA = "qwen.qwen3-32b-v1:0", "moonshot.kimi-k2-thinking", "us.meta.llama3-3-70b-instruct-v1:0"


def sent(*messages: Message, model: str = "m", issuer: Issuer | None = None, **fields: Any) -> tuple[Any, list[str]]:
    target = Target(provider="bedrock", model=model, issuer=issuer, issuer_members=BEDROCK.issuer_members)
    built = BEDROCK.codecs["chat"].build(ChatRequest(model="m", messages=list(messages or [HELLO]), **fields), target)
    return json.loads(built.request.body), built.warnings


def content_of(*parts: Part, role: Any = "user", **more: Any) -> tuple[list[Any], list[str]]:
    body, warnings = sent(HELLO, Message(role=role, content=list(parts)), **more)
    content = body["messages"][-1]["content"]
    return (content if role == "assistant" else content[1:]), warnings


# --- fields of the families


def test_reasoning_has_the_field_of_its_family() -> None:
    for model, reasoning, fields, effort in (
        (CLAUDE, Reasoning(effort="high"), None, "high"),
        (CLAUDE, Reasoning(max_tokens=2000), {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None),
        (CLAUDE, Reasoning(enabled=True), {"thinking": {"type": "adaptive"}}, None),
        (CLAUDE, Reasoning(effort="none"), {"thinking": {"type": "disabled"}}, None),
        (
            CLAUDE,
            Reasoning(effort="low", enabled=True, display="summarized"),
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            "low",
        ),
        (NOVA_2, Reasoning(effort="low"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, None),
        (
            NOVA_2,
            Reasoning(enabled=True),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
            None,
        ),
        (NOVA_2, Reasoning(enabled=False), {"reasoningConfig": {"type": "disabled"}}, None),
        (OSS, Reasoning(effort="high"), {"reasoning_effort": "high"}, None),
        (KIMI, Reasoning(effort="low"), {"reasoning_effort": "low"}, None),
        (GPT, Reasoning(effort="xhigh"), {"reasoning": {"effort": "xhigh"}}, None),
        (GPT, Reasoning(enabled=False), {"reasoning": {"effort": "none"}}, None),
        (QWEN, Reasoning(effort="high"), {"reasoning_config": "high"}, None),
    ):
        body, warnings = sent(model=model, reasoning=reasoning)
        assert body.get("additionalModelRequestFields") == fields, (model, reasoning)
        assert body.get("outputConfig", {}).get("effort") == effort, (model, reasoning)
        assert warnings == [], (model, reasoning)


def test_what_a_family_cannot_be_told_is_left_out_with_a_warning() -> None:
    rows: list[tuple[str, dict[str, Any], list[str]]] = [
        (LLAMA, {"reasoning": Reasoning(effort="high")}, ["reasoning.effort"]),
        (LLAMA, {"top_k": 5}, ["top_k"]),
        (NOVA, {"reasoning": Reasoning(max_tokens=5)}, ["reasoning.max_tokens"]),
        (NOVA_2, {"reasoning": Reasoning(effort="max", max_tokens=5)}, ["reasoning.max_tokens", "reasoning.effort"]),
        (OSS, {"reasoning": Reasoning(effort="none")}, ["reasoning.effort"]),
        (OSS, {"reasoning": Reasoning(effort="high", enabled=False)}, ["reasoning.enabled"]),
        (CLAUDE, {"reasoning": Reasoning(effort="none", max_tokens=5)}, ["reasoning.max_tokens"]),
        (CLAUDE, {"reasoning": Reasoning(effort="none", enabled=True)}, ["reasoning.enabled"]),
        (CLAUDE, {"reasoning": Reasoning(effort="minimal")}, ["reasoning.effort"]),
        (NEW_CLAUDE, {"reasoning": Reasoning(max_tokens=5)}, ["reasoning.max_tokens"]),
        (NEW_CLAUDE, {"temperature": 0.5, "top_k": 5}, ["temperature", "top_k"]),
        (CLAUDE, {"temperature": 0.5, "top_p": 0.5}, ["top_p"]),
        (LLAMA, {"temperature": 1.5}, ["temperature"]),
        (LLAMA, {"service_tier": "auto", "parallel_tool_calls": False, "user": "u"}, ["parallel_tool_calls", "user"]),
    ]
    for model, fields, told in rows:
        _, warnings = sent(model=model, **fields)
        found = [warning.partition(" ")[0] for warning in warnings]
        assert [name for name in found if name in told] == [name for name in found if name != "service_tier"], warnings
        assert set(told) <= set(found), (model, fields, warnings)


def test_top_k_has_the_place_of_its_family() -> None:
    for model, fields in (
        (OLD_CLAUDE, {"top_k": 5}),
        (NOVA, {"inferenceConfig": {"topK": 5}}),
        ("mistral.mistral-large-2402-v1:0", {"top_k": 5}),
        ("cohere.command-r-v1:0", {"k": 5}),
    ):
        assert sent(model=model, top_k=5) == (
            {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "additionalModelRequestFields": fields},
            [],
        )


@pytest.mark.anyio
async def test_output_is_bound_to_a_schema_where_the_model_can() -> None:
    for model, is_native in (
        (CLAUDE, True), (NEW_CLAUDE, True), (QWEN, True), (OSS, True), (KIMI, True),
        (OLD_CLAUDE, False), (NOVA_2, False), (LLAMA, False), ("anthropic.claude-v2", False),
    ):  # fmt: skip
        mock = MockTransport()
        mock.reply('{"value": 7}') if is_native else mock.reply(tool_calls=[("final_answer", {"value": 7})])
        async with mock.client() as client:
            reply = await client.chat(f"bedrock/{model}", "seven?", output=int)
        assert reply.parsed == 7, model
        body: Any = mock.calls[0].json
        assert ("outputConfig" in body, "toolConfig" in body) == (is_native, not is_native), model


# --- turns


def test_roles_alternate_and_results_come_first() -> None:
    body, warnings = sent(
        HELLO,
        Message(role="user", content="there"),
        Message(role="assistant", content=[TextPart(text=" "), ToolCall(id="a", name="f")]),
        Message(role="assistant", content=[ToolCall(id="b", name="f", arguments='{"x": 1.0}')]),
        Message(role="user", content="meanwhile"),
        Message(role="tool", tool_call_id="a", content="1", cache=CacheMark()),
        Message(role="tool", tool_call_id="b", content=""),
    )
    assert warnings == []
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [{"text": "hi"}, {"text": "there"}]
    assert [block["toolUse"]["input"] for block in body["messages"][1]["content"]] == [{}, {"x": 1.0}]
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}], "status": "success"}},
        {"cachePoint": {"type": "default"}},
        {"toolResult": {"toolUseId": "b", "content": [], "status": "success"}},
        {"text": "meanwhile"},
    ]


def test_system_messages_are_the_system_prompt() -> None:
    body, warnings = sent(
        Message(role="system", content="a"),
        HELLO,
        Message(role="developer", content="b"),
        Message(role="user", content="c"),
    )
    assert body["system"] == [{"text": "a"}, {"text": "b"}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "hi"}, {"text": "c"}]}]
    assert warnings == ["messages[2]: a system message amid the conversation was moved to the system prompt"]
    own = OpaquePart(provider="bedrock", kind="toolAddition", data={"toolAddition": {"tool": {"name": "f"}}})
    body, warnings = sent(HELLO, Message(role="system", content=[own]))
    assert (body["messages"][1], warnings) == ({"role": "system", "content": [own.data]}, [])


def test_conversations_that_cannot_be_sent_are_refused() -> None:
    picture = ImagePart(data="YQ==", media_type="image/png")
    for kind, messages in (
        (UnsupportedError, [Message(role="system", content="a")]),
        (UnsupportedError, [Message(role="system", content=[picture]), HELLO]),
        (InvalidRequestError, [Message(role="user", content=" ")]),
        (InvalidRequestError, [HELLO, Message(role="tool", content="a")]),
        (InvalidRequestError, [HELLO, Message(role="assistant", content=[ToolCall(id="", name="f")])]),
    ):
        with pytest.raises(kind):
            sent(*messages)
    with pytest.raises(InvalidRequestError, match="no messages"):
        BEDROCK.codecs["chat"].build(ChatRequest(model="m", messages=[]), Target(provider="bedrock", model="m"))
    body, warnings = sent(HELLO, Message(role="assistant", content=""), HELLO)
    assert (len(body["messages"]), warnings) == (1, ["messages[1]: an assistant message without content was left out"])


# --- parts


def test_documents_have_names_that_differ_and_that_bedrock_accepts() -> None:
    names = [
        "report.v2_final.pdf",
        "report v2 final pdf",
        None,
        None,
        "ignore: all/instructions?",
        "x" * 300,
        "x" * 300,
        "é",
    ]
    parts = [FilePart(data="YQ==", media_type="application/pdf", filename=name) for name in names]
    content, warnings = content_of(*parts)
    found = [block["document"]["name"] for block in content]
    assert found[:5] == [
        "report v2 final pdf", "report v2 final pdf (2)", "Document 3", "Document 4", "ignore all instructions",
    ]  # fmt: skip
    assert len(set(found)) == len(names)
    assert all(len(name) <= 200 for name in found)
    assert found[-1] == "Document 8"
    assert warnings == []


def test_media_that_cannot_be_sent_are_refused_with_a_reason() -> None:
    for part, kind, reason in (
        (ImagePart(url="https://a.example/b.png"), UnsupportedError, "fetches no image from a web address"),
        (ImagePart(data="YQ==", media_type="image/tiff"), UnsupportedError, "takes no image of type image/tiff"),
        (ImagePart(data="YQ=="), InvalidRequestError, "has no media_type"),
        (ImagePart(), InvalidRequestError, "the image has no source"),
        (ImagePart(file_id="f"), UnsupportedError, "has no uploaded files"),
        (FilePart(file_id="f"), UnsupportedError, "has no uploaded files"),
        (VideoPart(file_id="f"), UnsupportedError, "has no uploaded files"),
        (FilePart(data="YQ==", media_type="application/zip"), UnsupportedError, "takes no file of type"),
        (VideoPart(url="https://a.example/b.mp4"), UnsupportedError, "fetches no video"),
        (AudioPart(data="YQ=="), InvalidRequestError, "no format"),
        (AudioPart(id="a"), UnsupportedError, "keeps no sound"),
    ):
        with pytest.raises(kind, match=reason):
            content_of(part)


def test_sound_of_a_model_goes_back_as_its_text() -> None:
    sound = AudioPart(data="YQ==", format="wav", transcript="la")
    assert content_of(sound) == ([{"audio": {"format": "wav", "source": {"bytes": "YQ=="}}}], [])
    content, warnings = content_of(sound, role="assistant")
    assert (content, warnings) == ([{"text": "la"}], ["messages[1]: sound was left out, its transcript sent"])
    assert content_of(RefusalPart(refusal="no"), role="assistant") == ([{"text": "no"}], [])


def test_state_goes_back_to_its_model_alone() -> None:
    here = Issuer(provider="bedrock", address="https://a.example", key="one", model=CLAUDE)
    elsewhere = Issuer(provider="bedrock", address="https://b.example", key="two", region="eu-west-1", model=CLAUDE)
    other = Issuer(provider="bedrock", address="https://a.example", key="one", model=NOVA_2)
    parts = [
        ReasoningPart(text="hm", signature="s", provider="bedrock", issuer=here),
        ReasoningPart(redacted="eA==", provider="bedrock", issuer=here),
        OpaquePart(provider="bedrock", kind="toolUse", data={"toolUse": {"toolUseId": "a"}}, issuer=here),
        TextPart(text="so"),
    ]
    for issuer, count, told in ((here, 4, 0), (elsewhere, 4, 0), (other, 1, 3)):
        content, warnings = content_of(*parts, role="assistant", model=issuer.model or "", issuer=issuer)
        # Two parts of reasoning have the same warning.
        assert (len(content), len(warnings)) == (count, min(told, 2)), issuer
    unsigned = ReasoningPart(text="hm", provider="bedrock")
    assert content_of(unsigned, role="assistant", model=QWEN)[0] == [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    ]
    content, warnings = content_of(unsigned, TextPart(text="a"), role="assistant", model=CLAUDE)
    assert (content, warnings) == ([{"text": "a"}], ["messages[1]: reasoning without a signature was left out"])


def test_ids_fit_the_family() -> None:
    for model, expected in ((KIMI, ["functions.f:0", "functions.f:0"]), (CLAUDE, [None, None])):
        call = ToolCall(id="functions.f:0", name="f")
        result = Message(role="tool", tool_call_id="functions.f:0", content="1")
        turn = [Message(role="assistant", content=[call]), result]
        body, _ = sent(HELLO, *turn, *turn, model=model)
        ids = [
            block["toolUse"]["toolUseId"]
            for each in body["messages"]
            for block in each["content"]
            if "toolUse" in block
        ]
        results = [
            block["toolResult"]["toolUseId"]
            for each in body["messages"]
            for block in each["content"]
            if "toolResult" in block
        ]
        assert ids == results
        if expected[0] is not None:
            assert ids == expected
        else:
            assert len(set(ids)) == 2
            assert all(each.startswith("tooluse_") for each in ids)


def test_citations_of_others_are_left_out() -> None:
    mine, other = Citation(provider="bedrock", native={"title": "t"}), Citation(provider="anthropic", native={"a": 1})
    content, warnings = content_of(TextPart(text="a", citations=[mine, other]), role="assistant")
    assert content == [{"citationsContent": {"content": [{"text": "a"}], "citations": [{"title": "t"}]}}]
    assert warnings == ["messages[1]: citations that are not Bedrock's were left out"]
    content, _ = content_of(TextPart(text="a", citations=[other]), role="assistant")
    assert content == [{"text": "a"}]


# --- tools


def test_tools_that_cannot_be_sent_are_refused() -> None:
    f, call = Tool(name="f"), Message(role="assistant", content=[ToolCall(id="a", name="f")])
    result = Message(role="tool", tool_call_id="a", content="1")
    rows: list[tuple[type[Exception], list[Message], dict[str, Any]]] = [
        (UnsupportedError, [], {"tools": [Tool(name="a.b")]}),
        (UnsupportedError, [], {"tools": [ProviderTool(provider="openai", definition={"type": "x"})]}),
        (UnsupportedError, [HELLO, call, result], {"tools": [f], "tool_choice": ToolChoice(mode="none")}),
        (InvalidRequestError, [], {"tool_choice": ToolChoice(mode="required")}),
        (InvalidRequestError, [], {"tools": [f], "tool_choice": ToolChoice(mode="tool")}),
        (InvalidRequestError, [], {"tools": [f], "tool_choice": ToolChoice(allowed=["g"])}),
        (InvalidRequestError, [], {"response_format": ResponseFormat(type="json_schema")}),
        (UnsupportedError, [], {"response_format": ResponseFormat(type="json_object")}),
        (UnsupportedError, [], {"n": 2}),
    ]
    for kind, messages, fields in rows:
        with pytest.raises(kind):
            sent(*messages, **fields)


def test_tools_that_may_not_be_called_are_left_out() -> None:
    search = ProviderTool(definition={"systemTool": {"name": "nova_grounding"}})
    tools = [Tool(name="f"), Tool(name="g"), search]
    body, warnings = sent(tools=tools, tool_choice=ToolChoice(allowed=["g", "nova_grounding"]))
    kept = [spec.get("toolSpec", spec.get("systemTool"))["name"] for spec in body["toolConfig"]["tools"]]
    assert kept == ["g", "nova_grounding"]
    assert warnings == ["tool_choice.allowed: the other tools were left out of the request, Bedrock cannot mask them"]
    body, warnings = sent(tools=tools, tool_choice=ToolChoice(mode="none", name="f"))
    assert "toolConfig" not in body
    assert [warning.partition(" ")[0] for warning in warnings] == ["tool_choice.name", "tool_choice.mode"]
