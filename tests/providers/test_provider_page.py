from __future__ import annotations

import re

import pytest

from bifrost.providers.base import Provider
from bifrost.providers.catalog import CATALOG, STABLE
from tests.providers.provider_page import PAGE, filled

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_page_says_what_the_catalog_has() -> None:
    assert filled(TEXT) == TEXT, "write it anew: python -m tests.providers.provider_page"


@pytest.mark.parametrize("name", CATALOG)
def test_every_variable_and_state_of_a_provider_stands_there(name: str) -> None:
    row = CATALOG[name]
    (line,) = [line for line in TEXT.split("\n") if line.startswith(f"| [{name}](#{name})")]
    assert all(f"`{variable}`" in line for variable in (*row.key_variables, row.base_url_variable))
    assert line.count(" stable ") == len(STABLE.get(name, ()))
    assert line.count(" experimental ") == len(row.codecs) - len(STABLE.get(name, ()))
    assert f"\n### {name}\n" in TEXT


@pytest.mark.parametrize("source", EXAMPLES)
def test_the_examples_run(source: str) -> None:
    names: dict[str, object] = {}
    exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102 - the page's own examples
    made = names.get("row")
    assert made is None or isinstance(made, Provider)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
