"""Who may serve a call: a candidate, a group of them, and the places of a plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bifrost.frozen import Value
from bifrost.routing.balance import Balance, Weighted

if TYPE_CHECKING:
    from collections.abc import Sequence


class Candidate(Value, msgspec.Struct, frozen=True):
    """A provider, and a model under the name that calls use there."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        """What a balancing policy knows it by."""
        return f"{self.provider}/{self.model}"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Group(Value, msgspec.Struct, frozen=True):
    """A group, read and checked: its members, and the policy that chooses among them."""

    members: Weighted[Candidate]
    balance: Balance


class Place(NamedTuple):
    """A model as a call names it, or a fallback, and those who may serve it."""

    name: str
    members: Sequence[Candidate]
    group: Group | None = None
    """What chooses among several members."""
