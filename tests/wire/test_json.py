from __future__ import annotations

import json as standard
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import InvalidRequestError, MalformedResponseError, ResponseTooLargeError
from bifrost.wire import json
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Answer(msgspec.Struct):
    text: str = ""
    size: int = 0


class Request(msgspec.Struct, omit_defaults=True):
    model: str = ""
    temperature: float | None = None
    messages: list[Any] = []
    data: bytes = b""
    bias: dict[int, float] | msgspec.UnsetType = msgspec.UNSET


class Role(StrEnum):
    USER = "user"


class Odd(Enum):
    NAN = float("nan")


class Loud(str):
    __slots__ = ()


class Shy(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


ANSWER = msgspec.json.Decoder(Answer)


def nest(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def twice_itself() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


def itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


# --- what comes in


def test_json_of_the_decoders_type_is_read() -> None:
    assert json.decode(b'{"text":"hi","size":3,"new":[1]}', ANSWER, what="the response") == Answer("hi", 3)


@table(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        (b"\xef\xbb\xbf", "cannot be read"),
        (b"<html>Bad gateway</html>", "its 24 bytes begin with: <html>Bad gateway</html>"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"text"', "Expected `object`, got `str`"),
        (b'{"text": 1}', "Expected `str`, got `int` - at `$.text`"),
        (b'{"text": "a"', "truncated"),
        (b'{"text": "a"} x', "trailing characters"),
        (b'{"size": nan}', "invalid character"),
        (b'{"size": 1e999}', "out of range"),
        (b'{"size": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"text": "\xff"}', "it holds text that is not UTF-8"),
        ('{"text": "a"}'.encode("utf-16"), "invalid character"),
        (b'{"new": ' + b"[" * 5000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"text": "\\ud8zz"}', "cannot be read"),
        (b'{"text": "\\ud800', "truncated"),
    ],
)
def test_anything_else_is_our_error_and_says_what_came(data: bytes, words: str) -> None:
    with pytest.raises(MalformedResponseError, match=r"^the response cannot be read: ") as caught:
        json.decode(data, ANSWER, what="the response")
    assert words in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_of_a_long_answer_a_short_printable_beginning_is_shown() -> None:
    with pytest.raises(MalformedResponseError) as caught:
        json.decode(b"\x1b[31m\r\n\xff" + "é".encode() * 5000, ANSWER, what="the response")
    text = str(caught.value)
    assert r"\x1b[31m\r\n" in text
    assert text.isprintable()
    assert len(text) < 400


def test_a_byte_order_mark_is_skipped() -> None:
    assert json.decode(b'\xef\xbb\xbf{"text":"a\\ud800"}', ANSWER, what="x").text == "a\ufffd"
    assert json.decode(b'\xef\xbb\xbf{"text":"a"}', ANSWER, what="x").text == "a"


def test_the_last_of_equal_keys_wins() -> None:
    assert json.decode(b'{"text":"a","text":"b"}', ANSWER, what="x").text == "b"


def test_half_a_surrogate_pair_is_replaced_wherever_it_stands() -> None:
    text = r'{"new":["\udc00"],"text":"\ud83d\ude00 \uD83D \\ud800 \\\ud800 \ude00\ud83d \ud83d\ud83d\ude00"}'
    read = json.decode(text.encode(), ANSWER, what="x").text
    assert read == "😀 \ufffd \\ud800 \\\ufffd \ufffd\ufffd \ufffd😀"


@given(
    st.lists(
        st.sampled_from([r"\ud83d", r"\uDE00", r"\ude00", r"\u00e9", r"\\", r"\"", r"\n", "ud83d", "u", "d", "é", " "]),
        max_size=30,
    )
)
def test_text_with_surrogates_in_any_order_is_read_whole(parts: list[str]) -> None:
    document = '{"text":"' + "".join(parts) + '"}'
    expected = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in standard.loads(document)["text"])
    assert json.decode(document.encode(), ANSWER, what="x").text == expected


def test_raw_parts_of_an_answer_are_read_like_whole_ones() -> None:
    assert json.decode(msgspec.Raw(b'{"text":"\\ud800"}'), ANSWER, what="x").text == "\ufffd"
    with pytest.raises(MalformedResponseError, match="its 4 bytes begin with: oops"):
        json.decode(msgspec.Raw(b"oops"), ANSWER, what="a block")


def test_a_huge_document_is_not_mended() -> None:
    with pytest.raises(MalformedResponseError):
        json.decode(b'{"text":"\\ud800' + b"a" * 9_000_000 + b'"}', ANSWER, what="x")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_our_error(data: bytes) -> None:
    for found in (data, b'{"text":"' + data + b'"}'):
        try:
            json.decode(found, ANSWER, what="x")
        except MalformedResponseError:
            continue


# --- what goes out


def test_a_request_is_written_in_the_order_of_its_keys() -> None:
    schema = {"type": "object", "properties": {"z": {}, "a": {}}, "required": ["z"]}
    assert json.encode({"b": schema, "a": None}) == (
        b'{"b":{"type":"object","properties":{"z":{},"a":{}},"required":["z"]},"a":null}'
    )


def test_what_msgspec_writes_in_its_own_way_passes_also_beside_a_null() -> None:
    request = Request(model="null", messages=[None, Role.USER, (1, 2**70)], data=b"ab", bias={5: 1.0})
    assert json.encode(request) == (
        b'{"model":"null","messages":[null,"user",[1,1180591620717411303424]],"data":"YWI=","bias":{"5":1.0}}'
    )


@table(
    ("value", "words"),
    [
        (float("nan"), "request is nan; JSON cannot say that"),
        (Request(temperature=float("inf")), "request.temperature is inf"),
        (Request(messages=[{"a b": [0, {"x": float("-inf")}]}]), "request.messages[0]['a b'][1].x is -inf"),
        ([Odd.NAN], "request[0] is nan"),
        ({"text": "\udc00"}, "request.text holds half of a surrogate pair"),
        ({"a": {"\udc00": 1}}, r"request.a has the key '\udc00', which holds half of a surrogate pair"),
        ({"a": [object()]}, "request.a[0] is of type object"),
        ({"a": Loud("x")}, "request.a is of type Loud"),
        ({(1, 2): 3}, "request has the key (1, 2), which is not text"),
        (Shy([object()]), "the request cannot be written as JSON: Encoding objects of type object is unsupported"),
        ({"a": 10**5000}, "request.a is too long a number"),
        (itself(), "is nested deeper than 128 levels, or holds itself"),
        (nest(100_000), "is nested deeper than 128 levels, or holds itself"),
    ],
)
def test_what_json_cannot_say_is_our_error_and_names_the_place(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        json.encode(value)
    assert words in str(caught.value)
    assert caught.value.__context__ is None


def test_deep_values_that_msgspec_can_write_are_not_searched_further() -> None:
    assert json.encode([nest(200), None]) == b"[" + b"[" * 201 + b"]" * 201 + b",null]"


# --- documents of very many tiny things


def counted(value: Any) -> int:
    """Return how many objects and lists a value is made of."""
    match value:
        case dict():
            return 1 + sum(map(counted, value.values()))
        case list():
            return 1 + sum(map(counted, value))
        case _:
            return 0


TRICKY = st.text('{}[]"\\\\ab', max_size=6)


@given(st.recursive(TRICKY | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner)))
def test_braces_in_text_are_told_from_those_of_objects(value: Any) -> None:
    assert sum(json._containers(msgspec.json.encode(value))) == counted(value)


@given(st.integers(0, 40), st.sampled_from(['"', "\\", '\\"', "[", "x"]))
def test_a_string_may_stand_across_two_windows(shift: int, end: str) -> None:
    text = "x" * (json._WINDOW - 20 + shift) + end + "[{" * 10
    assert sum(json._containers(msgspec.json.encode([{"a": text}, [text, {}]]))) == 4


@table("text", ["{}" * 100_000, "[" * 100_000, '{"a": [1]}' * 20_000, '\\"' * 100_000])
def test_text_may_hold_any_number_of_braces_and_quotes(text: str) -> None:
    assert json.decode(msgspec.json.encode({"text": text}), ANSWER, what="the response").text == text


@table("item", ["{}", "[]", '"a"', '{"a":1}', '"{"', '{"}":"{"}'])
def test_very_many_tiny_things_are_refused(item: str) -> None:
    data = f'{{"text": "x", "new": [{",".join([item] * 40_000)}]}}'.encode()
    with pytest.raises(ResponseTooLargeError, match=r"the response holds too many (strings|objects and lists) for its"):
        json.decode(data, ANSWER, what="the response")
    small = f'{{"text": "x", "new": [{",".join([item] * 1000)}]}}'.encode()
    assert json.decode(small, ANSWER, what="the response").text == "x"


# --- long texts


SAFE = st.text("ABCabc+/=:;,", min_size=0, max_size=50)


@given(st.lists(st.tuples(SAFE, SAFE)), st.sampled_from([None, 5, "x", [None, {"y": "z"}]]))
def test_a_body_with_long_texts_is_the_body_with_the_texts_joined(texts: list[tuple[str, str]], other: Any) -> None:
    longs = [{"url": json.LongText(*pieces), "n": other} for pieces in texts]
    plain = [{"url": "".join(pieces), "n": other} for pieces in texts]
    assert json.encode({"a": longs, "b": other}) == json.encode({"a": plain, "b": other})


def test_a_long_text_that_needs_no_escape_is_kept_in_pieces() -> None:
    text = json.long_text("data:;base64,", "A" * 200_000)
    assert isinstance(text, json.LongText)
    assert (text.size, repr(text)) == (200_013, "LongText(200,013 bytes)")
    assert json.encode([text]) == b'["data:;base64,' + b"A" * 200_000 + b'"]'


@table("end", ['"', "\\", "\n", "\x00", "\x7f", "é", "\ud800"])
def test_a_long_text_that_needs_escapes_is_joined(end: str) -> None:
    assert json.long_text("x" * 100_000, end) == "x" * 100_000 + end
    assert json.long_text("short", end) == "short" + end


@table("wrong", [float("nan"), object(), {1, object()}, "\ud800"])
def test_what_cannot_be_written_beside_a_long_text_is_named(wrong: Any) -> None:
    long = json.LongText("A" * 100_000)
    with pytest.raises(InvalidRequestError):
        json.encode({"a": long, "b": wrong})
    with pytest.raises(InvalidRequestError):
        json.encode({"b": wrong, "a": long})


# --- a caller's own values


@table(
    "value",
    [None, True, 0, -1.5, "text é", [], {}, {"a": [1, {"b": (None, "c")}]}, Role.USER, Answer("x"), nest(127), 2**64],
)
def test_json_values_pass_unchanged(value: Any) -> None:
    before = msgspec.json.encode(value)
    json.check_json(value, where="extra")
    assert msgspec.json.encode(value) == before


@table(
    ("value", "words"),
    [
        ({"a": float("nan")}, "tools[0].parameters.a is nan; JSON cannot say that"),
        ({"a": b"ab"}, "tools[0].parameters.a is of type bytes"),
        ({"a": {1}}, "tools[0].parameters.a is of type set"),
        ({"a": msgspec.Raw(b"{oops")}, "tools[0].parameters.a is of type Raw"),
        ({"a": {1: 2}}, "tools[0].parameters.a has the key 1, which is not text"),
        ({"a\n": {None: 2}}, r"tools[0].parameters['a\n'] has the key None, which is not text"),
        ({"a": "\ud800"}, "tools[0].parameters.a holds half of a surrogate pair"),
        ({"a": 10**5000}, "tools[0].parameters.a is too long a number"),
        (Request(data=b"ab"), "tools[0].parameters.data is of type bytes"),
        (twice_itself(), "is nested deeper than 128 levels, or holds itself"),
        (nest(128), "is nested deeper than 128 levels, or holds itself"),
        (itself(), "is nested deeper than 128 levels, or holds itself"),
        (nest(100_000), "is nested deeper than 128 levels, or holds itself"),
    ],
)
def test_a_callers_value_that_is_not_json_is_refused_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        json.check_json(value, where="tools[0].parameters")
    assert words in str(caught.value)
    assert str(caught.value.param).startswith("tools[0].parameters")
    assert str(caught.value).isprintable()


@given(
    st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(max_size=3)
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.one_of(st.text(st.characters(), max_size=3), st.integers(0, 3)), inner, max_size=4),
        ),
        max_leaves=12,
    )
)
def test_what_passes_the_check_comes_back_the_same(value: Any) -> None:
    try:
        json.check_json(value, where="extra")
    except InvalidRequestError:
        return
    assert standard.loads(json.encode(value)) == value
