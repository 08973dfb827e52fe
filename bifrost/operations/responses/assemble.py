"""From the events of a streamed response to the response, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from bifrost.operations.responses.chunks import (
    ARGUMENTS_DELTA,
    COMPLETED,
    CREATED,
    ENDINGS,
    INPUT_DELTA,
    ITEM_ADDED,
    ITEM_DONE,
    REASONING_DELTA,
    REFUSAL_DELTA,
    SUMMARY_DELTA,
    TEXT_DELTA,
    ResponsesChunk,
    ResponsesReset,
)
from bifrost.operations.responses.content import Content, OutputRefusal, OutputText
from bifrost.operations.responses.item_forms import read_part
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    FunctionCallItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)
from bifrost.operations.responses.response import ResponsesResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WHOLE: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text.done": (TEXT_DELTA, "text"),
    "response.refusal.done": (REFUSAL_DELTA, "refusal"),
    "response.reasoning_text.done": (REASONING_DELTA, "text"),
    "response.reasoning_summary_text.done": (SUMMARY_DELTA, "text"),
    "response.function_call_arguments.done": (ARGUMENTS_DELTA, "arguments"),
    "response.custom_tool_call_input.done": (INPUT_DELTA, "input"),
}
"""The events that repeat a whole text: the event of its pieces, and the member with the text."""

_DELTAS: Final = frozenset([TEXT_DELTA, REFUSAL_DELTA, REASONING_DELTA, SUMMARY_DELTA, ARGUMENTS_DELTA, INPUT_DELTA])


class ResponsesAccumulator:
    """Combines the events of a stream into the response that a call without streaming would have returned.

    The response in the last event takes precedence. Without it, or if it has no items, the items are made of the other
    events.
    """

    def __init__(self, *, provider: str = "", model: str = "") -> None:
        self._begin(provider, model)

    def _begin(self, provider: str, model: str) -> None:
        self._provider = provider
        self._asked = model
        self._head = ResponsesResponse(status="in_progress")
        self._items: dict[int, _Growing] = {}
        self.finished = False
        """Whether the last event was added."""

    def add(self, chunk: ResponsesChunk) -> None:
        """Add the next event. A `ResponsesReset` discards those before it."""
        kind = chunk.type
        if kind == TEXT_DELTA:
            self._growing(chunk).add(chunk)
        elif isinstance(chunk, ResponsesReset):
            self._begin(chunk.provider, chunk.model)
        elif chunk.response is not None or kind in ENDINGS:
            self._add_response(chunk)
        elif chunk.item is not None:
            self._growing(chunk).add_item(chunk.item, is_done=kind == ITEM_DONE)
        elif kind in _DELTAS:
            self._growing(chunk).add(chunk)
        elif chunk.data is not None:
            self._add_data(chunk, chunk.data)

    def _add_response(self, chunk: ResponsesChunk) -> None:
        self.finished = self.finished or chunk.type in ENDINGS
        head = chunk.response or self._head
        if not (head.id and head.created):
            head = msgspec.structs.replace(
                head, id=head.id or self._head.id, created=head.created or self._head.created
            )
        if chunk.type in ENDINGS and not head.is_ended:
            head = msgspec.structs.replace(head, status=chunk.type.rpartition(".")[2])
        self._head = head

    def _add_data(self, chunk: ResponsesChunk, data: Mapping[str, Any]) -> None:
        """Add an event that repeats what is complete, or adds an annotation."""
        if chunk.type in _WHOLE:
            kind, name = _WHOLE[chunk.type]
            whole = data.get(name)
            if isinstance(whole, str):
                self._growing(chunk).add_whole(kind, chunk, whole)
        elif chunk.type in ("response.content_part.added", "response.content_part.done"):
            part = data.get("part")
            if isinstance(part, dict):
                is_done = chunk.type.endswith("done")
                self._growing(chunk).add_part(chunk.content_index, cast("dict[str, Any]", part), is_done=is_done)
        elif chunk.type == "response.output_text.annotation.added":
            note = data.get("annotation")
            if isinstance(note, dict):
                self._growing(chunk).add_note(chunk.content_index, cast("dict[str, Any]", note))

    def _growing(self, chunk: ResponsesChunk) -> _Growing:
        growing = self._items.get(chunk.output_index)
        if growing is None:
            growing = self._items[chunk.output_index] = _Growing(chunk.item_id)
        return growing

    def response(self, *, warnings: list[str] | None = None, **envelope: Any) -> ResponsesResponse:
        """Return the response so far. `envelope` sets further fields (`attempts`, `request_id`, ...)."""
        head = self._head
        return msgspec.structs.replace(
            head,
            model=head.model or self._asked,
            provider=self._provider,
            output=head.output or [item for _, each in sorted(self._items.items()) for item in each.items()],
            warnings=warnings or [],
            **envelope,
        )


class _Growing:
    """One item as it grows."""

    def __init__(self, item_id: str | None) -> None:
        self._id = item_id
        self._item: Item | None = None
        self._is_done = False
        self._pieces: dict[tuple[str, int], list[str]] = {}
        """The texts by the type of their events and their number."""
        self._parts: dict[int, tuple[OutputText | OutputRefusal, bool]] = {}
        """The parts of a message by number, and whether they are complete."""
        self._notes: dict[int, list[dict[str, Any]]] = {}
        self._logprobs: dict[int, list[dict[str, Any]]] = {}

    def add(self, chunk: ResponsesChunk) -> None:
        """Add a piece of a text."""
        key = (chunk.type, chunk.content_index)
        pieces = self._pieces.get(key)
        if pieces is None:
            pieces = self._pieces[key] = []
        pieces.append(chunk.delta)
        if chunk.logprobs:
            self._logprobs.setdefault(chunk.content_index, []).extend(chunk.logprobs)

    def add_whole(self, kind: str, chunk: ResponsesChunk, text: str) -> None:
        """Add a whole text, which repeats its pieces if there were any."""
        self._pieces[kind, chunk.content_index] = [text]

    def add_item(self, item: Item, *, is_done: bool) -> None:
        """Add the item itself: at its beginning, or complete."""
        if is_done or not self._is_done:
            self._item = item
            self._is_done = self._is_done or is_done

    def add_part(self, index: int, form: dict[str, Any], *, is_done: bool) -> None:
        """Add a part of a message: at its beginning, or complete. Others report the text of reasoning so."""
        part = read_part(form)
        if isinstance(part, OutputText | OutputRefusal):
            self._parts[index] = part, is_done

    def add_note(self, index: int, note: dict[str, Any]) -> None:
        """Add an annotation to a part."""
        self._notes.setdefault(index, []).append(note)

    def items(self) -> Iterator[Item]:
        """Yield the item so far, if there is one."""
        item = self._item
        if item is None:
            item = self._first()
        elif self._is_done and not self._is_emptied(item):
            yield item
            return
        match item:
            case MessageItem():
                yield msgspec.structs.replace(item, content=self._contents(item))
            case ReasoningItem():
                yield msgspec.structs.replace(
                    item,
                    summary=self._texts(SUMMARY_DELTA) or item.summary,
                    content=self._texts(REASONING_DELTA) or item.content,
                )
            case FunctionCallItem():
                yield msgspec.structs.replace(item, arguments=self._text(ARGUMENTS_DELTA) or item.arguments)
            case CustomToolCallItem():
                yield msgspec.structs.replace(item, input=self._text(INPUT_DELTA) or item.input)
            case None:
                pass
            case _:
                yield item

    def _is_emptied(self, item: Item) -> bool:
        """Return whether a complete item lacks what its pieces had, as some servers send it."""
        match item:
            case MessageItem(content=str(text)):
                return not text
            case MessageItem(content=list(parts)):
                return not any(not isinstance(part, OutputText | OutputRefusal) or _written(part) for part in parts)
            case ReasoningItem():
                return not (item.summary or item.content or item.encrypted_content)
            case FunctionCallItem():
                return not item.arguments
            case CustomToolCallItem():
                return not item.input
            case _:
                return False

    def _first(self) -> Item | None:
        """Return the beginning of an item whose own event did not come."""
        kinds = {kind for kind, _ in self._pieces}
        if kinds & {TEXT_DELTA, REFUSAL_DELTA} or self._parts:
            return MessageItem(role="assistant", content=[], id=self._id)
        if kinds & {REASONING_DELTA, SUMMARY_DELTA}:
            return ReasoningItem(id=self._id)
        if ARGUMENTS_DELTA in kinds:
            return FunctionCallItem(call_id=self._id or "", name="", id=self._id)
        if INPUT_DELTA in kinds:
            return CustomToolCallItem(call_id=self._id or "", name="", id=self._id)
        return None

    def _contents(self, item: MessageItem) -> str | list[Content]:
        numbers = {number for kind, number in self._pieces if kind in (TEXT_DELTA, REFUSAL_DELTA)}
        numbers |= self._parts.keys()
        return [self._part(number) for number in sorted(numbers)] or item.content

    def _part(self, number: int) -> Content:
        part, is_done = self._parts.get(number, (None, False))
        text = "".join(self._pieces.get((TEXT_DELTA, number), ()))
        refusal = "".join(self._pieces.get((REFUSAL_DELTA, number), ()))
        if part is not None and is_done and (_written(part) or not (text or refusal)):
            return part
        if isinstance(part, OutputRefusal) or (part is None and refusal):
            return OutputRefusal(refusal=refusal)
        first = part or OutputText(text="")
        return msgspec.structs.replace(
            first,
            text=text,
            annotations=self._notes.get(number) or first.annotations,
            logprobs=self._logprobs.get(number) or first.logprobs,
        )

    def _texts(self, kind: str) -> list[str]:
        numbered = sorted((number, pieces) for (named, number), pieces in self._pieces.items() if named == kind)
        return ["".join(pieces) for _, pieces in numbered]

    def _text(self, kind: str) -> str:
        return "".join(self._texts(kind))


def _written(part: OutputText | OutputRefusal) -> str:
    return part.text if isinstance(part, OutputText) else part.refusal


def chunks_of(response: ResponsesResponse) -> list[ResponsesChunk]:
    """Return the events of a complete response. An accumulator makes an equal response of them."""
    whole = msgspec.structs.replace(
        response, raw=b"", attempts=[], warnings=[], request_id=None, rate_limit=None, cost=None, parsed=None
    )
    begun = msgspec.structs.replace(whole, output=[], status="in_progress", usage=type(whole.usage)())
    ending = f"response.{response.status}" if response.status else COMPLETED
    return [
        ResponsesChunk(type=CREATED, response=begun),
        *(chunk for index, item in enumerate(response.output) for chunk in item_chunks(item, index)),
        ResponsesChunk(type=ending, response=whole),
    ]


def item_chunks(item: Item, index: int) -> Iterator[ResponsesChunk]:
    """Yield the events of a complete item."""
    item_id = None if isinstance(item, OpaqueItem) else item.id
    yield ResponsesChunk(type=ITEM_ADDED, output_index=index, item=_begun(item))
    for kind, number, text in _texts_of(item):
        if text:
            yield ResponsesChunk(type=kind, output_index=index, content_index=number, item_id=item_id, delta=text)
    yield ResponsesChunk(type=ITEM_DONE, output_index=index, item=item)


def _begun(item: Item) -> Item:
    """Return an item without the texts that grow."""
    match item:
        case MessageItem():
            return msgspec.structs.replace(item, content=[])
        case ReasoningItem():
            return msgspec.structs.replace(item, summary=[], content=None)
        case FunctionCallItem():
            return msgspec.structs.replace(item, arguments="")
        case CustomToolCallItem():
            return msgspec.structs.replace(item, input="")
        case _:
            return item


def _texts_of(item: Item) -> Iterator[tuple[str, int, str]]:
    """Yield the texts of an item: the type of their events, their numbers, and the texts."""
    match item:
        case MessageItem(content=str(text)):
            yield TEXT_DELTA, 0, text
        case MessageItem():
            for number, part in enumerate(item.content):
                if isinstance(part, OutputText):
                    yield TEXT_DELTA, number, part.text
                elif isinstance(part, OutputRefusal):
                    yield REFUSAL_DELTA, number, part.refusal
        case ReasoningItem():
            yield from ((SUMMARY_DELTA, number, text) for number, text in enumerate(item.summary))
            yield from ((REASONING_DELTA, number, text) for number, text in enumerate(item.content or ()))
        case FunctionCallItem():
            yield ARGUMENTS_DELTA, 0, item.arguments
        case CustomToolCallItem():
            yield INPUT_DELTA, 0, item.input
        case _:
            pass
