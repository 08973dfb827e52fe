"""Environments of their own for the parts that look at what we depend on, and what the project declares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_LOWER = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=(?P<version>[0-9.]+)")


class UnavailableError(Exception):
    """A package could not be had, or a service not be reached; the text says which and why."""


def run(*command: str, seconds: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run a command from the checkout's root, without what would change which Python packages it sees."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=seconds
    )


def environment(folder: Path, *requirements: str) -> str:
    """Make an environment with these packages; give its interpreter. Raises `UnavailableError`."""
    python = str(folder / "bin" / "python")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [python, "-m", "pip", "install", "-q", *requirements],
    ):
        done = run(*command)
        if done.returncode:
            raise UnavailableError(f"{' '.join(requirements)[:80]}: {last_line(done.stderr)}")
    return python


def last_line(text: str) -> str:
    """Give what a command ended with saying."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "critical"))]
    return ((errors or lines or ["it said nothing"])[-1])[:300]


def declared(*extras: str) -> list[str]:
    """Give the requirements of the package itself, and of these extras."""
    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]


def lowest(requirements: list[str]) -> list[str]:
    """Give the lower bounds of requirements, as pins."""
    pins: list[str] = []
    for requirement in requirements:
        bound = _LOWER.match(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        pins.append(f"{bound['name']}=={bound['version']}")
    return pins
