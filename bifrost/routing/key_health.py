"""The state of a key: how long it cools down after a rate limit, and when a refused key is tried again. Pure.

Time and random numbers are passed in. A key is *ready*; *cooling down* until a point in time; *dead*, refused
for a reason; or *probing*: dead, and one call is trying it again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bifrost.credentials.base import identity_of

if TYPE_CHECKING:
    from bifrost.account import Key
    from bifrost.attempt_record import RateLimit
    from bifrost.config import KeyPoolConfig
    from bifrost.routing.balance import Random

KeyState: TypeAlias = Literal["ready", "cooling_down", "dead", "probing"]

_MAX_KEYS = 10_000
"""The most keys whose state is remembered. An account may return other keys for every call, so this is bounded."""


class KeySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a key at a point in time."""

    name: str
    model: str | None
    """The model, if the provider limits each model separately; `None` for all models."""
    state: KeyState
    until: float | None
    """When the key is ready or tried again, on the clock that was passed in; `None` if it is ready."""
    reason: str | None
    """Why it is not ready: the category of the failure (`throttled`, `credential`, `quota`)."""
    in_flight: int
    """Requests in flight with this key."""


class KeyHealth:
    """The state of one key. Every use of the key has a beginning and an end, and may have an outcome in between.

    The caller that ends a use decrements `in_flight`.
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
    """When a key that cools down is ready again, or a dead one may be tried; set when the state changes."""
    _proven_until: float
    """Until then, the provider's own hint keeps the key cooling down; after that, only an estimate of ours."""
    _probe: int
    """The use that tries a dead key."""

    def __init__(self, name: str, config: KeyPoolConfig, troubled: set[KeyHealth], *, model: str | None = None) -> None:
        self.name = name
        self.model = model
        self.state: KeyState = "ready"
        self.reason: str | None = None
        self.is_steady = True
        """Whether it is ready and has no failures to forget, so that a success changes nothing."""
        self.in_flight = 0
        self._line: dict[int, None] = {}
        """The places of the calls that wait for this key, in order."""
        self._first_in_line = 0
        """The first place in the line when it is ready last. It may use the key first."""
        self._config = config
        self._troubled: set[KeyHealth] = troubled
        self._strikes = 0
        """The number of rate limits without a hint since the last success."""
        self._serial = 0
        self._since = 0
        """The last use that began before the current state."""

    def change(self, config: KeyPoolConfig) -> None:
        """Use other settings."""
        self._config = config

    # --- choosing

    def usable(self, now: float) -> bool:
        """Return whether a call may use it: it is ready, or it is dead and due for a probe."""
        if self.state == "ready":
            return True
        if self.until > now or self.state == "probing":
            return False
        if self.state == "cooling_down":
            self._become_ready()
        return True

    def is_estimated(self, now: float) -> bool:
        """Return whether it is cooling down although the provider did not say so."""
        return self.state == "cooling_down" and self._proven_until <= now

    def turn(self, place: int | None = None) -> float:
        """Return when the caller at a place in the line may use the key.

        Without a place, the time is that of the caller that would come next. The first caller may use it when it is
        ready, two more a second later, then four, and so on. If all went at once, the provider would refuse most of
        them again. If the key cools down again in the meantime, the remaining callers start over with the first.
        """
        number = (self._next_place if place is None else place) - self._first_in_line
        return self.until + float(int(math.log2(max(0, number) + 1)))

    @property
    def _next_place(self) -> int:
        return next(reversed(self._line)) + 1 if self._line else self._first_in_line

    @property
    def waiting(self) -> int:
        """The number of calls that wait for the key."""
        return len(self._line)

    def stand_in_line(self) -> int:
        """Join the line of waiting calls at its end. The caller must leave the line later."""
        place = self._next_place
        self._line[place] = None
        return place

    def leave_line(self, place: int) -> None:
        """Leave the line."""
        del self._line[place]

    # --- a use and its end

    def begin(self) -> int:
        """Begin a use. Returns its number, which identifies it later. The use of a dead key is its probe."""
        self.in_flight += 1
        self._serial += 1
        if self.state == "dead":
            self.state = "probing"
            self._probe = self._serial
        return self._serial

    def succeeded(self, use: int) -> None:
        """Report a success. A use that began before the state changed says nothing about the current state."""
        if use <= self._since:
            return
        self._strikes = 0
        self._become_ready()
        self.is_steady = True

    def throttled(self, use: int, *, wait: float | None, now: float, random: Random) -> float:
        """Park the key after a rate limit, for as long as the provider asks. Returns until when.

        Without `wait` the time is an estimate. A longer time that is already running is kept.
        """
        if self._is_out(use):
            return self.until
        if wait is None:
            # Of several rate limits that were in flight together, only one counts.
            self._strikes += use > self._since
            steps = min(max(self._strikes - 1, 0), 64)
            wait = random() * min(self._config.park_cap, self._config.park_base * 2.0**steps)
            proven = 0.0
        else:
            proven = now + wait
        was_cooling_down = self.state == "cooling_down"
        self._first_in_line = next(iter(self._line), self._first_in_line)
        self._leave_ready("cooling_down", "throttled")
        self._proven_until = max(self._proven_until, proven) if was_cooling_down else proven
        self.until = max(self.until, now + wait) if was_cooling_down else now + wait
        return self.until

    def refused(self, use: int, reason: str, *, now: float) -> None:
        """Stop using the key, because the provider refused it."""
        if self._is_out(use):
            return
        self._leave_ready("dead", reason)
        self.until = now + self._config.revive

    def ended(self, use: int) -> None:
        """End a use without an outcome. If it was the probe, its place becomes free."""
        if self.state == "probing" and use == self._probe:
            self.state = "dead"

    def snapshot(self, now: float) -> KeySnapshot:
        """Return the current state."""
        # A key that has finished cooling down becomes ready here.
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
        """Separate the key from the provider's list of troubled keys."""
        self._troubled.discard(self)
        self._troubled = set()

    # --- inside

    def _is_out(self, use: int) -> bool:
        """Return whether a use that began earlier has stopped the key already."""
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

    A key is identified by its name, its value (or the source of its tokens) and its address. A key that returns with a
    new value is ready, whatever happened to the old one, and keys of the same name from different callers do not share
    a state.
    """

    def __init__(self, config: KeyPoolConfig) -> None:
        self.config = config
        self.troubled: set[KeyHealth] = set()
        """Keys that are not ready, or were not at the last check."""
        self._states: dict[tuple[str, object, str | None, str], KeyHealth] = {}

    def change(self, config: KeyPoolConfig) -> None:
        """Use other settings. The states of the keys are kept."""
        self.config = config
        for state in self._states.values():
            state.change(config)

    def of(self, key: Key, model: str = "", *, address: str = "") -> KeyHealth:
        """Return the state of a key; with `per_model`, its state for a model."""
        judged = model if self.config.per_model else None
        credential = identity_of(key.credentials) if key.value is None else key.value
        handle = (key.name, credential, judged, address)
        known = self._states.pop(handle, None)
        if known is None:
            known = KeyHealth(key.name, self.config, self.troubled, model=judged)
            while len(self._states) >= _MAX_KEYS:
                self._states.pop(next(iter(self._states))).forget()
        self._states[handle] = known
        return known


def park_time(asked: float | None, limit: RateLimit | None) -> float | None:
    """Return how long a key cools down after a 429, in seconds; `None` if the provider does not say.

    This is the wait that the provider asks for, or else the time until the exhausted rate limit is full again.
    """
    if asked is not None:
        return asked
    windows = () if limit is None else (limit.requests, limit.tokens, limit.input_tokens, limit.output_tokens)
    used_up = [w.reset_after for w in windows if w is not None and w.remaining == 0 and w.reset_after is not None]
    return min(max(used_up), _LONGEST_COOLDOWN) if used_up else None


_LONGEST_COOLDOWN = 300.0
"""The longest time that is derived from a rate limit, in seconds."""
