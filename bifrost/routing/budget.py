"""The retry budget of a provider. Pure: the time is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bifrost.config import RetryBudgetConfig


class Payment:
    """The cost of a retry. It is refunded once if the retry succeeds or is not made, and lost if the retry fails."""

    __slots__ = ("_budget", "amount")

    def __init__(self, budget: RetryBudget, amount: float) -> None:
        self._budget = budget
        self.amount = amount

    def give_back(self, now: float) -> None:
        """Refund the cost to its budget."""
        amount, self.amount = self.amount, 0.0
        self._budget.refund(amount, now=now)


class RetryBudget:
    """The tokens that a provider's retries cost: one token bucket per provider. Nothing waits for tokens.

    A retry that succeeds gets its tokens back. A provider that fails now and then is therefore retried freely. A
    provider that is down exhausts its budget, and each call then sends it a single request.
    """

    __slots__ = ("_at", "_config", "_tokens", "is_full")

    def __init__(self, config: RetryBudgetConfig, *, now: float) -> None:
        self._config = config
        self._tokens = config.capacity
        self._at = now
        self.is_full = True
        """Whether no tokens are missing, as of the last update."""

    def change(self, config: RetryBudgetConfig, *, now: float) -> None:
        """Use other settings. Tokens that were taken stay taken."""
        taken = self._config.capacity - self.tokens(now)
        self._config = config
        self._tokens = max(0.0, config.capacity - taken)
        self._add(0.0)

    def tokens(self, now: float) -> float:
        """Return the tokens in the budget, between 0 and the capacity."""
        gained = max(0.0, now - self._at) * self._config.per_second
        self._at = max(self._at, now)
        return self._add(gained)

    def cost(self, *, timed_out: bool) -> float:
        """Return the cost of the retry after a failure. A timeout costs more."""
        return self._config.timeout if timed_out else self._config.retry

    @property
    def hedge(self) -> float:
        """The cost of a hedge. It is never refunded, because the first attempt may well succeed."""
        return self._config.hedge

    def affords(self, cost: float, *, now: float) -> bool:
        """Return whether the budget covers a retry of this cost."""
        return cost <= self.tokens(now)

    def withdraw(self, cost: float, *, now: float) -> Payment | None:
        """Pay for a retry. Returns `None`, and takes nothing, if there are not enough tokens."""
        if not self.affords(cost, now=now):
            return None
        self._add(-cost)
        return Payment(self, cost)

    def reward(self) -> None:
        """Add the tokens for a call that succeeded at its first attempt."""
        self._add(self._config.success)

    def refund(self, cost: float, *, now: float) -> None:
        """Put the tokens of a payment back. `Payment` calls it."""
        self.tokens(now)
        self._add(cost)

    def _add(self, tokens: float) -> float:
        capacity = self._config.capacity
        self._tokens = min(capacity, self._tokens + tokens)
        self.is_full = self._tokens == capacity
        return self._tokens
