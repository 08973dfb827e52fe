"""The ways into the documentation: the start page, the list for models, the reference."""

from __future__ import annotations

import importlib
import re
import runpy
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.docs import api_names
from tests.docs.tables import DOCS
from tests.table import table

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)")
_TREE = re.compile(r":::\{toctree\}\n(?:[:\w ]*\n)*?\n(.*?):::", re.DOTALL)

PAGES = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "_build" not in page.parts}


def linked(page: Path) -> list[str]:
    return _LINK.findall(page.read_text(encoding="utf-8"))


def tree(page: Path) -> list[str]:
    found = _TREE.findall(page.read_text(encoding="utf-8"))
    return [f"{entry}.md" for entries in found for entry in entries.split()]


def test_every_page_is_one_click_from_the_start_or_from_the_reference() -> None:
    start, reference = DOCS / "index.md", DOCS / "api" / "index.md"
    assert {"index.md", *tree(start), *(f"api/{page}" for page in tree(reference))} == PAGES
    assert set(tree(start)) <= set(linked(start)), "the text of the start page leads there too"


def test_the_list_for_models_has_every_page_once_in_the_order_of_the_tree() -> None:
    listed = linked_in_list()
    assert sorted(listed) == sorted(PAGES - {"index.md"})
    order = [page for page in listed if page in tree(DOCS / "index.md")]
    assert [page for page in tree(DOCS / "index.md") if page not in ("api/index.md", "history.md")] == [
        page for page in order if page not in ("api/index.md", "history.md")
    ]


def linked_in_list() -> list[str]:
    return _LINK.findall((DOCS / "llms.txt").read_text(encoding="utf-8"))


def test_the_list_for_models_has_the_form_that_they_expect() -> None:
    lines = (DOCS / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# bifrost"
    assert lines[2].startswith("> ")
    body = lines[lines.index("## Use it") :]
    assert all(re.fullmatch(r"|## [\w ]+|- \[[^\]]+\]\([\w./-]+\.md\)(: .+)?", line) for line in body)


@table("page", ["../README.md", *sorted(PAGES)])
def test_a_link_leads_to_a_page(page: str) -> None:
    for target in linked(DOCS / page):
        assert ((DOCS / page).parent / target).is_file(), target


_FILE = re.compile(r"`((?:bifrost|docs|examples|tests)/[\w./-]+)`")


@table("page", ["../README.md", *sorted(PAGES - {"history.md"})])
def test_a_file_that_a_page_names_is_there(page: str) -> None:
    for name in _FILE.findall((DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS.parent / name).exists(), name


def test_the_layers_on_the_page_are_those_that_are_checked() -> None:
    checks = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [layers] = [check["layers"] for check in checks["contracts"] if check["type"] == "layers"]
    text = (DOCS / "system-overview.md").read_text(encoding="utf-8").partition("## The layers")[2]
    shown = text.partition("```text\n")[2].partition("\n```")[0]
    assert shown.splitlines() == [re.sub(r"[()]", "", layer) for layer in layers]


# --- the reference

_ENTRY = re.compile(r"^\.\. auto(?:class|exception|function|data):: (\S+)$", re.MULTILINE)

ENTRIES = [entry for page in (DOCS / "api").glob("*.md") for entry in _ENTRY.findall(page.read_text(encoding="utf-8"))]


@table("module", ["bifrost", "bifrost.testing", "bifrost.plugins", "bifrost.settings", "bifrost.telemetry"])
def test_the_reference_has_every_public_name(module: str) -> None:
    public = {f"{module}.{name}" for name in getattr(importlib.import_module(module), "__all__", ())}
    assert public - set(ENTRIES) == set(), "write it on a page of docs/api"


def test_the_reference_has_no_name_twice_and_none_that_is_not_there() -> None:
    assert len(ENTRIES) == len(set(ENTRIES))
    for entry in ENTRIES:
        module, _, name = entry.rpartition(".")
        assert hasattr(importlib.import_module(module), name), entry


def test_tables_have_a_style_that_lets_them_wrap_and_scroll() -> None:
    conf = runpy.run_path(str(DOCS / "conf.py"))
    [style] = [DOCS / folder / name for folder in conf["html_static_path"] for name in conf["html_css_files"]]
    rules = style.read_text(encoding="utf-8")
    assert re.search(r"td code\.literal[^}]*overflow-wrap: anywhere[^}]*white-space: normal", rules)
    assert re.search(r"\.content \{[^}]*min-width: 0", rules)


def test_the_page_of_all_names_has_every_name() -> None:
    titles = re.findall(r"^### `(\w+)", api_names.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [entry.rpartition(".")[2] for entry in api_names.entries()], f"run {api_names.COMMAND}"


@pytest.mark.wide  # Each changed docstring changes the page: it is made anew before a change lands.
def test_the_page_of_all_names_is_what_the_code_says() -> None:
    assert api_names.PAGE.read_text(encoding="utf-8") == api_names.page(), f"run {api_names.COMMAND}"


def test_a_docstring_is_read_as_it_is_written() -> None:
    as_rst = runpy.run_path(str(DOCS / "conf.py"))["as_rst"]
    assert as_rst("Give a `Key`s `value`, or `x or\ny`.") == "Give a :py:obj:`Key`\\ s ``value``, or ``x or y``."
    assert as_rst("Say:\n\n    a = `1`") == "Say:\n\n.. code-block:: python\n\n    a = `1`"
    assert as_rst("```python\na = 1\n```") == ".. code-block:: python\n\n    a = 1\n"
    assert as_rst("Args:\n    a: One\n        thing.\n    **b: Others.") == (
        ":param a: One\n        thing.\n:param b: Others."
    )
