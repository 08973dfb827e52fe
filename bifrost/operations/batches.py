"""The operations on batches: chats that a provider runs later, within hours, for a lower price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Never, cast

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.chat.options import map_request
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.files import FilesResponse, id_of, model_of
from bifrost.operations.typed import read_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENDED: Final = frozenset(["completed", "failed", "expired", "cancelled"])
"""The statuses of a batch that no longer changes."""


class BatchInputRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to upload the requests of a batch."""

    model: str
    """The model of all requests."""
    requests: dict[str, Any]
    """The requests (`ChatRequest`), by the custom ids of their results."""


class BatchRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request about batches."""

    model: str
    """The provider, followed by a slash."""
    action: Literal["list", "create", "retrieve", "cancel"] = "list"
    """What to do."""
    id: str | None = None
    """The id of the batch to retrieve or cancel."""
    input_file_id: str | None = None
    """The file with the requests of a new batch."""
    completion_window: str | None = None
    """The time in which a new batch is processed. `None`: 24 hours."""
    metadata: dict[str, str] | None = None
    """Notes of your own on a new batch."""
    limit: int | None = None
    """The most batches of a page of a list. `None`: the provider's default."""
    after: str | None = None
    """The last batch of the previous page of a list. `None`: the first page."""


class BatchResultsRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for the results in a file of a batch."""

    model: str
    """The provider, followed by a slash."""
    id: str
    """The id of the file."""


class Batch(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch as its provider describes it. `None` means that the provider does not report it."""

    id: str
    """The id of the batch."""
    status: str = ""
    """`validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, `cancelling` or `cancelled`."""
    input_file_id: str | None = None
    """The file with the requests."""
    output_file_id: str | None = None
    """The file with the results of requests that succeeded."""
    error_file_id: str | None = None
    """The file with the results of requests that failed."""
    created: int | None = None
    """When it was created, in seconds since 1970."""
    expires: int | None = None
    """When it will expire, in seconds since 1970."""
    total: int | None = None
    """The number of requests."""
    completed: int | None = None
    """The number of requests that succeeded."""
    failed: int | None = None
    """The number of requests that failed."""
    errors: list[str] = []
    """Why the whole batch failed."""
    metadata: dict[str, str] | None = None
    """Your notes."""

    @property
    def is_ended(self) -> bool:
        """Whether it no longer changes."""
        return self.status in ENDED


class BatchesResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch, or one page of a list of batches."""

    data: list[Batch]
    """The batches."""
    next: str | None = None
    """The value of `after` for the next page; `None` on the last page."""
    model: str = ""
    """Always empty."""
    provider: str = ""
    """The provider that responded."""
    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""
    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""
    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""
    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""
    raw: bytes = b""
    """The provider's response as bytes."""

    @property
    def batch(self) -> Batch:
        """The batch that was created, retrieved or cancelled; the first batch of a list."""
        if not self.data:
            raise AttributeError("the list has no batches")
        return self.data[0]

    @property
    def id(self) -> str:
        """The id of `batch`."""
        return self.batch.id

    @property
    def is_ended(self) -> bool:
        """Whether `batch` no longer changes."""
        return self.batch.is_ended

    def __repr__(self) -> str:
        more = f", next={self.next!r}" if self.next else ""
        shown = [(batch.id, batch.status) for batch in self.data[:3]]
        return f"BatchesResponse({self.provider}: {shown} of {len(self.data)}{more})"

    def _repr_html_(self) -> str:
        rows = [(batch.id, batch.status, batch.total, batch.completed, batch.failed) for batch in self.data]
        return block(table(("id", "status", "total", "completed", "failed"), rows), note(self.provider))


class BatchError(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request of a batch has no response."""

    message: str
    """The provider's message."""
    code: str | None = None
    """The provider's code, such as `batch_expired`."""
    status: int | None = None
    """The HTTP status of the request, if it has one."""


class BatchResult(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of one request of a batch: either `response` or `error`."""

    custom_id: str
    """The id of the request."""
    response: ChatResponse | None = None
    """The response."""
    error: BatchError | None = None
    """The error."""


class BatchResults(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results in a file of a batch, in the order of the file, which is not that of the requests."""

    data: list[BatchResult]
    """The results."""
    model: str = ""
    """Always empty."""
    provider: str = ""
    """The provider that responded."""
    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""
    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""
    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""
    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    def __repr__(self) -> str:
        return f"BatchResults({self.provider}: {len(self.data)} results)"


BATCH_INPUT: Final = Operation[BatchInputRequest, FilesResponse, Never](
    name="batch_input", request=BatchInputRequest, response=FilesResponse
)
BATCHES: Final = Operation[BatchRequest, BatchesResponse, Never](
    name="batches", request=BatchRequest, response=BatchesResponse, asks_provider=True
)
BATCH_RESULTS: Final = Operation[BatchResultsRequest, BatchResults, Never](
    name="batch_results", request=BatchResultsRequest, response=BatchResults, asks_provider=True
)


def input_request(model: object, requests: object) -> BatchInputRequest:
    """Return a request to upload chats. Raises `InvalidRequestError`, also for one that is to another model."""
    name = read_as(model, str, "model")
    items: Mapping[object, Any]
    if isinstance(requests, dict):
        items = cast("dict[object, Any]", requests)
    elif isinstance(requests, str) or not hasattr(requests, "__iter__"):
        raise InvalidRequestError("requests: expected a list of requests, or a dict of requests by their custom ids")
    else:
        items = {f"request-{index}": item for index, item in enumerate(cast("Iterable[Any]", requests))}
    if not items:
        raise InvalidRequestError("requests: a batch has at least one request")
    chats: dict[str, Any] = {}
    for key, item in items.items():
        chat = map_request(item, model=name, system=None, options={})
        if chat.model != name:
            raise InvalidRequestError(f"requests[{key!r}]: all requests of a batch have one model, {name!r}")
        chats[read_as(key, str, "a custom id")] = chat
    return BatchInputRequest(model=name, requests=chats)


def create_request(provider: str, file_id: str, *, completion_window: object, metadata: object) -> BatchRequest:
    """Return a request for a new batch. Raises `InvalidRequestError` for an argument of the wrong type."""
    form = {"model": model_of(provider), "action": "create", "input_file_id": file_id}
    return read_as({**form, "completion_window": completion_window, "metadata": metadata}, BatchRequest, "")


def batch_request(provider: str, batch_id: str, action: str) -> BatchRequest:
    """Return a request to retrieve or cancel a batch."""
    return read_as({"model": model_of(provider), "id": id_of(batch_id), "action": action}, BatchRequest, "")


def batch_list_request(provider: object, *, limit: object, after: object) -> BatchRequest:
    """Return a request for a list of batches. Raises `InvalidRequestError` for an argument of the wrong type."""
    return read_as({"model": model_of(provider), "limit": limit, "after": after}, BatchRequest, "")


def place_of(batch: object, provider: object, key: str | None) -> tuple[str, str, str | None]:
    """Return the id of a batch, its provider, and the name of the key that it belongs to, if it is known.

    Raises `InvalidRequestError` for an id without a provider.
    """
    if isinstance(batch, BatchesResponse):
        attempt = batch.attempts[-1] if batch.attempts else None
        return batch.id, batch.provider, key or (attempt.key if attempt is not None else None)
    if provider is None:
        raise InvalidRequestError("provider: the id of a batch does not name its provider; give provider=")
    return id_of(batch), read_as(provider, str, "provider"), key
