"""The pages use the usual terms: what a reader would look up, and what the code is called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.tables import DOCS
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USUAL: Mapping[str, str] = {
    r"trails?": "attempts, attempt records",
    r"knobs?": "setting",
    r"left alone": "the breaker is open, is not affected",
    r"(?:is|are|was|were) (?:told|asked for it)": "is reported, is listed, is requested",
    r"let in": "is sent, is admitted",
    r"keys? (?:rests?|is resting|are resting)": "is cooling down",
    r"used[- ]up": "is exhausted",
    r"passed over": "is skipped",
    r"as it comes|as they come": "as it arrives",
    r"gives? way": "another one is used",
    r"of (?:yours|ours) (?:is|are)": "your own",
    r"(?:begin|begins|began|begun) anew": "restart",
    r"stands? (?:in|on|at) (?:the|a|its)": "is in",
}
"""Words of our own, and what to write instead."""

_CODE = re.compile(r"^[ \t*-]*```.*?^[ \t]*```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)

PAGES = [
    DOCS.parent / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts and page.name != "names.md"),
]


def prose(page: Path) -> str:
    """Return the text of a page without its code; lines keep their numbers."""
    return _CODE.sub(lambda code: "\n" * code[0].count("\n"), page.read_text(encoding="utf-8"))


def assert_usual_words(page: Path) -> None:
    text = prose(page)
    found = [
        f"{page.name}:{text.count(chr(10), 0, match.start()) + 1} {match[0]!r}: write {usual}"
        for word, usual in USUAL.items()
        for match in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


@table("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_a_page_uses_the_usual_words(page: Path) -> None:
    assert_usual_words(page)


def test_private_words_are_found_in_prose_and_not_in_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The trail.\n\n```python\ntrail = 1\n```\n\n`trail`\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"^page\.md:1 'trail': write attempts"):
        assert_usual_words(page)
