"""Renders responses in the format of Cohere's v2 API: https://docs.cohere.com/reference/chat."""

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

_ID = "6cd6ce61-bb3b-46f6-907e-fcfab45e51b6"
_ENDPOINTS: Mapping[str, str] = {"/v2/chat": "chat", "/v2/embed": "embeddings", "/v2/rerank": "rerank"}
_FINISH_REASONS: Mapping[str, str] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
    "error": "ERROR",
}
_ERRORS: Mapping[int, str] = {
    400: "invalid request: the request is not valid",
    401: "invalid api token",
    402: "please add or update your payment method",
    404: "model 'test' not found, make sure the correct model ID was used and that you have access to the model.",
    429: "you have exceeded your rate limit",
    498: "this request was blocked",
    503: "all our servers are busy",
}
_OTHER_ERROR = "an internal server error occurred"


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request by its path; `None` for the path of another format."""
    path = request.path.partition("?")[0]
    return next((name for ending, name in _ENDPOINTS.items() if path.endswith(ending)), None)


def chat(reply: Reply, call: MockCall) -> bytes:
    """Return a response of a chat."""
    message: dict[str, Any] = {"role": "assistant"}
    content: list[dict[str, Any]] = []
    if reply.reasoning:
        content.append({"type": "thinking", "thinking": reply.reasoning})
    if reply.text:
        content.append({"type": "text", "text": reply.text})
    if content:
        message["content"] = content
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(each) for each in reply.tool_calls]
    return _encode({"id": _id(call), "message": message, **_ending(reply)})


def chat_stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the events of a response: its head, each block and call with its pieces, its end."""
    begun: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events = [Event(_sse({"id": _id(call), "type": "message-start", "delta": {"message": begun}}))]
    blocks = [
        ("thinking", [reply.reasoning] if reply.reasoning else []),
        ("text", [piece for piece in reply.pieces if piece]),
    ]
    for index, (kind, pieces) in enumerate((kind, pieces) for kind, pieces in blocks if pieces):
        events.append(Event(_content("content-start", index, {"type": kind, kind: ""})))
        events += [Event(_content("content-delta", index, {kind: piece}), content=True) for piece in pieces]
        events.append(Event(_sse({"type": "content-end", "index": index})))
    for index, each in enumerate(reply.tool_calls):
        started = {**_tool_call(each), "function": {"name": each.name, "arguments": ""}}
        events.append(Event(_call("tool-call-start", index, started), content=True))
        events.append(Event(_call("tool-call-delta", index, {"function": {"arguments": each.arguments}}), content=True))
        events.append(Event(_sse({"type": "tool-call-end", "index": index})))
    events.append(Event(_sse({"type": "message-end", "delta": _ending(reply)})))
    return [*events, Event(event("[DONE]"))]


def embeddings(vectors: Sequence[Sequence[float]], usage: Usage, call: MockCall) -> bytes:
    """Return vectors as numbers."""
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": usage.input_tokens}}
    numbers = [list(vector) for vector in vectors]
    return _encode(
        {"id": _id(call), "embeddings": {"float": numbers}, "meta": meta, "response_type": "embeddings_by_type"}
    )


def models(ids: Sequence[str]) -> bytes:
    """Return a page of models."""
    return _encode({"models": [{"name": each, "endpoints": ["chat"], "context_length": 128_000} for each in ids]})


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002, ARG001
    """Return an error. Cohere's has a message and neither type nor code."""
    return _encode({"id": _ID, "message": message or _ERRORS.get(status, _OTHER_ERROR)})


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return the event that ends a stream with an error."""
    text = message or _ERRORS.get(status, _OTHER_ERROR)
    delta: dict[str, Any] = {"finish_reason": "ERROR", "usage": {}, "error": text, "error_type": code or type}
    return _sse({"type": "message-end", "delta": delta})


def event(data: str) -> bytes:
    """Return an event."""
    return f"data: {data}\n\n".encode()


def _id(call: MockCall) -> str:
    return f"{_ID[:-4]}{call.index:04d}"


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _ending(reply: Reply) -> dict[str, Any]:
    tokens = {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
    usage: dict[str, Any] = {"billed_units": tokens, "tokens": tokens}
    if reply.usage.cache_read_tokens:
        usage["cached_tokens"] = reply.usage.cache_read_tokens
    return {"finish_reason": _FINISH_REASONS.get(reply.ending, reply.ending), "usage": usage}


def _content(kind: str, index: int, block: dict[str, Any]) -> bytes:
    return _sse({"type": kind, "index": index, "delta": {"message": {"content": block}}})


def _call(kind: str, index: int, call: dict[str, Any]) -> bytes:
    return _sse({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}})


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _sse(value: Any) -> bytes:
    return event(_encode(value).decode())


DIALECT = Dialect(
    name="cohere",
    endpoint_of=endpoint_of,
    chat=chat,
    chat_stream=chat_stream,
    embeddings=embeddings,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
)
"""Cohere's format."""
