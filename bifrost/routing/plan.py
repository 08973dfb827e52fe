"""Where a call may go: from the model that it names to the candidates to try, in order. Pure; never the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bifrost.account import how_to_set, near, unknown_provider
from bifrost.errors import BifrostError, ConfigError, InvalidRequestError, MissingKeyError, UnknownProviderError
from bifrost.providers.catalog import CATALOG
from bifrost.routing.balance import Weighted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bifrost.providers.base import Provider
    from bifrost.routing.balance import Random
    from bifrost.routing.keys import KeyRing

GroupEntry: TypeAlias = "str | tuple[str, float]"
"""A member of a model group: `provider/model`, or that and its weight (1 if not given)."""


class Candidate(msgspec.Struct, frozen=True):
    """A provider, and a model under the name that calls use there."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class ModelGroups:
    """A client's own names for models: `{"fast": ["openai/gpt-4o-mini", ("azure/mini", 0.3)]}`.

    A call of such a name goes to one of its members, by weight; the others are no fallbacks. Members are written
    `provider/model`: groups do not nest. Raises `ConfigError` for an empty group, a name with `/`, another member.
    """

    def __init__(self, models: Mapping[str, Sequence[GroupEntry]]) -> None:
        self._groups = {name: _group(name, entries, models) for name, entries in models.items()}

    def get(self, name: str) -> Weighted[Candidate] | None:
        """Give the members of a group, or `None` if no group has this name."""
        return self._groups.get(name)

    @property
    def names(self) -> list[str]:
        """Give the groups' names."""
        return list(self._groups)


class Planner:
    """Plans calls over the providers that are configured. Make one per set of providers, not per call.

    A model is `provider/model`, split at the first `/`. If the left part is no configured provider, the whole is a bare
    name: a model group's, or else a model that a key lists or has an alias for. If several providers have such a key,
    one is chosen by the weights of those keys; the others are no fallbacks.
    """

    def __init__(self, providers: Mapping[str, Provider], groups: ModelGroups) -> None:
        self.providers = providers
        self._groups = groups

    def needs_keys(self, models: Iterable[str]) -> bool:
        """Say whether one of the names can only be found in the keys' lists."""
        return any(self._groups.get(model) is None and self.direct(model) is None for model in models)

    def plan(
        self, model: str, fallbacks: Sequence[str], random: Random, *, rings: Mapping[str, KeyRing]
    ) -> list[Candidate]:
        """Give the candidates of a call: the model's, then the fallbacks', without repetition.

        `rings` has the keys of every configured provider if `needs_keys` says so, else it may be empty. A fallback at a
        provider of the catalog that is not configured stays in the plan and fails when its turn comes
        (`not_configured`). Raises `MissingKeyError` if the model itself is at such a provider, `UnknownProviderError`
        for a name that nobody has, `ConfigError` for a group with a member that is not configured.
        """
        candidates: list[Candidate] = []
        for name in (model, *fallbacks):
            candidate = self.direct(name)
            try:
                candidate = candidate or self._bare(name, random, rings)
            except MissingKeyError:
                if not candidates:
                    raise
                candidate = Candidate(*name.split("/", 1))
            if candidate not in candidates:
                candidates.append(candidate)
        return candidates

    def not_configured(self, provider: str) -> BifrostError:
        """Make the error for a provider that is not among the configured ones."""
        row = CATALOG.get(provider)
        if row is None:
            return unknown_provider(provider, {**CATALOG, **self.providers})
        return MissingKeyError(f"{provider} is not configured; {how_to_set(row)}", provider=provider)

    def check_extra(self, extra: Mapping[str, object]) -> None:
        """Refuse options that are meant for a provider which nobody has: they would never reach one.

        Raises `InvalidRequestError` that names near matches.
        """
        for provider in extra:
            if provider not in self.providers and provider not in CATALOG:
                problem = unknown_provider(provider, {**CATALOG, **self.providers}).message
                raise InvalidRequestError(f"extra: {problem}")

    def direct(self, model: str) -> Candidate | None:
        """Read `provider/model`; `None` if the left part is no configured provider, or there is none."""
        provider, slash, name = model.partition("/")
        if not slash or provider not in self.providers:
            return None
        if not name:
            raise InvalidRequestError(f"the model {model!r} ends after its provider; write {provider}/its-model")
        return Candidate(provider, name)

    def _bare(self, name: str, random: Random, rings: Mapping[str, KeyRing]) -> Candidate:
        group = self._groups.get(name)
        if group is not None:
            return self._of_group(name, group, random)
        hits = [(holder, weight) for holder, ring in rings.items() if (weight := ring.weight_of(name)) is not None]
        if not hits:
            raise self._unknown(name, rings)
        return Candidate(Weighted(hits).choose(random), name)

    def _of_group(self, name: str, group: Weighted[Candidate], random: Random) -> Candidate:
        for member in group.items:
            # Told on every call, not only on those that would go there.
            if member.provider not in self.providers:
                problem = self.not_configured(member.provider).message
                raise ConfigError(f"model group {name!r} has {member}: {problem}, or take it out of the group")
        return group.choose(random)

    def _unknown(self, model: str, rings: Mapping[str, KeyRing]) -> BifrostError:
        provider, slash, _ = model.partition("/")
        if slash and (provider in CATALOG or near(provider, {**CATALOG, **self.providers})):
            return self.not_configured(provider)
        alike = near(model, [*self._groups.names, *(name for ring in rings.values() for name in ring.models())])
        hint = f"did you mean {alike}? Or " if alike else ""
        configured = ", ".join(self.providers) or f"none yet, {_first_steps()}"
        return UnknownProviderError(
            f"no provider, model group or key has the model {model!r}; {hint}write it as provider/model, "
            f"with one of the configured providers ({configured})"
        )


def _group(name: str, entries: Sequence[GroupEntry], models: Mapping[str, object]) -> Weighted[Candidate]:
    if not name or "/" in name:
        raise ConfigError(f"models: {name!r} cannot name a group; a name with '/' is read as provider/model")
    if isinstance(entries, str) or not entries:
        raise ConfigError(f"models[{name!r}] is a list of 'provider/model' names, at least one")
    return Weighted(_member(name, entry, models) for entry in entries)


def _member(name: str, entry: object, models: Mapping[str, object]) -> tuple[Candidate, float]:
    match entry:
        case str():
            spec, weight = entry, 1.0
        case (str(spec), int() | float() as weight):
            pass
        case _:
            raise ConfigError(f"models[{name!r}]: {entry!r} is neither 'provider/model' nor ('provider/model', weight)")
    if spec in models:
        raise ConfigError(f"models[{name!r}]: {spec!r} is a group itself; groups do not nest, name its members here")
    provider, _, model = spec.partition("/")
    if not provider or not model:
        raise ConfigError(f"models[{name!r}]: {spec!r} must be written 'provider/model'")
    return Candidate(provider, model), weight


def _first_steps() -> str:
    variables = [row.key_variables[0] for row in CATALOG.values() if row.key_variables]
    return f"set {' or '.join(variables[:3])}" if variables else "give the client an account"
