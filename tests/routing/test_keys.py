from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import attrs
import pytest

from bifrost.account import Key
from bifrost.config import KeyPoolConfig
from bifrost.errors import ConfigError, CredentialsExhaustedError, MissingKeyError, RateLimitError
from bifrost.providers.catalog import CATALOG
from bifrost.routing.balance import LeastBusy, RoundRobin, Snapshot, TwoChoices, Weighted, WeightedRandom
from bifrost.routing.key_health import KeyHealth, KeyStates
from bifrost.routing.keys import KeyPool, KeySelection, balance_of
from bifrost.routing.retry import SMALLEST_ATTEMPT
from bifrost.wire.auth import NoAuth
from tests.canary import CANARY
from tests.table import table

OPENAI = CATALOG["openai"]


def key(name: str, **more: Any) -> Key:
    return Key(name=name, value=f"sk-{name}", **more)


def ring(*keys: Key) -> KeyPool:
    return KeyPool(OPENAI, keys)


def chosen(keys: KeyPool, model: str, **given: Any) -> set[str]:
    random = Random(7).random
    return {keys.choose(model, random=random, **given).name for _ in range(200)}


def test_keys_share_the_calls_by_weight() -> None:
    keys, random = ring(key("a", weight=3), key("b", weight=1), key("spare", weight=0)), Random(1).random

    counts = Counter(keys.choose("gpt-4o", random=random).name for _ in range(10_000))

    assert set(counts) == {"a", "b"}
    assert 7_300 < counts["a"] < 7_700


def test_a_switched_off_key_is_not_used() -> None:
    assert chosen(ring(key("on"), key("off", enabled=False)), "gpt-4o") == {"on"}


@table(
    ("lists", "allowed", "refused"),
    [
        ({}, ["gpt-4o", "anything"], []),
        ({"models": None}, ["gpt-4o"], []),
        ({"models": []}, [], ["gpt-4o", "anything"]),
        ({"models": ["gpt-4o"]}, ["gpt-4o"], ["gpt-4o-mini", "GPT-4o"]),
        ({"models": ["gpt-4*"]}, ["gpt-4", "gpt-4o-mini"], ["gpt-5", "my-gpt-4o"]),
        ({"models": ["*"]}, ["gpt-4o"], []),
        ({"deny": ["gpt-4o"]}, ["gpt-4o-mini"], ["gpt-4o"]),
        ({"deny": ["o1*"]}, ["gpt-4o"], ["o1", "o1-mini"]),
        ({"models": ["gpt-4*"], "deny": ["gpt-4o"]}, ["gpt-4o-mini"], ["gpt-4o"]),
        ({"models": ["gpt-4o"], "deny": ["*"]}, [], ["gpt-4o"]),
    ],
)
def test_lists_say_which_models_a_key_serves(lists: dict[str, Any], allowed: list[str], refused: list[str]) -> None:
    keys = ring(key("a", **lists))

    for model in allowed:
        assert chosen(keys, model) == {"a"}
    for model in refused:
        with pytest.raises(MissingKeyError, match=f"no key of openai may serve {model}.*: a"):
            chosen(keys, model)


def test_an_alias_gives_the_providers_own_name() -> None:
    keys = ring(key("a", aliases={"Fast": "my-deployment"}))

    for asked in ("fast", "FAST", "Fast"):
        assert keys.choose(asked, random=lambda: 0.0).model == "my-deployment"
    assert keys.choose("gpt-4o", random=lambda: 0.0).model == "gpt-4o"


def test_each_key_has_its_own_aliases() -> None:
    keys = ring(key("a", aliases={"gpt-4o": "east"}), key("b", aliases={"gpt-4o": "west"}), key("c"))

    found = {keys.choose("gpt-4o", random=Random(seed).random) for seed in range(50)}

    assert {(choice.name, choice.model) for choice in found} == {("a", "east"), ("b", "west"), ("c", "gpt-4o")}


def test_lists_speak_of_the_name_that_calls_use() -> None:
    keys = ring(key("a", models=["fast"], aliases={"fast": "gpt-4o-mini"}, deny=["gpt-4o-mini"]))

    assert keys.choose("fast", random=lambda: 0.0).model == "gpt-4o-mini"
    with pytest.raises(MissingKeyError):
        keys.choose("gpt-4o-mini", random=lambda: 0.0)


def test_an_empty_model_is_a_question_to_the_provider() -> None:
    assert chosen(ring(key("a", models=["gpt-4o"]), key("b", enabled=False)), "") == {"a"}


def test_a_key_is_pinned_by_its_name_or_id() -> None:
    keys = ring(key("a"), key("b", id="id-of-b", weight=0))

    assert chosen(keys, "gpt-4o", pin="b") == {"b"}
    assert chosen(keys, "gpt-4o", pin="id-of-b") == {"b"}
    assert chosen(keys, "gpt-4o", pin="a") == {"a"}


def test_a_pinned_key_that_is_not_there_is_an_error_with_names() -> None:
    keys = ring(key("a"), key("b", models=["o1"]), key("c", enabled=False))

    with pytest.raises(MissingKeyError, match=r"no key of the name or id in key=; the names are: a, b, c"):
        keys.choose("gpt-4o", random=lambda: 0.0, pin="z")
    with pytest.raises(MissingKeyError) as caught:
        keys.choose("gpt-4o", random=lambda: 0.0, pin=CANARY)  # its value, taken for its name
    assert CANARY not in str(caught.value)
    for pin in ("b", "c"):
        with pytest.raises(MissingKeyError, match=f"key '{pin}' of openai may not serve gpt-4o"):
            keys.choose("gpt-4o", random=lambda: 0.0, pin=pin)


def test_excluded_keys_are_left_out() -> None:
    keys = ring(key("a"), key("b"), key("spare", weight=0))

    assert chosen(keys, "gpt-4o", excluded={"a"}) == {"b"}
    assert chosen(keys, "gpt-4o", excluded={"a", "b"}) == {"spare"}


@pytest.mark.parametrize(("pin", "names"), [(None, "a, b"), ("b", "b")])
def test_when_all_are_excluded_the_error_names_them(pin: str | None, names: str) -> None:
    keys = ring(key("a"), key("b"), key("c", models=["o1"]))

    with pytest.raises(CredentialsExhaustedError, match=f"no usable key for gpt-4o left: {names}; add") as caught:
        keys.choose("gpt-4o", random=lambda: 0.0, excluded={"a", "b"}, pin=pin)
    assert (caught.value.provider, caught.value.model) == ("openai", "gpt-4o")


def test_another_key_is_one_that_serves_the_model_and_is_not_excluded() -> None:
    keys = ring(key("a"), key("b"), key("c", models=["o1"]))

    assert keys.has_other("gpt-4o", excluded={"a"})
    assert not keys.has_other("gpt-4o", excluded={"a", "b"})
    assert keys.has_other("o1", excluded={"a", "b"})
    assert not keys.has_other("gpt-4o", excluded={"a"}, pin="b")


def test_a_provider_without_keys_names_the_variable_to_set() -> None:
    with pytest.raises(MissingKeyError, match="openai has no key; set OPENAI_API_KEY, or add a key to the account"):
        ring().choose("gpt-4o", random=lambda: 0.0)


def test_switched_off_keys_are_named() -> None:
    with pytest.raises(MissingKeyError, match="every key of openai is switched off: a, b"):
        ring(key("a", enabled=False), key("b", enabled=False)).choose("gpt-4o", random=lambda: 0.0)


def test_a_provider_that_needs_no_key_has_none() -> None:
    keys = KeyPool(attrs.evolve(OPENAI, auth=NoAuth()), [])

    assert keys.choose("llama", random=lambda: 0.0) == KeySelection(None, "llama")
    assert keys.choose("llama", random=lambda: 0.0).name == ""
    assert not keys.has_other("llama", excluded=())


def test_a_provider_without_a_key_is_asked_about_its_keys_like_any_other() -> None:
    keys = KeyPool(attrs.evolve(OPENAI, auth=NoAuth()), [])

    assert keys.outlook("llama") == [(KeySelection(None, "llama"), 1.0)]
    assert keys.ready_in("llama", excluded=()) is None
    assert keys.has_other("llama", excluded=(), pin="z") is False
    with pytest.raises(MissingKeyError, match="the names are: none"):
        keys.choose("llama", random=lambda: 0.0, pin="z")
    with pytest.raises(CredentialsExhaustedError, match="openai has no usable key for llama left"):
        keys.choose("llama", random=lambda: 0.0, excluded={""})


def test_a_key_that_is_switched_off_does_not_hide_that_another_may_not_serve_the_model() -> None:
    with pytest.raises(
        MissingKeyError, match="no key of openai may serve gpt-4o; add it to the models of one of these: a, b"
    ):
        ring(key("a", models=["o1"]), key("b", enabled=False)).choose("gpt-4o", random=lambda: 0.0)


def test_a_provider_that_needs_no_key_may_have_one() -> None:
    keys = KeyPool(attrs.evolve(OPENAI, auth=NoAuth()), [key("a", models=["llama"])])

    assert keys.choose("llama", random=lambda: 0.0).name == "a"
    with pytest.raises(MissingKeyError):
        keys.choose("other", random=lambda: 0.0)


def test_the_weight_of_a_model_is_that_of_the_keys_that_speak_of_it() -> None:
    keys = ring(
        key("all"),
        key("listed", models=["gpt-4o"], weight=2),
        key("family", models=["gpt-*"], weight=0.5),
        key("every", models=["*"], weight=100),
        key("alias", aliases={"GPT-4o": "x"}, weight=0.25),
        key("off", models=["gpt-4o"], weight=100, enabled=False),
        key("denied", models=["gpt-*"], deny=["gpt-4o"], weight=100),
    )

    assert keys.weight_of("gpt-4o") == 2.75
    assert keys.weight_of("gpt-5") == 100.5
    assert keys.weight_of("o1") is None
    assert set(keys.models()) == {"gpt-4o", "GPT-4o"}


def test_what_is_kept_of_model_names_is_bounded() -> None:
    keys = ring(key("a", models=["model-*"]))

    for number in range(2_000):
        assert keys.choose(f"model-{number}", random=lambda: 0.0).name == "a"
        assert keys.weight_of(f"model-{number}") == 1.0
    assert 0 < len(keys.by_model) <= 500
    assert 0 < len(keys._weights) <= 500


def test_a_policy_of_ones_own_chooses() -> None:
    class Last:
        def choose(self, candidates: Weighted[Any], snapshot: Snapshot, random: Any) -> Any:
            left = [choice for choice in candidates.items if choice.name not in snapshot.excluded]
            return left[-1] if left else None

    keys = KeyPool(OPENAI, [key("a"), key("b"), key("c")], balance=Last())

    assert chosen(keys, "gpt-4o") == {"c"}
    assert chosen(keys, "gpt-4o", excluded={"c"}) == {"b"}


# --- keys that are parked or dead


class Pool:
    """A ring with the states of its keys."""

    def __init__(self, *keys: Key, **config: Any) -> None:
        self.states = KeyStates(KeyPoolConfig(**config))
        self.keys = {key.name: key for key in keys}
        self.ring = KeyPool(OPENAI, keys, states=self.states)

    def health(self, name: str) -> KeyHealth:
        return self.states.of(self.keys[name])

    def park(self, name: str, wait: float | None, *, chance: float = 1.0) -> None:
        health = self.health(name)
        use = health.begin()
        health.throttled(use, wait=wait, now=0.0, random=lambda: chance)
        health.in_flight -= 1

    def kill(self, name: str, reason: str = "credential") -> None:
        health = self.health(name)
        use = health.begin()
        health.refused(use, reason, now=0.0)
        health.in_flight -= 1

    def choose(self, *, now: float = 0.0, **given: Any) -> KeySelection:
        return self.ring.choose("gpt-4o", random=lambda: 0.0, now=now, **given)

    def chosen(self, **given: Any) -> set[str]:
        return chosen(self.ring, "gpt-4o", **given)


def test_parked_and_dead_keys_are_left_out() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    pool.park("a", 20.0)
    pool.kill("b")

    assert pool.chosen(now=0.0) == {"c"}
    assert pool.chosen(now=20.0) == {"a", "c"}
    assert pool.chosen(now=600.0) == {"a", "b", "c"}


def test_an_excluded_key_stays_excluded_when_others_are_parked() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    pool.park("a", 20.0)

    assert pool.chosen(excluded={"b"}) == {"c"}


def test_when_all_are_parked_the_first_that_is_ready_is_told() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    pool.park("a", 20.0)
    pool.park("b", 12.0)
    pool.kill("c")

    choice = pool.choose(now=2.0)
    assert (choice.name, choice.ready_at) == ("b", 12.0)
    for _ in range(127):
        pool.health("b").stand_in_line()
    choice = pool.choose(now=2.0)
    assert (choice.name, choice.ready_at) == ("b", 19.0)
    for _ in range(873):
        pool.health("b").stand_in_line()
    choice = pool.choose(now=2.0)
    assert (choice.name, choice.ready_at) == ("a", 20.0)


def test_a_guess_of_ours_never_takes_the_last_usable_key_out() -> None:
    single = Pool(key("a"))
    single.park("a", None)
    assert (single.choose().name, single.choose().ready_at) == ("a", None)

    pool = Pool(key("a"), key("b"), key("c"), key("d"), park_base=60.0)
    pool.park("a", None, chance=0.9)
    pool.park("b", None, chance=0.8)
    pool.park("c", 1.0)
    assert pool.chosen() == {"d"}
    pool.kill("d")
    assert (pool.choose().name, pool.choose().ready_at) == ("b", None)
    assert pool.choose(excluded={"b"}).name == "a"
    assert pool.choose(excluded={"a", "b"}).ready_at == 1.0


def test_when_all_are_dead_the_error_names_them_and_why() -> None:
    pool = Pool(key("a"), key("b"))
    pool.kill("a")
    pool.kill("b", "quota")

    with pytest.raises(
        CredentialsExhaustedError, match=r"left: a \(credential\), b \(quota\); add another key"
    ) as caught:
        pool.choose(now=599.0)
    assert "sk-" not in str(caught.value)
    assert pool.choose(now=600.0).name in ("a", "b")


def test_while_a_dead_key_is_probed_it_serves_nobody_else() -> None:
    pool = Pool(key("a"))
    pool.kill("a")
    pool.health("a").begin()

    with pytest.raises(CredentialsExhaustedError):
        pool.choose(now=600.0)


def test_a_pinned_key_is_waited_for_and_no_other_taken() -> None:
    pool = Pool(key("a"), key("b"))
    pool.park("b", 20.0)
    assert (pool.choose(pin="b").name, pool.choose(pin="b").ready_at) == ("b", 20.0)

    pool.kill("a")
    with pytest.raises(CredentialsExhaustedError, match=r"left: a \(credential\);"):
        pool.choose(pin="a")


def test_another_key_is_one_that_is_ready() -> None:
    pool = Pool(key("a"), key("b"))
    pool.park("b", 20.0)

    assert not pool.ring.has_other("gpt-4o", excluded={"a"}, now=19.0)
    assert pool.ring.has_other("gpt-4o", excluded={"a"}, now=20.0)


def test_when_the_first_key_is_ready_is_told() -> None:
    pool = Pool(key("a"), key("b"), key("c"), key("d", models=["o1"]))
    assert pool.ring.ready_in("gpt-4o", excluded=()) == 0.0
    pool.park("a", 20.0)
    pool.park("b", 12.0)
    pool.kill("c")

    assert pool.ring.ready_in("gpt-4o", excluded=(), now=2.0) == 10.0
    assert pool.ring.ready_in("gpt-4o", excluded={"b"}, now=2.0) == 18.0
    assert pool.ring.ready_in("gpt-4o", excluded=(), now=2.0, pin="a") == 18.0
    assert pool.ring.ready_in("gpt-4o", excluded={"a", "b"}, now=2.0) is None
    assert pool.ring.ready_in("gpt-4o", excluded={"a", "b"}, now=600.0) == 0.0


def test_rings_share_the_states_of_keys_that_are_the_same() -> None:
    pool = Pool(key("a"), key("b"))
    pool.kill("a")

    again = KeyPool(OPENAI, [key("a"), key("b")], states=pool.states)
    changed = KeyPool(OPENAI, [Key(name="a", value="sk-new"), key("b")], states=pool.states)
    assert chosen(again, "gpt-4o") == {"b"}
    assert chosen(changed, "gpt-4o") == {"a", "b"}


def test_how_the_keys_stand_can_be_seen() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    pool.park("a", 20.0)
    pool.kill("b", "quota")
    pool.health("c").begin()

    seen = [(each.name, each.state, each.until, each.reason, each.in_flight) for each in pool.ring.snapshot(1.0)]
    assert seen == [
        ("a", "cooling_down", 20.0, "throttled", 0),
        ("b", "dead", 600.0, "quota", 0),
        ("c", "ready", None, None, 1),
    ]
    assert "sk-" not in repr(pool.ring.snapshot(1.0))


def test_a_limit_may_be_for_one_model_alone() -> None:
    pool = Pool(key("a"), key("b", models=["o1"]), per_model=True)
    limited = pool.choose().health
    assert limited is not None
    limited.throttled(limited.begin(), wait=20.0, now=0.0, random=lambda: 0.0)

    assert pool.choose().ready_at == 20.0
    assert chosen(pool.ring, "o1") == {"a", "b"}
    seen = [(each.name, each.model, each.state) for each in pool.ring.snapshot(0.0)]
    assert seen == [("a", "gpt-4o", "cooling_down"), ("a", "o1", "ready"), ("b", "o1", "ready")]


# --- sessions and policies


def test_the_calls_of_a_session_share_a_key_while_it_is_ready() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    (name,) = pool.chosen(session="anna")
    pool.park(name, 20.0)

    (other,) = pool.chosen(session="anna", now=0.0)
    assert other != name
    assert pool.chosen(session="anna", now=20.0) == {name}
    assert {*map(pool.chosen(session="anna").__contains__, "abc")} == {True, False}
    assert {next(iter(pool.chosen(session=f"user {number}"))) for number in range(40)} == {"a", "b", "c"}


@table(
    ("name", "policy"),
    [
        ("weighted", WeightedRandom),
        ("round_robin", RoundRobin),
        ("least_busy", LeastBusy),
        ("two_choices", TwoChoices),
    ],
)
def test_how_keys_are_chosen_is_a_setting(name: Any, policy: type) -> None:
    assert type(balance_of(KeyPoolConfig(choose=name))) is policy


def test_a_policy_sees_what_is_under_way() -> None:
    pool = Pool(key("a"), key("b"), choose="least_busy")
    pool.health("a").begin()

    assert pool.chosen() == {"b"}


def test_a_policy_of_ones_own_is_a_setting() -> None:
    class Last:
        def choose(self, candidates: Weighted[Any], snapshot: Snapshot, random: Any) -> Any:
            return candidates.items[-1]

    policy = Last()
    assert balance_of(KeyPoolConfig(policy=policy)) is policy
    with pytest.raises(ConfigError, match="policy must have a `choose`"):
        KeyPoolConfig(policy=lambda candidates: candidates[0])


# --- how long a call waits for a key


def test_a_call_waits_until_its_key_is_ready() -> None:
    pool = Pool(key("a"))
    pool.park("a", 20.0)
    turn = pool.choose()
    assert pool.ring.waits(turn, now=2.0, left=100.0, fallback_behind=False) == 18.0
    # Its turn has come, or it may go at once.
    assert pool.ring.waits(turn, now=25.0, left=100.0, fallback_behind=False) == 0.0
    assert pool.ring.waits(KeySelection(pool.keys["a"], "gpt-4o"), now=2.0, left=100.0, fallback_behind=False) == 0.0


def test_a_call_waits_if_its_time_and_the_longest_wait_just_allow_it() -> None:
    pool = Pool(key("a"), longest_wait=20.0)
    pool.park("a", 20.0)
    turn = pool.choose()
    assert pool.ring.waits(turn, now=0.0, left=20.0 + SMALLEST_ATTEMPT, fallback_behind=False) == 20.0
    pool.park("a", 20.5)
    with pytest.raises(RateLimitError):
        pool.ring.waits(pool.choose(), now=0.0, left=1000.0, fallback_behind=False)


@pytest.mark.parametrize(("left", "fallback_behind"), [(1000.0, True), (20.0, False)])
def test_a_call_that_has_a_fallback_or_no_time_does_not_wait_and_is_told_how_long_it_would_be(
    left: float, fallback_behind: bool
) -> None:
    pool = Pool(key("a", aliases={"gpt-4o": "east"}))
    pool.park("a", 20.0)
    with pytest.raises(
        RateLimitError, match=r"every key of openai for this model is cooling down; a is ready in 20\.0 s"
    ) as caught:
        pool.ring.waits(pool.choose(), now=0.0, left=left, fallback_behind=fallback_behind)
    error = caught.value
    assert (error.provider, error.model, error.key, error.retry_after) == ("openai", "east", "a", 20.0)


# --- what is foreseen


def outlook(keys: KeyPool, **given: Any) -> dict[str, float]:
    return {choice.name: share for choice, share in keys.outlook("gpt-4o", **given)}


def test_the_share_of_each_key_is_foreseen() -> None:
    keys = ring(key("a", weight=3), key("b", weight=1), key("spare", weight=0), key("c", models=["o1"]))
    assert outlook(keys) == {"a": 0.75, "b": 0.25, "spare": 0.0}
    assert outlook(keys, pin="b") == {"b": 1.0}
    with pytest.raises(MissingKeyError):
        keys.outlook("gpt-4o", pin="c")


def test_a_key_that_rests_has_no_share_until_it_is_ready() -> None:
    pool = Pool(key("a"), key("b"))
    pool.park("a", 20.0)
    assert outlook(pool.ring) == {"a": 0.0, "b": 1.0}
    assert outlook(pool.ring, now=20.0) == {"a": 0.5, "b": 0.5}


def test_the_key_of_a_session_is_foreseen() -> None:
    pool = Pool(key("a"), key("b"), key("c"))
    for number in range(20):
        session = f"user {number}"
        (name,) = pool.chosen(session=session)
        assert outlook(pool.ring, session=session) == {"a": 0.0, "b": 0.0, "c": 0.0, name: 1.0}
    for name in ("a", "b", "c"):
        pool.kill(name)
    assert outlook(pool.ring, session="anna") == {"a": 0.0, "b": 0.0, "c": 0.0}


def test_what_a_policy_would_choose_is_foreseen_with_what_is_under_way() -> None:
    pool = Pool(key("a"), key("b"), choose="least_busy")
    pool.health("a").begin()
    assert outlook(pool.ring) == {"a": 0.0, "b": 1.0}


def test_of_a_policy_that_foresees_nothing_the_weights_are_told() -> None:
    class Last:
        def choose(self, candidates: Weighted[Any], snapshot: Snapshot, random: Any) -> Any:
            return candidates.items[-1]

    keys = KeyPool(OPENAI, [key("a", weight=3), key("b", weight=1)], balance=Last())
    assert outlook(keys) == {"a": 0.75, "b": 0.25}


def test_the_keys_that_may_not_serve_a_model_are_told_with_the_reason() -> None:
    keys = ring(key("a"), key("b", models=["o1"]), key("c", enabled=False), key("d", deny=["*"], enabled=False))
    assert keys.left_out("gpt-4o") == {
        "b": "its lists leave the model out",
        "c": "switched off",
        "d": "switched off",
    }
