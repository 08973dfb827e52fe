"""Bedrock's exceptions: with a status, or in the event stream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html, and the errors of each operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bedrock.wording import WORDING
from bifrost.providers.bodies import one_line, shown_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.wire.framing.aws_event_stream import EventStreamMessage
    from bifrost.wire.http import HttpResponse

_STATUSES: Mapping[str, int] = {
    "validationexception": 400,
    "servicequotaexceededexception": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "throttlingexception": 429,
    "modelnotreadyexception": 429,
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
}
"""The status of each exception, for one that arrives after a 200."""

_NAME_LIMIT = 200


class _Exception(msgspec.Struct):
    """Services of AWS write the message with either case."""

    message: str | None = None
    Message: str | None = None
    type: str | None = msgspec.field(default=None, name="__type")
    code: str | None = None
    originalMessage: str | None = None  # noqa: N815 - the name on the wire

    @property
    def text(self) -> str | None:
        return self.message or self.Message or self.originalMessage


_EXCEPTION = msgspec.json.Decoder(_Exception, strict=False)


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response, whose exception a header names. Any bytes are accepted."""
    found = _read(response.body)
    name = exception_name(response.headers.get("x-amzn-errortype") or found.type or found.code)
    return _body(found.text, name, response.body)


def reported_error(data: bytes) -> ReportedError | None:
    """Return the error that a body contains instead of a response; `None` if it contains none."""
    found = _read(data)
    name = exception_name(found.type)
    if name is None and not found.text:
        return None
    return ReportedError(_body(found.text, name, data), status=status_of(name))


def stream_error(event: EventStreamMessage) -> ReportedError:
    """Return the error of an exception or an error in the event stream."""
    headers = event.headers
    found = _read(event.data)
    name = exception_name(str(headers.get(":exception-type") or headers.get(":error-code") or "") or found.type)
    text = found.text or str(headers.get(":error-message") or "")
    return ReportedError(_body(text, name, event.data), status=status_of(name))


def exception_name(given: str | None) -> str | None:
    """Return the name of an exception without its namespace and the address that may follow it."""
    name = (given or "").partition(":")[0].rpartition("#")[2].strip()
    return one_line(name, _NAME_LIMIT) or None


def status_of(name: str | None) -> int | None:
    """Return the status of an exception; `None` for an unknown one."""
    return _STATUSES.get((name or "").lower())


def _read(data: bytes) -> _Exception:
    try:
        return _EXCEPTION.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Exception()


def _body(text: str | None, name: str | None, data: bytes) -> ErrorBody:
    if not text and name is not None:
        text = f"the provider gives no message with this {name}"
    return ErrorBody(
        message=one_line(text, MESSAGE_LIMIT) if text else shown_body(data),
        type=name,
        code=name,
        meaning=WORDING.meaning_of((text or "")[:MESSAGE_LIMIT]),
    )
