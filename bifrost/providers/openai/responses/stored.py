"""Responses that OpenAI has stored: https://platform.openai.com/docs/api-reference/responses/get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from bifrost.errors import MalformedResponseError
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.responses.stored import STORED_RESPONSES, StoredResponseRequest
from bifrost.providers.base import Built, Codec
from bifrost.providers.fields import Field, FieldTable, mapped
from bifrost.providers.openai.answer import text_of
from bifrost.providers.openai.responses.answer import form_of, items_of, stored_response
from bifrost.providers.openai.responses.stream import ResponsesDecoder
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

FIELDS: Final = FieldTable(
    StoredResponseRequest,
    {
        "model": Field(support="local", words="the question is put to the provider"),
        "id": mapped(),
        "action": mapped(),
        "include": mapped("{field} was left out: only a response that is retrieved has it"),
        "starting_after": mapped("{field} was left out: only a stream has it"),
        "after": mapped("{field} was left out: only the items of an input have it"),
    },
)
"""How the fields of a request about a stored response are sent."""


def build_stored(request: StoredResponseRequest, target: Target) -> Built:
    """Return the HTTP request about a stored response."""
    warnings = FIELDS.check(request, target)
    path = f"/responses/{quote(request.id, safe='')}"
    query: list[tuple[str, str]] = []
    if request.action in ("retrieve", "input_items"):
        query += [("include[]", name) for name in request.include or ()]
    elif request.include is not None:
        warnings.append(FIELDS.warning("include", target))
    if target.stream:
        query.append(("stream", "true"))
    if request.starting_after is not None and target.stream:
        query.append(("starting_after", str(request.starting_after)))
    elif request.starting_after is not None:
        warnings.append(FIELDS.warning("starting_after", target))
    if request.action == "input_items":
        # In the order of the conversation, with as many on a page as possible.
        query += [("order", "asc"), ("limit", "100")]
        query += [] if request.after is None else [("after", request.after)]
    elif request.after is not None:
        warnings.append(FIELDS.warning("after", target))
    method = {"cancel": "POST", "delete": "DELETE"}.get(request.action, "GET")
    path += f"/{request.action}" if request.action in ("cancel", "input_items") else ""
    path += f"?{urlencode(query)}" if query else ""
    return Built(request=HttpRequest(method=method, path=path, source=request), warnings=warnings)


def parse_answer(response: HttpResponse, target: Target) -> ResponsesResponse:
    """Return the response, that it was deleted, or the items of its input.

    Raises `ReportedError` for an error object, and `MalformedResponseError` for other content.
    """
    form = form_of(response.body)
    if isinstance(form.get("data"), list) and "output" not in form:
        page = {"has_more": form.get("has_more") is True, "last_id": text_of(form.get("last_id"))}
        items = items_of(form["data"], target)
        return ResponsesResponse(output=items, details=page, provider=target.provider, raw=response.body)
    if "deleted" not in form:
        return stored_response(form, response.body, target)
    if form["deleted"] is not True:
        raise MalformedResponseError("the response was not deleted, although the provider reports no error")
    return ResponsesResponse(id=text_of(form.get("id")), status="deleted", provider=target.provider, raw=response.body)


CODEC: Final = Codec[StoredResponseRequest, ResponsesResponse](
    operation=STORED_RESPONSES,
    build=build_stored,
    parse=parse_answer,
    decoder=ResponsesDecoder,
    fields=FIELDS,
)
