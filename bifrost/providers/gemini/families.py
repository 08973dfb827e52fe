"""How families of Gemini models think, and what they take: https://ai.google.dev/gemini-api/docs/thinking.

Models with other names (Gemma, or a tuned model) belong to no family.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import attrs

from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"gemini-(\d)(?:\.(\d))?(?:-(?:\d{3}-)?(flash-lite|flash|pro))?")

_BUDGETS: Mapping[str, int] = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""https://ai.google.dev/gemini-api/docs/openai#thinking"""

_LEVELS: Mapping[str, str] = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Family(Frozen):
    """What models with certain names take."""

    thinking: Literal["level", "budget"] | None
    """How an effort is requested; `None`: they do not think."""
    levels: Mapping[str, str] = attrs.field(factory=lambda: _LEVELS)
    """The level that is sent for each effort."""
    least: int | None = 0
    """The budget that switches thinking off, or the smallest one; `None`: there is no budget that does."""
    most: int = 24_576
    """The largest budget."""
    signs_calls: bool = False
    """Whether the calls of the current turn must have signatures."""
    media_in_results: bool = True
    """Whether the result of a tool may contain media."""
    validates_calls: bool = True
    """Whether calls can be made to match the schemas of their tools."""
    resolution_of_parts: bool = True
    """Whether each image has a resolution of its own."""


ANY_FAMILY = Family(thinking="level")
"""Of which nothing is known."""

_OLD = Family(thinking=None, media_in_results=False, validates_calls=False, resolution_of_parts=False)

_FAMILIES: Mapping[tuple[int, str], Family] = {
    # https://ai.google.dev/gemini-api/docs/thinking#set-budget
    (25, "pro"): Family(thinking="budget", least=128, most=32_768, media_in_results=False, resolution_of_parts=False),
    (25, ""): Family(thinking="budget", media_in_results=False, resolution_of_parts=False),
    # https://ai.google.dev/gemini-api/docs/gemini-3#thinking_level
    (30, "pro"): Family(
        thinking="level",
        levels={**_LEVELS, "minimal": "LOW", "medium": "HIGH"},
        least=None,
        signs_calls=True,
    ),
    (31, "pro"): Family(thinking="level", levels={**_LEVELS, "minimal": "LOW"}, least=None, signs_calls=True),
    (30, ""): Family(thinking="level", least=None, signs_calls=True),
}


def family_of(model: str) -> Family:
    """Return the family of a model by its name, with or without `models/` before it."""
    found = _NAME.search(model)
    if found is None:
        return ANY_FAMILY
    version, kind = int(found[1]) * 10 + int(found[2] or 0), found[3] or ""
    if version < 25:
        return _OLD
    if kind == "pro" and version > 30:
        version = 31
    elif version >= 30:
        version = 30
    else:
        version = 25
    return _FAMILIES.get((version, kind)) or _FAMILIES[version, ""]


def budget_of(effort: str, family: Family) -> int:
    """Return the budget for an effort. Unknown and higher efforts get the largest one."""
    return _BUDGETS.get(effort, family.most)
