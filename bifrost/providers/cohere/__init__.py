"""Cohere's API, and the provider."""

from __future__ import annotations

from bifrost.providers.base import Provider
from bifrost.providers.cohere import rerank
from bifrost.providers.cohere.errors import parse_error

__all__ = ["COHERE"]

COHERE = Provider(
    name="cohere",
    base_url="https://api.cohere.com",
    codecs={"rerank": rerank.CODEC},
    parse_error=parse_error,
    key_variables=("COHERE_API_KEY",),
    # The names of Cohere's own SDK.
    other_key_variables=("CO_API_KEY",),
    base_url_variable="COHERE_BASE_URL",
    other_base_url_variables=("CO_API_URL",),
    docs="https://docs.cohere.com/reference/about",
)
