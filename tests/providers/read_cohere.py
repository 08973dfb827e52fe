"""Recorded bodies of Cohere, read as a caller would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.operations.rerank import RerankRequest, rerank_request

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_rerank(body: Mapping[str, Any]) -> RerankRequest:
    """Read the body of a rerank request."""
    given = {name: value for name, value in body.items() if value is not None}
    return rerank_request(given.pop("model"), given.pop("query"), given.pop("documents"), **given)
