from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import httpx
import pytest

from bifrost import Bifrost, EnvAccount
from bifrost.config import CallOptions
from bifrost.errors import ConfigError, InvalidKeyError, MissingKeyError, UnknownProviderError, UnsupportedError
from bifrost.settings import load
from bifrost.testing import MockTransport, fake_key
from tests.settings.files import ENVIRON, problems, read, refused
from tests.table import table

pytestmark = pytest.mark.anyio

TOML = """
timeout = 60
max_retries = 1
fallbacks = ["anthropic/claude-haiku-4-5"]
extra_headers = { x-team = "search" }

[models]
fast = ["openai/gpt-4o-mini", ["anthropic/claude-haiku-4-5", 0.25]]

[providers.openai]
keys = ["env.K1"]
[providers.anthropic]
keys = "env.K2"
"""

JSON = """{
  "timeout": 60, "max_retries": 1, "fallbacks": ["anthropic/claude-haiku-4-5"], "extra_headers": {"x-team": "search"},
  "models": {"fast": ["openai/gpt-4o-mini", ["anthropic/claude-haiku-4-5", 0.25]]},
  "providers": {"openai": {"keys": ["env.K1"]}, "anthropic": {"keys": "env.K2"}}
}"""


@pytest.mark.parametrize(("text", "suffix"), [(TOML, ".toml"), (JSON, ".json"), (TOML, ".TOML")])
def test_a_file_says_what_a_client_takes(text: str, suffix: str) -> None:
    settings = read(text, suffix=suffix)

    assert settings.options == CallOptions(
        timeout=60, max_retries=1, fallbacks=("anthropic/claude-haiku-4-5",), extra_headers={"x-team": "search"}
    )
    assert settings.models == {"fast": ["openai/gpt-4o-mini", ("anthropic/claude-haiku-4-5", 0.25)]}
    assert settings.account.providers() == ["openai", "anthropic"]
    assert settings.notes == ()


def test_what_a_file_does_not_say_has_the_defaults() -> None:
    settings = read('[providers.openai]\nkeys = "env.K1"')

    assert settings.options == CallOptions()
    assert settings.account.config("openai") == type(settings.account.config("openai"))()
    assert settings.arguments()["models"] == {}


async def test_a_client_is_made_of_the_settings() -> None:
    mock = MockTransport()
    mock.reply("hi")
    settings = read(TOML, environ={"K1": fake_key("one"), "K2": fake_key("two")})

    async with Bifrost(**settings.arguments(), transport=mock) as client:
        reply = await client.chat("fast", "hello")

    assert reply.text == "hi"
    (call,) = mock.calls
    assert call.key in {"one", "two"}
    assert call.http.headers["x-team"] == "search"


CORP = """
[providers.corp]
dialect = "openai"
base_url = "https://llm.corp.example/x"
keys = "env.K1"
auth = { header = "X-Corp-Key", prefix = "Key " }
paths = { chat = "/ask?api-version=2" }
operations = ["chat"]
"""

CORP_OF_THE_GATEWAY = """{"providers": {"corp": {
  "keys": [{"name": "main", "value": "env.K1", "models": ["*"], "weight": 1}],
  "network_config": {"base_url": "https://llm.corp.example/x"},
  "custom_provider_config": {
    "base_provider_type": "openai",
    "allowed_requests": {"chat_completion": true},
    "request_path_overrides": {"chat_completion": "/ask?api-version=2"}
  }
}}}"""


@pytest.mark.parametrize(
    ("text", "suffix", "header", "prefix"),
    [(CORP, ".toml", "x-corp-key", "Key "), (CORP_OF_THE_GATEWAY, ".json", "authorization", "Bearer ")],
)
async def test_a_provider_of_the_file_is_asked_as_the_file_says(
    text: str, suffix: str, header: str, prefix: str
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=ANSWER)

    settings = read(text, suffix=suffix)
    async with Bifrost(**settings.arguments(), transport=httpx.MockTransport(answer)) as client:
        assert (await client.chat("corp/m", "hello")).text == "hi"
        with pytest.raises(UnsupportedError, match="corp is not set up for stream_chat; it is for: chat"):
            async with client.stream_chat("corp/m", "hello"):
                pass
        with pytest.raises(UnsupportedError, match="corp has no embeddings endpoint here"):
            await client.embed("corp/m", "hello")

    (request,) = asked
    assert str(request.url) == "https://llm.corp.example/x/ask?api-version=2"
    assert request.headers[header] == prefix + ENVIRON["K1"]


ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def test_without_providers_the_keys_are_those_of_the_environment() -> None:
    settings = read('[models]\nfast = ["openai/gpt-4o-mini"]', environ={"OPENAI_API_KEY": fake_key("env")})

    assert isinstance(settings.account, EnvAccount)
    assert settings.account.providers() == ["openai"]


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_VARIABLE", fake_key("mine"))
    file = tmp_path / "bifrost.toml"
    file.write_text('[providers.openai]\nkeys = "env.MY_VARIABLE"')

    assert [key.name for key in load(str(file)).account.keys("openai", None)] == ["openai"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: the file cannot be read: No such file") as caught:
        load(tmp_path / "nowhere.toml")
    assert caught.value.__context__ is None


def test_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ConfigError, match="the file cannot be read: Is a directory"):
        load(tmp_path / "a.json")


def test_another_suffix_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a configuration file's name ends in \.toml or \.json"):
        load(tmp_path / "bifrost.yaml")


def test_several_problems_are_told_together_and_one_by_one() -> None:
    error = refused('timeout = "x"\nmax_retries = -1\n[providers.openai]\nkeys = "env.K1"\nqueue = -1')

    assert "bifrost.toml has 3 problems: (1) timeout: " in str(error)
    assert "(3) providers.openai.queue: must be 0 or more, not -1" in str(error)
    assert [type(each) for each in error.errors] == [ConfigError] * 3


def test_of_very_many_problems_the_first_are_told() -> None:
    error = refused("\n".join(f"setting_{c} = 1" for c in "abcdefghijklmnop"))

    assert "has 16 problems" in error.message
    assert "and 4 more, see .errors" in error.message
    assert len(error.errors) == 16


@table(
    ("text", "kind"),
    [
        ('[providers.openai]\nkeys = ["env.NOT1", "env.NOT2"]', MissingKeyError),
        ('[providers.openai]\nkeys = ["a b", "é"]', InvalidKeyError),
        ('[providers.opnai]\nkeys = ["env.K1"]', UnknownProviderError),
        ('[providers.openai]\nkeys = ["a b", "env.NOT1"]', ConfigError),
    ],
)
def test_the_error_is_of_the_class_that_its_problems_share(text: str, kind: type[ConfigError]) -> None:
    assert type(refused(text)) is kind


def test_a_provider_in_the_wrong_place_is_pointed_to_the_right_one() -> None:
    assert problems('[openai]\nkeys = ["env.K1"]') == ["openai is a provider; write it as providers.openai"]


def test_importing_the_package_loads_no_parser() -> None:
    code = "import sys, bifrost; before = set(sys.modules); import bifrost.settings; print(*set(sys.modules) - before)"
    loaded = run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert {"tomllib", "json", "ast", "inspect", "argparse"}.isdisjoint(loaded.stdout.split())
