"""Which error a provider's refusal is: its codes first, then its sentence where that is known, then its status. Pure.

Codes, types and statuses are here; what vendors' messages mean is in `bifrost.providers.wording` and in
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
"""The error's class, and its row of the failure table."""


def _by_word(*rows: tuple[type[BifrostError], str, str]) -> Mapping[str, _Verdict]:
    return {word.lower(): (error, category) for error, category, words in rows for word in words.split()}


# A word stands here once, whichever provider says it and whether it calls it a code, type, status or exception:
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
    # Groq's blocked accounts, beside the documented word above.
    "spend_": (QuotaExceededError, "quota"),
}

# Words that providers use for whatever has no better one (OpenAI's for an unknown key, path or model too): where a
# status stands, it tells more.
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
"""The status of a provider that has taken a request and works on it."""

_STATUSES: Mapping[int, _Verdict] = {
    # Answers without a body, or with a part of one.
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


class _Meant(msgspec.Struct, frozen=True):
    """What a sentence that is known makes of a refusal."""

    verdict: _Verdict
    over: frozenset[str]
    """The categories that it overrules where a code says them."""
    statuses: frozenset[int]
    """The statuses with which it is believed. Without one it always is."""
    says: str | None = None


_REFUSALS = frozenset(range(400, 500))
_CODES_OF_CALLERS = frozenset(["caller"])
_TOO_LARGE = (
    "this request is larger than {provider} allows this account; send less, or lower max_tokens "
    "(a smaller request may pass)"
)

_MEANINGS: Mapping[Meaning, _Meant] = {
    # A status of the 5xx with such a sentence is a gateway's, and the key that it speaks of not ours.
    "credential": _Meant((AuthenticationError, "credential"), frozenset(["access"]), _REFUSALS),
    "quota": _Meant((QuotaExceededError, "quota"), _CODES_OF_CALLERS | {"access"}, _REFUSALS),
    "allowance": _Meant(
        (QuotaExceededError, "allowance"), frozenset(["quota", "throttled", "caller"]), _REFUSALS, _TOO_LARGE
    ),
    "access": _Meant(
        (PermissionDeniedError, "access"),
        frozenset(["credential"]),
        frozenset([400, 401, 403]),
        "the key is valid, but may not use this at {provider}; give it the right, or use another key",
    ),
    "content": _Meant((ContentFilterError, "caller"), _CODES_OF_CALLERS | {"access"}, _REFUSALS),
    "context_length": _Meant(
        (ContextLengthError, "caller"),
        _CODES_OF_CALLERS,
        # 500: Ollama, llama.cpp and SGLang.
        frozenset([400, 413, 422, 424, 500]),
    ),
    "model": _Meant((NotFoundError, "access"), _CODES_OF_CALLERS, frozenset([400, 422])),
    "endpoint": _Meant((NotFoundError, "config"), frozenset(), _REFUSALS),
    "failed_generation": _Meant(
        (MalformedResponseError, "failed_generation"), _CODES_OF_CALLERS, frozenset([400, 422])
    ),
}

_SAYS: Mapping[str, str] = {
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
    "malformed": "{provider} gave an answer without the content that was asked for",
    "failed_generation": "{model} wrote a tool call or JSON that {provider} cannot read; try again, or another model",
    "unknown": "{provider} gave an answer that means nothing here",
}

_SAYS_OF: Mapping[type[BifrostError], str] = {
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
    """Make the error of an answer that is a refusal. It is returned, not raised.

    `status` is `None` for an error that came without one, as an event of a stream; an answer's status says as little.
    `key` is the key's name. `raw` is the answer's body: it may hold the wait that is asked for, and it becomes the
    error's `body`. `now_wall` is the wall clock, in seconds since 1970, for waits that are given as a date.

    The provider's text, in the error's message and evidence, is as it came: take secrets out of it (`redact`).
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
    """Complete the error of a body that is no answer and came with a 202: asking again would begin the work anew."""
    error.message = f"the provider accepted the request and has not answered it (status 202): {error.message}"
    error.retryable = False


def _verdict(status: int | None, body: ErrorBody) -> _Verdict:
    telling = _status_as_code(body.code) if status is None or _is_good(status) else status
    words = [word.lower() for word in (body.code, body.type) if word]
    said = _said(words)
    meant = _meant(body, telling, said)
    judged = said or _judged(telling, words, body)
    if meant is None:
        return judged
    if meant.verdict[1] == "allowance" and (judged[1] == "throttled" or telling == 413):
        return RateLimitError, "allowance"
    return meant.verdict


def _meant(body: ErrorBody, status: int | None, said: _Verdict | None) -> _Meant | None:
    """Return what the sentence makes of it, unless a code or the status says otherwise."""
    meant = None if body.meaning is None else _MEANINGS[body.meaning]
    if meant is None or not (status is None or status in meant.statuses):
        return None
    return meant if said is None or said[1] in meant.over else None


def _said(words: Sequence[str]) -> _Verdict | None:
    for word in words:
        if word in _WORDS:
            return _WORDS[word]
        for beginning, verdict in _BEGINNINGS.items():
            if word.startswith(beginning):
                return verdict
    return None


def _judged(status: int | None, words: Sequence[str], body: ErrorBody) -> _Verdict:
    """Judge by the status, and without one by what words of little meaning are there."""
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
    """Read a code that is a status (OpenRouter's, in a stream)."""
    if code is not None and len(code) == 3 and code.isascii() and code.isdecimal() and code[0] in "45":
        return int(code)
    return None


def _should_retry(headers: Headers) -> bool | None:
    return {"true": True, "false": False}.get((headers.get("x-should-retry") or "").strip().lower())


def _wait(headers: Headers, body: ErrorBody, raw: bytes, now_wall: float) -> float | None:
    asked = retry_after(headers, raw, now=now_wall)
    if asked is None and body.retry_after is not None and body.retry_after > 0:
        asked = min(body.retry_after, LONGEST_WAIT)
    return asked


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
    meant = None if body.meaning is None else _MEANINGS[body.meaning]
    if meant is not None and meant.says is not None and category == meant.verdict[1]:
        says = meant.says
    else:
        says = _SAYS_OF.get(kind) or _SAYS[category]
    advice = says.format(provider=provider, model=model or "the model")
    words = body.message.strip()
    return f"{advice}: {words}" if words else advice


def _target(headers: Headers) -> str:
    """Name where a redirect leads: scheme and host, since path and query may hold anything."""
    try:
        target = urlsplit(headers.get("location") or "")
        host = target.hostname
    except ValueError:
        return ""
    return f" to {target.scheme or 'https'}://{host}" if host else ""
