"""Expresses the stream of a chat as one of the Responses API.

Items are complete at the end only, because the pieces of several calls may alternate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.responses.assemble import item_chunks
from bifrost.operations.responses.chat_items import annotation, items_of_parts
from bifrost.operations.responses.chunks import (
    ARGUMENTS_DELTA,
    CREATED,
    INPUT_DELTA,
    ITEM_ADDED,
    ITEM_DONE,
    REASONING_DELTA,
    REFUSAL_DELTA,
    TEXT_DELTA,
    ResponsesChunk,
)
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    FunctionCallItem,
    Item,
    MessageItem,
    ReasoningItem,
)
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.providers.base import ReportedError
from bifrost.providers.responses_over_chat.answer import response_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bifrost.operations.chat.chunks import Chunk, Delta, ToolCallDelta
    from bifrost.providers.base import Ending, StreamDecoder, Target

_ANNOTATED: Final = "response.output_text.annotation.added"


class OverChatDecoder:
    """Decodes the stream of a chat."""

    def __init__(self, chat: StreamDecoder[Any], target: Target) -> None:
        self.done = False
        self._chat = chat
        self._grown = ChatAccumulator(provider=target.provider, model=target.model)
        self._begun = False
        self._indexes: dict[tuple[type[Item], int | None], int] = {}
        """The numbers of the items, by their type and the number of their block or call."""
        self._ended: set[int] = set()
        """The numbers of the items that are complete."""
        self._message: tuple[int, int] | None = None
        """The number of the message that is being written, and that of its part."""
        self._block: int | None = None
        """The block of the text that is being written."""

    def feed(self, event: Any) -> Sequence[Any]:
        """Return the chunks of an event. Raises what the chat's decoder raises."""
        if self.done:
            return ()
        try:
            found = self._chat.feed(event)
        except ReportedError as error:
            error.chunks = [each for chunk in error.chunks for each in self._chunks(chunk)]
            raise
        made = [each for chunk in found for each in self._chunks(chunk)]
        if self._chat.done:
            made += self.close()
        return made

    def finish(self) -> Ending:
        """Return how the stream ended."""
        return self._chat.finish()

    def close(self) -> Sequence[ResponsesChunk]:
        """Return the complete items and the last event."""
        self.done = True
        response = msgspec.structs.replace(response_of(self._grown.response()), warnings=[])
        made = [*self._head(response)] if not self._begun else []
        left = {kind: [index for (each, _), index in self._indexes.items() if each is kind] for kind in get_args(Item)}
        for item in response.output:
            indexes = left[type(item)]
            index = indexes.pop(0) if indexes else None
            if index is None:
                made += item_chunks(item, self._new(type(item), None))
            elif index not in self._ended:
                made.append(ResponsesChunk(type=ITEM_DONE, output_index=index, item=item))
        made.append(ResponsesChunk(type=f"response.{response.status}", response=response))
        return made

    def _chunks(self, chunk: Chunk) -> Iterator[ResponsesChunk]:
        self._grown.add(chunk)
        if not self._begun:
            yield from self._head(ResponsesResponse(id=chunk.id, model=chunk.model, created=chunk.created))
        for choice in chunk.choices:
            if choice.index == 0 and not choice.delta.empty:
                yield from self._delta(choice.delta)

    def _head(self, response: ResponsesResponse) -> Iterator[ResponsesChunk]:
        self._begun = True
        head = ResponsesResponse(id=response.id, model=response.model, created=response.created, status="in_progress")
        yield ResponsesChunk(type=CREATED, response=head)

    def _delta(self, delta: Delta) -> Iterator[ResponsesChunk]:
        if delta.reasoning or delta.signature:
            yield from self._reasoning(delta)
        if delta.content:
            yield from self._text(TEXT_DELTA, delta.content, delta.block)
        if delta.refusal:
            yield from self._text(REFUSAL_DELTA, delta.refusal, delta.block)
        if delta.citations and self._message is not None:
            index, part = self._message
            for cited in delta.citations:
                note = {"annotation": annotation(cited)}
                yield ResponsesChunk(type=_ANNOTATED, output_index=index, content_index=part, data=note)
        for call in delta.tool_calls or ():
            yield from self._call(call)
        if delta.part is not None:
            self._message = None
            for item in items_of_parts([delta.part], status="completed"):
                index = self._new(type(item), None)
                self._ended.add(index)
                yield from item_chunks(item, index)

    def _reasoning(self, delta: Delta) -> Iterator[ResponsesChunk]:
        self._message = None
        index = self._indexes.get((ReasoningItem, delta.block))
        if index is None:
            index = self._new(ReasoningItem, delta.block)
            yield ResponsesChunk(type=ITEM_ADDED, output_index=index, item=ReasoningItem(issuer=delta.issuer))
        if delta.reasoning:
            yield ResponsesChunk(type=REASONING_DELTA, output_index=index, delta=delta.reasoning)

    def _text(self, kind: str, text: str, block: int | None) -> Iterator[ResponsesChunk]:
        if self._message is None and block is None and (MessageItem, None) in self._indexes:
            self._message = self._indexes[MessageItem, None], 0
        elif self._message is None:
            self._message = self._new(MessageItem, block), 0
            item = MessageItem(role="assistant", content=[], status="in_progress")
            yield ResponsesChunk(type=ITEM_ADDED, output_index=self._message[0], item=item)
        elif block != self._block:
            self._message = self._message[0], self._message[1] + 1
        self._block = block
        index, part = self._message
        yield ResponsesChunk(type=kind, output_index=index, content_index=part, delta=text)

    def _call(self, call: ToolCallDelta) -> Iterator[ResponsesChunk]:
        for kind in (FunctionCallItem, CustomToolCallItem):
            index = self._indexes.get((kind, call.index))
            if index is not None:
                break
        else:
            self._message = None
            kind = CustomToolCallItem if call.kind == "custom" else FunctionCallItem
            index = self._new(kind, call.index)
            item = kind(call_id=call.id or "", name=call.name or "", status="in_progress")
            yield ResponsesChunk(type=ITEM_ADDED, output_index=index, item=item)
        if call.arguments:
            grown = INPUT_DELTA if kind is CustomToolCallItem else ARGUMENTS_DELTA
            yield ResponsesChunk(type=grown, output_index=index, delta=call.arguments)

    def _new(self, kind: type[Item], number: int | None) -> int:
        index = len(self._indexes)
        if number is None and (kind, None) in self._indexes:
            number = -1 - index
        self._indexes[kind, number] = index
        return index
