"""What families of Claude models refuse, as Anthropic documents it.

Models of other names (another vendor's, behind a row of this dialect) have no family: nothing is known of them.
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
    """What the models from a version on take."""

    since: tuple[int, int]
    sampling: bool = True
    """`temperature`, `top_p` and `top_k` are taken."""
    both_samplings: bool = True
    """`temperature` and `top_p` are taken beside each other."""
    budgets: bool = True
    """Thinking can have a budget of tokens."""
    beginnings: bool = True
    """The last message may be the assistant's, as the beginning of the answer."""


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
