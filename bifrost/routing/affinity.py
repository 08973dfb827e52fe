"""Session affinity within a model group: calls of a session go to the same provider and model while it can serve. Pure.

Providers keep their prompt caches per model. Each session has a *home* among the members, found by rendezvous hashing
(`routing.session`), so no state is needed while the home can serve. While it cannot, the session moves to the next
member, which then has a cache of it as well. When the home can serve again, the session returns if its cache there has
not expired. Otherwise it stays until its cache at the other member has expired as well.
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

_MAX_SESSIONS = 10_000
"""The most sessions that are remembered after a move. Callers choose the names, so the oldest are forgotten."""


class _Stay:
    """Where a session was served last: at its home, and elsewhere since then."""

    __slots__ = ("at", "at_used", "home_before", "home_used")

    def __init__(self, home: Candidate) -> None:
        self.at = home
        self.at_used = self.home_used = self.home_before = -math.inf


class Affinity:
    """Remembers where the sessions of a client's model groups were served.

    `lifetime` returns how long a cache lives.
    """

    def __init__(self, lifetime: Callable[[str], float]) -> None:
        self._lifetime = lifetime
        self._stays: dict[tuple[str, str], _Stay] = {}

    def __len__(self) -> int:
        return len(self._stays)

    def choose(
        self, place: Place, snapshot: Snapshot, *, session: str, now: float
    ) -> tuple[Candidate | None, str | None]:
        """Return the session's member, and a note if it has changed; `None` if the snapshot excludes all members."""
        home = _nearest(place, NOTHING_KNOWN, session)
        chosen = self.peek(place, snapshot, session=session, now=now)
        if home is None or chosen is None:
            return None, None
        handle = (place.name, session)
        stay = self._stays.pop(handle, None) or _Stay(home)
        before, stay.at, stay.at_used = stay.at, chosen, now
        if chosen == home:
            stay.home_before, stay.home_used = stay.home_used, now
        while len(self._stays) >= _MAX_SESSIONS:
            del self._stays[next(iter(self._stays))]
        self._stays[handle] = stay
        return chosen, _note(home, before, chosen)

    def peek(self, place: Place, snapshot: Snapshot, *, session: str, now: float) -> Candidate | None:
        """Return the member that `choose` would return, without remembering anything."""
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
        """Record that the member chosen last for a session has failed, so that nothing was cached there."""
        stay = self._stays.get((group, session))
        if stay is not None and stay.at_used == stay.home_used:
            stay.home_used = stay.home_before


def _nearest(place: Place, snapshot: Snapshot, session: str) -> Candidate | None:
    return None if place.group is None else choose_for_session(place.group.members, snapshot, session)


def _note(home: Candidate, before: Candidate, chosen: Candidate) -> str | None:
    if chosen == home:
        return None if before == home else f"session is back from {before}"
    return f"session moved here from {before}" if before != chosen else f"session stays here instead of at {home}"
