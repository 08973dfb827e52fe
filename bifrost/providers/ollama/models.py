"""The models that an Ollama server has: https://docs.ollama.com/api/tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import MODELS, ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.ollama.errors import reported_error
from bifrost.providers.ollama.fields import MODELS as FIELDS
from bifrost.providers.ollama.moments import seconds_of
from bifrost.providers.openai.answer import decode_answer, text_of
from bifrost.providers.sizes import MODELS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct):
    name: Any = None
    model: Any = None
    modified_at: Any = None


class _Models(msgspec.Struct):
    models: list[_Model] | None = None
    error: Any = None


_MODELS = msgspec.json.Decoder(_Models, strict=False)


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Return the HTTP request for the models."""
    request_ = HttpRequest(method="GET", path="/api/tags", source=request)
    return Built(request=request_, warnings=FIELDS.check(request, target))


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Return the models that a body contains. The time of a model is that of its last change on the server."""
    wire = decode_answer(response.body, _MODELS, _Models)
    if wire.error:
        raise reported_error(response.body)
    if wire.models is None:
        raise MalformedResponseError(f"the response has no models; {json.excerpt(response.body)}")
    check_count(len(wire.models), MODELS_LIMIT, what="models")
    named = ((text_of(each.model) or text_of(each.name), each) for each in wire.models)
    return ModelsResponse(
        data=[
            ModelInfo(
                id=model_id,
                provider=target.provider,
                name=text_of(each.name) or None,
                created=seconds_of(text_of(each.modified_at)),
            )
            for model_id, each in named
            if model_id
        ],
        provider=target.provider,
        raw=response.body,
    )


CODEC = Codec[ModelsRequest, ModelsResponse](operation=MODELS, build=build_models, parse=parse_models, fields=FIELDS)
