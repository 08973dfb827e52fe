"""The failure table of the documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

from bifrost.routing.retry import RULES

_PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def _rows() -> dict[str, list[str]]:
    table = _PAGE.read_text(encoding="utf-8").split("## What happens after which failure")[1]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {category.strip("`"): rest for category, *rest in cells}


def test_every_row_of_the_page_agrees_with_the_code() -> None:
    for category, (_, same_key, other_key, fallback) in _rows().items():
        rule = RULES[category]
        assert bool(same_key) == rule.same_key, category
        assert bool(other_key) == rule.other_key, category
        assert fallback.startswith("yes") == rule.fallback, category
        assert same_key.startswith("once") == (rule.once or rule.free), category


def test_the_page_has_a_row_for_every_category() -> None:
    assert set(_rows()) == set(RULES)
