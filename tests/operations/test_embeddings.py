from __future__ import annotations

import msgspec
import pytest
from openai.types import CreateEmbeddingResponse

from bifrost.operations.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.usage import Usage

RESPONSE = EmbeddingResponse(
    data=[Embedding(embedding=[0.5, 1.0]), Embedding(embedding=[2.0, 3.0], index=1)],
    model="m",
    provider="p",
    usage=Usage(input_tokens=3),
)


def test_vectors_are_the_numbers_alone() -> None:
    assert RESPONSE.vectors == [[0.5, 1.0], [2.0, 3.0]]


def test_openais_own_types_read_our_form() -> None:
    read = CreateEmbeddingResponse.model_validate(RESPONSE.to_dict())
    assert [(item.index, item.embedding) for item in read.data] == [(0, [0.5, 1.0]), (1, [2.0, 3.0])]
    assert (read.model, read.usage.prompt_tokens, read.usage.total_tokens) == ("m", 3, 3)
    assert (read.object, read.data[0].object) == (RESPONSE.object, RESPONSE.data[0].object)


def test_usage_that_was_not_told_is_left_out() -> None:
    assert "usage" not in EmbeddingResponse(data=[]).to_dict()


def test_repr_shows_no_numbers() -> None:
    assert repr(RESPONSE) == "EmbeddingResponse(p/m: 2 vectors of 2)"
    assert repr(EmbeddingResponse(data=[])) == "EmbeddingResponse(/: 0 vectors of 0)"


@pytest.mark.parametrize("inputs", [["a", "b"], [[1, 2], [3]]])
def test_a_request_survives_json(inputs: list[str | list[int]]) -> None:
    request = EmbeddingRequest(model="m", input=inputs, dimensions=8)
    assert msgspec.json.decode(msgspec.json.encode(request), type=EmbeddingRequest) == request
