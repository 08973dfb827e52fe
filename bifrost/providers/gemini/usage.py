"""Gemini's usage: https://ai.google.dev/api/generate-content#UsageMetadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.operations.usage import Usage, balanced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ModalityCount(msgspec.Struct, rename="camel"):
    """The tokens of one modality."""

    modality: str | None = None
    token_count: int | None = None


class WireUsage(msgspec.Struct, rename="camel"):
    """The numbers of tokens. The prompt includes cached tokens; thoughts and the results of tools are counted apart."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    cache_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    tool_use_prompt_tokens_details: list[ModalityCount] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


_USAGE = msgspec.json.Decoder(WireUsage | None, strict=False)

_TIERS: Mapping[str, str] = {
    "ON_DEMAND": "standard",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_OFFPEAK": "offpeak",
    "PROVISIONED_THROUGHPUT": "provisioned_throughput",
}
"""Vertex AI's types of traffic, in the words of the Gemini API's service tiers."""


def read_usage(data: msgspec.Raw) -> WireUsage | None:
    """Return the usage of a response or chunk; `None` if there is none that can be read."""
    try:
        return _USAGE.decode(data) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def tier_of(wire: WireUsage | None) -> str | None:
    """Return the service tier that was used."""
    return None if wire is None else wire.service_tier or _TIERS.get(wire.traffic_type or "")


def usage_of(wire: WireUsage | None) -> Usage | None:
    """Return the usage by bifrost's convention; `None` if nothing was counted."""
    if wire is None:
        return None
    tools = wire.tool_use_prompt_token_count or 0
    given = (wire.prompt_token_count or 0) + tools
    answered, thought = wire.candidates_token_count or 0, wire.thoughts_token_count or 0
    total = wire.total_token_count or 0
    if not (given or answered or thought or total):
        return None
    cached = wire.cached_content_token_count or 0
    heard = _audio(wire.prompt_tokens_details) + _audio(wire.tool_use_prompt_tokens_details)
    spoken = _audio(wire.candidates_tokens_details)
    # Some gateways count the thoughts among the output.
    made = answered if thought and given + answered == total else answered + thought
    usage = Usage(
        input_tokens=given,
        output_tokens=made,
        cache_read_tokens=cached,
        input_audio_tokens=max(0, heard - _audio(wire.cache_tokens_details)),
        reasoning_tokens=thought,
        output_audio_tokens=spoken,
    )
    return usage if cached + heard <= given and thought + spoken <= made else balanced(usage)


def _audio(details: Sequence[ModalityCount] | None) -> int:
    if not details:
        return 0
    return sum([each.token_count or 0 for each in details if each.modality == "AUDIO"])
