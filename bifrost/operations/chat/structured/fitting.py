"""How a response is read as the type that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from bifrost.errors import (
    BifrostError,
    OutputValidationError,
)
from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.content import ReasoningPart, TextPart
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason
from bifrost.operations.chat.structured.json_text import json_in
from bifrost.operations.chat.structured.parsed_response import ParsedResponse
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bifrost.operations.chat.content import Part
    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.strict_schema import SchemaRules

T = TypeVar("T")

_BY_INSTRUCTION: Final = ("json_object", "prompt")
"""The modes that request the output by instructions only."""

CUT: Mapping[FinishReason | None, str] = {
    "length": "it was cut off at its token limit; raise max_tokens",
    "content_filter": "the provider's content filter cut it off",
}
"""Why output is incomplete, by the finish reason."""


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
    failure = OutputValidationError("the response has no text", output=response.text)
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
    words, lists = leniency(output, mode)
    for text in [whole] if len(pieces) < 2 else [*pieces, whole]:
        found, thought = json_in(text, words=words, lists=lists)
        for each in found:
            if each != text:
                yield each, thought


def leniency(output: OutputType[Any], mode: StructuredMode) -> tuple[bool, bool]:
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
    return not (response.finish_reason in CUT or response.message.refusal)


def _reason(response: ChatResponse, output: OutputType[Any]) -> str:
    if response.message.refusal:
        return f"the model declined to give {output.name}: {response.message.refusal}"
    if response.finish_reason in CUT:
        return f"the response is not a complete {output.name}: {CUT[response.finish_reason]}"
    return ""


def shortfalls(output: OutputType[Any], mode: StructuredMode, rules: SchemaRules = COMMON_RULES) -> list[str]:
    """Return descriptions of what the provider does not enforce of the type in this mode."""
    if mode not in ("native", "native_closed"):
        way = "through a tool" if mode == "tool" else "in the prompt"
        return [f"output: {output.name} was asked for {way}; that the response fits was checked here only"]
    strict = output.strict_for(rules)
    notes = list(strict.notes)
    if mode == "native":
        causes = [f"{', '.join(strict.optional)} may be left out"] if strict.optional else []
        causes += [f"it has {excess}" for excess in strict.excess]
        if causes:
            notes.append(f"strict mode is off, since {' and '.join(causes)}")
    return [f"output: checked here only: {'; '.join(notes)}"] if notes else []
