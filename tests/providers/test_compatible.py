from __future__ import annotations

import json

import pytest

from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.compatible import OPENAI, Quirks, speaks_openai
from bifrost.schema.chat import ChatRequest
from bifrost.schema.content import ReasoningPart
from bifrost.schema.messages import Message
from bifrost.wire.auth import BEARER
from bifrost.wire.http import Headers, HttpResponse

ROW = speaks_openai(
    "some-host",
    "https://api.somehost.example/v1",
    "SOMEHOST_API_KEY",
    Quirks(max_tokens_field="max_tokens"),
    docs="https://somehost.example/docs",
)


def test_openais_row_is_what_the_vendor_says() -> None:
    assert (OPENAI.name, OPENAI.base_url) == ("openai", "https://api.openai.com/v1")
    assert OPENAI.key_variables == ("OPENAI_API_KEY",)
    assert OPENAI.base_url_variable == "OPENAI_BASE_URL"
    assert OPENAI.auth == BEARER
    assert set(OPENAI.codecs) == {"chat", "embeddings", "models"}


def test_a_row_has_a_name_an_address_and_a_variable() -> None:
    assert (ROW.name, ROW.base_url) == ("some-host", "https://api.somehost.example/v1")
    assert ROW.key_variables == ("SOMEHOST_API_KEY",)
    assert ROW.base_url_variable == "SOME_HOST_BASE_URL"
    assert ROW.docs == "https://somehost.example/docs"


def test_a_rows_quirks_reach_its_requests() -> None:
    request = ChatRequest(model="m", messages=[Message(role="user", content="x")], max_tokens=5)
    target = Target(provider=ROW.name, model="m")
    assert json.loads(ROW.codecs["chat"].build(request, target).request.body)["max_tokens"] == 5
    assert json.loads(OPENAI.codecs["chat"].build(request, target).request.body)["max_completion_tokens"] == 5


def test_a_rows_answers_carry_its_name() -> None:
    body = b'{"choices":[{"message":{"content":"x","reasoning_content":"hm"},"finish_reason":"stop"}]}'
    response = HttpResponse(status=200, headers=Headers(), body=body)
    answer = ROW.codecs["chat"].parse(response, Target(provider=ROW.name, model="m"))
    assert answer.provider == "some-host"
    assert answer.message.parts[0] == ReasoningPart(text="hm", provider="some-host")


@pytest.mark.parametrize("name", CATALOG)
def test_the_catalog_has_each_row_under_its_name(name: str) -> None:
    row = CATALOG[name]
    assert row.name == name
    assert row.base_url.startswith("https://")
    assert row.key_variables
    assert row.docs.startswith("https://")
