"""The deep run: what is too long for the suite, in parts, as one table. See docs/deep-run.md.

    python3.11 tests/deep/run.py                # all
    python3.11 tests/deep/run.py load1 storm    # some
    python3.11 tests/deep/run.py --list

A part is a module here with a `NAME` and a `run() -> list[Row]`. Each runs in a process of its own, one after another.
Ends with 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
sys.path[0] = str(_ROOT)

from tests.deep.row import Row  # noqa: E402 - found by the line above

_NAME = re.compile(r'^NAME = "([^"]+)"$', re.MULTILINE)
_ORDER = (
    "load1",
    "inflight",
    "storm",
    "outage",
    "isolation",
    "isolation_sockets",
    "streams",
    "memory",
    "simulation",
    "simulation_sockets",
    "changes",
    "cancels",
    "soak",
    "threads",
    "holds",
    "readers",
    "fuzz",
    "mutation",
)


def parts() -> dict[str, str]:
    """Give the modules that are parts, by the names of the parts."""
    found: dict[str, str] = {}
    for path in _HERE.glob("*.py"):
        if name := _NAME.search(path.read_text(encoding="utf-8")):
            found[name[1]] = path.stem
    known = [name for name in _ORDER if name in found]
    return {name: found[name] for name in [*known, *sorted(found.keys() - set(known))]}


def run_here(module: str) -> list[Row]:
    """Run a part in this process."""
    try:
        rows: list[Row] = import_module(f"tests.deep.{module}").run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts have their turn
        traceback.print_exc()
        return [Row(module, f"{type(error).__name__}: {str(error)[:200]}", "comes to its end", ok=False)]
    return rows


def run_apart(name: str, module: str) -> list[Row]:
    """Run a part in a process of its own."""
    with TemporaryDirectory() as folder:
        result = Path(folder, "rows.json")
        command = [sys.executable, str(_HERE / "run.py"), "--here", module, "--into", str(result)]
        began = time.monotonic()
        code = subprocess.run(command, cwd=_ROOT, check=False).returncode
        took = f"{time.monotonic() - began:.0f} s"
        print(f"{name}: {took}", file=sys.stderr, flush=True)  # noqa: T201 - says how far it is
        if not result.exists():
            return [Row(name, f"ended with {code}", "comes to its end", ok=False)]
        return msgspec.json.decode(result.read_bytes(), type=list[Row])


def table(rows: list[Row]) -> str:
    """Write rows as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = ["| what | figure | goal | met |", "| --- | --- | --- | --- |"]
    lines += [f"| {_cell(row.name)} | {_cell(row.figure)} | {_cell(row.goal)} | {marks[row.ok]} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Run what the command line names, print the table, and say whether every goal was met."""
    known = parts()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of: {' '.join(known)}; none: all")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.list:
        print("\n".join(known))  # noqa: T201 - what was asked for
        return 0
    if chosen.here:
        chosen.into.write_bytes(msgspec.json.encode(run_here(chosen.here)))
        return 0
    if wrong := [name for name in chosen.parts if name not in known]:
        parser.error(f"no part is called {', '.join(wrong)}; there are: {' '.join(known)}")
    rows = [row for name in chosen.parts or known for row in run_apart(name, known[name])]
    print(table(rows))  # noqa: T201 - the result
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
