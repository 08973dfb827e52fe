"""What Mistral has beside OpenAI's dialect: OCR, moderations without a verdict, and prefixes of an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bifrost.errors import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.moderations import ModerationRequest
from bifrost.operations.ocr import OcrImage, OcrPage, OcrRequest
from bifrost.providers.base import Codec, ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.mistral.ocr import build_ocr, parse_ocr
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases
from tests.providers.spec import problems

TARGET = Target(provider="mistral", model="mistral-ocr-latest")
CODECS: dict[str, Codec[Any, Any]] = {str(name): codec for name, codec in CATALOG["mistral"].codecs.items()}
RECORDED = [case for case in cases(request=True) if case.provider.name == "mistral"]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_requests_are_valid(case: Case) -> None:
    assert problems("mistral", f"/v1{case.http['path']}", case.http["body"]) == []


# --- OCR

URL = "https://a.example/b.pdf"
PDF = "application/pdf"
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("form", "wire", "warnings"),
    [
        ({"document": {"url": URL}}, {"document": {"type": "document_url", "document_url": URL}}, []),
        (
            {"document": {"data": "AA==", "media_type": PDF, "filename": "b.pdf"}},
            {
                "document": {
                    "type": "document_url",
                    "document_url": "data:application/pdf;base64,AA==",
                    "document_name": "b.pdf",
                }
            },
            [],
        ),
        (
            {"document": {"url": "https://a.example/b.png"}},
            {"document": {"type": "image_url", "image_url": "https://a.example/b.png"}},
            [],
        ),
        (
            {"document": {"file_id": "f", "filename": "b.pdf", "url": URL}},
            {"document": {"type": "file", "file_id": "f"}},
            [
                "document: url was left out, since file_id is sent in its place",
                "document.filename was left out: only a document with a URL or data has it",
            ],
        ),
        (
            {
                "document": {"url": URL},
                "pages": [0],
                "image_limit": 2,
                "image_min_size": 50,
                "table_format": "html",
                "image_schema": SCHEMA,
                "document_schema": SCHEMA,
                "prompt": "Find the total.",
                "extra": {"mistral": {"extract_header": True}, "other": {}},
            },
            {
                "document": {"type": "document_url", "document_url": URL},
                "pages": [0],
                "image_limit": 2,
                "image_min_size": 50,
                "table_format": "html",
                "bbox_annotation_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "bbox", "schema": SCHEMA, "strict": True},
                },
                "document_annotation_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "document", "schema": SCHEMA, "strict": True},
                },
                "document_annotation_prompt": "Find the total.",
                "extract_header": True,
            },
            [],
        ),
    ],
)
def test_what_is_sent(form: dict[str, Any], wire: dict[str, Any], warnings: list[str]) -> None:
    built = build_ocr(msgspec.convert({"model": "m", **form}, OcrRequest), TARGET)
    body = json.loads(built.request.body)
    assert body == {"model": "mistral-ocr-latest", **wire}
    assert (built.request.path, built.warnings) == ("/ocr", warnings)
    found = problems("mistral", "/v1/ocr", body)
    assert [problem for problem in found if "image_url" not in problem] == []


@pytest.mark.parametrize(
    ("document", "message"), [({}, "it has no source"), ({"data": "AA=="}, "it has data but no media_type")]
)
def test_a_document_without_a_source_is_refused(document: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        build_ocr(msgspec.convert({"model": "m", "document": document}, OcrRequest), TARGET)


def test_pages_are_read() -> None:
    image = {"id": "a", "top_left_x": 1, "top_left_y": 2.0, "bottom_right_x": 3, "bottom_right_y": 4}
    body = {
        "pages": [
            {
                "index": 3,
                "markdown": "# a",
                "images": [{**image, "image_base64": "data:image/jpeg;base64,AA==", "image_annotation": "{}"}],
                "dimensions": {"dpi": 200, "height": 9, "width": 6},
                "tables": [{"id": "t", "content": "<table>", "format": "html"}],
                "header": "h",
                "blocks": [5],
            },
            {"images": [{"image_base64": "AA=="}, {"image_base64": ""}], "dimensions": None},
        ],
        "document_annotation": "{}",
        "usage_info": {"pages_processed": 2, "doc_size_bytes": 7},
    }
    response = parse_ocr(answer(body), TARGET)
    assert response.pages == [
        OcrPage(
            index=3,
            markdown="# a",
            images=[
                OcrImage(
                    id="a", left=1, top=2, right=3, bottom=4, data="AA==", media_type="image/jpeg", annotation="{}"
                )
            ],
            tables=[{"id": "t", "content": "<table>", "format": "html"}],
            header="h",
            width=6,
            height=9,
            dpi=200,
        ),
        OcrPage(index=1, images=[OcrImage(id="", data="AA=="), OcrImage(id="")]),
    ]
    assert (response.model, response.annotation) == ("mistral-ocr-latest", "{}")
    assert (response.pages_processed, response.document_bytes) == (2, 7)


@pytest.mark.parametrize("body", [{}, {"pages": None}, [], b"no json", {"pages": 5, "model": "m"}])
def test_an_answer_without_pages_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_ocr(answer(body), TARGET)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="too large"):
        parse_ocr(answer({"object": "error", "message": "document too large", "type": "invalid_request"}), TARGET)


# --- moderations, embeddings


def test_a_moderation_without_a_verdict_is_flagged_by_its_categories() -> None:
    results = [
        {"categories": {"violence": True, "pii": False}, "category_scores": {"violence": 0.9, "pii": 0.1}},
        {"categories": {"violence": False}, "category_scores": {"violence": 0.1}},
    ]
    body = {"id": "1", "model": "mistral-moderation-latest", "results": results}
    found = CODECS["moderations"].parse(answer(body), TARGET)
    assert [result.flagged for result in found.results] == [True, False]
    request = ModerationRequest(model="m", input=["a", "b"])
    sent = json.loads(CODECS["moderations"].build(request, TARGET).request.body)
    assert problems("mistral", "/v1/moderations", sent) == []
    with pytest.raises(UnsupportedError, match="classifies texts only"):
        CODECS["moderations"].build(ModerationRequest(model="m", images=["https://a.example"]), TARGET)


def test_vectors_may_have_other_numbers() -> None:
    request = EmbeddingRequest(model="m", input=["a"], output_dtype="int8", dimensions=256)
    sent = json.loads(CODECS["embeddings"].build(request, TARGET).request.body)
    assert sent == {"model": "mistral-ocr-latest", "input": ["a"], "output_dtype": "int8", "output_dimension": 256}
    assert problems("mistral", "/v1/embeddings", sent) == []


# --- chats


@pytest.mark.parametrize(
    ("last", "prefix"),
    [
        ({"role": "assistant", "content": "Once"}, True),
        ({"role": "assistant", "content": [{"type": "text", "text": "Once"}]}, True),
        ({"role": "assistant", "content": [{"type": "tool_call", "id": "abcdefghi", "name": "f"}]}, None),
        ({"role": "user", "content": "go on"}, None),
    ],
)
def test_the_beginning_of_an_answer_is_marked(last: dict[str, Any], prefix: bool | None) -> None:
    form = {"model": "m", "messages": [{"role": "user", "content": "hi"}, last]}
    sent = json.loads(CODECS["chat"].build(msgspec.convert(form, ChatRequest), TARGET).request.body)
    assert sent["messages"][-1].get("prefix") is prefix
    assert "prefix" not in sent["messages"][0]
    assert problems("mistral", "/v1/chat/completions", sent) == []
