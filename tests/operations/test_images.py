"""Images through the public clients."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from bifrost import SyncBifrost
from bifrost.errors import InvalidRequestError, MalformedResponseError, RateLimitError, UnsupportedError
from bifrost.operations import images, media
from bifrost.operations.images import GeneratedImage, ImageRequest, ImageResponse
from bifrost.operations.media import media_type_of
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

MODEL = "openai/gpt-image-1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
BODY = {
    "created": 1713833628,
    "data": [{"b64_json": base64.b64encode(PNG).decode()}, {"url": "https://a.example/b.png", "revised_prompt": "c"}],
    "output_format": "png",
    "size": "1024x1024",
    "usage": {"input_tokens": 50, "output_tokens": 60, "total_tokens": 110},
}


def test_these_names_of_the_modules_are_public() -> None:
    assert sorted(images.__all__) == ["GeneratedImage", "IMAGES", "ImageRequest", "ImageResponse", "image_request"]
    assert media.__all__ == ["media_type_of"]


@pytest.mark.anyio
async def test_images_are_bytes_or_addresses(mock: MockTransport) -> None:
    mock.fail(503).then.json(BODY)
    async with mock.client() as client:
        with no_waits():
            reply = await client.generate_image(MODEL, "A lighthouse", n=2, size="1024x1024")
    assert reply.images == [
        GeneratedImage(data=PNG, media_type="image/png"),
        GeneratedImage(url="https://a.example/b.png", revised_prompt="c"),
    ]
    assert (reply.image.data, reply.created, reply.size, reply.output_format) == (PNG, 1713833628, "1024x1024", "png")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (50, 60)
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]
    (_, call) = assert_called(mock, times=2, endpoint="images", provider="openai")
    assert call.request == ImageRequest(model="gpt-image-1", prompt="A lighthouse", n=2, size="1024x1024")


@pytest.mark.anyio
async def test_over_a_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.json(BODY)
        reply = await client.generate_image(MODEL, "A lighthouse")
    assert reply.image.data == PNG


@pytest.mark.anyio
async def test_a_provider_without_images_says_so(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="anthropic has no images endpoint here"):
            await client.generate_image("anthropic/claude-haiku-4-5", "a")


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "prompt: the text is empty"),
        (5, {}, "prompt: expected `str`, got `int`"),
        ("a", {"n": "two"}, "n: expected `int"),
        ("a", {"output_format": "bmp"}, "output_format: invalid"),
    ],
)
@pytest.mark.anyio
async def test_a_wrong_argument_is_named(prompt: Any, options: Any, message: str, mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=message):
            await client.generate_image(MODEL, prompt, **options)
    assert not mock.calls


@pytest.mark.anyio
async def test_failures_are_errors(mock: MockTransport) -> None:
    mock.fail(429).then.json({"data": []}).then.json({"data": [{"b64_json": "a"}]})
    async with mock.client(max_retries=0) as client:
        with pytest.raises(RateLimitError):
            await client.generate_image(MODEL, "a")
        for problem in ("no images", "not base64"):
            with pytest.raises(MalformedResponseError, match=problem):
                await client.generate_image(MODEL, "a")


@pytest.mark.anyio
async def test_what_xai_lacks_is_left_out_with_a_warning(mock: MockTransport) -> None:
    mock.json({"data": [{"url": "https://a.example/b.jpg"}]})
    async with mock.client() as client:
        reply = await client.generate_image("xai/grok-2-image", "a", n=1, size="1024x1024")
    assert any(warning.startswith("size was left out") for warning in reply.warnings)
    assert mock.calls[0].json == {"model": "grok-2-image", "prompt": "a", "n": 1}


def test_without_await(mock: MockTransport) -> None:
    mock.json(BODY)
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.generate_image(MODEL, "a").image.data == PNG


def test_a_notebook_shows_images() -> None:
    image = GeneratedImage(data=PNG, media_type="image/png")
    assert image._repr_mimebundle_()["image/png"] == base64.b64encode(PNG).decode()
    assert list(GeneratedImage(url="https://a.example/b")._repr_mimebundle_()) == ["text/plain"]
    response = ImageResponse(images=[image], model="m", provider="p")
    assert repr(response) == "ImageResponse(p/m: 1 images)"
    assert "image/png" in response._repr_html_()
    assert msgspec.json.decode(msgspec.json.encode(response), type=ImageResponse) == response


def test_formats_are_recognised_by_their_first_bytes() -> None:
    known = {
        PNG: "image/png",
        b"\xff\xd8\xff\xe0": "image/jpeg",
        b"GIF89a": "image/gif",
        b"RIFF....WEBPVP8 ": "image/webp",
        b"RIFF....WAVEfmt ": "audio/wav",
        b"ID3\x04": "audio/mpeg",
        b"\xff\xfb\x90": "audio/mpeg",
        b"fLaC": "audio/flac",
        b"OggS": "audio/ogg",
        b"....ftypM4A ": "audio/mp4",
        b"\x1aE\xdf\xa3": "audio/webm",
        b"RIFF....AVI ": None,
        b"": None,
    }
    assert {data: media_type_of(data) for data in known} == known
