"""OpenAI's Responses API: https://platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bifrost.operations.responses.operation import RESPONSES
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.providers.base import Codec
from bifrost.providers.openai.responses.answer import is_whole, parse_responses
from bifrost.providers.openai.responses.build import build_responses
from bifrost.providers.openai.responses.fields import responses_fields
from bifrost.providers.openai.responses.stream import ResponsesDecoder

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["responses_codec"]


def responses_codec(lacks: Collection[str] = ()) -> Codec[ResponsesRequest, ResponsesResponse]:
    """Return the codec of a server whose Responses API lacks these fields of the request."""
    fields = responses_fields(lacks)
    return Codec[ResponsesRequest, ResponsesResponse](
        operation=RESPONSES,
        build=partial(build_responses, fields=fields),
        parse=parse_responses,
        decoder=ResponsesDecoder,
        is_whole=is_whole,
        fields=fields,
    )
