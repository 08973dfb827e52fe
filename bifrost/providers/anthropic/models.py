"""Anthropic's list of models: https://platform.claude.com/docs/en/api/models/list."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.anthropic.errors import reported_error
from bifrost.providers.anthropic.fields import MODELS
from bifrost.providers.base import Built
from bifrost.providers.sizes import MODELS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct):
    id: str
    display_name: str | None = None
    created_at: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _Page(msgspec.Struct):
    type: str | None = None
    data: list[_Model] | None = None
    has_more: bool | None = None
    last_id: str | None = None


_PAGE = msgspec.json.Decoder(_Page, strict=False)


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Return the HTTP request for a page of models (20 unless `limit` is set)."""
    asked = {"limit": request.limit, "after_id": request.after}
    query = urlencode({name: value for name, value in asked.items() if value is not None}, quote_via=quote)
    path = "/v1/models" + (f"?{query}" if query else "")
    return Built(request=HttpRequest(method="GET", path=path, source=request), warnings=MODELS.check(request, target))


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Return the page of models that a body contains."""
    page = json.decode(response.body, _PAGE, what="the list of models")
    if page.type == "error":
        raise reported_error(response.body)
    if page.data is None:
        raise MalformedResponseError("the response is JSON, but no list of models: it has no data")
    check_count(len(page.data), MODELS_LIMIT, what="models")
    return ModelsResponse(
        data=[_info(model, target.provider) for model in page.data],
        next=page.last_id if page.has_more else None,
        provider=target.provider,
        raw=response.body,
    )


def _info(model: _Model, provider: str) -> ModelInfo:
    return ModelInfo(
        id=model.id,
        provider=provider,
        name=model.display_name,
        created=_seconds(model.created_at),
        context_window=model.max_input_tokens,
        max_output_tokens=model.max_tokens,
    )


def _seconds(moment: str | None) -> int | None:
    try:
        return int(datetime.fromisoformat(moment).timestamp()) if moment else None
    except (ValueError, OverflowError):
        return None  # an invalid date must not invalidate the list
