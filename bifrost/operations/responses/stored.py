"""Operations on responses that a provider has stored: retrieve, resume, cancel, delete, list the input."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.operations.base import Operation, Streaming
from bifrost.operations.responses.assemble import ResponsesAccumulator, chunks_of
from bifrost.operations.responses.chunks import ResponsesChunk
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.typed import read_as


class StoredResponseRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request about a stored response."""

    model: str
    """`provider/`: it concerns no model."""
    id: str
    """The id of the response."""
    action: Literal["retrieve", "cancel", "delete", "input_items"] = "retrieve"
    """What to do with it."""
    include: list[str] | None = None
    """What the response contains in addition, as in a `ResponsesRequest`."""
    starting_after: int | None = None
    """Of a stream: the number of the last event that was received. `None`: from the beginning."""
    after: str | None = None
    """Of the items of the input: the id of the item after which the list begins. `None`: from the beginning."""


STORED_RESPONSES: Final = Operation[StoredResponseRequest, ResponsesResponse, ResponsesChunk](
    name="stored_responses",
    request=StoredResponseRequest,
    response=ResponsesResponse,
    streaming=Streaming[ResponsesChunk, ResponsesResponse](
        chunk=ResponsesChunk,
        accumulator=ResponsesAccumulator,
        chunks_of=chunks_of,
        has_content=attrgetter("has_content"),
        text=attrgetter("text"),
    ),
    asks_provider=True,
)


def stored_request(
    provider: object,
    response_id: object,
    action: str,
    *,
    include: object = None,
    starting_after: object = None,
    after: object = None,
) -> StoredResponseRequest:
    """Return a request about a stored response. Raises `InvalidRequestError` for an argument of the wrong type."""
    name = read_as(provider, str, "provider")
    if not isinstance(response_id, str) or not response_id.strip("./"):
        raise InvalidRequestError(f"id: expected the id of a response, got {response_id!r}")
    form = {"model": f"{name}/", "id": response_id, "action": action}
    more = {"include": include, "starting_after": starting_after, "after": after}
    return read_as({**form, **more}, StoredResponseRequest, "")
