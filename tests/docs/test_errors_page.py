"""The failure table of the documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bifrost
from bifrost import RetryConfig
from bifrost.errors import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    CallTimeoutError,
    ConnectError,
    ContentFilterError,
    ContextLengthError,
    ProviderError,
    RateLimitError,
    ServerError,
    TransportError,
)
from bifrost.providers.base import ErrorBody
from bifrost.routing.classify import _MEANINGS, _STATUSES, _WORDS, error_of
from bifrost.routing.retry import RULES, allows_fallback
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def _table() -> list[list[str]]:
    table = _PAGE.read_text(encoding="utf-8").split("## What happens after which failure")[1]
    rows = [line for line in table.splitlines() if line.startswith("| `") and line.count("|") == 7]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def _rows() -> dict[str, list[str]]:
    return {category.strip("`"): rest for category, *rest in _table()}


def test_every_row_of_the_page_agrees_with_the_code() -> None:
    for category, (_, _, same_key, other_key, fallback) in _rows().items():
        rule = RULES[category]
        assert bool(same_key) == rule.same_key, category
        assert bool(other_key) == rule.other_key, category
        assert fallback.startswith("yes") == rule.fallback, category
        assert same_key.startswith("once") == (rule.once or rule.free), category


def test_the_page_has_a_row_for_every_category() -> None:
    assert set(_rows()) == set(RULES)


def _classes(root: type[BifrostError] = BifrostError) -> Iterator[type[BifrostError]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == "bifrost.errors":
            yield from _classes(each)


def _named() -> set[tuple[str, type[BifrostError]]]:
    """Return the pairs of category and class on the page."""
    return {
        (category.strip("`"), getattr(bifrost, name))
        for category, classes, *_ in _table()
        for name in re.findall(r"`(\w+)`", classes)
    }


def _raised() -> set[tuple[str, type[BifrostError]]]:
    """Return the pairs of category and class in the code, by default, by status, and by the provider's words."""
    defaults = {(each.category, each) for each in _classes() if each not in (BifrostError, ProviderError)}
    verdicts = [*_STATUSES.values(), *_WORDS.values(), *(each.verdict for each in _MEANINGS.values())]
    return defaults | {(category, kind) for kind, category in verdicts}


_SET_ON_THE_ERROR = {
    ("never_sent", ConnectError),
    ("never_sent", CallTimeoutError),
    ("stale", TransportError),
    ("lost", TransportError),
    ("stale_token", AuthenticationError),
    ("limit", CallTimeoutError),
    ("allowance", RateLimitError),
    ("unknown", ProviderError),
    ("unknown", ServerError),
}
"""What is decided where the failure happens, not by its class, status or words."""


def test_the_page_names_the_classes_of_every_category() -> None:
    named = _named()
    for category, kind in _raised() | _SET_ON_THE_ERROR:
        assert any(category == row and issubclass(kind, each) for row, each in named), (category, kind)
    for row, each in named:
        assert any(row == category and issubclass(kind, each) for category, kind in _raised() | _SET_ON_THE_ERROR), row


@table("row", _table(), ids=[row[0] + row[-1] for row in _table()])
def test_the_page_names_the_class_of_every_status(row: list[str]) -> None:
    category, classes, examples, *_ = row
    for status in re.findall(r"(?<!Groq's )\b[3-5]\d\d\b", examples):
        error = error_of(
            int(status), ErrorBody(message=""), headers=None, provider="p", model="m", key="k", now_wall=0.0
        )
        assert (f"`{error.category}`", type(error).__name__ in classes) == (category, True), status


@table("error", [each for each in _classes() if each.category != "caller"])
def test_the_page_says_after_which_errors_a_fallback_is_tried(error: type[BifrostError]) -> None:
    cell = _rows()[error.category][-1]
    named = error.__name__ in re.findall(r"`(\w+Error)`", cell)
    assert error.fallback == (named != cell.startswith("yes"))


@pytest.mark.parametrize(
    ("error", "setting", "default"),
    [
        (ContextLengthError, "fallback_on_context_length", "yes, unless"),
        (ContentFilterError, "fallback_on_content_filter", "only with"),
        (BadRequestError, "fallback_on_caller_error", "only with"),
    ],
)
def test_the_page_names_the_setting_for_an_error_of_the_caller(
    error: type[BifrostError], setting: str, default: str
) -> None:
    [(_, classes, *_, cell)] = [row for row in _table() if f"`{setting}`" in row[-1]]
    assert classes == f"`{error.__name__}`"
    assert cell.startswith(default)
    for value in (True, False):
        options: dict[str, Any] = {setting: value}
        assert allows_fallback(error("wrong"), RetryConfig(**options)) == value
    assert allows_fallback(error("wrong"), RetryConfig()) == cell.startswith("yes")
