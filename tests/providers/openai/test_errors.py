from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.base import ErrorBody
from bifrost.providers.openai import parse_error
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.openai.test_answer import values
from tests.table import table


def parse(body: Any, *headers: tuple[str, str]) -> ErrorBody:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_error(HttpResponse(status=502, headers=Headers.of(*headers), body=data))


def test_openais_error_object_is_read() -> None:
    error = {"message": "no such model", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    assert parse({"error": error}, ("X-Request-Id", "req_1")) == ErrorBody(
        message="no such model",
        type="invalid_request_error",
        param="model",
        code="model_not_found",
        request_id="req_1",
    )


@table(
    ("body", "expected"),
    [
        ({"error": {"message": "m", "code": 429}}, ErrorBody(message="m", code="429")),
        ({"error": {"message": "m", "code": True, "type": "", "param": []}}, ErrorBody(message="m")),
        ({"error": "m"}, ErrorBody(message="m")),
        ({"error": ["m"]}, ErrorBody(message='["m"]')),
        ({"error": {"message": {"why": "m"}}}, ErrorBody(message='{"why":"m"}')),
        (
            {"error": {"type": "t", "code": "c"}},
            ErrorBody(message="the provider gives no message with this c", type="t", code="c"),
        ),
        (
            {"error": {"type": "t", "message": " "}},
            ErrorBody(message="the provider gives no message with this t", type="t"),
        ),
        ({"error": {}, "message": "m"}, ErrorBody(message="m")),
        ({"message": "m", "type": "t", "code": 5}, ErrorBody(message="m", type="t", code="5")),
        ({"object": "error", "message": "m"}, ErrorBody(message="m")),
        ({"detail": "m"}, ErrorBody(message="m")),
        ({"detail": [{"msg": "m"}]}, ErrorBody(message='[{"msg":"m"}]')),
        ({"error": {"message": "m"}, "request_id": "r"}, ErrorBody(message="m", request_id="r")),
        ([{"error": {"message": "m"}}], ErrorBody(message="m")),
        ({"answer": 42}, ErrorBody(message='{"answer": 42}')),
        ([], ErrorBody(message="[]")),
        (b"busy", ErrorBody(message="busy")),
        (b"", ErrorBody(message="the response is empty")),
        (b" \n", ErrorBody(message="the response is empty")),
        (
            b"<!DOCTYPE html><html><head><TITLE>502 Bad Gateway &amp; more</TITLE></head><body>nginx</body></html>",
            ErrorBody(message="a page of markup: 502 Bad Gateway & more"),
        ),
        (b"<h1>Service  Unavailable</h1>", ErrorBody(message="Service Unavailable")),
        (b"\x00\x01\x02\x03\xff\xfe", ErrorBody(message="6 bytes that are no text")),
    ],
)
def test_other_bodies_are_read_as_far_as_they_tell(body: Any, expected: ErrorBody) -> None:
    assert parse(body) == expected


def test_a_message_is_one_line_of_printable_characters() -> None:
    read = parse({"error": {"message": "a\r\nb\t\x1b[31mred\x1b[0m \u202egnp.exe", "code": "x\ny"}})
    assert read.message == r"a b \x1b[31mred\x1b[0m \u202egnp.exe"
    assert read.code == "x y"


@pytest.mark.parametrize("body", [b"x" * 100_000, b"\x1b[31m" * 20_000 + b"x" * 100_000, b"<" * 100_000])
def test_a_message_is_cut(body: bytes) -> None:
    assert len(parse(body).message) <= MESSAGE_LIMIT
    if b"<" not in body:
        assert len(parse({"error": {"message": body.decode()}}).message) <= MESSAGE_LIMIT


def test_a_page_with_too_many_beginnings_is_no_trouble() -> None:
    assert parse(b"<title" * 20_000).message


@given(values)
def test_any_json_gives_a_message(body: Any) -> None:
    assert parse(body).message
    assert parse({"error": body}).message


@given(st.binary(max_size=300))
def test_any_bytes_give_a_printable_message(body: bytes) -> None:
    message = parse(body).message
    assert message
    assert message.isprintable()
