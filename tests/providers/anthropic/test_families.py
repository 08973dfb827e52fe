"""What Claude models refuse is left out with a warning, or said before; nothing is assumed of other names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import UnsupportedError
from bifrost.operations.chat.content import OpaquePart, TextPart
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning
from bifrost.operations.chat.tools import Tool, ToolChoice
from bifrost.providers.anthropic import CHAT
from bifrost.providers.anthropic.families import ANY_FAMILY, family_of
from bifrost.providers.base import Built, Target
from tests.table import table

HELLO = Message(role="user", content="hi")
NEW = ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-fable-5-1", "claude-haiku-5-20261001"]
MIDDLE = ["claude-opus-4-1-20250805", "claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-sonnet-4.6"]
OLD = ["claude-sonnet-4-20250514", "claude-3-7-sonnet-20250219", "claude-3-haiku-20240307", "claude-opus-4-0"]
UNKNOWN = ["claude", "MiniMax-M3", "kimi-k2", "claude-mythos-preview", "glm-4-7"]


def built(model: str, **fields: Any) -> Built:
    messages = fields.pop("messages", [HELLO])
    return CHAT.build(ChatRequest(model=model, messages=messages, **fields), Target(provider="anthropic", model=model))


def sent(model: str, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    made = built(model, **fields)
    body = json.loads(made.request.body)
    return {
        name: value for name, value in body.items() if name not in {"model", "messages", "max_tokens"}
    }, made.warnings


@table("model", NEW)
def test_models_without_sampling_options_get_none(model: str) -> None:
    body, warnings = sent(model, temperature=0.5, top_p=0.9, top_k=5, stop=["x"])
    assert body == {"stop_sequences": ["x"]}
    assert warnings == [
        f"{name} was left out: this model has no sampling options" for name in ("temperature", "top_p", "top_k")
    ]


@table("model", MIDDLE)
def test_top_p_is_left_out_beside_temperature_where_both_are_refused(model: str) -> None:
    body, warnings = sent(model, temperature=0.5, top_p=0.9, top_k=5)
    assert body == {"temperature": 0.5, "top_k": 5}
    assert warnings == ["top_p was left out: this model takes temperature or top_p, not both"]
    assert sent(model, top_p=0.9) == ({"top_p": 0.9}, [])


@table("model", [*OLD, *UNKNOWN])
def test_models_that_take_both_get_both(model: str) -> None:
    assert sent(model, temperature=0.5, top_p=0.9, top_k=5) == ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, [])


@table("model", NEW)
def test_a_budget_becomes_adaptive_thinking_where_there_are_none(model: str) -> None:
    body, warnings = sent(model, reasoning=Reasoning(max_tokens=2000, display="omitted"), max_tokens=1000)
    assert body == {"thinking": {"type": "adaptive", "display": "omitted"}}
    assert warnings == ["reasoning.max_tokens was left out: this model decides itself how much to think"]


@table("model", [*MIDDLE, *OLD, *UNKNOWN])
@table(("budget", "limit"), [(2000, 2000), (2000, 1500)])
def test_a_budget_that_is_not_below_max_tokens_is_refused_before(model: str, budget: int, limit: int) -> None:
    with pytest.raises(UnsupportedError, match="below max_tokens"):
        built(model, reasoning=Reasoning(max_tokens=budget), max_tokens=limit)
    interleaved = {"anthropic": {"betas": ["interleaved-thinking-2025-05-14"]}}
    body, _ = sent(model, reasoning=Reasoning(max_tokens=budget), max_tokens=limit, extra=interleaved)
    assert body["thinking"]["budget_tokens"] == budget


@table(
    ("fields", "refused"),
    [
        ({"reasoning": Reasoning(max_tokens=2000), "max_tokens": 2001}, False),
        ({"reasoning": Reasoning(max_tokens=2000)}, False),
        ({"reasoning": Reasoning(max_tokens=2000, enabled=False), "max_tokens": 10}, False),
        ({"reasoning": Reasoning(max_tokens=2000), "max_tokens": 10}, True),
    ],
)
def test_a_budget_counts_only_where_it_is_one(fields: dict[str, Any], refused: bool) -> None:
    if refused:
        with pytest.raises(UnsupportedError):
            built("claude-sonnet-4-5", **fields)
    else:
        assert "thinking" in sent("claude-sonnet-4-5", **fields)[0]


@pytest.mark.parametrize("reasoning", [Reasoning(max_tokens=2000), Reasoning(enabled=True)])
def test_sampling_that_thinking_rules_out_is_left_out(reasoning: Reasoning) -> None:
    body, warnings = sent("claude-sonnet-4-6", reasoning=reasoning, temperature=0.5, top_k=5)
    assert set(body) == {"thinking"}
    assert len(warnings) == 2
    body, warnings = sent("claude-sonnet-4-6", reasoning=reasoning, temperature=1)
    assert (body["temperature"], warnings) == (1, [])
    assert sent("claude-sonnet-4-6", reasoning=reasoning, top_p=0.95)[0]["top_p"] == 0.95
    assert "top_p" not in sent("claude-sonnet-4-6", reasoning=reasoning, top_p=0.5)[0]
    assert sent("some-model", reasoning=reasoning, temperature=0.5)[0]["temperature"] == 0.5


@pytest.mark.parametrize("mode", ["required", "tool"])
def test_no_tool_can_be_asked_for_beside_a_budget(mode: Any) -> None:
    fields: dict[str, Any] = {"tools": [Tool(name="f")], "tool_choice": ToolChoice(mode=mode, name="f")}
    with pytest.raises(UnsupportedError, match="cannot be made to call a tool"):
        built("claude-sonnet-4-5", reasoning=Reasoning(max_tokens=2000), **fields)
    assert "tool_choice" in sent("claude-opus-4-8", reasoning=Reasoning(max_tokens=2000), **fields)[0]


@table("model", [*NEW, "claude-opus-4-6", "claude-sonnet-4.6"])
def test_a_beginning_of_the_answer_is_refused_before(model: str) -> None:
    begun = Message(role="assistant", content=[TextPart(text="{")])
    with pytest.raises(UnsupportedError, match="takes no beginning of the response"):
        built(model, messages=[HELLO, begun])
    paused = Message(role="assistant", content=[OpaquePart(provider="anthropic", kind="x", data={"type": "x"})])
    assert built(model, messages=[HELLO, paused])
    assert built("claude-sonnet-4-5", messages=[HELLO, begun])


@table("model", UNKNOWN)
def test_nothing_is_known_of_other_names(model: str) -> None:
    assert family_of(model) is ANY_FAMILY


@pytest.mark.parametrize("model", ["anthropic.claude-opus-4-8-v1:0", "claude-opus-4-8@20260601", "eu/claude-opus-4.8"])
def test_a_family_is_known_by_its_names_in_clouds(model: str) -> None:
    assert not family_of(model).sampling
