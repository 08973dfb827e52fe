"""What is shipped: the wheel has the package and nothing else; the pinned requirements fit the declared ones."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bifrost

_ROOT = Path(__file__).parents[1]
_PINNED = re.compile(r"^([\w.-]+)==(\S+) \\$", re.MULTILINE)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build may read, with things beside the package that must not get in."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, source)
    for name in ("bifrost", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "golden")
        shutil.copytree(_ROOT / name, source / name, ignore=ignored)
    (source / "start.pth").write_text("import sys")
    return source


def _build(source: Path, into: Path, *, target: str = "wheel") -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
        check=True,
        capture_output=True,
    )
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(source, tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(source).as_posix()) for path in (source / "bifrost").rglob("*") if path.is_file()}
    described = {name for name in names if re.match(r"bifrost_llm-[\d.]+\.dist-info/", name)}
    assert names - described == modules
    assert "bifrost/py.typed" in modules


def test_wheel_runs_nothing_at_start(wheel: Path) -> None:
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".pth", ".data", ".sh"))] == []


def test_wheel_describes_itself(wheel: Path, project: dict[str, Any]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (described,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = message_from_bytes(archive.read(f"{described}/METADATA"))
        entry_points = archive.read(f"{described}/entry_points.txt").decode()
        assert f"{described}/licenses/LICENSE" in archive.namelist()
    assert metadata["Name"] == "bifrost-llm"
    assert metadata["Version"] == project["project"]["version"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "[pytest11]\nbifrost = bifrost.testing.pytest_plugin\n" in entry_points


def test_package_tells_the_version_it_is_shipped_as(project: dict[str, Any]) -> None:
    assert bifrost.__version__ == project["project"]["version"]


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_two_builds_of_the_same_files_are_equal(target: str, source: Path, tmp_path: Path) -> None:
    """Wherever they lie, and whenever they were written."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(source, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    builds = [_build(place, tmp_path / name, target=target) for place, name in ((source, "one"), (elsewhere, "other"))]
    assert builds[0].name == builds[1].name
    assert len({hashlib.sha256(built.read_bytes()).hexdigest() for built in builds}) == 1


def test_what_the_source_archive_takes_in_is_there(project: dict[str, Any]) -> None:
    for entry in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (_ROOT / entry.removeprefix("/")).exists(), entry


def test_five_dependencies_each_with_both_bounds(project: dict[str, Any]) -> None:
    needed = [Requirement(text) for text in project["project"]["dependencies"]]
    assert {each.name for each in needed} == {"anyio", "attrs", "httpx", "mcp", "msgspec"}
    for each in needed:
        assert {bound.operator for bound in each.specifier} == {">=", "<"}


@pytest.mark.parametrize(
    ("pins", "extras"), [("tests/requirements.txt", ["test"]), (".ci/requirements.txt", ["test", "docs", "dev"])]
)
def test_pins_fit_what_is_declared(pins: str, extras: list[str], project: dict[str, Any]) -> None:
    text = (_ROOT / pins).read_text(encoding="utf-8")
    pinned = {canonicalize_name(name): version for name, version in _PINNED.findall(text)}
    declared = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in extras:
        declared += project["project"]["optional-dependencies"][extra]
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("pins", ["tests/requirements.txt", ".ci/requirements.txt"])
def test_every_pin_has_hashes_and_no_place_to_load_from(pins: str) -> None:
    lines = (_ROOT / pins).read_text(encoding="utf-8").splitlines()
    stray = [line for line in lines if not re.fullmatch(r"[\w.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)]
    assert stray == []


def test_ci_and_tests_pin_the_same_versions() -> None:
    of_tests, of_ci = (
        set(_PINNED.findall((_ROOT / name).read_text(encoding="utf-8")))
        for name in ("tests/requirements.txt", ".ci/requirements.txt")
    )
    assert of_tests <= of_ci
