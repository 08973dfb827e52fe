"""Renders responses in Gemini's format: https://ai.google.dev/api/generate-content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.usage import Usage
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Reply
    from bifrost.wire.http import HttpRequest

_METHOD = re.compile(r"/(?:models|tunedModels)/([^/:?]+):(\w+)")
_ENDPOINTS: Mapping[str, str] = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}
_FINISH_REASONS: Mapping[str, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_STATUSES: Mapping[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "The model is not found."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out."),
}
_OTHER_ERROR = ("INTERNAL", "An internal error has occurred.")


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request."""
    path = request.path.partition("?")[0]
    found = _METHOD.search(path)
    if found is not None:
        return _ENDPOINTS.get(found[2])
    return "models" if path.endswith("/v1beta/models") else None


def asked_of(request: HttpRequest) -> tuple[str, bool]:
    """Return the model of a request, and whether a stream is requested: both are in the path."""
    found = _METHOD.search(request.path)
    return ("", False) if found is None else (found[1], found[2].startswith("stream"))


def chat(reply: Reply, call: MockCall) -> bytes:
    """Return a response with one candidate."""
    parts: list[dict[str, Any]] = []
    if reply.reasoning:
        parts.append({"text": reply.reasoning, "thought": True})
    if reply.text:
        parts.append({"text": reply.text})
    parts += _calls(reply)
    return _encode({**_candidate(parts, reply), "usageMetadata": _usage(reply.usage), **_head(reply, call)})


def chat_stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the events of a response: one for each piece, and the finish reason with the usage."""
    head = _head(reply, call)
    thoughts = [{"text": reply.reasoning, "thought": True}] if reply.reasoning else []
    pieces: list[dict[str, Any]] = [*thoughts, *({"text": piece} for piece in reply.pieces), *_calls(reply)]
    events = [Event(_sse({**head, "usageMetadata": {"trafficType": "ON_DEMAND"}}))]
    events += [Event(_sse({**_candidate([piece], None), **head}), content=True) for piece in pieces]
    ending = {**_candidate([{"text": ""}], reply), "usageMetadata": _usage(reply.usage), **head}
    return [*events, Event(_sse(ending))]


def embeddings(vectors: Sequence[Sequence[float]], usage: Usage, _call: MockCall) -> bytes:
    """Return vectors, as numbers."""
    counted = {"promptTokenCount": usage.input_tokens, "totalTokenCount": usage.input_tokens}
    return _encode({"embeddings": [{"values": [*vector]} for vector in vectors], "usageMetadata": counted})


def models(ids: Sequence[str]) -> bytes:
    """Return a page of models."""
    return _encode({"models": [{"name": f"models/{each}", "displayName": each} for each in ids]})


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object. A code is the reason in its details."""
    return _encode(_error(status, message, type, code))


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an error object as an event."""
    return _sse(_error(status, message, type, code))


def event(data: str) -> bytes:
    """Return an event, which has no name."""
    return f"data: {data}\r\n\r\n".encode()


def _candidate(parts: list[dict[str, Any]], reply: Reply | None) -> dict[str, Any]:
    ending = {} if reply is None else {"finishReason": _FINISH_REASONS.get(reply.ending, reply.ending)}
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, **ending, "index": 0}]}


def _calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "functionCall": {
                "id": call.id,
                "name": call.name,
                "args": msgspec.Raw((call.arguments or "{}").encode()),
            }
        }
        for call in reply.tool_calls
    ]


def _head(reply: Reply, call: MockCall) -> dict[str, Any]:
    return {"modelVersion": reply.model or call.model, "responseId": f"test-{call.index}"}


def _usage(usage: Usage) -> dict[str, Any]:
    counted = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
    }
    details = {"cachedContentTokenCount": usage.cache_read_tokens, "thoughtsTokenCount": usage.reasoning_tokens}
    return {**counted, **{name: count for name, count in details.items() if count}}


def _error(status: int, message: str | None, type: str | None, code: str | None) -> dict[str, Any]:  # noqa: A002
    usual_status, usual_message = _STATUSES.get(status, _OTHER_ERROR)
    fields: dict[str, Any] = {"code": status, "message": message or usual_message, "status": type or usual_status}
    if code is not None:
        fields["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}]
    return {"error": fields}


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\r\n\r\n"


DIALECT = Dialect(
    name="gemini",
    endpoint_of=endpoint_of,
    asked_of=asked_of,
    chat=chat,
    chat_stream=chat_stream,
    embeddings=embeddings,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
)
