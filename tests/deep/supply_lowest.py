"""The core of the suite with the oldest versions that the package says it works with."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deep import supply
from tests.deep.row import Row
from tests.deep.supply import ROOT, UnavailableError, declared, environment, last_line, lowest

NAME = "lowest"

_CORE = (
    "tests/wire",
    "tests/routing",
    "tests/operations",
    "tests/plugins",
    "tests/engine",
    "tests/settings",
    "tests/reports",
    "tests/test_account.py",
    "tests/test_client.py",
    "tests/test_config.py",
    "tests/test_errors.py",
    "tests/test_sync.py",
)
_OPTIONAL = ("http2", "socks")
_UNUSED = ("coverage", "editables", "hatchling", "ipykernel", "nbclient")
"""What the core does not need of the extra `test`."""
_SEEN = re.compile(r"(\d+) (passed|failed|errors?)")


def rows(folder: Path) -> list[Row]:
    bounded = declared(*_OPTIONAL)
    tools = [each for each in declared("test") if each not in bounded and _name(each) not in _UNUSED]
    # A client runs on trio; it is at its lower bound too.
    pins = lowest([*bounded, *(each for each in tools if _name(each) == "trio")])
    tools = [each for each in tools if _name(each) != "trio"]
    name, goal = f"core of the suite with {' '.join(pins)}", "all pass"
    try:
        python = environment(folder, *pins, *tools, str(ROOT))
    except UnavailableError as error:
        return [Row(name, f"not run: {error}", goal, ok=None)]
    versions = supply.run(python, "-m", "pip", "freeze").stdout.lower().splitlines()
    others = [pin for pin in pins if not any(_same(pin, version) for version in versions)]
    if others:
        raise RuntimeError(f"not installed as asked for: {', '.join(others)}")
    done = supply.run(python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *_CORE)
    counts = {kind: int(count) for count, kind in _SEEN.findall(done.stdout[-400:])}
    figure = ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or last_line(done.stdout + done.stderr)
    if done.returncode:
        failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        figure = f"{figure}: {'; '.join(failed[:10])}"
    return [Row(name, figure, goal, ok=not done.returncode and counts.get("passed", 0) > 1000)]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0]


def _same(pin: str, version: str) -> bool:
    """Say whether a frozen version is a pin's, `4.12.0` being `4.12`."""
    name, _, wanted = pin.lower().partition("==")
    found, _, number = version.partition("==")
    return name == found and (number + ".0").startswith(wanted + ".")


def run() -> list[Row]:
    with TemporaryDirectory() as folder:
        return rows(Path(folder, "lowest"))
