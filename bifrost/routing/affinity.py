"""Where the calls of a session go in a model group: to the same provider and model, as long as those serve. Pure.

Providers keep what they have cached of a prompt by model. A session has a *home* among the members, found by rendezvous
hashing (`routing.session`), so it needs no memory as long as its home serves. While it does not, the session moves to
the next member, which then has a cache of it, too. When the home serves again the session goes back if its cache there
is still alive; if not, it stays where it is until the cache there has expired as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bifrost.routing.balance import NOTHING_KNOWN
from bifrost.routing.session import choose_for_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.routing.balance import Snapshot
    from bifrost.routing.candidates import Candidate, Place

_SESSIONS_KEPT = 10_000
"""Sessions are named by callers, so what is remembered of those that moved is bounded: the oldest are forgotten."""


class _Stay:
    """Where a session was last: at its home, and elsewhere since."""

    __slots__ = ("at", "at_used", "home_before", "home_used")

    def __init__(self, home: Candidate) -> None:
        self.at = home
        self.at_used = self.home_used = self.home_before = -math.inf


class Affinity:
    """Remembers where the sessions of a client's model groups were served. `lifetime` tells how long a cache lives."""

    def __init__(self, lifetime: Callable[[str], float]) -> None:
        self._lifetime = lifetime
        self._stays: dict[tuple[str, str], _Stay] = {}

    def __len__(self) -> int:
        return len(self._stays)

    def choose(
        self, place: Place, snapshot: Snapshot, *, session: str, now: float
    ) -> tuple[Candidate | None, str | None]:
        """Return the session's member among those that the snapshot does not exclude, and what is to be told of it."""
        home = _nearest(place, NOTHING_KNOWN, session)
        chosen = self.peek(place, snapshot, session=session, now=now)
        if home is None or chosen is None:
            return None, None
        handle = (place.name, session)
        stay = self._stays.pop(handle, None) or _Stay(home)
        before, stay.at, stay.at_used = stay.at, chosen, now
        if chosen == home:
            stay.home_before, stay.home_used = stay.home_used, now
        while len(self._stays) >= _SESSIONS_KEPT:
            del self._stays[next(iter(self._stays))]
        self._stays[handle] = stay
        return chosen, _told(home, before, chosen)

    def peek(self, place: Place, snapshot: Snapshot, *, session: str, now: float) -> Candidate | None:
        """Return what `choose` would, and remember nothing."""
        nearest = _nearest(place, snapshot, session)
        stay = self._stays.get((place.name, session))
        home = _nearest(place, NOTHING_KNOWN, session)
        if stay is None or nearest is None or home is None:
            return nearest
        if nearest != home or stay.at == home or stay.at.name in snapshot.excluded:
            return nearest
        is_home_cold = now - stay.home_used >= self._lifetime(home.provider)
        is_here_warm = now - stay.at_used < self._lifetime(stay.at.provider)
        return stay.at if is_home_cold and is_here_warm else nearest

    def failed(self, group: str, session: str) -> None:
        """Record that the member which was chosen last for a session has not served: nothing was cached there."""
        stay = self._stays.get((group, session))
        if stay is not None and stay.at_used == stay.home_used:
            stay.home_used = stay.home_before


def _nearest(place: Place, snapshot: Snapshot, session: str) -> Candidate | None:
    return None if place.group is None else choose_for_session(place.group.members, snapshot, session)


def _told(home: Candidate, before: Candidate, chosen: Candidate) -> str | None:
    if chosen == home:
        return None if before == home else f"session is back from {before}"
    return f"session moved here from {before}" if before != chosen else f"session stays here instead of at {home}"
