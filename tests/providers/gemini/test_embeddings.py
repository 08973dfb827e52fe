"""What is embedded, and for what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.gemini import EMBEDDINGS
from bifrost.wire.http import Headers, HttpResponse

TARGET = Target(provider="gemini", model="gemini-embedding-2")


def build(**fields: Any) -> list[dict[str, Any]]:
    built = EMBEDDINGS.build(EmbeddingRequest(model="m", **fields), TARGET)
    assert built.request.path == "/v1beta/models/gemini-embedding-2:batchEmbedContents"
    return json.loads(built.request.body)["requests"]


def test_each_text_and_image_is_an_input() -> None:
    made = build(input=["a"], images=["https://a.example/b.png", "data:image/png;base64,AA=="], dimensions=8)
    assert [each["content"]["parts"] for each in made] == [
        [{"text": "a"}],
        [{"fileData": {"fileUri": "https://a.example/b.png", "mimeType": "image/png"}}],
        [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
    ]
    assert {each["outputDimensionality"] for each in made} == {8}


@pytest.mark.parametrize(
    ("input_type", "task"),
    [
        ("query", "RETRIEVAL_QUERY"),
        ("document", "RETRIEVAL_DOCUMENT"),
        ("clustering", "CLUSTERING"),
        ("FACT_VERIFICATION", "FACT_VERIFICATION"),
    ],
)
def test_what_vectors_are_for_is_a_task(input_type: str, task: str) -> None:
    assert build(input=["a"], input_type=input_type)[0]["taskType"] == task


@pytest.mark.parametrize("inputs", [[], [[1, 2]]])
def test_what_is_no_text_is_refused(inputs: Any) -> None:
    with pytest.raises(InvalidRequestError, match="input: "):
        build(input=inputs)


def parse(body: Any) -> Any:
    return EMBEDDINGS.parse(HttpResponse(status=200, headers=Headers(), body=json.dumps(body).encode()), TARGET)


@pytest.mark.parametrize("body", [{}, {"embeddings": []}, {"embeddings": [{}]}, {"embedding": {"values": None}}])
def test_a_response_without_vectors_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse(body)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError):
        parse({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}})


def test_the_number_of_vectors_is_checked() -> None:
    response = parse({"embedding": {"values": [1, 2]}})
    assert (response.vectors, response.usage.total_tokens) == ([[1.0, 2.0]], 0)
    assert EMBEDDINGS.check is not None
    with pytest.raises(MalformedResponseError, match="1 vectors for 2 inputs"):
        EMBEDDINGS.check(EmbeddingRequest(model="m", input=["a"], images=["b"]), response)
