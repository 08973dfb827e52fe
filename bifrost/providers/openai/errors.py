"""OpenAI's error object, and what compatible servers and the proxies before them send instead.

Format: https://platform.openai.com/docs/guides/error-codes/api-errors
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bodies import one_line, shown_body
from bifrost.providers.openai.wording import WORDING
from bifrost.providers.wording import OF_THE_REQUEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.wording import Meaning
    from bifrost.wire.http import HttpResponse

_STATUSES: Mapping[str, int] = {
    "authentication_error": 401,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "server_error": 500,
    "tokens": 429,
}
"""The status of each code or type, for an error that arrives after a 200."""

_FACT_LIMIT = 256

_MOST_REASONS = 10


class _Fields(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None
    metadata: Any = None
    failed_generation: Any = None


class _Body(_Fields):
    error: Any = None
    object: Any = None
    detail: Any = None
    request_id: Any = None
    base_resp: Any = None


_BODY: msgspec.json.Decoder[_Body | list[_Body]] = msgspec.json.Decoder(_Body | list[_Body])


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    found = _read(response.body)
    body = _error_of(found, always=True) if found is not None else None
    if body is None:
        body = ErrorBody(message=shown_body(response.body))
    if body.request_id is None:
        body = msgspec.structs.replace(body, request_id=response.headers.get("x-request-id"))
    return body


def reported_error(data: bytes, *, always: bool = False) -> ReportedError | None:
    """Return the error that a body or an event contains instead of a response; `None` if `data` is not an error object.

    `always`: it is known to be an error in any form (an event named `error`).
    """
    found = _read(data)
    body = _error_of(found, always=always) if found is not None else None
    if body is None and always:
        body = ErrorBody(message=shown_body(data))
    if body is None:
        return None
    return ReportedError(body, status=_given_status(found) or _status_of(body))


def _read(data: bytes) -> _Body | None:
    try:
        found = _BODY.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if isinstance(found, list):  # Gemini's compatible endpoint puts the object into a list
        return found[0] if found else None
    return found


def _error_of(body: _Body, *, always: bool) -> ErrorBody | None:
    if body.error:
        error = _inner(body.error)
    elif (minimax := _minimax_error(body.base_resp)) is not None:
        error = minimax
    elif always or body.object == "error":  # vLLM and Mistral send the fields without the object around them
        error = body
    else:
        return None
    message = _words_of(error, body)
    if message is None and error.type is None and error.code is None:
        return None
    return ErrorBody(
        message=_message(message, error),
        type=_fact(error.type),
        code=_fact(error.code) or _fact(body.code),  # beside an error that is mere text: xAI
        param=_fact(error.param),
        request_id=_fact(body.request_id),
        meaning=_meaning_of(error, body),
        generated=error.failed_generation if isinstance(error.failed_generation, str) else "",
    )


def _meaning_of(error: _Fields, body: _Body) -> Meaning | None:
    """Return what the error means in addition to its status.

    Only plain text is considered: other text may repeat the request.
    """
    message = error.message or body.detail or body.message
    meaning = WORDING.meaning_of(message[:MESSAGE_LIMIT]) if isinstance(message, str) else None
    if meaning is not None:
        return meaning
    match error.metadata:
        case {"flagged_input": _} | {"reasons": [str(), *_]}:  # OpenRouter's moderation
            return "content"
        case {"raw": str(said)}:
            return WORDING.meaning_of(said[:MESSAGE_LIMIT], OF_THE_REQUEST)
        case _:
            return None


def _words_of(error: _Fields, body: _Body) -> object:
    message = error.message or body.detail or body.message
    # OpenRouter says in the message that its upstream failed, and next to it how.
    match error.metadata:
        case {"raw": str(said), "provider_name": str(upstream)} if isinstance(message, str):
            return f"{message} ({upstream}): {said}"
        # Its moderation reports the reasons next to the message, and quotes what was sent, which is not repeated here.
        case {"reasons": [str(), *_] as reasons} if isinstance(message, str):
            return f"{message} (moderation: {', '.join(map(str, reasons[:_MOST_REASONS]))})"
        case _:
            return message


def _minimax_error(base_resp: object) -> _Fields | None:
    """Return MiniMax's error next to or instead of a response, or `None`.

    https://platform.minimax.io/docs/api-reference/errorcode
    """
    match base_resp:
        case {"status_code": int(code), "status_msg": str(message)} if code:
            return _Fields(message=message, code=code)
        case _:
            return None


def _inner(error: object) -> _Fields:
    try:
        return msgspec.convert(error, _Fields)
    except msgspec.ValidationError:
        return _Fields(message=error)


def _message(message: object, error: _Fields) -> str:
    if message is not None and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    text = one_line(message or "", MESSAGE_LIMIT)
    return text or f"the provider gives no message with this {_fact(error.code) or _fact(error.type) or 'error'}"


def _fact(value: object) -> str | None:
    """Return a short fact: text, or a number, as some servers send their codes."""
    match value:
        case str() if value.strip():
            return one_line(value, _FACT_LIMIT)
        case int() | float() if not isinstance(value, bool):
            return str(value)
        case _:
            return None


def _given_status(body: _Body | None) -> int | None:
    """Return the status that Groq writes into an error event."""
    match body:
        case _Body(error={"status_code": int(status)}) if 400 <= status <= 599:
            return status
        case _:
            return None


def _status_of(body: ErrorBody) -> int | None:
    if body.code is not None and body.code.isdecimal() and 400 <= int(body.code) <= 599:
        return int(body.code)
    return _STATUSES.get(body.code or "") or _STATUSES.get(body.type or "")
