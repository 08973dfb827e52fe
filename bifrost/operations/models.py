"""The operation that lists a provider's models."""

from __future__ import annotations

from typing import Final, Never

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as


class ModelsRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for a provider's models."""

    model: str = ""
    """The provider, followed by a slash."""

    limit: int | None = None
    """The most models of a page. `None`: the provider's default."""

    after: str | None = None
    """The last model of the previous page, for providers with pages. `None`: the first page."""


class ModelInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model as its provider describes it. `None` means that the provider does not report it."""

    id: str
    """The name of the model at the provider."""

    provider: str = ""
    """The name of the provider."""

    name: str | None = None
    """A name for display."""

    created: int | None = None
    """When the model was published, in seconds since 1970."""

    owned_by: str | None = None
    """The owner of the model."""

    context_window: int | None = None
    """The most tokens of input and output together."""

    max_output_tokens: int | None = None
    """The most tokens of output."""


class ModelsResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of a provider's models."""

    data: list[ModelInfo]
    """The models."""

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

    def __repr__(self) -> str:
        more = f", next={self.next!r}" if self.next else ""
        return f"ModelsResponse({self.provider}: {len(self.data)} models{more})"

    def _repr_html_(self) -> str:
        columns = ("id", "name", "context_window", "max_output_tokens", "owned_by")
        rows = [[getattr(model, column) for column in columns] for model in self.data]
        titles = [column.replace("_", " ") for column in columns]
        return block(
            table(titles, rows), note(self.provider, f"{len(self.data)} models", self.next and f"next: {self.next}")
        )


MODELS: Final = Operation[ModelsRequest, ModelsResponse, Never](
    name="models", request=ModelsRequest, response=ModelsResponse, asks_provider=True
)


def models_request(provider: object, *, limit: object, after: object) -> ModelsRequest:
    """Return a request for the models of a provider. Raises `InvalidRequestError` for an argument of the wrong type."""
    name = read_as(provider, str, "provider")
    if isinstance(limit, int) and limit < 1:
        raise InvalidRequestError(f"limit: a page has at least one model, not {limit}")
    return read_as({"model": f"{name}/", "limit": limit, "after": after}, ModelsRequest, "")
