"""The code of the README and the quickstart, pasted as it stands there, in the order of the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import Bifrost
from tests.docs.tables import DOCS, is_async, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.testing import MockTransport

_PAGES = {"README.md": DOCS.parent / "README.md", "quickstart.md": DOCS / "quickstart.md"}
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BLOCKS = {
    f"{name} {number}": code
    for name, path in _PAGES.items()
    for number, code in enumerate(_CODE.findall(path.read_text(encoding="utf-8")), start=1)
}

SCRIPTS: dict[str, Callable[[MockTransport], object]] = {
    "quickstart.md 4": lambda mock: mock.on(provider="openai").fail(503).always(),
    "quickstart.md 7": lambda mock: mock.fail(429, retry_after=70),
}
"""What the provider does before it answers."""

SAYS = {
    "README.md 1": r"Well said\. Usage\(.*\) .*\n*.*openai.*ok(.|\n)*Well said\.$",
    "quickstart.md 1": r"Well said\.\nUsage\(.*\)",
    "quickstart.md 2": "",
    "quickstart.md 3": r"Well said\.",
    "quickstart.md 4": r"openai.*503(.|\n)*openai.*503(.|\n)*anthropic.*ok",
    "quickstart.md 5": "",
    "quickstart.md 6": "",
    "quickstart.md 7": r"come back in 70\.0 seconds",
    "quickstart.md 8": "",
}
"""What it prints, as a pattern."""


def test_something_is_expected_of_every_block() -> None:
    assert SAYS.keys() == BLOCKS.keys()


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_code_of_the_page_runs_as_it_stands(
    name: str, backend: str, bifrost_mock: MockTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_KEY", "sk-team-0123456789")
    monkeypatch.setenv("SPARE_KEY", "sk-spare-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    SCRIPTS.get(name, lambda _: None)(bifrost_mock)
    bifrost_mock.reply("Well said.").always()
    namespace: dict[str, Any] = {"client": Bifrost(), "greet": greet}

    code = BLOCKS[name]
    if is_async(code):
        # What a page leaves open, a reader closes in the end.
        code += "\nawait client.close()\n"
    printed = said(code, namespace, backend=backend)

    assert re.search(SAYS[name], printed.strip())
    if not SAYS[name]:
        assert not printed
    if "test_greeting" in namespace:
        bifrost_mock.forget()
        bifrost_mock.calls.clear()
        anyio.run(namespace["test_greeting"], bifrost_mock, backend=backend)


async def greet() -> str:
    async with Bifrost() as client:
        return (await client.chat("openai/gpt-4o-mini", "hi")).text
