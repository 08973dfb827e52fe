"""Ollama's errors, with a status or as a line of a stream: https://docs.ollama.com/api/errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.openai import errors as openai

if TYPE_CHECKING:
    from bifrost.wire.http import HttpResponse

_NO_MODEL = re.compile(r"model \S{1,300} not found")
_OVERLOADED = ("server busy", "overloaded")


def parse_error(response: HttpResponse) -> ErrorBody:
    """Parse the body of an error response. Any bytes are accepted: a web page is described by its title."""
    return _with_advice(openai.parse_error(response))


def reported_error(data: bytes) -> ReportedError:
    """Return the error that a body or a line contains instead of a response."""
    found = openai.reported_error(data, always=True)
    body = _with_advice(ErrorBody(message="the provider gives no message") if found is None else found.body)
    return ReportedError(body, status=(found and found.status) or _status_of(body.message))


def _status_of(message: str) -> int | None:
    """Return the status that an error in a stream would have had."""
    if _NO_MODEL.search(message):
        return 404
    return 503 if any(words in message for words in _OVERLOADED) else None


def _with_advice(body: ErrorBody) -> ErrorBody:
    if _NO_MODEL.search(body.message) and "pull" not in body.message:
        return msgspec.structs.replace(body, message=f"{body.message}, try pulling it first (ollama pull)")
    return body
