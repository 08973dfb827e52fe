"""The parts of a plan: a candidate, a group of candidates, and the places of a call. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bifrost.frozen import Value
from bifrost.routing.balance import Balance, Weighted

if TYPE_CHECKING:
    from collections.abc import Sequence


class Candidate(Value, msgspec.Struct, frozen=True):
    """A provider and a model, under the name that calls use for it."""

    provider: str
    """The name of the provider."""

    model: str
    """The name of the model at the provider."""

    @property
    def name(self) -> str:
        """The name for balancing policies, `provider/model`."""
        return f"{self.provider}/{self.model}"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class Group(Value, msgspec.Struct, frozen=True):
    """A model group: its members, and the policy that chooses among them."""

    members: Weighted[Candidate]
    balance: Balance


class Place(NamedTuple):
    """A model that a call names (its own or a fallback), and the candidates for it."""

    name: str
    members: Sequence[Candidate]
    group: Group | None = None
    """The group, if there are several members to choose from."""
