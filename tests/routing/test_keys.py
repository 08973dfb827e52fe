from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import attrs
import pytest

from bifrost.account import Key
from bifrost.errors import CredentialsExhaustedError, MissingKeyError
from bifrost.providers.catalog import CATALOG
from bifrost.routing.balance import Snapshot, Weighted
from bifrost.routing.keys import Choice, KeyRing
from bifrost.wire.auth import NoAuth

OPENAI = CATALOG["openai"]


def key(name: str, **more: Any) -> Key:
    return Key(name=name, value=f"sk-{name}", **more)


def ring(*keys: Key) -> KeyRing:
    return KeyRing(OPENAI, keys)


def chosen(keys: KeyRing, model: str, **given: Any) -> set[str]:
    random = Random(7).random
    return {keys.choose(model, random=random, **given).name for _ in range(200)}


def test_keys_share_the_calls_by_weight() -> None:
    keys, random = ring(key("a", weight=3), key("b", weight=1), key("spare", weight=0)), Random(1).random

    counts = Counter(keys.choose("gpt-4o", random=random).name for _ in range(10_000))

    assert set(counts) == {"a", "b"}
    assert 7_300 < counts["a"] < 7_700


def test_a_switched_off_key_is_not_used() -> None:
    assert chosen(ring(key("on"), key("off", enabled=False)), "gpt-4o") == {"on"}


@pytest.mark.parametrize(
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

    with pytest.raises(MissingKeyError, match=r"no key with the name or id 'z'; it has: a, b, c"):
        keys.choose("gpt-4o", random=lambda: 0.0, pin="z")
    for pin in ("b", "c"):
        with pytest.raises(MissingKeyError, match=f"key '{pin}' of openai may not serve gpt-4o"):
            keys.choose("gpt-4o", random=lambda: 0.0, pin=pin)


def test_excluded_keys_are_left_out() -> None:
    keys = ring(key("a"), key("b"), key("spare", weight=0))

    assert chosen(keys, "gpt-4o", excluded={"a"}) == {"b"}
    assert chosen(keys, "gpt-4o", excluded={"a", "b"}) == {"spare"}


@pytest.mark.parametrize("pin", [None, "b"])
def test_when_all_are_excluded_the_error_names_them(pin: str | None) -> None:
    keys = ring(key("a"), key("b"), key("c", models=["o1"]))

    with pytest.raises(CredentialsExhaustedError, match="gpt-4o is out of use for this call: a, b") as caught:
        keys.choose("gpt-4o", random=lambda: 0.0, excluded={"a", "b"}, pin=pin)
    assert (caught.value.provider, caught.value.model) == ("openai", "gpt-4o")


def test_another_key_is_one_that_serves_the_model_and_is_not_excluded() -> None:
    keys = ring(key("a"), key("b"), key("c", models=["o1"]))

    assert keys.has_other("gpt-4o", excluded={"a"})
    assert not keys.has_other("gpt-4o", excluded={"a", "b"})
    assert keys.has_other("o1", excluded={"a", "b"})
    assert not keys.has_other("gpt-4o", excluded={"a"}, pin="b")


def test_a_provider_without_keys_names_the_variable_to_set() -> None:
    with pytest.raises(MissingKeyError, match="openai has no key; set OPENAI_API_KEY, or give a key to the account"):
        ring().choose("gpt-4o", random=lambda: 0.0)


def test_switched_off_keys_are_named() -> None:
    with pytest.raises(MissingKeyError, match="every key of openai is switched off: a, b"):
        ring(key("a", enabled=False), key("b", enabled=False)).choose("gpt-4o", random=lambda: 0.0)


def test_a_provider_that_needs_no_key_has_none() -> None:
    keys = KeyRing(attrs.evolve(OPENAI, auth=NoAuth()), [])

    assert keys.choose("llama", random=lambda: 0.0) == Choice(None, "llama")
    assert keys.choose("llama", random=lambda: 0.0).name == ""
    assert not keys.has_other("llama", excluded=())


def test_a_provider_that_needs_no_key_may_have_one() -> None:
    keys = KeyRing(attrs.evolve(OPENAI, auth=NoAuth()), [key("a", models=["llama"])])

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
    kept = [table for table in vars(keys).values() if isinstance(table, dict)]
    assert [len(table) <= 500 for table in kept] == [True, True]


def test_a_policy_of_ones_own_chooses() -> None:
    class Last:
        def choose(self, candidates: Weighted[Any], snapshot: Snapshot, random: Any) -> Any:
            left = [choice for choice in candidates.items if choice.name not in snapshot.excluded]
            return left[-1] if left else None

    keys = KeyRing(OPENAI, [key("a"), key("b"), key("c")], balance=Last())

    assert chosen(keys, "gpt-4o") == {"c"}
    assert chosen(keys, "gpt-4o", excluded={"c"}) == {"b"}
