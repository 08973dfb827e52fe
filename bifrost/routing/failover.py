"""The order in which a call tries its candidates: the members of its model group, their retries, then the fallbacks.

Pure.

A call has *places*: one for its model, then one for each fallback. Each place has one candidate, or a model group with
several members. The members that can serve are tried once each, in the order in which the group's balance chooses them.
Then the members whose failures allow it are tried again, and after them the next place follows.

Members that cannot serve (their keys are cooling down or refused, a breaker is open, the model does not exist) are
passed over. If no other candidate is left, they are tried after all, beginning with the one that can serve first.
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
    """Returns the load of a candidate's provider, and whether it can be used."""


class Likely(NamedTuple):
    """A candidate, and the probability that it is the first of its place."""

    candidate: Candidate
    share: float | None
    """`None` if the probability cannot be predicted."""
    passed_over: str | None = None
    """Why it is used only if no other candidate can serve."""
    usable: bool = True
    """Whether it can serve now, as far as that is known."""


class Failover:
    """The candidates of one call: which were tried, which may be tried again, and which is next."""

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
        """A note on the session's member, if the session affected the last choice."""
        self._of_session: tuple[str, str] | None = None
        """The group and the session of the last choice."""
        self._loads = loads
        self._random = random
        self._session = session
        self._affinity = affinity
        self._tried: set[Candidate] = set()
        self._due: dict[Candidate, float] = {}
        """The candidates whose failures allow another attempt, each with the time from which on it may be made."""

    # --- choosing

    def next(self, *, now: float, attempts_left: int) -> Candidate | None:
        """Choose the next candidate; `None` if none is left.

        `attempts_left` is the number of attempts that the call has left. The last one is reserved for a fallback, if
        one can serve.
        """
        if self._of_session is not None and self._affinity is not None:
            # If the next candidate is needed, the last one has failed.
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
        """Whether a candidate is left."""
        return bool(self._due) or any(member not in self._tried for place in self.places for member in place.members)

    def beside(self) -> Candidate | None:
        """Return another candidate that can be used now, in addition to the one that was chosen last."""
        for place in self.places[self.place :]:
            ready = self._ready([member for member in place.members if member not in self._tried])
            if ready:
                return ready[0]
        return None

    def take(self, candidate: Candidate) -> None:
        """Mark a candidate as tried."""
        self._tried.add(candidate)

    def postpone(self, candidate: Candidate, *, until: float) -> None:
        """Allow another attempt at a candidate from `until` on, after all other members of its place were tried."""
        self._due[candidate] = until

    # --- the candidates after the one that was chosen last

    @property
    def behind(self) -> int:
        """How many candidates may follow: the other members that can serve, and the places after this one."""
        return len(self._ready_siblings()) + len(self.places) - min(self.place + 1, len(self.places))

    @property
    def sibling_ready(self) -> bool:
        """Whether another member of the same place can serve and was not tried."""
        return bool(self._ready_siblings())

    def goes_first(self, moment: float) -> bool:
        """Return whether another member of the same place is tried before one that may be tried from `moment` on."""
        if self.sibling_ready:
            return True
        members = self.places[self.place].members if self.place < len(self.places) else ()
        return any(until < moment for member, until in self._due.items() if member in members)

    @property
    def another_ready(self) -> bool:
        """Whether another candidate can be used now."""
        return bool(self._due) or self.sibling_ready or self._serves_after(self.place)

    # --- inside

    def _at(self, index: int, *, now: float, attempts_left: int) -> Candidate | None:
        """Choose at one place."""
        place = self.places[index]
        untried = [member for member in place.members if member not in self._tried]
        if len(place.members) == 1:
            # A single candidate is always tried; whatever is wrong with it, its error says so at once.
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
        """Choose the one that can serve soonest among those that were passed over."""
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
    """Return the candidates that may be the first of each place, each with its probability. No random number is used.

    The probability is `None` if a policy decides that cannot predict its choice.
    """
    usable = [any(loads(member).usable for member in place.members) for place in places]
    return [_first_of(place, loads, session, affinity, now, anybody=any(usable)) for place in places]


def _first_of(
    place: Place, loads: Loads, session: str | None, affinity: Affinity, now: float, *, anybody: bool
) -> list[Likely]:
    group = place.group
    if group is None or len(place.members) == 1:
        return [Likely(member, 1.0, usable=loads(member).usable) for member in place.members]
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
        # All are passed over. If no other candidate can serve, the one that can serve soonest is used.
        soonest = min(place.members, key=lambda member: known[member].ready_in)
        shares = {} if anybody else {soonest.name: 1.0}
    return [
        Likely(member, shares.get(member.name, 0.0), None if load.usable else load.reason, load.usable)
        for member, load in known.items()
    ]


def snapshot_of(
    members: Sequence[Candidate], ready: Collection[Candidate], known: Mapping[Candidate, Load]
) -> Snapshot:
    """Return what a policy may know: which members are excluded, and the loads of all.

    Members that are not `ready` are excluded; so are those without a free worker, unless that applies to all.
    """
    free = [member for member in ready if not known[member].is_full] or ready
    left = {member.name for member in free}
    out = {name for member in members if (name := member.name) not in left}
    return Snapshot(out, {member.name: load for member, load in known.items()})


def chosen_by(name: str, group: Group, snapshot: Snapshot, random: Random) -> Candidate:
    """Return the member that a group's policy chooses. Raises `ConfigError` if the policy fails."""
    failure = "it chose no member, or one that is excluded"
    try:
        chosen = group.balance.choose(group.members, snapshot, random)
    except BifrostError:
        raise
    except Exception as error:  # noqa: BLE001 - a policy may be the user's
        chosen, failure = None, f"it raised {type(error).__name__}"
    if chosen is None or chosen.name in snapshot.excluded or chosen not in group.members.items:
        raise ConfigError(f"the balance of model group {name!r}, {type(group.balance).__name__}, failed: {failure}")
    return chosen
