"""OpenAI's token counting: https://platform.openai.com/docs/api-reference/responses/input-tokens.

It counts requests of the Responses API, so that a chat is converted to one with the same content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.token_count import COUNT_TOKENS, TokenCountRequest, TokenCountResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import (
    FieldTable,
    emulated,
    in_some_places,
    left_out,
    local,
    mapped,
    narrowed,
    refused,
    sent,
)
from bifrost.providers.openai.answer import decode_answer
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.fields import CHAT, MARKED
from bifrost.providers.openai.items import ItemWriter
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.request import Reasoning, ResponseFormat, WebSearch
    from bifrost.providers.base import Target
    from bifrost.providers.fields import Field
    from bifrost.wire.http import HttpResponse


class _Count(msgspec.Struct):
    input_tokens: int | None = None
    error: Any = None


_COUNT = msgspec.json.Decoder(_Count, strict=False)

_NO_SOUND = in_some_places(refused("counts no sound; send its text"))
_MARKS: Sequence[str] = (*MARKED, "tools.tool.cache", "messages.content.tool_call.cache")

_OTHER: Mapping[str, Field] = {
    "messages.name": left_out("has no names of participants"),
    "messages.content.image.file_id": sent(),
    "messages.content.image.detail": mapped(neutral=("auto",)),
    "messages.content.audio.data": _NO_SOUND,
    "messages.content.audio.format": _NO_SOUND,
    "messages.content.audio.id": _NO_SOUND,
    "messages.content.file.url": sent(),
    "messages.content.refusal.refusal": emulated("{place}: a refusal was sent as text"),
    **dict.fromkeys(_MARKS, local("a mark does not change the number of tokens")),
    "reasoning.effort": sent(),
    "tools.tool.strict": mapped("{field} was left out: a tool that takes free text has none", neutral=(False,)),
    "reasoning.max_tokens": left_out("takes an effort, not a budget"),
    "reasoning.enabled": mapped("{field} was left out: {provider} takes an effort (reasoning.effort) in its place"),
    "reasoning.display": left_out(),
    "web_search": sent(),
    "web_search.context_size": sent(),
    "web_search.user_location": sent(),
    **{f"web_search.user_location.{name}": sent() for name in ("city", "region", "country", "timezone")},
    "web_search.allowed_domains": sent(),
    "web_search.blocked_domains": refused("cannot exclude domains from a web search; leave out web_search's domains"),
    "web_search.max_uses": left_out(),
}
"""The fields that are not sent as those of a chat."""

FIELDS = FieldTable(TokenCountRequest, narrowed({**CHAT, **_OTHER}, TokenCountRequest))
"""How the fields of a request for a number of tokens are sent."""


def build_count(request: TokenCountRequest, target: Target) -> Built:
    """Return the HTTP request for the number of tokens of a chat.

    Raises `InvalidRequestError` for an invalid request, and `UnsupportedError` for what OpenAI does not count.
    """
    warnings = FIELDS.check(request, target)
    writer = ItemWriter(target, FIELDS)
    body: dict[str, Any] = {"model": target.model, "input": writer.messages(request.messages)}
    tools = writer.tools(request.tools or ())
    if request.web_search is not None:
        tools.append(_web_search(request.web_search))
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = writer.tool_choice(request.tool_choice, request.tools or ())
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None:
        body["text"] = {"format": _format(request.response_format, writer)}
    if request.reasoning is not None and (effort := _effort(request.reasoning, writer)) is not None:
        body["reasoning"] = {"effort": effort}
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/responses/input_tokens",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys([*warnings, *writer.warnings])),
    )


def parse_count(response: HttpResponse, target: Target) -> TokenCountResponse:
    """Return the number that a body contains.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _COUNT, _Count)
    if wire.error or wire.input_tokens is None:
        raise reported_error(response.body) or MalformedResponseError(
            f"the response has no number of tokens; {json.excerpt(response.body)}"
        )
    return TokenCountResponse(
        input_tokens=wire.input_tokens, model=target.model, provider=target.provider, raw=response.body
    )


def _web_search(search: WebSearch) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "web_search"}
    if search.context_size is not None:
        tool["search_context_size"] = search.context_size
    if search.user_location is not None:
        tool["user_location"] = {"type": "approximate", **msgspec.to_builtins(search.user_location)}
    if search.allowed_domains is not None:
        tool["filters"] = {"allowed_domains": search.allowed_domains}
    return tool


def _format(wanted: ResponseFormat, writer: ItemWriter) -> dict[str, Any]:
    if wanted.type != "json_schema":
        for name in ("name", "schema", "description", "strict"):
            if getattr(wanted, name) is not None:
                writer.leave_out(f"response_format.{name}")
        return {"type": wanted.type}
    if wanted.schema is None:
        raise InvalidRequestError('response_format has type "json_schema" but no schema')
    form: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema}
    for name in ("description", "strict"):
        if getattr(wanted, name) is not None:
            form[name] = getattr(wanted, name)
    return form


def _effort(reasoning: Reasoning, writer: ItemWriter) -> str | None:
    effort, enabled = reasoning.effort, reasoning.enabled
    if enabled and effort in {None, "none"}:
        writer.leave_out("reasoning.enabled")
    if enabled is False and effort not in {None, "none"}:
        writer.leave_out("reasoning.enabled")
    return "none" if effort is None and enabled is False else effort


CODEC = Codec[TokenCountRequest, TokenCountResponse](
    operation=COUNT_TOKENS, build=build_count, parse=parse_count, fields=FIELDS
)
