"""Where a call may go: from the model that it names to the candidates to try, in order. Pure; never the network."""

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
    from bifrost.routing.keys import KeyRing

GroupEntry: TypeAlias = str | tuple[str, float]
"""A member of a model group: `provider/model`, or that and its weight (1 if not given)."""


@attrs.frozen(eq=False, repr=False)
class ModelGroup(Frozen):
    """Several models behind one name, and how the one for a call is chosen among them.

        Bifrost(models={"fast": ModelGroup(["openai/gpt-4o-mini", ("azure/mini", 0.3)], balance="least_busy")})

    Args:
        members: `provider/model` names, or pairs of a name and a weight (1 if not given).
        balance: `"weighted"`: by chance, in proportion to the weights. `"least_busy"`: the one whose provider has the
            least to do, measured against its `concurrency` and its weight. `"round_robin"`: by turns, each as often as
            its weight says. Or an object of yours with the method of `Balance`.

    Whatever the policy, members that cannot serve (all keys rest or are refused, a breaker is open, the model is gone)
    are passed over, and one whose provider has no free worker loses to one whose provider has. When a member fails, the
    others are tried before the call's fallbacks.
    """

    members: Sequence[GroupEntry]
    balance: BalanceName | Balance = attrs.field(default="weighted", kw_only=True)


GroupForm: TypeAlias = Sequence[GroupEntry] | ModelGroup
"""How a group is written: its members alone, or with the policy that chooses among them."""


class ModelGroups:
    """A client's own names for models: `{"fast": ["openai/gpt-4o-mini", ("azure/mini", 0.3)]}`.

    A call of such a name goes to one of its members, by weight or as its `ModelGroup` says, and to the others if that
    one fails. Members are written `provider/model`: groups do not nest. Raises `ConfigError` for an empty group, a name
    with `/`, another member, a policy that is none.
    """

    def __init__(self, models: Mapping[str, GroupForm]) -> None:
        self._groups = {name: _group(name, form, models) for name, form in models.items()}
        self._providers = {member.provider for group in self._groups.values() for member in group.members.items}

    def get(self, name: str) -> Group | None:
        """Give a group, or `None` if none has this name."""
        return self._groups.get(name)

    @property
    def providers(self) -> AbstractSet[str]:
        """Return the names of the providers that members are at."""
        return self._providers

    @property
    def names(self) -> list[str]:
        """Give the groups' names."""
        return list(self._groups)


class Planner:
    """Plans calls over the providers that are configured. Make one per set of providers, not per call.

    A model is `provider/model`, split at the first `/`. If the left part is no configured provider, the whole is a bare
    name: a model group's, or else a model that a key lists or has an alias for. If several providers have such a key,
    they are a group, by the weights of those keys.

    `gone` names providers that were configured before: a group does without its members there.
    """

    def __init__(
        self, providers: Mapping[str, Provider], groups: ModelGroups, *, gone: Collection[str] = frozenset()
    ) -> None:
        self.providers = providers
        self.gone = gone
        self._groups = groups

    def needs_keys(self, models: Iterable[str]) -> bool:
        """Say whether one of the names can only be found in the keys' lists."""
        return any(self._groups.get(model) is None and self.direct(model) is None for model in models)

    def places(self, model: str, fallbacks: Sequence[str], *, rings: Mapping[str, KeyRing]) -> list[Place]:
        """Return who may serve a call: for its model, then for each fallback, without repetition.

        Raises `MissingKeyError` if the
        model itself is at a provider of the catalog that is not configured (a fallback there fails when its turn comes,
        `not_configured`), `UnknownProviderError` for a name that nobody has, `ConfigError` for a group with a member
        that was never configured, or with none left. `rings` has the keys of every configured provider if `needs_keys`
        says so, else it may be empty.
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
        """Tell which members of groups among these names are done without."""
        return [
            f"{member} was left out of model group {name!r}: {member.provider} is no longer configured"
            for name in dict.fromkeys(models)
            if (group := self._groups.get(name)) is not None
            for member in self._missing(group)
        ]

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

    def _place(self, name: str, rings: Mapping[str, KeyRing], *, is_fallback: bool) -> Candidate | Group:
        """Return who stands at a place of the plan: a candidate, or several."""
        try:
            found = self.direct(name) or self._group_of(name, rings, is_fallback=is_fallback)
        except MissingKeyError:
            if not is_fallback:
                raise
            return Candidate(*name.split("/", 1))
        if isinstance(found, Group) and len(found.members.items) == 1:
            return found.members.items[0]
        return found

    def _group_of(self, name: str, rings: Mapping[str, KeyRing], *, is_fallback: bool) -> Group:
        """Give the group of this name, or else the holders of keys that speak of it as one."""
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
        """Give what is left of a group whose members are partly gone."""
        for member in missing:
            # Told on every call, not only on those that would go there.
            if member.provider not in self.gone:
                problem = self.not_configured(member.provider).message
                raise ConfigError(f"model group {name!r} has {member}: {problem}, or take it out of the group")
        left = [(member, weight) for member, weight in group.members.pairs if member not in missing]
        if left:
            return Group(Weighted(left), group.balance)
        if is_fallback:
            # It fails when its turn comes.
            return group
        gone = ", ".join(map(str, missing))
        raise ConfigError(
            f"model group {name!r} has no member left: the providers of {gone} were taken out of the client; "
            "add one again, or name another model"
        )

    def _unknown(self, model: str, rings: Mapping[str, KeyRing]) -> BifrostError:
        provider, slash, _ = model.partition("/")
        if slash and (provider in CATALOG or near(provider, {**CATALOG, **self.providers})):
            return self.not_configured(provider)
        alike = near(model, [*self._groups.names, *(name for ring in rings.values() for name in ring.models())])
        if slash and not alike:
            return UnknownProviderError(
                f"there is no provider named {provider!r}, and no key lists the model {model!r}; "
                f"known are: {', '.join(sorted({**CATALOG, **self.providers}))}; speaks_openai makes one of your own"
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
        raise ConfigError(f"models: {name!r} cannot name a group; a name with '/' is read as provider/model")
    entries, policy = (form.members, form.balance) if isinstance(form, ModelGroup) else (form, "weighted")
    if isinstance(entries, str):
        raise ConfigError(f"models[{name!r}] is a list of 'provider/model' names: write {{{name!r}: [{entries!r}]}}")
    if not hasattr(entries, "__iter__") or not entries:
        raise ConfigError(f"models[{name!r}] is a list of 'provider/model' names, at least one")
    return Group(Weighted(_member(name, entry, models) for entry in entries), _balance(name, policy))


def _balance(name: str, policy: object) -> Balance:
    if isinstance(policy, str) and policy in BALANCES:
        return BALANCES[cast("BalanceName", policy)]()
    if isinstance(policy, str | type) or not callable(getattr(policy, "choose", None)):
        known = ", ".join(map(repr, get_args(BalanceName)))
        told = repr(policy) if isinstance(policy, str) else f"this {type(policy).__name__}"
        raise ConfigError(
            f"models[{name!r}]: balance is one of {known}, or an object with the method `choose` of Balance, not {told}"
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
        raise ConfigError(f"models[{name!r}]: {spec!r} is a group itself; groups do not nest, name its members here")
    provider, _, model = spec.partition("/")
    if is_surely_key(spec):
        raise ConfigError(f"models[{name!r}]: a member looks like a key and not like 'provider/model'")
    if not provider or not model:
        raise ConfigError(f"models[{name!r}]: {spec!r} must be written 'provider/model'")
    return Candidate(provider, model), weight


def _first_steps() -> str:
    variables = [row.key_variables[0] for row in CATALOG.values() if row.key_variables]
    return f"set {' or '.join(variables[:3])}" if variables else "give the client an account"
