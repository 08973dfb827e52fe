"""Gemini's list of models: https://ai.google.dev/api/models#method:-models.list."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.base import Built
from bifrost.providers.gemini.errors import reported_error
from bifrost.providers.gemini.fields import MODELS
from bifrost.providers.sizes import MODELS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Model] | None = None
    next_page_token: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_PAGE = msgspec.json.Decoder(_Page, strict=False)


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Return the HTTP request for a page of models (50 unless `limit` is set). `after` is the token of the page."""
    asked = {"pageSize": request.limit, "pageToken": request.after}
    query = urlencode({name: value for name, value in asked.items() if value is not None}, quote_via=quote)
    path = "/v1beta/models" + (f"?{query}" if query else "")
    return Built(request=HttpRequest(method="GET", path=path, source=request), warnings=MODELS.check(request, target))


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Return the page of models that a body contains."""
    page = json.decode(response.body, _PAGE, what="the list of models")
    if bytes(page.error) not in (b"", b"null"):
        raise reported_error(response.body)
    if page.models is None and page.next_page_token is None and response.body.strip() != b"{}":
        raise MalformedResponseError("the response is JSON, but no list of models: it has no models")
    models = page.models or []
    check_count(len(models), MODELS_LIMIT, what="models")
    return ModelsResponse(
        data=[_info(model, target.provider) for model in models],
        next=page.next_page_token or None,
        provider=target.provider,
        raw=response.body,
    )


def _info(model: _Model, provider: str) -> ModelInfo:
    return ModelInfo(
        id=model.name.removeprefix("models/"),
        provider=provider,
        name=model.display_name,
        context_window=model.input_token_limit,
        max_output_tokens=model.output_token_limit,
    )
