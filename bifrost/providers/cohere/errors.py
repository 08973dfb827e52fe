"""Cohere's error object, with a status or within a response: https://docs.cohere.com/reference/errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MESSAGE_LIMIT
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bodies import one_line, shown_body
from bifrost.providers.cohere.wording import WORDING

if TYPE_CHECKING:
    from bifrost.providers.wording import Meaning
    from bifrost.wire.http import HttpResponse

UNSAFE = 498
"""The status of a request that Cohere refuses for its content."""

_FACT_LIMIT = 256


class _Error(msgspec.Struct):
    """Cohere's members, and those of gateways before it."""

    message: Any = None
    id: Any = None
    code: Any = None
    error: Any = None
    detail: Any = None


_ERROR = msgspec.json.Decoder(_Error)


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    body = _body_of(_read(response.body)) or ErrorBody(message=shown_body(response.body))
    return body if response.status != UNSAFE else msgspec.structs.replace(body, meaning="content")


def reported_error(data: bytes) -> ReportedError | None:
    """Return the error that a body contains instead of a response; `None` if `data` is not an error object."""
    body = _body_of(_read(data))
    return None if body is None else ReportedError(body)


def meaning_of(message: str) -> Meaning | None:
    """Return what a message means in addition to its status; `None` if it is unknown."""
    return WORDING.meaning_of(message[:MESSAGE_LIMIT])


def _read(data: bytes) -> _Error:
    try:
        return _ERROR.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _Error()


def _body_of(found: _Error) -> ErrorBody | None:
    message = _message_of(found)
    if message is None:
        return None
    return ErrorBody(
        message=one_line(message, MESSAGE_LIMIT),
        code=_fact(found.code),
        request_id=_fact(found.id),
        meaning=meaning_of(message),
    )


def _message_of(found: _Error) -> str | None:
    for value in (found.message, found.error, found.detail):
        match value:
            case str(message) | {"message": str(message)} if message.strip():
                return message
            case _:
                pass
    return None


def _fact(value: object) -> str | None:
    match value:
        case str() if value.strip():
            return one_line(value, _FACT_LIMIT)
        case int() if not isinstance(value, bool):
            return str(value)
        case _:
            return None
