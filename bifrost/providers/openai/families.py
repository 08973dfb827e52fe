"""The options that families of OpenAI's models refuse, according to OpenAI's documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.operations.chat.request import ChatRequest

_SAMPLING = ("temperature", "top_p", "logprobs", "top_logprobs")
_TUNING = (*_SAMPLING, "presence_penalty", "frequency_penalty", "logit_bias")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelFamily(Frozen):
    """Options that models with certain names never accept."""

    models: re.Pattern[str]
    """The pattern of the models' names."""

    refuses: Sequence[str]
    """The names of the options."""

    while_reasoning: bool = False
    """Whether they are refused only with an effort other than "none"."""


OPENAI_FAMILIES: Sequence[ModelFamily] = (
    # https://platform.openai.com/docs/guides/reasoning, and for the penalties and biases
    # https://learn.microsoft.com/azure/foundry/openai/how-to/reasoning#not-supported
    ModelFamily(models=re.compile(r"o[1-9](-(mini|pro|preview))?(-\d{4}-\d\d-\d\d)?"), refuses=_TUNING),
    # https://platform.openai.com/docs/guides/latest-model#gpt-5-parameter-compatibility
    ModelFamily(models=re.compile(r"gpt-5(-(mini|nano|pro))?(-\d{4}-\d\d-\d\d)?"), refuses=_SAMPLING),
    ModelFamily(
        models=re.compile(r"gpt-5\.\d+(-(mini|nano))?(-\d{4}-\d\d-\d\d)?"), refuses=_SAMPLING, while_reasoning=True
    ),
)


def refused_options(request: ChatRequest, model: str, families: Sequence[ModelFamily]) -> list[str]:
    """Return the options of a request that its model never accepts."""
    for family in families:
        if family.models.fullmatch(model) and not (family.while_reasoning and not _reasons(request)):
            return [name for name in family.refuses if _asks(request, name)]
    return []


def _reasons(request: ChatRequest) -> bool:
    reasoning = request.reasoning
    return reasoning is not None and reasoning.effort not in {None, "none"}


def _asks(request: ChatRequest, name: str) -> bool:
    value = getattr(request, name)
    # 1 is the only temperature and top_p that they accept.
    return value is not None and value is not False and not (name in {"temperature", "top_p"} and value == 1)
