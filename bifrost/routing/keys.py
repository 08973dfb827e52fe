"""The choice of a key, and the provider's own name of the model. Pure: time and random numbers are passed in."""

from __future__ import annotations

import math
from sys import float_info
from typing import TYPE_CHECKING, Any, NamedTuple

from bifrost.account import Key, how_to_set
from bifrost.config import KeyPoolConfig
from bifrost.errors import CredentialsExhaustedError, MissingKeyError, RateLimitError
from bifrost.routing.balance import (
    BALANCES,
    NOTHING_KNOWN,
    Balance,
    Foreseeable,
    LeastBusy,
    Load,
    RoundRobin,
    Snapshot,
    TwoChoices,
    Weighted,
    WeightedRandom,
)
from bifrost.routing.key_health import KeyHealth, KeySnapshot, KeyStates
from bifrost.routing.retry import SMALLEST_ATTEMPT
from bifrost.routing.session import choose_usable
from bifrost.wire.auth import NoAuth

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from bifrost.providers.base import Provider
    from bifrost.routing.balance import Random

OWN_ADDRESS: tuple[str, ...] = ("",)
"""The addresses of keys that name none: the provider's own."""

_MAX_MODELS = 500
"""The most models for which results are cached. Model names come from callers, so this is bounded."""

_DRAWS = 16
"""How often a key is drawn at random before all keys are checked."""


class KeySelection(NamedTuple):
    """A key, and the provider's own name of the model with this key. The key is `None` if the provider needs none."""

    key: Key | None
    model: str
    health: KeyHealth | None = None
    """The state of the key."""
    ready_at: float | None = None
    """When this call may use the key, if every key is cooling down; this key is ready first."""
    address: str = ""
    """The address that the key's settings name; empty: the provider's own."""

    @property
    def name(self) -> str:
        """The name of the key; empty without a key."""
        return self.key.name if self.key is not None else ""


class _ForModel(Weighted[KeySelection]):
    """The keys of one model, presented for another model that the same keys serve, without a copy."""

    __slots__ = ("_model",)

    def __init__(self, known: Weighted[KeySelection], model: str) -> None:
        self._pairs, self._items, self._cumulative = known._pairs, known._items, known._cumulative
        self._derived = known._derived
        self._model = model

    @property
    def items(self) -> list[KeySelection]:
        """All keys, in their order."""
        return [choice for choice, _ in self.each]

    @property
    def pairs(self) -> list[tuple[KeySelection, float]]:
        """All keys with their weights, in their order."""
        return list(self.each)

    @property
    def each(self) -> Iterator[tuple[KeySelection, float]]:
        """An iterator over the keys and their weights."""
        return ((self._named(choice), weight) for choice, weight in self._pairs)

    def choose(self, random: Random) -> KeySelection:
        """Choose a key."""
        return self._named(super().choose(random))

    def choose_except(self, random: Random, *, excluded: Callable[[KeySelection], bool]) -> KeySelection | None:
        """Choose a key for which `excluded` is false; `None` if there is none."""
        choice = super().choose_except(random, excluded=excluded)
        return self.named(choice)

    def named(self, item: KeySelection | None) -> KeySelection | None:
        """Return a key with the name of this model."""
        return None if item is None else self._named(item)

    def _named(self, choice: KeySelection) -> KeySelection:
        return KeySelection(choice.key, self._model, choice.health, address=choice.address)


class KeyPool:
    """The keys of one provider, prepared for choosing. Make one per list of keys, not per call.

    A key serves a model that its lists allow, under the name that calls use; an alias is resolved after that. An empty
    model means a request to the provider itself, for which the lists do not matter.
    """

    def __init__(
        self,
        provider: Provider,
        keys: Sequence[Key],
        *,
        states: KeyStates | None = None,
        balance: Balance | None = None,
        address_of: Callable[[Key], str] | None = None,
        closed_off: Callable[[str, float], Collection[str]] | None = None,
    ) -> None:
        """`address_of` returns the address that a key's settings name, empty for none.

        `closed_off` returns the addresses whose breakers refuse a call for a model at a time.
        """
        self.provider = provider
        self.keys = keys
        self.states = states or KeyStates(KeyPoolConfig())
        self._balance = balance or balance_of(self.states.config)
        self._is_weighted = type(self._balance) is WeightedRandom
        self.by_model: dict[str, Weighted[KeySelection]] = {}
        self._weights: dict[str, float | None] = {}
        self._lists: _Lists | None = None
        self._by_address: dict[str, list[str]] = {}
        """The names of the keys of each address."""
        if address_of is not None:
            for key in keys:
                self._by_address.setdefault(address_of(key), []).append(key.name)
        self.addresses: Sequence[str] = tuple(self._by_address) or OWN_ADDRESS
        """Where the keys are used; the provider's own address is the empty one."""
        self._address_of = address_of
        self._closed_off = closed_off if len(self._by_address) > 1 else None
        self._alike: dict[tuple[int, ...], Weighted[KeySelection]] = {}
        """The keys for a model, by the kinds of keys that serve it, for reuse by other models that the same kinds
        serve.
        """

    def choose(
        self,
        model: str,
        *,
        random: Random,
        now: float = 0.0,
        pin: str | None = None,
        session: str | None = None,
        excluded: Collection[str] = (),
    ) -> KeySelection:
        """Choose a key for a model, without those whose names are in `excluded`.

        Keys that are cooling down or dead are skipped, except for the last usable key if it is cooling down only by an
        estimate of ours. If all remaining keys are cooling down, the result is the first that is ready, with the time
        in `ready_at`.

        `pin` is the name or id of the only key that may be used; `session` selects the key of that session. Raises
        `MissingKeyError` if no key may serve the model, and `CredentialsExhaustedError` if all keys are dead or
        excluded.
        """
        choices = self.by_model.get(model) or self._sort(model)
        if pin is not None:
            choices = Weighted([(self._pinned(choices, pin, model), 1.0)])
        elif self._closed_off is not None:
            excluded = self._excluded(choices, model, now, excluded)
        troubled = self.states.troubled
        if not troubled and not excluded and session is None and self._is_weighted:
            return choices.choose(random)
        if session is not None:
            return choose_usable(choices, session, _ready(now, excluded)) or self._first_ready(
                choices, model, now=now, excluded=excluded
            )
        chosen = None
        if type(self._balance) is RoundRobin:
            return self._balance.choose_usable(choices, _ready(now, excluded)) or self._first_ready(
                choices, model, now=now, excluded=excluded
            )
        if type(self._balance) is TwoChoices:
            chosen = _draw_two(choices, random, now=now, excluded=excluded)
        elif type(self._balance) is LeastBusy:
            chosen = _draw(choices, random, now=now, excluded=excluded, idle=True)
        elif self._is_weighted:
            chosen = _draw(choices, random, now=now, excluded=excluded)
        if chosen is not None:
            return chosen
        out = _not_usable(choices, now).union(excluded) if troubled else excluded
        chosen = self._select(choices, out, random)
        return chosen or self._first_ready(choices, model, now=now, excluded=excluded)

    def outlook(
        self, model: str, *, pin: str | None = None, session: str | None = None, now: float = 0.0
    ) -> list[tuple[KeySelection, float]]:
        """Return the keys that may serve a model, each with its share of the calls. Raises `MissingKeyError`."""
        choices = self.by_model.get(model) or self._sort(model)
        if pin is not None:
            return [(self._pinned(choices, pin, model), 1.0)]
        excluded = () if self._closed_off is None else self._excluded(choices, model, now, ())
        snapshot = Snapshot(_not_usable(choices, now).union(excluded), _loads(choices))
        if session is not None:
            own = choose_usable(choices, session, _ready(now, excluded))
            shares = {} if own is None else {own.name: 1.0}
        elif isinstance(self._balance, Foreseeable):
            shares = self._balance.shares(choices, snapshot)
        else:
            shares = dict(zip((choice.name for choice in choices.items), choices.shares(), strict=True))
        return [(choice, shares.get(choice.name, 0.0)) for choice in choices.items]

    def left_out(self, model: str) -> dict[str, str]:
        """Return the names of the keys that may not serve a model, each with the reason."""
        return {
            key.name: "its lists leave the model out" if key.enabled else "switched off"
            for key in self.keys
            if not _serves(key, model)
        }

    def resting(
        self,
        model: str,
        *,
        now: float = 0.0,
        pin: str | None = None,
        excluded: Collection[str] = (),
    ) -> KeySelection | None:
        """Return the key that is ready first, if no key is ready now; `None` if one is. Nothing is chosen.

        Raises the errors of `choose`.
        """
        choices = self.by_model.get(model) or self._sort(model)
        if pin is not None:
            choices = Weighted([(self._pinned(choices, pin, model), 1.0)])
        elif self._closed_off is not None:
            excluded = self._excluded(choices, model, now, excluded)
        if (not self.states.troubled and not excluded) or self._some_are_ready(choices, excluded):
            return None
        for choice, _ in choices.each:
            if choice.name not in excluded and (choice.health is None or choice.health.usable(now)):
                return None
        first = self._first_ready(choices, model, now=now, excluded=excluded)
        return None if first.ready_at is None else first

    def waits(
        self, choice: KeySelection, *, now: float, left: float, fallback_behind: bool, waited: float = 0.0
    ) -> float:
        """Return how long a call waits for a key that is cooling down, in seconds.

        `left` is the time that the call has left.

        `waited` is how long the call has waited for keys before; the sum is limited by `longest_wait`. Raises
        `RateLimitError` if the call uses its fallback instead, or if the wait is too long.
        """
        wait = max(0.0, (choice.ready_at or now) - now)
        config = self.states.config
        if not fallback_behind and waited + wait <= config.longest_wait and wait + SMALLEST_ATTEMPT <= left:
            return wait
        raise RateLimitError(
            f"every key of {self.provider.name} for this model is cooling down; "
            f"{choice.name} is ready in {wait:.1f} s; wait, add keys to the account, or set `fallbacks`",
            provider=self.provider.name,
            model=choice.model,
            key=choice.name,
            retry_after=wait,
        )

    def has_other(self, model: str, *, excluded: Collection[str], pin: str | None = None, now: float = 0.0) -> bool:
        """Return whether another key is ready for a model, besides those whose names are in `excluded`."""
        if pin is not None:
            return False
        choices = self.by_model.get(model) or self._sort(model)
        if self._closed_off is not None:
            excluded = self._excluded(choices, model, now, excluded, only_if_others=False)
        return self._some_are_ready(choices, excluded) or any(
            choice.health is not None and choice.name not in excluded and choice.health.usable(now)
            for choice, _ in choices.each
        )

    def ready_in(
        self, model: str, *, excluded: Collection[str], pin: str | None = None, now: float = 0.0
    ) -> float | None:
        """Return the seconds until the first key for a model is ready; `None` if all keys are dead or excluded."""
        choices = self.by_model.get(model) or self._sort(model)
        if pin is None and self._closed_off is not None:
            excluded = self._excluded(choices, model, now, excluded)
        if pin is None and self._some_are_ready(choices, excluded):
            return 0.0
        items = choices.items if pin is None else [self._pinned(choices, pin, model)]
        waits = [
            0.0 if choice.health.usable(now) else choice.health.until - now
            for choice in items
            if choice.health is not None
            and choice.name not in excluded
            and (choice.health.state == "cooling_down" or choice.health.usable(now))
        ]
        return min(waits, default=None)

    def usable_in(self, model: str, *, pin: str | None = None, now: float = 0.0) -> float:
        """Return the seconds until a key may serve a model: 0 if one may now, infinity if none is known."""
        try:
            wait = self.ready_in(model, excluded=(), pin=pin, now=now)
        except MissingKeyError:
            return math.inf
        return math.inf if wait is None else wait

    def at_other_addresses(self, model: str, address: str, *, excluded: Collection[str], now: float) -> set[str]:
        """Return `excluded` with the keys of an address, if that leaves a key that is ready; else `excluded` alone."""
        beyond = {*excluded, *self._by_address.get(address, ())}
        return beyond if self.has_other(model, excluded=beyond, now=now) else {*excluded}

    def snapshot(self, now: float) -> list[KeySnapshot]:
        """Return the states of the keys."""
        lists = [choices.derived(_healths) for choices in self.by_model.values()]
        used = [health for own in {id(own): own for own in lists}.values() for health in own]
        states = dict.fromkeys(health for health in used if health is not None)
        names = {health.name for health in states}
        idle = [self.states.of(key, address=self.address(key)) for key in self.keys if key.name not in names]
        order = {key.name: place for place, key in enumerate(self.keys)}
        return [health.snapshot(now) for health in sorted((*states, *idle), key=lambda health: order[health.name])]

    def addresses_of(self, pin: str | None) -> Sequence[str]:
        """Return the addresses of a call: that of the key with this name or id, or all of them for `None`."""
        pinned = [self.address(key) for key in self.keys if pin in (key.name, key.id)] if pin is not None else []
        return tuple(pinned) or self.addresses

    def address(self, key: Key) -> str:
        """Return the address that a key's settings name, empty for none."""
        return "" if self._address_of is None else self._address_of(key)

    def weight_of(self, model: str) -> float | None:
        """Return the total weight of the keys that name a model in their lists; `None` if none does."""
        if model not in self._weights:
            lists = self._lists = self._lists or _Lists(self.keys)
            weights = [lists.weights[kind] for kind in lists.serving(model) if lists.first[kind].names(model)]
            _bound(self._weights)
            self._weights[model] = min(sum(weights), float_info.max) if weights else None
        return self._weights[model]

    def models(self) -> list[str]:
        """Return the models that the keys' lists name, for a message."""
        listed = [name for key in self.keys for name in (*(key.models or ()), *key.aliases)]
        return [name for name in listed if not name.endswith("*")]

    def _select(self, choices: Weighted[KeySelection], out: Collection[str], random: Random) -> KeySelection | None:
        snapshot = NOTHING_KNOWN if not out and self._is_weighted else Snapshot(out, _loads(choices))
        return self._balance.choose(choices, snapshot, random)

    def _excluded(
        self,
        choices: Weighted[KeySelection],
        model: str,
        now: float,
        excluded: Collection[str],
        *,
        only_if_others: bool = True,
    ) -> Collection[str]:
        """Return the names of the keys to leave out: `excluded`, and those of addresses whose breaker is open.

        If no other key can serve, now or after a wait, the keys of these addresses stay in: `Health.admit` then refuses
        the attempt, or admits it as a probe.
        """
        closed = () if self._closed_off is None else self._closed_off(model, now)
        if not closed:
            return excluded
        out = {*excluded, *(name for address in closed for name in self._by_address.get(address, ()))}
        if only_if_others and not any(choice.name not in out and _is_alive(choice, now) for choice, _ in choices.each):
            return excluded
        return out

    def _some_are_ready(self, choices: Weighted[KeySelection], excluded: Collection[str]) -> bool:
        """Return whether there are more keys than troubled and excluded ones, so that no key needs to be checked."""
        return bool(self.keys) and choices.count > len(self.states.troubled) + len(excluded)

    def _first_ready(
        self, choices: Weighted[KeySelection], model: str, *, now: float, excluded: Collection[str]
    ) -> KeySelection:
        """Choose a key although none is usable: all are cooling down or dead."""
        left = [choice for choice in choices.items if choice.name not in excluded]
        alive = [(choice, choice.health) for choice in left if choice.health and choice.health.state == "cooling_down"]
        guessed = [pair for pair in alive if pair[1].is_estimated(now)]
        if guessed:
            # An estimate of ours must not block the last usable key.
            return min(guessed, key=lambda pair: pair[1].until)[0]
        if alive:
            choice, health = min(alive, key=lambda pair: pair[1].turn())
            return choice._replace(ready_at=health.turn())
        raise self._exhausted(choices, model)

    def _exhausted(self, choices: Weighted[KeySelection], model: str) -> CredentialsExhaustedError:
        names = [
            f"{choice.name} ({choice.health.reason})" if choice.health and choice.health.reason else choice.name
            for choice in choices.items
        ]
        return CredentialsExhaustedError(
            f"{self.provider.name} has no usable key for {model} left: {', '.join(names)}; "
            "add another key to the account, or a new value",
            provider=self.provider.name,
            model=model,
        )

    def _sort(self, model: str) -> Weighted[KeySelection]:
        lists = self._lists = self._lists or _Lists(self.keys)
        kinds = lists.serving(model)
        is_alike = not self.states.config.per_model and not any(_has_alias(lists.first[kind], model) for kind in kinds)
        known = self._alike.get(kinds) if is_alike else None
        choices = self._choices(lists.keys_of(kinds), model) if known is None else _ForModel(known, model)
        _bound(self.by_model)
        self.by_model[model] = choices
        if is_alike and known is None:
            _bound(self._alike)
            self._alike[kinds] = choices
        return choices

    def _choices(self, keys: list[Key], model: str) -> Weighted[KeySelection]:
        serving = [(self._choice(key, model), key.weight) for key in keys]
        if not self.keys and isinstance(self.provider.auth, NoAuth):
            serving = [(KeySelection(None, model), 1.0)]
        if not serving:
            raise self._missing(model)
        return Weighted(serving)

    def _choice(self, key: Key, model: str) -> KeySelection:
        address = self.address(key)
        health = self.states.of(key, model, address=address)
        return KeySelection(key, _wire_model(key, model), health, address=address)

    def _pinned(self, choices: Weighted[KeySelection], pin: str, model: str) -> KeySelection:
        for choice in choices.items:
            if choice.key is not None and pin in (choice.key.name, choice.key.id):
                return choice
        name = self.provider.name
        if any(pin in (key.name, key.id) for key in self.keys):
            problem = (
                f"key {pin!r} of {name} may not serve {model}: it is switched off, or its lists leave the model out"
            )
        else:
            # The pin is not quoted: it may be a secret, if somebody passed a key's value as `key=`.
            problem = f"{name} has no key of the name or id in key=; the names are: {self._key_names()}"
        raise MissingKeyError(problem, provider=name, model=model)

    def _missing(self, model: str) -> MissingKeyError:
        name = self.provider.name
        if not self.keys:
            problem = f"{name} has no key; {how_to_set(self.provider)}"
        elif not any(key.enabled for key in self.keys):
            problem = f"every key of {name} is switched off: {self._key_names()}"
        else:
            problem = f"no key of {name} may serve {model}; add it to the models of one of these: {self._key_names()}"
        return MissingKeyError(problem, provider=name, model=model)

    def _key_names(self) -> str:
        return ", ".join(key.name for key in self.keys) or "none"


class _Lists:
    """Which keys serve a model. Keys with equal lists are of one kind, and few kinds are checked for a model."""

    def __init__(self, keys: Sequence[Key]) -> None:
        places: dict[object, list[int]] = {}
        for place, key in enumerate(keys):
            if key.enabled:
                models = None if key.models is None else tuple(key.models)
                places.setdefault((models, tuple(key.deny), tuple(key.aliases.items())), []).append(place)
        self._keys = keys
        self._places = list(places.values())
        self.first = [keys[own[0]] for own in self._places]
        """One key of each kind."""
        self.weights = [sum(keys[place].weight for place in own) for own in self._places]
        """The total weight of the keys of each kind."""
        self._open: list[int] = []
        """The kinds that may serve models that they do not list by their full name."""
        self._naming: dict[str, list[int]] = {}
        """The kinds that list a model by its full name."""
        for kind, key in enumerate(self.first):
            if key.models is None or any(entry.endswith("*") for entry in key.models):
                self._open.append(kind)
            else:
                for name in set(key.models):
                    self._naming.setdefault(name, []).append(kind)

    def serving(self, model: str) -> tuple[int, ...]:
        """Return the kinds of keys that serve a model."""
        if not model:
            return tuple(range(len(self.first)))
        kinds = [*self._open, *self._naming.get(model, ())]
        return tuple(kind for kind in kinds if self.first[kind].allows(model))

    def keys_of(self, kinds: Sequence[int]) -> list[Key]:
        """Return the keys of some kinds, in their order."""
        return [self._keys[place] for place in sorted(place for kind in kinds for place in self._places[kind])]


def balance_of(config: KeyPoolConfig) -> Balance:
    """Return a new policy as configured. Each provider has its own, because policies may keep state."""
    policy: Balance = config.policy or BALANCES[config.choose]()
    return policy


def _draw(
    choices: Weighted[KeySelection], random: Random, *, now: float, excluded: Collection[str], idle: bool = False
) -> KeySelection | None:
    """Draw keys by weight until one is ready, usually after one or two draws; `None` if none was found.

    Drawing again preserves the proportions of the ready keys and checks few keys, however many there are. `idle`
    accepts only a key that is not in use: none can be less busy, and the weights decide among those.
    """
    for _ in range(_DRAWS):
        choice = choices.choose(random)
        if choice.name in excluded or (idle and choice.health is not None and choice.health.in_flight):
            continue
        if choice.health is None or choice.health.usable(now):
            return choice
    return None


def _draw_two(
    choices: Weighted[KeySelection], random: Random, *, now: float, excluded: Collection[str]
) -> KeySelection | None:
    """Draw two ready keys and return the less busy one, as `TwoChoices` does; `None` if two were not found."""
    first = _draw(choices, random, now=now, excluded=excluded)
    second = None if first is None else _draw(choices, random, now=now, excluded={first.name, *excluded})
    if first is None or second is None or first.health is None or second.health is None:
        return None
    return second if second.health.in_flight < first.health.in_flight else first


def _ready(now: float, excluded: Collection[str]) -> Callable[[KeySelection], bool]:
    return lambda choice: choice.name not in excluded and (choice.health is None or choice.health.usable(now))


def _not_usable(choices: Weighted[KeySelection], now: float) -> set[str]:
    return {choice.name for choice in choices.items if choice.health is not None and not choice.health.usable(now)}


def _is_alive(choice: KeySelection, now: float) -> bool:
    """Return whether a key can serve, now or after a wait."""
    return choice.health is None or choice.health.state == "cooling_down" or choice.health.usable(now)


def _loads(choices: Weighted[KeySelection]) -> dict[str, Load]:
    return {choice.name: Load(busy=choice.health.in_flight) for choice in choices.items if choice.health is not None}


def _bound(cache: dict[Any, Any]) -> None:
    """Remove the oldest entries to make room for one more."""
    while len(cache) >= _MAX_MODELS:
        del cache[next(iter(cache))]


def _serves(key: Key, model: str) -> bool:
    return key.enabled and (not model or key.allows(model))


def _has_alias(key: Key, model: str) -> bool:
    return bool(key.aliases) and _wire_model(key, model) != model


def _healths(pairs: list[tuple[KeySelection, float]]) -> list[KeyHealth | None]:
    return [choice.health for choice, _ in pairs]


def _wire_model(key: Key, model: str) -> str:
    name = model.lower()
    return next((own for alias, own in key.aliases.items() if alias.lower() == name), model)
