from __future__ import annotations

import copy
import os
import pickle
import traceback
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost import Bifrost
from bifrost.account import (
    Account,
    EnvAccount,
    Key,
    Secret,
    StaticAccount,
    account_failed,
    check_config,
    check_keys,
    check_providers,
    how_to_set,
    near,
)
from bifrost.config import ProviderConfig
from bifrost.errors import (
    AuthenticationError,
    BifrostError,
    ConfigError,
    InvalidKeyError,
    MissingKeyError,
    UnknownProviderError,
)
from bifrost.providers.catalog import CATALOG
from bifrost.providers.compatible import speaks_openai
from bifrost.wire.auth import HeaderAuth, NoAuth
from tests.table import table
from tests.wire.signing import sign

CANARY = "sk-CANARY-0123456789"

OPENAI = CATALOG["openai"]
MINE = attrs.evolve(OPENAI, name="mine", key_variables=(), base_url_variable=None)
LOCAL = attrs.evolve(OPENAI, name="local", auth=NoAuth(), key_variables=(), base_url_variable="LOCAL_BASE_URL")


def sent(key: Key) -> bytes:
    """Give what a provider would receive as this key."""
    headers: dict[str, str] = {}
    sign(headers, HeaderAuth(header="x"), key.value)
    return headers["x"].encode()


def everything_shown_of(error: BaseException) -> str:
    """Give all that a tool can print of an error, but for the frame of the test, which knows the secret."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format()) + repr(error)


# --- keys


def test_a_key_is_known_by_its_name() -> None:
    key = Key(name="main", value=f"  {CANARY}\n")

    assert (key.name, key.id, key.weight, key.models, key.deny, key.aliases, key.enabled, key.settings) == (
        ("main", "main", 1.0, None, (), {}, True, None)
    )
    assert sent(key) == CANARY.encode()


def test_keys_are_equal_by_value() -> None:
    key = Key(name="main", value=CANARY, aliases={"a": "b"})

    assert key == Key(name="main", value=Secret(CANARY), aliases={"a": "b"})
    assert key != Key(name="main", value="another", aliases={"a": "b"})
    assert key != Key(name="main", value=CANARY, aliases={"a": "c"})
    assert len({key, Key(name="main", value=CANARY, aliases={"a": "b"})}) == 1


def test_a_key_can_be_changed_by_making_another() -> None:
    key = attrs.evolve(Key(name="main", value=CANARY, id="1"), weight=2.0)

    assert (key.weight, key.id, sent(key)) == (2.0, "1", CANARY.encode())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(key, "weight", 3.0)  # noqa: B010 - a checker would refuse the plain form


def test_a_key_shows_its_value_nowhere() -> None:
    key = Key(name="main", value=CANARY, settings={"secret": CANARY})

    shown = [repr(key), str(key), f"{key}", f"{key!s:>10}", repr(copy.copy(key)), repr([key]), repr({"k": key})]
    shown += [repr(attrs.asdict(key)["value"]), str(attrs.astuple(key)[1]), repr(copy.deepcopy(key).value)]
    assert all("CANARY" not in text for text in shown)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        msgspec.json.encode(key)


BAD_VALUES = ["", "   ", f"{CANARY}\nX", f"a {CANARY}", f"{CANARY}\0", f"{CANARY}é", CANARY * 1000, 7, None]


@table("value", BAD_VALUES)
def test_a_value_that_cannot_be_sent_is_refused_by_name_and_shown_nowhere(value: Any) -> None:
    with pytest.raises(InvalidKeyError, match="key 'main' cannot be used") as caught:
        Key(name="main", value=value)

    assert caught.value.key == "main"
    assert "CANARY" not in everything_shown_of(caught.value)
    assert caught.value.__context__ is None


@given(value=st.text(max_size=40))
def test_any_text_is_a_key_or_a_typed_error(value: str) -> None:
    try:
        key = Key(name="main", value=value)
    except InvalidKeyError:
        return
    assert sent(key) == value.strip().encode("ascii")
    assert "\n" not in sent(key).decode()


@table(
    ("fields", "problem"),
    [
        ({"name": ""}, "printable text"),
        ({"name": "a\nb"}, "printable text"),
        ({"name": None}, "printable text"),
        ({"weight": -1}, "weight of key 'main' must be a number of 0 or more"),
        ({"weight": float("nan")}, "must be a number"),
        ({"weight": float("inf")}, "must be a number"),
        ({"weight": 10**400}, "must be a number"),
        ({"weight": "1"}, "must be a number"),
        ({"models": "gpt-4o"}, "models must be a list of model names"),
        ({"deny": "gpt-4o"}, "deny must be a list of model names"),
        ({"models": [""]}, "not a model name"),
        ({"models": ["a*b"]}, "allowed at its end only"),
        ({"deny": ["*b"]}, "allowed at its end only"),
        ({"models": [None]}, "not a model name"),
        ({"aliases": {"": "x"}}, "empty or has surrounding"),
        ({"aliases": {"a": ""}}, "empty or has surrounding"),
        ({"aliases": {" a": "x"}}, "empty or has surrounding"),
        ({"aliases": {"a": "x "}}, "empty or has surrounding"),
        ({"aliases": {"a": None}}, "empty or has surrounding"),
        ({"aliases": {"Fast": "x", "fast": "y"}}, "twice in different case"),
        ({"aliases": {"fast": "x"}, "models": ["gpt-4o"]}, "prevent the use of the alias 'fast'"),
        ({"aliases": {"fast": "x"}, "deny": ["fast"]}, "prevent the use of the alias"),
        ({"aliases": ["fast"]}, "aliases must be a mapping"),
    ],
)
def test_a_key_that_cannot_work_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        Key(**{"name": "main", "value": CANARY, **fields})

    assert "CANARY" not in str(caught.value)


@table("weight", [0, 0.005, 1e-300, 1e300, 10**300])
def test_any_finite_weight_will_do(weight: float) -> None:
    assert Key(name="main", value=CANARY, weight=weight).weight == weight


# --- a static account


def test_a_key_is_given_by_its_value_alone_or_in_full_or_in_a_list() -> None:
    full = Key(name="full", value="sk-3", weight=2)
    account = StaticAccount(keys={"openai": "sk-1", "anthropic": ["sk-2", full, Secret("sk-4")]})

    assert [key.name for key in account.keys("openai", None)] == ["openai"]
    assert [key.name for key in account.keys("anthropic", None)] == ["anthropic-1", "full", "anthropic-3"]
    assert [sent(key) for key in account.keys("anthropic", None)] == [b"sk-2", b"sk-3", b"sk-4"]
    assert StaticAccount(keys={"openai": full}).keys("openai", None) == [full]


def test_the_same_list_comes_each_time() -> None:
    account = StaticAccount(keys={"openai": "sk-1"})

    assert account.keys("openai", None) is account.keys("openai", None)
    assert not account.keys("nobody", None)


def test_rows_of_ones_own_stand_beside_the_catalog() -> None:
    account = StaticAccount(keys={"mine": "sk-1", "openai": "sk-2"}, providers=[MINE])

    assert list(account.providers()) == [MINE, "openai"]


def test_a_row_of_ones_own_may_take_the_place_of_the_catalogs() -> None:
    row = attrs.evolve(OPENAI, base_url="https://elsewhere.example/v1")

    assert list(StaticAccount(keys={"openai": "sk-1"}, providers=[row]).providers()) == [row]


def test_a_provider_that_needs_no_key_is_configured_by_its_row() -> None:
    account = StaticAccount(providers=[LOCAL])

    assert list(account.providers()) == [LOCAL]
    assert account.keys("local", None) == []


def test_configs_are_given_by_provider() -> None:
    config = ProviderConfig(concurrency=3)
    account = StaticAccount(keys={"openai": "sk-1", "anthropic": "sk-2"}, configs={"openai": config})

    assert account.config("openai") is config
    assert account.config("anthropic") == ProviderConfig()


@table(
    ("given", "kind", "problem"),
    [
        ({"keys": {"opnai": "sk-1"}}, UnknownProviderError, "no provider named 'opnai'; did you mean 'openai'"),
        (
            {"configs": {"zzz": ProviderConfig()}},
            UnknownProviderError,
            "named 'zzz'; known providers: anthropic, azure",
        ),
        ({"keys": {"mines": "sk-1"}, "providers": [MINE]}, UnknownProviderError, "did you mean 'mine'"),
        ({"keys": {"openai": []}}, MissingKeyError, "openai has no key"),
        ({"configs": {"openai": ProviderConfig()}}, MissingKeyError, "openai has no key"),
        ({"providers": [MINE]}, MissingKeyError, "mine has no key"),
        ({"keys": {"openai": ""}}, InvalidKeyError, "key 'openai' cannot be used: it is empty"),
        ({"keys": {"openai": ["sk-1", ""]}}, InvalidKeyError, "key 'openai-2' cannot be used"),
        ({"keys": {"openai": None}}, ConfigError, "is a NoneType; it must be a key's value"),
        ({"keys": {"openai": [None]}}, InvalidKeyError, "it is not text"),
        (
            {"keys": {"openai": [Key(name="a", value="x"), Key(name="a", value="y")]}},
            ConfigError,
            "two keys named 'a'",
        ),
        ({"keys": {"openai": "sk-1"}, "configs": {"openai": {}}}, ConfigError, "config.* returned a dict"),
        ({"keys": {"openai": "sk-1"}, "providers": ["mine"]}, ConfigError, "providers contains a str"),
    ],
)
def test_a_static_account_that_cannot_work_is_refused(
    given: dict[str, Any], kind: type[BifrostError], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        StaticAccount(**given)


@pytest.mark.parametrize("keys", [f"{CANARY}\nX", [f"{CANARY}-other", f"{CANARY}\nX"]])
def test_a_refused_key_shows_neither_itself_nor_the_others(keys: Any) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        StaticAccount(keys={"anthropic": CANARY, "openai": keys})

    assert "CANARY" not in everything_shown_of(caught.value)


def test_an_account_shows_its_providers_only() -> None:
    account = StaticAccount(keys={"openai": CANARY, "mine": CANARY}, providers=[MINE])

    assert repr(account) == "StaticAccount(openai, mine)"
    assert repr(EnvAccount({"OPENAI_API_KEY": CANARY})) == "EnvAccount()"


# --- the environment's account


def test_the_environment_configures_the_providers_whose_key_it_has() -> None:
    account = EnvAccount({"OPENAI_API_KEY": CANARY, "ANTHROPIC_API_KEY": "  ", "OTHER": "x"})

    assert list(account.providers()) == ["openai"]
    assert [(key.name, sent(key)) for key in account.keys("openai", None)] == [("OPENAI_API_KEY", CANARY.encode())]
    assert account.keys("anthropic", None) == []
    assert account.keys("nobody", None) == []
    assert account.keys("openai", None) is account.keys("openai", None)


def test_the_real_environment_is_read_when_first_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    account = EnvAccount()
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)

    assert list(account.providers()) == ["anthropic"]
    assert os.environ["ANTHROPIC_API_KEY"] == CANARY


def test_the_first_variable_that_is_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    row = attrs.evolve(OPENAI, name="two", key_variables=("FIRST_KEY", "SECOND_KEY"))
    monkeypatch.setattr("bifrost.account.CATALOG", {"two": row, "local": LOCAL})

    assert EnvAccount({"SECOND_KEY": "sk-2"}).keys("two", None)[0].name == "SECOND_KEY"
    assert EnvAccount({"FIRST_KEY": "sk-1", "SECOND_KEY": "sk-2"}).keys("two", None)[0].name == "FIRST_KEY"
    assert list(EnvAccount({"SECOND_KEY": "sk-2"}).providers()) == ["two"]


def test_a_provider_without_keys_is_configured_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bifrost.account.CATALOG", {"openai": OPENAI, "local": LOCAL})

    account = EnvAccount({"LOCAL_BASE_URL": "http://localhost:1234/v1", "OPENAI_BASE_URL": "https://a.example"})
    assert list(account.providers()) == ["local"]
    assert account.config("local").base_url == "http://localhost:1234/v1"
    assert list(EnvAccount({}).providers()) == []


OTHER_KEYS = [
    ("azure", "AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
    ("together", "TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
    ("perplexity", "PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
    ("huggingface", "HF_TOKEN", "HUGGINGFACE_API_KEY"),
]


@table(("provider", "own", "other"), OTHER_KEYS)
def test_a_key_is_found_under_the_name_that_other_tools_use(provider: str, own: str, other: str) -> None:
    account = EnvAccount({other: CANARY})
    assert list(account.providers()) == [provider]
    assert [(key.name, sent(key)) for key in account.keys(provider, None)] == [(other, CANARY.encode())]

    both = EnvAccount({other: "sk-other-00000000", own: CANARY})
    assert [(key.name, sent(key)) for key in both.keys(provider, None)] == [(own, CANARY.encode())]


@pytest.mark.parametrize(
    ("provider", "own", "other"),
    [
        ("openai", "OPENAI_BASE_URL", "OPENAI_API_BASE"),
        ("anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
        ("azure", "AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
    ],
)
def test_an_address_is_found_under_the_name_that_other_tools_use(provider: str, own: str, other: str) -> None:
    account = EnvAccount({other: "https://gateway.example/v1/"})
    assert account.config(provider).base_url == "https://gateway.example/v1"
    assert account.address_variable(provider) == other

    both = EnvAccount({other: "https://other.example", own: "https://own.example"})
    assert both.config(provider).base_url == "https://own.example"
    assert both.address_variable(provider) == own
    assert EnvAccount({other: " "}).address_variable(provider) is None
    with pytest.raises(ConfigError, match=f"the environment variable {other}: plain http"):
        EnvAccount({other: "http://gateway.example/v1"}).config(provider)


@pytest.mark.anyio
@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
async def test_where_an_address_comes_from_is_told(variable: str) -> None:
    account = EnvAccount({"OPENAI_API_KEY": CANARY, variable: "https://gateway.example/v1", "GROQ_API_KEY": CANARY})
    async with Bifrost(account) as client:
        table = await client.providers()
        told = await client.explain("openai/gpt-4o-mini", "hi")
        assert {each.name: each.address_from for each in table} == {"openai": variable, "groq": None}
        assert f"https://gateway.example/v1 ({variable})" in str(table)
        assert told.candidates[0].url.startswith("https://gateway.example/v1/")
        assert told.candidates[0].address_from == variable
        assert f"from the environment variable {variable}" in str(told)
        await client.update_provider("openai", config=ProviderConfig(base_url="https://set.example/v1"))
        assert (await client.providers())[0].address_from is None


def test_the_providers_are_looked_up_once() -> None:
    environ = {"OPENAI_API_KEY": CANARY}
    account = EnvAccount(environ)

    assert list(account.providers()) == ["openai"]
    environ["ANTHROPIC_API_KEY"] = CANARY
    assert list(account.providers()) == ["openai"]


def test_rows_of_ones_own_have_the_variables_that_they_name() -> None:
    own = speaks_openai("some-host", "https://some.example/v1", "SOMEHOST_API_KEY")
    other = attrs.evolve(OPENAI, base_url="https://other.example/v1")
    environ = {"OPENAI_API_KEY": "sk-1", "SOMEHOST_API_KEY": CANARY, "SOME_HOST_BASE_URL": "https://near.example"}
    account = EnvAccount(environ, providers=[own, other])

    assert list(account.providers()) == [other, own]
    assert [(key.name, sent(key)) for key in account.keys("some-host", None)] == [("SOMEHOST_API_KEY", CANARY.encode())]
    assert account.config("some-host").base_url == "https://near.example"
    assert list(EnvAccount({"GROQ_API_KEY": "gsk-1"}, providers=[own]).providers()) == [own, "groq"]
    with pytest.raises(ConfigError, match="it takes Provider values"):
        EnvAccount(providers=["openai"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def test_how_to_configure_a_provider_is_told() -> None:
    assert how_to_set(attrs.evolve(OPENAI, key_variables=("A", "B"))) == "set A or B, or add a key to the account"
    both = "set AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT, or add a key and the address to the account"
    assert how_to_set(CATALOG["azure"]) == both
    assert how_to_set(MINE) == "add a key to the account"
    assert how_to_set(LOCAL) == "set LOCAL_BASE_URL to its address, or set it in the account"
    assert how_to_set(attrs.evolve(LOCAL, base_url_variable=None)) == "set it in the account"


def test_an_address_in_the_environment_is_used_and_checked() -> None:
    account = EnvAccount({"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": "https://proxy.example/v1/"})

    assert account.config("openai").base_url == "https://proxy.example/v1"
    assert account.config("anthropic") == ProviderConfig()
    assert account.config("nobody") == ProviderConfig()
    with pytest.raises(ConfigError, match="the environment variable OPENAI_BASE_URL: plain http"):
        EnvAccount({"OPENAI_BASE_URL": "http://proxy.example/v1"}).config("openai")


def test_a_bad_key_in_the_environment_fails_its_own_provider_only() -> None:
    account = EnvAccount({"OPENAI_API_KEY": f"{CANARY}\nX", "ANTHROPIC_API_KEY": "sk-1"})

    assert list(account.providers()) == ["openai", "anthropic"]
    assert len(account.keys("anthropic", None)) == 1
    with pytest.raises(InvalidKeyError, match="key 'OPENAI_API_KEY'") as caught:
        account.keys("openai", None)
    assert "CANARY" not in everything_shown_of(caught.value)


@pytest.mark.parametrize("account", [EnvAccount({}), StaticAccount()])
def test_the_shipped_accounts_fit_the_protocol(account: Account) -> None:
    assert check_providers(account.providers(), account=account) == {}
    assert not check_keys(account.keys("openai", None), provider="openai", account=account)
    assert check_config(account.config("openai"), provider="openai", account=account) == ProviderConfig()


# --- what an account answers


class Theirs:
    """Somebody's own account."""


def test_names_and_rows_become_rows_by_name() -> None:
    assert check_providers(["openai", MINE], account=Theirs()) == {"openai": OPENAI, "mine": MINE}
    row = attrs.evolve(OPENAI, base_url="https://elsewhere.example/v1")
    assert check_providers([row, "openai"], account=Theirs()) == {"openai": row}


@table(
    ("answer", "problem"),
    [
        (None, r"Theirs.providers\(\) returned a NoneType; return a list"),
        ("openai", r"Theirs.providers\(\) returned a str; return a list"),
        ([None], "returned a NoneType; return names of the catalog or Provider values"),
        (["opnai"], "did you mean 'openai'"),
        ([7], "returned an int"),
    ],
)
def test_providers_that_are_none_are_refused(answer: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_providers(answer, account=Theirs())


def test_good_keys_stay_the_very_list() -> None:
    keys = [Key(name="a", value="x"), Key(name="b", value="y")]

    assert check_keys(keys, provider="openai", account=Theirs()) is keys


@table(
    ("answer", "problem"),
    [
        (None, r"Theirs.keys\(\) returned a NoneType; return a list"),
        (CANARY, r"Theirs.keys\(\) returned a str; return a list"),
        ([CANARY], r"Theirs.keys\('openai'\) returned a str; return Key values"),
        ((Key(name="a", value="x"), Key(name="a", value="y")), "two keys named 'a'"),
        ({"a": "b"}, "returned a dict"),
    ],
)
def test_keys_that_are_none_are_refused(answer: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        check_keys(answer, provider="openai", account=Theirs())

    assert "CANARY" not in str(caught.value)


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Theirs.config\('openai'\) returned a dict; return a ProviderConfig"):
        check_config({}, provider="openai", account=Theirs())


def test_an_accounts_own_failure_is_told_without_its_text() -> None:
    error = account_failed(ValueError(f"cannot open vault with {CANARY}"), account=Theirs(), method="keys")

    assert isinstance(error, ConfigError)
    assert str(error) == "Theirs.keys() failed with ValueError; see the account's own log"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = AuthenticationError("refused")

    assert account_failed(ours, account=Theirs(), method="keys") is ours


def test_near_names_are_found_in_any_case() -> None:
    assert near("ANTROPIC", ["openai", "Anthropic"]) == "'Anthropic'"
    assert near("zzz", ["openai"]) == ""
