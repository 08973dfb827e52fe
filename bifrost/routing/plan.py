"""The plan of a call: from the model that it names to the candidates in order. Pure, without network access."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast, get_args

import attrs

from bifrost.account import how_to_set, near, unknown_provider
from bifrost.errors import BifrostError, ConfigError, InvalidRequestError, MissingKeyError, UnknownProviderError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import is_surely_key
from bifrost.providers.catalog import CATALOG
from bifrost.routing.balance import BALANCES, Balance, BalanceName, Weighted, WeightedRandom
from bifrost.routing.candidates import Candidate, Group, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from bifrost.providers.base import Provider
    from bifrost.routing.keys import KeyPool

GroupEntry: TypeAlias = str | tuple[str, float]
"""A member of a model group: `provider/model`, or a pair of that name and a weight (default: 1)."""


@attrs.frozen(eq=False, repr=False)
class ModelGroup(Frozen):
    """Several models under one name, and how one of them is chosen for a call.

        Bifrost(models={"fast": ModelGroup(["openai/gpt-4o-mini", ("azure/mini", 0.3)], balance="least_busy")})

    Args:
        members: `provider/model` names, or pairs of a name and a weight (default: 1).
        balance: `"weighted"` (default): at random, in proportion to the weights. `"least_busy"`: the member whose
            provider has the lowest load relative to its `concurrency` and the weight. `"round_robin"`: in turn, each as
            often as its weight says. Or your own object with the method of `Balance`.

    With every policy, members that cannot serve (all keys are cooling down or refused, a breaker is open, the model
    does not exist) are passed over, and a member whose provider has a free worker is preferred. When a member fails,
    the other members are tried before the call's fallbacks.
    """

    members: Sequence[GroupEntry]
    """The members of the group."""

    balance: BalanceName | Balance = attrs.field(default="weighted", kw_only=True)
    """The policy that chooses among the members."""


GroupForm: TypeAlias = Sequence[GroupEntry] | ModelGroup
"""The definition of a group: its members alone, or a `ModelGroup`."""


class ModelGroups:
    """A client's own names for models: `{"fast": ["openai/gpt-4o-mini", ("azure/mini", 0.3)]}`.

    A call to such a name goes to one of its members, by weight or by the policy of its `ModelGroup`, and to the others
    if that one fails. Members are written `provider/model`; groups do not nest. Raises `ConfigError` for an empty
    group, a name with `/`, a member of another form, or an invalid policy.
    """

    def __init__(self, models: Mapping[str, GroupForm]) -> None:
        self._groups = {name: _group(name, form, models) for name, form in models.items()}
        self._providers = {member.provider for group in self._groups.values() for member in group.members.items}

    def get(self, name: str) -> Group | None:
        """Return the group of this name, or `None`."""
        return self._groups.get(name)

    @property
    def providers(self) -> AbstractSet[str]:
        """The names of the members' providers."""
        return self._providers

    @property
    def names(self) -> list[str]:
        """The names of the groups."""
        return list(self._groups)


class Planner:
    """Plans calls for the configured providers. Make one per set of providers, not per call.

    A model is `provider/model`, split at the first `/`. If the left part is not a configured provider, the whole text
    is the name of a model group, or of a model that a key lists or has an alias for. If keys of several providers do,
    these providers form a group, weighted by those keys.

    `gone` has the names of providers that were configured before. A group is used without its members there.
    """

    def __init__(
        self, providers: Mapping[str, Provider], groups: ModelGroups, *, gone: Collection[str] = frozenset()
    ) -> None:
        self.providers = providers
        self.gone = gone
        self._groups = groups

    def needs_keys(self, models: Iterable[str]) -> bool:
        """Return whether one of the names can be found only in the keys' lists."""
        return any(self._groups.get(model) is None and self.direct(model) is None for model in models)

    def places(self, model: str, fallbacks: Sequence[str], *, rings: Mapping[str, KeyPool]) -> list[Place]:
        """Return the places of a call: for its model, then for each fallback, without repetition.

        Raises `MissingKeyError` if the model is at a provider of the catalog that is not configured (a fallback there
        fails only when it is tried, see `not_configured`), `UnknownProviderError` for an unknown name, and
        `ConfigError` for a group that has no member left or a member that was never configured. `rings` has the keys of
        every configured provider if `needs_keys` is true, else it may be empty.
        """
        places: list[Place] = []
        seen: set[tuple[Candidate, ...]] = set()
        for name in (model, *fallbacks):
            found = self._place(name, rings, is_fallback=bool(places))
            members = found.members.items if isinstance(found, Group) else [found]
            if tuple(members) not in seen:
                seen.add(tuple(members))
                places.append(Place(name, members, found if isinstance(found, Group) else None))
        return places

    def left_out(self, models: Iterable[str]) -> list[str]:
        """Return warnings about the members of these groups that are not used."""
        return [
            f"{member} was left out of model group {name!r}: {member.provider} is no longer configured"
            for name in dict.fromkeys(models)
            if (group := self._groups.get(name)) is not None
            for member in self._missing(group)
        ]

    def not_configured(self, provider: str) -> BifrostError:
        """Return the error for a provider that is not configured."""
        row = CATALOG.get(provider)
        if row is None:
            return unknown_provider(provider, {**CATALOG, **self.providers})
        return MissingKeyError(f"{provider} is not configured; {how_to_set(row)}", provider=provider)

    def check_extra(self, extra: Mapping[str, object]) -> None:
        """Check that the keys of `extra` are names of known providers.

        Raises `InvalidRequestError`, which lists similar names.
        """
        for provider in extra:
            if provider not in self.providers and provider not in CATALOG:
                problem = unknown_provider(provider, {**CATALOG, **self.providers}).message
                raise InvalidRequestError(f"extra: {problem}")

    def direct(self, model: str) -> Candidate | None:
        """Parse `provider/model`; `None` if the left part is not a configured provider, or there is no `/`."""
        provider, slash, name = model.partition("/")
        if not slash or provider not in self.providers:
            return None
        if not name:
            raise InvalidRequestError(f"the model {model!r} ends after its provider; write {provider}/its-model")
        return Candidate(provider, name)

    def _place(self, name: str, rings: Mapping[str, KeyPool], *, is_fallback: bool) -> Candidate | Group:
        """Return the candidate or the group for a name."""
        try:
            found = self.direct(name) or self._group_of(name, rings, is_fallback=is_fallback)
        except MissingKeyError:
            if not is_fallback:
                raise
            return Candidate(*name.split("/", 1))
        if isinstance(found, Group) and len(found.members.items) == 1:
            return found.members.items[0]
        return found

    def _group_of(self, name: str, rings: Mapping[str, KeyPool], *, is_fallback: bool) -> Group:
        """Return the group of this name, or a group of the providers whose keys name the model."""
        group = self._groups.get(name)
        if group is not None:
            missing = self._missing(group)
            return self._without(missing, name, group, is_fallback=is_fallback) if missing else group
        hits = [
            (Candidate(holder, name), weight)
            for holder, ring in rings.items()
            if (weight := ring.weight_of(name)) is not None
        ]
        if not hits:
            raise self._unknown(name, rings)
        return Group(Weighted(hits), _BY_WEIGHT)

    def _missing(self, group: Group) -> list[Candidate]:
        return [member for member in group.members.items if member.provider not in self.providers]

    def _without(self, missing: Sequence[Candidate], name: str, group: Group, *, is_fallback: bool) -> Group:
        """Return a group without the members whose providers were removed."""
        for member in missing:
            # Raised on every call, not only on those that would use the member.
            if member.provider not in self.gone:
                problem = self.not_configured(member.provider).message
                raise ConfigError(f"model group {name!r} has {member}: {problem}, or remove it from the group")
        left = [(member, weight) for member, weight in group.members.pairs if member not in missing]
        if left:
            return Group(Weighted(left), group.balance)
        if is_fallback:
            # It fails when it is tried.
            return group
        gone = ", ".join(map(str, missing))
        raise ConfigError(
            f"model group {name!r} has no member left: the providers of {gone} were removed from the client; "
            "add one again, or name another model"
        )

    def _unknown(self, model: str, rings: Mapping[str, KeyPool]) -> BifrostError:
        provider, slash, _ = model.partition("/")
        if slash and (provider in CATALOG or near(provider, {**CATALOG, **self.providers})):
            return self.not_configured(provider)
        alike = near(model, [*self._groups.names, *(name for ring in rings.values() for name in ring.models())])
        if slash and not alike:
            return UnknownProviderError(
                f"there is no provider named {provider!r}, and no key lists the model {model!r}; "
                f"known providers: {', '.join(sorted({**CATALOG, **self.providers}))}; speaks_openai defines your own"
            )
        left, colon, right = model.partition(":")
        if colon and not slash and left in {**CATALOG, **self.providers}:
            alike = repr(f"{left}/{right}")
        hint = f"did you mean {alike}? Or " if alike else ""
        configured = ", ".join(self.providers) or f"none yet, {_first_steps()}"
        return UnknownProviderError(
            f"no provider, model group or key has the model {model!r}; {hint}write it as provider/model, "
            f"with one of the configured providers ({configured})"
        )


_BY_WEIGHT = WeightedRandom()


def _group(name: str, form: GroupForm, models: Mapping[str, object]) -> Group:
    if not name or "/" in name:
        raise ConfigError(f"models: {name!r} cannot be the name of a group; a name with '/' means provider/model")
    entries, policy = (form.members, form.balance) if isinstance(form, ModelGroup) else (form, "weighted")
    if isinstance(entries, str):
        raise ConfigError(
            f"models[{name!r}] must be a list of 'provider/model' names: write {{{name!r}: [{entries!r}]}}"
        )
    if not hasattr(entries, "__iter__") or not entries:
        raise ConfigError(f"models[{name!r}] must be a list of at least one 'provider/model' name")
    return Group(Weighted(_member(name, entry, models) for entry in entries), _balance(name, policy))


def _balance(name: str, policy: object) -> Balance:
    if isinstance(policy, str) and policy in BALANCES:
        return BALANCES[cast("BalanceName", policy)]()
    if isinstance(policy, str | type) or not callable(getattr(policy, "choose", None)):
        known = ", ".join(map(repr, get_args(BalanceName)))
        value = repr(policy) if isinstance(policy, str) else f"this {type(policy).__name__}"
        raise ConfigError(
            f"models[{name!r}]: balance must be one of {known}, "
            f"or an object with the method `choose` of Balance, not {value}"
        )
    return cast("Balance", policy)


def _member(name: str, entry: object, models: Mapping[str, object]) -> tuple[Candidate, float]:
    match entry:
        case str():
            spec, weight = entry, 1.0
        case (str(spec), int() | float() as weight):
            pass
        case _:
            raise ConfigError(f"models[{name!r}]: {entry!r} is neither 'provider/model' nor ('provider/model', weight)")
    if spec in models:
        raise ConfigError(f"models[{name!r}]: {spec!r} is a group itself; groups do not nest, so list its members here")
    provider, _, model = spec.partition("/")
    if is_surely_key(spec):
        raise ConfigError(f"models[{name!r}]: a member looks like a key and not like 'provider/model'")
    if not provider or not model:
        raise ConfigError(f"models[{name!r}]: {spec!r} must be written 'provider/model'")
    return Candidate(provider, model), weight


def _first_steps() -> str:
    variables = [row.key_variables[0] for row in CATALOG.values() if row.key_variables]
    return f"set {' or '.join(variables[:3])}" if variables else "pass an account to the client"
