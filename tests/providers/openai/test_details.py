from __future__ import annotations

import json
from typing import Any

import msgspec

from bifrost.providers.openai.details import Details, kept_details, read_details
from tests.table import table

TEXT = {"type": "reasoning.text", "text": "ab", "format": "f", "index": 0}
SECRET = {"type": "reasoning.encrypted", "data": "xyz", "index": 0, "id": "r"}


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_whole_details_come_back_as_they_were() -> None:
    details = [{"b": 1, "type": "reasoning.summary", "a": [None, "é"]}, SECRET, TEXT, TEXT]
    kept = kept_details(raw(details))
    assert kept is not None
    assert json.dumps(read_details(kept)) == json.dumps(details)


@table("nothing", [[], None, {}, 5, ["a"]])
def test_what_are_no_details_are_none(nothing: Any) -> None:
    assert kept_details(raw(nothing)) is None
    details = Details()
    details.add(raw(nothing))
    assert details.taken() is None


def test_pieces_of_text_grow_together() -> None:
    details = Details()
    for piece in (
        {"type": "reasoning.text", "text": "", "signature": "", "format": "f", "index": 0},
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.text", "text": "b", "index": 0},
        {"type": "reasoning.text", "signature": "s", "index": 0, "format": None},
    ):
        details.add(raw([piece]))
    assert read_details(details.taken()) == [{**TEXT, "signature": "s"}]
    assert details.taken() is None


def test_what_is_no_piece_stands_for_itself() -> None:
    details = Details()
    pieces = [TEXT, {**TEXT, "index": 1}, {**TEXT, "type": "reasoning.summary"}, SECRET, {**SECRET, "id": "q"}, TEXT]
    for piece in pieces:
        details.add(raw([piece]))
    assert read_details(details.taken()) == pieces


def test_parts_of_one_stream_can_be_joined() -> None:
    assert read_details((kept_details(raw([TEXT])) or "") + (kept_details(raw([SECRET])) or "")) == [TEXT, SECRET]


@table("signature", [None, "", "no JSON", "\n\n", "5"])
def test_a_signature_of_another_kind_holds_no_details(signature: str | None) -> None:
    assert read_details(signature) == []
