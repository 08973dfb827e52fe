"""Faults of a test run, as values: which faults happen when, to which calls, and how likely. Pure, without a clock.

A `FaultPlan` with its seed determines everything. `FaultRun` counts the attempts of one run and returns the fault for
each; `MockTransport.inject` and `LoopbackProvider.inject` play them.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from bifrost.errors import UsageError
from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FaultKind: TypeAlias = Literal[
    "refuse",
    "black_hole",
    "reset",
    "cut",
    "stall",
    "garbage",
    "fail",
    "html",
    "empty",
    "bad_json",
    "error_event",
    "oversize",
    "slow",
    "hang_up",
]
"""The kinds of faults. The methods of `Fault` explain them."""

Span: TypeAlias = float | tuple[float, float]
"""A number, or a range from which one is drawn."""

_KEEPS_ANSWER = frozenset({"slow", "hang_up"})
_NEEDS_ANSWER = frozenset({"reset", "cut", "stall", "bad_json", "error_event", "oversize", "slow", "hang_up"})


class Fault(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """A fault of one attempt. The methods named after the faults make it: `Fault.fail(429, retry_after=1)`.

    A fault within a response has its position in one of `after_bytes`, `after_events` (events that carry a piece of the
    response) and `after_share` (of the body's bytes, from 0 to 1). Without them it happens before any response; with
    `after_bytes=0`, directly after the head.
    """

    kind: FaultKind
    """The kind of fault."""

    after_bytes: int | None = None
    """The number of bytes of the body before the fault."""

    after_events: int | None = None
    """The number of content events before the fault."""

    after_share: Span | None = None
    """The share of the body before the fault, from 0 to 1."""

    status: int = 200
    """The HTTP status of the response."""

    headers: dict[str, str] = {}
    """Further header fields of the response."""

    message: str | None = None
    """The error message. `None`: the provider's usual one."""

    type: str | None = None
    """The error type. `None`: the provider's usual one."""

    code: str | None = None
    """The error code. `None`: the provider's usual one."""

    delay: Span = 0.0
    """Seconds before the head of the response, or before the fault that replaces it."""
    pace: Span = 0.0
    """Seconds before each piece of the body."""
    size: int = 0
    """The size of an oversized response, in bytes."""

    @classmethod
    def refuse(cls) -> Fault:
        """Refuse the connection. Over real sockets, which connect before the request is known, reset it at once."""
        return cls(kind="refuse")

    @classmethod
    def black_hole(cls) -> Fault:
        """Never establish the connection. Over real sockets, never respond."""
        return cls(kind="black_hole")

    @classmethod
    def reset(
        cls,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: Span | None = None,
        delay: Span = 0.0,
    ) -> Fault:
        """Reset the connection (TCP RST), before or within the response."""
        return cls(
            kind="reset", after_bytes=after_bytes, after_events=after_events, after_share=after_share, delay=delay
        )

    @classmethod
    def cut(
        cls,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: Span | None = None,
        delay: Span = 0.0,
    ) -> Fault:
        """Close the connection too early, before or within the response."""
        return cls(kind="cut", after_bytes=after_bytes, after_events=after_events, after_share=after_share, delay=delay)

    @classmethod
    def stall(
        cls,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        after_share: Span | None = None,
        delay: Span = 0.0,
    ) -> Fault:
        """Stop sending and keep the connection open, before or within the response."""
        return cls(
            kind="stall", after_bytes=after_bytes, after_events=after_events, after_share=after_share, delay=delay
        )

    @classmethod
    def garbage(cls, *, delay: Span = 0.0) -> Fault:
        """Respond with bytes that are not HTTP."""
        return cls(kind="garbage", delay=delay)

    @classmethod
    def fail(
        cls,
        status: int,
        *,
        retry_after: float | str | None = None,
        headers: Mapping[str, str] | None = None,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
        delay: Span = 0.0,
    ) -> Fault:
        """Respond with an error in the provider's form.

        `retry_after` is a number of seconds or any text, such as a date.
        """
        fields = dict(headers or {})
        if retry_after is not None:
            fields["retry-after"] = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
        return cls(kind="fail", status=status, headers=fields, message=message, type=type, code=code, delay=delay)

    @classmethod
    def html(cls, status: int = 200, *, delay: Span = 0.0) -> Fault:
        """Respond with a web page."""
        return cls(kind="html", status=status, delay=delay)

    @classmethod
    def empty(cls, status: int = 200, *, delay: Span = 0.0) -> Fault:
        """Respond without a body."""
        return cls(kind="empty", status=status, delay=delay)

    @classmethod
    def bad_json(cls, *, after_events: int = 0) -> Fault:
        """Respond with truncated JSON; in a stream, send a truncated event after `after_events` valid ones."""
        return cls(kind="bad_json", after_events=after_events)

    @classmethod
    def error_event(
        cls,
        *,
        after_events: int = 1,
        status: int = 529,
        message: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in every provider's error object
        code: str | None = None,
    ) -> Fault:
        """End a stream with an error after `after_events` events. Without a stream, send the error with status 200."""
        return cls(kind="error_event", after_events=after_events, status=status, message=message, type=type, code=code)

    @classmethod
    def oversize(cls, size: int) -> Fault:
        """Make the response at least `size` bytes long, in a stream by a single event."""
        return cls(kind="oversize", size=size)

    @classmethod
    def slow(cls, *, delay: Span = 0.0, pace: Span = 0.0) -> Fault:
        """Send the complete response, but late: `delay` seconds before its head, `pace` seconds before each piece."""
        return cls(kind="slow", delay=delay, pace=pace)

    @classmethod
    def hang_up(cls) -> Fault:
        """Send the complete response, then close the connection as if it were idle."""
        return cls(kind="hang_up")

    @classmethod
    def one_of_each(cls) -> Sequence[Fault]:
        """Return a fault of each kind, in each phase of an exchange."""
        return _ALL

    @property
    def keeps_answer(self) -> bool:
        """Whether the complete response arrives nevertheless."""
        return self.kind in _KEEPS_ANSWER

    @property
    def needs_answer(self) -> bool:
        """Whether it needs a response to modify."""
        return self.kind in _NEEDS_ANSWER

    def drawn(self, random: Random) -> Fault:
        """Return the same fault with a number drawn for each range."""
        return msgspec.structs.replace(
            self,
            after_share=None if self.after_share is None else _drawn(self.after_share, random),
            delay=_drawn(self.delay, random),
            pace=_drawn(self.pace, random),
        )

    def __post_init__(self) -> None:
        places = (self.after_bytes, self.after_events, self.after_share)
        if sum(place is not None for place in places) > 1:
            raise UsageError(f"{self!r} has more than one position; set one of after_bytes, after_events, after_share")


def _drawn(span: Span, random: Random) -> float:
    return random.uniform(*span) if isinstance(span, tuple) else span


class Asked(Protocol):
    """What a rule examines: a `MockCall`, or a similar object of a simulation."""

    @property
    def provider(self) -> str: ...  # noqa: D102 - these are MockCall's
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def endpoint(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str | None: ...  # noqa: D102
    @property
    def stream(self) -> bool: ...  # noqa: D102


class FaultRule(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """The faults of the attempts that match: first its sequence, one fault per attempt, then random ones.

        FaultRule(provider="openai", sequence=(Fault.fail(429), None), chances=((0.1, Fault.fail(503)),))

    `None` in a sequence is an attempt without a fault. A condition that is `None` always matches.
    """

    sequence: tuple[Fault | None, ...] = ()
    """The faults of the first attempts, in order."""

    chances: tuple[tuple[float, Fault], ...] = ()
    """Pairs of a probability and a fault, for the attempts after the sequence. The rest to 1 is the probability of no
    fault.
    """
    provider: str | None = None
    """The name of the provider."""

    model: str | None = None
    """The provider's own name of the model."""

    endpoint: str | None = None
    """The name of the operation."""

    key: str | None = None
    """The name of a fake key."""
    stream: bool | None = None
    """Whether a stream is requested."""

    since: float = 0.0
    """When the rule begins to apply, in seconds from the first attempt of the run."""

    until: float | None = None
    """When the rule stops to apply, in seconds from the first attempt of the run. `None`: never."""

    def is_for(self, attempt: Asked, *, elapsed: float) -> bool:
        """Return whether the rule applies to an attempt, `elapsed` seconds after the start of the run."""
        if elapsed < self.since or (self.until is not None and elapsed >= self.until):
            return False
        return all(
            condition is None or condition == found
            for condition, found in (
                (self.provider, attempt.provider),
                (self.model, attempt.model),
                (self.endpoint, attempt.endpoint),
                (self.key, attempt.key),
                (self.stream, attempt.stream),
            )
        )

    def fault(self, number: int, random: Random) -> Fault | None:
        """Return the fault of the rule's attempt with this number, from 0; `None` if there is none."""
        if number < len(self.sequence):
            planned = self.sequence[number]
            return None if planned is None else planned.drawn(random)
        drawn = random.random()
        for chance, fault in self.chances:
            drawn -= chance
            if drawn < 0:
                return fault.drawn(random)
        return None

    def __post_init__(self) -> None:
        chances = [chance for chance, _ in self.chances]
        if any(not 0 <= chance <= 1 for chance in chances) or sum(chances) > 1 + 1e-9:
            raise UsageError(f"the chances of a rule are from 0 to 1 and no more than 1 together, not {chances}")


class FaultPlan(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """The faults of a whole run. The same plan with the same seed produces the same faults.

        plan = FaultPlan(seed=7, rules=(FaultRule(provider="openai", chances=((0.3, Fault.fail(503)),)),))
        mock.inject(plan)

    For each attempt, the first rule that has a fault for it is used. The fault of a rule's n-th attempt depends only on
    the seed, the position of the rule and n, and not on calls to other providers. `repr` is Python code for the same
    plan; `to_json` and `from_json` preserve it, too.
    """

    seed: int = 0
    """The seed of the random numbers."""

    rules: tuple[FaultRule, ...] = ()
    """The rules, in order."""

    @classmethod
    def of(cls, *sequence: Fault | None) -> FaultPlan:
        """Return a plan with the faults of the first attempts, whatever they request."""
        return cls(rules=(FaultRule(sequence=sequence),))

    @classmethod
    def storm(cls, rate: float, *, seed: int, faults: Sequence[Fault] | None = None) -> FaultPlan:
        """Return a plan in which this share of the attempts has a fault, each of `faults` with the same probability.

        The default faults are `Fault.one_of_each()` without oversized responses. Some of them stall: set a timeout for
        the calls, or use virtual time.
        """
        kinds = [fault for fault in _ALL if fault.kind != "oversize"] if faults is None else faults
        return cls(seed=seed, rules=(FaultRule(chances=tuple((rate / len(kinds), fault) for fault in kinds)),))

    def fault(self, rule: int, number: int) -> Fault | None:
        """Return the fault of a rule's attempt with this number; `None` if there is none."""
        return self.rules[rule].fault(number, Random(f"{self.seed}/{rule}/{number}"))  # noqa: S311 - reproducible on purpose

    def to_json(self) -> str:
        """Return the plan as a line of JSON, for a log or a file of test cases."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> FaultPlan:
        """Return the plan that `to_json` wrote. Raises `UsageError` for other text."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise UsageError(f"this is not a fault plan: {error}") from error


class FaultRun:
    """One run of a plan: counts the attempts and returns the fault of each.

    `played` has the faults so far, in order.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.played: list[Fault] = []
        self._given: list[list[Fault | None]] = [[] for _ in plan.rules]
        self._started: float | None = None

    def peek(self, attempt: Asked, *, now: float) -> Fault | None:
        """Return the fault of this attempt, without counting it."""
        return self._look(attempt, now)[0]

    def take(self, attempt: Asked, *, now: float) -> Fault | None:
        """Count this attempt, and return its fault. `now` may belong to any clock; the first call defines 0."""
        fault, passed = self._look(attempt, now)
        for rule, results in passed:
            self._given[rule].append(results)
        if fault is not None:
            self.played.append(fault)
        return fault

    def as_played(self) -> FaultPlan:
        """Return a plan without random faults that repeats exactly what has happened so far."""
        rules = [
            msgspec.structs.replace(rule, sequence=tuple(results), chances=())
            for rule, results in zip(self.plan.rules, self._given, strict=True)
        ]
        return FaultPlan(rules=tuple(rules))

    def _look(self, attempt: Asked, now: float) -> tuple[Fault | None, list[tuple[int, Fault | None]]]:
        """Return the fault, and the results of all rules that were examined."""
        if self._started is None:
            self._started = now
        passed: list[tuple[int, Fault | None]] = []
        for place, rule in enumerate(self.plan.rules):
            if rule.is_for(attempt, elapsed=now - self._started):
                fault = self.plan.fault(place, len(self._given[place]))
                passed.append((place, fault))
                if fault is not None:
                    return fault, passed
        return None, passed

    def __repr__(self) -> str:
        return f"FaultRun({self.plan!r}, {len(self.played)} played)"


_ALL: tuple[Fault, ...] = (
    Fault.refuse(),
    Fault.black_hole(),
    Fault.reset(),
    Fault.reset(after_bytes=0),
    Fault.reset(after_share=(0.0, 1.0)),
    Fault.cut(),
    Fault.cut(after_bytes=0),
    Fault.cut(after_share=(0.0, 1.0)),
    Fault.stall(),
    Fault.stall(after_bytes=0),
    Fault.stall(after_share=(0.0, 1.0)),
    Fault.garbage(),
    *(Fault.fail(status) for status in (400, 401, 403, 404, 408, 409, 413, 422, 500, 502, 503, 504, 529, 599)),
    Fault.fail(402, code="insufficient_quota"),
    Fault.fail(429),
    Fault.fail(429, retry_after=1),
    Fault.fail(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    Fault.fail(429, headers={"retry-after-ms": "250"}),
    Fault.fail(503, retry_after="soon"),
    Fault.html(),
    Fault.html(502),
    Fault.empty(),
    Fault.empty(503),
    Fault.bad_json(),
    Fault.bad_json(after_events=1),
    Fault.error_event(after_events=0),
    Fault.error_event(),
    Fault.oversize(65 * 1024 * 1024),
    Fault.slow(delay=(0.1, 10.0), pace=(0.0, 1.0)),
    Fault.hang_up(),
)
