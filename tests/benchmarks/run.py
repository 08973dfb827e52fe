"""Measure bifrost and its peers on this machine: `python3.11 tests/benchmarks/run.py [PART ...]`.

Makes environments with pinned versions, measures every case once per round, each time in a fresh process, rounds
interleaved; prints the tables as Markdown and writes the figures as JSON. All traffic stays on the loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cases import ENVIRONMENTS, PARTS, Case, make_cases, rounds_of
from environments import ROOT, Environments, NotInstalledError
from report import report

_HERE = Path(__file__).parent
_LIMIT = 300.0
"""The most seconds that one case may take."""


class Bench:
    """The cores, the upstream and the interpreters that cases share."""

    def __init__(self, environments: Environments, folder: Path, stack: ExitStack) -> None:
        self._environments = environments
        self._folder = folder
        self._stack = stack
        self._ports: dict[str, int] = {}
        self._authority: str | None = None
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # The client has a core of its own; this process sleeps while it measures.
        self.client_core = cores[0] if len(cores) > 1 else None
        self.upstream_core = cores[1] if len(cores) > 1 else None

    def measure(self, case: Case) -> dict[str, Any]:
        """Measure a case once. Gives its figures, or what kept it from having any."""
        settings = dict(case.settings)
        try:
            python = self._environments.python(case.environment)
            if case.scheme is not None:
                port = self._port(case.scheme)
                settings["base_url"] = f"{case.scheme}://127.0.0.1:{port}/{case.path}/v1"
                settings["authority"] = self._authority if case.scheme == "https" else None
        except NotInstalledError as failure:
            return {"failure": f"not installed: {failure}"}
        return self.child(python, case.module, settings)

    def versions(self, name: str) -> dict[str, Any]:
        """Give the versions in an environment."""
        try:
            python = self._environments.python(name)
        except NotInstalledError as failure:
            return {"failure": str(failure)}
        return self.child(python, "versions", {"packages": list(ENVIRONMENTS[name])})

    def child(self, python: Path, module: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Run one measurement in a process of its own."""
        task, result = self._folder / "task.json", self._folder / "result.json"
        result.unlink(missing_ok=True)
        core = self.client_core
        task.write_text(json.dumps({"part": module, "settings": settings, "core": core, "result": str(result)}))
        command = [str(python), str(_HERE / "child.py"), str(task)]
        try:
            done = subprocess.run(
                command,
                env=self._environments.variables(),
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failure": f"failed: no end after {_LIMIT:g} s"}
        if done.returncode or not result.exists():
            lines = done.stderr.strip().splitlines()
            ending = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
            return {"failure": f"failed: {lines[-1][:200] if lines else ending}"}
        return json.loads(result.read_text())

    def _port(self, scheme: str) -> int:
        if not self._ports:
            self._start_upstream()
        if scheme not in self._ports:
            raise NotInstalledError("there is no certificate for https")
        return self._ports[scheme]

    def _start_upstream(self) -> None:
        python = self._environments.python("base")
        command = [str(python), str(_HERE / "certificates.py"), str(self._folder)]
        made = subprocess.run(command, env=self._environments.variables(), check=False).returncode == 0
        certificate = [str(self._folder / "server.pem")] if made else []
        self._authority = str(self._folder / "authority.pem")
        upstream = self._stack.enter_context(
            subprocess.Popen(
                [str(python), str(_HERE / "upstream.py"), *certificate],
                env=self._environments.variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        # Its input is closed at the end, which ends it.
        self._stack.callback(upstream.terminate)
        if self.upstream_core is not None:
            os.sched_setaffinity(upstream.pid, {self.upstream_core})
        assert upstream.stdout is not None
        self._ports = json.loads(upstream.stdout.readline())


def measure(cases: list[Case], bench: Bench, rounds: int) -> list[dict[str, Any]]:
    """Measure all cases, round by round: each round takes them in the other direction."""
    results: list[dict[str, Any]] = []
    hopeless: set[tuple[str, str]] = set()
    for number in range(rounds):
        due = [case for case in cases if number < rounds_of(case.part, rounds)]
        for case in reversed(due) if number % 2 else due:
            if (case.part, case.name) in hopeless:
                continue
            began = time.monotonic()
            figures = bench.measure(case)
            if "failure" in figures:
                hopeless.add((case.part, case.name))
            results.append({"part": case.part, "case": case.name, "round": number, "figures": figures})
            outcome = figures.get("failure", "done")
            took = time.monotonic() - began
            sys.stderr.write(f"round {number + 1}/{rounds}  {case.part:<10} {case.name:<26} {took:5.1f} s  {outcome}\n")
    return results


def machine() -> dict[str, Any]:
    """Describe the machine in words that tell nobody whose it is."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load": list(os.getloadavg()),
        "date": time.strftime("%Y-%m-%d"),
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--rounds", type=int, default=None, help="how often each case is measured (10; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="sizes that only show that everything runs")
    parser.add_argument("--only", default=None, help="cases to measure, by name: bare,bifrost,openai")
    parser.add_argument(
        "--environments", type=Path, default=ROOT / ".venv-benchmarks", help="where environments are kept"
    )
    parser.add_argument("--here", action="store_true", help="use this interpreter and its packages; install nothing")
    parser.add_argument("--output", type=Path, default=None, help="the JSON file (in the folder of environments)")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return given


def main() -> None:
    """Measure what the command line names."""
    given = arguments()
    rounds = given.rounds or (1 if given.quick else 10)
    only = given.only.split(",") if given.only else None
    cases = make_cases(given.parts or list(PARTS), quick=given.quick, only=only)
    output = given.output or given.environments / "results.json"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Environments(None if given.here else given.environments), Path(folder), stack)
        described = machine()
        needed = dict.fromkeys(case.environment for case in cases)
        versions = {name: bench.versions(name) for name in needed}
        results = measure(cases, bench, rounds)
        pinned = None if bench.client_core is None else [bench.client_core, bench.upstream_core]
    document = {
        "machine": described | {"pinned": pinned},
        "quick": given.quick,
        "rounds": rounds,
        "versions": versions,
        "labels": {f"{case.part}:{case.name}": case.label for case in cases},
        "compare": {f"{case.part}:{case.name}": case.compare for case in cases},
        "results": results,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(report(document))
    sys.stderr.write(f"the figures are in {output}; {_HERE.name}/plot.py draws them\n")


if __name__ == "__main__":
    main()
