from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from bifrost.account import Key
from bifrost.errors import ConfigError, InvalidRequestError, MissingKeyError, UnknownProviderError
from bifrost.providers.base import Provider
from bifrost.providers.catalog import CATALOG
from bifrost.routing.balance import Load
from bifrost.routing.candidates import Candidate
from bifrost.routing.failover import Failover
from bifrost.routing.keys import KeyPool
from bifrost.routing.plan import ModelGroup, ModelGroups, Planner
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENAI = CATALOG["openai"]
MINE = attrs.evolve(OPENAI, name="mine", key_variables=())
YOURS = attrs.evolve(OPENAI, name="yours", key_variables=())


def planner(*rows: Provider, groups: Any = None, gone: Sequence[str] = ()) -> Planner:
    return Planner({row.name: row for row in rows}, ModelGroups(groups or {}), gone=gone)


def planned(
    plan: Planner, model: str, *fallbacks: str, keys: dict[str, list[Key]] | None = None, seed: int = 1
) -> list[str]:
    rings = {name: KeyPool(plan.providers[name], found) for name, found in (keys or {}).items()}
    first: list[str] = []
    for place in plan.places(model, fallbacks, rings=rings):
        failover = Failover([place], lambda _: Load(), Random(seed).random)
        candidate = failover.next(now=0.0, attempts_left=6)
        assert candidate is not None
        first.append(str(candidate))
    return first


def group_with(balance: Any) -> ModelGroup:
    return ModelGroup(["openai/a"], balance=balance)


def key(name: str, **more: Any) -> Key:
    return Key(name=name, value=f"sk-{name}", **more)


# --- options for one provider


def test_options_for_a_provider_that_nobody_has_are_refused() -> None:
    plan = planner(OPENAI, MINE)
    plan.check_extra({"openai": {}, "mine": {}, "anthropic": {}})
    with pytest.raises(InvalidRequestError, match="extra: there is no provider named 'mien'; did you mean 'mine'"):
        plan.check_extra({"openai": {}, "mien": {}})


# --- provider/model


def test_a_model_is_split_at_the_first_slash() -> None:
    plan = planner(OPENAI, MINE)

    (place,) = plan.places("mine/org/model:free", (), rings={})
    assert place.members == [Candidate("mine", "org/model:free")]
    assert not plan.needs_keys(["mine/org/model", "openai/gpt-4o"])


def test_fallbacks_follow_in_order_without_repetition() -> None:
    plan = planner(OPENAI, MINE)

    assert planned(plan, "openai/a", "mine/b", "openai/a", "openai/c", "mine/b") == ["openai/a", "mine/b", "openai/c"]


def test_a_provider_that_nobody_has_is_named_with_those_that_look_alike() -> None:
    with pytest.raises(UnknownProviderError, match="no provider named 'opnai'; did you mean 'openai'"):
        planned(planner(MINE), "opnai/gpt-4o")
    with pytest.raises(UnknownProviderError, match="no provider named 'OpenAI'; did you mean 'openai'"):
        planned(planner(OPENAI), "OpenAI/gpt-4o")
    with pytest.raises(UnknownProviderError, match="did you mean 'mine'"):
        planned(planner(MINE), "mines/gpt-4o")


def test_a_provider_that_looks_like_none_is_told_with_all() -> None:
    with pytest.raises(
        UnknownProviderError, match=r"no provider named 'zzz', and no key lists .* known providers: anthropic, "
    ):
        planned(planner(MINE), "zzz/gemini")
    with pytest.raises(UnknownProviderError, match=r"mine, mistral, .* defines your own"):
        planned(planner(MINE), "zzz/gemini")


def test_a_colon_in_the_slashs_place_is_told() -> None:
    with pytest.raises(UnknownProviderError, match=r"did you mean 'mine/llama:free'\?"):
        planned(planner(MINE), "mine:llama:free")


def test_a_provider_without_configuration_names_the_variable_to_set() -> None:
    with pytest.raises(MissingKeyError, match="anthropic is not configured; set ANTHROPIC_API_KEY") as caught:
        planned(planner(OPENAI), "anthropic/claude-haiku-4-5")

    assert caught.value.provider == "anthropic"


def test_a_fallback_without_configuration_waits_for_its_turn() -> None:
    plan = planner(OPENAI)

    assert planned(plan, "openai/a", "anthropic/b", "openai/c") == ["openai/a", "anthropic/b", "openai/c"]
    assert isinstance(plan.not_configured("anthropic"), MissingKeyError)
    assert isinstance(plan.not_configured("nobody"), UnknownProviderError)


def test_a_misspelt_fallback_is_told_at_once() -> None:
    with pytest.raises(UnknownProviderError, match="did you mean 'anthropic'"):
        planned(planner(OPENAI), "openai/a", "antropic/b")


def test_a_provider_without_a_model_is_told() -> None:
    with pytest.raises(InvalidRequestError, match="'openai/' ends after its provider"):
        planned(planner(OPENAI), "openai/")


# --- bare names


def test_a_bare_name_is_found_in_the_keys_lists() -> None:
    plan = planner(OPENAI, MINE)
    keys = {"openai": [key("a")], "mine": [key("b", models=["llama"], aliases={}), key("c", aliases={"Big": "x"})]}

    assert plan.needs_keys(["llama"])
    assert planned(plan, "llama", keys=keys) == ["mine/llama"]
    assert planned(plan, "big", keys=keys) == ["mine/big"]


def test_a_name_whose_left_part_is_no_provider_is_bare() -> None:
    keys = {"mine": [key("a", models=["meta/llama"])]}

    assert planned(planner(MINE), "meta/llama", keys=keys) == ["mine/meta/llama"]


def test_several_holders_of_a_bare_name_share_the_calls_by_weight() -> None:
    plan = planner(OPENAI, MINE, YOURS)
    keys = {
        "openai": [key("a", models=["llama"], weight=1)],
        "mine": [key("b", models=["llama"], weight=2), key("c", models=["llama"], weight=1)],
        "yours": [key("d")],
    }

    counts = Counter(tuple(planned(plan, "llama", keys=keys, seed=seed)) for seed in range(2_000))

    assert set(counts) == {("openai/llama",), ("mine/llama",)}
    assert 1_400 < counts["mine/llama",] < 1_600


def test_huge_weights_of_holders_do_not_add_up_to_infinity() -> None:
    keys = {
        "mine": [key(str(n), models=["llama"], weight=1.7e308) for n in range(3)],
        "yours": [key("a", models=["llama"])],
    }

    assert planned(planner(MINE, YOURS), "llama", keys=keys) == ["mine/llama"]


def test_a_holder_of_weight_zero_is_asked_when_there_is_no_other() -> None:
    plan = planner(MINE, YOURS)
    spare, main = [key("a", models=["llama"], weight=0)], [key("b", models=["llama"])]

    assert planned(plan, "llama", keys={"mine": spare}) == ["mine/llama"]
    assert {tuple(planned(plan, "llama", keys={"mine": spare, "yours": main}, seed=n)) for n in range(20)} == {
        ("yours/llama",)
    }


def test_a_bare_name_that_nobody_has_is_told_with_near_ones() -> None:
    plan = planner(OPENAI, MINE, groups={"fast": ["openai/gpt-4o-mini"]})
    keys = {"mine": [key("a", models=["llama-3", "other*"])]}

    with pytest.raises(UnknownProviderError, match=r"the model 'lama-3'; did you mean 'llama-3'\?"):
        planned(plan, "lama-3", keys=keys)
    with pytest.raises(UnknownProviderError, match=r"did you mean 'fast'\? Or write it as provider/model"):
        planned(plan, "fst", keys=keys)
    with pytest.raises(UnknownProviderError, match=r"configured providers \(openai, mine\)"):
        planned(plan, "gpt-4o", keys=keys)


def test_without_any_provider_the_first_step_is_told() -> None:
    with pytest.raises(UnknownProviderError, match=r"none yet, set OPENAI_API_KEY or ANTHROPIC_API_KEY"):
        planned(planner(), "gpt-4o")


@table("model", ["/", "/gpt-4o", "é", "a\nb", "x" * 10_000])
def test_odd_names_are_unknown(model: str) -> None:
    with pytest.raises(UnknownProviderError) as caught:
        planned(planner(OPENAI), model)

    assert str(caught.value).isprintable()


# --- groups


def test_a_group_shares_its_calls_by_weight() -> None:
    plan = planner(OPENAI, MINE, groups={"fast": ["openai/gpt-4o-mini", ("mine/mini", 0.25)]})

    counts = Counter(tuple(planned(plan, "fast", seed=seed)) for seed in range(2_000))

    assert not plan.needs_keys(["fast"])
    assert set(counts) == {("openai/gpt-4o-mini",), ("mine/mini",)}
    assert 320 < counts["mine/mini",] < 480


def test_a_group_goes_before_the_keys_lists() -> None:
    plan = planner(OPENAI, MINE, groups={"fast": ["openai/gpt-4o-mini"]})

    assert planned(plan, "fast", keys={"mine": [key("a", models=["fast"])]}) == ["openai/gpt-4o-mini"]


def test_a_group_may_be_a_fallback() -> None:
    plan = planner(OPENAI, MINE, groups={"fast": ["mine/mini"]})

    assert planned(plan, "openai/a", "fast", "mine/mini") == ["openai/a", "mine/mini"]


def test_a_member_without_configuration_is_told_on_every_call() -> None:
    plan = planner(OPENAI, groups={"fast": [("openai/a", 1000), ("anthropic/b", 0)]})

    for seed in range(20):
        with pytest.raises(ConfigError, match="group 'fast' has anthropic/b: anthropic is not configured; set ANTHR"):
            planned(plan, "fast", seed=seed)


MIXED = {"fast": ["openai/a", ("mine/b", 0.5), ("yours/c", 0), "mine/d"], "bulk": ["yours/c"]}


def test_a_group_does_without_members_whose_provider_is_gone() -> None:
    plan = planner(OPENAI, YOURS, groups=MIXED, gone=["mine"])

    assert {planned(plan, "fast", seed=seed)[0] for seed in range(50)} == {"openai/a"}
    assert plan.left_out(["fast", "bulk", "openai/a", "fast"]) == [
        "mine/b was left out of model group 'fast': mine is no longer configured",
        "mine/d was left out of model group 'fast': mine is no longer configured",
    ]


def test_a_spare_takes_over_when_all_others_are_gone() -> None:
    plan = planner(YOURS, groups=MIXED, gone=["mine", "openai"])
    assert planned(plan, "fast") == ["yours/c"]


def test_a_group_of_which_nobody_is_left_is_an_error_or_fails_as_a_fallback_in_its_turn() -> None:
    plan = planner(OPENAI, groups=MIXED, gone=["yours"])

    with pytest.raises(ConfigError, match=r"'bulk' has no member left: the providers of yours/c were removed .* add"):
        planned(plan, "bulk")
    assert planned(plan, "openai/a", "bulk") == ["openai/a", "yours/c"]
    with pytest.raises(ConfigError, match="group 'fast' has mine/b: there is no provider named 'mine'"):
        planned(plan, "fast")


@table(
    ("models", "problem"),
    [
        ({"fast": []}, "at least one"),
        ({"fast": "openai/gpt-4o"}, "must be a list of"),
        ({"": ["openai/a"]}, "cannot be the name of a group"),
        ({"openai/fast": ["openai/a"]}, "means provider/model"),
        ({"fast": ["gpt-4o"]}, "'gpt-4o' must be written 'provider/model'"),
        ({"fast": ["openai/"]}, "must be written"),
        ({"fast": ["/a"]}, "must be written"),
        ({"fast": ["slow"], "slow": ["openai/a"]}, "groups do not nest"),
        ({"fast": ["slow"], "slow": ["fast"]}, "groups do not nest"),
        ({"fast": ["fast"]}, "groups do not nest"),
        ({"fast": [("openai/a", -1)]}, "weight of openai/a must be a number of 0 or more"),
        ({"fast": [("openai/a", float("nan"))]}, "must be a number"),
        ({"fast": [("openai/a", "1")]}, "neither 'provider/model' nor"),
        ({"fast": [("openai/a", 1, 2)]}, "neither"),
        ({"fast": [None]}, "neither"),
        ({"fast": None}, "must be a list of"),
        ({"fast": ModelGroup([])}, "at least one"),
        ({"fast": ModelGroup("openai/a")}, "must be a list of"),
        ({"fast": ModelGroup(["slow"]), "slow": ModelGroup(["openai/a"])}, "groups do not nest"),
        (
            {"fast": group_with("fastest")},
            "balance must be one of 'weighted', .*, 'two_choices', or an object .* not 'fastest'",
        ),
        ({"fast": group_with(len)}, "not this builtin_function"),
        ({"fast": group_with(ModelGroup)}, "not this type"),
    ],
)
def test_a_group_that_cannot_work_is_refused(models: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ModelGroups(models)


# --- balance


MEMBERS = ["openai/a", "mine/b", "yours/c"]


def chosen(plan: Planner, seed: int = 1, **loads: Load) -> str:
    places = plan.places("fast", (), rings={})
    failover = Failover(places, lambda member: loads.get(member.provider, Load()), Random(seed).random)
    candidate = failover.next(now=0.0, attempts_left=6)
    assert candidate is not None
    return candidate.provider


def of_group(balance: Any, members: Any = MEMBERS) -> Planner:
    return planner(OPENAI, MINE, YOURS, groups={"fast": ModelGroup(members, balance=balance)})


def test_the_least_busy_member_is_chosen() -> None:
    plan = of_group("least_busy")
    known = {"openai": Load(busy=2, capacity=10), "mine": Load(busy=1, capacity=10), "yours": Load(busy=1, capacity=4)}

    assert {chosen(plan, seed, **known) for seed in range(20)} == {"mine"}


def test_turns_are_taken_over_calls() -> None:
    plan = of_group("round_robin")

    assert [chosen(plan) for _ in range(6)] == ["openai", "mine", "yours"] * 2


@pytest.mark.parametrize("balance", ["weighted", "least_busy", "round_robin"])
def test_a_member_that_is_full_or_out_of_use_loses_to_one_that_is_not(balance: str) -> None:
    plan = of_group(balance)
    full, broken = Load(busy=1, capacity=1, is_full=True), Load(usable=False)

    assert {chosen(plan, seed, openai=full, mine=broken) for seed in range(20)} == {"yours"}
    # Waiting is better than asking one that is known to be broken.
    assert {chosen(plan, seed, openai=full, mine=broken, yours=broken) for seed in range(20)} == {"openai"}
    # If nobody can be asked, the one that can be asked soonest is.
    soon, later = Load(usable=False, ready_in=2), Load(usable=False, ready_in=9)
    assert {chosen(plan, seed, openai=later, mine=soon, yours=later) for seed in range(20)} == {"mine"}
    assert {chosen(plan, seed, openai=full, mine=full, yours=full) for seed in range(40)} == set(plan.providers)


def test_a_spare_takes_over_when_the_others_are_full() -> None:
    plan = of_group("weighted", [("openai/a", 1), ("mine/b", 0)])

    assert {chosen(plan, seed) for seed in range(20)} == {"openai"}
    assert chosen(plan, openai=Load(is_full=True)) == "mine"


def test_holders_of_a_bare_name_that_are_full_lose_too() -> None:
    plan = planner(MINE, YOURS)
    rings = {name: KeyPool(plan.providers[name], [key(name, models=["llama"])]) for name in ("mine", "yours")}
    loads = {"mine": Load(is_full=True), "yours": Load()}

    for seed in range(20):
        places = plan.places("llama", (), rings=rings)
        failover = Failover(places, lambda holder: loads[holder.provider], Random(seed).random)
        candidate = failover.next(now=0.0, attempts_left=6)
        assert candidate is not None
        assert candidate.provider == "yours"


class Cheapest:
    """A policy of a user."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[Any] = []

    def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
        self.seen.append((candidates.pairs, snapshot))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return candidates.items[answer] if isinstance(answer, int) else answer


def test_a_policy_of_ones_own_sees_members_weights_and_loads() -> None:
    policy = Cheapest(2)
    busy = Load(busy=3, capacity=4)

    assert chosen(of_group(policy), mine=busy, openai=Load(is_full=True)) == "yours"
    ((pairs, snapshot),) = policy.seen
    assert [(member.name, weight) for member, weight in pairs] == [(name, 1.0) for name in MEMBERS]
    assert snapshot.excluded == {"openai/a"}
    assert snapshot.loads["mine/b"] is busy


@table(
    ("answer", "problem"),
    [
        (None, "'fast', Cheapest, failed: it chose no member, or one that is excluded"),
        (0, "one that is excluded"),
        (Candidate("mine", "other"), "one that is excluded"),
        (RuntimeError("sk-secret"), "failed: it raised RuntimeError$"),
    ],
)
def test_a_policy_that_fails_is_told_without_its_words(answer: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        chosen(of_group(Cheapest(answer)), openai=Load(is_full=True))


def test_a_policys_own_error_stays_as_it_is() -> None:
    with pytest.raises(InvalidRequestError, match="none of these"):
        chosen(of_group(Cheapest(InvalidRequestError("none of these"))))
