"""Mutation testing: small defects in the modules that decide, one at a time; how many do their own tests notice?

`python3.11 -m tests.deep.mutation retry` makes those of one module. Each mutant is a fork of a process that has
everything but `bifrost` loaded, so that it costs little more than its tests.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import Phase, settings

from tests.deep.equivalent import EQUIVALENT
from tests.deep.mutants import mutants_of
from tests.deep.row import Row

if TYPE_CHECKING:
    from types import CodeType

    from tests.deep.mutants import Mutant

NAME = "mutation"
_ROOT = Path(__file__).resolve().parents[2]
_GOAL = 0.9
_PATIENCE = 5.0
"""CPU seconds that a mutant's tests may take beyond three times what they take without it."""
_LOADED = (
    *("anyio", "anyio._backends._asyncio", "anyio._backends._trio", "attrs", "httpx", "hypothesis"),
    *("hypothesis.strategies", "msgspec", "trio", "trio.testing", "xdist.plugin"),
)
_OPTIONS = (
    # Assertions as they are: to say more of a failure would cost more than the tests.
    *("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--assert=plain", "-o", "faulthandler_timeout=0"),
)


class Target(msgspec.Struct, frozen=True):
    """A module, and the tests that are its own."""

    module: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return "bifrost." + self.module.replace("/", ".")

    @property
    def path(self) -> Path:
        return _ROOT / f"bifrost/{self.module}.py"


TARGETS = {
    "retry": Target("routing/retry", ("tests/routing/test_retry.py",)),
    "breaker": Target("routing/breaker", ("tests/routing/test_breaker.py",)),
    "budget": Target("routing/budget", ("tests/routing/test_budget.py",)),
    "keys": Target("routing/keys", ("tests/routing/test_keys.py",)),
    "key_health": Target("routing/key_health", ("tests/routing/test_key_health.py", "tests/routing/test_keys.py")),
    "hedge": Target("routing/hedge", ("tests/routing/test_hedge.py",)),
    "adaptive": Target("routing/adaptive", ("tests/routing/test_adaptive.py",)),
    "sse": Target("wire/framing/sse", ("tests/wire/framing/test_sse.py",)),
    "redaction": Target("wire/secrets", ("tests/wire/test_auth.py",)),
    "redaction_of_errors": Target("engine/attempt", ("tests/engine/test_attempt.py",)),
    "redaction_of_logs": Target("transport/logs", ("tests/transport/test_logs.py",)),
}


class _FirstFailureIsEnough:
    """A plugin of pytest: nobody wants to know the smallest example that kills a mutant."""

    def pytest_configure(self) -> None:
        settings.register_profile("mutation", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Finder:
    """Gives a mutant where its module is asked for."""

    def __init__(self, target: Target, tree: Any) -> None:
        self._name = target.name
        self._path = str(target.path)
        self._code: CodeType = compile(tree, self._path, "exec")

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name != self._name:
            return None
        return spec_from_file_location(name, self._path, loader=_Loader(name, self._path, self._code))


def _start(target: Target, mutant: Mutant | None, *, limit: float) -> int:
    """Run the tests in a fork, with a mutant in the place of its module. Gives the fork's id."""
    child = os.fork()
    if child:
        return child
    code = 2
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(quiet, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
        signal.alarm(int(limit * 20))
        if mutant is not None:
            # Before pytest, whose own finder would take the module for a plugin's and read it from its file.
            sys.meta_path.insert(0, _Finder(target, mutant.tree))
            import_module(target.name)
        code = int(pytest.main([*_OPTIONS, *target.tests], plugins=[_FirstFailureIsEnough()]))
    finally:
        os._exit(code)


def survivors_of(target: Target) -> tuple[int, list[Mutant]]:
    """Make all mutants of a module. Gives how many there are, and those that its tests do not notice."""
    os.chdir(_ROOT)
    limit = 3 * _baseline(target) + _PATIENCE
    waiting = list(mutants_of(target.path.read_text(encoding="utf-8")))
    count, running, survivors = len(waiting), dict[int, "Mutant"](), list["Mutant"]()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            running[_start(target, mutant, limit=limit)] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            survivors.append(mutant)
    return count, sorted(survivors, key=lambda mutant: mutant.line)


def _baseline(target: Target) -> float:
    """Give the CPU seconds of the tests when all is well. They must pass then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, status = os.waitpid(_start(target, None, limit=300), 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise RuntimeError(f"{' '.join(target.tests)} fails without any mutant")
    return after.ru_utime - before.ru_utime


def _row(name: str) -> Row:
    target = TARGETS[name]
    began = time.monotonic()
    count, survivors = survivors_of(target)
    took = time.monotonic() - began
    explained = EQUIVALENT.get(target.module, {})
    found = {(mutant.where, mutant.told) for mutant in survivors}
    _tell(f"{name}: {count} mutants in {took:.0f} s; {len(survivors)} survive:")
    for mutant in survivors:
        why = explained.get((mutant.where, mutant.told))
        _tell(f"  bifrost/{target.module}.py:{mutant.line} {mutant.where}: {mutant.told}{f' ({why})' if why else ''}")
    stale = explained.keys() - found
    for where, told in sorted(stale):
        _tell(f"  tests/deep/equivalent.py: this one does not survive: {where}: {told}")
    killed = 1 - len(survivors) / count
    figure = f"{killed:.1%} of {count}"
    if known := len(explained.keys() & found):
        figure += f"; {(count - len(survivors)) / (count - known):.1%} without {known} that change nothing"
    return Row(f"mutants of {name} killed", figure, f">= {_GOAL:.0%}", ok=killed >= _GOAL and not stale)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for whoever looks after the survivors


def run(names: tuple[str, ...] = tuple(TARGETS)) -> list[Row]:
    for module in _LOADED:
        import_module(module)
    return [_row(name) for name in names]


if __name__ == "__main__":
    print(*run(tuple(sys.argv[1:]) or tuple(TARGETS)), sep="\n")  # noqa: T201 - the result
