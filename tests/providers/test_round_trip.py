"""What a model thought goes back to it with the next turn, where its provider wants that."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bifrost.operations.chat.content import ReasoningPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from tests.providers.golden_cases import Case, cases
from tests.table import table

FIELDS = {
    "deepseek": "reasoning_content",
    "openrouter": "reasoning_details",
    "cerebras": "reasoning",
    "ollama-openai": "reasoning",
    "ollama-cloud-openai": "reasoning",
}
HELLO = Message(role="user", content="Hello")


def answer_of(case: Case) -> ChatResponse:
    return msgspec.convert(case.expected["response"], ChatResponse)


def is_thoughtful(case: Case, *providers: str) -> bool:
    return (
        case.provider.name in providers
        and case.operation == "chat"
        and "response" in case.expected
        and answer_of(case).message.parts != []
        and isinstance(answer_of(case).message.parts[0], ReasoningPart)
    )


THOUGHTFUL = [case for case in cases() if is_thoughtful(case, *FIELDS)]
THINKING = [case for case in cases() if is_thoughtful(case, "mistral")]
FORGETFUL = [case for case in cases() if is_thoughtful(case, "groq", "xai")]


def by_id(case: Case) -> str:
    return case.id


def sent_back(case: Case) -> tuple[AssistantMessage, dict[str, Any], list[str]]:
    """Send an answer back with a next turn; gives it, and how it stands in the request."""
    message = answer_of(case).message
    results = [Message(role="tool", tool_call_id=call.id, content="{}") for call in message.tool_calls or []]
    following = results or [Message(role="user", content="Go on")]
    request = ChatRequest(model="m", messages=[HELLO, message.to_message(), *following])
    built = case.codec.build(request, Target(provider=case.provider.name, model="m"))
    return message, json.loads(built.request.body)["messages"][1], built.warnings


def test_there_are_answers_of_each_provider() -> None:
    assert {case.provider.name for case in THOUGHTFUL} == set(FIELDS)
    assert THINKING
    assert FORGETFUL


@table("case", THOUGHTFUL, ids=by_id)
def test_reasoning_goes_back_in_its_field(case: Case) -> None:
    message, wire, warnings = sent_back(case)
    thought = message.parts[0]
    assert isinstance(thought, ReasoningPart)
    details = json.loads(thought.signature) if thought.signature else None
    assert wire.get(FIELDS[case.provider.name]) == (details or thought.text)
    assert (wire.get("content") or "") == message.text
    assert len(wire.get("tool_calls", ())) == len(message.tool_calls or ())
    assert warnings == []


@table("case", THINKING, ids=by_id)
def test_reasoning_goes_back_among_the_content(case: Case) -> None:
    message, wire, _ = sent_back(case)
    assert wire["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": message.reasoning}]},
        {"type": "text", "text": message.text},
    ]


@table("case", FORGETFUL, ids=by_id)
def test_reasoning_stays_here_where_nobody_wants_it(case: Case) -> None:
    message, wire, warnings = sent_back(case)
    assert message.reasoning
    assert set(wire) <= {"role", "content", "tool_calls"}
    assert warnings == []


def test_a_tool_loop_that_another_provider_began_can_go_on_at_deepseek() -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    thought = ReasoningPart(text="hm", provider="openrouter")
    messages = [HELLO, Message(role="assistant", content=[thought, call]), Message(role="tool", tool_call_id="c")]
    built = (
        CATALOG["deepseek"]
        .codecs["chat"]
        .build(ChatRequest(model="m", messages=messages), Target(provider="deepseek", model="m"))
    )
    assert json.loads(built.request.body)["messages"][1]["reasoning_content"] == ""
    assert built.warnings == ["messages[1]: reasoning of another provider was left out"]
