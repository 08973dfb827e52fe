"""What a call consumed, counted the same way for every provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.frozen import Value
from bifrost.html import table
from bifrost.operations.other_libraries import OF_AN_ANSWER, no_attribute


class InputDetails(Value, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's `prompt_tokens_details`."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    audio_tokens: int = 0


class OutputDetails(Value, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's `completion_tokens_details`."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """Tokens of one call, by OpenAI's convention for every provider.

    `input_tokens` counts all input, cache reads and writes included; `output_tokens` includes reasoning. The buckets
    beside them are disjoint and add up:

        input_tokens  = uncached_tokens + cache_read_tokens + cache_write_tokens + input_audio_tokens
        output_tokens = output_text_tokens + reasoning_tokens + output_audio_tokens

    `cache_write_1h_tokens` is the part of `cache_write_tokens` that was written to live for an hour.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    server_tool_calls: int = 0
    """Searches and other tools that the provider ran and bills by the call."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def uncached_tokens(self) -> int:
        """Input that was neither read from nor written to a cache, audio left out."""
        cached = self.cache_read_tokens + self.cache_write_tokens
        return max(0, self.input_tokens - cached - self.input_audio_tokens)

    @property
    def output_text_tokens(self) -> int:
        """Output that is neither reasoning nor audio."""
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
        """OpenAI's view of the input buckets."""
        return InputDetails(
            cached_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            audio_tokens=self.input_audio_tokens,
        )

    @property
    def completion_tokens_details(self) -> OutputDetails:
        """OpenAI's view of the output buckets."""
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
        """Return whether anything was counted; false for an answer whose provider told nothing."""
        return self != NO_USAGE

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def to_dict(self) -> dict[str, object]:
        """Give the usage in OpenAI's form."""
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
    """Return a count whose buckets add up, where a provider's details do not fit its sums.

    Servers disagree on whether the sums count what the details tell. Cached input and reasoning are added to a sum that
    left them out, which shows where `total` (0: not told) is larger by just as much, or a detail exceeds its sum.
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
"""That of an answer whose provider told nothing: false, and 0 everywhere."""
