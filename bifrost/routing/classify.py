"""Classifies the failure of a provider: by its code, then by its message if that is known, then by its status. Pure.

Codes, types and statuses are here; the meaning of messages is in `bifrost.providers.wording` and in
the `wording` modules of the dialects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import msgspec

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
from bifrost.routing.retry import RULES
from bifrost.wire.http import Headers
from bifrost.wire.waits import LONGEST_WAIT, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.base import ErrorBody
    from bifrost.providers.wording import Meaning

_Verdict: TypeAlias = tuple[type[BifrostError], str]
"""The class of the error, and its row of the failure table."""


def _by_word(*rows: tuple[type[BifrostError], str, str]) -> Mapping[str, _Verdict]:
    return {word.lower(): (error, category) for error, category, words in rows for word in words.split()}


# Each word is listed once, whichever provider uses it, as a code, type, status or exception:
#   OpenAI     https://platform.openai.com/docs/guides/error-codes
#   Anthropic  https://docs.claude.com/en/api/errors
#   Gemini     https://ai.google.dev/gemini-api/docs/troubleshooting, https://cloud.google.com/apis/design/errors
#   Bedrock    https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and each operation's errors
#   Azure      https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota
#   Groq       https://console.groq.com/docs/errors, https://console.groq.com/docs/spend-limits
#   Moonshot   https://www.kimi.com/help/kimi-api/api-error-codes
#   Mistral and Cohere have few words; Cohere sends only a message with its status.
_WORDS: Mapping[str, _Verdict] = _by_word(
    (
        QuotaExceededError,
        "quota",
        """
        insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded
        organization_usage_limit_exceeded enforced_spend_limit_reached blocked_api_access quota_exceeded
        exceeded_current_quota_error ServiceQuotaExceededException insufficient_credits insufficient_balance
        payment_required budget_exceeded Arrearage AccountOverdueError NOT_ENOUGH_BALANCE
        """,
    ),
    (
        RateLimitError,
        "throttled",
        """
        RESOURCE_EXHAUSTED ThrottlingException Throttling ThrottledException TooManyRequestsException
        RequestLimitExceeded too_many_requests TooManyRequests RateLimitReached slow_down requests tokens
        """,
    ),
    (
        OverloadedError,
        "overloaded",
        """
        overloaded_error overloaded server_is_overloaded engine_overloaded engine_overloaded_error model_overloaded
        ModelNotReadyException ModelNotReady NoCapacity no_capacity capacity_exceeded service_tier_capacity_exceeded
        """,
    ),
    (
        AuthenticationError,
        "credential",
        """
        invalid_api_key authentication_error UNAUTHENTICATED API_KEY_INVALID invalid_authentication
        invalid_authentication_error incorrect_api_key_error unauthorized account_deactivated token_expired
        wrong_api_key
        UnrecognizedClientException InvalidSignatureException InvalidClientTokenId IncompleteSignature
        ExpiredTokenException MissingAuthenticationToken MissingAuthenticationTokenException
        """,
    ),
    (
        PermissionDeniedError,
        "access",
        # Gemini's failed precondition: the account's country or plan.
        """
        permission_error PERMISSION_DENIED permission_denied_error AccessDeniedException AccessDenied access_denied
        insufficient_permissions unsupported_country_region_territory API_KEY_SERVICE_BLOCKED SERVICE_DISABLED
        FAILED_PRECONDITION OptInRequired PermissionDenied key_model_access_denied
        """,
    ),
    (
        NotFoundError,
        "access",
        """
        model_not_found DeploymentNotFound not_found_error NOT_FOUND resource_not_found_error
        ResourceNotFoundException invalid_model model_not_supported model_not_available
        """,
    ),
    (NotFoundError, "gone", "model_decommissioned"),
    (ProviderError, "conflict", "conflict_error ConflictException ABORTED"),
    (
        ContextLengthError,
        "caller",
        # OpenAI, llama.cpp, GitHub (two), gateways.
        """
        context_length_exceeded exceed_context_size_error tokens_limit_reached model_max_prompt_tokens_exceeded
        context_window_exceeded ContextWindowExceededError
        """,
    ),
    (
        ContentFilterError,
        "caller",
        """
        content_filter content_policy_violation image_content_policy_violation ResponsibleAIPolicyViolation
        moderation_blocked data_inspection_failed DataInspectionFailed
        """,
    ),
    (BadRequestError, "caller", "request_too_large"),
    # Groq's 400: https://console.groq.com/docs/errors
    (MalformedResponseError, "failed_generation", "tool_use_failed json_validate_failed failed_generation"),
)

_BEGINNINGS: Mapping[str, _Verdict] = {
    "rate_limit": (RateLimitError, "throttled"),
    "billing_": (QuotaExceededError, "quota"),
    # Groq's blocked accounts, in addition to the documented word above.
    "spend_": (QuotaExceededError, "quota"),
}

# Words that providers use for anything without a better one (OpenAI also for an unknown key, path or model): the
# status, if there is one, says more.
_VAGUE_WORDS: Mapping[str, _Verdict] = _by_word(
    (
        BadRequestError,
        "caller",
        """
        invalid_request_error invalid_request bad_request BadRequest INVALID_ARGUMENT OUT_OF_RANGE ValidationException
        validation_error invalid_prompt unsupported_value unsupported_parameter invalid_value
        """,
    ),
    (
        ServerError,
        "transient",
        """
        server_error internal_server_error InternalServerException InternalServerError InternalFailure internal_error
        api_error timeout_error timeout INTERNAL UNAVAILABLE UNKNOWN DEADLINE_EXCEEDED service_unavailable
        service_unavailable_error ServiceUnavailableException ServiceUnavailable ModelTimeoutException
        ModelErrorException ModelStreamErrorException vector_store_timeout
        """,
    ),
)

ACCEPTED = 202
"""The status of a provider that has accepted a request and is still working on it."""

_STATUSES: Mapping[int, _Verdict] = {
    # Responses without a body, or with a part of one.
    204: (MalformedResponseError, "malformed"),
    205: (MalformedResponseError, "malformed"),
    206: (MalformedResponseError, "malformed"),
    400: (BadRequestError, "caller"),
    401: (AuthenticationError, "credential"),
    402: (QuotaExceededError, "quota"),
    403: (PermissionDeniedError, "access"),
    404: (NotFoundError, "config"),
    405: (ConfigError, "config"),
    408: (ServerError, "transient"),
    409: (ProviderError, "conflict"),
    410: (NotFoundError, "gone"),
    413: (BadRequestError, "caller"),
    415: (BadRequestError, "caller"),
    422: (BadRequestError, "caller"),
    425: (ServerError, "transient"),
    429: (RateLimitError, "throttled"),
    500: (ServerError, "transient"),
    501: (ConfigError, "config"),
    502: (ServerError, "transient"),
    503: (ServerError, "transient"),
    504: (ServerError, "transient"),
    **dict.fromkeys(range(520, 525), (ServerError, "transient")),
    529: (OverloadedError, "overloaded"),
}


class _MessageMeaning(msgspec.Struct, frozen=True):
    """What a known message means for the classification."""

    verdict: _Verdict
    over: frozenset[str]
    """The categories of codes that it overrides."""
    statuses: frozenset[int]
    """The statuses with which it applies. Without a status it always does."""
    says: str | None = None


_CLIENT_ERRORS = frozenset(range(400, 500))
_CODES_OF_CALLERS = frozenset(["caller"])
_TOO_LARGE = (
    "this request is larger than {provider} allows this account; send less, or lower max_tokens "
    "(a smaller request may pass)"
)

_MEANINGS: Mapping[Meaning, _MessageMeaning] = {
    # With a 5xx status, such a message comes from a gateway, and its key is not ours.
    "credential": _MessageMeaning((AuthenticationError, "credential"), frozenset(["access"]), _CLIENT_ERRORS),
    "quota": _MessageMeaning((QuotaExceededError, "quota"), _CODES_OF_CALLERS | {"access"}, _CLIENT_ERRORS),
    "long_quota": _MessageMeaning(
        (QuotaExceededError, "quota"), _CODES_OF_CALLERS | {"access", "throttled"}, _CLIENT_ERRORS
    ),
    "allowance": _MessageMeaning(
        (QuotaExceededError, "allowance"), frozenset(["quota", "throttled", "caller"]), _CLIENT_ERRORS, _TOO_LARGE
    ),
    "access": _MessageMeaning(
        (PermissionDeniedError, "access"),
        frozenset(["credential"]),
        frozenset([400, 401, 403]),
        "the key is valid, but may not use this at {provider}; give it the right, or use another key",
    ),
    "content": _MessageMeaning((ContentFilterError, "caller"), _CODES_OF_CALLERS | {"access"}, _CLIENT_ERRORS),
    "context_length": _MessageMeaning(
        (ContextLengthError, "caller"),
        _CODES_OF_CALLERS,
        # 500: Ollama, llama.cpp and SGLang.
        frozenset([400, 413, 422, 424, 500]),
    ),
    "model": _MessageMeaning((NotFoundError, "access"), _CODES_OF_CALLERS, frozenset([400, 422])),
    "endpoint": _MessageMeaning((NotFoundError, "config"), frozenset(), _CLIENT_ERRORS),
    "failed_generation": _MessageMeaning(
        (MalformedResponseError, "failed_generation"), _CODES_OF_CALLERS, frozenset([400, 422])
    ),
}

_MESSAGES: Mapping[str, str] = {
    "quota": "the quota or credit of the account at {provider} is used up; waiting does not help, see its billing",
    "throttled": "{provider} limits the rate; wait, send less at once, or give it another key",
    "overloaded": "{provider} has no capacity for {model} at the moment; try later, or give a fallback",
    "allowance": _TOO_LARGE,
    "transient": "{provider} failed",
    "conflict": "{provider} reports a conflict with another request",
    "credential": "{provider} does not accept the key; set it anew",
    "access": "{provider} has no {model} for this key; look at the model's name and at the account's rights",
    "gone": "{provider} no longer offers {model}; choose another",
    "config": "{provider} has nothing like this at its address; look at base_url and at the model's name",
    "caller": "{provider} refuses the request",
    "malformed": "{provider} gave a response without the content that was asked for",
    "failed_generation": "{model} wrote a tool call or JSON that {provider} cannot read; try again, or another model",
    "unknown": "{provider} gave a response that means nothing here",
}

_MESSAGES_BY_CLASS: Mapping[type[BifrostError], str] = {
    ContextLengthError: (
        "the request does not fit into {model}; shorten it, or choose a model with a larger context window"
    ),
    ContentFilterError: "{provider} refuses the content of the request; change it, or ask another model",
}


def error_of(
    status: int | None,
    body: ErrorBody,
    *,
    headers: Headers | None,
    provider: str,
    model: str | None,
    key: str | None,
    now_wall: float,
    raw: bytes = b"",
    request_id_headers: Sequence[str] = ("x-request-id", "request-id"),
) -> BifrostError:
    """Return the error for a failure response. It is not raised.

    `status` is `None` for an error without one, such as an event of a stream; the status of a successful response means
    the same. `key` is the key's name. `raw` is the body of the response: it may contain a wait, and becomes the
    error's `body`. `now_wall` is the wall clock, in seconds since 1970, for waits that are dates.

    The provider's text in the error's message and attributes is unchanged: remove secrets from it (`redact`).
    """
    headers = headers if headers is not None else Headers()
    kind, category = _verdict(status, body)
    error = kind(
        _sentence(kind, category, status, body, provider=provider, model=model, headers=headers),
        provider=provider,
        model=model,
        key=key,
        status=status,
        code=body.code,
        type=body.type,
        param=body.param,
        request_id=body.request_id or next(filter(None, map(headers.get, request_id_headers)), None),
        retry_after=_wait(headers, body, raw, now_wall),
        body=raw or None,
    )
    if category != kind.category:
        error.category = category
    if isinstance(error, MalformedResponseError):
        error.output = body.generated
    may_retry = _should_retry(headers)
    if may_retry is None:
        may_retry = RULES[category].same_key
    if may_retry != kind.retryable:
        error.retryable = may_retry
    return error


def mark_accepted(error: ProviderError) -> None:
    """Complete the error for a body with status 202 that is not a response. A retry would start the work again."""
    error.message = f"the provider accepted the request and has not answered it (status 202): {error.message}"
    error.retryable = False


def _verdict(status: int | None, body: ErrorBody) -> _Verdict:
    known_status = _status_as_code(body.code) if status is None or _is_good(status) else status
    words = [word.lower() for word in (body.code, body.type) if word]
    by_words = _verdict_of_words(words)
    meaning = _meaning_of_message(body, known_status, by_words)
    verdict = by_words or _verdict_of_status(known_status, words, body)
    if meaning is None:
        return verdict
    if meaning.verdict[1] == "allowance" and (verdict[1] == "throttled" or known_status == 413):
        return RateLimitError, "allowance"
    return meaning.verdict


def _meaning_of_message(body: ErrorBody, status: int | None, by_words: _Verdict | None) -> _MessageMeaning | None:
    """Return the meaning of the message, unless a code or the status contradicts it."""
    meaning = None if body.meaning is None else _MEANINGS[body.meaning]
    if meaning is None or not (status is None or status in meaning.statuses):
        return None
    return meaning if by_words is None or by_words[1] in meaning.over else None


def _verdict_of_words(words: Sequence[str]) -> _Verdict | None:
    for word in words:
        if word in _WORDS:
            return _WORDS[word]
        for beginning, verdict in _BEGINNINGS.items():
            if word.startswith(beginning):
                return verdict
    return None


def _verdict_of_status(status: int | None, words: Sequence[str], body: ErrorBody) -> _Verdict:
    """Return the verdict by status, or without a status by words of little meaning."""
    vague = next((_VAGUE_WORDS[word] for word in words if word in _VAGUE_WORDS), None)
    if status is None:
        return vague or (ServerError, "transient")
    if status == 409 and ((vague and vague[1] == "caller") or body.param):
        return BadRequestError, "caller"
    if 300 <= status < 400:
        return ConfigError, "config"
    unknown = (ServerError if 500 <= status < 600 else ProviderError), "unknown"
    return _STATUSES.get(status) or vague or unknown


def _is_good(status: int) -> bool:
    return 200 <= status < 300 and status not in _STATUSES


def _status_as_code(code: str | None) -> int | None:
    """Return the status that a code contains (OpenRouter's, in a stream), or `None`."""
    if code is not None and len(code) == 3 and code.isascii() and code.isdecimal() and code[0] in "45":
        return int(code)
    return None


def _should_retry(headers: Headers) -> bool | None:
    return {"true": True, "false": False}.get((headers.get("x-should-retry") or "").strip().lower())


def _wait(headers: Headers, body: ErrorBody, raw: bytes, now_wall: float) -> float | None:
    wait = retry_after(headers, raw, now=now_wall)
    if wait is None and body.retry_after is not None and body.retry_after > 0:
        wait = min(body.retry_after, LONGEST_WAIT)
    return wait


def _sentence(
    kind: type[BifrostError],
    category: str,
    status: int | None,
    body: ErrorBody,
    *,
    provider: str,
    model: str | None,
    headers: Headers,
) -> str:
    if status is not None and 300 <= status < 400:
        return f"{provider} redirects{_target(headers)}, which is never followed; set base_url to the right address"
    meaning = None if body.meaning is None else _MEANINGS[body.meaning]
    if meaning is not None and meaning.says is not None and category == meaning.verdict[1]:
        says = meaning.says
    else:
        says = _MESSAGES_BY_CLASS.get(kind) or _MESSAGES[category]
    advice = says.format(provider=provider, model=model or "the model")
    words = body.message.strip()
    return f"{advice}: {words}" if words else advice


def _target(headers: Headers) -> str:
    """Return the scheme and host of a redirect. Its path and query are not shown, because they may contain anything."""
    try:
        target = urlsplit(headers.get("location") or "")
        host = target.hostname
    except ValueError:
        return ""
    return f" to {target.scheme or 'https'}://{host}" if host else ""
