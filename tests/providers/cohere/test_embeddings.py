"""Cohere's embeddings and its list of models."""

from __future__ import annotations

import json
from base64 import b64encode
from struct import pack
from typing import Any

import msgspec
import pytest

from bifrost.errors import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelInfo, ModelsRequest
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.cohere.embeddings import build_embeddings, parse_embeddings
from bifrost.providers.cohere.models import build_models, parse_models
from bifrost.testing import LoopbackProvider
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases
from tests.providers.spec import problems

TARGET = Target(provider="cohere", model="embed-v4.0")
PICTURE = "data:image/png;base64,AA=="
RECORDED = [
    case
    for case in cases()
    if (case.provider.name, case.operation) == ("cohere", "embeddings") and case.answer.status == 200
]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def text(part: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part}]}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_recorded_vectors_are_read_as_they_are(case: Case) -> None:
    wire, ours = json.loads(case.body), parse_embeddings(case.answer, case.target)
    (vectors,) = wire["embeddings"].values()
    assert ours.vectors == vectors
    assert ours.usage == Usage(input_tokens=wire["meta"]["billed_units"]["input_tokens"])


@pytest.mark.parametrize(
    ("form", "wire", "warnings"),
    [
        ({"input": ["a"]}, {"texts": ["a"], "input_type": "search_document"}, []),
        ({"input": ["a"], "input_type": "query"}, {"texts": ["a"], "input_type": "search_query"}, []),
        ({"input": ["a"], "input_type": "clustering"}, {"texts": ["a"], "input_type": "clustering"}, []),
        (
            {"input": ["a"], "dimensions": 256, "truncate": "start", "output_dtype": "int8"},
            {
                "texts": ["a"],
                "input_type": "search_document",
                "output_dimension": 256,
                "truncate": "START",
                "embedding_types": ["int8"],
            },
            [],
        ),
        (
            {"input": ["a"], "encoding_format": "base64"},
            {"texts": ["a"], "input_type": "search_document", "embedding_types": ["base64"]},
            [],
        ),
        (
            {"input": ["a"], "encoding_format": "base64", "output_dtype": "ubinary", "user": "me"},
            {"texts": ["a"], "input_type": "search_document", "embedding_types": ["ubinary"]},
            [
                "user was left out: Cohere has no such option",
                "encoding_format was left out: output_dtype says what is sent",
            ],
        ),
        ({"images": [PICTURE]}, {"images": [PICTURE], "input_type": "image"}, []),
        (
            {"input": ["a"], "images": [PICTURE]},
            {
                "inputs": [text("a"), {"content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}],
                "input_type": "search_document",
            },
            [],
        ),
        (
            {"input": ["a"], "extra": {"cohere": {"priority": 1}, "voyage": {"b": 1}}},
            {"texts": ["a"], "input_type": "search_document", "priority": 1},
            [],
        ),
    ],
)
def test_what_is_sent(form: dict[str, Any], wire: dict[str, Any], warnings: list[str]) -> None:
    built = build_embeddings(msgspec.convert({"model": "m", **form}, EmbeddingRequest), TARGET)
    body = json.loads(built.request.body)
    assert body == {"model": "embed-v4.0", "embedding_types": ["float"], **wire}
    assert built.warnings == warnings
    assert problems("cohere", "/v2/embed", body) == []


def test_what_cannot_be_embedded_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="not token numbers"):
        build_embeddings(EmbeddingRequest(model="m", input=["a", [1, 2]]), TARGET)
    with pytest.raises(InvalidRequestError, match="the list is empty"):
        build_embeddings(EmbeddingRequest(model="m"), TARGET)


PACKED = b64encode(pack("<2f", 0.5, -1.0)).decode()


@pytest.mark.parametrize(
    "embeddings",
    [
        {"float": [[0.5, -1]]},
        {"int8": [[1, 2]], "float": [[0.5, -1.0]]},
        {"float": None, "uint8": [], "base64": [PACKED]},
        [[0.5, -1.0]],
    ],
)
def test_vectors_in_every_form(embeddings: Any) -> None:
    assert parse_embeddings(answer({"embeddings": embeddings, "meta": None}), TARGET).vectors == [[0.5, -1.0]]


@pytest.mark.parametrize(
    "embeddings", [None, {}, [], {"float": []}, {"float": None}, {"float": [[]]}, {"float": [5]}, {"float": ["?"]}, 5]
)
def test_an_answer_without_vectors_is_refused(embeddings: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_embeddings(answer({"embeddings": embeddings}), TARGET)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="busy"):
        parse_embeddings(answer({"message": "busy"}), TARGET)
    with pytest.raises(ReportedError, match="busy"):
        parse_models(answer({"message": "busy"}), TARGET)


@pytest.mark.anyio
async def test_over_real_sockets() -> None:
    async with LoopbackProvider() as server:
        server.embed([[0.5], [0.25]])
        server.json({"embeddings": {"float": [[0.5]]}})
        async with server.client(server.account({"cohere": ["first"]})) as client:
            reply = await client.embed("cohere/embed-v4.0", ["a", "b"], input_type="query")
            with pytest.raises(MalformedResponseError, match="1 vectors for 2 texts"):
                await client.embed("cohere/embed-v4.0", ["a"], images=[PICTURE], max_retries=0)
    assert reply.vectors == [[0.5], [0.25]]
    assert server.calls[0].json["input_type"] == "search_query"


# --- models


def test_a_page_of_models() -> None:
    request = ModelsRequest(model="cohere/", limit=5, after="a b&c")
    assert build_models(request, TARGET).request.path == "/v1/models?page_size=5&page_token=a%20b%26c"
    assert build_models(ModelsRequest(model="cohere/"), TARGET).request.path == "/v1/models"
    body = {
        "models": [{"name": "command-r", "endpoints": ["chat"], "context_length": 128000.0}, {"name": None}, {}],
        "next_page_token": "t",
    }
    page = parse_models(answer(body), TARGET)
    assert page.data == [ModelInfo(id="command-r", provider="cohere", context_window=128000)]
    assert page.next == "t"


@pytest.mark.parametrize("body", [{"models": None}, {"models": [], "next_page_token": ""}, {"data": []}])
def test_a_page_may_be_empty(body: Any) -> None:
    page = parse_models(answer(body), TARGET)
    assert (page.data, page.next) == ([], None)


def test_the_list_of_a_gateway_is_read() -> None:
    assert [model.id for model in parse_models(answer({"data": [{"id": "a"}]}), TARGET).data] == ["a"]


@pytest.mark.parametrize("body", [{}, [], b"no json", {"models": 5}])
def test_a_body_that_is_no_list_of_models_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_models(answer(body), TARGET)
