"""The rerank operation: documents in the order of their relevance to a query."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Never, TypeAlias

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as
from bifrost.operations.usage import NO_USAGE, Usage

__all__ = [
    "RERANK",
    "RerankDocument",
    "RerankRequest",
    "RerankResponse",
    "RerankResult",
    "check_rerank",
    "rerank_request",
    "with_documents",
]

RerankDocument: TypeAlias = str | dict[str, Any]
"""A document: its text, or an object with named fields. The only field `text` means the text itself."""


class RerankRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query, and documents to order by their relevance to it. `None` means the provider's default."""

    model: str
    """`provider/model`, or the name of a model group."""

    query: str
    """The query."""

    documents: list[RerankDocument]
    """The documents."""

    top_n: int | None = None
    """The most results to return. `None`: one for each document."""

    max_tokens_per_doc: int | None = None
    """The tokens after which a document is cut off."""

    return_documents: bool = False
    """Whether each result contains its document. It is taken from the request and not transferred again."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class RerankResult(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The relevance of one document."""

    index: int
    """The position of the document in the request, from 0."""

    relevance_score: float
    """The relevance, usually from 0 to 1. Scores of different models or queries are not comparable."""

    document: RerankDocument | None = None
    """The document; `None` unless `return_documents` was set."""


class RerankResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results, the most relevant first."""

    results: list[RerankResult]
    """The results."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports, or else the requested one."""

    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""

    search_units: int | None = None
    """The searches that are billed, for providers that count searches and not tokens; otherwise `None`."""

    provider: str = ""
    """The provider that responded."""

    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""

    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""

    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""

    cost: Decimal | None = None
    """The cost of the call, in US dollars; `None` if it is unknown."""

    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    raw: bytes = b""
    """The provider's response as bytes."""

    @property
    def order(self) -> list[int]:
        """The positions of the documents, the most relevant first."""
        return [result.index for result in self.results]

    def to_dict(self) -> dict[str, Any]:
        """Return the response in Cohere's form, which most providers use."""
        results: list[dict[str, Any]] = [
            {"index": each.index, "relevance_score": each.relevance_score}
            | ({} if each.document is None else {"document": each.document})
            for each in self.results
        ]
        return {"id": self.id, "model": self.model, "results": results}

    def __repr__(self) -> str:
        return f"RerankResponse({self.provider}/{self.model}: {len(self.results)} results)"

    def _repr_html_(self) -> str:
        rows = [(each.index, f"{each.relevance_score:.4f}", _excerpt(each.document)) for each in self.results]
        spent = bool(self.usage) and f"{self.usage.input_tokens} tokens"
        return block(table(("index", "relevance", "document"), rows), note(f"{self.provider}/{self.model}", spent))


_SHOWN = 80

RERANK: Final = Operation[RerankRequest, RerankResponse, Never](
    name="rerank", request=RerankRequest, response=RerankResponse
)


def rerank_request(model: str, query: object, documents: object, **options: Any) -> RerankRequest:
    """Return a request for a query and documents.

    Raises `InvalidRequestError` if there is nothing to order, or a document is neither text nor a dict.
    """
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes | bytearray):
        raise InvalidRequestError(f"documents: expected a list of texts or dicts, got {type(documents).__name__}")
    given: list[Any] = [*documents]
    if not given or any(document in ("", {}) for document in given):
        raise InvalidRequestError("documents: there is nothing to order; pass at least one document, and no empty ones")
    if query == "":
        raise InvalidRequestError("query: it is empty; pass the text that the documents should be relevant to")
    top_n = options.get("top_n")
    if isinstance(top_n, int) and top_n < 1:
        raise InvalidRequestError(f"top_n: at least one result is returned, not {top_n}")
    return read_as({"model": model, "query": query, "documents": given, **options}, RerankRequest, "")


def check_rerank(request: RerankRequest, response: RerankResponse) -> None:
    """Check that each result is about a document of the request, and none about the same one.

    Raises `MalformedResponseError` if not.
    """
    count, order = len(request.documents), response.order
    if len(set(order)) != len(order) or any(not 0 <= index < count for index in order):
        raise MalformedResponseError(
            f"the response cannot be read: it has results for the documents {order[:5]} of {count} documents"
        )


def with_documents(response: RerankResponse, request: RerankRequest) -> RerankResponse:
    """Return the response with the document of each result, if the request asks for them."""
    if not request.return_documents:
        return response
    documents = dict(enumerate(request.documents))
    results = [
        msgspec.structs.replace(each, document=documents.get(each.index, each.document)) for each in response.results
    ]
    return msgspec.structs.replace(response, results=results)


def _excerpt(document: RerankDocument | None) -> str:
    text = "" if document is None else str(document)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
