"""Ollama's completion of a text: https://docs.ollama.com/api/generate.

The prompt is put into the model's template, unless `extra={"ollama": {"raw": True}}` says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import MalformedResponseError
from bifrost.operations.completions import (
    COMPLETIONS,
    CompletionChoice,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionRequest,
    CompletionResponse,
)
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.base import Built, Codec
from bifrost.providers.ollama.answer import (
    created_of,
    decode_line,
    decode_whole,
    finish_reason_of,
    logprobs_in,
    usage_in,
)
from bifrost.providers.ollama.chat import finished
from bifrost.providers.ollama.fields import COMPLETIONS as FIELDS
from bifrost.providers.ollama.fields import options_of
from bifrost.providers.openai.answer import text_of
from bifrost.wire import json
from bifrost.wire.framing.jsonl import JsonLinesParser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.jsonl import JsonLine
    from bifrost.wire.http import HttpResponse


def build_completions(request: CompletionRequest, target: Target) -> Built:
    """Return the HTTP request for the completion of one text."""
    warnings = FIELDS.check(request, target)
    match request.prompt:
        case [str(prompt)]:
            body: dict[str, Any] = {"model": target.model, "prompt": prompt}
        case _:
            raise FIELDS.refusal("prompt", target)
    if request.suffix is not None:
        body["suffix"] = request.suffix
    if request.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = request.logprobs
    return finished(body, request, target, path="/api/generate", options=options_of(request), warnings=warnings)


def parse_completions(response: HttpResponse, target: Target) -> CompletionResponse:
    """Return the response that a body contains. Raises the errors of `decode_whole`."""
    wire = decode_whole(response)
    if wire.response is None and wire.thinking is None:
        raise MalformedResponseError(f"the response has no text; {json.excerpt(response.body)}")
    choice = CompletionChoice(
        text=wire.response or "",
        finish_reason=finish_reason_of(wire),
        native_finish_reason=text_of(wire.done_reason) or None,
        reasoning=wire.thinking or None,
        logprobs=logprobs_in(wire),
    )
    return CompletionResponse(
        choices=[choice],
        model=text_of(wire.model) or target.model,
        created=created_of(wire),
        usage=usage_in(wire) or NO_USAGE,
        provider=target.provider,
        raw=response.body,
    )


class CompletionDecoder:
    """Decodes the lines of a streamed completion."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._model = target.model

    def feed(self, line: JsonLine) -> Sequence[CompletionChunk]:
        """Return the chunk of a line. Raises the errors of `decode_line`."""
        if self.done:
            return ()
        wire = decode_line(line.data)
        self.done = wire.done is True
        choice = CompletionChunkChoice(
            text=wire.response or "",
            finish_reason=finish_reason_of(wire) if self.done else None,
            native_finish_reason=text_of(wire.done_reason) or None,
            reasoning=wire.thinking or None,
            logprobs=logprobs_in(wire),
        )
        chunk = CompletionChunk(
            choices=[choice],
            model=text_of(wire.model) or self._model,
            created=created_of(wire),
            usage=usage_in(wire) if self.done else None,
        )
        return (chunk,)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        return "complete" if self.done else "cut"


CODEC = Codec[CompletionRequest, CompletionResponse](
    operation=COMPLETIONS,
    build=build_completions,
    parse=parse_completions,
    decoder=CompletionDecoder,
    framer=JsonLinesParser,
    fields=FIELDS,
)
