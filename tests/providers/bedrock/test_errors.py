"""Exceptions of Bedrock: with a status, in the event stream, and in a good status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    ContextLengthError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.bedrock import BEDROCK
from bifrost.routing.classify import error_of
from bifrost.wire.framing.aws_event_stream import EventStreamMessage
from bifrost.wire.http import Headers, HttpResponse

TARGET = Target(provider="bedrock", model="m", stream=True)
ADDRESS = ":http://internal.amazon.com/coral/com.amazon.bedrock/"

# https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
STATUSES: list[tuple[int, str, str, type[BifrostError]]] = [
    (
        403,
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
        PermissionDeniedError,
    ),
    (
        403,
        "AccessDeniedException",
        "Authentication failed: Please make sure your API Key is valid.",
        AuthenticationError,
    ),
    (403, "ExpiredTokenException", "The security token included in the request is expired", AuthenticationError),
    (403, "UnrecognizedClientException", "The security token included in the request is invalid.", AuthenticationError),
    (403, "InvalidSignatureException", "The request signature we calculated does not match", AuthenticationError),
    (400, "ValidationException", "Input is too long for requested model.", ContextLengthError),
    (400, "ValidationException", "prompt is too long: 200001 tokens > 200000 maximum", ContextLengthError),
    (400, "ValidationException", "The provided model identifier is invalid.", NotFoundError),
    (
        400,
        "ValidationException",
        "Invocation of model ID a.b with on-demand throughput isn\N{RIGHT SINGLE QUOTATION MARK}t supported.",
        NotFoundError,
    ),
    (400, "ValidationException", "The text field in the ContentBlock object is blank.", BadRequestError),
    (
        400,
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota for your account.",
        QuotaExceededError,
    ),
    (404, "ResourceNotFoundException", "Could not resolve the foundation model", NotFoundError),
    (408, "ModelTimeoutException", "The request took too long to process.", ServerError),
    (424, "ModelErrorException", "The request failed due to an error while processing the model.", ServerError),
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", RateLimitError),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.", RateLimitError),
    (429, "ModelNotReadyException", "The model is not ready for inference.", OverloadedError),
    (500, "InternalServerException", "The system encountered an unexpected error.", ServerError),
    (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", ServerError),
]


def error_from(status: int | None, body: bytes, *headers: tuple[str, str]) -> BifrostError:
    answer = HttpResponse(status=status or 200, headers=Headers.of(*headers), body=body)
    found = BEDROCK.parse_error(answer)
    return error_of(
        status, found, headers=answer.headers, provider="bedrock", model="m", key=None, now_wall=0.0,
        request_id_headers=BEDROCK.request_id_headers,
    )  # fmt: skip


@pytest.mark.parametrize(("status", "name", "message", "kind"), STATUSES)
def test_each_exception_has_its_class_in_every_form(
    status: int, name: str, message: str, kind: type[BifrostError]
) -> None:
    by_header = (json.dumps({"message": message}).encode(), ("x-amzn-errortype", name + ADDRESS))
    by_body = (json.dumps({"__type": f"com.amazon.coral.service#{name}", "Message": message}).encode(),)
    for body, *headers in (by_header, by_body):
        error = error_from(status, body, *headers, ("x-amzn-requestid", "r-1"))
        assert type(error) is kind
        assert (error.status, error.code, error.request_id) == (status, name, "r-1")  # type: ignore[attr-defined]
        assert message.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")[:20] in str(error)


def test_an_error_without_a_name_is_judged_by_status_and_words() -> None:
    assert type(error_from(400, b'{"message": "The provided model identifier is invalid."}')) is NotFoundError
    assert type(error_from(403, b"")) is PermissionDeniedError
    page = error_from(503, b"<html><title>Down</title></html>")
    assert type(page) is ServerError
    assert "Down" in str(page)
    assert "no message with this ThrottlingException" in str(
        error_from(429, b"{}", ("x-amzn-errortype", "ThrottlingException"))
    )


def raised_by(headers: dict[str, Any], data: bytes) -> ReportedError:
    assert BEDROCK.codecs["chat"].decoder is not None
    with pytest.raises(ReportedError) as caught:
        BEDROCK.codecs["chat"].decoder(TARGET).feed(EventStreamMessage(headers, data))
    return caught.value


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("throttlingException", 429, RateLimitError),
        ("internalServerException", 500, ServerError),
        ("modelStreamErrorException", 424, ServerError),
        ("modelTimeoutException", 408, ServerError),
        ("serviceUnavailableException", 503, ServerError),
        ("validationException", 400, BadRequestError),
        ("brandNewException", None, ServerError),
    ],
)
def test_an_exception_in_the_stream_has_its_own_code(name: str, status: int | None, kind: type[BifrostError]) -> None:
    found = raised_by({":message-type": "exception", ":exception-type": name}, b'{"message": "no"}')
    assert (found.status, found.body.code, found.body.message) == (status, name, "no")
    error = error_of(found.status, found.body, headers=None, provider="p", model="m", key=None, now_wall=0.0)
    assert type(error) is kind


def test_an_error_in_the_stream_has_its_code_and_message_in_headers() -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "broken"}
    found = raised_by(headers, b"")
    assert (found.status, found.body.code, found.body.message) == (500, "InternalServerException", "broken")
    found = raised_by({":message-type": "exception"}, b"not json")
    assert (found.status, found.body.code, found.body.message) == (None, None, "not json")


def test_an_exception_in_a_good_status_is_reported() -> None:
    for body, code in (
        (b'{"__type": "com.amazon.coral.service#ThrottlingException", "message": "slow"}', "ThrottlingException"),
        (b'{"message": "slow"}', None),
    ):
        with pytest.raises(ReportedError) as caught:
            BEDROCK.codecs["chat"].parse(HttpResponse(status=200, headers=Headers.of(), body=body), TARGET)
        assert (caught.value.body.code, caught.value.body.message) == (code, "slow")
