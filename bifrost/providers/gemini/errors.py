"""Google's error object, `google.rpc.Status`: with a status, within a stream, or as the only element of a list.

Reference: https://cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bodies import shown_body
from bifrost.providers.gemini.wording import WORDING
from bifrost.wire.waits import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.wire.http import HttpResponse

_STATUSES: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of each status, for an error that arrives after a 200 without a code."""

_LONG_QUOTAS = ("perday", "permonth", "per_day", "per_month")
"""What the id of a quota contains that is not restored within minutes."""

_DETAILS_LIMIT = 64


class _Violation(msgspec.Struct):
    field: str | None = None
    quota_id: str | None = msgspec.field(default=None, name="quotaId")
    subject: str | None = None


class _Detail(msgspec.Struct):
    type: str | None = msgspec.field(default=None, name="@type")
    reason: str | None = None
    retry_delay: str | None = msgspec.field(default=None, name="retryDelay")
    request_id: str | None = msgspec.field(default=None, name="requestId")
    violations: list[_Violation] | None = None
    field_violations: list[_Violation] | None = msgspec.field(default=None, name="fieldViolations")


class _Error(msgspec.Struct):
    code: Any = None
    message: str | None = None
    status: str | None = None
    details: list[msgspec.Raw] | None = None


class _ErrorResponse(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    error_description: str | None = None


_RESPONSE = msgspec.json.Decoder(_ErrorResponse, strict=False)
_RESPONSES = msgspec.json.Decoder(list[_ErrorResponse], strict=False)
_ERROR: msgspec.json.Decoder[_Error | str | None] = msgspec.json.Decoder(_Error | str | None, strict=False)
_DETAIL = msgspec.json.Decoder(_Detail, strict=False)


_NONE = _ErrorResponse()


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    found = _read(response.body)
    return ErrorBody(message=shown_body(response.body)) if found is None else found[0]


def reported_error(data: bytes) -> ReportedError:
    """Return the error that a body or an event contains instead of a response."""
    body, status = _read(data) or (ErrorBody(message=shown_body(data)), None)
    return ReportedError(body, status=status)


def _read(data: bytes) -> tuple[ErrorBody, int | None] | None:
    """Return the error, and the status that it names."""
    try:
        response = next(iter(_RESPONSES.decode(data)), _NONE) if data.lstrip()[:1] == b"[" else _RESPONSE.decode(data)
        error = _ERROR.decode(response.error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not error:
        return None
    if isinstance(error, str):  # of the server of tokens
        return ErrorBody(message=_line(response.error_description or error), code=error), None
    details = _details(error.details or ())
    message = _line(error.message or f"the provider gives no message with this {error.status or 'error'}")
    body = ErrorBody(
        message=message,
        type=error.status,
        code=next((detail.reason for detail in details if detail.reason), None) or error.status or _code(error),
        param=next((each.field for detail in details for each in detail.field_violations or () if each.field), None),
        request_id=next((detail.request_id for detail in details if detail.request_id), None),
        retry_after=next((wait for detail in details if (wait := seconds_of(detail.retry_delay)) is not None), None),
        meaning="long_quota" if _is_long(details) else WORDING.meaning_of((error.message or "")[:MESSAGE_LIMIT]),
    )
    return body, error.code if isinstance(error.code, int) else _STATUSES.get(error.status or "")


def _code(error: _Error) -> str | None:
    return str(error.code) if isinstance(error.code, int | str) else None


def _details(details: Sequence[msgspec.Raw]) -> list[_Detail]:
    """Return the details with a known form."""
    found: list[_Detail] = []
    for detail in details[:_DETAILS_LIMIT]:
        try:
            found.append(_DETAIL.decode(detail))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return found


def _is_long(details: Sequence[_Detail]) -> bool:
    """Return whether a quota of a day or longer is exhausted, so that waiting does not help soon."""
    quotas = [each.quota_id.lower() for detail in details for each in detail.violations or () if each.quota_id]
    return any(word in quota for quota in quotas for word in _LONG_QUOTAS)


def _line(text: str) -> str:
    return shown(" ".join(text.split()), MESSAGE_LIMIT)
