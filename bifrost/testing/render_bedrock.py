"""Renders responses in the format of Bedrock's Converse, whose streams are binary.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from zlib import crc32

import msgspec

from bifrost.testing.dialect import Dialect, Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.content import ToolCall
    from bifrost.operations.usage import Usage
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Reply
    from bifrost.wire.http import HttpRequest

_SIGNATURE = "dGVzdC1zaWduYXR1cmU="
_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("ValidationException", "The request is not valid."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    408: ("ModelTimeoutException", "The request took too long to process."),
    424: ("ModelErrorException", "The request failed due to an error while processing the model."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
}
_OTHER_ERROR = ("InternalServerException", "The system encountered an unexpected error during processing.")
_ENDPOINTS: Mapping[str, str] = {"converse": "chat", "converse-stream": "chat", "count-tokens": "count_tokens"}
_TEXT = 7
"""The type of a header that is text."""


def endpoint_of(request: HttpRequest) -> str | None:
    """Return the operation of a request: the last segment of `/model/<id>/<action>`."""
    start, _, action = request.path.rpartition("/")
    if "/model/" not in start:
        return None
    if action == "invoke":
        # The model says what it is for.
        return "rerank" if "rerank" in start else "embeddings"
    return _ENDPOINTS.get(action)


def asked_of(request: HttpRequest) -> tuple[str, bool]:
    """Return the model of a request, and whether it requests a stream: the path says both."""
    start, _, action = request.path.rpartition("/")
    return unquote(start.rpartition("/")[2]), action.endswith("-stream")


def chat(reply: Reply, _call: MockCall) -> bytes:
    """Return a message."""
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        thought = {"text": reply.reasoning, "signature": _SIGNATURE}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if reply.text:
        blocks.append({"text": reply.text})
    blocks += [{"toolUse": {**_tool_use(each), "input": _arguments(each)}} for each in reply.tool_calls]
    answer: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": _stop_reason(reply),
        **_metadata(reply),
    }
    return _encode(answer)


def chat_stream(reply: Reply, _call: MockCall) -> list[Event]:
    """Return the events of a message: its head, each block with its deltas, its end."""
    events = [_event("messageStart", {"role": "assistant"})]
    for index, (start, deltas) in enumerate(_blocks(reply)):
        place = {"contentBlockIndex": index}
        if start is not None:
            events.append(_event("contentBlockStart", {**place, "start": start}))
        events += [_event("contentBlockDelta", {**place, "delta": delta}, content=True) for delta in deltas]
        events.append(_event("contentBlockStop", place))
    events.append(_event("messageStop", {"stopReason": _stop_reason(reply)}))
    return [*events, _event("metadata", _metadata(reply))]


def models(_ids: Sequence[str]) -> bytes:
    """Return an empty object, because Bedrock lists models elsewhere."""
    return b"{}"


def error(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an exception. Bedrock's has a name and no code."""
    usual, text = _ERRORS.get(status, _OTHER_ERROR)
    return _encode({"__type": type or code or usual, "message": message or text})


def error_event(status: int, message: str | None, type: str | None, code: str | None) -> bytes:  # noqa: A002
    """Return an exception as a message of the event stream."""
    usual, text = _ERRORS.get(status, _OTHER_ERROR)
    name = type or code or usual
    headers = {":message-type": "exception", ":exception-type": name[:1].lower() + name[1:]}
    return _framed(headers, _encode({"message": message or text}))


def event(data: str) -> bytes:
    """Return a message with the type of a delta."""
    return _framed({":message-type": "event", ":event-type": "contentBlockDelta"}, data.encode())


def _blocks(reply: Reply) -> list[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
    """Return the start of each block, if it has one, with the deltas that follow."""
    blocks: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = []
    if reply.reasoning:
        thoughts = [{"text": reply.reasoning}, {"signature": _SIGNATURE}]
        blocks.append((None, [{"reasoningContent": each} for each in thoughts]))
    if reply.pieces:
        blocks.append((None, [{"text": piece} for piece in reply.pieces]))
    blocks += [({"toolUse": _tool_use(each)}, [{"toolUse": {"input": each.arguments}}]) for each in reply.tool_calls]
    return blocks


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"toolUseId": call.id, "name": call.name}


def _arguments(call: ToolCall) -> msgspec.Raw:
    return msgspec.Raw((call.arguments or "{}").encode())


def _stop_reason(reply: Reply) -> str:
    return _STOP_REASONS.get(reply.ending, reply.ending)


def _metadata(reply: Reply) -> dict[str, Any]:
    routed = {} if reply.model is None else {"trace": {"promptRouter": {"invokedModelId": reply.model}}}
    return {"usage": _usage(reply.usage), "metrics": {"latencyMs": 1}, **routed}


def _usage(usage: Usage) -> dict[str, Any]:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "inputTokens": usage.input_tokens - cached,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }


def _event(kind: str, payload: dict[str, Any], *, content: bool = False) -> Event:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return Event(_framed(headers, _encode(payload)), content)


def _framed(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a message of an AWS event stream: https://smithy.io/2.0/aws/amazon-eventstream.html."""
    fields = b"".join(
        pack(">B", len(name)) + name.encode() + pack(">BH", _TEXT, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = pack(">II", 12 + len(fields) + len(payload) + 4, len(fields))
    message = prelude + pack(">I", crc32(prelude)) + fields + payload
    return message + pack(">I", crc32(message))


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


DIALECT = Dialect(
    name="bedrock",
    endpoint_of=endpoint_of,
    asked_of=asked_of,
    chat=chat,
    chat_stream=chat_stream,
    models=models,
    error=error,
    error_event=error_event,
    event=event,
    stream_type="application/vnd.amazon.eventstream",
)
"""A model that the reply names is that of a prompt router, because Bedrock names no other."""
