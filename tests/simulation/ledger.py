"""The checker of simulated runs: notes what happens, and says which of the invariants it breaks.

At every step: the calls are conserved, and what the client tells of itself is possible. At the end: I1 to I10.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from bifrost import BifrostError, CallCancelledError
from bifrost.errors import InternalError
from bifrost.testing import fake_key
from tests.plugins.recorder import assert_paired
from tests.simulation.world import ATTEMPTS_TOTAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost import Bifrost, CallContext
    from bifrost.attempt_record import AttemptRecord
    from bifrost.testing import LoopbackProvider, MockCall, MockTransport
    from tests.simulation.world import Ask, World

End: TypeAlias = Literal["succeeded", "failed", "cancelled"]

_ROUNDING = 1e-6
_UNSURE = frozenset({"cancelled", "limit", "stale", "transient", "never_sent"})
"""Failures that may come before the request has reached the provider, or after it."""


class Broken(AssertionError):  # noqa: N818 - it says what an invariant is
    """A run broke an invariant."""


@attrs.define(eq=False)
class Entry:
    """What is known of one call."""

    ask: Ask
    started: float
    context: CallContext | None = None
    hooks: list[str] = attrs.field(factory=list[str])
    ends: list[End] = attrs.field(factory=list[End])
    ended: float = math.inf
    text: str | None = None
    error: BaseException | None = None
    leaving: float | None = None
    """When its caller decided to leave."""
    answered_by_plugin: bool = False
    pulls: list[tuple[float, float]] = attrs.field(factory=list[tuple[float, float]])
    """Of a stream: when each wait for the next chunk began and ended, the one for the first included."""


class Ledger:
    """Takes notes, and judges them."""

    def __init__(self, world: World, now: Callable[[], float], *, tolerance: float = _ROUNDING) -> None:
        self.world = world
        self.tolerance = tolerance
        """How much later than its deadline a wait may end, in seconds."""
        self.entries: dict[int, Entry] = {}
        self.events: list[tuple[float, str, int]] = []
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.concurrency: dict[str, int] = {name: each.concurrency for name, each in world.providers.items()}
        """The highest that a provider had so far."""
        self.retries: dict[str, int] = {name: each.max_retries for name, each in world.providers.items()}
        self.keys: dict[str, set[str]] = {name: set(each.keys) for name, each in world.providers.items()}
        self.limits: set[tuple[str, int]] = set()
        """Where the providers' limits have been."""
        self.closing: float | None = None
        self.running: set[int] = set()
        self._now = now
        self._client: Bifrost | None = None
        self._mock: MockTransport | LoopbackProvider | None = None

    # --- notes

    def watch(self, client: Bifrost, mock: MockTransport | LoopbackProvider) -> None:
        """Look at this client and its provider from now on."""
        self._client, self._mock = client, mock

    def submitted(self, ask: Ask) -> Entry:
        entry = self.entries[ask.number] = Entry(ask, self._now())
        self.counts["submitted"] += 1
        self.running.add(ask.number)
        self.note("submit", ask.number)
        return entry

    def ended(self, entry: Entry, end: End, *, text: str | None = None, error: BaseException | None = None) -> None:
        entry.ends.append(end)
        entry.ended, entry.text, entry.error = self._now(), text, error
        self.counts[end] += 1
        self.running.discard(entry.ask.number)
        self.note(end, entry.ask.number)

    def hook(self, number: int, name: str) -> None:
        entry = self.entries.get(number)
        if entry is None:
            self.problem("I5", f"a hook of call {number}, which nobody made")
            return
        entry.hooks.append(name)
        self.note(name, number)

    def problem(self, invariant: str, text: str) -> None:
        self.problems.append(f"{invariant} at {self._now():.3f}: {text}")

    def note(self, what: str, number: int = -1) -> None:
        """Write an event down, and look whether all is well at this step."""
        self.events.append((round(self._now(), 6), what, number))
        counts = self.counts
        ended = counts["succeeded"] + counts["failed"] + counts["cancelled"]
        if counts["submitted"] != ended + len(self.running):
            self.problem("I3", f"{counts['submitted']} submitted, {ended} ended and {len(self.running)} running")
        if self._client is not None:
            self._look(self._client)

    def _look(self, client: Bifrost) -> None:
        stats = client.stats()
        if stats.calls > self.counts["submitted"]:
            self.problem("I3", f"the client counts {stats.calls} calls of {self.counts['submitted']}")
        for name, provider in stats.providers.items():
            numbers = (provider.in_flight, provider.waiting, provider.streams, provider.connections.lent)
            if min(numbers) < 0:
                self.problem("I3", f"{name} counts below nothing: {provider!r}")
            if provider.in_flight > self.concurrency[name]:
                self.problem("I1", f"{name} has {provider.in_flight} in flight, {self.concurrency[name]} allowed")
            if provider.limit is not None:
                self.limits.add((name, provider.limit))
                if not 1 <= provider.limit <= provider.concurrency:
                    self.problem("I1", f"the limit of {name} is {provider.limit}, of {provider.concurrency}")
            if provider.worker_restarts:
                self.problem("I1", f"a worker of {name} died")
            if provider.budget is not None and not 0 <= provider.budget.left <= min(200, provider.budget.capacity):
                self.problem("I7", f"the budget of {name} is {provider.budget.left}")
            for key in provider.keys or ():
                if key.in_flight < 0:
                    self.problem("I3", f"key {key.name} counts below nothing")

    # --- judgement

    def judge(self) -> None:
        """Look at the run as a whole, and raise `Broken` if anything was wrong with it."""
        asked: dict[int, list[MockCall]] = defaultdict(list)
        for call in self._mock.calls if self._mock else ():
            asked[number_of(call.request)].append(call)
        for number in asked.keys() - self.entries.keys() - {-1}:
            self.problem("I7", f"the provider was asked for {number}, which nobody asked")
        for number, entry in self.entries.items():
            for invariant, text in _judged(entry, asked[number], self):
                self.problem(invariant, f"call {number}: {text}")
        if self._mock is not None and self._mock.connections.open:
            self.problem("I2", f"{self._mock.connections.open} connections are open")
        if self.problems:
            raise Broken("\n".join([f"{len(self.problems)} broken:", *self.problems[:20]]))

    def heard(self, lines: Sequence[str], records: Sequence[logging.LogRecord]) -> None:
        """Look through what was logged."""
        self._assert_no_secret("the log", "\n".join(lines))
        for record in records:
            if record.name in ("asyncio", "trio") and record.levelno >= logging.WARNING:
                self.problem("I10", f"the event loop says: {record.getMessage()}")

    def _assert_no_secret(self, where: str, text: str) -> None:
        if fake_key("") in text:
            place = text.index(fake_key(""))
            self.problem("I6", f"{where} shows a key: {text[max(0, place - 80) : place + 40]!r}")

    def unseen(self, where: str, error: BaseException) -> None:
        """Look through everything that an error shows when it is printed."""
        self._assert_no_secret(where, "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))


def _judged(entry: Entry, asked: list[MockCall], ledger: Ledger) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if len(entry.ends) != 1:
        found.append(("I3", f"ended {len(entry.ends)} times: {entry.ends}"))
        return found
    found += _judged_answer(entry, ledger)
    found += _judged_times(entry, ledger.tolerance)
    trail = [] if entry.context is None else entry.context.attempts
    found += _judged_attempts(trail, asked, ledger)
    try:
        assert_paired(entry.hooks)
    except AssertionError as error:
        found.append(("I4", str(error)))
    for hook in ("before_call", "after_call"):
        if any(count > 1 for name, count in Counter(entry.hooks).items() if name.endswith(f".{hook}")):
            found.append(("I4", f"{hook} ran twice: {entry.hooks}"))
    return found


def _judged_answer(entry: Entry, ledger: Ledger) -> list[tuple[str, str]]:
    """I5: one outcome, of the right kind."""
    found: list[tuple[str, str]] = []
    trail = [] if entry.context is None else entry.context.attempts
    good = [attempt for attempt in trail if attempt.ok]
    match entry.ends[0]:
        case "succeeded":
            whole = entry.ask.kind in ("plain", "stream")
            if entry.text is None or (entry.text != entry.ask.answer if whole else not _begins(entry)):
                found.append(("I5", f"got {entry.text!r} for {entry.ask.answer!r}"))
            if entry.context is not None and len(good) != (0 if entry.answered_by_plugin else 1):
                found.append(("I5", f"was answered, and {len(good)} attempts were: {trail}"))
        case "failed":
            error = entry.error
            if not isinstance(error, BifrostError) or isinstance(error, InternalError | CallCancelledError):
                found.append(("I5", f"raised {error!r}"))
            else:
                ledger.unseen(f"call {entry.ask.number}", error)
                if entry.context is not None and list(error.attempts) != list(trail):
                    found.append(("I7", f"tells of {list(error.attempts)}, where there were {trail}"))
        case "cancelled":
            if entry.leaving is None:
                found.append(("I5", "was cancelled, and nobody had"))
    return found


def _begins(entry: Entry) -> bool:
    return entry.text is not None and entry.ask.answer.startswith(entry.text)


def _judged_times(entry: Entry, tolerance: float) -> list[tuple[str, str]]:
    """I8: no wait outlasts the call's deadline, or the moment when its caller left."""
    found: list[tuple[str, str]] = []
    deadline = entry.started + entry.ask.timeout
    if entry.leaving is not None and entry.ends == ["cancelled"] and entry.ended > entry.leaving + tolerance:
        found.append(("I8", f"left at {entry.leaving:.6f}, and was kept until {entry.ended:.6f}"))
    pulls = entry.pulls or [(entry.started, entry.ended)]
    for began, ended in pulls:
        if ended > max(deadline, began) + tolerance:
            found.append(("I8", f"waited from {began:.6f} to {ended:.6f}, its deadline was {deadline:.6f}"))
    return found


def _judged_attempts(trail: Sequence[AttemptRecord], asked: list[MockCall], ledger: Ledger) -> list[tuple[str, str]]:
    """I7: what the provider saw stands on the trail, in its order, and is no more than was allowed."""
    found: list[tuple[str, str]] = []
    seen = [(call.provider, call.key) for call in asked]
    told = [(attempt.provider, attempt.key) for attempt in trail]
    sure = [
        (attempt.provider, attempt.key)
        for attempt in trail
        if attempt.status is not None or attempt.category not in _UNSURE
    ]
    if any((attempt.note or "").startswith("hedge") for attempt in trail):
        # Two were under way at once, and stand in the order in which they ended.
        seen, told, sure = sorted(seen, key=str), sorted(told, key=str), sorted(sure, key=str)
    if not _is_within(seen, told):
        found.append(("I7", f"the provider saw {seen}, and told is {told}"))
    if not _is_within(sure, seen):
        found.append(("I7", f"told is {sure}, and the provider saw {seen}"))
    by_provider: dict[str, list[AttemptRecord]] = defaultdict(list)
    for attempt in trail:
        by_provider[attempt.provider].append(attempt)
    free = sum(any(attempt.category == "stale" for attempt in attempts) for attempts in by_provider.values())
    if len(trail) - free > ATTEMPTS_TOTAL:
        found.append(("I7", f"{len(trail)} attempts, {free} of them free"))
    for name, attempts in by_provider.items():
        most = 1 + ledger.retries[name] + len(ledger.keys[name]) - 1 + free
        if len(attempts) > most:
            found.append(("I7", f"{len(attempts)} attempts at {name}, {most} allowed"))
    return found


def _is_within(part: Sequence[object], whole: Sequence[object]) -> bool:
    """Say whether the one is what is left of the other when some are taken out."""
    rest = iter(whole)
    return all(any(each == other for other in rest) for each in part)


def number_of(request: Any) -> int:
    """Read a call's number off its question; -1 for one that is no call of the run."""
    number, _, words = str(request.messages[-1].text).partition(":")
    return int(number) if words else -1
