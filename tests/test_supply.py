"""What the deep run's look at our dependencies is made of; the run itself needs a network."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.deep.supply import declared, last_line, lowest
from tests.deep.supply_lowest import _same
from tests.deep.supply_sbom import written_here
from tests.table import table


def test_every_requirement_of_the_package_has_a_lower_bound() -> None:
    pins = lowest(declared())
    assert [pin.partition("==")[0] for pin in pins] == ["anyio", "attrs", "httpx", "mcp", "msgspec"]
    assert all(pin.partition("==")[2][0].isdigit() for pin in pins)
    with pytest.raises(ValueError, match="'httpx<1' has no lower bound"):
        lowest(["httpx<1"])


def test_an_extras_requirements_come_after_the_packages_own() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert declared("docs") == [*project["dependencies"], *project["optional-dependencies"]["docs"]]


@table(
    ("pin", "version", "same"),
    [
        ("anyio==4.12", "anyio==4.12.0", True),
        ("mcp==2", "mcp==2.0.1", True),
        ("anyio==4.12", "anyio==4.121.0", False),
        ("attrs==25.1", "attrs==26.1.0", False),
        ("attrs==25.1", "other==25.1", False),
    ],
)
def test_a_pin_is_what_was_installed(pin: str, version: str, same: bool) -> None:
    assert _same(pin, version) is same


def test_a_commands_error_is_told_rather_than_its_last_words() -> None:
    assert last_line("a\nERROR: no such package\n[notice] something\n") == "ERROR: no such package"
    assert last_line("a\nb\n\n") == "b"
    assert last_line("") == "it said nothing"


def test_a_bill_can_be_written_without_a_tool() -> None:
    bill = written_here([{"name": "Some_Thing", "version": "1.2", "licenses": ["MIT"]}])
    [component] = bill["components"]
    assert component["purl"] == "pkg:pypi/some-thing@1.2"
    assert component["licenses"] == [{"license": {"name": "MIT"}}]
    assert bill["bomFormat"] == "CycloneDX"
