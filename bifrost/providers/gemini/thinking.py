"""How much a Gemini model thinks: a level or a budget, by its family.

Reference: https://ai.google.dev/gemini-api/docs/thinking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.providers.gemini.families import Family, budget_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.operations.chat.request import Reasoning

_DYNAMIC = -1
"""The budget with which the model decides itself how much to think."""


def thinking_config(reasoning: Reasoning, family: Family, note: Callable[[str, str], None]) -> dict[str, Any]:
    """Return the `thinkingConfig`. `note` receives the field and what became of it, if it is not sent as it is."""
    if family.thinking is None:
        for name in ("effort", "max_tokens", "enabled", "display"):
            value = getattr(reasoning, name)
            if value not in {None, False, "none", "omitted"}:
                note(name, f"{'was left out: ' if name == 'effort' else ''}this model does not think")
        return {}
    config = _amount(reasoning, family, note)
    if reasoning.display is not None:
        config["includeThoughts"] = reasoning.display != "omitted"
    return config


def _amount(reasoning: Reasoning, family: Family, note: Callable[[str, str], None]) -> dict[str, Any]:
    effort, budget = reasoning.effort, reasoning.max_tokens
    if effort == "none" or reasoning.enabled is False:
        if effort not in {None, "none"}:
            note("effort", "was left out: reasoning.enabled is false")
        if effort == "none" and reasoning.enabled:
            note("enabled", "the effort is none")
        if budget is not None:
            note("max_tokens", "thinking is switched off")
        return _none("effort" if effort == "none" else "enabled", family, note)
    if budget is not None:
        if effort is not None:
            note("effort", "was left out: the budget (reasoning.max_tokens) is sent in its place")
        return {"thinkingBudget": budget}
    if effort is not None:
        return _of_effort(effort, family, note)
    return {"thinkingBudget": _DYNAMIC} if reasoning.enabled else {}


def _none(field: str, family: Family, note: Callable[[str, str], None]) -> dict[str, Any]:
    """Return the least thinking. Few models can do without."""
    if family.least == 0:
        return {"thinkingBudget": 0}
    least: dict[str, Any] = (
        {"thinkingLevel": family.levels["minimal"]} if family.least is None else {"thinkingBudget": family.least}
    )
    sent = next(iter(least.values()))
    words = f"this model always thinks; {sent} was sent, the least"
    note(field, f"'none' was not sent: {words}" if field == "effort" else words)
    return least


def _of_effort(effort: str, family: Family, note: Callable[[str, str], None]) -> dict[str, Any]:
    if family.thinking == "budget":
        budget = budget_of(effort, family)
        if effort not in family.levels:
            note("effort", f"{effort!r} was sent as a budget of {budget}, the largest")
        elif effort == "minimal":
            note("effort", f"'minimal' was sent as a budget of {budget}, as low is")
        return {"thinkingBudget": budget}
    level = family.levels.get(effort, "HIGH")
    if level.lower() != effort:
        note("effort", f"{effort!r} was sent as {level}")
    return {"thinkingLevel": level}
