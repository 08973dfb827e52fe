"""Cohere's list of models: https://docs.cohere.com/reference/list-models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from bifrost.operations.models import MODELS, ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.cohere.fields import MODELS as FIELDS
from bifrost.providers.cohere.wire import count_of, decode, shapeless, text_of
from bifrost.providers.sizes import MODELS_LIMIT, check_count
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct):
    name: Any = None
    id: Any = None
    """The name in the lists of gateways."""
    context_length: Any = None


class _Page(msgspec.Struct):
    models: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    data: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    next_page_token: Any = None


_PAGE = msgspec.json.Decoder(_Page, strict=False)
_NEEDED = frozenset(["models"])


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Return the HTTP request for a page of models."""
    asked = {"page_size": request.limit, "page_token": request.after}
    query = urlencode({name: value for name, value in asked.items() if value is not None}, quote_via=quote)
    path = "/v1/models" + (f"?{query}" if query else "")
    return Built(request=HttpRequest(method="GET", path=path, source=request), warnings=FIELDS.check(request, target))


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Return the page of models that a body contains. Raises `ReportedError` and `MalformedResponseError`."""
    page = decode(response.body, _PAGE, _Page, needed=_NEEDED)
    models = page.data if page.models is msgspec.UNSET else page.models
    if models is msgspec.UNSET:
        raise reported_error(response.body) or shapeless(response.body, "no models")
    check_count(len(models or ()), MODELS_LIMIT, what="models")
    return ModelsResponse(
        data=[_info(model, target) for model in models or () if _name_of(model)],
        next=text_of(page.next_page_token) or None,
        provider=target.provider,
        raw=response.body,
    )


def _name_of(model: _Model) -> str:
    return text_of(model.name) or text_of(model.id)


def _info(model: _Model, target: Target) -> ModelInfo:
    return ModelInfo(
        id=_name_of(model), provider=target.provider, context_window=count_of(model.context_length) or None
    )


CODEC = Codec[ModelsRequest, ModelsResponse](operation=MODELS, build=build_models, parse=parse_models, fields=FIELDS)
"""The codec of the list of models."""
