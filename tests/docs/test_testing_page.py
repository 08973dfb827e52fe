"""The page on testing is a test module: its code is run as it stands there, on both event loops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import bifrost.testing
from bifrost.testing import fake_key
from tests.docs.tables import DOCS
from tests.table import table

if TYPE_CHECKING:
    import pytest

    from bifrost.testing import LoopbackProvider

pytest_plugins = ["pytester"]

PAGE = (DOCS / "testing.md").read_text(encoding="utf-8")
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
RECORDED = "test_the_models_own_words"

CONFTEST = """
import pytest
from bifrost.testing import LoopbackProvider

def pytest_addoption(parser, pluginmanager):
    if not pluginmanager.hasplugin("bifrost"):
        pluginmanager.import_plugin("bifrost.testing.pytest_plugin")

@pytest.fixture
async def server():
    async with LoopbackProvider() as server:
        yield server

@pytest.fixture
def account(server):
    return server.account()
"""


def test_its_examples_pass(
    pytester: pytest.Pytester, server: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(bifrost.__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nfilterwarnings = error\nanyio_mode = auto\n")
    module = pytester.makepyfile(test_page=CODE)

    # First as somebody with a key would run it; then as everybody else, as if it had been recorded from the provider.
    recorded = pytester.runpytest_subprocess("-p", "no:asyncio", "--bifrost-record=once", "-k", RECORDED)
    recorded.assert_outcomes(passed=1)
    file = module.parent / "cassettes" / "test_page" / f"{RECORDED}.json"
    text = file.read_text(encoding="utf-8")
    assert fake_key("openai-key") not in text
    file.write_text(text.replace(server.base_url, "https://api.openai.com"), encoding="utf-8")
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable)

    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}, str(result.stdout)
    assert outcomes["passed"] == len(re.findall(r"^ *async def test_", CODE, re.MULTILINE)) * 2 + len(
        re.findall(r"^def test_", CODE, re.MULTILINE)
    ) + CODE.count('("backend", ["asyncio", "trio"])')


@table("name", bifrost.testing.__all__)
def test_it_knows_the_names_that_users_need(name: str) -> None:
    # Of these the page speaks where they are used: by methods of others.
    indirect = {"ConnectionCounts", "MockCall", "Rules", "Script", "Step", "UnexpectedCallError", "CassetteError"}
    indirect |= {"FaultRun", "NetworkBlockedError", "RawServer"}
    assert (name in PAGE) != (name in indirect)
