from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.providers.anthropic import ANTHROPIC
from bifrost.providers.anthropic.errors import reported_error
from bifrost.providers.base import ErrorBody
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table


def read(body: bytes, status: int = 400) -> ErrorBody:
    return ANTHROPIC.parse_error(HttpResponse(status=status, headers=Headers(), body=body))


def test_an_error_has_its_type_as_its_code() -> None:
    body = {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Too many\n tokens"},
        "request_id": "req_1",
    }
    assert read(json.dumps(body).encode(), 429) == ErrorBody(
        message="Too many tokens", type="rate_limit_error", code="rate_limit_error", request_id="req_1"
    )


def test_a_finer_code_is_preferred() -> None:
    error = {
        "type": "rate_limit_error",
        "message": "Spent",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    body = read(json.dumps({"type": "error", "error": error}).encode(), 429)
    assert (body.type, body.code) == ("rate_limit_error", "enforced_spend_limit_reached")


def test_an_error_without_words_is_named() -> None:
    assert read(b'{"error": {"type": "api_error"}}').message == "the provider gives no message with this api_error"


@table(
    ("body", "message"),
    [
        (b"", "the response is empty"),
        (b"<html><title>502 Bad Gateway</title></html>", "a page of markup: 502 Bad Gateway"),
        (b"upstream timed out", "upstream timed out"),
        (b'{"detail": "no"}', '{"detail": "no"}'),
        (b'{"error": "no"}', '{"error": "no"}'),
        (b'{"error": {}}', '{"error": {}}'),
        (b"[]", "[]"),
    ],
)
def test_any_body_will_do(body: bytes, message: str) -> None:
    assert read(body, 502) == ErrorBody(message=message)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"[" * 100_000, b'{"error": {"type": "\xff"}}'])
def test_no_body_breaks_it(body: bytes) -> None:
    assert read(body).message


@table(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("brand_new_error", None),
    ],
)
def test_an_error_that_comes_after_a_good_status_has_the_status_of_its_type(kind: str, status: Any) -> None:
    error = reported_error(json.dumps({"type": "error", "error": {"type": kind, "message": "m"}}).encode())
    assert error.status == status
    assert error.body.type == kind
