"""The vendors' own SDKs as the judges of model lists: what they ask, and what they read of an answer."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

from bifrost.operations.models import ModelsRequest, ModelsResponse
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from bifrost.wire.http import Headers, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.wire.http import HttpRequest

OPENAIS = {
    "object": "list",
    "data": [
        {"id": "gpt-a", "object": "model", "created": 1686935002, "owned_by": "openai"},
        {"id": "gpt-b", "object": "model", "created": 1686935003, "owned_by": "organization-owner"},
    ],
}
ANTHROPICS = {
    "data": [
        {"type": "model", "id": "claude-a", "display_name": "Claude A", "created_at": "2025-02-19T00:00:00Z"},
        {"type": "model", "id": "claude-b", "display_name": "Claude B", "created_at": "2025-03-19T00:00:00Z"},
    ],
    "has_more": False,
    "first_id": "claude-a",
    "last_id": "claude-b",
}


def asked_of_openai(http: httpx2.Client) -> list[tuple[str, int]]:
    client = openai.OpenAI(api_key="none", http_client=http, max_retries=0)
    return [(model.id, model.created) for model in client.models.list()]


def asked_of_anthropic(http: httpx2.Client) -> list[tuple[str, int]]:
    client = anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)
    return [(model.id, seconds_of(model.created_at)) for model in client.models.list()]


def seconds_of(moment: datetime | str) -> int:
    return int((moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)).timestamp())


@pytest.mark.parametrize(
    ("name", "ask", "answer"),
    [("openai", asked_of_openai, OPENAIS), ("anthropic", asked_of_anthropic, ANTHROPICS)],
)
def test_the_sdk_asks_and_reads_the_same(
    name: str, ask: Callable[[httpx2.Client], list[tuple[str, int]]], answer: Any
) -> None:
    sent: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=answer)

    with httpx2.Client(transport=httpx2.MockTransport(respond)) as http:
        theirs = ask(http)
    row, target = CATALOG[name], Target(provider=name, model="")
    codec = row.codecs["models"]
    ours: HttpRequest = codec.build(ModelsRequest(), target).request
    read: ModelsResponse = codec.parse(
        HttpResponse(status=200, headers=Headers(), body=json.dumps(answer).encode()), target
    )
    assert (ours.method, row.base_url + ours.path) == (sent[0].method, str(sent[0].url))
    assert [(model.id, model.created) for model in read.data] == theirs
