"""Moderations through the public clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost import Bifrost, SyncBifrost
from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations import moderations
from bifrost.operations.moderations import ModerationRequest, ModerationResponse, ModerationResult, moderation_request
from bifrost.testing import MockTransport, assert_called, no_waits

MODEL = "openai/omni-moderation-latest"
PICTURE = "https://example.org/cat.png"
VIOLENT = {"flagged": True, "categories": {"violence": True, "hate": False}, "category_scores": {"violence": 0.9}}
HARMLESS = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}}
BODY = {"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [VIOLENT, HARMLESS]}


def test_these_names_of_the_module_are_public() -> None:
    assert sorted(moderations.__all__) == [
        "MODERATIONS",
        "ModerationRequest",
        "ModerationResponse",
        "ModerationResult",
        "moderation_request",
    ]


@pytest.mark.anyio
async def test_each_text_has_a_result() -> None:
    mock = MockTransport()
    mock.on(endpoint="moderations", model="omni-moderation-latest").json(BODY)
    async with mock.client() as client:
        reply = await client.moderate(MODEL, ["I will hurt you", "A nice day"])
    assert [result.flagged_categories for result in reply.results] == [["violence"], []]
    assert (reply.flagged, reply.id, reply.provider) == (True, "modr-1", "openai")
    assert [attempt.category for attempt in reply.attempts] == [None]
    (call,) = assert_called(mock, times=1, endpoint="moderations", provider="openai")
    assert call.request == ModerationRequest(model="omni-moderation-latest", input=["I will hurt you", "A nice day"])


@pytest.mark.anyio
async def test_a_moderation_is_retried_and_falls_back_as_every_call() -> None:
    mock = MockTransport()
    mock.fail(503).then.json({"results": [HARMLESS]})
    async with mock.client() as client:
        with no_waits():
            reply = await client.moderate(MODEL, "A nice day")
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]
    assert not reply.flagged


@pytest.mark.anyio
async def test_a_provider_without_moderations_says_so(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(UnsupportedError, match="anthropic has no moderations endpoint here; it has: chat, models"):
            await client.moderate("anthropic/claude-haiku-4-5", "hi")


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


def test_without_await(mock: MockTransport) -> None:
    mock.on(endpoint="moderations").json({"results": [VIOLENT]})
    with SyncBifrost(mock.account, transport=mock) as client:
        reply = client.moderate(MODEL, "look", images=[PICTURE])
    assert reply.results[0].category_scores == {"violence": 0.9}
    assert mock.calls[0].json["input"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}


def test_parts_in_openais_form_are_understood() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    assert moderation_request("m", parts) == ModerationRequest(model="m", input=["look"], images=[PICTURE])
    assert moderation_request("m", "a") == ModerationRequest(model="m", input=["a"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "there is nothing to classify"),
        ("", "there is nothing to classify"),
        (["a", ""], "there is nothing to classify"),
        (5, "expected a text or a list of texts, got int"),
        (b"a", "expected a text or a list of texts, got bytes"),
        ([5], r"input\[0\]: expected"),
        ([{"type": "audio"}], r"input\[0\]: expected \{.type.: .text."),
        ([{"type": "text", "text": "a"}, "b"], r"input\[1\]: expected"),
        ([{"type": "image_url", "image_url": {"url": 5}}], r"images\[0\]: expected"),
    ],
)
@pytest.mark.anyio
async def test_what_cannot_be_classified_is_refused(given: Any, told: str, mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=told):
            await client.moderate(MODEL, given)
    assert not mock.calls


def test_a_response_shows_what_it_found() -> None:
    response = ModerationResponse(
        results=[ModerationResult(flagged=True, categories={"violence": True}), ModerationResult(flagged=False)],
        model="m",
        provider="p",
    )
    assert repr(response) == "ModerationResponse(p/m: 2 results, 1 flagged)"
    assert "violence" in response._repr_html_()
    assert msgspec.json.decode(msgspec.json.encode(response), type=ModerationResponse) == response


@pytest.mark.anyio
async def test_explained_in_the_table_of_providers(mock: MockTransport) -> None:
    async with Bifrost(mock.account, transport=mock) as client:
        table = await client.providers()
    offered = {row.name for row in table if "moderations" in row.operations}
    assert offered == {"openai", "mistral"}
