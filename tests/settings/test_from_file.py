"""`Bifrost.from_file`: what stands in a file is what the client does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost import Bifrost, ConfigError
from bifrost.testing import LoopbackProvider, MockTransport, fake_key

if TYPE_CHECKING:
    from pathlib import Path

_FILE = """
fallbacks = ["anthropic/claude-haiku-4-5"]

[models]
fast = ["openai/gpt-4o-mini"]

[providers.openai]
keys = [{ name = "team", value = "sk-team" }]

[providers.anthropic]
keys = [{ name = "spare", value = "sk-spare" }]
"""


@pytest.mark.anyio
async def test_a_client_made_of_a_file_calls_as_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "bifrost.toml"
    path.write_text(_FILE)
    mock = MockTransport()
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("from the fallback")

    async with Bifrost.from_file(path, transport=mock, max_retries=0) as client:
        reply = await client.chat("fast", "hi")

    assert reply.text == "from the fallback"
    assert [(attempt.provider, attempt.key) for attempt in reply.attempts] == [
        ("openai", "team"),
        ("anthropic", "spare"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["ours", "the gateway's"])
async def test_two_resources_of_a_file_get_their_own_keys(tmp_path: Path, form: str) -> None:
    async with LoopbackProvider() as west, LoopbackProvider() as east:
        keys = [
            {"name": "west", "value": fake_key("west"), "aliases": {"gpt": "west-deployment"}},
            {"name": "east", "value": fake_key("east"), "aliases": {"gpt": "east-deployment"}},
        ]
        settings = [{"endpoint": west.base_url}, {"endpoint": east.base_url, "api_version": "2024-10-21"}]
        field = "settings" if form == "ours" else "azure_key_config"
        entries = [{**key, field: each} for key, each in zip(keys, settings, strict=True)]
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"providers": {"azure": {"keys": entries}}}))
        async with Bifrost.from_file(path) as client:
            with anyio.fail_after(20):
                await client.chat("azure/gpt", "hi", key="west")
                await client.chat("azure/gpt", "hi", key="east")
        seen = [[(call.key, call.http.path, call.model) for call in server.calls] for server in (west, east)]
        assert seen == [
            [("west", "/openai/v1/chat/completions", "west-deployment")],
            [
                (
                    "east",
                    "/openai/deployments/east-deployment/chat/completions?api-version=2024-10-21",
                    "east-deployment",
                )
            ],
        ]


@pytest.mark.anyio
async def test_an_override_takes_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "bifrost.toml"
    path.write_text(_FILE)
    mock = MockTransport()
    mock.fail(400)

    async with Bifrost.from_file(str(path), transport=mock, fallbacks=[]) as client:
        with pytest.raises(Exception, match="status 400"):
            await client.chat("fast", "hi")

    assert len(mock.calls) == 1


def test_what_a_file_says_without_a_counterpart_is_told_in_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    provider = {"keys": [{"name": "main", "value": "sk-main", "models": ["*"], "weight": 1.0}]}
    path.write_text(json.dumps({"providers": {"openai": provider}, "config_store": {"enabled": True}}))

    with pytest.warns(UserWarning, match="config_store"):
        Bifrost.from_file(path)


def test_a_wrong_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bifrost.toml"
    path.write_text('[providers.openai]\nkeys = ["sk-x"]\nconcurency = 3\n')

    with pytest.raises(ConfigError, match=r"providers\.openai.*concurrency"):
        Bifrost.from_file(path)
