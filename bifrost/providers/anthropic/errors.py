"""Anthropic's error object, with a status or within a stream: https://platform.claude.com/docs/en/api/errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.anthropic.wording import WORDING
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bodies import shown_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.wire.http import HttpResponse

_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of each error type, for an error that arrives after a 200."""


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    details: _Details | None = None


class _ErrorResponse(msgspec.Struct):
    error: _Error | None = None
    request_id: str | None = None


_ERROR = msgspec.json.Decoder(_ErrorResponse, strict=False)


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    return _read(response.body) or ErrorBody(message=shown_body(response.body))


def reported_error(data: bytes) -> ReportedError:
    """Return the error that a body or an event contains instead of a response."""
    body = _read(data) or ErrorBody(message=shown_body(data))
    return ReportedError(body, status=_STATUSES.get(body.type or ""))


def _read(data: bytes) -> ErrorBody | None:
    try:
        read = _ERROR.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    error = read.error
    if error is None or not (error.message or error.type):
        return None
    return ErrorBody(
        message=_line(error.message or f"the provider gives no message with this {error.type}"),
        type=error.type,
        code=(error.details and error.details.error_code) or error.type,
        request_id=read.request_id,
        meaning=WORDING.meaning_of((error.message or "")[:MESSAGE_LIMIT]),
    )


def _line(text: str) -> str:
    return shown(" ".join(text.split()), MESSAGE_LIMIT)
