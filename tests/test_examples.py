"""The examples run as they are, offline, whatever the environment holds."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost.testing import LoopbackProvider, fake_key
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / "examples"
_SECRET = "sk-CANARY-0123456789"

_SAID = {
    "plain_call": [
        "Hello! How can I assist you today?",
        "finished because: stop",
        "tokens: 8 in, 9 out",
        "200 ok|ok in",
    ],
    "streaming": ["1, 2, 3, 4, 5", "finished because: stop"],
    "tools": [r"get_user_country\({}\) -> Mexico", r'{"city":"Mexico City","country":"Mexico"}'],
    "fallbacks": [
        "anthropic answered: Hi there!",
        r"503 transient.*\n.*503 transient.*\n.*503 transient.*\n.*200 ok",
        "ServerError: ",
    ],
    "from_file": [
        "the group 'fast' went to (openai|anthropic)",
        "your own provider: local/qwen3",
        "- timeout: expected a number",
    ],
    "bulk": [
        "number 13 failed: openai failed: ",
        r'1 failed; the last line written: {"index": \d+, "prompt": "What is \d+ \+ 1\?", "answer": "\d+"}',
    ],
    "structured": [
        "to Oslo, urgency high: 148.70 euros",
        r"unfit 200.*\n.*ok in",
        r"so far: \['red', 'gre'\]\n",
        r"whole: \['red', 'green', 'blue'\]",
    ],
    "asgi_app": [
        r"^200 Once upon a time\.\n400 {\"error\":\"BadRequestError\"}\n429 {\"error\":\"RateLimitError\"}\n$"
    ],
    "responses": [
        "thought: I need the weather",
        r'call: weather {"city":"Oslo"}',
        "It rains in Oslo, at 12 degrees.\nstatus: completed",
    ],
    "plugin": ["Hello! How can I assist you today?", "words so far: 7"],
    "try_it": [
        r"A plain call\n-+\n.*Hello! How can I assist you today\?",
        r"first-key +429 throttled.*\n.*spare-key +503 transient.*\n.*spare-key +503 transient.*\n.*only-key +200 ok",
        r"A stream, printed as it comes\n-+\n1, 2, 3, 4, 5\n",
        r"the model calls get_user_country\({}\); we answer: Mexico\n.*Mexico City",
        r"8 requests over 2 connections",
    ],
}
"""What examples print, as patterns, where that is the point of them."""

_PROGRAMS = [path.stem for path in sorted(_FOLDER.glob("*.py")) if path.stem != "testing_your_app"]

# Runs the program in argv[1] with every way off this machine closed.
_OFFLINE = """
import runpy, sys
from bifrost.testing import block_network
del sys.argv[0]
with block_network():
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def proxy() -> Iterator[socket.socket]:
    """A proxy that no request may reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", **more}


def _tempting(proxy: socket.socket) -> dict[str, str]:
    """An environment with keys to use, and a proxy that would see what is sent."""
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    return _environment(
        OPENAI_API_KEY=_SECRET,
        ANTHROPIC_API_KEY=_SECRET,
        OPENAI_BASE_URL=f"{address}/v1",
        ANTHROPIC_BASE_URL=address,
        HTTP_PROXY=address,
        http_proxy=address,
        HTTPS_PROXY=address,
        ALL_PROXY=address,
        NO_PROXY="example.com",
        no_proxy="example.com",
    )


def test_what_is_expected_is_expected_of_examples_that_are_there() -> None:
    assert set(_SAID) <= set(_PROGRAMS)


@pytest.mark.parametrize("name", _PROGRAMS)
def test_an_example_runs_offline_and_without_a_key(name: str, proxy: socket.socket) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _OFFLINE, str(_FOLDER / f"{name}.py")],
        env=_tempting(proxy),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout
    for text in _SAID.get(name, ()):
        assert re.search(text, run.stdout), run.stdout
    assert _SECRET not in run.stdout


def test_the_tests_of_an_example_pass(tmp_path: Path) -> None:
    installed = any(entry.name == "bifrost" for entry in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "bifrost.testing.pytest_plugin")
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", str(settings), "-p", "no:asyncio", "-p", "no:cacheprovider"),
            *(*plugin, str(_FOLDER / "testing_your_app.py")),
        ],
        env=_environment(),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " 4 passed" in run.stdout


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["try_it", "plain_call"])
async def test_live_says_what_it_sends_and_makes_the_call(name: str) -> None:
    async with LoopbackProvider() as server:
        server.reply("Hello from far away")
        environment = _environment(OPENAI_API_KEY=fake_key("real"), OPENAI_BASE_URL=f"{server.base_url}/v1")
        command = [sys.executable, str(_FOLDER / f"{name}.py"), "--live", "openai/gpt-4o-mini"]
        with anyio.fail_after(60):
            run = await anyio.run_process(command, env=environment)
        server.assert_done()

    said = run.stdout.decode()
    announced = f"live: model gpt-4o-mini of openai at {server.base_url}/v1, with the key in OPENAI_API_KEY\n"
    assert said.startswith(announced)
    assert "Hello from far away" in said
    assert [call.key for call in server.calls] == ["real"]
    assert fake_key("real") not in said


def test_live_without_a_key_says_what_to_set() -> None:
    run = subprocess.run(
        [sys.executable, str(_FOLDER / "try_it.py"), "--live", "openai/gpt-4o-mini"],
        env=_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("MissingKeyError: ")
    assert "OPENAI_API_KEY" in run.stderr
    assert "Traceback" not in run.stderr


@table("path", sorted(_FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines < (150 if path.stem == "try_it" else 60)
