"""Load balancing: choose one of several by weight, in turn, or by load. Pure: random numbers are passed in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from bifrost.account import check_weight
from bifrost.errors import ConfigError
from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Random: TypeAlias = Callable[[], float]
    """A function that returns uniformly distributed numbers of [0, 1)."""

T = TypeVar("T")
R = TypeVar("R")


class Weighted(Generic[T]):
    """Items with weights, one of which is chosen at a time: `Weighted([("a", 1.0), ("b", 0.005)])`.

    An item of weight 0 is chosen only if no other is left. Weights may have any scale, from 1e-300 to 1e300. Raises
    `ConfigError` for a weight that is negative, infinite or not a number, and for an empty list.
    """

    __slots__ = ("_cumulative", "_derived", "_items", "_pairs")

    def __init__(self, pairs: Iterable[tuple[T, float]]) -> None:
        self._derived: dict[Callable[..., Any], Any] = {}
        self._pairs = list(pairs)
        if not self._pairs:
            raise ConfigError("there is nothing to choose from; pass at least one candidate")
        for item, weight in self._pairs:
            check_weight(weight, where=str(item))
        self._items, self._cumulative = _prepare(self._pairs)

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self._pairs)

    @property
    def items(self) -> list[T]:
        """All items, in their order."""
        return [item for item, _ in self._pairs]

    @property
    def pairs(self) -> list[tuple[T, float]]:
        """All items with their weights, in their order."""
        return list(self._pairs)

    @property
    def each(self) -> Iterator[tuple[T, float]]:
        """An iterator over the items and their weights, without a copy."""
        return iter(self._pairs)

    def derived(self, make: Callable[[list[tuple[T, float]]], R]) -> R:
        """Return what a function computes from the items and weights.

        The result is cached; items in it go through `named`.
        """
        known: R | None = self._derived.get(make)
        if known is None:
            known = self._derived[make] = make(self._pairs)
        return known

    def named(self, item: T | None) -> T | None:
        """Return an item that was found through `derived`, as it appears in this list."""
        return item

    def shares(self) -> list[float]:
        """Return the probability of each item, in their order. The sum is 1."""
        largest = max(weight for _, weight in self._pairs)
        parts = [weight / largest if largest else 1.0 for _, weight in self._pairs]
        return [part / sum(parts) for part in parts]

    def choose(self, random: Random) -> T:
        """Choose an item."""
        items = self._items
        return items[0] if len(items) == 1 else _choose(items, self._cumulative, random)

    def choose_except(self, random: Random, *, excluded: Callable[[T], bool]) -> T | None:
        """Choose an item for which `excluded` is false; `None` if there is none."""
        left = [pair for pair in self._pairs if not excluded(pair[0])]
        return _choose(*_prepare(left), random) if left else None


class Named(Protocol):
    """Anything that has a name."""

    @property
    def name(self) -> str:
        """Return the name."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


class Load(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The load of a candidate's provider."""

    busy: int = 0
    """Calls that it is serving or that wait for it."""
    capacity: int = 1
    """The number of calls that it can serve at once."""
    is_full: bool = False
    """Whether a further call would have to wait."""
    usable: bool = True
    """Whether it can be used now, as far as its health is known."""
    ready_in: float = 0.0
    """Seconds until it can be used, if it cannot be used now."""
    reason: str | None = None
    """Why it cannot be used now."""

    @property
    def share(self) -> float:
        """The load relative to the capacity."""
        return self.busy / self.capacity


IDLE = Load()


class Snapshot(Value, msgspec.Struct, frozen=True):
    """What a balancing policy knows when it chooses."""

    excluded: Collection[str] = ()
    """Names that must not be chosen."""
    loads: Mapping[str, Load] = {}
    """The loads by candidate name. A candidate that is missing here has an unknown load."""


NOTHING_KNOWN = Snapshot()


class Balance(Protocol):
    """A policy that chooses one of several candidates. It does not wait or send."""

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        ...


BalanceName: TypeAlias = Literal["weighted", "least_busy", "round_robin", "two_choices"]
"""The names of the policies that bifrost provides."""


@runtime_checkable
class Foreseeable(Protocol):
    """A policy that can predict how it would choose."""

    def shares(self, candidates: Weighted[NamedT], snapshot: Snapshot) -> dict[str, float]:
        """Return the probability of each candidate, by name. Candidates that cannot be chosen are missing."""
        ...


class WeightedRandom:
    """At random, in proportion to the weights."""

    def shares(self, candidates: Weighted[NamedT], snapshot: Snapshot) -> dict[str, float]:
        """Return the probability of each candidate, by name."""
        return _shares(_in_play(candidates, snapshot))

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        names = snapshot.excluded
        if not names:
            return candidates.choose(random)
        return candidates.choose_except(random, excluded=lambda candidate: candidate.name in names)


class LeastBusy:
    """The candidate with the lowest load relative to its capacity and weight. Ties are broken by weight."""

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        equals = _least_busy(candidates, snapshot)
        return _choose(*_prepare(equals), random) if equals else None

    def shares(self, candidates: Weighted[NamedT], snapshot: Snapshot) -> dict[str, float]:
        """Return the probability of each candidate, by name."""
        return _shares(_least_busy(candidates, snapshot))


class RoundRobin:
    """In turn, each as often as its weight says, spread evenly (weighted round robin). Use one object per list."""

    def __init__(self) -> None:
        self._turns: dict[int, _Turns] = {}
        """The turns of each list: all models and copies of the same list share their turns."""

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        excluded = snapshot.excluded
        return self.choose_usable(candidates, lambda candidate: candidate.name not in excluded)

    def choose_usable(self, candidates: Weighted[NamedT], usable: Callable[[NamedT], bool]) -> NamedT | None:
        """Choose a candidate that is usable; `None` if there is none. A candidate that is not usable loses its turn."""
        tiers = candidates.derived(_tiers)
        turns = self._turns.get(tiers.handle)
        if turns is None or len(turns.due) != len(tiers.weighted):
            while len(self._turns) >= _MAX_LISTS:
                del self._turns[next(iter(self._turns))]
            turns = self._turns[tiers.handle] = _Turns(len(tiers.weighted))
        return candidates.named(_by_turns(tiers, turns, usable))

    def shares(self, candidates: Weighted[NamedT], snapshot: Snapshot) -> dict[str, float]:
        """Return how often each candidate is chosen in the long run, as a share, by name."""
        return _shares(_in_play(candidates, snapshot))


class TwoChoices:
    """The less busy of two that are drawn by weight (power of two choices).

    It avoids that all clients choose the same one.
    """

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        left = _in_play(candidates, snapshot)
        if not left:
            return None
        first = _choose(*_prepare(left), random)
        others = [pair for pair in left if pair[0] is not first]
        if not others:
            return first
        second = _choose(*_prepare(others), random)
        return second if _share_of(second, snapshot) < _share_of(first, snapshot) else first

    def shares(self, candidates: Weighted[NamedT], snapshot: Snapshot) -> dict[str, float]:
        """Return the probability of each candidate, by name, over all pairs that may be drawn."""
        left = _in_play(candidates, snapshot)
        chances = dict.fromkeys((candidate.name for candidate, _ in left), 0.0)
        for first, chance in zip(left, Weighted(left).shares(), strict=True) if left else ():
            others = [pair for pair in left if pair is not first]
            if not others:
                chances[first[0].name] += chance
            for second, then in zip(others, Weighted(others).shares(), strict=True) if others else ():
                is_busier = _share_of(second[0], snapshot) >= _share_of(first[0], snapshot)
                chances[(first if is_busier else second)[0].name] += chance * then
        return chances


BALANCES: Mapping[BalanceName, Callable[[], Balance]] = {
    "weighted": WeightedRandom,
    "least_busy": LeastBusy,
    "round_robin": RoundRobin,
    "two_choices": TwoChoices,
}
"""The policies by name. Each list gets its own object, because some policies keep state."""


_MAX_LISTS = 1000
"""The most lists whose turns are remembered. Key names may be new in every call, so this is bounded."""


class _Tiers(NamedTuple):
    """Candidates grouped by weight: those of equal weight take turns among themselves."""

    handle: int
    """Identifies the names and weights of the list."""
    weighted: list[tuple[float, list[Any]]]
    """Each tier's share of the turns, and its candidates."""
    spares: list[Any]
    """Candidates of weight 0."""


class _Turns:
    """Whose turn it is in a list."""

    __slots__ = ("due", "following", "spare")

    def __init__(self, tiers: int) -> None:
        self.due = [0.0] * tiers
        """How many turns each tier is owed."""
        self.following = [0] * tiers
        """The next candidate of each tier."""
        self.spare = 0


def _tiers(pairs: list[tuple[NamedT, float]]) -> _Tiers:
    by_weight: dict[float, list[NamedT]] = {}
    for candidate, weight in pairs:
        by_weight.setdefault(weight, []).append(candidate)
    spares = by_weight.pop(0, [])
    largest = max(by_weight, default=1.0)
    weighted: list[tuple[float, list[Any]]] = [(weight / largest * len(own), own) for weight, own in by_weight.items()]
    return _Tiers(hash(tuple((candidate.name, weight) for candidate, weight in pairs)), weighted, list(spares))


def _by_turns(tiers: _Tiers, turns: _Turns, usable: Callable[[Any], bool]) -> Any | None:
    due, following = turns.due, turns.following
    passed = [0] * len(due)
    left = list(range(len(due)))
    while left:
        for tier in left:
            due[tier] += tiers.weighted[tier][0]
        tier = max(left, key=due.__getitem__)
        due[tier] -= sum(tiers.weighted[each][0] for each in left)
        own = tiers.weighted[tier][1]
        candidate = own[following[tier] % len(own)]
        following[tier] = (following[tier] + 1) % len(own)
        if usable(candidate):
            return candidate
        passed[tier] += 1
        if passed[tier] == len(own):
            left.remove(tier)
    for number in range(turns.spare, turns.spare + len(tiers.spares)):
        candidate = tiers.spares[number % len(tiers.spares)]
        if usable(candidate):
            turns.spare = (number + 1) % len(tiers.spares)
            return candidate
    return None


def _share_of(candidate: Named, snapshot: Snapshot) -> float:
    return snapshot.loads.get(candidate.name, IDLE).share


def _in_play(candidates: Weighted[NamedT], snapshot: Snapshot) -> list[tuple[NamedT, float]]:
    """Return the candidates that may be chosen, with weights above 0.

    If only those of weight 0 are left, their weights are 1.
    """
    left = [pair for pair in candidates.pairs if pair[0].name not in snapshot.excluded]
    return [pair for pair in left if pair[1] > 0] or [(candidate, 1.0) for candidate, _ in left]


def _least_busy(candidates: Weighted[NamedT], snapshot: Snapshot) -> list[tuple[NamedT, float]]:
    left = _in_play(candidates, snapshot)
    burdens = [_burden(snapshot.loads.get(candidate.name, IDLE), weight) for candidate, weight in left]
    least = min(burdens, default=0.0)
    return [pair for pair, burden in zip(left, burdens, strict=True) if burden == least]


def _shares(left: Sequence[tuple[NamedT, float]]) -> dict[str, float]:
    if not left:
        return {}
    return dict(zip((candidate.name for candidate, _ in left), Weighted(left).shares(), strict=True))


def _burden(load: Load, weight: float) -> float:
    return load.share / weight


def _prepare(pairs: Sequence[tuple[T, float]]) -> tuple[list[T], list[float]]:
    largest = max(weight for _, weight in pairs)
    if largest == 0:
        return [item for item, _ in pairs], [float(place + 1) for place in range(len(pairs))]
    chosen = [pair for pair in pairs if pair[1] > 0]
    # Relative to the largest, so that the sum of huge weights stays finite.
    return [item for item, _ in chosen], list(accumulate(weight / largest for _, weight in chosen))


def _choose(items: Sequence[T], cumulative: Sequence[float], random: Random) -> T:
    if len(items) == 1:
        return items[0]
    # The last item is not part of the search, so that rounding cannot lead past the end.
    return items[bisect_right(cumulative, random() * cumulative[-1], 0, len(items) - 1)]
