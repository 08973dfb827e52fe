"""The settings on the page about reliability are those of the code, with its defaults."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import attrs
import pytest

from bifrost import (
    AdaptiveConfig,
    BreakerConfig,
    HedgeConfig,
    KeyPoolConfig,
    ProviderConfig,
    RetryBudgetConfig,
    RetryConfig,
    Timeouts,
)
from bifrost.testing import MockTransport, run_virtual
from bifrost.testing.virtual import Backend

_DOCS = Path(__file__).parents[2] / "docs"
_PAGE = (_DOCS / "reliability.md").read_text(encoding="utf-8")
_ELSEWHERE = {
    "fallback_on_caller_error",
    "fallback_on_content_filter",
    "fallback_on_context_length",
    "retry_sent",
}
"""Settings that are not in a table but described in the text."""


def table(name: str, page: str = _PAGE) -> dict[str, Any]:
    """Return the rows of the table of a class: each field with its default."""
    rows = page.partition(f"| `{name}` | default | |\n")[2].partition("\n\n")[0].splitlines()[1:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {field.strip("`"): ast.literal_eval(default) for field, default, _ in cells}


@pytest.mark.anyio
async def test_the_code_for_a_session_and_for_allowances_runs(capsys: pytest.CaptureFixture[str]) -> None:
    session, allowances = re.findall(r"```python\n((?:reply|left) = .*?)```", _PAGE, re.DOTALL)
    mock = MockTransport()
    headers = {"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "2s"}
    mock.reply("hello", headers=headers)
    body = textwrap.indent(session + allowances, "    ")
    async with mock.client() as client:
        known: dict[str, Any] = {"client": client, "messages": "hi", "conversation_id": "c1"}
        exec(f"async def page():\n{body}", known)  # noqa: S102 - our own page
        await known["page"]()
    assert capsys.readouterr().out == "7 tokens left, full again in 2.0 s\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_code_for_a_hedge_prints_what_the_page_says(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    ((code, printed),) = re.findall(
        r"```python\n(from bifrost import HedgeConfig.*?)```\n\n```text\n(.*?)```", _PAGE, re.DOTALL
    )
    known: dict[str, Any] = {}
    exec(f"async def page():\n{textwrap.indent(code, '    ')}", known)  # noqa: S102 - our own page
    run_virtual(known["page"], backend=backend)
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "config", [Timeouts, RetryConfig, RetryBudgetConfig, HedgeConfig, BreakerConfig, KeyPoolConfig]
)
def test_every_setting_is_listed_with_its_default(config: Any) -> None:
    told = table(config.__name__)

    made = {field.name: getattr(config(), field.name) for field in attrs.fields(config)}
    assert told == {name: default for name, default in made.items() if name not in _ELSEWHERE}


def test_the_settings_of_an_adaptive_limit_are_listed_on_their_page() -> None:
    told = table("AdaptiveConfig", (_DOCS / "scaling.md").read_text(encoding="utf-8"))
    assert told == attrs.asdict(AdaptiveConfig())


def test_settings_that_are_listed_elsewhere_are_listed_somewhere() -> None:
    page = _PAGE + (_DOCS / "errors.md").read_text(encoding="utf-8")
    assert all(name in page for name in _ELSEWHERE)


def test_the_settings_that_stand_together_can_be_made() -> None:
    (code,) = re.findall(r"```python\n(ProviderConfig\(.*?)```", _PAGE, re.DOTALL)
    classes = (BreakerConfig, RetryBudgetConfig, HedgeConfig, KeyPoolConfig, ProviderConfig, RetryConfig, Timeouts)
    made = eval(code, {each.__name__: each for each in classes})  # noqa: S307 - our own page
    assert made.key_pool.longest_wait == 5
