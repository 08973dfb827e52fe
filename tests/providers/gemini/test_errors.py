"""Google's errors, as calls see them: with a status, in a list, and within a stream."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    Bifrost,
    BifrostError,
    ContextLengthError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    StaticAccount,
)
from bifrost.providers.gemini.errors import parse_error
from bifrost.wire.http import Headers, HttpResponse

pytestmark = pytest.mark.anyio

RPC = "type.googleapis.com/google.rpc."


def status(code: int, name: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": name}
    return {"error": {**error, "details": list(details)} if details else error}


def quota(name: str) -> dict[str, Any]:
    return {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": name, "quotaMetric": "m"}]}


def reason(name: str) -> dict[str, Any]:
    return {"@type": f"{RPC}ErrorInfo", "reason": name, "domain": "googleapis.com"}


WAIT = {"@type": f"{RPC}RetryInfo", "retryDelay": "34.4s"}
PER_DAY = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
PER_MINUTE = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")

CASES: list[tuple[int, dict[str, Any], type[BifrostError], str]] = [
    (400, status(400, "INVALID_ARGUMENT", "API key not valid.", reason("API_KEY_INVALID")), AuthenticationError, "key"),
    (400, status(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), AuthenticationError, "key"),
    (401, status(401, "UNAUTHENTICATED"), AuthenticationError, "key"),
    (400, status(400, "INVALID_ARGUMENT", "Invalid JSON payload received."), BadRequestError, "caller"),
    (
        400,
        status(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
        ContextLengthError,
        "caller",
    ),
    (400, status(400, "FAILED_PRECONDITION", "User location is not supported."), PermissionDeniedError, "access"),
    (403, status(403, "PERMISSION_DENIED"), PermissionDeniedError, "access"),
    (404, status(404, "NOT_FOUND", "models/x is not found for API version v1beta"), NotFoundError, "access"),
    (429, status(429, "RESOURCE_EXHAUSTED", "slow", PER_MINUTE, WAIT), RateLimitError, "throttled"),
    (429, status(429, "RESOURCE_EXHAUSTED", "slow", PER_DAY, WAIT), QuotaExceededError, "quota"),
    (429, status(429, "RESOURCE_EXHAUSTED", "slow", reason("RATE_LIMIT_EXCEEDED")), RateLimitError, "throttled"),
    (500, status(500, "INTERNAL"), ServerError, "transient"),
    (503, status(503, "UNAVAILABLE", "The model is overloaded."), ServerError, "transient"),
]


async def ask(client: Bifrost, *, stream: bool) -> None:
    if not stream:
        await client.chat("gemini/m", "hi")
        return
    async with client.stream_chat("gemini/m", "hi") as chunks:
        await chunks.final()


@pytest.mark.parametrize("form", ["object", "list", "stream", "stream, no events"])
async def test_every_error_has_its_class(form: str) -> None:
    for code, body, kind, _ in CASES:
        sent: Any = [body] if form in {"list", "stream, no events"} else body
        in_stream = form == "stream"

        def answer(_: httpx.Request, code: int = code, sent: Any = sent, in_stream: bool = in_stream) -> httpx.Response:
            if in_stream:
                head = {"content-type": "text/event-stream"}
                return httpx.Response(200, headers=head, content=f"data: {json.dumps(sent)}\r\n\r\n")
            return httpx.Response(code, json=sent)

        account = StaticAccount(keys={"gemini": "k-0123456789abcdef"})
        async with Bifrost(account, transport=httpx.MockTransport(answer), max_retries=0) as client:
            with pytest.raises(BifrostError) as raised:
                await ask(client, stream=form.startswith("stream"))
        error = raised.value
        assert type(error) is kind, (form, body, error)
        assert error.provider == "gemini"
        if WAIT in body["error"].get("details", ()):
            assert getattr(error, "retry_after", None) == 34.4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the response is empty"),
        (b"<html><title>502 Bad Gateway</title></html>", "a page of markup: 502 Bad Gateway"),
        (b"[]", "[]"),
        (b'{"error": null}', '{"error": null}'),
        (b'{"error": {"status": "INTERNAL"}}', "the provider gives no message with this INTERNAL"),
        (b'{"error": "invalid_grant", "error_description": "Token expired."}', "Token expired."),
        (b'{"error": {"message": "m", "details": [5, {"violations": 7}, null]}}', "m"),
    ],
)
async def test_any_bytes_make_an_error(body: bytes, message: str) -> None:
    assert parse_error(HttpResponse(status=400, headers=Headers(), body=body)).message == message


async def test_details_are_read() -> None:
    details = (
        {"@type": f"{RPC}BadRequest", "fieldViolations": [{"field": "contents[0]", "description": "empty"}]},
        {"@type": f"{RPC}RequestInfo", "requestId": "r1"},
    )
    body = json.dumps(status(400, "INVALID_ARGUMENT", "no", *details)).encode()
    error = parse_error(HttpResponse(status=400, headers=Headers(), body=body))
    assert (error.param, error.request_id, error.code) == ("contents[0]", "r1", "INVALID_ARGUMENT")
