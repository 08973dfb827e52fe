"""The state of a call's attempts at one candidate: the failures so far, and how the next attempt is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.routing.health import is_fault_of_address
from bifrost.routing.retry import is_free, rule_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from bifrost.config import RetryConfig
    from bifrost.errors import BifrostError
    from bifrost.routing.budget import Payment
    from bifrost.routing.health import Health
    from bifrost.routing.keys import KeyPool, KeySelection


class RetryState:
    """The state after the failures of one candidate. A hedge at the same candidate shares it."""

    __slots__ = (
        "categories",
        "cooling_key",
        "due",
        "failed_address",
        "failure",
        "fallback_behind",
        "health",
        "hedged",
        "keys",
        "model",
        "paid",
        "refused",
        "retry",
        "spent",
        "wait",
        "waited_for_keys",
    )

    def __init__(self, model: str, keys: KeyPool, retry: RetryConfig, health: Health, *, fallback_behind: bool) -> None:
        self.model = model
        self.keys = keys
        self.retry = retry
        self.health = health
        self.fallback_behind = fallback_behind
        self.categories: list[str] = []
        """The category of each failure."""
        self.spent: set[str] = set()
        """The names of keys that were tried since the last wait."""
        self.refused: set[str] = set()
        """The names of keys that this call can no longer use."""
        self.failed_address: str | None = None
        """The address at which the last attempt failed, if the address was at fault. The next attempt prefers another
        one.
        """
        self.wait = 0.0
        """How long to wait before the next attempt, in seconds."""
        self.due: float | None = None
        """When the next attempt may be made, if other candidates are tried before it."""
        self.failure: BifrostError | None = None
        """The last failure."""
        self.waited_for_keys = 0.0
        """How long the call has waited for keys, in seconds."""
        self.cooling_key: tuple[KeySelection, float] | None = None
        """A key that is cooling down and that the call may use in its turn, and when it is ready."""
        self.paid: Payment | None = None
        """What the next attempt has cost of the retry budget, until it is admitted."""
        self.hedged = False
        """Whether there was a hedge. A candidate gets one at most."""

    def key_after_cooldown(self) -> KeySelection | None:
        """Return the cooling key whose turn has come for this call, unless it cools down again meanwhile."""
        if self.cooling_key is None:
            return None
        selection, until = self.cooling_key
        health = selection.health
        is_same = health is not None and health.state == "cooling_down" and health.until == until
        return selection if is_same else None

    def failed(self, selection: KeySelection | None, error: BifrostError) -> bool:
        """Record that an attempt with this key has failed. Returns whether it does not count as an attempt."""
        name = "" if selection is None else selection.name
        self.failure = error
        self.categories.append(error.category)
        self.spent.add(name)
        if rule_of(error).kills_key:
            self.refused.add(name)
        self.failed_address = None
        if len(self.keys.addresses) > 1 and selection is not None and is_fault_of_address(error):
            self.failed_address = selection.address
        return is_free(self.categories)

    def other_address(self, now: float) -> Collection[str]:
        """Return the names of the keys to exclude, including those of the failed address if others are ready."""
        failed = self.failed_address or ""
        return self.keys.at_other_addresses(self.model, failed, excluded=self.spent, now=now)

    def give_back(self, now: float) -> None:
        """Refund the cost of an attempt that is not made."""
        paid, self.paid = self.paid, None
        if paid is not None:
            paid.give_back(now)
