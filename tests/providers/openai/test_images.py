"""OpenAI's images, compared with what the vendor's SDK sends and reads, and with the vendor's specification."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import openai
import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.images import ImageRequest
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai.images import build_images, image_fields, parse_images
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.spec import problems

TARGET = Target(provider="openai", model="gpt-image-1")
OPTIONS: dict[str, Any] = {
    "n": 2,
    "size": "1024x1536",
    "quality": "high",
    "style": "vivid",
    "background": "transparent",
    "output_format": "webp",
    "output_compression": 50,
    "moderation": "low",
    "response_format": "b64_json",
    "user": "u",
}
BODY = {
    "created": 1713833628,
    "data": [{"b64_json": base64.b64encode(b"GIF89a").decode(), "revised_prompt": "r"}, {"url": "https://a.example/b"}],
    "background": "opaque",
    "output_format": "png",
    "size": "1024x1024",
    "quality": "low",
    "usage": {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
    },
}


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def test_the_sdk_sends_and_reads_the_same() -> None:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=BODY)

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        client = openai.OpenAI(api_key="sk-a", http_client=http)
        theirs = client.images.generate(model="gpt-image-1", prompt="a", **OPTIONS)
    built = build_images(ImageRequest(model="m", prompt="a", **OPTIONS), TARGET, fields=image_fields(frozenset()))
    assert json.loads(bytes(built.request.body)) == json.loads(sent[0].content)
    assert (f"/v1{built.request.path}", built.warnings) == (sent[0].url.path, [])
    assert problems("openai-images-audio", "/images/generations", json.loads(bytes(built.request.body))) == []
    ours = parse_images(answer(BODY), TARGET)
    assert theirs.data is not None
    assert theirs.usage is not None
    assert [(base64.b64encode(each.data).decode() or None, each.url, each.revised_prompt) for each in ours.images] == [
        (each.b64_json, each.url, each.revised_prompt) for each in theirs.data
    ]
    assert (ours.created, ours.size, ours.quality, ours.background, ours.output_format) == (
        theirs.created,
        theirs.size,
        theirs.quality,
        theirs.background,
        theirs.output_format,
    )
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == (
        theirs.usage.input_tokens,
        theirs.usage.output_tokens,
    )


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": [None, {}]}, {"data": 5}, [], b"no json"])
def test_a_response_without_images_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_images(answer(body), TARGET)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="too many"):
        parse_images(answer({"error": {"message": "too many", "type": "rate_limit"}}), TARGET)


def test_what_servers_add_is_read() -> None:
    data = base64.b64encode(b"unknown").decode()
    body = {"data": [{"b64_json": f"data:image/png;base64,{data}"}, None], "created": 3.0, "output_format": "jpeg"}
    (image,) = parse_images(answer(body), TARGET).images
    assert (image.data, image.media_type) == (b"unknown", "image/jpeg")
