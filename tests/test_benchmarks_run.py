"""The benchmarks still run: every part once, at sizes that measure nothing, against this interpreter's own packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parent / "benchmarks"
_PARTS = {"pipeline", "http", "tls", "burst", "stream", "import", "memory", "connections", "sustained"}
_CASES = "asyncio/3,asyncio/0,bifrost,bifrost-hooks/batched-100,four"

pytestmark = pytest.mark.wide


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(_FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_part_is_measured_told_and_drawn(tmp_path: Path) -> None:
    """One test, since the measurements that it needs are most of its time."""
    output = tmp_path / "results.json"

    tables = _run("run.py", "--here", "--quick", "--only", _CASES, "--output", str(output))

    figures: list[dict[str, Any]] = json.loads(output.read_text())["results"]
    assert {result["part"] for result in figures} == _PARTS
    assert [result for result in figures if "failure" in result["figures"]] == []
    assert tables.count("\n## ") == len(_PARTS)
    assert "bifrost, 3+3 hooks" in tables
    assert not re.search(r"\bnan\b|failed|not installed", tables)
    assert _run("report.py", str(output)) == tables
    for plot in ("http", "stream", "pipeline"):
        picture = tmp_path / f"{plot}.svg"
        _run("plot.py", str(output), plot, str(picture))
        assert picture.read_text().startswith("<svg ")


def test_a_client_that_is_not_there_is_a_row_of_its_own(tmp_path: Path) -> None:
    output = tmp_path / "results.json"

    tables = _run("run.py", "import", "--here", "--quick", "--only", "four,liter-llm", "--output", str(output))

    assert "| liter-llm | failed: ModuleNotFoundError" in tables


@pytest.mark.parametrize("pins", sorted((_FOLDER / "requirements").glob("*.txt")), ids=lambda pins: pins.stem)
def test_every_version_is_pinned(pins: Path) -> None:
    lines = pins.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
