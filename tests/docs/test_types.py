"""The examples of the pages pass a type checker as a reader would run it, `reply.usage.total_tokens` included."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from textwrap import dedent, indent
from typing import TYPE_CHECKING

import pytest

from tests.docs.tables import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.typing

_PAGES = ("quickstart", "from-openai", "from-litellm", "embeddings", "streaming", "structured-output", "errors", "sync")
_BLOCK = re.compile(r"^(?P<before>[ \t-]*)```python\n(?P<code>.*?)^[ \t]*```$", re.MULTILINE | re.DOTALL)
_OTHERS = re.compile(r"\b(openai\.|import openai|from openai|litellm|completions\.|AsyncOpenAI)")
# Examples go on from what stood before them on their page.
_HEAD = "# pyright: basic, reportUndefinedVariable=false, reportMissingImports=false, reportRedeclaration=false\n"


def _examples(page: Path) -> Iterator[str]:
    blocks = [dedent(match["code"]) for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))]
    ours = [code for code in blocks if not _OTHERS.search(code)]
    nodes = [node for code in ours for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    yield "".join(sorted({ast.unparse(node) + "\n" for node in nodes}))
    yield from (code for code in ours if "reply" in code)


def _module(examples: Iterator[str]) -> str:
    parts = [_HEAD, "from bifrost import Bifrost, SyncBifrost", next(examples)]
    for number, code in enumerate(examples):
        is_async = re.search(r"^\s*(.*\bawait\b|async with|async for)", code, re.MULTILINE)
        head = "async def" if is_async else "def"
        client = (
            ""
            if re.search(r"^\s*(client =|(async )?with .* as client)", code, re.MULTILINE)
            else (f"client: {'Bifrost' if is_async else 'SyncBifrost'}")
        )
        parts.append(f"{head} example_{number}({client}):\n{indent(code, '    ')}")
    return "\n\n".join(parts)


def test_examples_pass_pyright(tmp_path: Path) -> None:
    files: list[str] = []
    for page in (DOCS.parent / "README.md", *(DOCS / f"{name}.md" for name in _PAGES)):
        file = tmp_path / f"{page.stem.replace('-', '_').lower()}.py"
        file.write_text(_module(_examples(page)), encoding="utf-8")
        files.append(str(file))
    assert "reply.usage." in (tmp_path / "from_openai.py").read_text(encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=DOCS.parent,
    )
    told = [
        f"{found['file']}:{found['range']['start']['line'] + 1} {found['message']}"
        for found in json.loads(done.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    ]
    assert not told, "\n".join(told)
