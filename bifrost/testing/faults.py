"""What goes wrong in a run, as a value: which faults, when, for whom, and by which chances. Pure; no I/O, no clock.

A `FaultPlan` and its seed decide everything. `FaultRun` counts the attempts of one run and says for each what happens;
`MockTransport.inject` and `LoopbackProvider.inject` play it.
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

Span: TypeAlias = float | tuple[float, float]
"""A number, or the two between which one is drawn."""

_KEEPS_ANSWER = frozenset({"slow", "hang_up"})
_NEEDS_ANSWER = frozenset({"reset", "cut", "stall", "bad_json", "error_event", "oversize", "slow", "hang_up"})


class Fault(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One thing that goes wrong with one attempt. Made by the methods named for it: `Fault.fail(429, retry_after=1)`.

    Where a fault comes in the middle of an answer, its place is given by one of `after_bytes`, `after_events` (those
    that carry a piece of the answer) and `after_share` (of the body's bytes, from 0 to 1); with none of them it comes
    before any answer, with `after_bytes=0` right behind the head.
    """

    kind: FaultKind
    after_bytes: int | None = None
    after_events: int | None = None
    after_share: Span | None = None
    status: int = 200
    headers: dict[str, str] = {}
    message: str | None = None
    type: str | None = None
    code: str | None = None
    delay: Span = 0.0
    """Seconds before the head of the answer, or before the fault that comes instead."""
    pace: Span = 0.0
    """Seconds before each piece of the body."""
    size: int = 0

    @classmethod
    def refuse(cls) -> Fault:
        """Refuse the connection. Over real sockets, where it is made before anything is asked: reset it at once."""
        return cls(kind="refuse")

    @classmethod
    def black_hole(cls) -> Fault:
        """Never make the connection. Over real sockets: make it and never answer."""
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
        """Reset the connection (TCP RST), before any answer or within it."""
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
        """Close the connection too early, before any answer or within it."""
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
        """Send nothing more and keep the connection open, before any answer or within it."""
        return cls(
            kind="stall", after_bytes=after_bytes, after_events=after_events, after_share=after_share, delay=delay
        )

    @classmethod
    def garbage(cls, *, delay: Span = 0.0) -> Fault:
        """Answer with bytes that are not HTTP."""
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
        """Answer with an error in the provider's form and words. `retry_after` is seconds or any text: a date, say."""
        fields = dict(headers or {})
        if retry_after is not None:
            fields["retry-after"] = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
        return cls(kind="fail", status=status, headers=fields, message=message, type=type, code=code, delay=delay)

    @classmethod
    def html(cls, status: int = 200, *, delay: Span = 0.0) -> Fault:
        """Answer with a web page."""
        return cls(kind="html", status=status, delay=delay)

    @classmethod
    def empty(cls, status: int = 200, *, delay: Span = 0.0) -> Fault:
        """Answer with no body."""
        return cls(kind="empty", status=status, delay=delay)

    @classmethod
    def bad_json(cls, *, after_events: int = 0) -> Fault:
        """Answer with JSON that ends in the middle; in a stream, send such an event after so many good ones."""
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
        """End a stream with an error after so many events; where no stream is asked for, send the error with a 200."""
        return cls(kind="error_event", after_events=after_events, status=status, message=message, type=type, code=code)

    @classmethod
    def oversize(cls, size: int) -> Fault:
        """Make the answer at least so many bytes long, in a stream by a single event."""
        return cls(kind="oversize", size=size)

    @classmethod
    def slow(cls, *, delay: Span = 0.0, pace: Span = 0.0) -> Fault:
        """Give the answer whole, and late: `delay` before its head, `pace` before each piece."""
        return cls(kind="slow", delay=delay, pace=pace)

    @classmethod
    def hang_up(cls) -> Fault:
        """Give the answer whole, and close the connection behind it, as an idle one."""
        return cls(kind="hang_up")

    @classmethod
    def one_of_each(cls) -> Sequence[Fault]:
        """Give a fault of each kind, in each phase of an exchange."""
        return _ALL

    @property
    def keeps_answer(self) -> bool:
        """Say whether the answer arrives whole all the same."""
        return self.kind in _KEEPS_ANSWER

    @property
    def needs_answer(self) -> bool:
        """Say whether there must be an answer for it to spoil."""
        return self.kind in _NEEDS_ANSWER

    def drawn(self, random: Random) -> Fault:
        """Give the same fault with a number for every span."""
        return msgspec.structs.replace(
            self,
            after_share=None if self.after_share is None else _drawn(self.after_share, random),
            delay=_drawn(self.delay, random),
            pace=_drawn(self.pace, random),
        )

    def __post_init__(self) -> None:
        places = (self.after_bytes, self.after_events, self.after_share)
        if sum(place is not None for place in places) > 1:
            raise UsageError(f"{self!r} has more than one place; give one of after_bytes, after_events, after_share")


def _drawn(span: Span, random: Random) -> float:
    return random.uniform(*span) if isinstance(span, tuple) else span


class Asked(Protocol):
    """What a rule looks at: a `MockCall`, or whatever a simulation has in its place."""

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
    """What happens to the attempts that it is for: first its sequence, one attempt each, then what chance brings.

        FaultRule(provider="openai", sequence=(Fault.fail(429), None), chances=((0.1, Fault.fail(503)),))

    `None` in a sequence is an attempt that goes well. A condition that is `None` always holds. `since` and `until` are
    seconds from the run's first attempt; outside of them the rule is as if it were not there.
    """

    sequence: tuple[Fault | None, ...] = ()
    chances: tuple[tuple[float, Fault], ...] = ()
    """Probabilities and what happens with them; what is missing to 1 is the chance that all goes well."""
    provider: str | None = None
    model: str | None = None
    endpoint: str | None = None
    key: str | None = None
    """The name of a key of the test kit's own."""
    stream: bool | None = None
    since: float = 0.0
    until: float | None = None

    def is_for(self, asked: Asked, *, elapsed: float) -> bool:
        """Say whether an attempt, so many seconds into the run, is this rule's."""
        if elapsed < self.since or (self.until is not None and elapsed >= self.until):
            return False
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.provider, asked.provider),
                (self.model, asked.model),
                (self.endpoint, asked.endpoint),
                (self.key, asked.key),
                (self.stream, asked.stream),
            )
        )

    def fault(self, number: int, random: Random) -> Fault | None:
        """Give what happens to its attempt of this number, 0 for the first."""
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
    """What goes wrong over a whole run. The same plan with the same seed brings the same faults.

        plan = FaultPlan(seed=7, rules=(FaultRule(provider="openai", chances=((0.3, Fault.fail(503)),)),))
        mock.inject(plan)

    For each attempt the rules are asked in order, and the first that has a fault for it wins. What a rule has for its
    n-th attempt depends on the seed, the rule's place and n, and on nothing else: not on what other providers' calls
    did in between. The repr is Python that makes the same plan again, and so does `from_json` of `to_json()`.
    """

    seed: int = 0
    rules: tuple[FaultRule, ...] = ()

    @classmethod
    def of(cls, *sequence: Fault | None) -> FaultPlan:
        """Make a plan of what happens to the first attempts, whoever makes them."""
        return cls(rules=(FaultRule(sequence=sequence),))

    @classmethod
    def storm(cls, rate: float, *, seed: int, faults: Sequence[Fault] | None = None) -> FaultPlan:
        """Make a plan in which this share of the attempts meets with a fault, each of `faults` as likely.

        By default those are `Fault.one_of_each()`, what is oversize left out. Some of them stall: give the calls a
        timeout, or the run virtual time.
        """
        kinds = [fault for fault in _ALL if fault.kind != "oversize"] if faults is None else faults
        return cls(seed=seed, rules=(FaultRule(chances=tuple((rate / len(kinds), fault) for fault in kinds)),))

    def fault(self, rule: int, number: int) -> Fault | None:
        """Give what a rule has for its attempt of this number."""
        return self.rules[rule].fault(number, Random(f"{self.seed}/{rule}/{number}"))  # noqa: S311 - chance with a seed

    def to_json(self) -> str:
        """Write it as a line of JSON, for a log or a file of cases."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> FaultPlan:
        """Read what `to_json` wrote. Raises `UsageError` for anything else."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise UsageError(f"this is not a fault plan: {error}") from error


class FaultRun:
    """One run of a plan: counts the attempts and says what happens to each. `played` has what happened, in order."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.played: list[Fault] = []
        self._given: list[list[Fault | None]] = [[] for _ in plan.rules]
        self._started: float | None = None

    def peek(self, asked: Asked, *, now: float) -> Fault | None:
        """Say what happens to this attempt, without counting it."""
        return self._look(asked, now)[0]

    def take(self, asked: Asked, *, now: float) -> Fault | None:
        """Say what happens to this attempt, and count it. `now` may go by any clock; the first call is 0."""
        fault, passed = self._look(asked, now)
        for rule, given in passed:
            self._given[rule].append(given)
        if fault is not None:
            self.played.append(fault)
        return fault

    def as_played(self) -> FaultPlan:
        """Give a plan without chance, in which everything happens that has happened so far, and nothing after it."""
        rules = [
            msgspec.structs.replace(rule, sequence=tuple(given), chances=())
            for rule, given in zip(self.plan.rules, self._given, strict=True)
        ]
        return FaultPlan(rules=tuple(rules))

    def _look(self, asked: Asked, now: float) -> tuple[Fault | None, list[tuple[int, Fault | None]]]:
        """Give the fault, and what each rule gave that was asked on the way to it."""
        if self._started is None:
            self._started = now
        passed: list[tuple[int, Fault | None]] = []
        for place, rule in enumerate(self.plan.rules):
            if rule.is_for(asked, elapsed=now - self._started):
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
