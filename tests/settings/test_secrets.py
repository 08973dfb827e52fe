"""No secret of a file or of the environment shows, whatever goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import ConfigError
from bifrost.settings import Settings, load
from bifrost.settings.form import File, KeyEntry, ProviderEntry
from bifrost.settings.original.form import KeyTable, Network, ProviderTable
from bifrost.settings.shape import fields_of
from tests.canary import CANARY, shown_by
from tests.settings.files import read_json


def everything_shown_of(error: BaseException) -> str:
    """Give all that a tool can print of an error, but for the frame of the test, which knows the secret."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    return "".join(shown_by(error))


def outcome(file: Path, environ: dict[str, str]) -> Settings | ConfigError:
    try:
        return load(file, environ=environ)
    except ConfigError as error:
        return error


def _openai(**fields: Any) -> dict[str, Any]:
    return {"providers": {"openai": fields}}


WRONG: list[Any] = [
    _openai(keys=[CANARY, {"value": "env.NOT"}]),
    _openai(keys=f"{CANARY} {CANARY}"),
    _openai(keys=[f"{CANARY}\n"] * 2 + [f"é{CANARY}"]),
    _openai(keys={"value": CANARY}),
    _openai(keys=[{"value": {"env": CANARY}}]),
    _openai(keys=[f"env.{CANARY}"]),
    _openai(keys=[{"value": [CANARY]}]),
    _openai(keys=[{"value": CANARY, "weight": CANARY, "enabled": CANARY, "models": CANARY, "aliases": CANARY}]),
    _openai(keys=[{CANARY: {"weight": 1}}]),
    _openai(key=CANARY),
    _openai(keys=["x"], queue=CANARY, timeouts=CANARY, on_full=CANARY, size_limits={"body": CANARY}),
    _openai(keys=["x"], extra_headers={"x-secret": f"{CANARY}\n"}),
    _openai(keys=["x"], base_url=f"https://user:{CANARY}@models.example"),
    _openai(keys=["x"], base_url=f"https://models.example/?key={CANARY}"),
    {"providers": {"openai": CANARY}},
    {"providers": [CANARY]},
    {"timeout": CANARY, "api_key": CANARY, "max_retries": [CANARY], "extra_headers": CANARY},
    {"client": CANARY, "encryption_key": CANARY, "providers": {}},
    _openai(keys=[{"value": CANARY, "weight": -1, "use_for_batch_api": True}]),
    _openai(keys=[{"value": {"value": CANARY, "env_var": 7}}], network_config={}),
    _openai(keys=[{"value": f"vault.{CANARY}"}], network_config={}),
    _openai(keys=[{"value": CANARY}], proxy_config={"type": "http", "password": CANARY}),
    _openai(keys=[{"value": CANARY}], network_config={"max_retries": CANARY, "retry_backoff_initial": CANARY}),
    [CANARY],
    CANARY,
]


@pytest.mark.parametrize("document", WRONG)
def test_an_error_shows_no_secret(document: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    found = outcome(file, {"OTHER": CANARY})

    assert isinstance(found, ConfigError)
    assert "CANARY" not in everything_shown_of(found)
    assert found.__context__ is None
    assert found.__cause__ is None
    assert all("CANARY" not in everything_shown_of(each) for each in found.errors)


@pytest.mark.parametrize("variable", ["", "a b", "é"])
def test_the_environment_shows_no_secret(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(_openai(keys="env.MINE")))
    found = outcome(file, {"MINE": variable and f"{CANARY}{variable}", "OTHER": CANARY})

    assert isinstance(found, ConfigError)
    assert "CANARY" not in everything_shown_of(found)


def test_settings_show_no_secret() -> None:
    settings = read_json(
        {
            "extra_headers": {"x-proxy-token": CANARY},
            "providers": {"openai": {"keys": [CANARY, "env.MINE"]}},
        },
        environ={"MINE": CANARY, "OTHER": CANARY},
    )
    assert "CANARY" not in repr(settings)
    assert "CANARY" not in repr(settings.account.keys("openai", None))
    assert settings.arguments()["extra_headers"] == {"x-proxy-token": CANARY}


def test_notes_show_no_secret() -> None:
    settings = read_json(
        {
            "encryption_key": CANARY,
            "governance": {"virtual_keys": [{"value": CANARY}]},
            "mcp": {"client_configs": [{"headers": {"authorization": CANARY}}]},
            "client": {"allowed_headers": [CANARY], CANARY: 1},
            CANARY: CANARY,
            "providers": {
                "openai": {
                    "keys": [{"value": CANARY, CANARY: CANARY}],
                    "proxy_config": {"type": "http", "url": "http://p:1", "username": "u", "password": CANARY},
                    "network_config": {"ca_cert_pem": CANARY, CANARY: CANARY},
                    CANARY: CANARY,
                }
            },
        }
    )
    assert len(settings.notes) > 6
    assert "CANARY" not in repr(settings)


NAMES = sorted(
    {name for shape in (File, ProviderEntry, KeyEntry, ProviderTable, KeyTable, Network) for name in fields_of(shape)}
    | {"openai", "corp", "timeouts", "connect", "vllm_key_config", "url", "client", "governance", "env", "x"}
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["env.K", "*", "/v1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)
PROVIDER = st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6)


@given(
    head=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3),
    provider=PROVIDER | ANYTHING,
    keys=st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=5), max_size=2) | ANYTHING,
)
def test_any_document_is_read_or_refused_with_a_typed_error(head: Any, provider: Any, keys: Any) -> None:
    table = {**provider, "keys": keys} if isinstance(provider, dict) else provider
    document = {**head, "providers": {"openai": table, "corp": {"dialect": "openai", **PROVIDER_EXTRA}}}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(document).replace("Infinity", "1e999").replace("NaN", "0"))
        found = outcome(file, {"K": CANARY})

    assert isinstance(found, Settings | ConfigError)
    assert "CANARY" not in repr(found) + str(found)


PROVIDER_EXTRA = {"auth": "none"}
