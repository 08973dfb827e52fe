"""Which key a call uses at a provider, and what the provider calls the model. Pure: chance is passed in."""

from __future__ import annotations

from sys import float_info
from typing import TYPE_CHECKING, Any, NamedTuple

from bifrost.account import Key, how_to_set
from bifrost.errors import CredentialsExhaustedError, MissingKeyError
from bifrost.routing.balance import NOTHING_KNOWN, Balance, Snapshot, Weighted, WeightedRandom
from bifrost.wire.auth import NoAuth

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bifrost.providers.base import Provider
    from bifrost.routing.balance import Random

_MODELS_KEPT = 500
"""Model names come from callers, so what is worked out for each of them is bounded."""

_BY_WEIGHT = WeightedRandom()


class Choice(NamedTuple):
    """A key, and the provider's own name of the model under it. No key: the provider needs none."""

    key: Key | None
    model: str

    @property
    def name(self) -> str:
        """Give the key's name; empty without a key."""
        return self.key.name if self.key is not None else ""


class KeyRing:
    """The keys of one provider, sorted for choosing. Make one for each list of keys, not for each call.

    A key serves a model that its lists allow, under the name that calls use; an alias is resolved after that. An empty
    model stands for a question to the provider itself, where the lists have no say.
    """

    def __init__(self, provider: Provider, keys: Sequence[Key], *, balance: Balance = _BY_WEIGHT) -> None:
        self.provider = provider
        self.keys = keys
        self._balance = balance
        self._by_model: dict[str, Weighted[Choice]] = {}
        self._weights: dict[str, float | None] = {}

    def choose(self, model: str, *, random: Random, pin: str | None = None, excluded: Collection[str] = ()) -> Choice:
        """Choose a key for a model, leaving out those whose names are in `excluded`.

        `pin` asks for the key with that name or id and no other. Raises `MissingKeyError` if no key may serve the
        model, `CredentialsExhaustedError` if all of those are left out.
        """
        choices = self._by_model.get(model) or self._sort(model)
        if pin is not None:
            choice = self._pinned(choices, pin, model)
            chosen = None if choice.name in excluded else choice
        else:
            chosen = self._balance.choose(choices, Snapshot(excluded) if excluded else NOTHING_KNOWN, random)
        if chosen is None:
            names = ", ".join(choice.name for choice in choices.items)
            raise CredentialsExhaustedError(
                f"every key of {self.provider.name} that may serve {model} is out of use for this call: {names}",
                provider=self.provider.name,
                model=model,
            )
        return chosen

    def outlook(self, model: str, *, pin: str | None = None) -> list[tuple[Choice, float]]:
        """Give the keys that may serve a model, each with its share of the calls. Raises `MissingKeyError`."""
        choices = self._by_model.get(model) or self._sort(model)
        if pin is not None:
            return [(self._pinned(choices, pin, model), 1.0)]
        return list(zip(choices.items, choices.shares(), strict=True))

    def left_out(self, model: str) -> dict[str, str]:
        """Give the names of the keys that may not serve a model, and why."""
        return {
            key.name: "its lists leave the model out" if key.enabled else "switched off"
            for key in self.keys
            if not _serves(key, model)
        }

    def has_other(self, model: str, *, excluded: Collection[str], pin: str | None = None) -> bool:
        """Say whether a key is left for a model beside those whose names are in `excluded`."""
        if pin is not None:
            return False
        choices = self._by_model.get(model) or self._sort(model)
        return any(choice.key is not None and choice.name not in excluded for choice in choices.items)

    def weight_of(self, model: str) -> float | None:
        """Give the weight of the keys that speak of a model in particular, or `None` if none does."""
        if model not in self._weights:
            weights = [key.weight for key in self.keys if key.enabled and key.names(model)]
            _bound(self._weights)
            self._weights[model] = min(sum(weights), float_info.max) if weights else None
        return self._weights[model]

    def models(self) -> list[str]:
        """Give the models that keys speak of, for a message."""
        listed = [name for key in self.keys for name in (*(key.models or ()), *key.aliases)]
        return [name for name in listed if not name.endswith("*")]

    def _sort(self, model: str) -> Weighted[Choice]:
        serving = [(Choice(key, _wire_model(key, model)), key.weight) for key in self.keys if _serves(key, model)]
        if not serving and not self.keys and isinstance(self.provider.auth, NoAuth):
            serving = [(Choice(None, model), 1.0)]
        if not serving:
            raise self._missing(model)
        _bound(self._by_model)
        self._by_model[model] = choices = Weighted(serving)
        return choices

    def _pinned(self, choices: Weighted[Choice], pin: str, model: str) -> Choice:
        for choice in choices.items:
            if choice.key is not None and pin in (choice.key.name, choice.key.id):
                return choice
        name = self.provider.name
        if any(pin in (key.name, key.id) for key in self.keys):
            problem = (
                f"key {pin!r} of {name} may not serve {model}: it is switched off, or its lists leave the model out"
            )
        else:
            problem = f"{name} has no key with the name or id {pin!r}; it has: {self._key_names()}"
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


def _bound(kept: dict[str, Any]) -> None:
    if len(kept) >= _MODELS_KEPT:
        kept.clear()


def _serves(key: Key, model: str) -> bool:
    return key.enabled and (not model or key.allows(model))


def _wire_model(key: Key, model: str) -> str:
    wanted = model.lower()
    return next((own for alias, own in key.aliases.items() if alias.lower() == wanted), model)
