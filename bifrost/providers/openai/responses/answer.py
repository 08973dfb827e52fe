"""Parses the response object: https://platform.openai.com/docs/api-reference/responses/object.

Items are kept whole, whatever their kind, so they are read from dicts. What servers vary in, or may omit, is read
leniently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from bifrost.errors import MESSAGE_LIMIT, MalformedResponseError
from bifrost.operations.chat.content import Issuer
from bifrost.operations.responses.item_forms import read_item
from bifrost.operations.responses.items import CustomToolCallItem, FunctionCallItem
from bifrost.operations.responses.response import ResponsesError, ResponsesResponse, raw_of
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.bodies import one_line
from bifrost.providers.events import lone_event
from bifrost.providers.openai.answer import seconds_of, text_of, usage_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.wording import WORDING
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.responses.items import Item
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()

_OWN: Final = frozenset(
    [
        "id",
        "object",
        "created_at",
        "status",
        "model",
        "output",
        "output_text",
        "error",
        "incomplete_details",
        "usage",
        "service_tier",
    ]
)
"""The members that are fields of a `ResponsesResponse`."""

_STATUSES: Final[Mapping[str, int]] = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "vector_store_timeout": 504,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
    "failed_to_download_image": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "image_file_not_found": 400,
}
"""The status of each code of a failed response; the other codes that name an image mean 400."""
_FACT_LIMIT: Final = 200
"""The most characters of the code of an error."""


def parse_responses(response: HttpResponse, target: Target) -> ResponsesResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for a failed response or an error object, and `MalformedResponseError` for other content.
    """
    form = form_of(response.body)
    failure = failure_of(form)
    if failure is not None:
        raise failure
    return stored_response(form, response.body, target)


def stored_response(form: Mapping[str, Any], body: bytes, target: Target) -> ResponsesResponse:
    """Return the response of the object in a body. A failed one has its `error`."""
    output = form.get("output")
    is_empty = output is None and (form.get("object") == "response" or form.get("status") in _UNREADY)
    if not (isinstance(output, list) or is_empty):
        raise reported_error(body) or _shapeless(body, "no output")
    found = response_of(form, target)
    return msgspec.structs.replace(found, raw=raw_of(body, found.output))


_UNREADY: Final = ("queued", "in_progress", "failed", "cancelled")


def form_of(body: bytes) -> dict[str, Any]:
    """Return the object in a body. Raises `ReportedError` and `MalformedResponseError`."""
    try:
        form = json.decode(body, ANY, what="the response", sparse=SPARSE)
    except MalformedResponseError:
        lone = lone_event(body)
        if lone is None:
            raise
        return form_of(lone)
    if not isinstance(form, dict):
        raise reported_error(body) or _shapeless(body, "no object")
    return cast("dict[str, Any]", form)


def is_whole(data: bytes) -> bool:
    """Return whether an event contains a complete response and not a piece of one."""
    if b'"output"' not in data:
        return False
    try:
        form = ANY.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(form, dict) and "type" not in form and isinstance(cast("dict[str, Any]", form)["output"], list)


def response_of(form: Mapping[str, Any], target: Target) -> ResponsesResponse:
    """Return the response of a decoded object. Members of the wrong type count as missing."""
    incomplete = form.get("incomplete_details")
    reason = cast("dict[str, Any]", incomplete).get("reason") if isinstance(incomplete, dict) else None
    return ResponsesResponse(
        id=text_of(form.get("id")),
        model=text_of(form.get("model")) or target.model,
        status=_status_of(form),
        output=items_of(form.get("output"), target),
        created=seconds_of(form.get("created_at")),
        incomplete_reason=text_of(reason) or None,
        error=_error_of(form.get("error")),
        usage=_usage(form.get("usage")),
        service_tier=text_of(form.get("service_tier")) or None,
        details={name: value for name, value in form.items() if name not in _OWN and value is not None},
        provider=target.provider,
    )


def _status_of(form: Mapping[str, Any]) -> str:
    status = text_of(form.get("status"))
    if status:
        return status
    return "incomplete" if form.get("incomplete_details") else "completed"


def items_of(output: object, target: Target) -> list[Item]:
    """Return the items of a list. Entries of the wrong type are ignored."""
    entries = cast("list[object]", output) if isinstance(output, list) else []
    check_count(len(entries), PARTS_LIMIT, what="items")
    check_count(sum(map(_parts_in, entries)), PARTS_LIMIT, what="parts")
    issuer = issuer_of(target)
    return [
        with_call_id(read_item(cast("dict[str, Any]", each), issuer), place)
        for place, each in enumerate(entries)
        if isinstance(each, dict)
    ]


_PARTS: Final = ("content", "output", "summary")
"""The members of an item that may contain parts."""


def _parts_in(item: object) -> int:
    """Return the number of parts of an item: texts, refusals, pieces of reasoning."""
    if not isinstance(item, dict):
        return 0
    form = cast("dict[str, Any]", item)
    return sum([len(cast("list[object]", form[name])) for name in _PARTS if isinstance(form.get(name), list)])


def with_call_id(item: Item, place: int) -> Item:
    """Return the item at a place of the output. A call without an id gets one, so that its result can refer to it."""
    if isinstance(item, FunctionCallItem | CustomToolCallItem) and not item.call_id:
        return msgspec.structs.replace(item, call_id=f"call_{place}")
    return item


def issuer_of(target: Target) -> Issuer:
    """Return the issuer of what the target makes."""
    return target.issuer or Issuer(provider=target.provider)


def _usage(value: object) -> Usage:
    if not isinstance(value, dict):
        return NO_USAGE
    return usage_of(msgspec.Raw(msgspec.json.encode(value))) or NO_USAGE


def _error_of(error: object) -> ResponsesError | None:
    if isinstance(error, dict) and error:
        members = cast("dict[str, Any]", error)
        return ResponsesError(code=text_of(members.get("code")), message=text_of(members.get("message")))
    return ResponsesError(message=error) if isinstance(error, str) and error else None


def failure_of(form: Mapping[str, Any]) -> ReportedError | None:
    """Return the error that a response reports instead of an output; `None` if it has not failed.

    Next to an output, an error is only a remark.
    """
    error = _error_of(form.get("error"))
    if form.get("status") == "failed" or (error is not None and not isinstance(form.get("output"), list)):
        return failed(form)
    return None


def failed(form: Mapping[str, Any]) -> ReportedError:
    """Return the error of a failed response."""
    error = _error_of(form.get("error")) or ResponsesError()
    inner = form.get("error")
    given = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    code = one_line(error.code, _FACT_LIMIT)
    message = one_line(error.message, MESSAGE_LIMIT) or f"the response failed; its code is {code or 'missing'}"
    body = ErrorBody(
        message=message,
        type=one_line(text_of(given.get("type")), _FACT_LIMIT) or None,
        code=code or None,
        param=one_line(text_of(given.get("param")), _FACT_LIMIT) or None,
        meaning=WORDING.meaning_of(message),
    )
    return ReportedError(body, status=_status_code(code))


def _status_code(code: str) -> int:
    if "image" in code:
        return 400
    return _STATUSES.get(code, 500)


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")
