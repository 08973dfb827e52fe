"""OpenAI's completions of texts: https://platform.openai.com/docs/api-reference/completions.

Compatible servers report log probabilities in this form or in that of a chat; both are read.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.chat.response import Logprobs, TokenLogprob, TopLogprob
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
from bifrost.providers.extra import merge_extra
from bifrost.providers.openai.answer import (
    PLAIN,
    WireChoice,
    decode_answer,
    finish_reason_of,
    fitted_of,
    native_reason_of,
    seconds_of,
    stop_sequence_of,
    text_of,
    usage_of,
)
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.logprobs import logprobs_of
from bifrost.providers.sizes import CHOICES_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.providers.openai.quirks import Quirks
    from bifrost.wire.framing.sse import SseEvent
    from bifrost.wire.http import HttpResponse

_NOTHING = msgspec.Raw(b"")
_NULL = len(b"null")
_HIGHEST = 1e300
"""Larger numbers, such as infinity, are ignored."""


class _Choice(WireChoice):
    text: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    message: Any = None
    """Some gateways send a chat's message here."""


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    created: Any = None
    usage: msgspec.Raw = _NOTHING
    system_fingerprint: Any = None
    object: Any = None
    error: Any = None


class _Columns(msgspec.Struct):
    """Log probabilities in the form of completions: a list per column."""

    tokens: list[str | None] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: Any = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_COLUMNS = msgspec.json.Decoder(_Columns | None, strict=False)


def build_completions(request: CompletionRequest, target: Target, *, quirks: Quirks = PLAIN) -> Built:
    """Return the HTTP request for a completion. A single text is sent as a text, several as a list."""
    extra = (request.extra or {}).get(target.provider) or {}
    if "stream" in extra:
        raise InvalidRequestError('extra: "stream" is not set there; stream_complete() streams, complete() does not')
    fields = quirks.completions
    warnings = fields.check(request, target)
    prompt = request.prompt
    body: dict[str, Any] = {"model": target.model, "prompt": prompt[0] if len(prompt) == 1 else prompt}
    for name, wire in fields.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if request.logit_bias is not None and fields["logit_bias"].support == "optional":
        body["logit_bias"] = {
            token: int(bias) if float(bias).is_integer() else bias for token, bias in request.logit_bias.items()
        }
    if target.stream:
        body["stream"] = True
        if not quirks.usage_comes_unasked:
            body["stream_options"] = {"include_usage": True}
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path=quirks.completions_path,
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def parse_completions(response: HttpResponse, target: Target, *, quirks: Quirks = PLAIN) -> CompletionResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _ANSWER, _Answer)
    if wire.error or wire.object == "error" or not wire.choices:
        raise reported_error(response.body) or _shapeless(response.body, "no choices")
    check_count(len(wire.choices), CHOICES_LIMIT, what="choices")
    return CompletionResponse(
        choices=[_choice(each, place) for place, each in enumerate(wire.choices)],
        id=text_of(wire.id),
        model=text_of(wire.model) or target.model,
        created=seconds_of(wire.created),
        usage=usage_of(wire.usage, quirks) or NO_USAGE,
        system_fingerprint=text_of(wire.system_fingerprint) or None,
        provider=target.provider,
        raw=response.body,
    )


class CompletionDecoder:
    """Decodes the stream of one completion or several."""

    def __init__(self, target: Target, *, quirks: Quirks = PLAIN) -> None:
        self.done = False
        self._model = target.model
        self._quirks = quirks
        self._finished: dict[int, bool] = {}

    def feed(self, event: SseEvent) -> Sequence[CompletionChunk]:
        """Return the chunks of an event.

        Raises `ReportedError` for an error event, and `MalformedResponseError` for data that is not JSON or has an
        unknown shape.
        """
        if self.done:
            return ()
        if event.data.startswith(b"[DONE]"):
            self.done = True
            return ()
        wire = self._decode(event)
        if wire is None:
            return ()
        choices = [self._choice(each) for each in wire.choices or ()]
        usage = usage_of(wire.usage, self._quirks) if len(wire.usage) > _NULL else None
        if not choices and usage is None:
            return ()
        chunk = CompletionChunk(
            choices=choices,
            id=text_of(wire.id),
            model=text_of(wire.model) or self._model,
            created=seconds_of(wire.created),
            usage=usage,
            system_fingerprint=text_of(wire.system_fingerprint) or None,
        )
        return (chunk,)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self.done:
            return "complete"
        return "unmarked" if self._finished and all(self._finished.values()) else "cut"

    def _decode(self, event: SseEvent) -> _Answer | None:
        """Return an event; `None` if it says nothing. Raises `ReportedError` and `MalformedResponseError`."""
        data = event.data
        if not data.strip():
            return None
        named_error = event.event == "error"
        try:
            wire = json.decode(data, _ANSWER, what="an event of the stream")
        except MalformedResponseError:
            error = reported_error(data, always=named_error)
            if error is not None:
                raise error from None
            fitted = fitted_of(data, _Answer)
            if fitted is None and event.event in {None, "message"}:
                raise
            return fitted
        if wire.error or wire.object == "error" or named_error:
            error = reported_error(data, always=named_error)
            if error is not None:
                raise error
        check_count(len(wire.choices or ()), CHOICES_LIMIT, what="choices in one event")
        return wire

    def _choice(self, wire: _Choice) -> CompletionChunkChoice:
        read = _choice(wire, 0)
        self._finished[read.index] = self._finished.get(read.index, False) or read.finish_reason is not None
        check_count(len(self._finished), CHOICES_LIMIT, what="choices")
        return CompletionChunkChoice(**{name: getattr(read, name) for name in CompletionChunkChoice.__struct_fields__})


def _choice(wire: _Choice, place: int) -> CompletionChoice:
    text = text_of(wire.text)
    match wire.message:
        case {"content": str(content)} if not text:
            text = content
        case _:
            pass
    return CompletionChoice(
        text=text,
        index=place if wire.index is None else wire.index,
        finish_reason=finish_reason_of(wire.finish_reason),
        native_finish_reason=native_reason_of(wire),
        stop_sequence=stop_sequence_of(wire),
        reasoning=text_of(wire.reasoning) or text_of(wire.reasoning_content) or None,
        logprobs=_logprobs(wire.logprobs) if len(wire.logprobs) > _NULL else None,
    )


def _logprobs(raw: msgspec.Raw) -> Logprobs | None:
    """Return log probabilities, which are listed in columns, or as in a chat."""
    try:
        columns = _COLUMNS.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        columns = fitted_of(raw, _Columns, needed=frozenset())
    if columns is None or not columns.tokens:
        return logprobs_of(raw)
    tokens = _rows(columns.tokens, columns.token_logprobs or (), _tops(columns.top_logprobs))
    return Logprobs(content=tokens) if tokens else None


def _rows(
    tokens: Sequence[str | None], numbers: Sequence[float | None], tops: Sequence[list[TopLogprob]]
) -> list[TokenLogprob]:
    """Return the tokens that have a number."""
    rows = [
        TokenLogprob(token=token, logprob=number, top_logprobs=top)
        for token, number, top in zip(tokens, numbers, tops, strict=False)
        if token is not None and number is not None and -_HIGHEST <= number <= _HIGHEST
    ]
    # Most servers send no alternatives unless they are requested.
    rows += [
        TokenLogprob(token=token, logprob=number)
        for token, number in zip(tokens[len(tops) :], numbers[len(tops) :], strict=False)
        if token is not None and number is not None and -_HIGHEST <= number <= _HIGHEST
    ]
    return rows


def _tops(listed: Any) -> list[list[TopLogprob]]:
    return [_top(each) for each in cast("Sequence[Any]", listed)] if isinstance(listed, list) else []


def _top(numbers: Any) -> list[TopLogprob]:
    found = cast("dict[str, Any]", numbers) if isinstance(numbers, dict) else {}
    return [
        TopLogprob(token=token, logprob=float(number))
        for token, number in found.items()
        if isinstance(number, int | float) and -_HIGHEST <= number <= _HIGHEST
    ]


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")


def codec_of(quirks: Quirks) -> Codec[CompletionRequest, CompletionResponse]:
    """Return the codec of completions, adapted to the quirks of a server."""
    return Codec[CompletionRequest, CompletionResponse](
        operation=COMPLETIONS,
        build=partial(build_completions, quirks=quirks),
        parse=partial(parse_completions, quirks=quirks),
        decoder=partial(CompletionDecoder, quirks=quirks),
        fields=quirks.completions,
    )
