"""The README's two commands are the ones that the checks run, and its Python is Python."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.table import table

_ROOT = Path(__file__).parents[1]
_CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("**/*.md"))]


def _section(heading: str) -> str:
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("heading", ["Try it", "Run the tests"])
def test_one_command_that_the_checks_take_from_here(heading: str) -> None:
    ((language, command),) = _CODE.findall(_section(heading))
    assert language == "sh"

    ci = _ROOT / ".ci" / "run"
    assert f'readme_command "{heading}"' in ci.read_text(encoding="utf-8")
    taken = subprocess.run(["bash", str(ci), "--show", heading], capture_output=True, text=True, check=True)
    assert taken.stdout == command


@table("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_python_on_the_page_is_python(page: Path) -> None:
    for language, code in _CODE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            compile(code, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
