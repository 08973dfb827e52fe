from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bifrost.account import Key
from bifrost.config import BreakerConfig, HedgeConfig, KeyPoolConfig, ProviderConfig, RetryBudgetConfig
from bifrost.errors import (
    AuthenticationError,
    BifrostError,
    CallCancelledError,
    CallTimeoutError,
    CircuitOpenError,
    ConnectError,
    CredentialsExhaustedError,
    InvalidRequestError,
    QueueFullError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from bifrost.providers.catalog import CATALOG
from bifrost.routing.budget import Payment
from bifrost.routing.health import Admission, Health
from bifrost.routing.hedge import BURST
from bifrost.routing.keys import KeyPool, KeySelection
from tests.table import table

MODEL = "gpt-4o"


class Rig:
    """The health of a provider with two keys, and a clock that a test turns."""

    def __init__(self, **config: Any) -> None:
        self.now = 100.0
        self.health = Health("openai", ProviderConfig(**config), now=self.now, random=lambda: 0.5)
        self._ring()

    def _ring(self) -> None:
        keys = [Key(name=name, value=f"sk-{name}") for name in ("a", "b")]
        self.ring = KeyPool(CATALOG["openai"], keys, states=self.health.keys, balance=self.health.balance)

    def change(self, config: ProviderConfig) -> None:
        self.health.change(config, now=self.now)
        self._ring()

    def choose(self, pin: str | None = None) -> KeySelection:
        return self.ring.choose(MODEL, random=lambda: 0.0, now=self.now, pin=pin)

    def admit(
        self, pin: str = "a", *, model: str = MODEL, is_retry: bool = False, paid: Payment | None = None
    ) -> Admission:
        return self.health.admit(self.choose(pin), model, now=self.now, is_retry=is_retry, paid=paid)

    def attempted(self, times: int) -> None:
        assert self.health.hedging is not None
        for _ in range(times):
            self.health.hedging.begin("chat", MODEL)

    def hedge(self, pin: str = "b") -> Admission | None:
        return self.health.admit_hedge(self.choose(pin), MODEL, now=self.now)

    def fail(self, error: BifrostError, times: int = 1) -> str | None:
        told = None
        for _ in range(times):
            told = self.admit().close(error, now=self.now)
        return told

    @property
    def tokens(self) -> float:
        return self.health.budget.tokens(self.now)

    @property
    def state(self) -> str:
        return self.health.state(MODEL, self.now) or "off"

    @property
    def failures(self) -> int:
        return sum(breaker.failures for breaker in self.health.breakers(self.now).values())

    def keys(self) -> dict[str, str]:
        return {key.name: key.state for key in self.ring.snapshot(self.now)}

    def in_flight(self) -> list[int]:
        return [key.in_flight for key in self.ring.snapshot(self.now)]


def failed(kind: type[BifrostError], status: int | None = None, **said: Any) -> BifrostError:
    return kind("it failed", status=status, **said)


def never_sent() -> BifrostError:
    error = ConnectError("refused")
    error.category = "never_sent"
    return error


def test_what_is_let_in_is_under_way_until_it_is_closed() -> None:
    rig = Rig()
    admission = rig.admit("b")
    assert rig.in_flight() == [0, 1]

    admission.succeeded(rig.now)
    assert rig.in_flight() == [0, 1]
    assert admission.close(None, now=rig.now) is None
    assert rig.in_flight() == [0, 0]


@table(
    ("error", "note", "key", "failures"),
    [
        (failed(RateLimitError, 429, retry_after=9.0), "key a cooling down for 9.0 s", "cooling_down", 0),
        (failed(AuthenticationError, 401), "key a taken out of use (credential)", "dead", 0),
        (failed(ServerError, 503), None, "ready", 1),
        (failed(ServerError, 408), None, "ready", 0),
        (failed(ServerError, 425), None, "ready", 0),
        (never_sent(), None, "ready", 1),
        (failed(CallTimeoutError, phase="first_token"), None, "ready", 1),
        (failed(InvalidRequestError), None, "ready", 0),
        (failed(QueueFullError), None, "ready", 0),
        (failed(CallCancelledError), None, "ready", 0),
    ],
    ids=lambda value: f"{type(value).__name__} {value.status}" if isinstance(value, BifrostError) else None,
)
def test_a_failure_is_told_to_whom_it_concerns(error: BifrostError, note: str | None, key: str, failures: int) -> None:
    rig = Rig()

    assert rig.fail(error) == note
    assert rig.keys() == {"a": key, "b": "ready"}
    assert rig.failures == failures


def test_a_provider_that_fails_is_left_alone_and_says_for_how_long() -> None:
    rig = Rig(breaker=BreakerConfig(calls=2))
    assert rig.fail(failed(ServerError, 503), times=2) == "breaker opened for 5.0 s"

    with pytest.raises(CircuitOpenError, match=r"openai/gpt-4o has failed repeatedly; .* 5\.0 s more") as caught:
        rig.admit()
    assert (caught.value.retry_after, caught.value.provider, caught.value.model) == (5.0, "openai", MODEL)
    assert rig.in_flight() == [0, 0]
    rig.now += 5
    rig.admit()


def test_each_model_has_a_breaker_of_its_own() -> None:
    rig = Rig(breaker=BreakerConfig(calls=1))
    rig.fail(failed(ServerError, 503))

    with pytest.raises(CircuitOpenError, match=f"openai/{MODEL} has failed"):
        rig.admit()
    rig.admit(model="o1")
    assert {model: seen.state for model, seen in rig.health.breakers(rig.now).items()} == {
        "": "closed",
        MODEL: "open",
        "o1": "closed",
    }
    for number in range(1000):
        rig.admit(model=f"m{number}")
    assert len(rig.health.breakers(rig.now)) == 501


def test_all_models_may_be_judged_together() -> None:
    rig = Rig(breaker=BreakerConfig(calls=1, per_model=False))
    rig.fail(failed(ServerError, 503))

    with pytest.raises(CircuitOpenError, match=r"^openai has failed repeatedly"):
        rig.admit(model="o1")
    assert {model: seen.state for model, seen in rig.health.breakers(rig.now).items()} == {"": "closed", "*": "open"}


def test_what_cannot_be_reached_is_unavailable_for_every_model() -> None:
    rig = Rig()
    for model in ("a", "b", "c", "d", "e"):
        rig.admit(model=model).close(never_sent(), now=rig.now)

    with pytest.raises(CircuitOpenError, match=r"openai could not be reached repeatedly; .* 5\.0 s more"):
        rig.admit(model="f")
    assert rig.health.breakers(rig.now)[""].state == "open"
    assert {rig.health.state(model, rig.now) for model in "abcdef"} == {"open"}
    assert rig.health.breakers(rig.now)["a"].failures == 0


@pytest.mark.parametrize(
    "error",
    [failed(ServerError, 503), failed(RateLimitError, 429), failed(CallTimeoutError, phase="first_token")],
    ids=["5xx", "429", "silence"],
)
def test_whoever_fails_was_reached(error: BifrostError) -> None:
    rig = Rig(breaker=BreakerConfig(in_a_row=100))
    for _ in range(3):
        rig.fail(never_sent(), times=4)
        rig.admit("b", model="o1").close(error, now=rig.now)
    assert rig.health.breakers(rig.now)[""].state == "closed"


def test_a_model_that_is_left_alone_keeps_no_probe_of_the_address() -> None:
    rig = Rig(breaker=BreakerConfig(in_a_row=2, unreachable=2, open=5))
    for model, error in ((MODEL, failed(ServerError, 503)), (MODEL, failed(ServerError, 503))):
        rig.admit(model=model).close(error, now=rig.now)
    for _ in range(2):
        rig.admit(model="o1").close(never_sent(), now=rig.now - 5)
    assert rig.health.own.route.state(rig.now) == "half_open"
    with pytest.raises(CircuitOpenError, match="openai/gpt-4o has failed"):
        rig.admit()
    assert rig.admit(model="o1").is_probe


def test_a_stream_that_stalls_counts_as_a_failure_though_it_had_begun() -> None:
    rig = Rig()
    notes: list[str | None] = []
    for _ in range(5):
        admission = rig.admit()
        admission.began(rig.now)
        broken = StreamInterruptedError("it broke")
        broken.__cause__ = failed(CallTimeoutError, phase="body")
        notes.append(admission.close(broken, now=rig.now))
    assert (rig.state, notes) == ("open", [None, None, None, None, "breaker opened for 5.0 s"])


@table("why", ["end", "caller left", "deadline", "plugin"])
def test_a_stream_that_its_reader_ends_is_no_failure(why: str) -> None:
    rig = Rig(breaker=BreakerConfig(calls=1))
    admission = rig.admit()
    admission.began(rig.now)
    error: BifrostError | None = None
    if why == "caller left":
        error = failed(CallCancelledError)
    elif why != "end":
        error = StreamInterruptedError("it broke")
        error.__cause__ = failed(CallTimeoutError, phase="stream") if why == "deadline" else ValueError("odd")
        if isinstance(error.__cause__, CallTimeoutError):
            error.__cause__.category = "limit"
    assert admission.close(error, now=rig.now) is None
    assert (rig.state, rig.failures) == ("closed", 0)


def test_a_breaker_that_is_switched_off_lets_everything_in() -> None:
    rig = Rig(breaker=BreakerConfig(calls=1, enabled=False))
    rig.fail(failed(ServerError, 503), times=50)

    assert rig.health.retry_block(failed(ServerError, 503), MODEL, now=rig.now) is None


def test_a_breaker_that_is_switched_off_says_nothing_and_holds_nobody_back() -> None:
    rig = Rig(breaker=BreakerConfig(enabled=False, calls=2))
    assert rig.fail(failed(ServerError, 503), times=20) is None
    rig.health.check(MODEL, rig.now)
    assert rig.health.unavailable_for(MODEL, rig.now) == 0
    assert rig.health.state(MODEL, rig.now) is None
    rig.admit()


def test_a_breaker_may_be_switched_off_and_on_again() -> None:
    rig = Rig(breaker=BreakerConfig(calls=2))
    rig.fail(failed(ServerError, 503), times=2)
    for enabled in (True, False, True):
        rig.change(ProviderConfig(breaker=BreakerConfig(calls=2, enabled=enabled)))
        if enabled:
            with pytest.raises(CircuitOpenError):
                rig.admit()
        else:
            rig.admit().close(None, now=rig.now)


def test_an_attempt_ends_once() -> None:
    rig = Rig()
    admission = rig.admit()
    for _ in range(2):
        admission.cancel(rig.now)
        admission.close(None, now=rig.now)
    assert rig.in_flight() == [0, 0]


def test_whether_a_call_would_be_let_in_can_be_asked_without_being_let_in() -> None:
    rig = Rig(breaker=BreakerConfig(calls=2))
    rig.health.check(MODEL, rig.now)
    rig.fail(failed(ServerError, 503), times=2)
    with pytest.raises(CircuitOpenError) as caught:
        rig.health.check(MODEL, rig.now)
    assert caught.value.retry_after == 5.0
    rig.now += 5
    for _ in range(3):
        rig.health.check(MODEL, rig.now)
    rig.admit()


def test_a_failure_that_is_reported_early_is_told_once_and_in_full() -> None:
    rig = Rig(breaker=BreakerConfig(calls=1))
    admission = rig.admit()
    error = failed(ServerError, 503)
    admission.report(error, rig.now)
    assert rig.health.state(MODEL, rig.now) == "open"
    admission.report(error, rig.now)
    assert admission.close(error, now=rig.now) == "breaker opened for 5.0 s"
    assert rig.in_flight() == [0, 0]


def test_a_retry_is_paid_and_comes_back_if_it_succeeds_or_is_broken_off() -> None:
    rig = Rig(retry_budget=RetryBudgetConfig(per_second=0))
    error = failed(ServerError, 503)
    for end in ("succeeded", "cancelled", "failed"):
        admission = rig.admit(is_retry=True, paid=rig.health.pay(error, now=rig.now))
        assert rig.tokens == 195
        if end == "cancelled":
            admission.cancel(rig.now)
        admission.close(error if end == "failed" else None, now=rig.now)
        assert rig.tokens == (195 if end == "failed" else 200)


def test_what_was_reported_is_reported_once() -> None:
    rig = Rig(retry_budget=RetryBudgetConfig(per_second=0, success=0))
    rig.health.budget.withdraw(100, now=rig.now)
    admission = rig.admit(is_retry=True, paid=rig.health.pay(failed(ServerError, 503), now=rig.now))

    admission.succeeded(rig.now)
    admission.cancel(rig.now)
    admission.close(failed(ServerError, 503), now=rig.now)
    assert rig.tokens == 100
    assert rig.failures == 0


def test_a_success_at_once_brings_a_token_and_one_after_a_free_retry_none() -> None:
    rig = Rig(retry_budget=RetryBudgetConfig(per_second=0))
    rig.health.budget.withdraw(100, now=rig.now)

    rig.admit().close(None, now=rig.now)
    assert rig.tokens == 101
    rig.admit(is_retry=True).close(None, now=rig.now)
    assert rig.tokens == 101


def test_what_speaks_against_a_retry_is_told() -> None:
    rig = Rig(breaker=BreakerConfig(calls=3), retry_budget=RetryBudgetConfig(capacity=7, per_second=0))
    error, timeout = failed(ServerError, 503), failed(CallTimeoutError, phase="first_token")

    assert rig.health.retry_block(error, MODEL, now=rig.now) is None
    assert rig.health.retry_block(timeout, MODEL, now=rig.now) == "budget"
    assert rig.health.pay(timeout, now=rig.now) is None
    paid = rig.health.pay(error, now=rig.now)
    assert paid is not None
    assert paid.amount == 5.0
    assert rig.health.retry_block(error, MODEL, now=rig.now) == "budget"
    rig.fail(error, times=3)
    assert rig.health.retry_block(error, MODEL, now=rig.now) == "breaker"


# --- hedges


def hedging(**config: Any) -> Rig:
    """Give a provider at which each attempt may be hedged."""
    rig = Rig(hedge=HedgeConfig(share=1), **config)
    rig.attempted(3)
    return rig


def test_without_the_setting_there_is_no_hedge() -> None:
    rig = Rig()

    assert rig.health.hedging is None
    assert rig.hedge() is None
    assert rig.tokens == 200


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "failed"])
def test_a_hedge_costs_ten_that_never_come_back(end: str) -> None:
    rig = hedging(retry_budget=RetryBudgetConfig(per_second=0))
    admission = rig.hedge()
    assert admission is not None
    assert rig.tokens == 190
    assert rig.in_flight() == [0, 1]

    if end == "cancelled":
        admission.cancel(rig.now)
    admission.close(failed(ServerError, 503) if end == "failed" else None, now=rig.now)
    assert rig.tokens == 190
    assert rig.in_flight() == [0, 0]
    assert rig.failures == (1 if end == "failed" else 0)


def test_with_too_little_in_the_budget_there_is_none_and_nothing_is_taken() -> None:
    rig = hedging(retry_budget=RetryBudgetConfig(capacity=19, per_second=0))

    assert rig.hedge() is not None
    assert rig.hedge() is None
    assert rig.tokens == 9
    rig.health.budget.refund(10, now=rig.now)
    assert rig.hedge() is not None


def test_hedges_add_no_more_than_their_share() -> None:
    rig = Rig(hedge=HedgeConfig())
    rig.attempted(19)
    assert rig.hedge() is None

    rig.attempted(1)
    assert rig.hedge() is not None
    assert rig.hedge() is None
    assert rig.tokens == 190


@pytest.mark.parametrize("enabled", [True, False])
def test_there_is_none_until_the_breaker_is_closed_again(enabled: bool) -> None:
    rig = hedging(breaker=BreakerConfig(calls=2, successes=1, enabled=enabled))
    rig.fail(failed(ServerError, 503), times=2)
    assert rig.health.own.breaker(MODEL).state(rig.now) == "open"
    assert rig.hedge() is None

    rig.now += 10
    assert rig.health.own.breaker(MODEL).state(rig.now) == "half_open"
    assert rig.hedge() is None
    probe = rig.admit()
    assert rig.hedge() is None
    probe.close(None, now=rig.now)
    assert rig.health.own.breaker(MODEL).is_closed
    assert rig.hedge() is not None


def test_another_models_breaker_says_nothing() -> None:
    rig = hedging(breaker=BreakerConfig(calls=1))
    rig.admit(model="o1").close(failed(ServerError, 503), now=rig.now)

    assert rig.health.admit_hedge(rig.choose(), "o1", now=rig.now) is None
    assert rig.hedge() is not None


# --- everything together


class Together(RuleBasedStateMachine):
    """Attempts that come and go in any order: whatever they do, nothing is lost and nothing stays behind."""

    attempts = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        self.rig = Rig(
            breaker=BreakerConfig(calls=4, unreachable=3),
            retry_budget=RetryBudgetConfig(capacity=20),
            hedge=HedgeConfig(share=0.5),
        )
        self.paid_in = 0
        self.open: list[tuple[Admission, str]] = []
        self.capacity = 20.0

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 30.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.rig.now += seconds

    @rule(target=attempts, pays=st.booleans())
    def let_in(self, pays: bool) -> tuple[Admission, str] | None:
        rig = self.rig
        try:
            choice = rig.choose()
        except CredentialsExhaustedError:
            assert set(rig.keys().values()) <= {"dead", "probing"}
            return None
        if choice.ready_at is not None:
            assert choice.ready_at > rig.now
            assert "ready" not in rig.keys().values()
            return None
        before = rig.tokens
        paid = rig.health.pay(failed(ServerError, 503), now=rig.now) if pays else None
        cost = 0.0 if paid is None else paid.amount
        assert cost in (0.0, 5.0)
        assert rig.tokens == pytest.approx(before - cost)
        try:
            admission = rig.health.admit(choice, MODEL, now=rig.now, is_retry=pays, paid=paid)
        except CircuitOpenError as error:
            rest = error.retry_after or 0.0
            if paid is not None:
                paid.give_back(rig.now)
        else:
            rig.attempted(1)
            self.paid_in = min(self.paid_in + 1, 2 * BURST)
            self.open.append((admission, choice.name))
            return admission, choice.name
        assert 0 < rest <= 60 * 1.2
        return None

    @rule(target=attempts)
    def hedge(self) -> tuple[Admission, str] | None:
        rig = self.rig
        try:
            choice = rig.choose()
        except CredentialsExhaustedError:
            return None
        if choice.ready_at is not None:
            return None
        before, state = rig.tokens, rig.state
        admission = rig.health.admit_hedge(choice, MODEL, now=rig.now)
        if admission is None:
            assert rig.tokens == before
            assert state != "closed" or before < 10 or self.paid_in < 2
            return None
        assert state == "closed"
        assert rig.tokens == pytest.approx(before - 10)
        assert self.paid_in >= 2
        self.paid_in -= 2
        self.open.append((admission, choice.name))
        return admission, choice.name

    @rule(
        key_pool=st.sampled_from([KeyPoolConfig(), KeyPoolConfig(choose="least_busy", park_base=5)]),
        breaker=st.sampled_from([BreakerConfig(calls=4, unreachable=3), BreakerConfig(calls=6, window=10)]),
        budget=st.sampled_from([RetryBudgetConfig(capacity=20), RetryBudgetConfig(capacity=12, success=3)]),
    )
    def change(self, key_pool: KeyPoolConfig, breaker: BreakerConfig, budget: RetryBudgetConfig) -> None:
        config = ProviderConfig(key_pool=key_pool, breaker=breaker, retry_budget=budget, hedge=HedgeConfig(share=0.5))
        before = self.rig.state, self.rig.in_flight()
        self.rig.change(config)
        self.capacity = budget.capacity
        assert (self.rig.state, self.rig.in_flight()) == before

    @rule(
        attempt=consumes(attempts),
        how=st.sampled_from(["ok", "stream", "cancel", "throttled", "asked", "dead", "down", "refused", "odd"]),
    )
    def end(self, attempt: tuple[Admission, str] | None, how: str) -> None:
        if attempt is None:
            return
        admission, _ = attempt
        now = self.rig.now
        self.open.remove(attempt)
        errors: dict[str, BifrostError] = {
            "throttled": failed(RateLimitError, 429),
            "asked": failed(RateLimitError, 429, retry_after=20.0),
            "dead": failed(AuthenticationError, 401),
            "down": failed(ServerError, 503),
            "refused": never_sent(),
            "odd": failed(InvalidRequestError),
        }
        if how == "cancel":
            admission.cancel(now)
        if how == "stream":
            admission.began(now)
        note = admission.close(errors.get(how), now=now)
        assert note is None or how in ("throttled", "asked", "dead", "down", "refused")

    @invariant()
    def nothing_is_lost(self) -> None:
        rig = self.rig
        assert 0 <= rig.tokens <= self.capacity
        names = Counter(name for _, name in self.open)
        assert rig.in_flight() == [names["a"], names["b"]]
        probing = [key for key in rig.ring.snapshot(rig.now) if key.state == "probing"]
        assert all(key.in_flight for key in probing)
        for seen in rig.health.breakers(rig.now).values():
            assert 0 <= seen.failures <= seen.calls
            if seen.state == "half_open" and not self.open:
                # Nobody is under way, so the place of the probe is free.
                assert seen.retry_after == 0

    def teardown(self) -> None:
        """When all have ended, the provider can be used again after a while."""
        if not hasattr(self, "rig"):
            return
        for admission, _ in self.open:
            admission.cancel(self.rig.now)
            admission.close(None, now=self.rig.now)
        self.rig.now += 700
        assert self.rig.choose().ready_at is None
        self.rig.admit().close(None, now=self.rig.now)
        self.rig.admit().close(None, now=self.rig.now)
        assert self.rig.state == "closed"
        assert self.rig.tokens == self.capacity
        assert self.rig.in_flight() == [0, 0]


Together.TestCase.settings = settings(stateful_step_count=40)
TestTogether = Together.TestCase
