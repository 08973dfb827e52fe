"""The failure table, and the decision what follows a failure. Pure: time and random numbers are passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bifrost.errors import BifrostError, CallTimeoutError, ContentFilterError, ContextLengthError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.config import RetryConfig
    from bifrost.routing.balance import Random

SMALLEST_ATTEMPT = 0.1
"""The least time left, in seconds, that an attempt needs to start."""

LONG_SILENCE = 10.0
"""A connection that breaks after this many seconds without a byte counts as silent."""

SMALLEST_SHARE = 10.0
"""The least share of the remaining time that a candidate gets, in seconds, however many fallbacks follow."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the failure table: what may follow a failure of this category."""

    same_key: bool = False
    """Retry with the same key, after a wait."""
    other_key: bool = False
    """Retry with another key, at once."""
    fallback: bool = False
    """Continue with the next candidate."""
    once: bool = False
    """Retry only once at each candidate."""
    free: bool = False
    """The first one at each candidate does not count as an attempt, and is retried at once."""
    breaker: Literal["neutral", "failure", "success"] = "neutral"
    """What the failure means for the provider's health."""

    @property
    def kills_key(self) -> bool:
        """Whether the key is useless to this call, while another key may work."""
        return self.other_key and not self.same_key


RULES: Mapping[str, Rule] = {
    "cancelled": Rule(),
    "local": Rule(),
    "transient": Rule(same_key=True, fallback=True, breaker="failure"),
    "never_sent": Rule(same_key=True, fallback=True, breaker="failure"),
    "stale": Rule(same_key=True, fallback=True, free=True),
    "lost": Rule(same_key=True, fallback=True),
    "token": Rule(same_key=True, other_key=True, fallback=True),
    "stale_token": Rule(same_key=True, fallback=True, free=True),
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
    """Retry the candidate after `delay` seconds, with another key or with the same one."""

    delay: float
    """How long to wait, in seconds."""

    other_key: bool
    """Whether to use another key."""

    is_free: bool = False
    """Whether it costs nothing of the retry budget, because nothing is repeated or only the connection was at fault."""


class NextCandidate(msgspec.Struct, frozen=True):
    """Continue with the next candidate."""


Cause: TypeAlias = Literal["final", "attempts", "breaker", "budget", "wait", "deadline"]
"""Why nothing follows: the failure does not allow it (`final`), all attempts are used, the breaker is open, the retry
budget is exhausted, the wait is too long, or no time is left (`deadline`).
"""


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
    block: Literal["breaker", "budget"] | None = None,
    ready_in: float | None = None,
) -> Decision:
    """Decide what follows a failed attempt.

    `categories` has the `category` of every failed attempt at this candidate so far, including this one.
    `attempts_of_call` counts the attempts of the whole call, including this one, without the free ones (`is_free`).
    `remaining` is the time to the call's deadline and `share` the time to this candidate's own deadline
    (`attempt_deadline`; `None`: the same), in seconds. `other_key` says that a key is ready that this call has not
    tried here, `fallback_behind` that a candidate is left, and `another_ready` that one can be used now, so that a
    silent candidate is left at once. `block` is what prevents a retry; a fallback has its own health. `ready_in` is
    the time, in seconds, until the first key that may still serve is ready: another key may be ready sooner than this
    one, or this one may be cooling down for longer.

    `retryable` and `fallback`, when set on the error itself by a header or a plugin, override the table.
    """
    falls_back = fallback_behind and allows_fallback(error, config)
    outcome: Retry | Cause = "final"
    if not (falls_back and another_ready and is_silence(error)):
        outcome = _retry(
            error,
            categories=categories,
            # The last attempt of the call is reserved for a fallback.
            attempts_left=config.attempts_total - attempts_of_call - falls_back,
            config=config,
            left=remaining if share is None else min(share, remaining),
            other_key=other_key,
            block=block,
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
    """Return whether the next candidate may be tried after an error, of an attempt or of a plugin's hook."""
    return allows_fallback(error, config) and attempts_of_call < config.attempts_total and remaining >= SMALLEST_ATTEMPT


def is_free(categories: Sequence[str]) -> bool:
    """Return whether the last failure does not count as an attempt: its connection or token was stale."""
    return _rule(categories[-1]).free and categories.count(categories[-1]) == 1


def attempt_deadline(now: float, deadline: float, fallbacks_behind: int) -> float:
    """Return the deadline of a candidate that begins now, retries included.

    Without fallbacks it is the call's deadline. Otherwise the candidate gets an equal share of the remaining time, but
    at least 10 s, so that a provider that never responds cannot use up the time of the fallbacks.
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
    block: Literal["breaker", "budget"] | None,
    ready_in: float | None,
    random: Random,
) -> Retry | Cause:
    rule, own_retryable = _rule(error.category), vars(error).get("retryable")
    # The provider refused the key, not the request, so another key is not a repetition. It therefore needs no retry to
    # be left, and it ignores the provider's hint not to retry (Anthropic sends it for a key without credit).
    rotates = rule.kills_key and other_key
    may_retry = own_retryable if own_retryable is not None else rule.same_key and error.retryable
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
    # Another key instead of a refused or rate-limited one is not a repetition: it does not depend on the budget.
    switches = other_key and rule.other_key
    if block is not None and not (switches and block == "budget"):
        return block
    if switches:
        return Retry(0.0, other_key=True, is_free=rotates)
    wait = error.retry_after
    if wait is not None and rule.other_key and ready_in is not None:
        wait = ready_in
    outcome = _after_wait(wait, retries, config=config, left=left, random=random)
    if other_key and wait is not None and not isinstance(outcome, Retry):
        # The provider asked for the wait with one key; another key need not wait.
        return Retry(0.0, other_key=True)
    return outcome


def _may_have_run(error: BifrostError) -> bool:
    """Return whether the provider may have processed, and may bill, the request: it was sent and was not refused."""
    return error.category in ("transient", "stale", "lost", "malformed") and (
        error.status is None or error.status < 300
    )


def _after_wait(wait: float | None, retries: int, *, config: RetryConfig, left: float, random: Random) -> Retry | Cause:
    if wait is not None and wait > 0:
        if wait > config.longest_wait:
            return "wait"
        delay = wait * (1 + 0.1 * random())
    else:
        delay = random() * min(config.backoff_cap, config.backoff_base * 2.0 ** min(retries, 64))
    if delay + SMALLEST_ATTEMPT > left:
        return "deadline"
    return Retry(delay, other_key=False)


def allows_fallback(error: BifrostError, config: RetryConfig) -> bool:
    """Return whether another candidate may follow a failure."""
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
    """Return whether nothing more arrived until a time limit was reached or the connection ended."""
    if isinstance(error, TransportError):
        return error.after_silence
    return isinstance(error, CallTimeoutError) and error.category in ("transient", "never_sent")


def rule_of(error: BifrostError) -> Rule:
    """Return the error's row of the failure table."""
    return _rule(error.category)


def _rule(category: str) -> Rule:
    return RULES.get(category) or RULES["unknown"]
