"""What becomes of a key that is refused: it rests, or is out until there is reason to try it again. Pure.

Time and chance are passed in. A key is *ready*; *parked* until a moment; *dead* for a reason; or *probing*: dead, and
one call is trying it again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from bifrost.account import Key
    from bifrost.attempt_record import RateLimit
    from bifrost.config import KeyPoolConfig
    from bifrost.routing.balance import Random
    from bifrost.wire.auth import Secret

KeyState: TypeAlias = Literal["ready", "parked", "dead", "probing"]

_KEYS_KEPT = 10_000
"""An account may give other keys for every call, so what is remembered of them is bounded."""


class KeySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How a key stands at a moment."""

    name: str
    model: str | None
    """For which model, where each is limited by itself."""
    state: KeyState
    until: float | None
    """When it is ready, or tried, again: on the clock that was passed in."""
    reason: str | None
    """Why it is not ready: the class of the failure (`throttled`, `credential`, `quota`)."""
    in_flight: int
    """The exchanges that are under way with it."""


class KeyHealth:
    """The state of one key. Every use of it is begun, reported on if it says something of the key, and ended.

    Whoever ends a use takes it off `in_flight`.
    """

    __slots__ = (
        "_config",
        "_first_in_line",
        "_line",
        "_probe",
        "_proven_until",
        "_serial",
        "_since",
        "_strikes",
        "_troubled",
        "in_flight",
        "is_steady",
        "model",
        "name",
        "reason",
        "state",
        "until",
    )

    until: float
    """When a parked key is ready again, and a dead one may be tried; told when it is parked or dies."""
    _proven_until: float
    """Up to then it is the provider's word that it is parked, beyond it our guess."""
    _probe: int
    """The use that tries a dead key."""

    def __init__(self, name: str, config: KeyPoolConfig, troubled: set[KeyHealth], *, model: str | None = None) -> None:
        self.name = name
        self.model = model
        self.state: KeyState = "ready"
        self.reason: str | None = None
        self.is_steady = True
        """It is ready, and nothing is held against it: a success says nothing new."""
        self.in_flight = 0
        self._line: dict[int, None] = {}
        """The places of the calls that wait for this key to be ready again, in order."""
        self._first_in_line = 0
        """The place that was first when it was parked last: that one may use it first."""
        self._config = config
        self._troubled: set[KeyHealth] = troubled
        self._strikes = 0
        """How often it was limited without a word on how long since it last served."""
        self._serial = 0
        self._since = 0
        """The uses up to this one began before the state did."""

    def change(self, config: KeyPoolConfig) -> None:
        """Go on with other settings."""
        self._config = config

    # --- choosing

    def usable(self, now: float) -> bool:
        """Say whether a call may use it: it is ready, or a dead one is due for its probe."""
        if self.state == "ready":
            return True
        if self.until > now or self.state == "probing":
            return False
        if self.state == "parked":
            self._become_ready()
        return True

    def rests_on_a_guess(self, now: float) -> bool:
        """Say whether it is parked without the provider having said so."""
        return self.state == "parked" and self._proven_until <= now

    def turn(self, place: int | None = None) -> float:
        """Return when the one who has a place in the line may use it; without a place: who would come next.

        The first of them at the moment at which it is ready, two more a second later, then four, and so on: if all
        went at once, the provider would turn most of them away again. When it is parked anew before all have gone,
        those who are left begin again with the first.
        """
        number = (self._next_place if place is None else place) - self._first_in_line
        return self.until + float(int(math.log2(max(0, number) + 1)))

    @property
    def _next_place(self) -> int:
        return next(reversed(self._line)) + 1 if self._line else self._first_in_line

    @property
    def waiting(self) -> int:
        """How many calls wait for it to be ready again."""
        return len(self._line)

    def stand_in_line(self) -> int:
        """Take a place in the line of those who wait for it. Whoever takes one leaves it."""
        place = self._next_place
        self._line[place] = None
        return place

    def leave_line(self, place: int) -> None:
        """Leave the line."""
        del self._line[place]

    # --- a use and its end

    def begin(self) -> int:
        """Begin a use, and give its number, for the report. With a dead key it is the probe."""
        self.in_flight += 1
        self._serial += 1
        if self.state == "dead":
            self.state = "probing"
            self._probe = self._serial
        return self._serial

    def succeeded(self, use: int) -> None:
        """Take note that a use went well. One that began before the key was parked or dead says nothing of now."""
        if use <= self._since:
            return
        self._strikes = 0
        self._become_ready()
        self.is_steady = True

    def throttled(self, use: int, *, wait: float | None, now: float, random: Random) -> float:
        """Park it after a use that was rate-limited, for as long as the provider asks; give until when.

        Without a `wait` it is parked by a guess. A longer rest that was begun before stays.
        """
        if self._is_out(use):
            return self.until
        if wait is None:
            # Of many that were under way together, one counts.
            self._strikes += use > self._since
            steps = min(max(self._strikes - 1, 0), 64)
            wait = random() * min(self._config.park_cap, self._config.park_base * 2.0**steps)
            proven = 0.0
        else:
            proven = now + wait
        was_parked = self.state == "parked"
        self._first_in_line = next(iter(self._line), self._first_in_line)
        self._leave_ready("parked", "throttled")
        self._proven_until = max(self._proven_until, proven) if was_parked else proven
        self.until = max(self.until, now + wait) if was_parked else now + wait
        return self.until

    def refused(self, use: int, reason: str, *, now: float) -> None:
        """Take it out of use, after a use that the provider refused for the key's sake."""
        if self._is_out(use):
            return
        self._leave_ready("dead", reason)
        self.until = now + self._config.revive

    def ended(self, use: int) -> None:
        """End a use that decided nothing: if it was the probe, its place is free again."""
        if self.state == "probing" and use == self._probe:
            self.state = "dead"

    def snapshot(self, now: float) -> KeySnapshot:
        """Give how it stands."""
        # A rest that is over ends when somebody looks.
        self.usable(now)
        ready = self.state == "ready"
        return KeySnapshot(
            name=self.name,
            model=self.model,
            state=self.state,
            until=None if ready else self.until,
            reason=self.reason,
            in_flight=self.in_flight,
        )

    def forget(self) -> None:
        """Leave the provider's troubles to the keys that are in use."""
        self._troubled.discard(self)
        self._troubled = set()

    # --- inside

    def _is_out(self, use: int) -> bool:
        """Say whether a use that began earlier has taken it out already."""
        return self.state in ("dead", "probing") and use <= self._since

    def _leave_ready(self, state: KeyState, reason: str) -> None:
        self.state, self.reason = state, reason
        self.is_steady = False
        self._since = self._serial
        self._troubled.add(self)

    def _become_ready(self) -> None:
        self.state, self.reason = "ready", None
        self._troubled.discard(self)


class KeyStates:
    """The states of one provider's keys, in one client.

    A key is the same as long as its name and its value are: one that comes back with a new value is ready, whatever the
    old one was, and keys that different callers have under the same name do not share their troubles.
    """

    def __init__(self, config: KeyPoolConfig) -> None:
        self.config = config
        self.troubled: set[KeyHealth] = set()
        """Those that are not ready, or were not when somebody last looked."""
        self._states: dict[tuple[str, Secret, str | None], KeyHealth] = {}

    def change(self, config: KeyPoolConfig) -> None:
        """Go on with other settings: what is known of the keys stays."""
        self.config = config
        for state in self._states.values():
            state.change(config)

    def of(self, key: Key, model: str = "") -> KeyHealth:
        """Give a key's state; with `per_model`, that for a model."""
        judged = model if self.config.per_model else None
        handle = (key.name, key.value, judged)
        known = self._states.pop(handle, None)
        if known is None:
            known = KeyHealth(key.name, self.config, self.troubled, model=judged)
            while len(self._states) >= _KEYS_KEPT:
                self._states.pop(next(iter(self._states))).forget()
        self._states[handle] = known
        return known


def park_time(asked: float | None, limit: RateLimit | None) -> float | None:
    """Give how long a key is to rest after a 429, or `None` if the provider says nothing of it.

    That is the wait it asks for; without one, when the allowance that is used up is full again.
    """
    if asked is not None:
        return asked
    windows = () if limit is None else (limit.requests, limit.tokens, limit.input_tokens, limit.output_tokens)
    used_up = [w.reset_after for w in windows if w is not None and w.remaining == 0 and w.reset_after is not None]
    return min(max(used_up), _LONGEST_REST) if used_up else None


_LONGEST_REST = 300.0
"""As long as a wait that a provider asks for may be."""
