"""The page on stats and dry runs names what there is, and shows what is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from bifrost import DefaultOptions, Key, ModelGroup, ProviderConfig, StaticAccount
from bifrost.reports.stats import ConnectionStats, ProviderStats
from bifrost.telemetry import Record
from bifrost.testing import MockTransport, fake_key

_PAGE = (Path(__file__).parents[2] / "docs" / "looking-inside.md").read_text(encoding="utf-8")
_SHOWN = re.findall(r"^```text\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)

_ACCOUNT = StaticAccount(
    keys={
        "openai": [
            Key(name="main", value=fake_key("a"), weight=3),
            Key(name="mini", value=fake_key("b"), models=["gpt-4o-mini"]),
        ],
        "anthropic": [Key(name="ANTHROPIC_API_KEY", value=fake_key("c"))],
    },
    configs={"openai": ProviderConfig(concurrency=64, queue=500)},
)


@pytest.mark.anyio
async def test_the_table_of_providers_prints_as_shown() -> None:
    async with MockTransport().client(_ACCOUNT) as client:
        assert str(await client.providers()) == _SHOWN[0].rstrip()


def test_every_field_of_the_stats_is_told() -> None:
    section = _PAGE.partition("| field | is |")[2].partition("\n\n")[0]
    told = {name for row in section.splitlines() for name in re.findall(r"`(\w+)`", row)} - {"output"}
    known = {*ProviderStats.__struct_fields__, *ConnectionStats.__struct_fields__, "attempts", "reuse"}
    assert told - {"state", "reason", "ready", "cooling_down", "dead", "probing"} == known - {"provider"}


@pytest.mark.anyio
async def test_the_stats_print_with_the_columns_shown() -> None:
    mock = MockTransport()
    mock.fail(429).then.reply("hello")
    async with mock.client(_ACCOUNT) as client:
        await client.chat("openai/gpt-4o-mini", "hi")
        head, columns, _, faults = str(client.stats()).splitlines()
    shown = _SHOWN[1].splitlines()
    assert re.sub(r"[\d,]+", "n", head) == re.sub(r"[\d,]+ ", "n ", shown[0])
    assert re.split(r"  +", columns) == re.split(r"  +", shown[1])
    assert faults.startswith("openai failed: 1 throttled")
    assert shown[-1].startswith("openai failed: 18 throttled")


def test_every_record_is_explained() -> None:
    section = _PAGE.partition("| record | when |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [each.__name__ for each in get_args(Record)]


@pytest.mark.anyio
async def test_a_subscriber_prints_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    mock = MockTransport()
    mock.reply("hello")
    section = _PAGE.partition("## Events")[2]
    code = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[0]
    watch: dict[str, Any] = {}
    exec(code.partition("with client")[0], watch)  # noqa: S102 - the page's own example
    async with mock.client(_ACCOUNT) as client:
        client.subscribe(watch["watch"])
        await client.chat("openai/gpt-4o-mini", "Say hello")
    assert capsys.readouterr().out == _SHOWN[2]


@pytest.mark.anyio
async def test_the_dry_run_prints_as_shown() -> None:
    account = StaticAccount(
        keys={
            "openai": [
                Key(name="main", value=fake_key("a"), weight=3),
                Key(name="mini", value=fake_key("b"), models=["gpt-4o-mini"]),
                Key(name="old", value=fake_key("d"), enabled=False),
            ],
            "groq": fake_key("g"),
            "anthropic": fake_key("c"),
        },
        configs={"openai": ProviderConfig(concurrency=64)},
    )
    groups = {"fast": ModelGroup(["openai/gpt-4o-mini", ("groq/llama-3.3-70b-versatile", 0.3)])}
    plugins = [DefaultOptions(temperature=1)]
    async with MockTransport().client(account, models=groups, plugins=plugins) as client:
        told = await client.explain("fast", "Say hello", fallbacks=["anthropic/claude-haiku-4-5"], top_k=3)
    whole, *_ = told.candidates
    shown = [line for line in _SHOWN[3].splitlines() if line != "   ..."]
    heads = [line for line in str(told).splitlines() if not line.startswith("   ")]
    assert heads == [line for line in shown if not line.startswith("   ")]
    assert str(whole) in _SHOWN[3]
