"""OpenAI's images: https://platform.openai.com/docs/api-reference/images/create."""

from __future__ import annotations

import binascii
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.images import IMAGES, GeneratedImage, ImageRequest, ImageResponse
from bifrost.operations.media import media_type_of
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.base import Built, Codec
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import REQUIRED, Field, FieldTable, left_out, sent
from bifrost.providers.openai.answer import decode_answer, text_of, usage_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import CHOICES_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Image(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Images(msgspec.Struct):
    data: list[_Image | None] | None = None
    created: int | None = None
    size: Any = None
    quality: Any = None
    background: Any = None
    output_format: Any = None
    model: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_IMAGES = msgspec.json.Decoder(_Images, strict=False)

_PLAIN = (
    "n",
    "size",
    "quality",
    "style",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "response_format",
    "user",
)
"""Options with the same name and type in both."""

OPENAI_ALONE: Final = frozenset(["size", "quality", "style", "background"]) | {
    "output_format",
    "output_compression",
    "moderation",
}
"""What other servers of this dialect lack."""


def image_fields(lacks: frozenset[str]) -> FieldTable:
    """Return how a server receives the fields of a request for images."""
    fields: dict[str, Field] = {"model": REQUIRED, "prompt": REQUIRED, "extra": sent()}
    fields |= {name: left_out() if name in lacks else sent(name) for name in _PLAIN}
    return FieldTable(ImageRequest, fields)


def build_images(request: ImageRequest, target: Target, *, fields: FieldTable) -> Built:
    """Return the HTTP request for images."""
    warnings = fields.check(request, target)
    body: dict[str, Any] = {"model": target.model, "prompt": json.long_text(request.prompt)}
    for name, wire in fields.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/images/generations",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def parse_images(response: HttpResponse, target: Target) -> ImageResponse:
    """Return the images, which are base64 or addresses.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _IMAGES, _Images)
    found = [each for each in wire.data or () if each is not None and (each.b64_json or each.url)]
    if wire.error or not found:
        raise reported_error(response.body) or _shapeless(response.body, "no images")
    check_count(len(found), CHOICES_LIMIT, what="images")
    output_format = text_of(wire.output_format) or None
    return ImageResponse(
        images=[_image(each, output_format, response.body) for each in found],
        created=wire.created,
        size=text_of(wire.size) or None,
        quality=text_of(wire.quality) or None,
        background=text_of(wire.background) or None,
        output_format=output_format,
        usage=usage_of(wire.usage) or NO_USAGE,
        model=text_of(wire.model) or target.model,
        provider=target.provider,
        raw=response.body,
    )


def _image(wire: _Image, output_format: str | None, body: bytes) -> GeneratedImage:
    revised = wire.revised_prompt or None
    if not wire.b64_json:
        return GeneratedImage(url=wire.url, revised_prompt=revised)
    data = _decoded(wire.b64_json, body)
    media_type = media_type_of(data) or (f"image/{output_format}" if output_format else "")
    return GeneratedImage(data=data, media_type=media_type, revised_prompt=revised)


def _decoded(text: str, body: bytes) -> bytes:
    """Return the bytes of base64, which some servers write as a data URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        raise _shapeless(body, "an image that is not base64") from None


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")


def codec_of(lacks: frozenset[str]) -> Codec[ImageRequest, ImageResponse]:
    """Return the codec for a server that lacks some options."""
    fields = image_fields(lacks)
    return Codec[ImageRequest, ImageResponse](
        operation=IMAGES, build=partial(build_images, fields=fields), parse=parse_images, fields=fields
    )
