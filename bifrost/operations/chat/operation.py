"""Chat as an operation."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from bifrost.operations.base import Operation, Streaming
from bifrost.operations.chat import structured
from bifrost.operations.chat.assemble import ChatAccumulator, chunks_of
from bifrost.operations.chat.chunks import Chunk, StreamReset
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse

CHAT: Final = Operation[ChatRequest, ChatResponse, Chunk](
    name="chat",
    request=ChatRequest,
    response=ChatResponse,
    streaming=Streaming[Chunk, ChatResponse](
        chunk=Chunk,
        accumulator=ChatAccumulator,
        chunks_of=chunks_of,
        has_content=attrgetter("has_content"),
        text=attrgetter("text"),
        reset=StreamReset,
    ),
    structured=structured,
)
