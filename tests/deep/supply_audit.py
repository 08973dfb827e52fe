"""Known vulnerabilities in what we depend on and are built with, by pip-audit in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deep import supply
from tests.deep.row import Row
from tests.deep.supply import ROOT, UnavailableError, environment, last_line

NAME = "audit"

_PINS = ".ci/requirements.txt"
_SERVICE = "osv"
"""OSV and not the package index: it is made for being asked about many packages."""


def audit(python: str) -> tuple[int, list[str]]:
    """Ask the advisory service of every pin: give how many were looked up, and what is known against them.

    Raises `UnavailableError` if it tells nothing of any.
    """
    command = ("--requirement", str(ROOT / _PINS), "--disable-pip", "--require-hashes", "--format", "json")
    done = supply.run(
        python, "-m", "pip_audit", *command, "-s", _SERVICE, "--progress-spinner", "off", "--timeout", "10"
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise UnavailableError(f"pip-audit ended with {done.returncode}: {last_line(done.stderr)}") from None
    skipped = [each["name"] for each in found if "skip_reason" in each]
    known = [
        f"{each['name']} {each['version']}: {vulnerability['id']}"
        for each in found
        for vulnerability in each.get("vulns", ())
    ]
    if len(skipped) == len(found):
        raise UnavailableError(f"{_SERVICE} tells nothing of any of {len(found)} packages")
    if skipped:
        known.append(f"not looked up: {', '.join(skipped)}")
    return len(found) - len(skipped), known


def rows(folder: Path) -> list[Row]:
    name, goal = f"known vulnerabilities in {_PINS}", "none"
    try:
        count, problems = audit(environment(folder, "pip-audit>=2.9,<3"))
    except UnavailableError as error:
        return [Row(name, f"not looked up: {error}", goal, ok=None)]
    return [Row(name, "; ".join(problems) or f"none in {count} packages ({_SERVICE})", goal, ok=not problems)]


def run() -> list[Row]:
    with TemporaryDirectory() as folder:
        return rows(Path(folder, "audit"))
