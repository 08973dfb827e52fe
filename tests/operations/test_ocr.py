"""OCR through the public clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost import FilePart, ImagePart, SyncBifrost
from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations import ocr
from bifrost.operations.ocr import OcrDocument, OcrImage, OcrPage, OcrResponse, ocr_request
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

MODEL = "mistral/mistral-ocr-latest"
URL = "https://example.org/report.pdf"
BODY = {"pages": [{"index": 0, "markdown": "# Report"}, {"index": 1, "markdown": "End"}], "model": "mistral-ocr-2512"}


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


def test_these_names_of_the_module_are_public() -> None:
    names = ["OCR", "OcrDocument", "OcrImage", "OcrPage", "OcrRequest", "OcrResponse", "ocr_request"]
    assert sorted(ocr.__all__) == names


@pytest.mark.anyio
async def test_pages_are_read(mock: MockTransport) -> None:
    mock.on(endpoint="ocr", model="mistral-ocr-latest").json(BODY)
    async with mock.client() as client:
        reply = await client.ocr(MODEL, URL, pages=(0, 1), include_images=True)
    assert (reply.text, reply.model, reply.provider) == ("# Report\n\nEnd", "mistral-ocr-2512", "mistral")
    assert [attempt.category for attempt in reply.attempts] == [None]
    (call,) = assert_called(mock, times=1, endpoint="ocr", provider="mistral")
    assert call.json == {
        "model": "mistral-ocr-latest",
        "document": {"type": "document_url", "document_url": URL},
        "pages": [0, 1],
        "include_image_base64": True,
    }


@pytest.mark.anyio
async def test_a_call_is_retried_as_every_call(mock: MockTransport) -> None:
    mock.fail(503).then.json(BODY)
    async with mock.client() as client:
        with no_waits():
            reply = await client.ocr(MODEL, URL)
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]


@pytest.mark.anyio
async def test_over_real_sockets() -> None:
    async with LoopbackProvider() as server:
        server.on(endpoint="ocr").json(BODY)
        async with server.client(server.account({"mistral": ["first"]})) as client:
            assert (await client.ocr(MODEL, URL)).pages[1].markdown == "End"


def test_without_await(mock: MockTransport) -> None:
    mock.json(BODY)
    with SyncBifrost(mock.account, transport=mock) as client:
        assert len(client.ocr(MODEL, FilePart(data="AA==", media_type="application/pdf")).pages) == 2


@pytest.mark.anyio
async def test_a_provider_without_ocr_is_refused(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="anthropic has no ocr endpoint here; it has: chat, models"):
            await client.ocr("anthropic/claude-haiku-4-5", URL)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (URL, OcrDocument(url=URL)),
        (OcrDocument(file_id="a"), OcrDocument(file_id="a")),
        (
            FilePart(data="AA==", media_type="application/pdf", filename="a.pdf"),
            OcrDocument(data="AA==", media_type="application/pdf", filename="a.pdf"),
        ),
        (ImagePart(url="https://a.example/b"), OcrDocument(url="https://a.example/b", media_type="image/*")),
        (ImagePart(data="AA==", media_type="image/png"), OcrDocument(data="AA==", media_type="image/png")),
    ],
)
def test_documents(document: Any, found: OcrDocument) -> None:
    assert ocr_request("m", document).document == found


@pytest.mark.parametrize(
    ("document", "is_image"),
    [
        (OcrDocument(url="https://a.example/B.PNG?x=1"), True),
        (OcrDocument(url="data:image/png;base64,AA=="), True),
        (OcrDocument(url=URL), False),
        (OcrDocument(url="https://a.example/b.png", media_type="application/pdf"), False),
        (OcrDocument(data="AA==", media_type="image/png"), True),
        (OcrDocument(file_id="a"), False),
    ],
)
def test_images_are_recognised(document: OcrDocument, is_image: bool) -> None:
    assert document.is_image is is_image


@pytest.mark.parametrize(
    ("document", "options", "message"),
    [
        (5, {}, "document: expected a URL, a FilePart or an ImagePart, got int"),
        ("", {}, "document: it has no source"),
        ("report.pdf", {}, "document: it is no URL; pass a file as FilePart"),
        ("C:\\scans\\report.pdf", {}, "document: it is no URL; pass a file as FilePart"),
        (FilePart(text="a"), {}, "document: it has no source"),
        (URL, {"pages": "0"}, "pages: expected"),
        (URL, {"include_images": 5}, "include_images: expected"),
        (URL, {"document_schema": {"a": {1}}}, "document_schema.a"),
    ],
)
@pytest.mark.anyio
async def test_what_cannot_be_read_is_refused(
    document: Any, options: dict[str, Any], message: str, mock: MockTransport
) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=message):
            await client.ocr(MODEL, document, **options)
    assert not mock.calls


def test_a_response_shows_its_pages() -> None:
    page = OcrPage(index=0, markdown="# Report", images=[OcrImage(id="a.jpeg", left=1)])
    response = OcrResponse(pages=[page], model="m", provider="p")
    assert repr(response) == "OcrResponse(p/m: 1 pages, 8 characters)"
    assert "# Report" in response._repr_html_()
    assert msgspec.json.decode(msgspec.json.encode(response), type=OcrResponse) == response
