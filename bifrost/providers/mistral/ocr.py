"""Mistral's OCR: https://docs.mistral.ai/api/endpoint/ocr."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.ocr import OCR, OcrDocument, OcrImage, OcrPage, OcrRequest, OcrResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import REQUIRED, FieldTable, mapped, sent
from bifrost.providers.openai.answer import decode_answer, text_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.providers.sources import spare_sources
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


class _Image(msgspec.Struct):
    id: str | None = None
    top_left_x: int | None = None
    top_left_y: int | None = None
    bottom_right_x: int | None = None
    bottom_right_y: int | None = None
    image_base64: str | None = None
    image_annotation: str | None = None


class _Dimensions(msgspec.Struct):
    dpi: int | None = None
    height: int | None = None
    width: int | None = None


class _Page(msgspec.Struct):
    index: int | None = None
    markdown: str | None = None
    images: list[_Image] | None = None
    tables: list[dict[str, Any]] | None = None
    header: str | None = None
    footer: str | None = None
    dimensions: _Dimensions | None = None


class _UsageInfo(msgspec.Struct):
    pages_processed: int | None = None
    doc_size_bytes: int | None = None


class _Answer(msgspec.Struct):
    pages: list[_Page] | None = None
    model: Any = None
    document_annotation: str | None = None
    usage_info: _UsageInfo | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_NO_DIMENSIONS = _Dimensions()

FIELDS = FieldTable(
    OcrRequest,
    {
        "model": REQUIRED,
        "document": REQUIRED,
        "document.url": sent(),
        "document.data": mapped(),
        "document.media_type": mapped("{field} was left out: the server reads it off the document"),
        "document.file_id": sent(),
        "document.filename": mapped("{field} was left out: only a document with a URL or data has it"),
        "pages": sent("pages"),
        "include_images": mapped(name="include_image_base64"),
        "image_limit": sent("image_limit"),
        "image_min_size": sent("image_min_size"),
        "table_format": sent("table_format"),
        "image_schema": mapped(),
        "document_schema": mapped(),
        "prompt": mapped(name="document_annotation_prompt"),
        "extra": sent(),
    },
)
"""How Mistral receives the fields of a request."""


def build_ocr(request: OcrRequest, target: Target) -> Built:
    """Return the HTTP request. Raises `InvalidRequestError` for a document without a source."""
    warnings = FIELDS.check(request, target)
    body: dict[str, Any] = {"model": target.model, "document": _document(request.document, target, warnings)}
    for name, wire in FIELDS.plain:
        if (value := getattr(request, name)) is not None:
            body[wire] = value
    for name, schema in (("bbox", request.image_schema), ("document", request.document_schema)):
        if schema is not None:
            inner = {"name": name, "schema": schema, "strict": True}
            body[f"{name}_annotation_format"] = {"type": "json_schema", "json_schema": inner}
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/ocr",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def _document(document: OcrDocument, target: Target, warnings: list[str]) -> dict[str, Any]:
    named = document.filename is not None
    warnings += spare_sources(document, ("file_id", "data", "url"), "document")
    if document.file_id is not None:
        warnings += [FIELDS.warning("document.filename", target)] if named else []
        warnings += [FIELDS.warning("document.media_type", target)] if document.media_type is not None else []
        return {"type": "file", "file_id": document.file_id}
    url: str | json.LongText
    if document.data is not None:
        if document.media_type is None:
            raise InvalidRequestError("document: it has data but no media_type (application/pdf, say)")
        url = json.long_text(f"data:{document.media_type};base64,", document.data)
    elif document.url is not None:
        url = json.long_text(document.url)
    else:
        raise InvalidRequestError("document: it has no source; give its url, data with media_type, or file_id")
    if document.is_image:
        warnings += [FIELDS.warning("document.filename", target)] if named else []
        return {"type": "image_url", "image_url": url}
    return {"type": "document_url", "document_url": url} | ({"document_name": document.filename} if named else {})


def parse_ocr(response: HttpResponse, target: Target) -> OcrResponse:
    """Return the pages.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _ANSWER, _Answer)
    if wire.error or wire.pages is None:
        raise reported_error(response.body) or MalformedResponseError(
            f"the response cannot be read: it has no pages; {json.excerpt(response.body)}"
        )
    usage = wire.usage_info or _UsageInfo()
    check_count(sum(1 + len(page.images or ()) for page in wire.pages), 8 * PARTS_LIMIT, what="pages and images")
    return OcrResponse(
        pages=[_page(page, place) for place, page in enumerate(wire.pages)],
        model=text_of(wire.model) or target.model,
        annotation=wire.document_annotation,
        pages_processed=usage.pages_processed or 0,
        document_bytes=usage.doc_size_bytes,
        provider=target.provider,
        raw=response.body,
    )


def _page(page: _Page, place: int) -> OcrPage:
    size = page.dimensions or _NO_DIMENSIONS
    return OcrPage(
        index=place if page.index is None else page.index,
        markdown=page.markdown or "",
        images=[_image(image) for image in page.images or ()],
        tables=page.tables or [],
        header=page.header,
        footer=page.footer,
        width=size.width,
        height=size.height,
        dpi=size.dpi,
    )


def _image(image: _Image) -> OcrImage:
    inline = _DATA_URL.fullmatch(image.image_base64) if image.image_base64 else None
    return OcrImage(
        id=image.id or "",
        left=image.top_left_x,
        top=image.top_left_y,
        right=image.bottom_right_x,
        bottom=image.bottom_right_y,
        data=inline[2] if inline else image.image_base64 or None,
        media_type=inline[1] if inline else None,
        annotation=image.image_annotation,
    )


CODEC = Codec[OcrRequest, OcrResponse](operation=OCR, build=build_ocr, parse=parse_ocr, fields=FIELDS)
"""The codec of OCR."""
