from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost import errors
from bifrost.config import RetryConfig
from bifrost.errors import (
    BadRequestError,
    BifrostError,
    CallTimeoutError,
    ConnectError,
    MalformedResponseError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    ResponseTooLargeError,
    ServerError,
    TransportError,
    UnsupportedError,
)
from bifrost.routing.retry import (
    RULES,
    SMALLEST_ATTEMPT,
    Decision,
    GiveUp,
    NextCandidate,
    Retry,
    attempt_deadline,
    decide,
    is_free,
    may_fall_back,
)
from tests.table import table

NEXT = NextCandidate()
EXCHANGED = Retry(0.0, other_key=True, is_free=True)
"""Another key in place of one that the provider refuses."""
AT_ONCE = Retry(0.0, other_key=False, is_free=True)
"""A new connection in place of one that was found closed."""


def failure(category: str, **said: Any) -> BifrostError:
    """Make an error of a category, as plain as can be."""
    error: BifrostError = TransportError("it failed") if RULES[category].same_key else ProviderError("it failed")
    error.category = category
    error.retry_after = said.pop("retry_after", None)
    for name, value in said.items():
        setattr(error, name, value)
    return error


def after(error: BifrostError | str, **given: Any) -> Decision:
    """Decide after a first failure, with time, attempts and nothing else left."""
    if isinstance(error, str):
        error = failure(error)
    config = RetryConfig(**given.pop("config", {}))
    known: dict[str, Any] = {
        "categories": [error.category],
        "attempts_of_call": 1,
        "config": config,
        "remaining": 600.0,
        "other_key": False,
        "fallback_behind": False,
        "random": lambda: 0.5,
    }
    return decide(error, **(known | given))


def is_paid(category: str) -> bool:
    """Say whether the first try after a failure is paid for from the budget, if there is any."""
    decision = after(category, other_key=True)
    return isinstance(decision, Retry) and not decision.is_free


# --- the table


#       category          same  other  fallback breaker    cost
TABLE = """
        cancelled      no    no     no       neutral    0
        local          no    no     no       neutral    0
        never_sent     yes   no     yes      failure    5
        stale          yes   no     yes      neutral    0
        lost           yes   no     yes      neutral    5
        token          yes   yes    yes      neutral    5
        stale_token    yes   no     yes      neutral    0
        config         no    no     yes      neutral    0
        transient      yes   no     yes      failure    5
        quota          no    yes    yes      neutral    0
        allowance      no    yes    yes      neutral    0
        throttled      yes   yes    yes      neutral    5
        overloaded     yes   no     yes      failure    5
        conflict       yes   no     yes      neutral    5
        credential     no    yes    yes      neutral    0
        access         no    yes    yes      neutral    0
        gone           no    no     yes      neutral    0
        caller         no    no     no       success    0
        malformed      yes   no     yes      failure    5
        failed_generation yes no    yes      success    5
        unfit          no    no     yes      success    0
        limit          no    no     yes      neutral    0
        interrupted    no    no     no       neutral    0
        unknown        no    no     yes      neutral    0
"""

ROWS = [line.split() for line in TABLE.split("\n") if line.strip()]


@table(("category", "same", "other", "fallback", "breaker", "cost"), ROWS)
def test_the_failure_table(category: str, same: str, other: str, fallback: str, breaker: str, cost: str) -> None:
    rule = RULES[category]

    assert (rule.same_key, rule.other_key, rule.fallback) == (same == "yes", other == "yes", fallback == "yes")
    assert rule.breaker == breaker
    assert is_paid(category) == (cost == "5")


def test_the_failure_table_has_no_other_rows() -> None:
    assert {row[0] for row in ROWS} == set(RULES)
    assert {category for category, rule in RULES.items() if rule.once} == {"malformed"}
    assert {category for category, rule in RULES.items() if rule.free} == {"stale", "stale_token"}
    assert {category for category, rule in RULES.items() if rule.kills_key} == {
        "quota",
        "allowance",
        "credential",
        "access",
    }


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BifrostError)]


@table("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_class_agrees_with_its_row(kind: type[BifrostError]) -> None:
    rule = RULES[kind.category]

    if kind.__name__ not in ("ShuttingDownError", "ResponseTooLargeError"):
        assert kind.retryable == rule.same_key
    if kind.__name__ not in ("UnsupportedError", "BudgetExceededError", "InternalError"):
        assert kind.fallback == rule.fallback


@table("row", ROWS, ids=lambda row: row[0])
def test_each_row_is_followed(row: list[str]) -> None:
    category, same, other, fallback = row[:4]
    error = failure(category, fallback=fallback == "yes")

    again = AT_ONCE if category in ("stale", "stale_token") else Retry(0.25, other_key=False)
    assert after(error) == (again if same == "yes" else GiveUp("final"))
    assert isinstance(after(error, other_key=True), Retry) == ("yes" in (same, other))
    if other == "yes":
        assert after(error, other_key=True) == Retry(0.0, other_key=True, is_free=same == "no")
    if same == "yes" and other == "no":
        assert after(error, other_key=True) == again
    behind = after(
        error, config={"max_retries": 0}, fallback_behind=True, categories=[category, category], attempts_of_call=2
    )
    assert behind == (NEXT if fallback == "yes" else GiveUp("final"))


def test_a_fault_that_nobody_knows_is_unknown() -> None:
    error = BifrostError("odd")
    error.category = "never heard of"

    assert after(error, fallback_behind=True) == NEXT
    assert after(error) == GiveUp("final")


# --- how often


def test_three_attempts_per_candidate_then_the_fallback() -> None:
    for attempt in (1, 2):
        decision = after(
            "transient", categories=["transient"] * attempt, attempts_of_call=attempt, fallback_behind=True
        )
        assert isinstance(decision, Retry)

    assert after("transient", categories=["transient"] * 3, attempts_of_call=3, fallback_behind=True) == NEXT
    assert after("transient", categories=["transient"] * 3, attempts_of_call=3) == GiveUp("attempts")


def test_six_attempts_in_all() -> None:
    assert isinstance(after("transient", attempts_of_call=5), Retry)
    assert after("transient", attempts_of_call=6) == GiveUp("attempts")
    assert after("transient", attempts_of_call=6, fallback_behind=True) == GiveUp("attempts")


def test_a_retry_leaves_the_last_attempt_to_a_fallback() -> None:
    assert after("transient", attempts_of_call=5, fallback_behind=True) == NEXT
    assert isinstance(after("transient", attempts_of_call=4, fallback_behind=True), Retry)
    assert after("credential", attempts_of_call=5, fallback_behind=True, other_key=True) == NEXT


def test_the_last_attempt_is_not_kept_for_a_fallback_that_may_not_follow() -> None:
    error = failure("transient", fallback=False)

    assert isinstance(after(error, attempts_of_call=5, fallback_behind=True), Retry)


@table("category", ["transient", "never_sent", "throttled", "overloaded", "conflict", "malformed"])
def test_without_retries_there_is_none(category: str) -> None:
    assert after(category, config={"max_retries": 0}) == GiveUp("attempts")
    assert after(category, config={"max_retries": 0}, fallback_behind=True) == NEXT


def test_a_throttled_key_is_not_exchanged_without_retries() -> None:
    assert after("throttled", config={"max_retries": 0}, other_key=True) == GiveUp("attempts")


@pytest.mark.parametrize("category", ["credential", "quota", "access"])
def test_a_dead_key_is_exchanged_even_without_retries(category: str) -> None:
    assert after(category, config={"max_retries": 0}, other_key=True) == EXCHANGED
    dead = [category] * 4
    assert after(category, categories=dead, attempts_of_call=4, other_key=True) == EXCHANGED
    assert after(category, categories=[*dead, category, category], attempts_of_call=6, other_key=True) == GiveUp(
        "attempts"
    )
    assert after(category, config={"max_retries": 9}) == GiveUp("final")


def test_a_dead_key_counts_as_an_attempt_for_what_follows() -> None:
    categories = ["credential", "transient", "transient"]

    assert after("transient", categories=categories, attempts_of_call=3) == GiveUp("attempts")


def test_a_malformed_answer_is_asked_for_once_more() -> None:
    error = MalformedResponseError("not JSON")

    assert isinstance(after(error), Retry)
    assert after(error, categories=["malformed", "malformed"], attempts_of_call=2) == GiveUp("final")
    assert after(error, categories=["malformed", "malformed"], attempts_of_call=2, fallback_behind=True) == NEXT
    assert isinstance(after(error, categories=["transient", "malformed"], attempts_of_call=2), Retry)


def test_an_answer_that_is_too_large_is_not_asked_for_again() -> None:
    assert after(ResponseTooLargeError("too large")) == GiveUp("final")
    assert after(ResponseTooLargeError("too large"), fallback_behind=True) == NEXT


@pytest.mark.parametrize("category", ["transient", "stale", "malformed"])
def test_what_may_have_run_is_not_sent_again_when_told_so(category: str) -> None:
    never = {"retry_sent": "never"}
    for status in (None, 200):
        assert isinstance(after(failure(category, status=status)), Retry)
        assert after(failure(category, status=status), config=never) == GiveUp("final")
        # Another provider has not been asked yet.
        assert after(failure(category, status=status), config=never, fallback_behind=True) == NEXT


@table(
    ("category", "status"),
    [("never_sent", None), ("transient", 503), ("throttled", 429), ("throttled", None), ("overloaded", 529)],
)
def test_what_was_never_sent_or_was_refused_is_sent_again_all_the_same(category: str, status: int | None) -> None:
    assert isinstance(after(failure(category, status=status), config={"retry_sent": "never"}), Retry)


def test_the_first_closed_connection_costs_nothing() -> None:
    given: dict[str, Any] = {"categories": ["stale"], "attempts_of_call": 0}

    assert is_free(["stale"])
    assert after("stale", **given) == AT_ONCE
    assert after("stale", **given, config={"max_retries": 0, "attempts_total": 1}) == AT_ONCE
    assert after("stale", **given, other_key=True) == AT_ONCE


def test_a_second_closed_connection_is_like_any_failure() -> None:
    categories = ["stale", "stale"]

    assert not is_free(categories)
    assert after("stale", categories=categories, attempts_of_call=1) == Retry(0.25, other_key=False)
    assert after("stale", categories=categories, attempts_of_call=1, config={"max_retries": 0}) == GiveUp("attempts")
    assert not is_free(["transient"])


def test_a_free_attempt_leaves_all_retries() -> None:
    categories = ["stale", "transient", "transient"]

    assert after("transient", categories=categories, attempts_of_call=2) == Retry(0.5, other_key=False)
    assert after("transient", categories=[*categories, "transient"], attempts_of_call=3) == GiveUp("attempts")


def test_without_budget_there_is_no_retry_but_a_fallback() -> None:
    assert after("transient", block="budget") == GiveUp("budget")
    assert after("transient", block="budget", fallback_behind=True) == NEXT
    assert after("throttled", block="budget") == GiveUp("budget")
    assert after("throttled", block="budget", other_key=True) == Retry(0.0, other_key=True)
    assert after("transient", block="budget", config={"max_retries": 0}) == GiveUp("attempts")


def test_of_several_limited_keys_the_first_that_is_ready_is_waited_for() -> None:
    limited = failure("throttled", retry_after=40.0)

    assert after(limited, ready_in=5.0, random=lambda: 0.0) == Retry(5.0, other_key=False)
    assert after(limited, ready_in=50.0, random=lambda: 0.0) == Retry(50.0, other_key=False)
    assert after(limited, ready_in=90.0) == GiveUp("wait")
    assert after(limited, ready_in=0.0) == Retry(0.25, other_key=False)
    assert after(failure("throttled", retry_after=200.0), ready_in=5.0, random=lambda: 0.0) == Retry(5.0, False)
    assert after(failure("transient", retry_after=40.0), ready_in=0.0, random=lambda: 0.0) == Retry(40.0, False)


def test_a_provider_that_is_left_alone_gets_no_further_attempt() -> None:
    assert after("transient", block="breaker") == GiveUp("breaker")
    assert after("credential", block="breaker", other_key=True) == GiveUp("breaker")
    assert after("transient", block="breaker", fallback_behind=True) == NEXT


def test_what_repeats_nothing_needs_no_budget() -> None:
    assert after("stale", block="budget") == AT_ONCE
    assert after("credential", block="budget", other_key=True) == EXCHANGED
    assert after("stale", block="budget", categories=["stale", "stale"], attempts_of_call=2) == GiveUp("budget")


# --- what overrides the table


def test_what_an_error_says_itself_overrides_the_table() -> None:
    assert isinstance(after(failure("caller", retryable=True)), Retry)
    assert after(failure("transient", retryable=False)) == GiveUp("final")
    assert after(failure("throttled", retryable=False), other_key=True) == GiveUp("final")
    assert after(failure("stale", retryable=False)) == GiveUp("final")
    assert after(failure("caller", fallback=True), fallback_behind=True) == NEXT
    assert after(failure("transient", fallback=False), categories=["transient"] * 3, fallback_behind=True) == GiveUp(
        "attempts"
    )


def test_a_dead_key_is_exchanged_whatever_is_said_of_retries() -> None:
    assert after(failure("credential", retryable=False), other_key=True) == EXCHANGED
    assert after(failure("credential", retryable=True), other_key=True) == EXCHANGED
    assert after(failure("credential", retryable=True)) == Retry(0.25, other_key=False)


def test_a_refused_certificate_is_not_tried_again() -> None:
    error = ConnectError("certificate has expired")
    error.category = "config"

    assert after(error) == GiveUp("final")
    assert after(error, fallback_behind=True) == NEXT


def test_what_one_provider_cannot_say_another_may() -> None:
    assert after(UnsupportedError("no audio"), fallback_behind=True) == NEXT
    assert after(UnsupportedError("no audio")) == GiveUp("final")


def test_a_wrong_request_goes_to_the_fallback_only_when_asked_for() -> None:
    asked = {"fallback_on_caller_error": True}

    assert after(BadRequestError("wrong"), fallback_behind=True) == GiveUp("final")
    assert after(BadRequestError("wrong"), fallback_behind=True, config=asked) == NEXT
    forbidden = failure("caller", fallback=False)
    assert after(forbidden, fallback_behind=True, config=asked) == GiveUp("final")


# --- waits


def test_own_waits_have_full_jitter_up_to_eight_seconds() -> None:
    config = {"max_retries": 20, "attempts_total": 50}

    ceilings = [
        after("transient", categories=["transient"] * attempt, config=config, random=lambda: 1.0)
        for attempt in (1, 2, 3, 4, 5, 6, 20)
    ]

    assert ceilings == [Retry(delay, other_key=False) for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)]
    assert after("transient", random=lambda: 0.0) == Retry(0.0, other_key=False)


def test_base_and_cap_of_own_waits_are_settings() -> None:
    config = {"max_retries": 5000, "attempts_total": 10_000, "backoff_base": 0.1, "backoff_cap": 0.3}

    delays = [
        after("transient", categories=["transient"] * n, config=config, random=lambda: 1.0) for n in (1, 2, 3, 4000)
    ]

    assert delays == [Retry(delay, other_key=False) for delay in (0.1, 0.2, 0.3, 0.3)]


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 20.0), (0.5, 21.0), (1.0, 22.0)])
def test_an_asked_wait_is_kept_and_stretched_a_little(chance: float, delay: float) -> None:
    error = RateLimitError("slow down", retry_after=20.0)

    decision = after(error, random=lambda: chance)

    assert isinstance(decision, Retry)
    assert decision.delay == pytest.approx(delay)


@pytest.mark.parametrize("kind", [ServerError, OverloadedError, RateLimitError])
def test_every_retry_heeds_the_asked_wait(kind: type[ProviderError]) -> None:
    assert after(kind("later", retry_after=2.0), random=lambda: 0.0) == Retry(2.0, other_key=False)


@table("asked", [0.0, -1.0, float("nan"), None])
def test_a_wait_that_says_nothing_leaves_the_own_one(asked: float | None) -> None:
    assert after(RateLimitError("slow down", retry_after=asked)) == Retry(0.25, other_key=False)


def test_no_wait_when_another_key_is_ready() -> None:
    error = RateLimitError("slow down", retry_after=20.0)

    assert after(error, other_key=True) == Retry(0.0, other_key=True)
    assert after(RateLimitError("slow down", retry_after=300.0), other_key=True) == Retry(0.0, other_key=True)


def test_a_wait_of_more_than_a_minute_is_not_slept() -> None:
    assert isinstance(after(RateLimitError("slow down", retry_after=60.0)), Retry)
    long = RateLimitError("slow down", retry_after=60.5)
    assert after(long) == GiveUp("wait")
    assert after(long, fallback_behind=True) == NEXT
    assert isinstance(after(long, config={"longest_wait": 120.0}), Retry)


def test_no_wait_passes_the_deadline() -> None:
    error = RateLimitError("slow down", retry_after=10.0)

    assert isinstance(after(error, remaining=10.2, random=lambda: 0.0), Retry)
    assert after(error, remaining=10.0) == GiveUp("deadline")
    assert after(error, remaining=10.0, fallback_behind=True) == NEXT
    assert after("transient", remaining=0.3) == GiveUp("deadline")


def test_no_wait_passes_the_candidates_share() -> None:
    error = RateLimitError("slow down", retry_after=10.0)

    assert after(error, remaining=600.0, share=9.0, fallback_behind=True) == NEXT
    assert isinstance(after(error, remaining=600.0, share=12.0, fallback_behind=True), Retry)
    assert after(error, remaining=9.0, share=12.0) == GiveUp("deadline")


def test_nothing_starts_in_the_last_tenth_of_a_second() -> None:
    for chance in ({"other_key": True}, {"fallback_behind": True}, {}):
        assert after("throttled", remaining=0.09, **chance) == GiveUp("deadline")
    assert after("stale", remaining=0.09) == GiveUp("deadline")
    assert after("credential", remaining=0.09, other_key=True) == GiveUp("deadline")
    assert after("credential", remaining=0.1, other_key=True) == EXCHANGED


def test_a_failure_that_allows_nothing_is_final_even_at_the_end() -> None:
    assert after(BadRequestError("wrong"), remaining=0.0) == GiveUp("final")


def test_a_used_up_share_leads_to_the_fallback() -> None:
    error = CallTimeoutError("no answer", phase="headers")

    assert after(error, remaining=300.0, share=-0.1, fallback_behind=True) == NEXT
    assert after(error, remaining=-0.1, fallback_behind=True) == GiveUp("deadline")


# --- between candidates


def test_a_hooks_error_is_judged_like_an_attempts() -> None:
    config = RetryConfig()

    assert may_fall_back(ServerError("down"), config=config, attempts_of_call=5, remaining=0.1)
    assert not may_fall_back(BadRequestError("wrong"), config=config, attempts_of_call=5, remaining=0.1)
    assert not may_fall_back(ServerError("down"), config=config, attempts_of_call=6, remaining=0.1)
    assert not may_fall_back(ServerError("down"), config=config, attempts_of_call=5, remaining=0.09)


@table(
    ("deadline", "behind", "expected"),
    [
        (700.0, 0, 700.0),
        (700.0, 1, 400.0),
        (700.0, 2, 300.0),
        (700.0, 99, 110.0),
        (115.0, 1, 110.0),
        (105.0, 3, 105.0),
        (90.0, 1, 90.0),
    ],
)
def test_a_candidate_leaves_time_to_those_behind_it(deadline: float, behind: int, expected: float) -> None:
    assert attempt_deadline(100.0, deadline, behind) == pytest.approx(expected)


# --- whole calls


FAULTS = sorted(RULES)


@given(
    seed=st.integers(0, 2**32),
    candidates=st.integers(1, 4),
    keys=st.integers(1, 5),
    retries=st.integers(0, 4),
    total=st.integers(1, 8),
    timeout=st.floats(0.05, 120),
)
def test_no_call_goes_beyond_its_limits(
    seed: int, candidates: int, keys: int, retries: int, total: int, timeout: float
) -> None:
    random = Random(seed)
    config = RetryConfig(max_retries=retries, attempts_total=total)
    now, attempts, free = 0.0, 0, 0

    for behind in range(candidates - 1, -1, -1):
        categories: list[str] = []
        dead: set[int] = set()
        tried: set[int] = set()
        key = 0
        until = attempt_deadline(now, timeout, behind)
        while True:
            assert timeout - now >= SMALLEST_ATTEMPT or attempts + free == 0
            assert key not in dead
            now += random.choice([0.0, 0.01, 0.5, 7.0])
            error = failure(random.choice(FAULTS), retry_after=random.choice([None, None, 0.5, 5.0, 61.0]))
            error.fallback = RULES[error.category].fallback
            categories.append(error.category)
            tried.add(key)
            if RULES[error.category].kills_key:
                dead.add(key)
            free += is_free(categories)
            attempts += not is_free(categories)
            others = set(range(keys)) - tried
            decision = decide(
                error,
                categories=categories,
                attempts_of_call=attempts,
                config=config,
                remaining=timeout - now,
                share=until - now,
                other_key=bool(others),
                fallback_behind=behind > 0,
                random=random.random,
            )
            if not isinstance(decision, Retry):
                break
            now += decision.delay
            assert now + SMALLEST_ATTEMPT <= until
            if decision.other_key:
                key = min(others)
        assert attempts <= total
        assert len(categories) - len({"stale", "stale_token"}.intersection(categories)) <= retries + 1 + len(dead)
        if not isinstance(decision, NextCandidate):
            break
        assert behind
        assert attempts < total
