from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any

import pytest

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.embeddings import Embedding, EmbeddingRequest, EmbeddingResponse
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import build_embeddings, check_embeddings, parse_embeddings
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

TARGET = Target(provider="somehost", model="small")


def body(**fields: Any) -> dict[str, Any]:
    request = EmbeddingRequest(**{"model": "asked", "input": ["a"], **fields})
    return json.loads(build_embeddings(request, TARGET).request.body)


def parse(body: Any) -> EmbeddingResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_embeddings(HttpResponse(status=200, headers=Headers(), body=data), TARGET)


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def test_request_goes_to_the_endpoint() -> None:
    request = EmbeddingRequest(model="asked", input=["a"])
    built = build_embeddings(request, TARGET)
    assert (built.request.method, built.request.path) == ("POST", "/embeddings")
    assert built.request.headers == {"content-type": "application/json"}
    assert built.request.source is request


def test_base64_is_asked_for_unless_told_otherwise() -> None:
    assert body() == {"model": "small", "input": ["a"], "encoding_format": "base64"}
    assert body(encoding_format="float")["encoding_format"] == "float"


def test_every_field_is_sent() -> None:
    sent = body(input=[[1, 2], [3]], dimensions=8, user="u", extra={"somehost": {"x": 1}, "other": {"y": 2}})
    assert sent == {
        "model": "small",
        "input": [[1, 2], [3]],
        "encoding_format": "base64",
        "dimensions": 8,
        "user": "u",
        "x": 1,
    }


def test_nothing_to_embed_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="input"):
        body(input=[])


def test_vectors_are_read_from_base64_and_from_numbers() -> None:
    answer = {
        "model": "m",
        "data": [{"index": 0, "embedding": packed(0.5, -2)}, {"index": 1, "embedding": [1, 2.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    response = parse(answer)
    assert response.data == [Embedding(embedding=[0.5, -2.0]), Embedding(embedding=[1.0, 2.5], index=1)]
    assert (response.model, response.provider) == ("m", "somehost")
    assert response.usage == Usage(input_tokens=3)
    assert response.raw == json.dumps(answer).encode()


def test_vectors_come_in_the_order_of_the_inputs() -> None:
    response = parse({"data": [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [0]}]})
    assert response.vectors == [[0.0], [1.0]]


def test_vectors_without_an_index_stay_where_they_are() -> None:
    response = parse({"data": [{"embedding": [1]}, {"embedding": [0]}]})
    assert [(item.index, item.embedding) for item in response.data] == [(0, [1.0]), (1, [0.0])]
    assert (response.model, response.usage) == ("small", Usage())


def test_vectors_with_one_number_for_all_stay_where_they_are() -> None:
    response = parse({"data": [{"embedding": [1], "index": 0.0}, {"embedding": [0], "index": 0}]})
    assert [(item.index, item.embedding) for item in response.data] == [(0, [1.0]), (1, [0.0])]


@table(
    ("texts", "numbers"),
    [
        (2, [0]),
        (2, [1]),
        (1, [1]),
        (2, [0, 1, 2]),
        (2, [0, 0, 0]),
        (1, [0, 1]),
        (2, [1, 2]),
        (3, [0, 0, 1]),
        (2, [None]),
        (2, [0, 7]),
    ],
)
def test_fewer_more_or_other_vectors_than_were_asked_for_are_no_answer(texts: int, numbers: list[int | None]) -> None:
    data = [{"embedding": [float(place)], "index": number} for place, number in enumerate(numbers)]
    with pytest.raises(MalformedResponseError, match=r"it has .*vectors"):
        check_embeddings(EmbeddingRequest(model="m", input=["a"] * texts), parse({"data": data}))


@table(("texts", "numbers"), [(1, [0]), (1, [None]), (3, [2, 0, 1]), (2, [0, 0]), (2, [None, None])])
def test_a_vector_for_each_text_is_an_answer(texts: int, numbers: list[int | None]) -> None:
    data = [{"embedding": [1.0], "index": number} for number in numbers]
    check_embeddings(EmbeddingRequest(model="m", input=["a"] * texts), parse({"data": data}))


@table(
    "answer",
    [
        b"",
        b"<html>",
        {},
        {"data": None},
        {"data": []},
        {"data": [{}]},
        {"data": [{"embedding": []}]},
        {"data": [{"embedding": "no base64"}]},
        {"data": [{"embedding": "AAA="}]},
        {"data": [{"embedding": ["x"]}]},
        {"data": {"embedding": [1]}},
    ],
)
def test_what_holds_no_vectors_is_malformed(answer: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse(answer)


@pytest.mark.parametrize("answer", [{"error": {"message": "busy"}}, {"error": {"message": "busy"}, "data": []}])
def test_an_error_under_a_good_status_is_reported(answer: Any) -> None:
    with pytest.raises(ReportedError, match="busy"):
        parse(answer)
