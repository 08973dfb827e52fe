"""Decodes the stream of a response: https://platform.openai.com/docs/api-reference/responses-streaming.

Events of unknown types are returned with their members. Only the last event of a response ends a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.responses.chunks import (
    ARGUMENTS_DELTA,
    COMPLETED,
    ENDINGS,
    INPUT_DELTA,
    ITEM_ADDED,
    ITEM_DONE,
    REASONING_DELTA,
    REFUSAL_DELTA,
    SUMMARY_DELTA,
    TEXT_DELTA,
    ResponsesChunk,
)
from bifrost.operations.responses.item_forms import read_item
from bifrost.providers.openai.answer import text_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.responses.answer import ANY, failed, failure_of, issuer_of, response_of, with_call_id
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.sse import SseEvent

_DELTAS: Final = frozenset(
    [
        TEXT_DELTA,
        REFUSAL_DELTA,
        REASONING_DELTA,
        SUMMARY_DELTA,
        ARGUMENTS_DELTA,
        INPUT_DELTA,
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
    ]
)
"""The events that add a text and have no other members."""

_DONE: Final = "response.done"
"""The last event of some servers, whatever the response's status."""

_OWN: Final = frozenset(
    ["type", "sequence_number", "output_index", "content_index", "summary_index", "item_id", "obfuscation"]
)
"""The members that are fields of a chunk, and OpenAI's padding."""


class _Delta(msgspec.Struct, gc=False):
    """An event that adds a text, as nearly all events of a stream do."""

    type: str
    delta: str
    output_index: int
    item_id: str | None = None
    content_index: int = 0
    summary_index: int = 0
    sequence_number: int | None = None
    logprobs: list[dict[str, Any]] | None = None


_DELTA = msgspec.json.Decoder(_Delta)


class ResponsesDecoder:
    """Decodes the stream of one response."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._issuer = issuer_of(target)
        self._indexes: dict[str, int] = {}
        """The numbers of the items by id, for servers that omit them in later events."""
        self._items = 0
        self._is_open = False
        """Whether an item was added and is not complete."""
        self._has_text = False

    def feed(self, event: SseEvent) -> Sequence[ResponsesChunk]:
        """Return the chunks of an event.

        Raises `ReportedError` for an error event or a failed response, and `MalformedResponseError` for data that is
        not JSON.
        """
        data = event.data
        if self.done:
            return ()
        if len(data) > json.SMALL:
            json.check_density(data, what="an event of the stream", sparse=SPARSE)
        if b'.delta"' in data:
            try:
                wire = _DELTA.decode(data)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass
            else:
                if wire.type in _DELTAS:
                    self._has_text = True
                    return (
                        ResponsesChunk(
                            type=wire.type,
                            delta=wire.delta,
                            sequence_number=wire.sequence_number,
                            output_index=wire.output_index,
                            content_index=wire.content_index or wire.summary_index,
                            item_id=wire.item_id,
                            logprobs=wire.logprobs or None,
                        ),
                    )
        return self._feed(event)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        return "complete" if self.done else "cut"

    def _feed(self, event: SseEvent) -> Sequence[ResponsesChunk]:
        """Handle an event of any kind."""
        data = event.data
        if data.startswith(b"[DONE]"):
            return self._marked()
        form = self._form_of(event)
        if form is None:
            return ()
        kind = text_of(form.get("type")) or event.event or ""
        if kind == "error" or event.event == "error" or (form.get("error") and "response" not in form):
            raise reported_error(data, always=True) or MalformedResponseError("an error event cannot be read")
        response = form.get("response")
        if isinstance(response, dict) and not kind.endswith(".delta"):
            return (self._with_response(kind, form, cast("dict[str, Any]", response)),)
        if kind in ENDINGS:
            return (self._ended(kind, form),)
        if not kind:
            return ()
        return (self._chunk(kind, form),)

    def _form_of(self, event: SseEvent) -> dict[str, Any] | None:
        """Return the members of an event; `None` for an empty event, or one that is not of the Responses API."""
        if not event.data.strip():
            return None
        try:
            form = json.decode(event.data, ANY, what="an event of the stream", sparse=SPARSE)
        except MalformedResponseError:
            if event.event == "error":
                raise reported_error(event.data, always=True) or MalformedResponseError("unreadable") from None
            if event.event in {None, "message"} or event.event in ENDINGS:
                raise
            return None
        return cast("dict[str, Any]", form) if isinstance(form, dict) else None

    def _marked(self) -> Sequence[ResponsesChunk]:
        """Handle the marker of other APIs, with which some servers end a response instead of its last event."""
        if not (self._items or self._has_text):
            return ()
        self.done = True
        return (ResponsesChunk(type=COMPLETED),)

    def _with_response(self, kind: str, form: Mapping[str, Any], response: dict[str, Any]) -> ResponsesChunk:
        found = response_of(response, self._target)
        if kind == _DONE:
            kind = f"response.{found.status}" if f"response.{found.status}" in ENDINGS else COMPLETED
        is_last = kind in ENDINGS
        failure = failure_of(response) if is_last else None
        if kind == "response.failed" or failure is not None:
            raise failure or failed(response)
        self.done = is_last
        if not text_of(response.get("status")) and kind != COMPLETED:
            found = msgspec.structs.replace(found, status=kind.rpartition(".")[2] if is_last else "in_progress")
        return ResponsesChunk(type=kind, sequence_number=_whole(form.get("sequence_number")), response=found)

    def _ended(self, kind: str, form: Mapping[str, Any]) -> ResponsesChunk:
        """Return the last event of a response, which does not contain it. Raises `ReportedError` if it has failed."""
        if kind == "response.failed":
            raise failed(form)
        self.done = True
        return ResponsesChunk(type=kind, sequence_number=_whole(form.get("sequence_number")))

    def _chunk(self, kind: str, form: Mapping[str, Any]) -> ResponsesChunk:
        item = form.get("item")
        members = cast("dict[str, Any]", item) if isinstance(item, dict) else None
        item_id = text_of(form.get("item_id")) or (text_of(members.get("id")) if members else "")
        is_done = kind == ITEM_DONE
        is_new = kind == ITEM_ADDED or (is_done and not self._is_open and item_id not in self._indexes)
        index = self._index_of(form, item_id, is_new=is_new)
        self._is_open = kind == ITEM_ADDED or (self._is_open and not is_done)
        if members is not None and kind in (ITEM_ADDED, ITEM_DONE):
            return ResponsesChunk(
                type=kind,
                sequence_number=_whole(form.get("sequence_number")),
                output_index=index,
                item=with_call_id(read_item(members, self._issuer), index),
            )
        delta = form.get("delta")
        self._has_text = self._has_text or kind in _DELTAS
        is_delta = kind in _DELTAS and isinstance(delta, str)
        known = _OWN | {"delta", "logprobs"} if is_delta else _OWN
        return ResponsesChunk(
            type=kind,
            delta=text_of(delta) if is_delta else "",
            sequence_number=_whole(form.get("sequence_number")),
            output_index=index,
            content_index=_whole(form.get("content_index")) or _whole(form.get("summary_index")) or 0,
            item_id=text_of(form.get("item_id")) or None,
            data={name: value for name, value in form.items() if name not in known} or None,
        )

    def _index_of(self, form: Mapping[str, Any], item_id: str, *, is_new: bool) -> int:
        """Return the number of the item of an event. Without one, items are numbered in the order of appearance."""
        index = _whole(form.get("output_index"))
        if index is None:
            index = self._indexes.get(item_id, self._items if is_new else max(0, self._items - 1))
        if is_new:
            self._items += 1
            check_count(self._items, PARTS_LIMIT, what="items")
        if item_id and item_id not in self._indexes and len(self._indexes) < PARTS_LIMIT:
            self._indexes[item_id] = index
        return index


def _whole(value: object) -> int | None:
    """Return a whole number of 0 or more, however a server writes it; `None` for another value."""
    match value:
        case bool():
            return None
        case int() if value >= 0:
            return value
        case float() if value >= 0 and value.is_integer():
            return int(value)
        case _:
            return None
