"""What families of models accept that is not common to all models of Converse, by the names of the models.

The fields of a family are in `additionalModelRequestFields`. A model whose name says nothing (the ARN of an application
inference profile) belongs to no family: `BedrockSettings.profiles` keeps the model's name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from bifrost.frozen import Frozen
from bifrost.providers.anthropic.families import family_of as claude_of
from bifrost.providers.call_ids import CallIdRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.providers.anthropic.families import Family as ClaudeFamily

ReasoningForm: TypeAlias = Literal["thinking", "reasoningConfig", "reasoning_effort", "reasoning", "reasoning_config"]
"""The field by which a family is told how much to reason."""

_ANY_IDS = CallIdRule(pattern=re.compile("[a-zA-Z0-9_.:-]{1,64}"), prefix="tooluse_", length=22)
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html."""

_CLAUDE_IDS = CallIdRule(pattern=re.compile("[a-zA-Z0-9_-]{1,64}"), unique=True, prefix="tooluse_", length=22)
"""Claude's own rule is narrower, and refuses an id that is repeated."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Family(Frozen):
    """What models whose name contains one of these marks accept."""

    marks: Sequence[str] = ()
    """Parts of the names of its models."""
    reasoning: ReasoningForm | None = None
    """The field for the effort of reasoning. `None`: none is known."""
    top_k: tuple[str, ...] = ()
    """The path of the field for `top_k`. Empty: none is known."""
    native_output: bool = False
    """Whether its responses can be bound to a JSON schema."""
    call_ids: CallIdRule = _ANY_IDS
    """The ids of tool calls that it accepts."""


# The schemas: https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
_FAMILIES: Sequence[Family] = (
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
    Family(marks=("claude",), reasoning="thinking", top_k=("top_k",), call_ids=_CLAUDE_IDS),
    # https://docs.aws.amazon.com/nova/latest/nova2-userguide/using-converse-api.html
    Family(marks=("nova-2",), reasoning="reasoningConfig", top_k=("inferenceConfig", "topK")),
    # https://docs.aws.amazon.com/nova/latest/userguide/using-converse-api.html
    Family(marks=("nova",), top_k=("inferenceConfig", "topK")),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
    Family(marks=("openai.gpt-oss",), reasoning="reasoning_effort", native_output=True),
    Family(marks=("openai.",), reasoning="reasoning", native_output=True),
    Family(marks=("moonshot",), reasoning="reasoning_effort", native_output=True),
    Family(marks=("deepseek.v",), reasoning="reasoning_effort", native_output=True),
    Family(marks=("qwen",), reasoning="reasoning_config", native_output=True),
    Family(marks=("google.gemma", "nvidia.", "minimax", "zai."), native_output=True),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html
    Family(marks=("mistral-large-3", "ministral-3", "magistral", "voxtral"), top_k=("top_k",), native_output=True),
    Family(marks=("mistral.",), top_k=("top_k",)),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command-r-plus.html
    Family(marks=("cohere.command",), top_k=("k",)),
)

ANY_FAMILY = Family()
"""Of which nothing is known."""

_NATIVE_SINCE = (4, 5)
"""The version of Claude from which its responses can be bound to a JSON schema."""
_CLAUDE = re.compile(r"claude-(?:[a-z]{1,12}-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def family_of(model: str) -> Family:
    """Return the family of a model by its id, inference profile or ARN."""
    name = model.lower()
    return next((family for family in _FAMILIES if any(mark in name for mark in family.marks)), ANY_FAMILY)


def claude_family(model: str) -> ClaudeFamily | None:
    """Return what a Claude model accepts; `None` for other models."""
    return claude_of(model.lower()) if "claude" in model.lower() else None


def has_native_output(model: str) -> bool:
    """Return whether a model's responses can be bound to a JSON schema."""
    found = _CLAUDE.search(model.lower())
    if found is not None:
        return (int(found[1]), int(found[2] or 0)) >= _NATIVE_SINCE
    return family_of(model).native_output
