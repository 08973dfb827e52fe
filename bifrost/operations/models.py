"""The model list operation."""

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
    """Ask a provider what models it has. `model` stays empty: the question is put to the provider."""

    model: str = ""
    limit: int | None = None
    after: str | None = None
    """Start after this model, where the provider gives its list in pages."""


class ModelInfo(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model as its provider describes it."""

    id: str
    provider: str = ""
    name: str | None = None
    created: int | None = None
    owned_by: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None


class ModelsResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of a provider's models; `next` is what to give as `after` for the page behind it."""

    data: list[ModelInfo]
    next: str | None = None
    model: str = ""
    provider: str = ""
    request_id: str | None = None
    attempts: list[AttemptRecord] = []
    warnings: list[str] = []
    rate_limit: RateLimit | None = None
    """What the provider told of its allowances with this answer."""
    raw: bytes = b""

    def __repr__(self) -> str:
        more = f", next={self.next!r}" if self.next else ""
        return f"ModelsResponse({self.provider}: {len(self.data)} models{more})"

    def _repr_html_(self) -> str:
        columns = ("id", "name", "context_window", "max_output_tokens", "owned_by")
        rows = [[getattr(model, column) for column in columns] for model in self.data]
        told = [column.replace("_", " ") for column in columns]
        return block(
            table(told, rows), note(self.provider, f"{len(self.data)} models", self.next and f"next: {self.next}")
        )


MODELS: Final = Operation[ModelsRequest, ModelsResponse, Never](
    name="models", request=ModelsRequest, response=ModelsResponse, asks_provider=True
)


def models_request(provider: object, *, limit: object, after: object) -> ModelsRequest:
    """Make a request of the name of a provider. Raises `InvalidRequestError` for an argument of the wrong type."""
    name = read_as(provider, str, "provider")
    if isinstance(limit, int) and limit < 1:
        raise InvalidRequestError(f"limit: a page has at least one model, not {limit}")
    return read_as({"model": f"{name}/", "limit": limit, "after": after}, ModelsRequest, "")
