"""Cohere's errors: a message with a status, and what gateways before it send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    ContentFilterError,
    ContextLengthError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from bifrost.providers.cohere.errors import parse_error, reported_error
from bifrost.routing.classify import error_of
from bifrost.wire.http import Headers, HttpResponse


def failed(status: int, body: Any) -> BifrostError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = HttpResponse(status=status, headers=Headers.of(), body=data)
    return error_of(
        status,
        parse_error(response),
        headers=response.headers,
        provider="cohere",
        model="command-a-03-2025",
        key="main",
        now_wall=0.0,
        raw=data,
    )


# The messages are those of https://docs.cohere.com/reference/errors and of users' reports.
@pytest.mark.parametrize(
    ("status", "message", "error", "category"),
    [
        (400, "invalid request: list of documents must not be empty", BadRequestError, "caller"),
        (
            400,
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
            ContextLengthError,
            "caller",
        ),
        (401, "invalid api token", AuthenticationError, "credential"),
        (401, "no api key supplied", AuthenticationError, "credential"),
        (402, "Please add or update your payment method to continue", QuotaExceededError, "quota"),
        (404, "model 'xyz' not found, make sure the correct model ID was used", NotFoundError, "config"),
        (
            429,
            "You are using a Trial key, which is limited to 40 API calls / minute. You can continue to use it.",
            RateLimitError,
            "throttled",
        ),
        (
            429,
            "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use it.",
            QuotaExceededError,
            "quota",
        ),
        (498, "this request was blocked", ContentFilterError, "caller"),
        (500, "an internal server error occurred", ServerError, "transient"),
        (503, "all our servers are busy", ServerError, "transient"),
    ],
)
def test_a_status_or_a_message_becomes_an_error(
    status: int, message: str, error: type[BifrostError], category: str
) -> None:
    found = failed(status, {"id": "8bd5b608", "message": message})
    assert (type(found), found.category) == (error, category)
    assert message.partition(":")[0] in str(found)
    assert found.request_id == "8bd5b608"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": {"message": "inside"}}, "inside"),
        ({"error": "as text"}, "as text"),
        ({"error": {"message": "in an object"}, "code": 5}, "in an object"),
        ({"detail": "of a proxy"}, "of a proxy"),
        ({"message": "", "error": "behind an empty one"}, "behind an empty one"),
        ({"message": " "}, '"message": " "'),
        (b"<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway"),
        (b"", "the response is empty"),
        (b"[]", "[]"),
    ],
)
def test_errors_in_other_forms_are_read(body: Any, message: str) -> None:
    assert message in str(failed(502, body))


@pytest.mark.parametrize("data", [b"{}", b"[]", b"5", b"no json", b'{"results": []}', b'{"message": {"role": "a"}}'])
def test_a_body_that_is_no_error_is_none(data: bytes) -> None:
    assert reported_error(data) is None
