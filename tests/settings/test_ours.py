from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest

from bifrost import Key, ProviderConfig, Secret
from bifrost.config import (
    AdaptiveConfig,
    BreakerConfig,
    CallOptions,
    KeyPoolConfig,
    NetworkConfig,
    RetryBudgetConfig,
    RetryConfig,
    SizeLimits,
    Timeouts,
)
from bifrost.errors import ConfigError, InvalidKeyError, MissingKeyError, UnknownProviderError
from bifrost.providers.azure import AzureSettings
from bifrost.providers.base import Provider, operations_of
from bifrost.providers.catalog import CATALOG
from bifrost.routing.plan import ModelGroup
from bifrost.settings import Settings
from bifrost.settings.form import File, KeyEntry, ProviderEntry
from bifrost.settings.shape import fields_of
from bifrost.testing import fake_key
from bifrost.wire.auth import BEARER, HeaderAuth, NoAuth, QueryAuth
from bifrost.wire.auth.sigv4 import SigV4Auth
from tests.settings.files import ENVIRON, problems, problems_json, read, read_json, refused
from tests.table import table


def keys_of(settings: Settings, provider: str) -> Any:
    return settings.account.keys(provider, None)


def row_of(settings: Settings, name: str) -> Provider:
    rows: Any = settings.account.providers()
    (row,) = [row for row in rows if not isinstance(row, str) and row.name == name]
    return row


# --- the names are those of the classes


def test_a_key_has_the_fields_of_the_class() -> None:
    parameters = set(inspect.signature(Key).parameters)
    assert {*fields_of(KeyEntry), "credentials"} == parameters


def test_a_provider_has_the_fields_of_its_config_and_none_twice() -> None:
    config, own = set(fields_of(ProviderConfig)), set(fields_of(ProviderEntry))
    assert config == {field.name for field in attrs.fields(ProviderConfig)}
    assert not config & own


def test_the_head_has_the_options_of_a_client() -> None:
    options = {"timeout", "max_retries", "fallbacks", "extra_headers", "on_interrupt"}
    assert set(fields_of(CallOptions)) - {"key", "session"} == options
    assert not set(fields_of(CallOptions)) & set(fields_of(File))


def test_the_key_of_a_call_is_no_option_of_a_client() -> None:
    (told,) = problems('key = "main"')
    assert told.startswith("key: there is no such setting")


# --- keys


def test_a_key_in_full() -> None:
    settings = read(
        """
        [[providers.openai.keys]]
        name = "main"
        value = "env.K1"
        id = "7"
        weight = 2
        models = ["gpt-4o", "gpt-4o-mini", "quick"]
        deny = ["gpt-4o-audio*"]
        aliases = { quick = "gpt-4o-mini" }
        [[providers.openai.keys]]
        value = { env = "K2" }
        enabled = false
        """
    )
    assert keys_of(settings, "openai") == [
        Key(
            name="main",
            value=Secret(ENVIRON["K1"]),
            id="7",
            weight=2.0,
            models=["gpt-4o", "gpt-4o-mini", "quick"],
            deny=["gpt-4o-audio*"],
            aliases={"quick": "gpt-4o-mini"},
        ),
        Key(name="openai-2", value=Secret(ENVIRON["K2"]), enabled=False),
    ]


@pytest.mark.parametrize(
    ("written", "names"),
    [('"env.K1"', ["openai"]), ('["env.K1"]', ["openai-1"]), ('["env.K1", "sk-literal"]', ["openai-1", "openai-2"])],
)
def test_a_key_by_its_value_alone_is_named_as_elsewhere(written: str, names: list[str]) -> None:
    settings = read(f"[providers.openai]\nkeys = {written}")
    assert [key.name for key in keys_of(settings, "openai")] == names


@pytest.mark.parametrize(("written", "models"), [("null", None), ("[]", []), ('["*"]', ["*"])])
def test_no_list_is_all_models_and_an_empty_one_none(written: str, models: list[str] | None) -> None:
    text = '{"providers": {"openai": {"keys": [{"value": "env.K1", "models": LIST}]}}}'
    settings = read(text.replace("LIST", written), suffix=".json")
    (key,) = keys_of(settings, "openai")
    assert key.models == models
    assert key.allows("gpt-4o") is (models != [])


def test_a_variable_that_is_not_set_is_told_with_provider_key_and_name() -> None:
    error = refused('[[providers.openai.keys]]\nname = "main"\nvalue = "env.MISSING"')

    assert isinstance(error, MissingKeyError)
    assert "providers.openai.keys[0].value: the environment variable MISSING is not set" in str(error)
    assert (error.provider, error.key) == ("openai", "main")


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_not_set(value: str) -> None:
    assert isinstance(refused('[providers.openai]\nkeys = "env.K"', environ={"K": value}), MissingKeyError)


def test_a_switched_off_key_may_lack_its_variable_and_that_is_noted() -> None:
    settings = read(
        '[[providers.openai.keys]]\nvalue = "env.K1"\n[[providers.openai.keys]]\nvalue = "env.NOT"\nenabled = false'
    )
    assert [key.name for key in keys_of(settings, "openai")] == ["openai-1"]
    assert settings.notes == ("providers.openai.keys[1]: left out, since it is switched off and NOT is not set",)


def test_every_wrong_field_of_a_key_is_told_at_its_place() -> None:
    assert problems_json(
        {
            "providers": {
                "openai": {
                    "keys": [
                        {"value": "env.K1", "weight": -1, "models": ["gp*t"], "deny": [" x"], "aliases": {"a": ""}},
                        {"value": "env.K1", "name": "a\nb"},
                        {"value": "env.K1", "models": ["x"], "aliases": {"y": "x"}},
                        {"value": 7, "weight": "much"},
                        {"weight": 1},
                        ["env.K1"],
                        {"valeu": "env.K1"},
                    ]
                }
            }
        }
    ) == [
        "providers.openai.keys[3].value: expected text or a table, found the number 7",
        "providers.openai.keys[3].weight: expected a number, found text",
        "providers.openai.keys[5]: expected text or a table, found a list",
        "providers.openai.keys[6].valeu: there is no such setting; did you mean 'value'?",
    ]


def test_what_a_key_refuses_is_told_at_its_place() -> None:
    told = problems_json(
        {
            "providers": {
                "openai": {
                    "keys": [
                        {"value": "env.K1", "weight": -1, "models": ["gp*t"], "deny": [" x"], "aliases": {"a": ""}},
                        {"value": "env.K1", "name": "a\nb"},
                        {"value": "env.K1", "models": ["x"], "aliases": {"y": "x"}},
                        {"weight": 1},
                        {"value": "env.K1", "name": "twin"},
                        {"value": "env.K2", "name": "twin"},
                    ]
                }
            }
        }
    )
    assert [each.partition(": ")[0] for each in told] == [
        "providers.openai.keys[0].weight",
        "providers.openai.keys[0].models",
        "providers.openai.keys[0].deny",
        "providers.openai.keys[0].aliases",
        "providers.openai.keys[1].name",
        "providers.openai.keys[2]",
        "providers.openai.keys[3].value",
        "providers.openai.keys[5].name",
    ]
    assert told[0].endswith("the weight must be a number of 0 or more, not -1.0")
    assert told[1].endswith("'gp*t' in models is not a model name; '*' is allowed at its end only")
    assert told[7].endswith("'twin' is the name of providers.openai.keys[4] too; give each key its own")


@table("variable", ["", "a-b", "1A", "sk live"])
def test_what_is_no_variable_is_not_shown(variable: str) -> None:
    (told,) = problems(f'[providers.openai]\nkeys = "env.{variable}"')
    assert told.startswith("providers.openai.keys: the text after env. is not a variable name; write env.NAME")


def test_without_keys_a_shipped_provider_uses_its_variables() -> None:
    environ = {"OPENAI_API_KEY": fake_key("env"), "OPENAI_BASE_URL": "https://proxy.example/v1"}
    settings = read("[providers.openai]\nqueue = 5", environ=environ)

    assert [key.name for key in keys_of(settings, "openai")] == ["OPENAI_API_KEY"]
    assert settings.account.config("openai") == ProviderConfig(queue=5, base_url="https://proxy.example/v1")


def test_the_files_address_wins_over_the_variable() -> None:
    environ = {"OPENAI_API_KEY": fake_key("env"), "OPENAI_BASE_URL": "https://proxy.example/v1"}
    settings = read('[providers.openai]\nbase_url = "https://mine.example"', environ=environ)
    assert settings.account.config("openai").base_url == "https://mine.example"


def test_keys_of_the_file_leave_the_variables_alone() -> None:
    environ = {"K1": fake_key("file"), "OPENAI_BASE_URL": "https://proxy.example/v1"}
    settings = read('[providers.openai]\nkeys = "env.K1"', environ=environ)
    assert settings.account.config("openai") == ProviderConfig()


def test_a_wrong_key_in_the_vendors_variable_is_told() -> None:
    error = refused("[providers.openai]", environ={"OPENAI_API_KEY": "a b"})
    assert isinstance(error, InvalidKeyError)
    assert "providers.openai: key 'OPENAI_API_KEY' cannot be used: it holds a blank" in str(error)


@pytest.mark.parametrize("text", ["[providers.openai]", "[providers.openai]\nkeys = []"])
def test_a_provider_without_a_key_is_told_what_to_write(text: str) -> None:
    error = refused(text)
    assert isinstance(error, MissingKeyError)
    assert 'providers.openai: openai has no key; add keys with a value, "env.OPENAI_API_KEY" say' in str(error)


def test_a_local_server_is_where_its_variable_says() -> None:
    settings = read("[providers.vllm]", environ={"VLLM_BASE_URL": "http://127.0.0.1:9/v1"})
    assert settings.account.config("vllm").base_url == "http://127.0.0.1:9/v1"


def test_a_provider_without_an_address_of_its_own_must_have_one() -> None:
    text = '[providers.azure]\nkeys = "env.K1"'
    hint = "add base_url, or set AZURE_OPENAI_ENDPOINT, or an address in the settings of each key"
    assert problems(text) == [f"providers.azure: azure has no address of its own; {hint}"]
    settings = read(text, environ={**ENVIRON, "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"})
    assert settings.account.config("azure").base_url == "https://mine.openai.azure.com"


def two_resources(second: str) -> str:
    return f"""
        [[providers.azure.keys]]
        name = "west"
        value = "env.K1"
        aliases = {{ gpt-4o = "my-deployment" }}
        settings = {{ endpoint = "env.WEST" }}
        [[providers.azure.keys]]
        name = "east"
        value = "env.K2"
        settings = {second}
    """.replace("        ", "")


def test_each_key_of_azure_may_have_its_own_resource_and_version() -> None:
    text = two_resources('{ endpoint = "https://east.openai.azure.com", api_version = "2024-10-21" }')
    settings = read(text, environ={**ENVIRON, "WEST": "https://west.openai.azure.com"})
    west, east = keys_of(settings, "azure")
    assert west.settings == AzureSettings(endpoint="https://west.openai.azure.com")
    assert west.aliases == {"gpt-4o": "my-deployment"}
    assert east.settings == AzureSettings(endpoint="https://east.openai.azure.com", api_version="2024-10-21")
    assert settings.account.config("azure").base_url is None


def test_a_key_without_a_resource_goes_to_the_providers_address() -> None:
    text = two_resources('{ api_version = "2024-10-21" }')
    environ = {**ENVIRON, "WEST": "https://west.openai.azure.com"}
    (told,) = problems(text, environ=environ)
    assert told.startswith("providers.azure: azure has no address of its own; add base_url")
    settings = read(text, environ={**environ, "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"})
    assert settings.account.config("azure").base_url == "https://mine.openai.azure.com"


@table(
    ("written", "told"),
    [
        ('{ endpoint = "http://east.example" }', "providers.azure: key 'east': plain http to east.example"),
        (
            '{ endpoint = "east" }',
            "providers.azure.keys[1].settings.endpoint: the base URL must be http(s)://host/path",
        ),
        ('{ api_version = "v1" }', "providers.azure.keys[1].settings.api_version: 'v1' is not a version"),
        ('{ version = "2024-10-21" }', "providers.azure.keys[1].settings.version: there is no such setting"),
        ('{ endpoint = "env.NONE" }', "providers.azure.keys[1].settings.endpoint: the environment variable NONE"),
        ('"text"', "providers.azure.keys[1].settings: expected a table, found text"),
    ],
)
def test_wrong_settings_of_a_key_are_told_at_their_place(written: str, told: str) -> None:
    text = two_resources(written)
    (found,) = problems(text, environ={**ENVIRON, "WEST": "https://west.openai.azure.com"})
    assert found.startswith(told)


def test_a_provider_whose_keys_have_no_settings_refuses_them() -> None:
    (told,) = problems('[[providers.openai.keys]]\nvalue = "env.K1"\nsettings = { endpoint = "https://a.example" }')
    assert told == "providers.openai.keys[0].settings: a key of openai has no settings; remove them"


@pytest.mark.parametrize("own", ["", 'keys = "env.K1"'])
def test_a_wrong_address_in_the_vendors_variable_is_told(own: str) -> None:
    environ = {**ENVIRON, "AZURE_OPENAI_API_KEY": fake_key("a"), "AZURE_OPENAI_ENDPOINT": "ftp://x"}
    (told,) = problems(f"[providers.azure]\n{own}", environ=environ)
    assert told.startswith("providers.azure: the environment variable AZURE_OPENAI_ENDPOINT: the base URL must be http")


# --- the config


def test_every_knob_can_be_set() -> None:
    settings = read(
        """
        [providers.openai]
        keys = "env.K1"
        base_url = "env.ADDRESS"
        extra_headers = { x-a = "1" }
        concurrency = 3
        queue = 0
        on_full = "drop"
        queue_timeout = 2
        stream_share = 0.5
        [providers.openai.timeouts]
        connect = 1
        [providers.openai.retry]
        max_retries = 0
        fallback_on_caller_error = true
        [providers.openai.retry_budget]
        capacity = 50
        [providers.openai.breaker]
        enabled = false
        calls = 8
        [providers.openai.adaptive]
        start = 2
        [providers.openai.key_pool]
        choose = "two_choices"
        longest_wait = 0
        [providers.openai.size_limits]
        body = 1024
        [providers.openai.connections]
        idle = 5
        """
    )
    config: Any = settings.account.config("openai")
    assert config.base_url == ENVIRON["ADDRESS"]
    assert config.extra_headers == {"x-a": "1"}
    assert (config.concurrency, config.queue, config.on_full) == (3, 0, "drop")
    assert (config.queue_timeout, config.stream_share) == (2.0, 0.5)
    assert config.timeouts == Timeouts(connect=1)
    assert config.retry == RetryConfig(max_retries=0, fallback_on_caller_error=True)
    assert config.retry_budget == RetryBudgetConfig(capacity=50)
    assert config.breaker == BreakerConfig(enabled=False, calls=8)
    assert config.key_pool == KeyPoolConfig(choose="two_choices", longest_wait=0)
    assert config.size_limits == SizeLimits(body=1024)
    assert config.connections.idle == 5
    assert config.adaptive == AdaptiveConfig(start=2)


def test_an_empty_table_lets_the_limit_adapt() -> None:
    settings = read("""providers.openai = { keys = ["env.K1"], adaptive = {} }""")
    assert settings.account.config("openai").adaptive == AdaptiveConfig()


def test_a_policy_of_ones_own_is_for_code_alone() -> None:
    (told,) = problems("""providers.openai = { keys = "env.K1", key_pool = { policy = "mine" } }""")
    assert told.startswith("providers.openai.key_pool.policy: there is no such setting")


def test_every_wrong_setting_is_told_at_its_place() -> None:
    assert problems(
        """
        timeout = "soon"
        extra_headers = { Authorization = "x" }
        fallbacks = ["a", 1]
        models = { fast = "openai/gpt-4o" }
        [providers.openai]
        keys = "env.K1"
        base_url = "http://models.example"
        concurrency = 0
        on_full = "explode"
        queue = true
        stream_share = 1979-05-27
        timeuots = 1
        max_retries = 3
        timeouts = { connect = -1, first_token = "x", conect = 1 }
        retry = 3
        size_limits = [1]
        extra_headers = { x-a = "a\\nb" }
        """
    ) == [
        "models.fast: expected a list or a table, found text",
        "timeout: expected a number (the default is 600.0), found text",
        "fallbacks[1]: expected text, found the number 1",
        "extra_headers: header 'Authorization' is set by bifrost itself; remove it (keys belong in the account)",
        "providers.openai.timeuots: there is no such setting; did you mean 'timeouts'?",
        "providers.openai.max_retries: there is no such setting; did you mean 'retry.max_retries'?",
        "providers.openai.concurrency: must be greater than 0, not 0",
        "providers.openai.queue: expected a whole number (the default is 10000), found true",
        "providers.openai.on_full: expected 'wait' or 'drop' (the default is 'wait'), found text",
        "providers.openai.stream_share: expected a number (the default is 0.75), found a date or time",
        "providers.openai.timeouts.conect: there is no such setting; did you mean 'connect'?",
        "providers.openai.timeouts.connect: must be greater than 0, not -1.0",
        "providers.openai.timeouts.first_token: expected a number (the default is 120.0), found text",
        "providers.openai.retry: expected a table, found the number 3",
        "providers.openai.size_limits: expected a table, found a list",
        (
            "providers.openai.extra_headers: "
            "the value of header 'x-a' contains a line break or a character outside Latin-1"
        ),
        (
            "providers.openai.base_url: plain http to models.example would send the key unencrypted; use https, or "
            "set allow_insecure_http=True if you control the network"
        ),
    ]


def test_an_address_in_what_is_no_variable_is_told() -> None:
    (told,) = problems('[providers.openai]\nkeys = "env.K1"\nbase_url = "env.https://x"')
    assert told.startswith("providers.openai.base_url: the text after env. is not a variable name")


def test_an_address_that_its_variable_lacks_is_told() -> None:
    assert problems('[providers.openai]\nkeys = "env.K1"\nbase_url = "env.NOT"') == [
        "providers.openai.base_url: the environment variable NOT is not set; set it, or write the value here"
    ]


def test_plain_http_is_taken_when_allowed() -> None:
    settings = read('[providers.openai]\nkeys="env.K1"\nbase_url="http://a.example"\nallow_insecure_http=true')
    assert settings.account.config("openai").base_url == "http://a.example"


# --- providers of the file's own


def test_a_provider_of_its_own_speaks_the_dialect_of_another() -> None:
    settings = read(
        """
        [providers.local]
        dialect = "openai"
        base_url = "http://127.0.0.1:8000/v1"
        auth = "none"
        operations = ["chat"]
        """
    )
    row = row_of(settings, "local")
    assert row.auth == NoAuth()
    assert list(row.codecs) == ["chat"]
    assert settings.account.config("local").base_url == "http://127.0.0.1:8000/v1"
    assert keys_of(settings, "local") == []


@pytest.mark.parametrize(
    ("written", "auth"),
    [
        ('"bearer"', BEARER),
        ('{ header = "X-Gateway-Key" }', HeaderAuth(header="x-gateway-key")),
        ('{ header = "x-key", prefix = "Token " }', HeaderAuth(header="x-key", prefix="Token ")),
        ('{ query = "key" }', QueryAuth(parameter="key")),
        ('{ sigv4 = "bedrock" }', SigV4Auth(service="bedrock")),
        ('{ sigv4 = "s", region = "eu-west-1" }', SigV4Auth(service="s", region="eu-west-1")),
    ],
)
def test_a_key_is_sent_as_the_file_says(written: str, auth: object) -> None:
    settings = read(f'[providers.corp]\ndialect = "anthropic"\nkeys = "env.K1"\nauth = {written}')
    assert row_of(settings, "corp").auth == auth


def test_a_keyless_provider_may_have_keys_for_their_aliases() -> None:
    settings = read('[providers.a]\ndialect="openai"\nauth="none"\nkeys=[{ name = "n", aliases = { fast = "qwen3" } }]')
    (key,) = keys_of(settings, "a")
    assert (key.name, key.aliases) == ("n", {"fast": "qwen3"})


def test_a_key_that_would_not_be_sent_is_told() -> None:
    assert problems('[providers.a]\ndialect = "openai"\nauth = "none"\nkeys = ["env.K1"]') == [
        'providers.a.keys[0]: a needs no key, this would not be sent; remove it, or add auth = "bearer"'
    ]


def test_a_shipped_provider_can_be_narrowed_and_stays_itself() -> None:
    settings = read('[providers.openai]\noperations = ["embeddings"]', environ={"OPENAI_API_KEY": fake_key("env")})
    row = row_of(settings, "openai")
    assert list(row.codecs) == ["embeddings"]
    assert row.key_variables == CATALOG["openai"].key_variables


def test_a_provider_of_its_own_without_a_key_is_told_both_ways_out() -> None:
    assert problems('[providers.corp]\ndialect = "openai"') == [
        'providers.corp: corp has no key; add keys with a value, "env.NAME" say, or auth = "none" if it wants none'
    ]


def test_what_cannot_be_a_provider_is_told() -> None:
    told = problems(
        """
        [providers.opnai]
        keys = "env.K1"
        [providers.corp]
        dialect = "opnai"
        keys = "env.K1"
        [providers.openai]
        dialect = "anthropic"
        keys = "env.K1"
        [providers."a/b"]
        dialect = "openai"
        keys = "env.K1"
        """
    )
    assert told == [
        (
            "providers.opnai: there is no provider named 'opnai'; did you mean 'openai'? (for a provider of your own, "
            "add dialect = the built-in provider with its format)"
        ),
        "providers.corp.dialect: there is no provider named 'opnai'; did you mean 'openai'?",
        "providers.openai.dialect: openai is a built-in provider; remove dialect, or choose another name",
        "providers.\"a/b\": a provider's name is printable, without blank and '/'; calls write provider/model",
    ]


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ("{}", "auth: name one of header, query and sigv4"),
        ('{ header = "x-key", query = "key" }', "auth: name one of header, query and sigv4"),
        ('{ query = "a b" }', "auth.query: this is not the name of a parameter; for example: key"),
        ('{ sigv5 = "s" }', "auth.sigv5: there is no such setting; did you mean 'sigv4'?"),
    ],
)
def test_a_wrong_authentication_is_told(auth: str, told: str) -> None:
    text = f'[providers.corp]\ndialect = "openai"\nkeys = "env.K1"\nauth = {auth}'
    assert f"providers.corp.{told}" in problems(text)


def test_wrong_paths_and_operations_are_told() -> None:
    known = ", ".join(operations_of(CATALOG["openai"]))
    assert problems(
        """
        [providers.corp]
        dialect = "openai"
        keys = "env.K1"
        operations = ["chat", "embed"]
        paths = { chat = "chat", models = "/../x", rank = "/rank" }
        auth = { header = "a b", prefix = "\\n" }
        [providers.idle]
        dialect = "openai"
        keys = "env.K1"
        operations = []
        """
    ) == [
        "providers.corp.auth.header: this is not a header name; for example: x-api-key",
        "providers.corp.auth.prefix: a header must be printable ASCII",
        "providers.corp.paths.chat: a path begins with / and follows base_url; for example: /chat/completions",
        "providers.corp.paths.models: a path begins with / and follows base_url; for example: /chat/completions",
        f"providers.corp.paths.rank: openai has no such operation; it has: {known}",
        "providers.corp.operations[1]: openai has no such operation; did you mean 'embeddings'?",
        "providers.idle.operations: the provider has no operation left; remove operations or the provider",
    ]


def test_an_empty_table_of_providers_is_told() -> None:
    assert problems("[providers]")[0].startswith("providers: there is no provider; add one, or remove this")


# --- models and fallbacks


def test_a_group_may_be_a_table_that_says_how_a_member_is_chosen() -> None:
    text = """
        [models]
        plain = ["openai/a"]
        [models.quick]
        members = ["openai/a", ["anthropic/b", 0.5]]
        balance = "least_busy"
        [models.turns]
        members = ["openai/a"]
        balance = "round_robin"
        [models.usual]
        members = ["openai/a"]
        [providers.openai]
        keys = "env.K1"
        [providers.anthropic]
        keys = "env.K2"
        """
    assert read(text).models == {
        "plain": ["openai/a"],
        "quick": ModelGroup(["openai/a", ("anthropic/b", 0.5)], balance="least_busy"),
        "turns": ModelGroup(["openai/a"], balance="round_robin"),
        "usual": ModelGroup(["openai/a"]),
    }


def test_what_is_wrong_in_a_groups_table_is_told_at_its_place() -> None:
    assert problems(
        """
        [models.a]
        members = ["openai/a"]
        balance = "fastest"
        weigth = 3
        [models.b]
        balance = "weighted"
        [models.c]
        members = "openai/a"
        [providers.openai]
        keys = "env.K1"
        """
    ) == [
        "models.a.weigth: there is no such setting; there are: members, balance",
        (
            "models.a.balance: expected 'weighted' or 'least_busy' or 'round_robin' or 'two_choices' "
            "(the default is 'weighted'), found text"
        ),
        "models.b: members is missing; it must be a list",
        "models.c.members: expected a list, found text",
    ]
    assert problems(
        """
        [models]
        empty = { members = [] }
        other = { members = ["openai/a", "gogle/b"], balance = "least_busy" }
        [providers.openai]
        keys = "env.K1"
        """
    ) == [
        "models.empty.members: a group has at least one member, written 'provider/model'",
        "models.other.members[1]: this file has no provider 'gogle'; there are: openai",
    ]


def test_a_name_that_no_provider_of_the_file_has_is_told() -> None:
    error = refused(
        """
        fallbacks = ["antropic/claude", "quick", "nobody", "fast", "anthropic/claude"]
        [models]
        fast = ["openai/gpt-4o", ["gogle/gemini", 0.5]]
        empty = []
        nested = ["fast"]
        "a/b" = ["openai/gpt-4o"]
        [providers.openai]
        keys = [{ value = "env.K1", aliases = { quick = "gpt-4o-mini" } }]
        [providers.anthropic]
        keys = "env.K2"
        """
    )
    assert [each.message for each in error.errors] == [
        "models.empty: a group has at least one member, written 'provider/model'",
        "models.nested: 'fast' must be written 'provider/model'",
        "models.\"a/b\": 'a/b' cannot be the name of a group; a name with '/' means provider/model",
        "models.fast[1]: this file has no provider 'gogle'; there are: anthropic, openai",
        "fallbacks[0]: this file has no provider 'antropic'; did you mean 'anthropic'?",
        "fallbacks[2]: 'nobody' is no model group and in no key's models; write it as provider/model",
    ]
    assert isinstance(error.errors[3], UnknownProviderError)


def test_a_group_is_checked_without_providers_too() -> None:
    assert problems("[models]\nfast = []") == ["models.fast: a group has at least one member, written 'provider/model'"]


def test_a_fallback_may_be_a_name_with_a_slash_that_a_key_has() -> None:
    settings = read_json(
        {
            "fallbacks": ["meta/llama"],
            "providers": {"openai": {"keys": [{"value": "env.K1", "models": ["meta/llama"]}]}},
        }
    )
    assert settings.options.fallbacks == ("meta/llama",)


def test_a_provider_with_a_problem_is_not_called_unknown() -> None:
    assert problems('[models]\nfast = ["openai/x"]\n[providers.openai]\nkeys = "env.K1"\nqueue = -1') == [
        "providers.openai.queue: must be 0 or more, not -1"
    ]


def test_a_wrong_field_does_not_hide_what_the_provider_is() -> None:
    assert problems('[providers.corp]\ndialect = "openai"\nkeys = 7') == [
        "providers.corp.keys: expected text or a list, found the number 7"
    ]


# --- the road


def test_a_network_table_with_its_values_in_the_environment() -> None:
    settings = read(
        """
        [providers.openai]
        keys = "env.K1"
        [providers.openai.network]
        proxy = "env.PROXY"
        proxy_auth = "env.PROXY_AUTH"
        ca = "ca.pem"
        http2 = true
        user_agent = "a/1"
        """
    )
    config: Any = settings.account.config("openai")
    assert config.network == NetworkConfig(
        proxy=ENVIRON["PROXY"], proxy_auth=Secret(ENVIRON["PROXY_AUTH"]), ca="ca.pem", http2=True, user_agent="a/1"
    )
    assert "canary" not in repr(settings)


@table(
    ("network", "told"),
    [
        ('proxy = "ftp://h"', "proxy: this is not the address of a proxy; write http://host:port"),
        ('proxy = "http://u:s3cret-canary@h"', "proxy: the proxy's address contains a user name"),
        ('proxy_auth = "u:s3cret-canary"', "proxy_auth: it needs the address of a proxy"),
        ('proxy_auth = "env.UNSET"', "proxy_auth: the environment variable UNSET is not set"),
        ('ca = "env.UNSET"', "ca: the environment variable UNSET is not set"),
        ("verify = false", "verify: there is no such setting"),
        ('ssl_context = "x"', "ssl_context: there is no such setting"),
    ],
)
def test_a_network_table_that_is_wrong(network: str, told: str) -> None:
    (problem,) = problems(f'[providers.openai]\nkeys = "env.K1"\n[providers.openai.network]\n{network}')
    assert problem.startswith(f"providers.openai.network.{told}")
    assert "canary" not in problem


def test_a_network_that_is_no_table() -> None:
    assert problems('[providers.openai]\nkeys = "env.K1"\nnetwork = 3') == [
        "providers.openai.network: expected a table, found the number 3"
    ]


@table("header", ["connection", "Cookie", "accept-encoding", "Host", "content-length", "user-agent"])
def test_a_key_is_not_sent_in_a_header_with_a_meaning_of_its_own(header: str) -> None:
    text = f"""
        [providers.mine]
        dialect = "openai"
        base_url = "https://mine.example/v1"
        auth = {{ header = "{header}" }}
        """
    error = refused(text)
    assert "providers.mine.auth.header: a key cannot be sent in this header" in str(error)
    with pytest.raises(ConfigError, match="a key cannot be sent in the header"):
        HeaderAuth(header=header)
