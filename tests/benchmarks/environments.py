"""The environments of the measured processes: made of pinned requirements, outside of the checkout's own files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_REQUIREMENTS = Path(__file__).parent / "requirements"
_MARK = "benchmark-requirements.sha256"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


class NotInstalledError(Exception):
    """An environment could not be made; the text says why."""


class Environments:
    """Makes environments on first demand, and keeps those whose pins have not changed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        """`None`: everything runs in this interpreter, as it is."""
        self._pythons: dict[str, Path] = {}
        self._failures: dict[str, str] = {}

    def python(self, name: str) -> Path:
        """Give the interpreter of an environment. Raises `NotInstalledError`, for the same environment each time."""
        if name in self._failures:
            raise NotInstalledError(self._failures[name])
        if name not in self._pythons:
            try:
                self._pythons[name] = _this() if self._folder is None else _make(self._folder / name, name)
            except NotInstalledError as failure:
                self._failures[name] = str(failure)
                raise
        return self._pythons[name]

    def variables(self) -> dict[str, str]:
        """Give the variables of a measured process: no proxy, no key, nothing that changes what Python loads."""
        variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # LiteLLM would fetch its price list; nothing here may leave the machine.
        variables |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}
        return variables | ({"PYTHONPATH": str(ROOT)} if self._folder is None else {})


def _this() -> Path:
    """Give this interpreter. The checkout is compiled as an installed package is, or its import would be too dear."""
    _run(sys.executable, "-m", "compileall", "-q", str(ROOT / "bifrost"))
    return Path(sys.executable)


def _make(folder: Path, name: str) -> Path:
    requirements = _REQUIREMENTS / f"{name}.txt"
    python = folder / "bin" / "python"
    mark = folder / _MARK
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != pins:
        sys.stderr.write(f"making the environment {name} in {folder}\n")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "-q", "-r", str(requirements))
        mark.write_text(pins)
    if name == "base":
        # Always anew: the checkout may have changed.
        _run(str(python), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", str(ROOT))
    return python


def _run(*command: str) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise NotInstalledError(errors[-1] if errors else f"{command[2]} ended with {done.returncode}")
