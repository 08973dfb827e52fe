from __future__ import annotations

import struct
import sys
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.wire.vectors import decode_vector, encode_vector, read_vector
from tests.table import table

floats = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40)


def packed(*values: float) -> str:
    return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@given(floats)
def test_vectors_come_back_from_base64_exactly(values: list[float]) -> None:
    assert encode_vector(values) == packed(*values)
    assert decode_vector(packed(*values), what="x").tolist() == values


def test_an_embedding_is_read_whichever_way_it_came() -> None:
    assert read_vector(packed(0.5, -1.25), what="x") == [0.5, -1.25]
    assert read_vector([0.1, 0.2], what="x") == [0.1, 0.2]


def test_the_largest_finite_number_is_read() -> None:
    largest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
    assert decode_vector(packed(largest, -largest), what="x").tolist() == [largest, -largest]


@table(
    ("text", "words"),
    [
        ("AAAA", "embedding 0 has 3 bytes, not a multiple of 4"),
        ("AAAAA", "embedding 0 is not base64"),
        ("AAAAAA=", "embedding 0 is not base64"),
        ("AAAA AAAA=", "embedding 0 is not base64"),
        ("AAAAAA==\n", "embedding 0 is not base64"),
        ("[0.1]", "embedding 0 is not base64"),
        ("é", "embedding 0 is not base64"),
        (packed(1.0, float("nan")), "embedding 0 holds a number that is not finite"),
        (packed(float("inf")), "embedding 0 holds a number that is not finite"),
        (packed(float("-inf")), "embedding 0 holds a number that is not finite"),
    ],
)
def test_what_is_no_vector_is_our_error(text: str, words: str) -> None:
    with pytest.raises(MalformedResponseError, match=words) as caught:
        decode_vector(text, what="embedding 0")
    assert caught.value.__context__ is None


@table("values", [[1.0, None], ["1"], [float("nan")], [1e300], 5])
def test_what_has_no_place_in_a_vector_is_our_error(values: list[float]) -> None:
    with pytest.raises(InvalidRequestError, match="something else than finite 32-bit numbers"):
        encode_vector(values)


def test_a_machine_of_the_other_byte_order_turns_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    there, back = packed(1.5, 2.5), struct.unpack(">2f", struct.pack("<2f", 1.5, 2.5))
    other = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(sys, "byteorder", other)
    assert decode_vector(there, what="x").tolist() == list(back)
    assert encode_vector(back) == there
