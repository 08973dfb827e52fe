"""The Responses API as an operation."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from bifrost.operations.base import Operation, Streaming
from bifrost.operations.responses import structured
from bifrost.operations.responses.assemble import ResponsesAccumulator, chunks_of
from bifrost.operations.responses.chunks import ResponsesChunk, ResponsesReset
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesResponse

RESPONSES: Final = Operation[ResponsesRequest, ResponsesResponse, ResponsesChunk](
    name="responses",
    request=ResponsesRequest,
    response=ResponsesResponse,
    streaming=Streaming[ResponsesChunk, ResponsesResponse](
        chunk=ResponsesChunk,
        accumulator=ResponsesAccumulator,
        chunks_of=chunks_of,
        has_content=attrgetter("has_content"),
        text=attrgetter("text"),
        reset=ResponsesReset,
    ),
    structured=structured,
)
