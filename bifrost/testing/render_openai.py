"""Renders responses in the format of OpenAI and compatible providers.

The format: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.providers.catalog import OPERATIONS
from bifrost.testing import render_responses
from bifrost.testing.calls import field_of
from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.content import ToolCall
    from bifrost.operations.usage import Usage
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Reply
    from bifrost.wire.http import HttpRequest

_CREATED = 1_700_000_000
_ERRORS: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    403: ("invalid_request_error", None, "Project does not have access to this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    405: ("invalid_request_error", None, "The method is not allowed for this address."),
    409: ("conflict_error", None, "The resource was changed by another request."),
    410: ("invalid_request_error", None, "The resource no longer exists."),
    413: ("invalid_request_error", None, "The request is too large."),
    415: ("invalid_request_error", None, "The content type is not supported."),
    422: ("invalid_request_error", None, "The request cannot be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    503: ("server_error", None, "The server is overloaded or not ready yet."),
}
_REFUSAL = ("invalid_request_error", None, "The request was refused.")
_OTHER_ERROR = ("server_error", None, "The server had an error while processing your request.")


_PATHS: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/responses/input_tokens": "count_tokens",
    "/images/generations": "images",
    "/audio/translations": "transcriptions",
}
"""The operations by the end of the path, if that is not the name of the operation."""


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request by its path; `None` if it is unknown."""
    path = request.path.partition("?")[0]
    for ending, operation in _PATHS.items():
        if path.endswith(ending):
            return operation
    # The other paths end in the name of the operation.
    ending = path.rpartition("/")[2]
    return ending if ending in OPERATIONS and ending != "chat" else None


def chat(reply: Reply, call: MockCall) -> bytes:
    """Return a `chat.completion` object."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text if reply.pieces else None, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_tool_call(each) for each in reply.tool_calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.ending}
    return _encode(
        {**_head(reply, call, kind="chat.completion"), "choices": [choice], "usage": _usage(reply.usage)},
    )


def chat_stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the chunks as events: role, reasoning, text, tool calls, end, and usage if it was requested."""
    head = _head(reply, call, kind="chat.completion.chunk")

    def chunk(delta: dict[str, Any], *, finish_reason: str | None = None, content: bool = False) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return Event(_sse({**head, "choices": [choice]}), content)

    events = [chunk({"role": "assistant", "content": "", "refusal": None})]
    if reply.reasoning:
        events.append(chunk({"reasoning_content": reply.reasoning}, content=True))
    events += [chunk({"content": piece}, content=True) for piece in reply.pieces]
    for index, each in enumerate(reply.tool_calls):
        begun = {"name": each.name, "arguments": ""}
        events.append(chunk({"tool_calls": [{**_tool_call(each), "index": index, "function": begun}]}, content=True))
        rest = {"arguments": each.arguments}
        events.append(chunk({"tool_calls": [{"index": index, "function": rest}]}, content=True))
    events.append(chunk({}, finish_reason=reply.ending))
    if field_of(field_of(call.json, "stream_options"), "include_usage"):
        events.append(Event(_sse({**head, "choices": [], "usage": _usage(reply.usage)})))
    return [*events, Event(event("[DONE]"))]


def embeddings(vectors: Sequence[Sequence[float]], usage: Usage, call: MockCall) -> bytes:
    """Return vectors as the request demands: base64 of little-endian floats, or a list of numbers."""
    in_base64 = field_of(call.json, "encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if in_base64 else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    tokens = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return _encode({"object": "list", "data": data, "model": call.model, "usage": tokens})


def models(ids: Sequence[str]) -> bytes:
    """Return a list of models."""
    data = [{"id": each, "object": "model", "created": _CREATED, "owned_by": "test"} for each in ids]
    return _encode({"object": "list", "data": data})


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object."""
    return _encode(_error(status, message, type, code))


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object as an event."""
    return _sse(_error(status, message, type, code))


def event(data: str) -> bytes:
    """Return an event."""
    return f"data: {data}\n\n".encode()


def _head(reply: Reply, call: MockCall, *, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-test-{call.index}",
        "object": kind,
        "created": _CREATED,
        "model": reply.model or call.model,
        "system_fingerprint": None,
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }


def _error(status: int, message: str | None, type: str | None, code: str | None) -> dict[str, Any]:  # noqa: A002
    usual_type, usual_code, usual_message = _ERRORS.get(status, _REFUSAL if status < 500 else _OTHER_ERROR)
    fields = {
        "message": message or usual_message,
        "type": type or usual_type,
        "param": None,
        "code": code or usual_code,
    }
    return {"error": fields}


def _packed(vector: Sequence[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _sse(value: Any) -> bytes:
    return event(_encode(value).decode())


DIALECT = Dialect(
    name="openai",
    endpoint_of=endpoint_of,
    chat=chat,
    chat_stream=chat_stream,
    responses=render_responses.response,
    responses_stream=render_responses.stream,
    embeddings=embeddings,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
)
