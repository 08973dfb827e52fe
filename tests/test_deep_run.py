"""The deep run still runs: its parts are found and told of, and what they are made of does what it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.deep.fuzz import SURFACES, fuzz
from tests.deep.mutants import mutants_of
from tests.deep.row import Row
from tests.table import table

_RUN = Path(__file__).parent / "deep" / "run.py"
_PAGE = Path(__file__).parents[1] / "docs" / "deep-run.md"
_INPUTS = 200


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(_RUN), *arguments], capture_output=True, text=True, check=False)


def test_every_part_is_on_the_page() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    parts = _run("--list").stdout.split()
    assert {"load1", "storm", "mutation"} <= set(parts)
    assert [part for part in parts if f"`{part}`" not in page] == []


def test_a_part_that_does_not_exist_is_refused() -> None:
    done = _run("load1", "lode2")
    assert done.returncode == 2
    assert "no part is called lode2" in done.stderr


def test_a_part_that_breaks_is_a_row_that_misses_its_goal(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    assert _run("--here", "nothing", "--into", str(rows)).returncode == 0
    (row,) = msgspec.json.decode(rows.read_bytes(), type=list[Row])
    assert row.figure.startswith("ModuleNotFoundError")
    assert row.ok is False


@table("surface", SURFACES)
def test_spoilt_input_is_read_or_refused(surface: str) -> None:
    for seed in range(_INPUTS):
        SURFACES[surface](Random(seed))


def test_a_finding_of_the_fuzzer_has_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(chance: Random) -> None:
        if chance.random() < 0.5:
            raise AssertionError("odd")

    monkeypatch.setitem(SURFACES, "odd", odd)
    count, findings = fuzz("odd", seconds=0.05)
    ((told, seed),) = findings.items()
    assert count > 1
    assert told.startswith("AssertionError: odd")
    with pytest.raises(AssertionError, match="odd"):
        odd(Random(seed))


def _told(source: str) -> list[str]:
    return [mutant.told for mutant in mutants_of(source)]


def test_each_mutant_has_one_defect() -> None:
    source = "def f(a: int = 1) -> bool:\n    '''Say.'''\n    b = a + 2\n    return a < b and not a\n"
    mutants = list(mutants_of(source))
    assert [mutant.told for mutant in mutants] == [
        "2 for 1 in `def f(a: int=1) -> bool:`",
        "0 for 1 in `def f(a: int=1) -> bool:`",
        "no `b = a + 2`",
        "Add as Sub in `a + 2`",
        "3 for 2 in `b = a + 2`",
        "1 for 2 in `b = a + 2`",
        "None for `a < b and (not a)`",
        "And as Or in `a < b and (not a)`",
        "without `a < b` in `a < b and (not a)`",
        "without `not a` in `a < b and (not a)`",
        "Lt as LtE in `a < b`",
        "no not in `not a`",
    ]
    texts = {ast.unparse(mutant.tree) for mutant in mutants}
    assert len(texts) == len(mutants)
    assert ast.unparse(ast.parse(source)) not in texts
    assert {mutant.line for mutant in mutants} == {1, 3, 4}
    assert {mutant.where for mutant in mutants} == {"f"}


@table(
    ("source", "defects"),
    [
        ("x = a if b else c", ["not `b`"]),
        ("x = [a for a in b if a]", ["not `a`"]),
        ("x = min(a, b)", ["max in `min(a, b)`"]),
        ("x = a.startswith(b)", ["endswith in `a.startswith(b)`"]),
        ("x = -a", ["no minus in `-a`"]),
        ("x = a and b and c", ["And as Or in {0}", "without `a` in {0}", "without `b` in {0}", "without `c` in {0}"]),
        ("def f():\n    del a\n    return b", ["no `del a`", "None for `b`"]),
        ("def f():\n    for a in b:\n        return\n    g()", ["no `for a in b:`", "no `return`", "no `g()`"]),
        ("def f():\n    g()\n    return", ["no `g()`"]),
        ("x = b'a'", ["b'?' for b'a' in `x = b'a'`"]),
        ("x = f'words {a + b} words'", ["Add as Sub in `a + b`"]),
        ("if TYPE_CHECKING:\n    x = 1", []),
        ("X: TypeAlias = Literal['a']", []),
    ],
)
def test_defects_are_small_and_of_many_kinds(source: str, defects: list[str]) -> None:
    assert _told(source) == [defect.format("`a and b and c`") for defect in defects]


def test_defects_that_read_alike_are_told_apart() -> None:
    assert _told("def f():\n    return a + a + (a + a)")[-2:] == [
        "Add as Sub in `a + a`",
        "Add as Sub in `a + a`, no. 2",
    ]


def test_a_row_may_have_nothing_to_hold_it_against() -> None:
    assert Row("CPU of a call", "57 us", "", ok=None).ok is None
