"""How many retries a provider's failures are worth. Pure: the time is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bifrost.config import RetryBudgetConfig


class Payment:
    """What a retry has cost: given back, once, if it succeeds or is not made; gone, if it fails."""

    __slots__ = ("_budget", "amount")

    def __init__(self, budget: RetryBudget, amount: float) -> None:
        self._budget = budget
        self.amount = amount

    def give_back(self, now: float) -> None:
        """Put it back into the bucket that it is from."""
        amount, self.amount = self.amount, 0.0
        self._budget.refund(amount, now=now)


class RetryBudget:
    """The tokens that a provider's retries are paid with: one bucket per provider, never waited for.

    A retry that succeeds gets its tokens back, so a provider that fails now and then is retried freely, and one that
    is down uses its bucket up and is then asked once by each call.
    """

    __slots__ = ("_at", "_config", "_tokens", "is_full")

    def __init__(self, config: RetryBudgetConfig, *, now: float) -> None:
        self._config = config
        self._tokens = config.capacity
        self._at = now
        self.is_full = True
        """Nothing was taken that has not come back, as of the last look."""

    def change(self, config: RetryBudgetConfig, *, now: float) -> None:
        """Go on with other settings: what is taken stays taken."""
        taken = self._config.capacity - self.tokens(now)
        self._config = config
        self._tokens = max(0.0, config.capacity - taken)
        self._add(0.0)

    def tokens(self, now: float) -> float:
        """Give what is in the bucket: never below 0, never above the capacity."""
        gained = max(0.0, now - self._at) * self._config.per_second
        self._at = max(self._at, now)
        return self._add(gained)

    def cost(self, *, timed_out: bool) -> float:
        """Give what the retry after a failure costs: a timeout has taken more than its time, so it costs more."""
        return self._config.timeout if timed_out else self._config.retry

    @property
    def hedge(self) -> float:
        """What a hedge costs: as it repeats what may well succeed, nobody gives that back."""
        return self._config.hedge

    def affords(self, cost: float, *, now: float) -> bool:
        """Say whether a retry of this cost may be made."""
        return cost <= self.tokens(now)

    def withdraw(self, cost: float, *, now: float) -> Payment | None:
        """Pay for a retry; `None`, and nothing is taken, if there is not enough."""
        if not self.affords(cost, now=now):
            return None
        self._add(-cost)
        return Payment(self, cost)

    def reward(self) -> None:
        """Take note of a call that succeeded at once."""
        self._add(self._config.success)

    def refund(self, cost: float, *, now: float) -> None:
        """Take back what a payment was: it asks for that itself."""
        self.tokens(now)
        self._add(cost)

    def _add(self, tokens: float) -> float:
        capacity = self._config.capacity
        self._tokens = min(capacity, self._tokens + tokens)
        self.is_full = self._tokens == capacity
        return self._tokens
