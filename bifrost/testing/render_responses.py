"""Renders responses in the format of OpenAI's Responses API.

The format: https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.testing.dialect import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.operations.usage import Usage
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Reply

_CREATED = 1_700_000_000


def response(reply: Reply, call: MockCall) -> bytes:
    """Return a `response` object."""
    return msgspec.json.encode(_response(reply, call))


def stream(reply: Reply, call: MockCall) -> list[Event]:
    """Return the response as events."""
    begun: dict[str, Any] = {
        **_response(reply, call),
        "output": [],
        "status": "in_progress",
        "usage": None,
        "incomplete_details": None,
    }
    whole = _response(reply, call)
    events: list[tuple[dict[str, Any], bool]] = [
        ({"type": "response.created", "response": begun}, False),
        ({"type": "response.in_progress", "response": begun}, False),
        *(
            (event, content)
            for index, item in enumerate(whole["output"])
            for event, content in _item(item, index, reply)
        ),
        ({"type": f"response.{whole['status']}", "response": whole}, False),
    ]
    return [
        Event(_sse({**event, "sequence_number": number}), content) for number, (event, content) in enumerate(events)
    ]


def _response(reply: Reply, call: MockCall) -> dict[str, Any]:
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.ending)
    return {
        "id": f"resp_test_{call.index}",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed" if reason is None else "incomplete",
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "instructions": None,
        "metadata": {},
        "model": reply.model or call.model,
        "output": list(_output(reply, call)),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _usage(reply.usage),
    }


def _output(reply: Reply, call: MockCall) -> Iterator[dict[str, Any]]:
    place = call.index
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        yield {"type": "reasoning", "id": f"rs_test_{place}", "summary": summary}
    if reply.pieces:
        part = _part(reply.text)
        head = {"type": "message", "id": f"msg_test_{place}", "role": "assistant", "status": "completed"}
        yield {**head, "content": [part]}
    for number, each in enumerate(reply.tool_calls):
        yield {
            "type": "function_call",
            "id": f"fc_test_{place}_{number}",
            "call_id": each.id,
            "name": each.name,
            "arguments": each.arguments,
            "status": "completed",
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(item: dict[str, Any], index: int, reply: Reply) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the events of an item, each with whether it carries a piece of the response."""
    place = {"output_index": index, "item_id": item["id"]}
    match item["type"]:
        case "reasoning":
            yield _added({**item, "summary": []}, index)
            first = {**place, "summary_index": 0}
            yield {"type": "response.reasoning_summary_text.delta", **first, "delta": reply.reasoning}, True
            yield {"type": "response.reasoning_summary_text.done", **first, "text": reply.reasoning}, False
        case "message":
            yield _added({**item, "content": [], "status": "in_progress"}, index)
            first = {**place, "content_index": 0}
            yield {"type": "response.content_part.added", **first, "part": _part("")}, False
            for piece in reply.pieces:
                yield {"type": "response.output_text.delta", **first, "delta": piece, "logprobs": []}, True
            yield {"type": "response.output_text.done", **first, "text": reply.text, "logprobs": []}, False
            yield {"type": "response.content_part.done", **first, "part": _part(reply.text)}, False
        case _:
            yield _added({**item, "arguments": "", "status": "in_progress"}, index)
            arguments = item["arguments"]
            yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}, True
            yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments}, False
    yield {"type": "response.output_item.done", "output_index": index, "item": item}, False


def _added(item: dict[str, Any], index: int) -> tuple[dict[str, Any], bool]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}, False


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {msgspec.json.encode(event).decode()}\n\n".encode()
