"""The fields that say how much a model reasons. Each family of models has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.providers.bedrock.families import claude_family, family_of
from bifrost.providers.bedrock.fields import warning_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.request import Reasoning
    from bifrost.providers.base import Target

_DEFAULT_EFFORT = "medium"
"""The effort of a model that must be told one, if the request only switches reasoning on."""

_NEAREST: Mapping[str, str] = {"minimal": "low", "xhigh": "high", "max": "high"}
"""What is sent for an effort outside of the scale of a model that knows low, medium and high."""

_UNKNOWN = "how this model takes it is not known; give it as extra"


def reasoning_fields(reasoning: Reasoning, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the fields of the model's own format, for `additionalModelRequestFields`."""
    form = family_of(target.model).reasoning
    if form == "thinking":
        return _thinking(reasoning, target, warnings)
    if form is None:
        warnings += _left_out(reasoning, ("effort", "max_tokens", "enabled", "display"), _UNKNOWN)
        return {}
    warnings += _left_out(reasoning, ("max_tokens",), "this model decides itself how much to reason")
    warnings += _left_out(reasoning, ("display",), "this model has no such option")
    is_off = reasoning.effort == "none" or (reasoning.effort is None and reasoning.enabled is False)
    if reasoning.effort is not None and reasoning.enabled is not None and is_off == reasoning.enabled:
        warnings += _left_out(reasoning, ("enabled",), f"the effort is {reasoning.effort}")
    effort = reasoning.effort or (_DEFAULT_EFFORT if reasoning.enabled else None)
    if form != "reasoning" and effort is not None and effort in _NEAREST:
        warnings.append(f"reasoning.effort {effort!r} was sent as {_NEAREST[effort]!r}: this model's scale ends there")
        effort = _NEAREST[effort]
    match form:
        case "reasoningConfig" if is_off:
            return {"reasoningConfig": {"type": "disabled"}}
        case "reasoningConfig" if effort is not None:
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}
        case "reasoning" if effort is not None or is_off:
            return {"reasoning": {"effort": "none" if is_off else effort}}
        case _ if is_off:
            warnings += _left_out(reasoning, ("effort", "enabled"), "this model cannot be kept from reasoning")
            return {}
        case _:
            return {} if effort is None else {form: effort}


def _thinking(reasoning: Reasoning, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return Claude's field. Its effort has a field of Converse."""
    claude = claude_family(target.model)
    if reasoning.effort == "none" or reasoning.enabled is False:
        switched_off = "thinking is switched off"
        names = ("max_tokens", "display") if reasoning.enabled is not True else ("max_tokens", "display", "enabled")
        warnings += _left_out(reasoning, names, switched_off)
        return {"thinking": {"type": "disabled"}}
    if reasoning.effort == "minimal":
        warnings.append("reasoning.effort 'minimal' was sent as 'low': Claude's scale begins there")
    has_budget = reasoning.max_tokens is not None and (claude is None or claude.budgets)
    if reasoning.max_tokens is not None and not has_budget:
        warnings += _left_out(reasoning, ("max_tokens",), "this model decides itself how much to think")
    if has_budget:
        thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": reasoning.max_tokens}
    elif reasoning.enabled or reasoning.display is not None or reasoning.max_tokens is not None:
        thinking = {"type": "adaptive"}
    else:
        return {}
    return {"thinking": thinking if reasoning.display is None else {**thinking, "display": reasoning.display}}


def _left_out(reasoning: Reasoning, names: tuple[str, ...], reason: str) -> list[str]:
    """Return warnings for those of these options that are set."""
    return [warning_of(f"reasoning.{name}", value=reason) for name in names if getattr(reasoning, name) is not None]
