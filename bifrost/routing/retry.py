"""What follows a failure: the failure table, and the decision made from it. Pure: clock and chance are passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bifrost.errors import BifrostError, CallTimeoutError, ContentFilterError, ContextLengthError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.config import RetryConfig
    from bifrost.routing.balance import Random

SMALLEST_ATTEMPT = 0.1
"""No attempt starts with less than this left, in seconds."""

LONG_SILENCE = 10.0
"""An exchange that breaks after so long without a sign of the provider was silent, in seconds."""

SMALLEST_SHARE = 10.0
"""What a candidate gets at least of the time left, however many fallbacks stand behind it, in seconds."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the failure table: what may follow a failure of this kind."""

    same_key: bool = False
    """Try again with the same key, after a wait."""
    other_key: bool = False
    """Try again with another key, at once."""
    fallback: bool = False
    """Go on to the next candidate."""
    once: bool = False
    """Try again one time only at each candidate."""
    free: bool = False
    """The first of them at each candidate is no attempt: what follows opens a connection of its own, at once."""
    breaker: Literal["neutral", "failure", "success"] = "neutral"
    """What the failure says of the provider's health."""

    @property
    def kills_key(self) -> bool:
        """Say whether the key is of no more use to this call: another may do, this one will not."""
        return self.other_key and not self.same_key


RULES: Mapping[str, Rule] = {
    "cancelled": Rule(),
    "local": Rule(),
    "transient": Rule(same_key=True, fallback=True, breaker="failure"),
    "never_sent": Rule(same_key=True, fallback=True, breaker="failure"),
    "stale": Rule(same_key=True, fallback=True, free=True),
    "lost": Rule(same_key=True, fallback=True),
    "config": Rule(fallback=True),
    "throttled": Rule(same_key=True, other_key=True, fallback=True),
    "overloaded": Rule(same_key=True, fallback=True, breaker="failure"),
    "conflict": Rule(same_key=True, fallback=True),
    "quota": Rule(other_key=True, fallback=True),
    "allowance": Rule(other_key=True, fallback=True),
    "credential": Rule(other_key=True, fallback=True),
    "access": Rule(other_key=True, fallback=True),
    "gone": Rule(fallback=True),
    "caller": Rule(breaker="success"),
    "malformed": Rule(same_key=True, fallback=True, once=True, breaker="failure"),
    "failed_generation": Rule(same_key=True, fallback=True, breaker="success"),
    "unfit": Rule(fallback=True, breaker="success"),
    "limit": Rule(fallback=True),
    "interrupted": Rule(),
    "unknown": Rule(fallback=True),
}
"""The failure table, by `BifrostError.category`."""


class Retry(msgspec.Struct, frozen=True):
    """Try the candidate again after `delay` seconds: with another key, or with the one that failed."""

    delay: float
    other_key: bool
    is_free: bool = False
    """It costs nothing of the provider's retry budget: it repeats nothing, or the connection alone was at fault."""


class NextCandidate(msgspec.Struct, frozen=True):
    """Go on to the next fallback."""


Cause: TypeAlias = Literal["final", "attempts", "breaker", "budget", "wait", "deadline"]
"""Why nothing follows: the failure allows nothing, all attempts are used up, the provider is left alone or its retry
budget used up, the wait is too long, no time is left."""


class GiveUp(msgspec.Struct, frozen=True):
    """Raise the error."""

    cause: Cause


Decision: TypeAlias = Retry | NextCandidate | GiveUp

_NEXT = NextCandidate()


def decide(
    error: BifrostError,
    *,
    categories: Sequence[str],
    attempts_of_call: int,
    config: RetryConfig,
    remaining: float,
    other_key: bool,
    fallback_behind: bool,
    another_ready: bool = False,
    random: Random,
    share: float | None = None,
    held_back: Literal["breaker", "budget"] | None = None,
    ready_in: float | None = None,
) -> Decision:
    """Say what follows a failed attempt.

    `categories` has the `category` of every failed attempt at this candidate so far, this one last.
    `attempts_of_call` counts the attempts of the whole call, this one included, free ones left out (`is_free`).
    `remaining` is the time to the call's deadline and `share` the time to the end of this candidate's part of it
    (`attempt_deadline`; `None`: the same), in seconds. `other_key` says that a key is ready which this call has not
    tried here, `fallback_behind` that a candidate is left, `another_ready` that one of them can be asked now: a
    silent candidate is left for it at once. `held_back` says what of the provider's health speaks against a retry;
    a fallback has its own. `ready_in` is when the first of the keys that may still serve is ready, in seconds:
    another may be ready sooner than this one, and this one may have been told to wait longer before.

    `retryable` and `fallback` set on the error itself, by a header or a plugin, override the table.
    """
    falls_back = fallback_behind and allows_fallback(error, config)
    outcome: Retry | Cause = "final"
    if not (falls_back and another_ready and is_silence(error)):
        outcome = _retry(
            error,
            categories=categories,
            # A retry leaves the call's last attempt to the fallback.
            attempts_left=config.attempts_total - attempts_of_call - falls_back,
            config=config,
            left=remaining if share is None else min(share, remaining),
            other_key=other_key,
            held_back=held_back,
            ready_in=ready_in,
            random=random,
        )
    if isinstance(outcome, Retry):
        return outcome
    if not falls_back:
        return GiveUp(outcome)
    if attempts_of_call >= config.attempts_total:
        return GiveUp("attempts")
    if remaining < SMALLEST_ATTEMPT:
        return GiveUp("deadline")
    return _NEXT


def may_fall_back(error: BifrostError, *, config: RetryConfig, attempts_of_call: int, remaining: float) -> bool:
    """Say whether the next candidate may be tried after an error, whether an attempt or a plugin's hook gave it."""
    return allows_fallback(error, config) and attempts_of_call < config.attempts_total and remaining >= SMALLEST_ATTEMPT


def is_free(categories: Sequence[str]) -> bool:
    """Say whether the last failure at a candidate counts as no attempt: a kept connection turned out to be closed."""
    return _rule(categories[-1]).free and categories.count(categories[-1]) == 1


def attempt_deadline(now: float, deadline: float, fallbacks_behind: int) -> float:
    """Give the time by which a candidate that begins now must be done, retries included.

    All of the time left if nothing stands behind it; else an equal share, but at least 10 s, so that a provider which
    swallows requests cannot eat its fallbacks' time.
    """
    if fallbacks_behind == 0:
        return deadline
    share = max(SMALLEST_SHARE, (deadline - now) / (fallbacks_behind + 1))
    return min(deadline, now + share)


def _retry(
    error: BifrostError,
    *,
    categories: Sequence[str],
    attempts_left: int,
    config: RetryConfig,
    left: float,
    other_key: bool,
    held_back: Literal["breaker", "budget"] | None,
    ready_in: float | None,
    random: Random,
) -> Retry | Cause:
    rule, said = _rule(error.category), vars(error).get("retryable")
    # The provider refused the key, not the request: another key is no repetition. So this needs no retry to be left,
    # and a provider's word not to try again does not speak of it (Anthropic gives it for a key without credit).
    rotates = rule.kills_key and other_key
    may_retry = said if said is not None else rule.same_key and error.retryable
    if rule.once and categories.count(error.category) > 1:
        may_retry = False
    if config.retry_sent == "never" and _may_have_run(error):
        may_retry = False
    if not rotates and not may_retry:
        return "final"
    if left < SMALLEST_ATTEMPT:
        return "deadline"
    if is_free(categories):
        return Retry(0.0, other_key=False, is_free=True)
    free = {category for category in categories if _rule(category).free}
    retries = len(categories) - len(free) - 1
    if attempts_left <= 0 or (retries >= config.max_retries and not rotates):
        return "attempts"
    # Another key in place of one that was refused or limited is no repetition: it does not depend on the budget.
    switches = other_key and rule.other_key
    if held_back is not None and not (switches and held_back == "budget"):
        return held_back
    if switches:
        return Retry(0.0, other_key=True, is_free=rotates)
    asked = error.retry_after
    if asked is not None and rule.other_key and ready_in is not None:
        asked = ready_in
    outcome = _after_wait(asked, retries, config=config, left=left, random=random)
    if other_key and asked is not None and not isinstance(outcome, Retry):
        # Who asked for the wait was asked with one key: another is not bound by it.
        return Retry(0.0, other_key=True)
    return outcome


def _may_have_run(error: BifrostError) -> bool:
    """Say whether the provider may have done, and may bill, what was asked: it was sent, and was not refused."""
    return error.category in ("transient", "stale", "lost", "malformed") and (
        error.status is None or error.status < 300
    )


def _after_wait(
    asked: float | None, retries: int, *, config: RetryConfig, left: float, random: Random
) -> Retry | Cause:
    if asked is not None and asked > 0:
        if asked > config.longest_wait:
            return "wait"
        delay = asked * (1 + 0.1 * random())
    else:
        delay = random() * min(config.backoff_cap, config.backoff_base * 2.0 ** min(retries, 64))
    if delay + SMALLEST_ATTEMPT > left:
        return "deadline"
    return Retry(delay, other_key=False)


def allows_fallback(error: BifrostError, config: RetryConfig) -> bool:
    """Return whether a failure may be followed by another candidate."""
    if error.category == "caller" and "fallback" not in vars(error):
        match error:
            case ContextLengthError():
                return config.fallback_on_context_length
            case ContentFilterError():
                return config.fallback_on_content_filter
            case _:
                return config.fallback_on_caller_error
    return error.fallback


def is_silence(error: BifrostError) -> bool:
    """Return whether nothing came, or nothing more, until a time limit ran out or the connection ended."""
    if isinstance(error, TransportError):
        return error.after_silence
    return isinstance(error, CallTimeoutError) and error.category in ("transient", "never_sent")


def rule_of(error: BifrostError) -> Rule:
    """Give the row of the failure table that an error stands for."""
    return _rule(error.category)


def _rule(category: str) -> Rule:
    return RULES.get(category) or RULES["unknown"]
