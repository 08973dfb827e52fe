"""The code and the files of the page on networking run as they stand there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import NetworkConfig
from bifrost.settings.shape import fields_of
from bifrost.testing import LoopbackProvider, fake_key
from tests.settings.files import read

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.anyio

_PAGE = (Path(__file__).parents[2] / "docs" / "networking.md").read_text(encoding="utf-8")
_CODE = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
_FILES = re.findall(r"^```toml\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", _CODE)
async def test_code_on_the_page_runs(code: str, server: LoopbackProvider) -> None:
    names: dict[str, Any] = {}
    compiled = compile(code, "networking.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    made: Awaitable[None] | None = eval(compiled, names)  # noqa: S307 - a page of ours
    if inspect.isawaitable(made):
        await made
        assert names["reply"].text


@pytest.mark.parametrize("text", _FILES)
def test_a_file_on_the_page_can_be_read(text: str) -> None:
    environ = {
        "OPENAI_API_KEY": fake_key("k"),
        "CORP_PROXY": "http://proxy.example:1",
        "CORP_PROXY_AUTH": "user:password",
    }
    settings = read(text, environ=environ)
    config: Any = settings.account.config("openai")
    assert config.network.proxy == "http://proxy.example:1"


def test_every_setting_is_on_the_page() -> None:
    for name in [*fields_of(NetworkConfig), "ssl_context"]:
        assert name in _PAGE, name
