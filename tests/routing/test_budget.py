from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bifrost.config import RetryBudgetConfig
from bifrost.routing.budget import Payment, RetryBudget


def test_a_retry_costs_and_gets_it_back_if_it_succeeds() -> None:
    budget = RetryBudget(RetryBudgetConfig(), now=0.0)

    retry = budget.withdraw(budget.cost(timed_out=False), now=0.0)
    after_timeout = budget.withdraw(budget.cost(timed_out=True), now=0.0)
    assert retry is not None
    assert after_timeout is not None
    assert budget.tokens(0.0) == 185
    after_timeout.give_back(0.0)
    assert budget.tokens(0.0) == 195
    after_timeout.give_back(0.0)
    assert budget.tokens(0.0) == 195, "once"


def test_a_hedge_has_a_price_of_its_own() -> None:
    assert RetryBudget(RetryBudgetConfig(), now=0.0).hedge == 10
    assert RetryBudget(RetryBudgetConfig(hedge=3), now=0.0).hedge == 3


def test_it_is_full_while_nothing_is_out() -> None:
    budget = RetryBudget(RetryBudgetConfig(capacity=20), now=0.0)
    assert budget.is_full

    paid = budget.withdraw(10, now=0.0)
    assert paid is not None
    assert not budget.is_full
    # Half of it has come back with time by then.
    paid.give_back(5.0)
    assert budget.is_full


def test_with_other_settings_what_is_taken_stays_taken() -> None:
    budget = RetryBudget(RetryBudgetConfig(capacity=20), now=0.0)
    budget.withdraw(15, now=0.0)

    budget.change(RetryBudgetConfig(capacity=200, per_second=2), now=1.0)
    assert budget.tokens(1.0) == 186
    assert budget.tokens(2.0) == 188
    budget.change(RetryBudgetConfig(capacity=5), now=2.0)
    assert budget.tokens(2.0) == 0
    assert not budget.is_full


def test_a_full_budget_is_full_with_other_settings() -> None:
    budget = RetryBudget(RetryBudgetConfig(capacity=20), now=0.0)
    budget.change(RetryBudgetConfig(capacity=7), now=1.0)
    assert budget.is_full
    assert budget.tokens(1.0) == 7


def test_too_few_tokens_are_not_taken() -> None:
    budget = RetryBudget(RetryBudgetConfig(capacity=12), now=0.0)

    assert [budget.withdraw(5, now=0.0) is not None for _ in range(3)] == [True, True, False]
    assert not budget.affords(5, now=0.0)
    assert budget.tokens(0.0) == 2


def test_tokens_come_with_time_and_with_success() -> None:
    budget = RetryBudget(RetryBudgetConfig(capacity=10), now=100.0)
    budget.withdraw(10, now=100.0)

    budget.reward()
    assert budget.tokens(100.0) == 1
    assert budget.tokens(102.5) == 3.5
    assert budget.affords(5, now=104.0)
    assert budget.tokens(1e9) == 10


def test_a_clock_that_stands_or_goes_back_brings_nothing() -> None:
    budget = RetryBudget(RetryBudgetConfig(), now=50.0)
    budget.withdraw(100, now=50.0)

    assert budget.tokens(10.0) == 100
    assert budget.tokens(50.0) == 100
    assert budget.tokens(51.0) == 101


def test_retries_that_cost_nothing_are_not_limited() -> None:
    budget = RetryBudget(RetryBudgetConfig(retry=0, capacity=1), now=0.0)

    assert all(budget.withdraw(budget.cost(timed_out=False), now=0.0) for _ in range(1000))


# --- against a ledger


class AgainstALedger(RuleBasedStateMachine):
    """The budget, beside a list of everything that happened from which its content is worked out anew each time."""

    withdrawn = Bundle("withdrawn")

    @initialize(capacity=st.integers(1, 40), per_second=st.integers(0, 3), start=st.integers(0, 1000))
    def begin(self, capacity: int, per_second: int, start: int) -> None:
        self.now = float(start)
        self.config = RetryBudgetConfig(capacity=capacity, per_second=per_second)
        self.budget = RetryBudget(self.config, now=self.now)
        self.ledger: list[tuple[float, float]] = [(self.now, capacity)]

    def expected(self) -> float:
        held, at = 0.0, self.ledger[0][0]
        for moment, change in [*self.ledger, (self.now, 0.0)]:
            held = min(self.config.capacity, held + (moment - at) * self.config.per_second)
            held = min(self.config.capacity, held + change)
            at = moment
        return held

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(timed_out=st.booleans(), target=withdrawn)
    def withdraw(self, timed_out: bool) -> Payment | None:
        cost = self.budget.cost(timed_out=timed_out)
        there = self.expected()
        paid = self.budget.withdraw(cost, now=self.now)
        assert (paid is not None) == (there >= cost)
        if paid is not None:
            assert paid.amount == cost
            self.ledger.append((self.now, -cost))
        return paid

    @rule(paid=consumes(withdrawn))
    def give_back(self, paid: Payment | None) -> None:
        if paid is not None:
            self.ledger.append((self.now, paid.amount))
            paid.give_back(self.now)

    @rule()
    def reward(self) -> None:
        self.budget.tokens(self.now)
        self.budget.reward()
        self.ledger.append((self.now, self.config.success))

    @invariant()
    def holds_what_the_ledger_says(self) -> None:
        assert 0 <= self.budget.tokens(self.now) <= self.config.capacity
        assert self.budget.tokens(self.now) == pytest.approx(self.expected())


AgainstALedger.TestCase.settings = settings(stateful_step_count=40)
TestAgainstALedger = AgainstALedger.TestCase


# --- simulated


class Simulation:
    """Calls at an even rate, three attempts each, against a provider that fails as it is told."""

    def __init__(self, *, rate: float, config: RetryBudgetConfig | None = None, seed: int = 1) -> None:
        self.rate = rate
        self.random = Random(seed).random
        self.budget = RetryBudget(config or RetryBudgetConfig(), now=0.0)
        self.now = 0.0
        self.calls = self.served = 0
        self.attempts: list[float] = []

    def run(self, seconds: float, failing: float) -> None:
        self.calls = self.served = 0
        self.attempts = []
        end = self.now + seconds
        while self.now < end:
            self.call(failing)
            self.now += 1 / self.rate

    def call(self, failing: float) -> None:
        self.calls += 1
        for attempt in range(3):
            paid = self.budget.withdraw(self.budget.cost(timed_out=False), now=self.now) if attempt else None
            if attempt and paid is None:
                return
            self.attempts.append(self.now)
            if self.random() >= failing:
                self.served += 1
                if paid is not None:
                    paid.give_back(self.now)
                else:
                    self.budget.reward()
                return

    @property
    def success(self) -> float:
        return self.served / self.calls

    @property
    def load(self) -> float:
        return len(self.attempts) / self.calls

    @property
    def worst_second(self) -> float:
        """The attempts of the second with the most of them, for each call of it."""
        seconds = [int(moment) for moment in self.attempts]
        return max(seconds.count(second) for second in set(seconds)) / self.rate


def test_while_retries_help_they_are_made() -> None:
    """A third attempt would serve 97.3 % of all calls if nothing limited it."""
    storm = Simulation(rate=100)
    storm.run(120, failing=0.3)

    assert storm.success >= 0.965
    assert 1.3 < storm.load < 1.45


def test_in_an_outage_they_end() -> None:
    outage = Simulation(rate=100)
    outage.run(60, failing=0.0)
    outage.run(60, failing=1.0)

    assert outage.load <= 1.02
    assert outage.worst_second <= 1.5


def test_without_a_budget_an_outage_triples_the_load() -> None:
    outage = Simulation(rate=100, config=RetryBudgetConfig(retry=0))
    outage.run(60, failing=1.0)

    assert outage.load == 3.0


def test_when_every_second_attempt_fails_retries_are_rationed() -> None:
    storm = Simulation(rate=100)
    storm.run(120, failing=0.5)

    assert 0.55 < storm.success < 0.70
    assert 1.1 < storm.load < 1.35


def test_callers_with_little_to_ask_are_not_starved() -> None:
    few = Simulation(rate=2)
    few.run(1800, failing=0.3)

    assert few.success >= 0.965


def test_after_an_outage_it_recovers() -> None:
    outage = Simulation(rate=100)
    outage.run(60, failing=1.0)
    outage.run(15, failing=0.3)
    outage.run(15, failing=0.3)

    assert outage.success >= 0.95
