"""Embeddings with the models of Amazon (Titan, Nova) and Cohere, each in its own format.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.usage import Usage
from bifrost.providers.base import Built
from bifrost.providers.bedrock.errors import reported_error
from bifrost.providers.bedrock.fields import EMBEDDINGS, SPEAKER
from bifrost.providers.bedrock.invoke import invoke_request, invoked_usage
from bifrost.providers.bedrock.media import inline, picture_format
from bifrost.providers.extra import merge_extra
from bifrost.providers.openai.embeddings import vector_of
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_COHERES: Mapping[str, str] = {"query": "search_query", "document": "search_document"}
_COHERES_DEFAULT = "search_document"
"""Sent if the caller does not say what the vectors are for, because Cohere's models require it."""
_NOVAS: Mapping[str, str] = {"query": "GENERIC_RETRIEVAL", "document": "GENERIC_INDEX"}
_NOVAS_DEFAULT = "GENERIC_INDEX"


class _Typed(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw(b"")


class _Embedded(msgspec.Struct):
    """What the three formats say: Titan has one vector, Nova a list of objects, Cohere lists by type or a list."""

    embedding: msgspec.Raw = msgspec.Raw(b"")
    embeddingsByType: dict[str, msgspec.Raw] | None = None  # noqa: N815 - the name on the wire
    embeddings: msgspec.Raw = msgspec.Raw(b"null")
    inputTextTokenCount: int | None = None  # noqa: N815 - the name on the wire


_EMBEDDED = msgspec.json.Decoder(_Embedded, strict=False)
_BY_TYPE: msgspec.json.Decoder[dict[str, list[msgspec.Raw] | None] | list[msgspec.Raw] | None] = msgspec.json.Decoder(
    dict[str, list[msgspec.Raw] | None] | list[msgspec.Raw] | None
)
_TYPED = msgspec.json.Decoder(_Typed)


def build_embeddings(request: EmbeddingRequest, target: Target) -> Built:
    """Return the HTTP request, in the format of the model.

    Raises `InvalidRequestError` if there is nothing to embed, and `UnsupportedError` for what the model does not
    accept, several inputs for example.
    """
    warnings = EMBEDDINGS.check(request, target)
    if not (request.input or request.images):
        raise InvalidRequestError("input: the list is empty; give at least one text")
    if not all(isinstance(text, str) for text in request.input):
        raise EMBEDDINGS.refusal("input", target)
    body = _format_of(target.model.lower())(request, target, warnings)
    merge_extra(body, request.extra, target)
    return Built(request=invoke_request(body, target, source=request), warnings=warnings)


def _format_of(model: str) -> Callable[[EmbeddingRequest, Target, list[str]], dict[str, Any]]:
    if "cohere" in model:
        return _cohere
    return _nova if "nova" in model else _titan


def _cohere(request: EmbeddingRequest, _target: Target, _warnings: list[str]) -> dict[str, Any]:
    purpose = request.input_type or ("image" if request.images and not request.input else _COHERES_DEFAULT)
    body: dict[str, Any] = {"input_type": _COHERES.get(purpose, purpose)}
    if request.input:
        body["texts"] = request.input
    if request.images:
        body["images"] = [json.long_text(url) for url in request.images]
    if request.output_dtype is not None:
        body["embedding_types"] = [request.output_dtype]
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = request.truncate.upper()
    return body


def _nova(request: EmbeddingRequest, target: Target, _warnings: list[str]) -> dict[str, Any]:
    if request.output_dtype not in (None, "float"):
        raise EMBEDDINGS.refusal("output_dtype", target)
    purpose = request.input_type or _NOVAS_DEFAULT
    parameters: dict[str, Any] = {"embeddingPurpose": _NOVAS.get(purpose, purpose.upper())}
    if request.dimensions is not None:
        parameters["embeddingDimension"] = request.dimensions
    text, image = _only_input(request, target)
    if image is None:
        parameters["text"] = {"value": text, "truncationMode": (request.truncate or "none").upper()}
    else:
        media_type, data = _data_of(image)
        source = {"bytes": json.long_text(data)}
        parameters["image"] = {"format": picture_format(media_type, "images[0]"), "source": source}
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters}


def _titan(request: EmbeddingRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    spare = [name for name in ("input_type", "truncate") if getattr(request, name) is not None]
    warnings += [EMBEDDINGS.warning(name, target) for name in spare]
    if "image" in target.model.lower():
        return _titan_image(request, target)
    if request.images:
        raise EMBEDDINGS.refusal("images", target)
    text, _ = _only_input(request, target)
    if request.output_dtype not in (None, "float", "binary"):
        raise EMBEDDINGS.refusal("output_dtype", target)
    body: dict[str, Any] = {"inputText": text}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.output_dtype is not None:
        body["embeddingTypes"] = [request.output_dtype]
    return body


def _titan_image(request: EmbeddingRequest, target: Target) -> dict[str, Any]:
    if request.output_dtype not in (None, "float"):
        raise EMBEDDINGS.refusal("output_dtype", target)
    text, image = _only_input(request, target)
    body: dict[str, Any] = {"inputText": text} if image is None else {"inputImage": json.long_text(_data_of(image)[1])}
    if request.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
    return body


def _only_input(request: EmbeddingRequest, target: Target) -> tuple[str | None, str | None]:
    """Return the only text, or the only image."""
    images = request.images or []
    if len(request.input) + len(images) > 1:
        raise UnsupportedError(
            f"{SPEAKER} embeds one input per request with {target.model}; call embed() for each input",
            provider=target.provider,
            model=target.model,
            param="input" if request.input else "images",
        )
    return (str(request.input[0]), None) if request.input else (None, images[0])


def _data_of(url: str) -> tuple[str | None, str]:
    media_type, data = inline(None, None, url)
    if data is None:
        raise UnsupportedError(f"{SPEAKER} fetches no picture from a web address; give it as a data: URL")
    return media_type, data


def parse_embeddings(response: HttpResponse, target: Target) -> EmbeddingResponse:
    """Return the vectors, in the order of the inputs. Of several types, floating-point numbers are preferred.

    Raises `ReportedError` for an exception with a success status, and `MalformedResponseError` for other content.
    """
    wire = json.decode(response.body, _EMBEDDED, what="the response")
    found = _vectors(wire)
    if not found:
        raise reported_error(response.body) or MalformedResponseError(
            f"the response cannot be read: it has no vectors; {json.excerpt(response.body)}"
        )
    check_count(len(found), VECTORS_LIMIT, what="vectors")
    usage = invoked_usage(response.headers)
    return EmbeddingResponse(
        data=[
            Embedding(embedding=vector_of(vector, response.body, what=f"embeddings[{place}]"), index=place)
            for place, vector in enumerate(found)
        ],
        model=target.model,
        usage=usage or Usage(input_tokens=wire.inputTextTokenCount or 0),
        provider=target.provider,
        raw=response.body,
    )


def _vectors(wire: _Embedded) -> list[msgspec.Raw]:
    if wire.embedding and bytes(wire.embedding) != b"null":
        return [wire.embedding]
    if wire.embeddingsByType:
        return [wire.embeddingsByType.get("float") or next(iter(wire.embeddingsByType.values()))]
    found = json.decode(wire.embeddings, _BY_TYPE, what="the vectors of the response")
    if isinstance(found, dict):
        found = found.get("float") or next((vectors for vectors in found.values() if vectors), None)
    return [_plain(vector) for vector in found or ()]


def _plain(vector: msgspec.Raw) -> msgspec.Raw:
    """Return the numbers of a vector, which Nova puts into an object."""
    is_object = bytes(memoryview(vector)[:1]) == b"{"
    return json.decode(vector, _TYPED, what="a vector of the response").embedding if is_object else vector
