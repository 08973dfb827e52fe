"""What the page on model groups says runs, and its file says what its code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bifrost.testing import MockTransport, fake_key
from tests.settings.files import read

_PAGE = (Path(__file__).parents[2] / "docs" / "model-groups.md").read_text(encoding="utf-8")
_CODE = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
_FILE = re.search(r"^```toml\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)


def groups_of(code: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a block up to its call, and give the groups of the client that it makes."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr("bifrost.Bifrost", lambda **options: given.append(options["models"]))
    exec(code.split("reply = await", maxsplit=1)[0], {})  # noqa: S102 - the page's own code
    return given[0]


def test_the_file_says_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _FILE is not None
    keys = {"OPENAI_API_KEY": fake_key("a")}
    assert read(_FILE[1], environ=keys).models == groups_of(_CODE[0], monkeypatch)


@pytest.mark.anyio
async def test_the_policy_on_the_page_chooses_the_one_with_the_fewest_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    models = groups_of(_CODE[1], monkeypatch)
    mock = MockTransport()
    mock.reply("hello").always()
    async with (
        mock.client(models=models) as client,
        client.stream_chat("openai/gpt-4o-mini", "hi"),
    ):
        assert [(await client.chat("fast", "hi")).provider for _ in range(3)] == ["groq"] * 3
