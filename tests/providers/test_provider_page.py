from __future__ import annotations

import re

from bifrost.account import EnvAccount
from bifrost.providers.catalog import CATALOG, STABLE
from tests.providers.provider_page import PAGE, filled
from tests.table import table

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_says_what_the_catalog_has() -> None:
    assert filled(TEXT) == TEXT, "write it anew: python -m tests.providers.provider_page"


@table("name", CATALOG)
def test_every_variable_and_state_of_a_provider_stands_there(name: str) -> None:
    row = CATALOG[name]
    (line,) = [line for line in TEXT.split("\n") if line.startswith(f"| [{name}](#{name})")]
    assert all(f"`{variable}`" in line for variable in (*row.key_variables, row.base_url_variable))
    assert line.count(" stable ") == len(STABLE.get(name, ()))
    assert line.count(" experimental ") == len(row.codecs) - len(STABLE.get(name, ()))
    assert f"\n### {name}\n" in TEXT


@table("name", CATALOG)
def test_what_to_export_configures_the_provider(name: str) -> None:
    section = TEXT.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", section, flags=re.MULTILINE))
    assert exported
    assert list(EnvAccount(exported).providers()) == [name]
    settings = [key.settings for key in EnvAccount(exported).keys(name, None)]
    assert EnvAccount(exported).config(name).base_url or CATALOG[name].base_url or any(settings)
