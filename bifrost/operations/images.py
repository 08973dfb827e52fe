"""The operation that generates images from a text."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any, Final, Literal, Never

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as
from bifrost.operations.usage import NO_USAGE, Usage

__all__ = ["IMAGES", "GeneratedImage", "ImageRequest", "ImageResponse", "image_request"]


class ImageRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A description of images to generate. `None` means that the provider's default applies."""

    model: str
    """`provider/model`, or the name of a model group."""

    prompt: str
    """The description."""

    n: int | None = None
    """How many images to generate."""
    size: str | None = None
    """Width and height in pixels, as `1024x1024`, or `auto`."""
    quality: str | None = None
    """The quality: `low`, `medium`, `high` or `auto`; other models have other names (`standard`, `hd`)."""
    style: str | None = None
    """The style, for models that have some: `vivid` or `natural`."""
    background: Literal["transparent", "opaque", "auto"] | None = None
    """The background."""
    output_format: Literal["png", "jpeg", "webp"] | None = None
    """The format of the images."""
    output_compression: int | None = None
    """The compression of a JPEG or WebP image, from 0 to 100 percent."""
    moderation: Literal["low", "auto"] | None = None
    """How strictly the provider filters."""
    response_format: Literal["url", "b64_json"] | None = None
    """Whether the response contains the images or their addresses, for models that offer both."""
    user: str | None = None
    """An identifier of the end user, for the provider's detection of abuse."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class GeneratedImage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image as bytes, or the address of one. A notebook shows it."""

    data: bytes = b""
    """The image. Empty if the provider returned its address."""
    media_type: str = ""
    """The format of `data`, as `image/png`. Empty if it is unknown."""
    url: str | None = None
    """The address of the image, which usually expires. It is not fetched. `None`: the image is in `data`."""
    revised_prompt: str | None = None
    """The description that the model used instead of the request's; `None` if the provider reports none."""

    def __repr__(self) -> str:
        where = f"{self.media_type or 'unknown format'}, {len(self.data):,} bytes" if self.data else "at a URL"
        return f"GeneratedImage({where})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if not self.data or not self.media_type.startswith("image/"):
            return {"text/plain": repr(self)}
        return {self.media_type: base64.b64encode(self.data).decode(), "text/plain": repr(self)}


class ImageResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The generated images."""

    images: list[GeneratedImage]
    """The images. They may be fewer than requested."""

    created: int | None = None
    """The time of the response, in seconds since 1970; `None` if the provider reports none."""
    size: str | None = None
    """The size that the provider reports, or `None`."""
    quality: str | None = None
    """The quality that the provider reports, or `None`."""
    background: str | None = None
    """The background that the provider reports, or `None`."""
    output_format: str | None = None
    """The format that the provider reports, or `None`."""
    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""

    model: str = ""
    """The requested model, or the one that the provider reports."""
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
    def image(self) -> GeneratedImage:
        """The first image."""
        return self.images[0]

    def __repr__(self) -> str:
        return f"ImageResponse({self.provider}/{self.model}: {len(self.images)} images)"

    def _repr_html_(self) -> str:
        rows = [(place, each.media_type, len(each.data), each.url or "") for place, each in enumerate(self.images)]
        return block(table(("index", "format", "bytes", "URL"), rows), note(f"{self.provider}/{self.model}"))


IMAGES: Final = Operation[ImageRequest, ImageResponse, Never](
    name="images", request=ImageRequest, response=ImageResponse
)


def image_request(model: str, prompt: str, **options: Any) -> ImageRequest:
    """Return a request for images. Raises `InvalidRequestError` for an empty prompt or a value of another type."""
    request = read_as({"model": model, "prompt": prompt, **options}, ImageRequest, "")
    if not request.prompt:
        raise InvalidRequestError("prompt: the text is empty; describe the image")
    return request
