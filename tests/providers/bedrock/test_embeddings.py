"""Embeddings of Bedrock in the formats of Titan, Nova and Cohere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.bedrock import BEDROCK
from bifrost.testing import MockTransport
from bifrost.wire.http import Headers, HttpResponse

CODEC = BEDROCK.codecs["embeddings"]
TITAN, TITAN_IMAGE = "amazon.titan-embed-text-v2:0", "amazon.titan-embed-image-v1"
NOVA, COHERE = "amazon.nova-2-multimodal-embeddings-v1:0", "cohere.embed-v4:0"
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def sent(model: str, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    request = EmbeddingRequest(model="m", **fields)
    built = CODEC.build(request, Target(provider="bedrock", model=model))
    return json.loads(built.request.body), built.warnings


def test_each_model_gets_its_own_format() -> None:
    for model, fields, expected in (
        (TITAN, {"input": ["a"], "dimensions": 256}, {"inputText": "a", "dimensions": 256}),
        (TITAN, {"input": ["a"], "output_dtype": "binary"}, {"inputText": "a", "embeddingTypes": ["binary"]}),
        (TITAN_IMAGE, {"input": ["a"]}, {"inputText": "a"}),
        (
            TITAN_IMAGE,
            {"images": [PICTURE], "dimensions": 256},
            {"inputImage": "iVBORw0KGgo=", "embeddingConfig": {"outputEmbeddingLength": 256}},
        ),
        (
            NOVA,
            {"images": [PICTURE], "input_type": "clustering"},
            {
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "CLUSTERING",
                    "image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}},
                },
            },
        ),
        (
            COHERE,
            {"input": ["a", "b"], "input_type": "query", "truncate": "end", "output_dtype": "int8"},
            {"texts": ["a", "b"], "input_type": "search_query", "truncate": "END", "embedding_types": ["int8"]},
        ),
        (COHERE, {"images": [PICTURE]}, {"images": [PICTURE], "input_type": "image"}),
        (COHERE, {"input": ["a"]}, {"texts": ["a"], "input_type": "search_document"}),
    ):
        assert sent(model, **fields) == (expected, []), (model, fields)


def test_what_a_model_cannot_do_is_refused_or_left_out_with_a_warning() -> None:
    for model, fields, param in (
        (TITAN, {"input": ["a", "b"]}, "input"),
        (NOVA, {"input": ["a"], "images": [PICTURE]}, "input"),
        (NOVA, {"images": [PICTURE, PICTURE]}, "images"),
        (TITAN, {"images": [PICTURE]}, "images"),
        (TITAN, {"input": ["a"], "output_dtype": "int8"}, "output_dtype"),
        (TITAN_IMAGE, {"input": ["a"], "output_dtype": "int8"}, "output_dtype"),
        (NOVA, {"input": ["a"], "output_dtype": "binary"}, "output_dtype"),
        (TITAN, {"input": [[1, 2]]}, "input"),
    ):
        with pytest.raises(UnsupportedError) as caught:
            sent(model, **fields)
        assert caught.value.param == param, (model, fields)
    with pytest.raises(UnsupportedError, match="data: URL"):
        sent(NOVA, images=["https://a.example/b.png"])
    with pytest.raises(InvalidRequestError, match="the list is empty"):
        sent(TITAN)
    _, warnings = sent(TITAN, input=["a"], input_type="query", truncate="end", user="u", encoding_format="base64")
    assert [warning.partition(" ")[0] for warning in warnings] == ["encoding_format", "user", "input_type", "truncate"]


def read(body: str, *headers: tuple[str, str]) -> Any:
    answer = HttpResponse(status=200, headers=Headers.of(*headers), body=body.encode())
    return CODEC.parse(answer, Target(provider="bedrock", model=TITAN))


def test_each_format_is_read() -> None:
    for body, vectors, tokens in (
        ('{"embedding": [0.5, 1], "inputTextTokenCount": 3.0}', [[0.5, 1.0]], 3),
        ('{"embedding": null, "embeddingsByType": {"binary": [1, 0]}, "inputTextTokenCount": 1}', [[1, 0]], 1),
        ('{"embeddingsByType": {"binary": [1], "float": [0.5]}}', [[0.5]], 0),
        ('{"embeddings": [[0.5], [1.5]], "response_type": "embeddings_floats"}', [[0.5], [1.5]], 0),
        ('{"embeddings": {"int8": [[1], [2]]}, "id": "x"}', [[1], [2]], 0),
        ('{"embeddings": {"int8": [[1]], "float": [[0.5]]}}', [[0.5]], 0),
        ('{"embeddings": [ {"embeddingType": "TEXT", "embedding": [0.5]} ]}', [[0.5]], 0),
    ):
        found = read(body)
        assert (found.vectors, found.usage.input_tokens) == (vectors, tokens), body
    assert read('{"embedding": [1]}', ("x-amzn-bedrock-input-token-count", "9")).usage.input_tokens == 9


def test_a_response_without_vectors_is_none() -> None:
    for body in ("{}", '{"embeddings": []}', '{"embeddings": {}}', '{"embeddings": [{}]}', '{"embeddings": "x"}', "[]"):
        with pytest.raises(MalformedResponseError):
            read(body)
    with pytest.raises(ReportedError, match="slow"):
        read('{"message": "slow"}')


@pytest.mark.anyio
async def test_the_client_embeds() -> None:
    mock = MockTransport()
    mock.on(endpoint="embeddings").json({"embeddings": [[0.5], [1.5]]})
    async with mock.client() as client:
        found = await client.embed(f"bedrock/{COHERE}", ["a", "b"])
    assert found.vectors == [[0.5], [1.5]]
