"""`import bifrost` is light: it starts, reads and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).parents[1]
_PROBE = Path(__file__).with_name("import_probe.py")
_HEAVY = {
    "bifrost.testing",
    "httpcore",
    "httpx",
    "httpx2",
    "mcp",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "pytest",
    "trio",
}

_MEDDLER = """
import logging, os, signal, socket, subprocess, sys, threading
import trio
os.environ.get("OPENAI_API_KEY"); os.getenv("HOME"); dict(os.environ)
socket.socket().close()
subprocess.run([sys.executable, "-c", ""], check=True)
open(__file__ + ".txt", "w").close()
open(__file__ + ".txt").close()
os.remove(__file__ + ".txt")
logging.basicConfig()
threading.Thread(target=threading.Event().wait, daemon=True).start()
__all__ = ["nothing"]
"""


def _import_watched(source: Path) -> dict[str, Any]:
    # The child gets none of this process's environment: coverage, say, would start there and write a file.
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    run = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "error", str(_PROBE), str(source)],
        env=kept | {"OPENAI_API_KEY": "never-read", "HTTPS_PROXY": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return _import_watched(_SOURCE)


def test_import_does_nothing_else(report: dict[str, Any]) -> None:
    """No socket, process, thread, file, variable of the environment, signal handler, warning filter, log handler."""
    assert report["deeds"] == []
    assert report["threads"] == 1
    assert report["settings_kept"]


def test_import_leaves_heavy_packages_alone(report: dict[str, Any]) -> None:
    assert _HEAVY.isdisjoint(report["modules"])


def test_every_public_name_is_there(report: dict[str, Any]) -> None:
    assert report["missing_names"] == []


def test_the_probe_sees_each_deed(tmp_path: Path) -> None:
    package = tmp_path / "bifrost"
    package.mkdir()
    (package / "__init__.py").write_text(_MEDDLER)

    report = _import_watched(tmp_path)

    deeds = "\n".join(report["deeds"])
    for deed in (
        "environment OPENAI_API_KEY by bifrost",
        "environment HOME by bifrost",
        "environment by bifrost",
        "socket.__new__",
        "subprocess.Popen",
        "__init__.py.txt by bifrost",
        "os.remove",
    ):
        assert deed in deeds
    assert report["threads"] == 2
    assert not report["settings_kept"]
    assert "trio" in report["modules"]
    assert report["missing_names"] == ["nothing"]


def test_a_call_over_https_loads_no_http_library() -> None:
    script = """
import asyncio, sys
from bifrost import Bifrost, StaticAccount
from bifrost.errors import BifrostError
from bifrost.config import ProviderConfig, RetryConfig

async def main():
    config = ProviderConfig(base_url="https://127.0.0.1:1/v1", retry=RetryConfig(max_retries=0))
    async with Bifrost(StaticAccount(keys={"openai": "sk-test"}, configs={"openai": config})) as client:
        try:
            await client.chat("openai/gpt-4o-mini", "hi")
        except BifrostError as error:
            print(type(error).__name__)

asyncio.run(main())
print(sorted({"httpx", "httpcore", "h11", "trio", "h2"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=_SOURCE)
    assert run.stdout.split("\n")[:2] == ["ConnectError", "[]"], run.stderr
