"""Compaction: a long conversation becomes a shorter one, which the same provider can continue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import msgspec

from bifrost.frozen import Value
from bifrost.operations.base import Operation
from bifrost.operations.chat.options import check_names
from bifrost.operations.responses.items import Item
from bifrost.operations.responses.options import responses_request
from bifrost.operations.responses.response import ResponsesResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.responses.options import AnyInput, ResponsesOptions


class CompactionOptions(TypedDict, total=False):
    """The options of a compaction. `CompactionRequest` explains each."""

    instructions: str | None
    previous_response_id: str | None
    service_tier: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    prompt_cache_options: Mapping[str, Any] | None
    extra: Mapping[str, Mapping[str, Any]] | None


class CompactionRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to compact a conversation. The fields are those of a `ResponsesRequest`."""

    model: str
    """`provider/model`, or the name of a model group."""
    input: str | list[Item]
    """The items of the conversation."""
    instructions: str | None = None
    """A system message, which precedes the input."""
    previous_response_id: str | None = None
    """The id of the response that the input continues, which the provider has stored."""
    service_tier: str | None = None
    """The provider's processing tier."""
    prompt_cache_key: str | None = None
    """A key that helps the provider to route similar requests to the same prompt cache."""
    prompt_cache_retention: str | None = None
    """How long the provider keeps the prompt cache: `in_memory` or `24h`."""
    prompt_cache_options: dict[str, Any] | None = None
    """The settings of the prompt cache: `mode` and `ttl`."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


COMPACTIONS: Final = Operation[CompactionRequest, ResponsesResponse, Any](
    name="compactions", request=CompactionRequest, response=ResponsesResponse
)


def compaction_request(model: str, given: AnyInput, options: CompactionOptions) -> CompactionRequest:
    """Return a request to compact a conversation. Raises `InvalidRequestError`."""
    check_names(options, frozenset(CompactionOptions.__annotations__), what="a compaction")
    request = responses_request(model, given, cast("ResponsesOptions", options))
    return CompactionRequest(**{name: getattr(request, name) for name in CompactionRequest.__struct_fields__})
