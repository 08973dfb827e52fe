"""The failure table, row by row, through what the dialects make of true body forms."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bifrost.config import RetryConfig
from bifrost.errors import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    MalformedResponseError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from bifrost.providers.base import ErrorBody
from bifrost.providers.catalog import CATALOG
from bifrost.providers.openai.wording import WORDING
from bifrost.routing.classify import error_of
from bifrost.routing.retry import RULES, NextCandidate, Retry, decide
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

NOW = 1_780_000_000.0


def classified(
    status: int | None, body: ErrorBody | None = None, *, headers: dict[str, str] | None = None, raw: bytes = b""
) -> BifrostError:
    return error_of(
        status,
        body or ErrorBody(message="it failed"),
        headers=Headers.of(*(headers or {}).items()),
        provider="somewhere",
        model="some-model",
        key="main",
        now_wall=NOW,
        raw=raw,
    )


def said(message: str = "it failed", **words: Any) -> ErrorBody:
    return ErrorBody(message=message, meaning=WORDING.meaning_of(message), **words)


def openai(status: int, **error: Any) -> ErrorBody:
    body = msgspec.json.encode({"error": {"message": "it failed", "type": None, "param": None, "code": None} | error})
    return CATALOG["openai"].parse_error(HttpResponse(status=status, headers=Headers(), body=body))


def anthropic(status: int, kind: str, message: str = "it failed") -> ErrorBody:
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
    return CATALOG["anthropic"].parse_error(HttpResponse(status=status, headers=Headers(), body=body))


def page(status: int, text: bytes) -> ErrorBody:
    return CATALOG["openai"].parse_error(HttpResponse(status=status, headers=Headers(), body=text))


def follows(error: BifrostError) -> str:
    """Say what may follow an error: `same` key, `other` key, `fallback`."""
    found: list[str] = []
    for name, retries, other, behind in (
        ("same", 2, False, False),
        ("other", 2, True, False),
        ("fallback", 0, False, True),
    ):
        decision = decide(
            error,
            categories=[error.category],
            attempts_of_call=1,
            config=RetryConfig(max_retries=retries),
            remaining=600.0,
            other_key=other,
            fallback_behind=behind,
            random=lambda: 0.5,
        )
        if isinstance(decision, Retry) and decision.other_key:
            found.append("other")
        elif isinstance(decision, NextCandidate):
            found.append("fallback")
        elif isinstance(decision, Retry) and name == "same":
            found.append("same")
    return " ".join(found)


QUOTA = (QuotaExceededError, "quota", "other fallback")
THROTTLED = (RateLimitError, "throttled", "same other fallback")
OVERLOADED = (OverloadedError, "overloaded", "same fallback")
TRANSIENT = (ServerError, "transient", "same fallback")
CONFLICT = (ProviderError, "conflict", "same fallback")
CREDENTIAL = (AuthenticationError, "credential", "other fallback")
DENIED = (PermissionDeniedError, "access", "other fallback")
NO_MODEL = (NotFoundError, "access", "other fallback")
GONE = (NotFoundError, "gone", "fallback")
NO_PLACE = (NotFoundError, "config", "fallback")
CONFIG = (ConfigError, "config", "fallback")
CALLER = (BadRequestError, "caller", "")
TOO_LONG = (ContextLengthError, "caller", "fallback")
FILTERED = (ContentFilterError, "caller", "")
MALFORMED = (MalformedResponseError, "malformed", "same fallback")
GENERATION = (MalformedResponseError, "failed_generation", "same fallback")
UNKNOWN = (ProviderError, "unknown", "fallback")
UNKNOWN_SERVER = (ServerError, "unknown", "fallback")

PLAIN_STATUSES = [
    (400, CALLER),
    (401, CREDENTIAL),
    (402, QUOTA),
    (403, DENIED),
    (404, NO_PLACE),
    (405, CONFIG),
    (408, TRANSIENT),
    (409, CONFLICT),
    (410, GONE),
    (413, CALLER),
    (415, CALLER),
    (418, UNKNOWN),
    (422, CALLER),
    (425, TRANSIENT),
    (429, THROTTLED),
    (451, UNKNOWN),
    (500, TRANSIENT),
    (501, CONFIG),
    (502, TRANSIENT),
    (503, TRANSIENT),
    (504, TRANSIENT),
    (505, UNKNOWN_SERVER),
    *((status, TRANSIENT) for status in range(520, 525)),
    (525, UNKNOWN_SERVER),
    (529, OVERLOADED),
    (999, UNKNOWN),
    (204, MALFORMED),
    (205, MALFORMED),
    (206, MALFORMED),
    *((status, CONFIG) for status in (300, 301, 302, 303, 304, 307, 308)),
    (None, TRANSIENT),
    (200, TRANSIENT),
]


@table(("status", "expected"), PLAIN_STATUSES)
def test_status_without_words(status: int | None, expected: Any) -> None:
    error = classified(status)

    assert (type(error), error.category, follows(error)) == expected
    assert error.status == status


CASES = [
    # OpenAI: a code, and a type that says little.
    (429, openai(429, type="insufficient_quota", code="insufficient_quota"), QUOTA),
    (429, openai(429, type="insufficient_quota", code="project_spend_limit_exceeded"), QUOTA),
    (429, openai(429, type="insufficient_quota", code="credit_balance_exhausted"), QUOTA),
    (429, openai(429, type="invalid_request_error", code="billing_not_active"), QUOTA),
    (400, openai(400, type="invalid_request_error", code="billing_hard_limit_reached"), QUOTA),
    (429, openai(429, type="requests", code="rate_limit_exceeded"), THROTTLED),
    (429, openai(429, type="tokens", code="rate_limit_exceeded"), THROTTLED),
    (503, openai(503, type="service_unavailable_error", code="slow_down"), THROTTLED),
    (503, openai(503, type="service_unavailable_error", code="server_is_overloaded"), OVERLOADED),
    (500, openai(500, type="server_error"), TRANSIENT),
    (429, openai(429, type="server_error"), THROTTLED),
    (401, openai(401, type="invalid_request_error", code="invalid_api_key"), CREDENTIAL),
    (401, openai(401, type="invalid_request_error"), CREDENTIAL),
    (403, openai(403, type="request_forbidden", code="unsupported_country_region_territory"), DENIED),
    (404, openai(404, type="invalid_request_error", code="model_not_found"), NO_MODEL),
    (404, openai(404, type="invalid_request_error", code="unknown_url"), NO_PLACE),
    (400, openai(400, type="invalid_request_error", code="context_length_exceeded"), TOO_LONG),
    (400, openai(400, type="invalid_request_error", code="unsupported_value", param="temperature"), CALLER),
    (409, openai(409), CONFLICT),
    (409, openai(409, type="invalid_request_error"), CALLER),
    (409, openai(409, param="messages"), CALLER),
    # Anthropic: a type.
    (400, anthropic(400, "invalid_request_error"), CALLER),
    (400, anthropic(400, "invalid_request_error", "Your credit balance is too low to use this API."), QUOTA),
    (400, anthropic(400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"), TOO_LONG),
    (401, anthropic(401, "authentication_error"), CREDENTIAL),
    (402, anthropic(402, "billing_error"), QUOTA),
    (403, anthropic(403, "permission_error"), DENIED),
    (404, anthropic(404, "not_found_error"), NO_MODEL),
    (409, anthropic(409, "conflict_error"), CONFLICT),
    (413, anthropic(413, "request_too_large"), CALLER),
    (429, anthropic(429, "rate_limit_error"), THROTTLED),
    (429, said(code="enforced_spend_limit_reached", type="rate_limit_error"), QUOTA),
    (500, anthropic(500, "api_error"), TRANSIENT),
    (504, anthropic(504, "timeout_error"), TRANSIENT),
    (529, anthropic(529, "overloaded_error"), OVERLOADED),
    # Gemini: a gRPC status, and sometimes a reason.
    (400, said(type="INVALID_ARGUMENT"), CALLER),
    (400, said(code="API_KEY_INVALID", type="INVALID_ARGUMENT"), CREDENTIAL),
    (400, said(type="FAILED_PRECONDITION"), DENIED),
    (400, said(type="INVALID_ARGUMENT", message="The input token count (2000000) exceeds the maximum"), TOO_LONG),
    (401, said(type="UNAUTHENTICATED"), CREDENTIAL),
    (403, said(type="PERMISSION_DENIED"), DENIED),
    (403, said(code="RESOURCE_EXHAUSTED"), THROTTLED),
    (404, said(type="NOT_FOUND"), NO_MODEL),
    (409, said(type="ABORTED"), CONFLICT),
    (429, said(type="RESOURCE_EXHAUSTED"), THROTTLED),
    (500, said(type="INTERNAL"), TRANSIENT),
    (503, said(type="UNAVAILABLE"), TRANSIENT),
    (504, said(type="DEADLINE_EXCEEDED"), TRANSIENT),
    # Bedrock: the exception's name, in a stream with a small first letter.
    (400, said(code="ValidationException", message="Input is too long for requested model."), TOO_LONG),
    (400, said(code="ValidationException"), CALLER),
    (400, said(code="ThrottlingException"), THROTTLED),
    (None, said(code="throttlingException"), THROTTLED),
    (None, said(code="internalServerException"), TRANSIENT),
    (None, said(code="validationException"), CALLER),
    (429, said(code="ThrottlingException"), THROTTLED),
    (400, said(code="ServiceQuotaExceededException"), QUOTA),
    (429, said(code="ModelNotReadyException"), OVERLOADED),
    (424, said(code="ModelErrorException"), TRANSIENT),
    (408, said(code="ModelTimeoutException"), TRANSIENT),
    (403, said(code="AccessDeniedException"), DENIED),
    (403, said(code="ExpiredTokenException"), CREDENTIAL),
    (403, said(code="UnrecognizedClientException"), CREDENTIAL),
    (404, said(code="ResourceNotFoundException"), NO_MODEL),
    (503, said(code="ServiceUnavailableException"), TRANSIENT),
    # Azure: codes of its own, or its status once more.
    (404, openai(404, type="invalid_request_error", code="DeploymentNotFound"), NO_MODEL),
    (401, openai(401, code="401"), CREDENTIAL),
    (429, openai(429, code="429"), THROTTLED),
    (429, openai(429, type="too_many_requests", code="NoCapacity"), OVERLOADED),
    (503, openai(503, code="NoCapacity"), OVERLOADED),
    (400, openai(400, code="content_filter"), FILTERED),
    (403, openai(403, code="content_filter"), FILTERED),
    # Groq, Mistral, Moonshot, Cohere.
    (400, openai(400, type="invalid_request_error", code="model_decommissioned"), GONE),
    (400, openai(400, type="invalid_request_error", code="blocked_api_access"), QUOTA),
    (400, openai(400, type="invalid_request_error", code="spend_limit_reached"), QUOTA),
    (413, openai(413, type="tokens", code="rate_limit_exceeded"), THROTTLED),
    (498, openai(498, code="capacity_exceeded"), OVERLOADED),
    (400, openai(400, type="invalid_request_error", code="tool_use_failed"), GENERATION),
    (400, openai(400, type="invalid_request_error", code="json_validate_failed"), GENERATION),
    (None, said(code="tool_use_failed"), GENERATION),
    (429, said(type="rate_limited", code="1300"), THROTTLED),
    (429, said(type="service_tier_capacity_exceeded", code="3505"), OVERLOADED),
    (400, said(type="invalid_model", code="1500"), NO_MODEL),
    (
        400,
        said(type="invalid_request_error", message="too large for model with 32768 maximum context length"),
        TOO_LONG,
    ),
    (429, openai(429, type="exceeded_current_quota_error"), QUOTA),
    (429, openai(429, type="rate_limit_reached_error"), THROTTLED),
    (429, openai(429, type="engine_overloaded_error"), OVERLOADED),
    (404, said(message="model 'nonexistent' not found"), NO_PLACE),
    (400, said(message="too many tokens: total number of tokens cannot exceed 4081"), TOO_LONG),
    (429, said(message="your credit balance is used up"), QUOTA),
    # Inside a 200 or a stream, with no status of its own, or with one as its code (OpenRouter).
    (None, said(type="overloaded_error"), OVERLOADED),
    (None, said(type="invalid_request_error"), CALLER),
    (None, said(type="invalid_request_error", message="your credit balance is too low"), QUOTA),
    (None, said(type="api_error"), TRANSIENT),
    (None, said(code="400"), CALLER),
    (200, said(code="429"), THROTTLED),
    (200, said(code="502"), TRANSIENT),
    (201, said(code="400"), CALLER),
    (200, said(code="rate_limit_exceeded"), THROTTLED),
    (200, said(code="whatever", type="new_kind"), TRANSIENT),
    # No error object at all.
    (502, page(502, b"<html><head><title>502 Bad Gateway</title></head></html>"), TRANSIENT),
    (503, page(503, b""), TRANSIENT),
    (429, page(429, b"\xff\xfe\x00binary"), THROTTLED),
    (400, page(400, b'{"error": "in one string"}'), CALLER),
    (422, page(422, b'{"detail": [{"loc": ["body"], "msg": "field required"}]}'), CALLER),
]


@table(("status", "body", "expected"), CASES)
def test_words_go_before_the_status(status: int | None, body: ErrorBody, expected: Any) -> None:
    error = classified(status, body)

    assert (type(error), error.category, follows(error)) == expected


@table(
    ("status", "message", "fault"),
    [
        (500, "rate limit exceeded, too many requests", "transient"),
        (400, "the quota of tools is exceeded, the model may be overloaded", "caller"),
        (500, "your credit balance is too low", "transient"),
        (502, "prompt is too long", "transient"),
        (429, "maximum context length is 8192 tokens", "throttled"),
        (500, "incorrect api key provided", "transient"),
        (401, "model not found", "credential"),
        (403, "maximum context length", "access"),
    ],
)
def test_free_text_decides_nothing_else(status: int, message: str, fault: str) -> None:
    error = classified(status, said(message=message))

    assert error.category == fault
    assert not isinstance(error, ContextLengthError)


@table(
    ("status", "word", "expected"),
    [
        (400, "true", "same"),
        (429, "true", "same other fallback"),
        (401, "true", "same other fallback"),
        (404, "true", "same fallback"),
        (503, "false", "fallback"),
        (429, "false", "fallback"),
        (529, " False ", "fallback"),
        (400, "false", ""),
        # The key is refused, not the request: another key is no repetition.
        (401, "false", "other fallback"),
        (402, "false", "other fallback"),
        (503, "maybe", "same fallback"),
        (503, "", "same fallback"),
    ],
)
def test_x_should_retry_is_obeyed(status: int, word: str, expected: str) -> None:
    error = classified(status, headers={"x-should-retry": word})

    assert follows(error) == expected


def test_the_evidence_stands_on_the_error() -> None:
    body = ErrorBody(
        message="Slow down.", code="rate_limit_exceeded", type="requests", param="n", request_id="req_body"
    )
    error = error_of(
        429,
        body,
        headers=Headers.of(("Retry-After", "7"), ("x-request-id", "req_header")),
        provider="openai",
        model="gpt-4o",
        key="main",
        now_wall=NOW,
        raw=b'{"error": {}}',
    )

    assert (error.provider, error.model, error.key, error.status) == ("openai", "gpt-4o", "main", 429)
    assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "requests", "n")
    assert (error.request_id, error.retry_after, error.body) == ("req_body", 7.0, b'{"error": {}}')
    assert error.message == "openai limits the rate; wait, send less at once, or give it another key: Slow down."


def test_the_request_id_comes_from_the_providers_header() -> None:
    headers = Headers.of(("request-id", "req_1"), ("apim-request-id", "req_2"))
    known: dict[str, Any] = {"headers": headers, "provider": "p", "model": "m", "key": None, "now_wall": NOW}

    assert error_of(500, said(), **known).request_id == "req_1"
    assert error_of(500, said(), **known, request_id_headers=("apim-request-id",)).request_id == "req_2"
    assert error_of(500, said(), **known, request_id_headers=()).request_id is None


@table(
    ("headers", "in_body", "raw", "expected"),
    [
        ({}, None, b"", None),
        ({"retry-after": "2"}, 9.0, b"", 2.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, None, b"", 1.5),
        ({"retry-after": "nan"}, 9.0, b"", 9.0),
        ({}, 9000.0, b"", 300.0),
        ({}, 0.0, b"", None),
        ({}, -1.0, b"", None),
        ({}, float("nan"), b"", None),
        (
            {},
            None,
            b'{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}',
            34.4,
        ),
    ],
)
def test_the_wait_that_is_asked_for(
    headers: dict[str, str], in_body: float | None, raw: bytes, expected: float | None
) -> None:
    body = ErrorBody(message="wait", retry_after=in_body)

    assert classified(429, body, headers=headers, raw=raw).retry_after == expected


@table(
    ("location", "told"),
    [
        ("https://evil.example/path?token=CANARY#frag", "https://evil.example"),
        ("http://user:CANARY@169.254.169.254/latest", "http://169.254.169.254"),
        ("//other.example/CANARY", "https://other.example"),
        ("/CANARY", "redirects,"),
        ("file:///etc/CANARY", "redirects,"),
        ("https://[broken/CANARY", "redirects,"),
        ("", "redirects,"),
    ],
)
def test_a_redirect_names_scheme_and_host_only(location: str, told: str) -> None:
    error = classified(302, said(message="CANARY"), headers={"location": location})

    assert isinstance(error, ConfigError)
    assert told in str(error)
    assert "base_url" in str(error)
    assert "CANARY" not in str(error)


def test_an_error_without_headers_has_none_of_their_evidence() -> None:
    error = error_of(
        None, said(type="overloaded_error"), headers=None, provider="p", model=None, key=None, now_wall=NOW
    )

    assert (error.request_id, error.retry_after, error.status) == (None, None, None)
    assert "the model" in error.message


@table("status", [status for status, _ in PLAIN_STATUSES])
def test_the_message_says_who_failed(status: int | None) -> None:
    error = classified(status)

    assert "somewhere" in error.message
    assert "{" not in error.message
    assert error.retryable == RULES[error.category].same_key


@given(
    status=st.none() | st.integers(100, 999),
    code=st.none() | st.text(max_size=12),
    kind=st.none() | st.text(max_size=12),
    message=st.text(max_size=30),
    headers=st.dictionaries(
        st.sampled_from(["location", "retry-after", "x-should-retry", "x-request-id"]),
        st.text(st.characters(max_codepoint=255), max_size=30),
    ),
)
def test_nothing_a_provider_says_breaks_the_classification(
    status: int | None, code: str | None, kind: str | None, message: str, headers: dict[str, str]
) -> None:
    error = classified(status, ErrorBody(message=message, code=code, type=kind), headers=headers)

    assert error.category in RULES
    assert str(error).isprintable()
