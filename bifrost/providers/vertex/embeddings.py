"""Vertex AI's embeddings, by `predict` or, for the multimodal models of Gemini, by `embedContent`.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import UnsupportedError
from bifrost.operations.embeddings import Embedding, EmbeddingResponse
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.chat import built
from bifrost.providers.gemini.embeddings import inputs_of, shapeless, task_of, vector_of
from bifrost.providers.gemini.embeddings import parse_embeddings as parse_content
from bifrost.providers.gemini.errors import reported_error
from bifrost.providers.sizes import SPARSE, VECTORS_LIMIT, check_count
from bifrost.providers.vertex.fields import EMBEDDINGS
from bifrost.providers.vertex.settings import model_path
from bifrost.wire import json

if TYPE_CHECKING:
    from bifrost.operations.embeddings import EmbeddingRequest
    from bifrost.providers.base import Built, Target
    from bifrost.wire.http import HttpResponse

_BY_CONTENT = re.compile(r"gemini-embedding-(?!001(?!\d))")


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Vector(msgspec.Struct):
    values: msgspec.Raw = msgspec.Raw(b"")
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Vector | None = None


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction] | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_PREDICTIONS = msgspec.json.Decoder(_Predictions, strict=False)


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request for embeddings.

    Raises `InvalidRequestError` for token numbers, and if there is no input, and `UnsupportedError` for images or
    several inputs that the model does not accept.
    """
    warnings = EMBEDDINGS.check(request, target)
    by_content = _is_by_content(target.model)
    body = _content(request, target) if by_content else _instances(request, target)
    merge_extra(body, request.extra, target)
    return built(model_path(target, "embedContent" if by_content else "predict"), body, warnings, request)


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return the vectors, in the order of the inputs.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    if _is_by_content(target.model):
        return parse_content(response, target)
    wire = json.decode(response.body, _PREDICTIONS, what="the response", sparse=SPARSE)
    if bytes(wire.error) not in (b"", b"null"):
        raise reported_error(response.body)
    found = [each.embeddings or _Vector() for each in wire.predictions or ()]
    if not found:
        raise shapeless(response.body, "no embeddings")
    check_count(len(found), VECTORS_LIMIT, what="vectors")
    tokens = sum(int(each.statistics.token_count or 0) for each in found if each.statistics is not None)
    return EmbeddingResponse(
        data=[
            Embedding(embedding=vector_of(each.values, place, response.body), index=place)
            for place, each in enumerate(found)
        ],
        model=target.model,
        usage=Usage(input_tokens=tokens) if tokens else NO_USAGE,
        provider=target.provider,
        raw=response.body,
    )


def _is_by_content(model: str) -> bool:
    return _BY_CONTENT.search(model) is not None


def _content(request: EmbeddingRequest, target: Target) -> dict[str, Any]:
    """Return the body for the only input. Several parts would become one vector."""
    parts = inputs_of(request)
    if len(parts) > 1:
        raise _unsupported(target, "takes one input in a request; embed each input in a call of its own")
    body: dict[str, Any] = {"content": {"parts": parts}}
    if request.input_type is not None:
        body["taskType"] = task_of(request.input_type)
    return body | _options(request)


def _instances(request: EmbeddingRequest, target: Target) -> dict[str, Any]:
    if request.images:
        raise _unsupported(target, "takes texts only; leave out images, or use gemini-embedding-2")
    task = {} if request.input_type is None else {"task_type": task_of(request.input_type)}
    body: dict[str, Any] = {"instances": [{"content": part["text"], **task} for part in inputs_of(request)]}
    options = _options(request)
    return {**body, "parameters": options} if options else body


def _options(request: EmbeddingRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if request.dimensions is not None:
        options["outputDimensionality"] = request.dimensions
    if request.truncate in {"none", "end"}:
        options["autoTruncate"] = request.truncate == "end"
    return options


def _unsupported(target: Target, problem: str) -> UnsupportedError:
    return UnsupportedError(
        f"{target.provider}: {target.model} {problem}", provider=target.provider, model=target.model
    )
