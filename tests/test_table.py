"""Tables play every row, whatever the rows before it did, and report each that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.table import selection, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_seen: list[Any] = []


@pytest.fixture
def seen() -> list[Any]:
    _seen.clear()
    return _seen


@pytest.fixture
def one_row() -> Iterator[None]:
    selection["label"] = "two"
    yield
    selection["label"] = ""


@table("value", [1, 2, 3])
def passes(value: int, seen: list[Any]) -> None:
    seen.append(value)


@table("value", [1, 2, 3], ids=["one", "two", "three"])
def fails(value: int, seen: list[Any]) -> None:
    seen.append(value)
    assert value == 2


@table("value", [1, 2])
@table(("word", "place"), [("a", 0), ("b", 1)])
def fails_once(value: int, word: str, place: int, seen: list[Any]) -> None:
    seen.append((value, word, place))
    if (value, word) == (2, "b"):
        pytest.fail("it is the last")


@pytest.mark.anyio
@table("value", [1, 1, 2])
@table("function", [len, max], ids=lambda function: function.__name__)
async def test_an_async_test_plays_its_rows_on_each_loop(value: int, function: Any, kind: str) -> None:
    assert function([value]) in (1, value)
    assert kind in {"plain", "stream"}


def test_every_row_is_played(seen: list[Any]) -> None:
    passes(seen=seen)
    assert seen == [1, 2, 3]


def test_rows_after_a_failure_are_played_and_every_failure_is_reported(seen: list[Any]) -> None:
    with pytest.raises(ExceptionGroup, match="2 of 3 rows fail: one, three") as caught:
        fails(seen=seen)
    assert seen == [1, 2, 3]
    assert [error.__notes__ for error in caught.value.exceptions] == [["row: one"], ["row: three"]]


def test_one_failure_is_raised_as_it_is_and_names_its_rows(seen: list[Any]) -> None:
    with pytest.raises(AssertionError, match="it is the last") as caught:
        fails_once(seen=seen)
    assert seen == [(1, "a", 0), (1, "b", 1), (2, "a", 0), (2, "b", 1)]
    assert caught.value.__notes__ == ["row: b-1", "row: 2"]


@pytest.mark.anyio
async def test_an_async_row_that_fails_is_reported() -> None:
    @table("value", [1, 2, 3])
    async def check(value: int) -> None:
        assert value > 2

    with pytest.raises(ExceptionGroup, match="2 of 3 rows fail: 1, 2"):
        await check()


def test_a_row_that_is_skipped_proves_nothing() -> None:
    @table("value", [1])
    def check(value: int) -> None:
        pytest.skip("not here")

    with pytest.raises(AssertionError, match="not here"):
        check()


@pytest.mark.usefixtures("one_row")
def test_rows_are_chosen_by_their_label(seen: list[Any]) -> None:
    fails(seen=seen)
    assert seen == [2]
    with pytest.raises(pytest.skip.Exception, match="no row"):
        passes(seen=seen)


def test_a_table_that_proves_nothing_is_refused() -> None:
    with pytest.raises(AssertionError, match="without rows"):
        table("value", [])
    with pytest.raises(AssertionError, match="other arguments"):
        table("value", [1])(passes)
    with pytest.raises(AssertionError, match="no marks"):
        table("value", [pytest.param(1, marks=pytest.mark.wide)])
    with pytest.raises(AssertionError, match="row 0 has 1 values"):
        table("value, other", [(1,)])
