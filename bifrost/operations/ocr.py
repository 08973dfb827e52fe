"""The OCR operation: the text of a document or image, page by page, as Markdown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Never

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.chat.content import FilePart, ImagePart
from bifrost.operations.typed import read_as

__all__ = [
    "OCR",
    "OcrDocument",
    "OcrImage",
    "OcrPage",
    "OcrRequest",
    "OcrResponse",
    "ocr_request",
]

_IMAGES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")


class OcrDocument(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document or image: by `url`, as base64 `data` with its `media_type`, or by the provider's `file_id`."""

    url: str | None = None
    """The address; also a `data:` URL."""

    data: str | None = None
    """The document in base64."""

    media_type: str | None = None
    """The media type, `application/pdf` for example. An `image/...` is read as a single page."""

    file_id: str | None = None
    """The id of a document that was uploaded to the provider."""

    filename: str | None = None
    """The name of the file."""

    @property
    def is_image(self) -> bool:
        """Whether it is an image, by its media type or else by its address."""
        if self.media_type is not None:
            return self.media_type.startswith("image/")
        url = self.url or ""
        return url.startswith("data:image/") or url.partition("?")[0].partition("#")[0].lower().endswith(_IMAGES)


class OcrRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document to read. `None` means the provider's default."""

    model: str
    """`provider/model`, or the name of a model group."""

    document: OcrDocument
    """The document."""

    pages: list[int] | None = None
    """The pages to read, from 0. `None`: all pages."""

    include_images: bool | None = None
    """Whether the images of the pages are returned."""

    image_limit: int | None = None
    """The most images to extract."""

    image_min_size: int | None = None
    """The smallest height and width of an image to extract, in pixels."""

    table_format: str | None = None
    """The form of tables outside of the Markdown: `markdown` or `html`. `None`: they are part of the Markdown."""

    image_schema: dict[str, Any] | None = None
    """A JSON schema of what to extract from each image."""

    document_schema: dict[str, Any] | None = None
    """A JSON schema of what to extract from the whole document."""

    prompt: str | None = None
    """Instructions for `document_schema`."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class OcrImage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image of a page."""

    id: str
    """The name by which the Markdown refers to it."""

    left: int | None = None
    """The left edge, in pixels of the page. `None`: unknown, as for the other edges."""

    top: int | None = None
    """The upper edge."""

    right: int | None = None
    """The right edge."""

    bottom: int | None = None
    """The lower edge."""

    data: str | None = None
    """The image in base64, if `include_images` asked for it; else `None`."""

    media_type: str | None = None
    """The media type of `data`, `image/jpeg` for example."""

    annotation: str | None = None
    """What `image_schema` asked for, as JSON; else `None`."""


class OcrPage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page."""

    index: int
    """The number of the page, from 0."""

    markdown: str = ""
    """The text, as Markdown."""

    images: list[OcrImage] = []
    """The images of the page."""

    tables: list[dict[str, Any]] = []
    """The tables in `table_format`, in the provider's form."""

    header: str | None = None
    """The header of the page, if the provider separates it."""

    footer: str | None = None
    """The footer of the page, if the provider separates it."""

    width: int | None = None
    """The width of the page in pixels."""

    height: int | None = None
    """The height of the page in pixels."""

    dpi: int | None = None
    """The resolution of the page in pixels per inch."""


class OcrResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The pages of a document."""

    pages: list[OcrPage]
    """The pages that were read."""

    model: str = ""
    """The model that the provider reports, or else the requested one."""

    annotation: str | None = None
    """What `document_schema` asked for, as JSON; else `None`."""

    pages_processed: int = 0
    """The number of pages that are billed; 0 if the provider does not report it."""

    document_bytes: int | None = None
    """The size of the document in bytes, if the provider reports it."""

    provider: str = ""
    """The provider that responded."""

    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""

    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""

    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""

    cost: Decimal | None = None
    """The cost of the call, in US dollars; `None` if it is unknown."""

    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    raw: bytes = b""
    """The provider's response as bytes."""

    @property
    def text(self) -> str:
        """The Markdown of all pages, with an empty line between two pages."""
        return "\n\n".join([page.markdown for page in self.pages])

    def __repr__(self) -> str:
        return f"OcrResponse({self.provider}/{self.model}: {len(self.pages)} pages, {len(self.text)} characters)"

    def _repr_html_(self) -> str:
        rows = [(page.index, page.markdown, len(page.images)) for page in self.pages]
        return block(table(("page", "text", "images"), rows), note(f"{self.provider}/{self.model}"))


OCR: Final = Operation[OcrRequest, OcrResponse, Never](name="ocr", request=OcrRequest, response=OcrResponse)


def ocr_request(model: str, document: object, **options: Any) -> OcrRequest:
    """Return a request for a document: its URL, or a `FilePart`, `ImagePart` or `OcrDocument`.

    Raises `InvalidRequestError` for a document without a source, of another type, or whose text is no URL.
    """
    match document:
        case str():
            found = OcrDocument(url=_url(document))
        case OcrDocument():
            found = document
        case FilePart():
            found = OcrDocument(
                url=document.url,
                data=document.data,
                media_type=document.media_type,
                file_id=document.file_id,
                filename=document.filename,
            )
        case ImagePart():
            # An address alone does not always say that it is an image.
            media_type = document.media_type or ("image/*" if document.url else None)
            found = OcrDocument(url=document.url, data=document.data, media_type=media_type, file_id=document.file_id)
        case _:
            kind = type(document).__name__
            raise InvalidRequestError(f"document: expected a URL, a FilePart or an ImagePart, got {kind}")
    if not (found.url or found.data or found.file_id):
        raise InvalidRequestError("document: it has no source; give its url, data with media_type, or file_id")
    return read_as({"model": model, "document": msgspec.structs.asdict(found), **options}, OcrRequest, "")


def _url(text: str) -> str:
    if text and "://" not in text and not text.startswith("data:"):
        raise InvalidRequestError(
            "document: it is no URL; pass a file as FilePart(data=..., media_type=...), with data in base64"
        )
    return text
