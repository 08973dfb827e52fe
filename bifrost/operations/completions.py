"""The operation that continues a text: completions without a conversation, which base models and code models have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, TypedDict

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, folded, note, text
from bifrost.operations.base import Operation, Streaming
from bifrost.operations.chat.options import check_names
from bifrost.operations.chat.response import FinishReason, Logprobs, TokenLogprob
from bifrost.operations.typed import read_as
from bifrost.operations.usage import NO_USAGE, Usage

__all__ = [
    "COMPLETIONS",
    "CompletionAccumulator",
    "CompletionChoice",
    "CompletionChunk",
    "CompletionChunkChoice",
    "CompletionOptions",
    "CompletionRequest",
    "CompletionResponse",
    "chunks_of",
    "completion_request",
]


class CompletionRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to continue texts. `None` means that the provider's default applies."""

    model: str
    """`provider/model`, or the name of a model group."""

    prompt: list[str | list[int]]
    """The texts, or lists of token numbers. Each of them is continued."""

    suffix: str | None = None
    """The text after the gap that the model fills, for models that support it."""

    max_tokens: int | None = None
    """The most tokens of output."""

    temperature: float | None = None
    """The sampling temperature; higher values give more varied output."""

    top_p: float | None = None
    """Nucleus sampling: only the most probable tokens with this total probability are considered."""

    top_k: int | None = None
    """Only this many of the most probable tokens are considered."""

    n: int | None = None
    """The number of continuations of each text."""

    best_of: int | None = None
    """The number of continuations that are generated, of which the most probable `n` are returned."""

    echo: bool | None = None
    """Whether the text itself precedes its continuation in the response."""

    logprobs: int | None = None
    """For each token, this many of the most probable tokens are returned with their log probabilities; 0 returns those
    of the written tokens only.
    """

    stop: list[str] | None = None
    """Texts that end the response when the model writes them."""

    presence_penalty: float | None = None
    """Reduces the probability of tokens that have occurred already, between -2 and 2."""

    frequency_penalty: float | None = None
    """Reduces the probability of tokens in proportion to how often they have occurred, between -2 and 2."""

    logit_bias: dict[str, float] | None = None
    """A bias between -100 and 100 that is added to the logits, by the number of the token as text."""

    seed: int | None = None
    """A seed for sampling that is as deterministic as the provider supports."""

    user: str | None = None
    """An identifier of the end user, for the provider's abuse detection."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class CompletionOptions(TypedDict, total=False):
    """The options of a completion. `CompletionRequest` explains each of them."""

    suffix: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    n: int | None
    best_of: int | None
    echo: bool | None
    logprobs: int | None
    stop: str | Sequence[str] | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | Mapping[int, float] | None
    seed: int | None
    user: str | None
    extra: Mapping[str, Mapping[str, Any]] | None


class CompletionChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One continuation."""

    text: str = ""
    """The text that the model wrote; after the prompt with `echo`."""

    index: int = 0
    """The number of the choice, from 0. Those of the second prompt follow the `n` of the first."""

    finish_reason: FinishReason | None = None
    """Why the choice ended; `None` if it is incomplete."""

    native_finish_reason: str | None = None
    """The provider's own word for `finish_reason`."""

    stop_sequence: str | None = None
    """The stop sequence that ended the choice, if the provider reports it."""

    reasoning: str | None = None
    """The model's reasoning, if the provider shows it."""

    logprobs: Logprobs | None = None
    """Log probabilities, if they were requested. Tokens without a number (the first one of an echo) are omitted."""


class CompletionResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The continuations of all texts."""

    choices: list[CompletionChoice]
    """The choices: `n` for each text."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports."""

    created: int = 0
    """When the provider made the response, in seconds since 1970; 0 if it does not say."""

    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""

    system_fingerprint: str | None = None
    """OpenAI's identifier of the backend's configuration, if the provider reports it."""

    provider: str = ""
    """The provider that responded."""

    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""

    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""

    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""

    cost: Decimal | None = None
    """The cost of the call, in US dollars; `None` if it is unknown."""

    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    raw: bytes = b""
    """The provider's response as bytes; empty for a stream."""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "text_completion"

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text if self.choices else ""

    @property
    def texts(self) -> list[str]:
        """The texts of all choices, in order."""
        return [choice.text for choice in self.choices]

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else None

    def to_dict(self) -> dict[str, Any]:
        """Return the response in the form of OpenAI's `text_completion` object."""
        form: dict[str, Any] = {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": [
                {
                    "text": choice.text,
                    "index": choice.index,
                    "finish_reason": choice.finish_reason,
                    "logprobs": _openai_logprobs(choice.logprobs),
                }
                for choice in self.choices
            ],
        }
        if self.usage:
            form["usage"] = self.usage.to_dict()
        if self.system_fingerprint is not None:
            form["system_fingerprint"] = self.system_fingerprint
        return form

    def __repr__(self) -> str:
        excerpt = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."
        spent = f", {self.usage.input_tokens}+{self.usage.output_tokens} tokens" if self.usage else ""
        return f"CompletionResponse({self.provider}/{self.model}: {excerpt!r}, {self.finish_reason}{spent})"

    def _repr_html_(self) -> str:
        spent = bool(self.usage) and f"{self.usage.input_tokens} + {self.usage.output_tokens} tokens"
        return block(*map(_choice_html, self.choices), note(f"{self.provider}/{self.model}", spent))


_SHOWN = 200


def _choice_html(choice: CompletionChoice) -> str:
    reasoning = folded("reasoning", text(choice.reasoning)) if choice.reasoning else ""
    return block(reasoning, text(choice.text), note(choice.finish_reason))


def _openai_logprobs(logprobs: Logprobs | None) -> dict[str, Any] | None:
    if logprobs is None:
        return None
    tokens = logprobs.content or ()
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{top.token: top.logprob for top in token.top_logprobs} for token in tokens],
    }


# --- streams


class CompletionChunkChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a chunk adds to one choice."""

    text: str = ""
    """Text."""

    index: int = 0
    """The number of the choice, from 0."""

    finish_reason: FinishReason | None = None
    """Why the choice ended; `None` until its last chunk."""

    native_finish_reason: str | None = None
    """The provider's own word for `finish_reason`."""

    stop_sequence: str | None = None
    """The stop sequence that ended the choice, if the provider reports it."""

    reasoning: str | None = None
    """Text of the model's reasoning, if the provider shows it."""

    logprobs: Logprobs | None = None
    """Log probabilities of the tokens in this chunk, if they were requested."""


class CompletionChunk(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A chunk of a streamed completion."""

    choices: list[CompletionChunkChoice] = []
    """The additions to each choice. It is empty in a chunk with usage only."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports."""

    created: int = 0
    """When the provider made the response, in seconds since 1970; 0 if it does not say."""

    usage: Usage | None = None
    """The tokens of the whole response so far; the last one applies. `None` if this chunk has none."""

    system_fingerprint: str | None = None
    """OpenAI's identifier of the backend's configuration, if the provider reports it."""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "text_completion"

    @property
    def text(self) -> str:
        """The text that this chunk adds to the first choice."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.text
        return ""

    @property
    def has_content(self) -> bool:
        """Whether the chunk has text, reasoning, usage or a finish reason. The first such chunk commits the stream."""
        if self.usage is not None:
            return True
        return any(choice.text or choice.reasoning or choice.finish_reason is not None for choice in self.choices)


class CompletionAccumulator:
    """Combines chunks into the response that a call without streaming would have returned."""

    def __init__(self, *, provider: str = "", model: str = "") -> None:
        self._provider = provider
        self._asked = model
        self._head = CompletionChunk(model=model)
        self._choices: dict[int, _Growing] = {}
        self._usage: Usage | None = None
        self._fingerprint: str | None = None

    def add(self, chunk: CompletionChunk) -> None:
        """Add the next chunk."""
        self._take_head(chunk)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.system_fingerprint is not None:
            self._fingerprint = chunk.system_fingerprint
        for choice in chunk.choices:
            growing = self._choices.get(choice.index)
            if growing is None:
                growing = self._choices[choice.index] = _Growing()
            growing.add(choice)

    def _take_head(self, chunk: CompletionChunk) -> None:
        """Set id, model and time from the first chunk that has each. The name of the requested model does not count."""
        head = self._head
        served = head.model if head.model != self._asked else chunk.model or head.model
        if (chunk.id and not head.id) or served != head.model or (chunk.created and not head.created):
            self._head = CompletionChunk(
                id=head.id or chunk.id, model=served, created=head.created or chunk.created, choices=[]
            )

    @property
    def finished(self) -> bool:
        """Whether all choices seen so far have a finish reason."""
        return bool(self._choices) and all(growing.finish_reason for growing in self._choices.values())

    def response(self, *, warnings: list[str] | None = None) -> CompletionResponse:
        """Return the response so far."""
        choices = [growing.choice(index) for index, growing in sorted(self._choices.items())]
        return CompletionResponse(
            id=self._head.id,
            model=self._head.model,
            created=self._head.created,
            provider=self._provider,
            choices=choices or [CompletionChoice()],
            usage=self._usage or NO_USAGE,
            system_fingerprint=self._fingerprint,
            warnings=warnings or [],
        )


class _Growing:
    """One choice as it grows."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._ending = CompletionChunkChoice()

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._ending.finish_reason

    def add(self, choice: CompletionChunkChoice) -> None:
        if choice.text:
            self._texts.append(choice.text)
        if choice.reasoning:
            self._reasoning.append(choice.reasoning)
        if choice.logprobs is not None:
            self._logprobs += choice.logprobs.content or ()
        if choice.finish_reason is not None:
            self._ending = choice

    def choice(self, index: int) -> CompletionChoice:
        return CompletionChoice(
            text="".join(self._texts),
            index=index,
            finish_reason=self._ending.finish_reason,
            native_finish_reason=self._ending.native_finish_reason,
            stop_sequence=self._ending.stop_sequence,
            reasoning="".join(self._reasoning) or None,
            logprobs=Logprobs(content=self._logprobs) if self._logprobs else None,
        )


def chunks_of(response: CompletionResponse) -> list[CompletionChunk]:
    """Return chunks of a complete response, one per choice. An accumulator makes an equal response of them."""
    head = CompletionChunk(id=response.id, model=response.model, created=response.created)
    chunks = [
        msgspec.structs.replace(
            head,
            choices=[
                CompletionChunkChoice(
                    **{name: getattr(choice, name) for name in CompletionChunkChoice.__struct_fields__}
                )
            ],
        )
        for choice in response.choices
    ]
    last = msgspec.structs.replace(head, usage=response.usage or None, system_fingerprint=response.system_fingerprint)
    return [*chunks, last]


COMPLETIONS: Final = Operation[CompletionRequest, CompletionResponse, CompletionChunk](
    name="completions",
    request=CompletionRequest,
    response=CompletionResponse,
    streaming=Streaming[CompletionChunk, CompletionResponse](
        chunk=CompletionChunk,
        accumulator=CompletionAccumulator,
        chunks_of=chunks_of,
        has_content=attrgetter("has_content"),
        text=attrgetter("text"),
    ),
)

_OPTIONS: Final = frozenset(CompletionOptions.__annotations__)


def completion_request(model: str, prompt: object, options: CompletionOptions) -> CompletionRequest:
    """Return a request for a text, several texts, or lists of token numbers.

    Raises `InvalidRequestError` if there is nothing to continue, and for an unknown or invalid option.
    """
    check_names(options, _OPTIONS, what="a completion")
    form: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if isinstance(form.get("stop"), str):
        form["stop"] = [form["stop"]]
    if isinstance(form.get("logit_bias"), Mapping):
        form["logit_bias"] = {str(token): bias for token, bias in form["logit_bias"].items()}
    return read_as({**form, "model": model, "prompt": _prompts(prompt)}, CompletionRequest, "")


def _prompts(prompt: object) -> list[Any]:
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray):
        raise InvalidRequestError(f"prompt: expected a text or a list of texts, got {type(prompt).__name__}")
    prompts: list[Any] = [prompt] if isinstance(prompt, str) else [*prompt]
    if prompts and all(type(token) is int for token in prompts):
        prompts = [prompts]  # one text, as token numbers
    if not prompts or any(each == [] for each in prompts):
        raise InvalidRequestError("prompt: there is nothing to continue; pass a text, or a list of texts")
    return prompts
