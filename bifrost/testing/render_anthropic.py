"""Renders responses in Anthropic's format: https://docs.claude.com/en/api/messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.content import ToolCall
    from bifrost.operations.usage import Usage
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Reply
    from bifrost.wire.http import HttpRequest

_CREATED = "2023-11-14T22:13:20Z"
_SIGNATURE = "dGVzdC1zaWduYXR1cmU="
_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource was not found."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    429: ("rate_limit_error", "This request would exceed your account's rate limit."),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}
_REFUSAL = ("invalid_request_error", "The request was refused.")
_OTHER_ERROR = ("api_error", "Internal server error")


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request. The list of models has the same path as OpenAI's, but a version header."""
    path = request.path.partition("?")[0]
    if path.endswith("/messages"):
        return "chat"
    if path.endswith("/messages/count_tokens"):
        return "count_tokens"
    if path.endswith("/models") and any(name.lower() == "anthropic-version" for name in request.headers):
        return "models"
    return None


def chat(reply: Reply, call: MockCall) -> bytes:
    """Return a message."""
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": _SIGNATURE})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    blocks += [{**_tool_use(each), "input": _arguments(each)} for each in reply.tool_calls]
    ending = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    return _encode({**_head(reply, call), "content": blocks, **ending, "usage": _usage(reply.usage)})


def chat_stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the events of a message: its head, each block with its deltas, its end."""
    begun = {**_usage(reply.usage), "output_tokens": 1}
    message: dict[str, Any] = {
        **_head(reply, call),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": begun,
    }
    events = [Event(_sse({"type": "message_start", "message": message})), Event(_sse({"type": "ping"}))]
    for index, (block, deltas) in enumerate(_blocks(reply)):
        events.append(Event(_sse({"type": "content_block_start", "index": index, "content_block": block})))
        for delta in deltas:
            wire = {"type": "content_block_delta", "index": index, "delta": delta}
            events.append(Event(_sse(wire), content=True))
        events.append(Event(_sse({"type": "content_block_stop", "index": index})))
    ending = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    events.append(Event(_sse({"type": "message_delta", "delta": ending, "usage": _usage(reply.usage)})))
    return [*events, Event(_sse({"type": "message_stop"}))]


def models(ids: Sequence[str]) -> bytes:
    """Return a page of models."""
    known = {"created_at": _CREATED, "lifecycle": "active"}
    data = [{"type": "model", "id": each, "display_name": each, **known} for each in ids]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return _encode({"data": data, "has_more": False, **ends})


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object. Anthropic's has a type and no code."""
    return _encode(_error(status, message, type or code))


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object as an event."""
    return _sse(_error(status, message, type or code))


def event(data: str) -> bytes:
    """Return an event with the type of a delta."""
    return f"event: content_block_delta\ndata: {data}\n\n".encode()


def _blocks(reply: Reply) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return each block as a stream begins it, with the deltas that follow."""
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if reply.reasoning:
        thought = {"type": "thinking_delta", "thinking": reply.reasoning}
        signed = {"type": "signature_delta", "signature": _SIGNATURE}
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [thought, signed]))
    if reply.pieces:
        deltas = [{"type": "text_delta", "text": piece} for piece in reply.pieces]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for each in reply.tool_calls:
        delta = {"type": "input_json_delta", "partial_json": each.arguments}
        blocks.append(({**_tool_use(each), "input": {}}, [delta]))
    return blocks


def _head(reply: Reply, call: MockCall) -> dict[str, Any]:
    return {
        "id": f"msg_test_{call.index}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or call.model,
    }


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _arguments(call: ToolCall) -> msgspec.Raw:
    return msgspec.Raw((call.arguments or "{}").encode())


def _stop_reason(reply: Reply) -> str:
    return _STOP_REASONS.get(reply.ending, reply.ending)


def _usage(usage: Usage) -> dict[str, Any]:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": usage.input_tokens - cached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }


def _error(status: int, message: str | None, type: str | None) -> dict[str, Any]:  # noqa: A002
    usual_type, usual_message = _ERRORS.get(status, _REFUSAL if status < 500 else _OTHER_ERROR)
    return {
        "type": "error",
        "error": {"type": type or usual_type, "message": message or usual_message},
        "request_id": "req_test",
    }


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _sse(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: ".encode() + _encode(value) + b"\n\n"


DIALECT = Dialect(
    name="anthropic",
    endpoint_of=endpoint_of,
    chat=chat,
    chat_stream=chat_stream,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
)
