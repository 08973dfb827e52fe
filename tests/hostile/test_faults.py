"""The table of faults is whole, and what it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.hostile.faults import FAULTS, UNTESTED

TESTS = Path(__file__).parents[1]
TESTED = [number for number, fault in FAULTS.items() if fault.why_not is None]


@cache
def functions_of(file: str) -> frozenset[str]:
    """Give the names of a module's own functions."""
    module = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def numbers_of(name: str) -> range:
    """Give the numbers in a test's name: `test_fault_07_...`, `test_fault_29_to_38_...`."""
    found = re.match(r"test_fault_(\d+)(?:_to_(\d+))?_", name)
    assert found is not None, name
    first = int(found[1])
    return range(first, int(found[2] or first) + 1)


def test_every_fault_stands_in_the_table() -> None:
    assert list(FAULTS) == [*range(1, 110), *range(115, 121)]
    assert all(fault.told for fault in FAULTS.values())


def test_as_many_faults_are_untested_as_are_known() -> None:
    assert len(FAULTS) - len(TESTED) == UNTESTED
    assert not any(fault.tests for fault in FAULTS.values() if fault.why_not is not None)


@pytest.mark.parametrize("number", TESTED)
def test_the_tests_of_a_fault_are_there(number: int) -> None:
    assert FAULTS[number].tests
    for name in FAULTS[number].tests:
        file, _, function = name.partition("::")
        assert function in functions_of(file), name
        assert function.startswith("test_")


def test_what_the_deep_run_plays_whole_is_a_part_of_it() -> None:
    for part in {fault.deep for fault in FAULTS.values()} - {None}:
        assert f'NAME = "{part}"' in (TESTS / "deep" / f"{part}.py").read_text(encoding="utf-8")


def test_every_test_of_a_fault_stands_in_its_rows() -> None:
    for file in sorted((TESTS / "hostile").glob("test_*.py")):
        place = f"hostile/{file.name}"
        for name in functions_of(place):
            for number in numbers_of(name) if name.startswith("test_fault_") else ():
                assert f"{place}::{name}" in FAULTS[number].tests, f"row {number} does not name {name}"
