"""Every hostile scenario over every transport, and how long each holds the event loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deep.row import Row
from tests.hostile.conftest import EACH
from tests.hostile.holds import FILE

NAME = "holds"
_GOAL = 50.0
"""Milliseconds, for anything up to 1 MiB."""
_LARGE = (
    "fault_08",  # uploads of 16 MB
    "fault_23_a_refusal",
    "fault_63",  # bodies up to the limit of 64 MiB, and above it
    "fault_64",
    "fault_65_a_bomb",
)
"""Scenarios in which more than 1 MiB is read or written at once, by the beginnings of their names."""
_SHOWN = 5
_ROOT = Path(__file__).resolve().parents[2]


def run() -> list[Row]:
    """Play the hostile suite."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "holds")
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", "tests/hostile"]
        played = subprocess.run(
            command, cwd=_ROOT, env={**os.environ, FILE: str(file), EACH: "1"}, check=False, capture_output=True
        )
        last = played.stdout.decode().strip().splitlines()[-1:]
        found = [line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    longest: dict[str, float] = {}
    for figure, test in found:
        longest[test] = max(longest.get(test, 0.0), float(figure))
    ranked = sorted(longest, key=lambda test: -longest[test])
    small = [test for test in ranked if not any(name in test for name in _LARGE)]
    large = [test for test in ranked if test not in set(small)]
    return [
        Row("hostile scenarios over every transport", " ".join(last), "all pass", ok=played.returncode == 0),
        *(
            Row(
                f"longest hold: {_short(test)}", f"{longest[test]:.0f} ms", f"<= {_GOAL:.0f} ms", longest[test] <= _GOAL
            )
            for test in small[:_SHOWN]
        ),
        *(
            Row(f"longest hold, more than 1 MiB: {_short(test)}", f"{longest[test]:.0f} ms", "", None)
            for test in large[:2]
        ),
    ]


def _short(test: str) -> str:
    return test.rpartition("::")[2]
