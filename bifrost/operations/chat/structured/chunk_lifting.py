"""The chunks of a stream without what a type was asked for with: their text is the JSON alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, ToolCallDelta
from bifrost.operations.chat.content import TextPart
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.fitting import leniency
from bifrost.operations.chat.structured.json_text import JsonFinder
from bifrost.operations.chat.structured.lifting import is_answer, without_call

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bifrost.operations.chat.structured.json_text import Piece
    from bifrost.operations.chat.structured.output_type import OutputType


_MOST_PIECES_OF_A_NAME: Final = 64

_DONE: Final = 1
"""Stands for a source: the JSON is complete, and text after it is ignored."""


class ChunkLift:
    """Converts the chunks of a stream as `lift` and `fitted` convert a response: their text is the JSON only.

    A new one is made for each stream. Text that turns out not to be JSON is returned as text at the end of the
    response.
    """

    __slots__ = ("_choices", "_lists", "_mode", "_others", "_words")

    def __init__(self, output: OutputType[Any], mode: StructuredMode, *, others: Collection[str] = ()) -> None:
        self._mode = mode
        self._others = others
        self._words, self._lists = leniency(output, mode)
        self._choices: dict[int, _GrowingText] = {}

    def __call__(self, chunk: Chunk) -> Chunk:
        """Return the chunk with its text converted."""
        choices = [self._choice(choice) for choice in chunk.choices]
        return msgspec.structs.replace(chunk, choices=choices) if choices != chunk.choices else chunk

    def restored(self, response: ChatResponse) -> ChatResponse | None:
        """Return a response with everything that its model wrote; `None` if its text contains all of it already.

        A stream has to guess which JSON is the output; the complete text may show it better.
        """
        growing = self._choices.get(0)
        if growing is None or growing.given() != response.text or growing.given() == growing.written():
            return None
        kept = [part for part in response.message.parts if not isinstance(part, TextPart)]
        message = AssistantMessage(parts=[*kept, *(TextPart(text=text) for text in growing.texts())])
        first = msgspec.structs.replace(response.choices[0], message=message)
        return msgspec.structs.replace(response, choices=[first, *response.choices[1:]])

    def _choice(self, choice: ChunkChoice) -> ChunkChoice:
        growing = self._choices.get(choice.index)
        if growing is None:
            growing = self._choices[choice.index] = _GrowingText(words=self._words, lists=self._lists)
        delta = choice.delta
        others: list[ToolCallDelta] = []
        if delta.content:
            growing.take(delta.content, part=delta.block)
        for call in delta.tool_calls or ():
            if self._mode == "tool":
                others += growing.sort_call(call, self._others)
            else:
                others.append(call)
        if choice.finish_reason is not None:
            others += growing.unnamed()
        if others:
            growing.calls_others = True
        if others or choice.finish_reason is not None:
            growing.flush(at_end=choice.finish_reason is not None)
        if not (delta.content or delta.tool_calls or others or growing.text or growing.thought):
            return self._ended(choice, growing)
        text, thought = growing.taken()
        delta = msgspec.structs.replace(
            delta,
            content=text or (None if delta.content else delta.content),
            reasoning=f"{delta.reasoning or ''}{thought}" or delta.reasoning,
            tool_calls=others or None,
            # The text of a call is a separate part, besides other text of the response. No provider uses negative
            # numbers.
            block=growing.part if text and growing.part is not None else delta.block,
        )
        return self._ended(msgspec.structs.replace(choice, delta=delta), growing)

    def _ended(self, choice: ChunkChoice, growing: _GrowingText) -> ChunkChoice:
        if not growing.answers or choice.finish_reason is None:
            return choice
        return msgspec.structs.replace(choice, finish_reason=without_call(choice.finish_reason, growing.calls_others))


def chunk_lift(output: OutputType[Any], mode: StructuredMode, *, others: Collection[str] = ()) -> ChunkLift:
    """Return the object that converts the chunks of a new stream."""
    return ChunkLift(output, mode, others=others)


class _GrowingText:
    """The text of one choice as it grows: what the model wrote, in parts, and what was returned of it."""

    __slots__ = (
        "_buffer",
        "_finders",
        "_leniency",
        "_others",
        "_part",
        "_returned",
        "_source",
        "_unnamed",
        "_written",
        "answers",
        "calls_others",
        "part",
        "text",
        "thought",
    )

    def __init__(self, *, words: bool, lists: bool) -> None:
        self._leniency = (words, lists)
        self._finders: dict[int, JsonFinder] = {}
        """The finders by source: the text (0), or a call of the output's tool (negative)."""
        self._part: int | None = None
        self._source: int | None = None
        """The source whose JSON is returned. JSON from other sources is not."""
        self._written: dict[int | None, list[str]] = {}
        self._returned: list[str] = []
        self._buffer: list[str] = []
        self.answers: set[int] = set()
        """The indexes of the calls that are the output."""
        self._others: set[int] = set()
        """The indexes of the calls of other tools."""
        self._unnamed: dict[int, list[ToolCallDelta]] = {}
        """Pieces of calls whose name may be incomplete."""
        self.calls_others = False
        self.part: int | None = None
        """The call that the new text comes from, as the number of a part; `None` for the text of the response
        itself.
        """
        self.text: list[str] = []
        self.thought: list[str] = []

    def sort_call(self, call: ToolCallDelta, others: Collection[str]) -> list[ToolCallDelta]:
        """Consume a piece of a call if it is the output's.

        Returns the pieces that are now known to belong to other tools.

        A name may arrive in pieces, which are buffered until it is known whose it is.
        """
        if call.index not in self._others and call.index not in self.answers:
            unnamed = self._unnamed.setdefault(call.index, [])
            unnamed.append(call)
            name = "".join([piece.name or "" for piece in unnamed])
            if name and is_answer(name, others):
                self.answers.add(call.index)
                del self._unnamed[call.index]
            elif name in others or call.arguments or len(unnamed) == _MOST_PIECES_OF_A_NAME:
                self._others.add(call.index)
                return self._unnamed.pop(call.index)
            else:
                return []
        if call.index in self._others:
            return [call]
        self.take(call.arguments, part=-1 - call.index)
        return []

    def unnamed(self) -> list[ToolCallDelta]:
        """Return the pieces of calls whose name remained unknown."""
        held = [piece for pieces in self._unnamed.values() for piece in pieces]
        self._others |= self._unnamed.keys()
        self._unnamed = {}
        return held

    def take(self, text: str, *, part: int | None) -> None:
        """Add more of the text, or of a call's arguments."""
        self._written.setdefault(part, []).append(text)
        source = part if part is not None and part < 0 else 0
        finder = self._finders.get(source)
        if finder is None:
            words, lists = self._leniency
            # Arguments are JSON or nothing.
            finder = self._finders[source] = JsonFinder(words=words and source == 0, lists=lists)
        if source == 0 and part != self._part:
            self._sort(finder.new_part(), 0)
            self._part = part
        self._sort(finder.feed(text), source)

    def _sort(self, pieces: Sequence[Piece], source: int) -> None:
        for kind, text in pieces:
            match kind:
                case "json" if self._source in (None, source):
                    self._source = source
                    self.part = source if source < 0 else None
                    self.text.append(text)
                case "end" | "broken" if self._source == source:
                    # What follows is given only if it goes on where this has ended in nothing.
                    self._source = _DONE if kind == "end" else source
                case "thought":
                    self.thought.append(text)
                case "words":
                    self._buffer.append(text)
                case "were thought":
                    self.thought += self._buffer
                    self._buffer = []
                case _:
                    pass

    def flush(self, *, at_end: bool) -> None:
        """Return the buffered words as text, if there is no JSON (yet)."""
        if at_end:
            for source, finder in self._finders.items():
                self._sort(finder.finish(), source)
        if self._source is None:
            self.text += self._buffer
        self._buffer = []

    def taken(self) -> tuple[str, str]:
        """Return the new text and reasoning."""
        text, thought = "".join(self.text), "".join(self.thought)
        self.text, self.thought = [], []
        if text:
            self._returned.append(text)
        return text, thought

    def given(self) -> str:
        return "".join(self._returned)

    def written(self) -> str:
        return "".join(self.texts())

    def texts(self) -> list[str]:
        return ["".join(pieces) for pieces in self._written.values()]
