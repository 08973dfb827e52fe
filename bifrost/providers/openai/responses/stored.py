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
from bifrost.providers.openai.responses.answer import form_of, parse_stored
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
    },
)
"""How the fields of a request about a stored response are sent."""


def build_stored(request: StoredResponseRequest, target: Target) -> Built:
    """Return the HTTP request about a stored response."""
    warnings = FIELDS.check(request, target)
    path = f"/responses/{quote(request.id, safe='')}"
    query: list[tuple[str, str]] = []
    if request.action == "retrieve":
        query += [("include[]", name) for name in request.include or ()]
    elif request.include is not None:
        warnings.append(FIELDS.warning("include", target))
    if target.stream:
        query.append(("stream", "true"))
    if request.starting_after is not None and target.stream:
        query.append(("starting_after", str(request.starting_after)))
    elif request.starting_after is not None:
        warnings.append(FIELDS.warning("starting_after", target))
    method = {"retrieve": "GET", "cancel": "POST", "delete": "DELETE"}[request.action]
    path += "/cancel" if request.action == "cancel" else ""
    path += f"?{urlencode(query)}" if query else ""
    return Built(request=HttpRequest(method=method, path=path, source=request), warnings=warnings)


def parse_answer(response: HttpResponse, target: Target) -> ResponsesResponse:
    """Return the response, or that it was deleted.

    Raises `ReportedError` for an error object, and `MalformedResponseError` for other content.
    """
    form = form_of(response.body)
    if "deleted" not in form:
        return parse_stored(response, target)
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
