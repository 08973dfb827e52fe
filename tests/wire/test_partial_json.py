from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.wire.partial_json import PartialJson, complete
from tests.table import table

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Text without halves of surrogate pairs: what `json.dumps` writes of those is another matter."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT

VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


NO_NUMBER = VALUES.filter(lambda value: isinstance(value, bool) or not isinstance(value, int | float))
"""A number that is all of the text is JSON at nearly every digit, so its beginnings give other numbers."""


@st.composite
def documents(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> str:
    """JSON in the several ways in which it may be written."""
    return json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2])),
        separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
    )


def is_part(part: Any, whole: Any) -> bool:
    """Say whether a value can grow into another by adding at its end."""
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(is_part(*pair) for pair in zip(part, whole, strict=False))
    if isinstance(part, dict) and isinstance(whole, dict):
        begins = list(part) == list(whole)[: len(part)]
        return begins and all(is_part(value, whole[key]) for key, value in part.items())
    return type(part) is type(whole) and part == whole


@given(documents())
def test_whole_json_gives_its_value(text: str) -> None:
    value = complete(text)

    assert value == json.loads(text)
    assert json.dumps(value) == json.dumps(json.loads(text))


@given(documents(NO_NUMBER))
def test_every_beginning_gives_a_part_of_the_value(text: str) -> None:
    whole = json.loads(text)
    for end in range(len(text)):
        part = complete(text[:end])
        assert part is None or is_part(part, whole), text[:end]


@given(documents(NO_NUMBER))
def test_the_value_never_shrinks(text: str) -> None:
    before: Any = None
    for end in range(len(text) + 1):
        value = complete(text[:end])
        assert before is None or is_part(before, value), text[:end]
        before = value


@given(documents(), st.data())
def test_pieces_give_what_the_whole_text_gives(text: str, data: st.DataObject) -> None:
    reader = PartialJson()
    place = 0
    before: Any = None
    while place < len(text):
        end = data.draw(st.integers(place + 1, len(text)))
        changed = reader.feed(text[place:end])
        value = reader.value
        assert value == complete(text[:end])
        assert changed or value == before
        before, place = value, end


@given(documents())
def test_what_was_given_stays_as_it_was(text: str) -> None:
    reader = PartialJson()
    given: list[tuple[Any, str]] = []
    for character in text:
        reader.feed(character)
        given.append((reader.value, json.dumps(reader.value)))

    assert all(json.dumps(value) == then for value, then in given)


@given(st.text() | st.text('[]{}",:\\ue0123456789-+.truefalsn \n\td8c'))
def test_no_text_whatsoever_fails(text: str) -> None:
    complete(text)


@given(documents(NO_NUMBER), st.data())
def test_spoilt_json_gives_what_came_before(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))

    before = complete(text[:place])
    after = complete(text[:place] + "\x00" + text[place:])

    # NUL is no JSON anywhere but, for our purposes, inside of a text.
    assert before is None or is_part(before, after)


@table(
    ("text", "value"),
    [
        ("", None),
        (" \n", None),
        ("{", {}),
        ("[", []),
        ('"', ""),
        ('{"na', {}),
        ('{"name"', {}),
        ('{"name":', {}),
        ('{"name": ', {}),
        ('{"name": "', {"name": ""}),
        ('{"name": "Ad', {"name": "Ad"}),
        ('{"name": "Ada",', {"name": "Ada"}),
        ('{"name": "Ada", "age": 3', {"name": "Ada"}),
        ('{"name": "Ada", "age": 36 ', {"name": "Ada", "age": 36}),
        ('{"name": "Ada", "age": 36}', {"name": "Ada", "age": 36}),
        ("[1", []),
        ("[1,", [1]),
        ("[1.5e", []),
        ("[1.5e3]", [1500.0]),
        ("[-", []),
        ("[tru", []),
        ("[true", [True]),
        ("[true, nul", [True]),
        ("[null", [None]),
        ('[{"a": {"b": [', [{"a": {"b": []}}]),
        ("12", 12),
        ("-", None),
        ("1e", None),
        ("nul", None),
        ("false", False),
    ],
)
def test_how_far_it_has_come(text: str, value: Any) -> None:
    assert complete(text) == value
    assert type(complete(text)) is type(value)


@table(
    ("text", "value"),
    [
        (r'"a\n', "a\n"),
        ('"a\\', "a"),
        (r'"a\u', "a"),
        (r'"a\u00e', "a"),
        (r'"a\u00e9', "aé"),
        (r'"\"\\\/\b\f\t\r', '"\\/\b\f\t\r'),
        (r'"a\ud83d', "a"),
        ('"a\\ud83d\\', "a"),
        (r'"a\ud83d\ude0', "a"),
        (r'"a\ud83d\ude00', "a😀"),
        (r'"a\ud83d\n', "a\ud83d\n"),
        (r'"a\ud83d!', "a\ud83d!"),
        (r'"a\ud83d"', "a\ud83d"),
        (r'"a\ud83d\u0041', "a\ud83dA"),
        (r'"a\ude00', "a\ude00"),
    ],
)
def test_an_escape_counts_once_it_is_whole(text: str, value: str) -> None:
    assert complete(text) == value


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'["é\u00e9\\", "\n"]', '{"a\\u0062": "😀"}'])
def test_an_escape_may_be_cut_anywhere(text: str) -> None:
    reader = PartialJson()
    for character in text:
        reader.feed(character)

    assert reader.value == json.loads(text)


@table(
    ("text", "value"),
    [
        ("[1, x, 2]", [1]),
        ("[1,]", [1]),
        ("[,1]", []),
        ("[1 2]", [1]),
        ("[01, 2]", []),
        ("[+1, 2]", []),
        ("[1.]", []),
        ("[.5]", []),
        ("[NaN]", []),
        ("[-Infinity]", []),
        ("[truth, 1]", []),
        ('{"a" 1}', {}),
        ('{"a": 1, }', {"a": 1}),
        ("{a: 1}", {}),
        ("{1: 1}", {}),
        ('{"a": 1]', {"a": 1}),
        ('[{"a": "b"}}', [{"a": "b"}]),
        ('["a\\x", 1]', ["a"]),
        ('["a\\u00zz", 1]', ["a"]),
        ('["a" "b"]', ["a"]),
        ("Here it is: {}", None),
        ("}", None),
        (":", None),
    ],
)
def test_reading_ends_where_the_text_stops_being_json(text: str, value: Any) -> None:
    assert complete(text) == value


def test_what_follows_the_value_is_not_read() -> None:
    reader = PartialJson()
    assert not reader.done
    assert reader.feed('{"a": 1}')
    assert reader.done
    assert not reader.feed(' [2] "c"\n```')
    assert reader.value == {"a": 1}


def test_a_piece_that_tells_nothing_new_changes_nothing() -> None:
    reader = PartialJson()
    pieces = ["{", '"na', 'me"', ":", ' "', "A", '"', ",", ' "n": 1', "2", "}"]

    assert [reader.feed(piece) for piece in pieces] == [
        *(True, False, False, False, True, True, False, False, False, False, True)
    ]


def test_of_equal_keys_the_last_wins() -> None:
    assert complete('{"a": 1, "a": [') == {"a": []}


def test_whole_parts_are_shared_and_open_ones_are_not() -> None:
    reader = PartialJson()
    reader.feed('[{"a": 1}, {"b": ')
    before = reader.value
    reader.feed("2}")

    assert before == [{"a": 1}, {}]
    assert reader.value[0] is before[0]
    assert reader.value[1] is not before[1]


def test_a_number_of_any_length_is_read() -> None:
    # json.loads refuses it: Python converts at most 4,300 digits.
    assert complete(f"[{'9' * 5000}, 1]") == [float("inf"), 1]


def test_a_model_that_is_stuck_in_brackets_does_no_harm() -> None:
    value = complete("[" * 100_000)

    depth = 0
    while value:
        (value,) = value
        depth += 1
    assert depth == 127


LONG: dict[str, tuple[list[str], Any]] = {
    "a list": (["[", *[f"{number}, " for number in range(20_000)], "1]"], [*range(20_000), 1]),
    "a text": (['"', *["word "] * 100_000, '"'], "word " * 100_000),
    "a number": (["1"] * 20_000, None),
    "an object": (
        ["{", *[f'"k{number}": 1, ' for number in range(20_000)], '"z": 2}'],
        {**{f"k{number}": 1 for number in range(20_000)}, "z": 2},
    ),
    "lists in a list": (["[[1], ", *["[2], "] * 20_000, "3]"], [[1], *[[2]] * 20_000, 3]),
}


@table("kind", LONG)
def test_of_what_is_long_fewer_values_are_made_and_none_is_lost(kind: str) -> None:
    pieces, whole = LONG[kind]
    reader = PartialJson()
    copied = 0
    given: Any = None
    for piece in pieces:
        if reader.feed(piece):
            before, given = given, reader.value
            copied += _cost_of(given)
            assert before is None or kind == "a number" or len(before) <= len(given)
    assert copied < len(pieces) * _cost_of(given) / 8
    if whole is not None:
        assert given == whole


def test_at_the_end_of_what_was_cut_there_is_all_that_came() -> None:
    reader = PartialJson()
    for number in range(20_000):
        reader.feed(f"[{number}, " if not number else f"{number}, ")
        _ = reader.value
    assert reader.value != list(range(20_000))
    reader.feed("")
    assert not reader.feed("1")
    assert reader.settle()
    assert reader.value == list(range(20_000))
    assert not reader.settle()


def _cost_of(value: Any) -> int:
    return len(value) // 32 if isinstance(value, str) else len(value) if isinstance(value, list | dict) else 1


@pytest.mark.parametrize("text", ["12", "-1.5e3", "1" * 5_000])
def test_a_number_that_comes_digit_by_digit_is_what_it_is_in_one(text: str) -> None:
    reader = PartialJson()
    for digit in f"[{text}]":
        reader.feed(digit)
    assert reader.value == complete(f"[{text}]") == [float(text)]
    assert complete(text) == float(text)
    assert complete("[1.") == complete("[1.2.3]") == complete("[1.2.3") == []
