"""What OpenAI's reasoning models refuse is left out with a warning, or said before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from tests.table import table

HELLO = [Message(role="user", content="hi")]
TUNING: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9}


def sent(model: str, name: str = "openai", **fields: Any) -> tuple[dict[str, Any], list[str]]:
    request = ChatRequest(model=model, messages=HELLO, **fields)
    built = CATALOG[name].codecs["chat"].build(request, Target(provider=name, model=model))
    body = json.loads(built.request.body)
    return {key: value for key, value in body.items() if key not in {"model", "messages"}}, built.warnings


@table("model", ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-nano", "gpt-5-mini-2025-08-07"])
def test_sampling_is_left_out_where_a_model_never_accepts_it(model: str) -> None:
    body, warnings = sent(model, **TUNING, max_tokens=5)
    assert body == {"max_completion_tokens": 5}
    assert warnings == [
        f"{name} was left out: {model} takes no such option while it reasons" for name in ("temperature", "top_p")
    ]
    assert sent(model, temperature=1, top_p=1) == ({"temperature": 1, "top_p": 1}, [])


def test_penalties_and_biases_are_left_out_for_the_o_models_alone() -> None:
    fields: dict[str, Any] = {"presence_penalty": 1.0, "frequency_penalty": 1.0, "logit_bias": {"5": 1.0}}
    body, warnings = sent("o3", **fields)
    assert (body, len(warnings)) == ({}, 3)
    assert len(sent("gpt-5", **fields)[0]) == 3


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.2-2025-12-11", "gpt-5.4-mini"])
def test_newer_models_refuse_it_only_while_they_reason(model: str) -> None:
    assert sent(model, **TUNING) == (TUNING, [])
    assert sent(model, **TUNING, reasoning=Reasoning(effort="none"))[1] == []
    body, warnings = sent(model, **TUNING, reasoning=Reasoning(effort="low"))
    assert (body, len(warnings)) == ({"reasoning_effort": "low"}, 2)


@pytest.mark.parametrize("model", ["o3", "gpt-5"])
def test_log_probabilities_are_refused_before(model: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no log probabilities with {model}"):
        sent(model, logprobs=True)
    assert sent(model, logprobs=False)[1] == []


@table("model", ["gpt-4o", "gpt-5-chat-latest", "o", "omni", "llama-o1"])
def test_other_models_get_what_they_are_given(model: str) -> None:
    assert sent(model, **TUNING) == (TUNING, [])


def test_other_servers_models_are_not_judged_by_their_names() -> None:
    assert sent("o3", "vllm", **TUNING) == (TUNING, [])
