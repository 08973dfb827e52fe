"""Choosing one of several by weight. Pure: chance is passed in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from bifrost.account import check_weight
from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Random: TypeAlias = Callable[[], float]
    """Gives a number of [0, 1), each as likely as another."""

T = TypeVar("T")


class Weighted(Generic[T]):
    """Things with weights, of which one is chosen at a time: `Weighted([("a", 1.0), ("b", 0.005)])`.

    A thing of weight 0 is chosen only when no other is left. Any scale will do, from 1e-300 to 1e300. Raises
    `ConfigError` for a weight that is negative, infinite or not a number, and for an empty list.
    """

    __slots__ = ("_cumulative", "_items", "_pairs")

    def __init__(self, pairs: Iterable[tuple[T, float]]) -> None:
        self._pairs = list(pairs)
        if not self._pairs:
            raise ConfigError("there is nothing to choose from; give at least one")
        for item, weight in self._pairs:
            check_weight(weight, where=str(item))
        self._items, self._cumulative = _prepare(self._pairs)

    @property
    def items(self) -> list[T]:
        """Give all things, chosen or not, in their order."""
        return [item for item, _ in self._pairs]

    def choose(self, random: Random) -> T:
        """Choose one."""
        return _choose(self._items, self._cumulative, random)

    def choose_except(self, random: Random, *, excluded: Callable[[T], bool]) -> T | None:
        """Choose one of those for which `excluded` is false; `None` if that leaves nothing."""
        left = [pair for pair in self._pairs if not excluded(pair[0])]
        return _choose(*_prepare(left), random) if left else None


class Named(Protocol):
    """A thing that is known by a name."""

    @property
    def name(self) -> str:
        """Give the name."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


class Snapshot(msgspec.Struct, frozen=True):
    """What is known at the moment of a choice."""

    excluded: Collection[str] = ()
    """Names that must not be chosen."""


NOTHING_KNOWN = Snapshot()


class Balance(Protocol):
    """A policy that chooses one of several candidates. It neither waits nor sends."""

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        ...


class WeightedRandom:
    """By chance, in proportion to the weights."""

    def choose(self, candidates: Weighted[NamedT], snapshot: Snapshot, random: Random) -> NamedT | None:
        """Choose a candidate that the snapshot does not exclude; `None` if there is none."""
        names = snapshot.excluded
        if not names:
            return candidates.choose(random)
        return candidates.choose_except(random, excluded=lambda candidate: candidate.name in names)


def _prepare(pairs: Sequence[tuple[T, float]]) -> tuple[list[T], list[float]]:
    largest = max(weight for _, weight in pairs)
    if largest == 0:
        return [item for item, _ in pairs], [float(place + 1) for place in range(len(pairs))]
    chosen = [pair for pair in pairs if pair[1] > 0]
    # In proportion to the largest, so that huge weights do not add up to infinity.
    return [item for item, _ in chosen], list(accumulate(weight / largest for _, weight in chosen))


def _choose(items: Sequence[T], cumulative: Sequence[float], random: Random) -> T:
    if len(items) == 1:
        return items[0]
    # The last place is out of the search, so that no rounding leads past the end.
    return items[bisect_right(cumulative, random() * cumulative[-1], 0, len(items) - 1)]
