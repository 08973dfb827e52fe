"""Structured output: how a type is requested in each mode, and how the response is read. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import msgspec

from bifrost.errors import (
    BifrostError,
    InvalidRequestError,
    MalformedResponseError,
    OutputValidationError,
    UnsupportedError,
)
from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, ToolCallDelta
from bifrost.operations.chat.content import ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.request import ChatRequest, ChatResponse, Choice, FinishReason, ResponseFormat
from bifrost.operations.chat.structured.json_text import JsonFinder, json_in
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES
from bifrost.operations.chat.tools import Tool, ToolChoice
from bifrost.operations.usage import NO_USAGE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from decimal import Decimal

    from bifrost.operations.chat.content import Part
    from bifrost.operations.chat.structured.json_text import Piece
    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.strict_schema import SchemaRules

T = TypeVar("T")


class ParsedResponse(ChatResponse, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """The response of a call with `output=Type`: a `ChatResponse` whose `parsed` is a `Type`.

    While the model calls tools first (`tool_calls`), there is nothing to parse yet, and `parsed` is `None`.
    """

    parsed: T = cast("T", None)
    """The output; `None` while the model calls tools."""


ANSWER_TOOL = "final_answer"
"""The tool whose arguments are the output."""

_ANSWER_NAME = re.compile(rf"(?<![A-Za-z0-9_-]){ANSWER_TOOL}(?![A-Za-z0-9_-])")
"""The name of the tool with the additions of models: `functions.final_answer`, `final_answer<|channel|>json`."""

_BY_INSTRUCTION: Final = ("json_object", "prompt")
"""The modes that request the output by instructions only."""

_MOST_PIECES_OF_A_NAME: Final = 64

_DONE: Final = 1
"""Stands for a source: the JSON is complete, and text after it is ignored."""

_CUT: Mapping[FinishReason | None, str] = {
    "length": "it was cut off at its token limit; raise max_tokens",
    "content_filter": "the provider's content filter cut it off",
}


# --- requests


def choose_mode(
    output: OutputType[Any],
    request: ChatRequest,
    modes: Sequence[StructuredMode],
    *,
    provider: str,
    rules: SchemaRules = COMMON_RULES,
) -> StructuredMode:
    """Choose the first of a provider's modes that supports this type with this request.

    A tool is not forced if the model is to reason first, because Anthropic refuses that:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use. Raises
    `UnsupportedError` if there is none.
    """
    for mode in modes:
        match mode:
            case "native_closed" if not output.strict_for(rules).closed:
                continue
            case "tool" if _thinks(request):
                continue
            case _:
                return mode
    raise UnsupportedError(
        f"{provider} has no way to answer in the form of {output.name}; leave out output=, or the option reasoning",
        provider=provider,
    )


def lower(
    request: ChatRequest, output: OutputType[Any], mode: StructuredMode, rules: SchemaRules = COMMON_RULES
) -> ChatRequest:
    """Return the request with the type added as the mode requires. `rules` describe the provider's strict mode.

    Raises `InvalidRequestError` if the request has a tool of the same name as the output's tool.
    """
    match mode:
        case "native" | "native_closed":
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(
                    type="json_schema",
                    name=output.name,
                    schema=output.strict_for(rules).schema,
                    strict=True if output.strict_for(rules).strict else None,
                ),
            )
        case "tool":
            return msgspec.structs.replace(
                request,
                response_format=None,
                tools=[*_other_tools(request), _answer_tool(output)],
                tool_choice=_tool_choice(request),
            )
        case _:
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(type="json_object") if mode == "json_object" else None,
                messages=_with_instruction(request.messages, output),
            )


def _thinks(request: ChatRequest) -> bool:
    reasoning = request.reasoning
    return reasoning is not None and reasoning.effort != "none" and reasoning.enabled is not False


def _other_tools(request: ChatRequest) -> Sequence[Any]:
    tools = request.tools or ()
    if any(isinstance(tool, Tool) and tool.name == ANSWER_TOOL for tool in tools):
        raise InvalidRequestError(f"tools: {ANSWER_TOOL!r} is the name of the tool that output= needs; take another")
    return tools


def _answer_tool(output: OutputType[Any]) -> Tool:
    return Tool(
        name=ANSWER_TOOL,
        description=f"Give your answer ({output.name}). It is read by a program, so give it by this tool only.",
        parameters=output.tool_schema,
    )


def _tool_choice(request: ChatRequest) -> ToolChoice:
    """Force the output. If there are other tools, the model may call them first."""
    given = request.tool_choice or ToolChoice()
    if not request.tools or given.mode == "none":
        return ToolChoice(mode="tool", name=ANSWER_TOOL)
    if given.mode == "tool":
        return given
    allowed = None if given.allowed is None else [*given.allowed, ANSWER_TOOL]
    return ToolChoice(mode="required", allowed=allowed)


def _with_instruction(messages: list[Message], output: OutputType[Any]) -> list[Message]:
    schema = msgspec.json.encode(output.schema).decode()
    text = (
        "Answer with one JSON object that fits this JSON schema, and with nothing else: no explanation, no code fence."
        f"\n\n{schema}"
    )
    if not messages or messages[0].role not in ("system", "developer"):
        return [Message(role="system", content=text), *messages]
    first = messages[0]
    content = f"{first.content}\n\n{text}" if isinstance(first.content, str) else [*first.parts, TextPart(text=text)]
    return [msgspec.structs.replace(first, content=content), *messages[1:]]


# --- converting a response: the call of the output's tool becomes text, and the text becomes the JSON only


def lift(response: ChatResponse, mode: StructuredMode, *, others: Collection[str] = ()) -> ChatResponse:
    """Return the response as if the output had been requested directly: calls of the output's tool become text.

    `others` has the names of the caller's own tools.
    """
    if mode != "tool":
        return response
    return msgspec.structs.replace(response, choices=[_lift_choice(choice, others) for choice in response.choices])


def tool_names(request: ChatRequest) -> frozenset[str]:
    """Return the names of a request's own tools, without the output's tool."""
    return frozenset(tool.name for tool in request.tools or () if isinstance(tool, Tool)) - {ANSWER_TOOL}


def _lift_choice(choice: Choice, others: Collection[str]) -> Choice:
    parts = [_as_text(part, others) for part in choice.message.parts]
    if parts == choice.message.parts:
        return choice
    return msgspec.structs.replace(
        choice,
        message=msgspec.structs.replace(choice.message, parts=parts),
        finish_reason=_without_call(choice.finish_reason, any(isinstance(part, ToolCall) for part in parts)),
    )


def _as_text(part: Part, others: Collection[str]) -> Part:
    return TextPart(text=part.arguments) if isinstance(part, ToolCall) and _is_answer(part.name, others) else part


def _is_answer(name: str, others: Collection[str]) -> bool:
    """Return whether a call is the output: by its name, with any additions, or because there is no other tool."""
    return name == ANSWER_TOOL or (name not in others and (not others or _ANSWER_NAME.search(name) is not None))


def _without_call(reason: FinishReason | None, calls_others: bool) -> FinishReason | None:
    return "stop" if reason == "tool_calls" and not calls_others else reason


class ChunkLift:
    """Converts the chunks of a stream as `lift` and `fitted` convert a response: their text is the JSON only.

    A new one is made for each stream. Text that turns out not to be JSON is returned as text at the end of the
    response.
    """

    __slots__ = ("_choices", "_lists", "_mode", "_others", "_words")

    def __init__(self, output: OutputType[Any], mode: StructuredMode, *, others: Collection[str] = ()) -> None:
        self._mode = mode
        self._others = others
        self._words, self._lists = _leniency(output, mode)
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
        return msgspec.structs.replace(choice, finish_reason=_without_call(choice.finish_reason, growing.calls_others))


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
            if name and _is_answer(name, others):
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


# --- reading the response


def fitted(
    response: ChatResponse, output: OutputType[T], mode: StructuredMode, rules: SchemaRules = COMMON_RULES
) -> ParsedResponse[T]:
    """Return the first choice of a converted response as the type. Its text becomes the JSON only.

    What the provider did not enforce is listed in the warnings. Raises `OutputValidationError`.
    """
    parsed = cast("T", None)
    if not response.tool_calls:
        first, parsed = _parse(response, output, mode)
        others = [_plain(choice, output, mode) for choice in response.choices[1:]]
        response = msgspec.structs.replace(response, choices=[first, *others])
    fields: dict[str, Any] = {name: getattr(response, name) for name in response.__struct_fields__}
    fields["warnings"] = list(dict.fromkeys([*response.warnings, *shortfalls(output, mode, rules)]))
    fields["parsed"] = parsed
    return ParsedResponse(**fields)


def _parse(response: ChatResponse, output: OutputType[T], mode: StructuredMode) -> tuple[Choice, T]:
    choice = response.choices[0]
    failure = OutputValidationError("the answer has no text", output=response.text)
    for text, thought in _texts(choice.message.parts, output, mode):
        try:
            return _with_json(choice, text, thought), output.decode(text, bare=mode in _BY_INSTRUCTION)
        except OutputValidationError as error:
            failure = error
    failure.message = _reason(response, output) or failure.message
    failure.output, failure.response = response.text, response
    failure.provider, failure.model = response.provider or None, response.model or None
    failure.request_id = response.request_id
    raise failure


def _plain(choice: Choice, output: OutputType[Any], mode: StructuredMode) -> Choice:
    """Make the text of a further choice the JSON only, if it has JSON that matches."""
    for text, thought in _texts(choice.message.parts, output, mode):
        try:
            output.decode(text, bare=mode in _BY_INSTRUCTION)
        except BifrostError:
            continue
        return _with_json(choice, text, thought)
    return choice


def _texts(parts: Sequence[Part], output: OutputType[Any], mode: StructuredMode) -> Iterator[tuple[str, str]]:
    """Yield what may be the JSON, with the reasoning before it: the whole text, its pieces, and JSON within it."""
    pieces = [part.text for part in parts if isinstance(part, TextPart)]
    whole = "".join(pieces)
    yield whole, ""
    if len(pieces) > 1:
        for piece in pieces:
            yield piece, ""
    words, lists = _leniency(output, mode)
    for text in [whole] if len(pieces) < 2 else [*pieces, whole]:
        found, thought = json_in(text, words=words, lists=lists)
        for each in found:
            if each != text:
                yield each, thought


def _leniency(output: OutputType[Any], mode: StructuredMode) -> tuple[bool, bool]:
    """Return whether JSON may occur among words, and whether it may be a list without its object."""
    return mode in _BY_INSTRUCTION, mode in _BY_INSTRUCTION and output.is_wrapped


def _with_json(choice: Choice, text: str, thought: str) -> Choice:
    """Make JSON the text of a choice. Reasoning before it becomes reasoning."""
    message = choice.message
    if message.text == text:
        return choice
    parts: list[Part] = [part for part in message.parts if not isinstance(part, TextPart)]
    behind = len(message.parts) - next(
        place for place, part in enumerate(reversed(message.parts)) if isinstance(part, TextPart)
    )
    place = len([part for part in message.parts[:behind] if not isinstance(part, TextPart)])
    parts.insert(place, TextPart(text=text))
    if thought.strip() and message.reasoning is None:
        parts.insert(0, ReasoningPart(text=thought))
    return msgspec.structs.replace(choice, message=msgspec.structs.replace(message, parts=parts))


def is_correctable(response: ChatResponse) -> bool:
    """Return whether a response that does not match may be requested again: it was neither cut off nor refused."""
    return not (response.finish_reason in _CUT or response.message.refusal)


def _reason(response: ChatResponse, output: OutputType[Any]) -> str:
    if response.message.refusal:
        return f"the model declined to give {output.name}: {response.message.refusal}"
    if response.finish_reason in _CUT:
        return f"the answer is not a complete {output.name}: {_CUT[response.finish_reason]}"
    return ""


def shortfalls(output: OutputType[Any], mode: StructuredMode, rules: SchemaRules = COMMON_RULES) -> list[str]:
    """Return descriptions of what the provider does not enforce of the type in this mode."""
    if mode not in ("native", "native_closed"):
        way = "through a tool" if mode == "tool" else "in the prompt"
        return [f"output: {output.name} was asked for {way}; that the answer fits was checked here only"]
    strict = output.strict_for(rules)
    told = list(strict.notes)
    if mode == "native":
        causes = [f"{', '.join(strict.optional)} may be left out"] if strict.optional else []
        causes += [f"it has {excess}" for excess in strict.excess]
        if causes:
            told.append(f"strict mode is off, since {' and '.join(causes)}")
    return [f"output: checked here only: {'; '.join(told)}"] if told else []


# --- requesting again


def refused(
    error: MalformedResponseError, output: OutputType[Any], before: ChatResponse | None
) -> OutputValidationError:
    """Return the error for a provider's rejection of its own model's output, for a caller who expects a type."""
    failure = OutputValidationError(
        f"the answer does not fit {output.name}: {error.message}",
        output=error.output,
        response=before,
        provider=error.provider,
        model=error.model,
        key=error.key,
        status=error.status,
        code=error.code,
        type=error.type,
        param=error.param,
        request_id=error.request_id,
        body=error.body,
    )
    failure.rate_limit = error.rate_limit
    return failure


def was_cut(error: BifrostError) -> bool:
    """Return whether a provider rejected the output because it was cut off, so that another try would not help."""
    return "max completion tokens" in error.message


def reask_refused(request: ChatRequest, error: OutputValidationError) -> ChatRequest:
    """Return the request with the text that the model wrote, if known, and the remark that it cannot be read."""
    correction = Message(
        role="user",
        content="That could not be read. Give the whole answer again, in exactly the form asked for.",
    )
    answer = [Message(role="assistant", content=error.output)] if error.output.strip() else []
    return msgspec.structs.replace(request, messages=[*request.messages, *answer, correction])


def reask(request: ChatRequest, response: ChatResponse, error: OutputValidationError) -> ChatRequest:
    """Return the request with the response and what is wrong with it. The request must not be lowered yet."""
    correction = Message(
        role="user",
        content=f"That cannot be used: {error.message}. Give the whole answer again, corrected, in the form asked for.",
    )
    # Providers refuse an empty message.
    answer = [response.message.to_message()] if response.text.strip() else []
    return msgspec.structs.replace(request, messages=[*request.messages, *answer, correction])


def merged(earlier: ChatResponse, later: ChatResponse) -> ChatResponse:
    """Return the later response with the sum of usage and cost, and with the attempts and warnings of both."""
    return msgspec.structs.replace(
        later,
        usage=(earlier.usage + later.usage) or NO_USAGE,
        cost=_cost(earlier.cost, later.cost),
        attempts=[*earlier.attempts, *later.attempts],
        warnings=list(dict.fromkeys([*earlier.warnings, *later.warnings])),
    )


def _cost(earlier: Decimal | None, later: Decimal | None) -> Decimal | None:
    """Return the sum of two costs; `None` if one of them is unknown."""
    return None if earlier is None or later is None else earlier + later
