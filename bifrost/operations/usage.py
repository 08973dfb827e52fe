"""The tokens that a call used, counted in the same way for all providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.frozen import Value
from bifrost.html import table
from bifrost.operations.other_libraries import OF_AN_ANSWER, no_attribute


class InputDetails(Value, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's `prompt_tokens_details`."""

    cached_tokens: int = 0
    """Input tokens read from the prompt cache."""

    cache_write_tokens: int = 0
    """Input tokens written to the prompt cache."""

    audio_tokens: int = 0
    """Input tokens of audio."""


class OutputDetails(Value, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's `completion_tokens_details`."""

    reasoning_tokens: int = 0
    """Output tokens of reasoning."""

    audio_tokens: int = 0
    """Output tokens of audio."""

    accepted_prediction_tokens: int = 0
    """Tokens of the prediction that the response contains."""

    rejected_prediction_tokens: int = 0
    """Tokens of the prediction that the response does not contain; they are billed."""


class Usage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """The tokens of a call, by OpenAI's convention for all providers. All counts default to 0.

    The details are disjoint and add up:

        input_tokens  = uncached_tokens + cache_read_tokens + cache_write_tokens + input_audio_tokens
        output_tokens = output_text_tokens + reasoning_tokens + output_audio_tokens
    """

    input_tokens: int = 0
    """All input tokens, including those read from and written to the prompt cache."""

    output_tokens: int = 0
    """All output tokens, including reasoning."""

    cache_read_tokens: int = 0
    """Input tokens read from the prompt cache."""

    cache_write_tokens: int = 0
    """Input tokens written to the prompt cache."""

    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that is stored for an hour."""

    input_audio_tokens: int = 0
    """Input tokens of audio."""

    reasoning_tokens: int = 0
    """Output tokens of reasoning."""

    output_audio_tokens: int = 0
    """Output tokens of audio."""

    accepted_prediction_tokens: int = 0
    """Tokens of the prediction that the response contains."""

    rejected_prediction_tokens: int = 0
    """Tokens of the prediction that the response does not contain; they are billed."""

    server_tool_calls: int = 0
    """Searches and other tools that the provider ran and bills per call."""

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    @property
    def uncached_tokens(self) -> int:
        """Input tokens that were neither read from nor written to the cache, without audio."""
        cached = self.cache_read_tokens + self.cache_write_tokens
        return max(0, self.input_tokens - cached - self.input_audio_tokens)

    @property
    def output_text_tokens(self) -> int:
        """Output tokens that are neither reasoning nor audio."""
        return max(0, self.output_tokens - self.reasoning_tokens - self.output_audio_tokens)

    @property
    def prompt_tokens(self) -> int:
        """OpenAI's name of `input_tokens`."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int:
        """OpenAI's name of `output_tokens`."""
        return self.output_tokens

    @property
    def prompt_tokens_details(self) -> InputDetails:
        """The input tokens in OpenAI's form."""
        return InputDetails(
            cached_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            audio_tokens=self.input_audio_tokens,
        )

    @property
    def completion_tokens_details(self) -> OutputDetails:
        """The output tokens in OpenAI's form."""
        return OutputDetails(
            reasoning_tokens=self.reasoning_tokens,
            audio_tokens=self.output_audio_tokens,
            accepted_prediction_tokens=self.accepted_prediction_tokens,
            rejected_prediction_tokens=self.rejected_prediction_tokens,
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_AN_ANSWER)

    def __bool__(self) -> bool:
        """Return whether anything was counted; false if the provider reported nothing."""
        return self != NO_USAGE

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def to_dict(self) -> dict[str, object]:
        """Return the usage in OpenAI's form."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": msgspec.to_builtins(self.prompt_tokens_details),
            "completion_tokens_details": msgspec.to_builtins(self.completion_tokens_details),
        }

    def _repr_html_(self) -> str:
        counts = ((name.replace("_", " "), getattr(self, name)) for name in self.__struct_fields__)
        return table(("usage", "count"), [*((name, count) for name, count in counts if count)])


def balanced(usage: Usage, *, total: int = 0) -> Usage:
    """Return a usage whose details add up, if those of a provider do not match its sums.

    Servers disagree on whether the sums include the details. Cached input and reasoning are added to a sum that omits
    them, which is the case if `total` (0: unknown) is larger by exactly that much, or if a detail exceeds its sum.
    """
    given, made = usage.input_tokens, usage.output_tokens
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    heard, spoken, thought = usage.input_audio_tokens, usage.output_audio_tokens, usage.reasoning_tokens
    missing = total - given - made
    if missing <= 0 and cached + heard <= given and thought + spoken <= made:
        return usage
    if missing > 0 and missing in {cached, cached + thought}:
        given += cached
    if missing > 0 and missing in {thought, cached + thought}:
        made += thought
    if cached > given:
        given += cached
    if thought + spoken > made:
        apart = made + thought + spoken
        made = apart if not total else max(made, min(total - given, apart))
    spoken = min(spoken, made)
    return msgspec.structs.replace(
        usage,
        input_tokens=given,
        input_audio_tokens=min(heard, given - cached),
        output_tokens=made,
        output_audio_tokens=spoken,
        reasoning_tokens=min(thought, made - spoken),
    )


NO_USAGE = Usage()
"""The usage of a response whose provider reported nothing: falsy, and 0 everywhere."""
