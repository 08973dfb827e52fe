"""Which candidate a call tries next: the members of its model group, their retries, then the fallbacks. Pure.

A call has *places*: that of its model, then one for each fallback. At each place stands one candidate, or a model group
with several members. The members that can serve are tried once each, in the order in which the group's balance chooses
them. Only then are those tried again whose failures allow it, and after them the next place has its turn.

Members that cannot serve (their keys rest or are refused, a breaker is open, the model is gone) are passed over. When
nobody else is left they are tried after all, the one that can serve first before the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bifrost.errors import BifrostError, ConfigError
from bifrost.routing.balance import Foreseeable, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import TypeAlias

    from bifrost.routing.affinity import Affinity
    from bifrost.routing.balance import Load, Random
    from bifrost.routing.candidates import Candidate, Group, Place

    Loads: TypeAlias = Callable[[Candidate], Load]
    """Tells what a candidate's provider has to do, and whether it can be asked."""


class Likely(NamedTuple):
    """A candidate, and how likely it is to be the first of its place."""

    candidate: Candidate
    share: float | None
    """`None` where that cannot be told beforehand."""
    passed_over: str | None = None
    """Why it would not be asked as long as others can be."""


class Failover:
    """The candidates of one call: who was tried, who may be tried again, and who is next."""

    def __init__(
        self,
        places: Sequence[Place],
        loads: Loads,
        random: Random,
        *,
        session: str | None = None,
        affinity: Affinity | None = None,
    ) -> None:
        self.places = places
        self.place = 0
        """The place of the candidate that was chosen last."""
        self.note: str | None = None
        """What the session has to do with the last choice, if anything."""
        self._of_session: tuple[str, str] | None = None
        """The group and the session that the last choice was made for."""
        self._loads = loads
        self._random = random
        self._session = session
        self._affinity = affinity
        self._tried: set[Candidate] = set()
        self._due: dict[Candidate, float] = {}
        """When those may be tried again whose failures allow it."""

    # --- choosing

    def next(self, *, now: float, attempts_left: int) -> Candidate | None:
        """Choose the next candidate; `None` if nobody is left.

        `attempts_left` says how many attempts the call has: the last one is left to a fallback, if one can serve.
        """
        if self._of_session is not None and self._affinity is not None:
            # Whoever is asked for the next has seen the last one fail.
            self._affinity.failed(*self._of_session)
        self.note = self._of_session = None
        while self.place < len(self.places):
            candidate = self._at(self.place, now=now, attempts_left=attempts_left)
            if candidate is not None:
                self._tried.add(candidate)
                self._due.pop(candidate, None)
                return candidate
            self.place += 1
        return self._last_resort()

    @property
    def has_next(self) -> bool:
        """Whether somebody is left to be tried."""
        return bool(self._due) or any(member not in self._tried for place in self.places for member in place.members)

    def beside(self) -> Candidate | None:
        """Return another candidate that can be asked now, beside the one that was chosen last."""
        for place in self.places[self.place :]:
            ready = self._ready([member for member in place.members if member not in self._tried])
            if ready:
                return ready[0]
        return None

    def take(self, candidate: Candidate) -> None:
        """Count a candidate as tried."""
        self._tried.add(candidate)

    def postpone(self, candidate: Candidate, *, until: float) -> None:
        """Let a candidate be tried again, from a point in time on, when everybody else at its place was tried."""
        self._due[candidate] = until

    # --- what stands behind the candidate that was chosen last

    @property
    def behind(self) -> int:
        """How many more candidates may have a turn: the siblings that can serve, and the places after this one."""
        return len(self._ready_siblings()) + len(self.places) - min(self.place + 1, len(self.places))

    @property
    def sibling_ready(self) -> bool:
        """Whether another member at the same place can serve and was not tried."""
        return bool(self._ready_siblings())

    def goes_first(self, moment: float) -> bool:
        """Return whether another member of the same place is tried before one that may be tried from `moment` on."""
        if self.sibling_ready:
            return True
        members = self.places[self.place].members if self.place < len(self.places) else ()
        return any(until < moment for member, until in self._due.items() if member in members)

    @property
    def another_ready(self) -> bool:
        """Whether another candidate can be asked now."""
        return bool(self._due) or self.sibling_ready or self._serves_after(self.place)

    # --- inside

    def _at(self, index: int, *, now: float, attempts_left: int) -> Candidate | None:
        """Choose at one place."""
        place = self.places[index]
        untried = [member for member in place.members if member not in self._tried]
        if len(place.members) == 1:
            # It is asked in its turn, whatever is known of it: it says at once what it lacks.
            return untried[0] if untried else self._earliest(place)
        if attempts_left <= 1 and self._tried and self._serves_after(index):
            return None
        known = {member: self._loads(member) for member in place.members}
        ready = [member for member in untried if known[member].usable]
        if ready:
            return self._choose(place, ready, known, now)
        return self._earliest(place)

    def _earliest(self, place: Place) -> Candidate | None:
        due = [member for member in self._due if member in place.members]
        return min(due, key=lambda member: self._due[member], default=None)

    def _last_resort(self) -> Candidate | None:
        """Choose among those that were passed over: who can serve soonest."""
        for index, place in enumerate(self.places):
            left = [member for member in place.members if member not in self._tried]
            if left:
                self.place = index
                chosen = min(left, key=lambda member: self._loads(member).ready_in)
                self._tried.add(chosen)
                return chosen
        return None

    def _ready_siblings(self) -> list[Candidate]:
        if self.place >= len(self.places):
            return []
        members = self.places[self.place].members
        if len(members) == 1:
            return []
        return self._ready([member for member in members if member not in self._tried])

    def _serves_after(self, index: int) -> bool:
        return any(
            self._loads(member).usable
            for place in self.places[index + 1 :]
            for member in place.members
            if member not in self._tried
        )

    def _ready(self, members: Sequence[Candidate]) -> list[Candidate]:
        return [member for member in members if self._loads(member).usable]

    def _choose(
        self, place: Place, ready: Sequence[Candidate], known: Mapping[Candidate, Load], now: float
    ) -> Candidate:
        group = place.group
        if group is None:
            return ready[0]
        snapshot = snapshot_of(place.members, ready, known)
        if self._session is not None and self._affinity is not None:
            chosen, self.note = self._affinity.choose(place, snapshot, session=self._session, now=now)
            if chosen is not None:
                self._of_session = (place.name, self._session)
                return chosen
        return chosen_by(place.name, group, snapshot, self._random)


def outlook(
    places: Sequence[Place], loads: Loads, *, session: str | None, affinity: Affinity, now: float
) -> list[list[Likely]]:
    """Return who may be the first at each place, with how likely that is; no chance is taken for it.

    The likelihood is `None` where a policy decides that does not tell beforehand.
    """
    usable = [any(loads(member).usable for member in place.members) for place in places]
    return [_first_of(place, loads, session, affinity, now, anybody=any(usable)) for place in places]


def _first_of(
    place: Place, loads: Loads, session: str | None, affinity: Affinity, now: float, *, anybody: bool
) -> list[Likely]:
    group = place.group
    if group is None or len(place.members) == 1:
        return [Likely(member, 1.0) for member in place.members]
    known = {member: loads(member) for member in place.members}
    ready = [member for member in place.members if known[member].usable]
    shares: Mapping[str, float | None]
    if ready:
        snapshot = snapshot_of(place.members, ready, known)
        own = None if session is None else affinity.peek(place, snapshot, session=session, now=now)
        if own is not None:
            shares = {own.name: 1.0}
        elif isinstance(group.balance, Foreseeable):
            shares = group.balance.shares(group.members, snapshot)
        else:
            shares = dict.fromkeys((member.name for member in ready if member.name not in snapshot.excluded), None)
    else:
        # All are passed over; if nobody else can serve, the one that can do so soonest is asked.
        soonest = min(place.members, key=lambda member: known[member].ready_in)
        shares = {} if anybody else {soonest.name: 1.0}
    return [
        Likely(member, shares.get(member.name, 0.0), None if load.usable else load.reason)
        for member, load in known.items()
    ]


def snapshot_of(
    members: Sequence[Candidate], ready: Collection[Candidate], known: Mapping[Candidate, Load]
) -> Snapshot:
    """Return what a policy may know: who is out, and what everybody has to do.

    Out is who is not `ready`; and who is full, unless all of them are.
    """
    free = [member for member in ready if not known[member].is_full] or ready
    left = {member.name for member in free}
    out = {name for member in members if (name := member.name) not in left}
    return Snapshot(out, {member.name: load for member, load in known.items()})


def chosen_by(name: str, group: Group, snapshot: Snapshot, random: Random) -> Candidate:
    """Return the member that a group's policy chooses. Raises `ConfigError` if it fails."""
    failure = "it chose none, or one that is out of play"
    try:
        chosen = group.balance.choose(group.members, snapshot, random)
    except BifrostError:
        raise
    except Exception as error:  # noqa: BLE001 - a policy may be the user's
        chosen, failure = None, f"it raised {type(error).__name__}"
    if chosen is None or chosen.name in snapshot.excluded or chosen not in group.members.items:
        raise ConfigError(f"the balance of model group {name!r}, {type(group.balance).__name__}, failed: {failure}")
    return chosen
