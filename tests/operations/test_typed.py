from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost.errors import InvalidRequestError
from bifrost.operations.typed import misfit, read_as
from tests.table import table


class Inner(msgspec.Struct):
    names: list[str] = []
    size: int | None = None


def test_a_value_that_fits_is_read() -> None:
    assert read_as({"names": ["a"]}, Inner, "inner") == Inner(names=["a"])
    assert read_as(7, float, "x") == 7.0


@table(
    ("value", "kind", "told"),
    [
        ("7", int, "opt: expected `int`, got `str`"),
        (7, Inner, "opt: expected `dict`, got `int`"),
        ({"names": 7}, Inner, "opt.names: expected `list`, got `int`"),
        ({"names": ["a", 7]}, Inner, "opt.names[1]: expected `str`, got `int`"),
        ({"size": []}, Inner, "opt.size: expected `int | None`, got `list`"),
        ({"a": "b"}, dict[str, int], "opt[...]: expected `int`, got `str`"),
        ({7: 7}, dict[str, int], "a key of opt: expected `str`, got `int`"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place_in_pythons_words(value: object, kind: Any, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_as(value, kind, "opt")
    assert str(caught.value) == told


def test_fields_alone_name_the_place_where_there_is_no_other_name() -> None:
    with pytest.raises(InvalidRequestError, match=r"^names\[0\]: expected `str`, got `bool`$"):
        read_as({"names": [True]}, Inner, "")


def test_a_request_that_fits_is_told_from_one_that_does_not() -> None:
    made: Any = Inner
    assert misfit(made(names=["a"])) is None
    assert misfit(made(names=[7])) == "names[0]: expected `str`, got `int`"
    assert "object" in (misfit(made(size=object())) or "")
