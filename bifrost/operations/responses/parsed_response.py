"""The response of a call of the Responses API with `output=Type`."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from bifrost.operations.responses.response import ResponsesResponse

T = TypeVar("T")


class ParsedResponsesResponse(ResponsesResponse, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """The response of a call with `output=Type`: a `ResponsesResponse` whose `parsed` is a `Type`.

    While the model calls tools first (`tool_calls`), there is nothing to parse yet, and `parsed` is `None`.
    """

    parsed: T = cast("T", None)
    """The output; `None` while the model calls tools."""
