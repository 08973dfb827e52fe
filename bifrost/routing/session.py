"""The key or member that the calls of a session share. Pure, and without storing sessions.

The names of a key and of a session are hashed together, and the key with the best result is chosen. Nothing needs to be
stored or to expire: a session uses the same key in every process, removing a key moves only its own sessions, and they
return when the key does.

With few keys this is rendezvous hashing, which checks every key and spreads sessions exactly by weight. With more keys
it is multi-probe consistent hashing (Appleton and O'Reilly, 2015): each key has several points on a circle, the session
has some as well, and the key whose point follows one of them most closely is chosen. This takes a few binary searches,
however many keys there are.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from hashlib import blake2b
from struct import unpack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bifrost.routing.balance import NamedT, Snapshot, Weighted

_FEW = 8
"""Up to this many candidates, all of them are checked."""

_PASSED_OVER = 32
"""After this many unusable candidates, all of them are checked at once."""

_AROUND = 0xFFFFFFFF
"""The last point of the circle."""


def choose_for_session(candidates: Weighted[NamedT], snapshot: Snapshot, session: str) -> NamedT | None:
    """Choose the session's candidate among those that the snapshot does not exclude; `None` if there is none.

    Sessions are spread in proportion to the weights. A candidate of weight 0 is chosen only if no other is left.
    """
    excluded = snapshot.excluded
    return choose_usable(candidates, session, lambda candidate: candidate.name not in excluded)


def choose_usable(candidates: Weighted[NamedT], session: str, usable: Callable[[NamedT], bool]) -> NamedT | None:
    """Choose the session's candidate among those that are usable; `None` if there is none."""
    if candidates.count <= _FEW:
        return _by_rendezvous(candidates.each, session, usable)
    passed_over = 0

    def usable_here(candidate: NamedT) -> bool:
        nonlocal passed_over
        if usable(candidate):
            return True
        passed_over += 1
        if passed_over > _PASSED_OVER:
            raise _MostNotUsableError
        return False

    try:
        chosen = _by_probes(candidates.derived(_circles), session, usable_here)
    except _MostNotUsableError:
        # Candidates that are not usable do not affect the others, so circles without them lead to the same candidate.
        left = [pair for pair in candidates.each if usable(pair[0])]
        return _by_probes(_circles(left), session, lambda _: True)
    return candidates.named(chosen)


class _MostNotUsableError(Exception):
    """Raised to stop a search that meets too many unusable candidates."""


def _by_rendezvous(
    pairs: Iterable[tuple[NamedT, float]], session: str, usable: Callable[[NamedT], bool]
) -> NamedT | None:
    left = [pair for pair in pairs if usable(pair[0])]
    if len(left) <= 1:
        return left[0][0] if left else None
    return max(left, key=lambda pair: _score(session, pair[0].name, pair[1]))[0]


def _score(session: str, name: str, weight: float) -> tuple[float, float]:
    seed = f"{len(session)}:{session}{name}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(seed, digest_size=7).digest(), "big")
    chance = (number + 0.5) / 2.0**56
    # The logarithm makes the probability of having the largest score proportional to the weight.
    return (weight / -math.log(chance), chance)


class _Circle:
    """The points of the candidates whose weights have the same order of magnitude, to the base 8."""

    __slots__ = ("order", "owners", "places")

    def __init__(self, order: int, pairs: list[tuple[Any, float]]) -> None:
        self.order = order
        """The largest weight of the circle, as a power of 8."""
        points: list[tuple[int, str, tuple[Any, int, float]]] = []
        for item, weight in pairs:
            *own, mark = _numbers(item.name, 5)
            owner = (item, mark, math.ldexp(weight, -3 * order) if weight else 1.0)
            points += [(point, item.name, owner) for point in own]
        points.sort(key=lambda point: point[:2])
        self.places = [point for point, _, _ in points]
        self.owners = [owner for _, _, owner in points]
        """The owner of each point: the candidate, a number of its own, and the share of the session's points that it
        sees.

        A candidate of half the weight sees half of them, and so is chosen half as often.
        """

    def nearest(
        self, probes: Iterable[int], usable: Callable[[Any], bool], *, all_seen: bool = False
    ) -> tuple[int, Any] | None:
        """Return the usable candidate that follows one of the points most closely, preceded by its distance."""
        places, owners = self.places, self.owners
        best, chosen = _AROUND + 1, None
        for probe in probes:
            start = bisect_left(places, probe)
            for number in range(start, start + len(places)):
                place = number % len(places)
                distance = (places[place] - probe) & _AROUND
                if distance >= best:
                    break
                item, mark, part = owners[place]
                if (all_seen or part == 1.0 or _is_seen(probe, mark, part)) and usable(item):
                    best, chosen = distance, item
                    break
        return None if chosen is None else (best, chosen)


def _circles(pairs: list[tuple[Any, float]]) -> tuple[list[_Circle], list[_Circle]]:
    """Return a circle for each order of weights, and one for the candidates of weight 0, which are used last."""
    orders: dict[int, list[tuple[Any, float]]] = {}
    spares = [pair for pair in pairs if not pair[1]]
    for item, weight in pairs:
        if weight:
            part, exponent = math.frexp(weight)
            order = -(-(exponent - (part == 0.5)) // 3)
            orders.setdefault(order, []).append((item, weight))
    return [_Circle(order, own) for order, own in orders.items()], [_Circle(0, spares)] if spares else []


def _by_probes(circles: tuple[list[_Circle], list[_Circle]], session: str, usable: Callable[[Any], bool]) -> Any | None:
    probes = _numbers(f"{len(session)}:{session}", 8)
    weighted, spares = circles
    for group, all_seen in ((weighted, False), (weighted, True), (spares, True)):
        found = [
            (math.log2(near[0] + 1) - 3 * circle.order, circle.order, near[1])
            for circle in group
            if (near := circle.nearest(probes, usable, all_seen=all_seen)) is not None
        ]
        if found:
            return min(found, key=lambda each: each[:2])[2]
    return None


def _numbers(text: str, count: int) -> tuple[int, ...]:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4 * count).digest()
    return unpack(f"<{count}I", digest)


def _is_seen(probe: int, mark: int, part: float) -> bool:
    return ((probe ^ mark) * 0x9E3779B1 & _AROUND) < part * 2.0**32
