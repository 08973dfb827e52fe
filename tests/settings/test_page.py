"""The files that the documentation shows can be read as they stand."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from bifrost.settings import load
from bifrost.settings.original.form import is_original
from bifrost.testing import fake_key
from tests.settings.files import problems, read
from tests.table import table

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
_FILES = re.findall(r"^```(toml|json)\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)

_ENVIRON: defaultdict[str, str] = defaultdict(
    str,
    {
        name: fake_key(name)
        for name in (
            *("OPENAI_API_KEY", "OPENAI_MINI_KEY", "ANTHROPIC_API_KEY", "CORP_KEY"),
            *("GROQ_TEAM_KEY", "GROQ_SPARE_KEY", "AZURE_WEST_KEY"),
        )
    },
)


@table(("syntax", "text"), _FILES)
def test_a_file_on_the_page_can_be_read(syntax: str, text: str) -> None:
    assert read(text, suffix=f".{syntax}", environ=_ENVIRON).notes == ()


def test_both_forms_are_on_the_page() -> None:
    import json

    forms = [is_original(json.loads(text)) for syntax, text in _FILES if syntax == "json"]
    assert sorted(forms) == [False, True]
    assert sum(syntax == "toml" for syntax, _ in _FILES) >= 3


def test_the_two_syntaxes_on_the_page_say_the_same_of_the_keys() -> None:
    toml = load(_ROOT / "examples" / "bifrost.toml", environ=_ENVIRON)
    json_text = next(text for syntax, text in _FILES if syntax == "json")
    json = read(json_text, suffix=".json", environ=_ENVIRON)
    assert toml.account.keys("openai", None) == json.account.keys("openai", None)
    assert toml.models == json.models
    assert toml.options == json.options


def test_the_mistakes_on_the_page_are_told_like_this() -> None:
    shown = " ".join(re.findall(r"^```text\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)[0].split())
    text = 'timeout = "a minute"\n[providers.opanai]\nkeys = "env.CORP_KEY"'
    for number, problem in enumerate(problems(text, environ=_ENVIRON), start=1):
        assert f"({number}) {problem}" in shown
