"""Expresses the response of a chat as one of the Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.operations.responses.chat_items import items_of_parts
from bifrost.operations.responses.content import Content, OutputText
from bifrost.operations.responses.items import Item, MessageItem
from bifrost.operations.responses.response import ResponsesResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.response import ChatResponse, FinishReason, Logprobs

_INCOMPLETE: Final[Mapping[FinishReason, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "pause": "pause",
    "error": "error",
}
"""The reasons of incomplete responses, by the finish reason of a chat."""


def response_of(answer: ChatResponse) -> ResponsesResponse:
    """Return the response with the first choice of a chat."""
    choice = answer.choices[0]
    reason = _INCOMPLETE.get(choice.finish_reason) if choice.finish_reason is not None else None
    items = items_of_parts(choice.message.parts, status="completed" if reason is None else "incomplete")
    if choice.logprobs is not None:
        items = _with_logprobs(items, choice.logprobs)
    return ResponsesResponse(
        id=answer.id,
        model=answer.model,
        status="completed" if reason is None else "incomplete",
        output=items,
        created=answer.created,
        incomplete_reason=reason,
        usage=answer.usage,
        service_tier=answer.service_tier,
        details=_details(answer),
        provider=answer.provider,
        warnings=answer.warnings,
        raw=answer.raw,
    )


def _details(answer: ChatResponse) -> dict[str, Any]:
    native = answer.choices[0].native_finish_reason
    facts = {"finish_reason": native, "system_fingerprint": answer.system_fingerprint}
    return {name: value for name, value in facts.items() if value is not None}


def _with_logprobs(items: Sequence[Item], logprobs: Logprobs) -> list[Item]:
    """Return the items with the log probabilities of the text at its first part."""
    made: list[Item] = list(items)
    for place, item in enumerate(made):
        if isinstance(item, MessageItem) and not isinstance(item.content, str):
            parts = list(item.content)
            if _add(parts, logprobs):
                made[place] = msgspec.structs.replace(item, content=parts)
                break
    return made


def _add(parts: list[Content], logprobs: Logprobs) -> bool:
    for place, part in enumerate(parts):
        if isinstance(part, OutputText):
            tokens: list[dict[str, Any]] = msgspec.to_builtins(logprobs.content or [])
            parts[place] = msgspec.structs.replace(part, logprobs=tokens)
            return True
    return False
