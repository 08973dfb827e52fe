"""The options that families of Claude models refuse, according to Anthropic's documentation.

Models with other names (of another vendor, behind a provider with this dialect) belong to no family.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = re.compile(r"claude-(?:(?:opus|sonnet|haiku|fable|mythos)-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Family(Frozen):
    """The options that models accept from a version on."""

    since: tuple[int, int]
    """The first version, as major and minor number."""

    sampling: bool = True
    """Whether `temperature`, `top_p` and `top_k` are accepted."""
    both_samplings: bool = True
    """Whether `temperature` and `top_p` are accepted together."""
    budgets: bool = True
    """Whether thinking can have a budget of tokens."""
    beginnings: bool = True
    """Whether the last message may be the assistant's, as the beginning of the response."""


_FAMILIES: Sequence[Family] = (
    # https://platform.claude.com/docs/en/build-with-claude/extended-thinking: "Claude 4.7 models and later"
    # https://platform.claude.com/docs/en/about-claude/models/migration-guide
    Family(since=(4, 7), sampling=False, both_samplings=False, budgets=False, beginnings=False),
    Family(since=(4, 6), both_samplings=False, beginnings=False),
    Family(since=(4, 1), both_samplings=False),
)
"""The newest first."""

ANY_FAMILY = Family(since=(0, 0))
"""Of which nothing is known."""

_OLDER = Family(since=(0, 0))


def family_of(model: str) -> Family:
    """Return the family of a model by its name, dated or not, in whatever cloud."""
    found = _VERSION.search(model)
    if found is None:
        return ANY_FAMILY
    version = int(found[1]), int(found[2] or 0)
    return next((family for family in _FAMILIES if version >= family.since), _OLDER)
