"""Scripted responses in Ollama's own format, whose streams are lines of JSON."""

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

_CREATED = "2023-11-14T22:13:20.123456789Z"
_OPERATIONS: Mapping[str, str] = {
    "/api/chat": "chat",
    "/api/generate": "completions",
    "/api/embed": "embeddings",
    "/api/tags": "models",
}
_ERRORS: Mapping[int, str] = {
    400: "invalid request",
    401: "unauthorized",
    404: "model not found",
    429: "too many requests",
    503: "server busy, please try again. maximum pending requests exceeded",
}
_ENDINGS: Mapping[str, str] = {"tool_calls": "stop"}


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request by its path; `None` if it is unknown."""
    path = request.path.partition("?")[0]
    return next((operation for ending, operation in _OPERATIONS.items() if path.endswith(ending)), None)


def chat(reply: Reply, call: MockCall) -> bytes:
    """Return a response."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["thinking"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(each) for each in reply.tool_calls]
    return _encode({**_head(reply, call), "message": message, **_ending(reply)})


def chat_stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the lines: reasoning, text, tool calls, and the end with the usage."""

    def line(added: dict[str, Any], *, content: bool = True) -> Event:
        message = {"role": "assistant", "content": "", **added}
        return Event(_line({**_head(reply, call), "message": message, "done": False}), content)

    lines = [line({"thinking": reply.reasoning})] if reply.reasoning else []
    lines += [line({"content": piece}) for piece in reply.pieces]
    lines += [line({"tool_calls": [_tool_call(each)]}) for each in reply.tool_calls]
    last = {**_head(reply, call), "message": {"role": "assistant", "content": ""}, **_ending(reply)}
    return [*lines, Event(_line(last))]


def embeddings(vectors: Sequence[Sequence[float]], usage: Usage, call: MockCall) -> bytes:
    """Return vectors."""
    return _encode(
        {"model": call.model, "embeddings": [list(each) for each in vectors], "prompt_eval_count": usage.input_tokens}
    )


def models(ids: Sequence[str]) -> bytes:
    """Return a list of models."""
    return _encode({"models": [{"name": each, "model": each, "modified_at": _CREATED} for each in ids]})


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002, ARG001
    """Return an error object, which has a message only."""
    return _encode({"error": message or _ERRORS.get(status, "internal server error")})


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object as a line."""
    return error(status, message, type, code) + b"\n"


def event(data: str) -> bytes:
    """Return a line."""
    return f"{data}\n".encode()


def _head(reply: Reply, call: MockCall) -> dict[str, Any]:
    return {"model": reply.model or call.model, "created_at": _CREATED}


def _ending(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "done": True,
        "done_reason": _ENDINGS.get(reply.ending, reply.ending),
        "total_duration": 1_000_000,
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": msgspec.Raw((call.arguments or "{}").encode())}}


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _line(value: Any) -> bytes:
    return _encode(value) + b"\n"


DIALECT = Dialect(
    name="ollama",
    endpoint_of=endpoint_of,
    chat=chat,
    chat_stream=chat_stream,
    embeddings=embeddings,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
    stream_type="application/x-ndjson",
    needs_key=False,
)
