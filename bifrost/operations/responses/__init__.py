"""The Responses operation: OpenAI's Responses API, native or over a chat."""

from __future__ import annotations

from bifrost.operations.responses.assemble import ResponsesAccumulator
from bifrost.operations.responses.chunks import ResponsesChunk, ResponsesReset
from bifrost.operations.responses.content import (
    Content,
    InputFile,
    InputImage,
    InputText,
    OpaqueContent,
    OutputRefusal,
    OutputText,
)
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    CustomToolCallOutputItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)
from bifrost.operations.responses.parsed_response import ParsedResponsesResponse
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesError, ResponsesResponse

__all__ = [
    "Content",
    "CustomToolCallItem",
    "CustomToolCallOutputItem",
    "FunctionCallItem",
    "FunctionCallOutputItem",
    "InputFile",
    "InputImage",
    "InputText",
    "Item",
    "MessageItem",
    "OpaqueContent",
    "OpaqueItem",
    "OutputRefusal",
    "OutputText",
    "ParsedResponsesResponse",
    "ReasoningItem",
    "ResponsesAccumulator",
    "ResponsesChunk",
    "ResponsesError",
    "ResponsesRequest",
    "ResponsesReset",
    "ResponsesResponse",
]
