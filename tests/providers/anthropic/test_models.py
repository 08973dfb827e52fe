from __future__ import annotations

import json

import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.anthropic import MODELS
from bifrost.providers.base import ReportedError, Target
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

TARGET = Target(provider="mine", model="")


def parsed(body: bytes) -> ModelsResponse:
    return MODELS.parse(HttpResponse(status=200, headers=Headers(), body=body), TARGET)


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ModelsRequest(), "/v1/models"),
        (ModelsRequest(limit=5), "/v1/models?limit=5"),
        (ModelsRequest(limit=5, after="a/b c&d"), "/v1/models?limit=5&after_id=a%2Fb%20c%26d"),
    ],
)
def test_a_page_is_asked_for(request_: ModelsRequest, path: str) -> None:
    built = MODELS.build(request_, TARGET).request
    assert (built.method, built.path, built.body) == ("GET", path, b"")
    assert built.source is request_


def test_a_page_of_models() -> None:
    models = [
        {
            "type": "model",
            "id": "claude-a",
            "display_name": "Claude A",
            "created_at": "2025-02-19T00:00:00Z",
            "max_input_tokens": 200000,
            "max_tokens": 64000,
            "capabilities": {"batch": {"supported": True}},
        },
        {"type": "model", "id": "claude-b", "created_at": "once upon a time"},
        {"id": "claude-c"},
    ]
    page = {"data": models, "has_more": True, "first_id": "claude-a", "last_id": "claude-c"}
    response = parsed(json.dumps(page).encode())
    assert response.data == [
        ModelInfo(
            id="claude-a",
            provider="mine",
            name="Claude A",
            created=1739923200,
            context_window=200000,
            max_output_tokens=64000,
        ),
        ModelInfo(id="claude-b", provider="mine"),
        ModelInfo(id="claude-c", provider="mine"),
    ]
    assert response.next == "claude-c"
    assert response.provider == "mine"
    assert json.loads(response.raw) == page


def test_the_last_page_has_no_next() -> None:
    assert parsed(b'{"data": [{"id": "a"}], "has_more": false, "last_id": "a"}').next is None


@table("body", [b"", b"{}", b"[]", b'{"data": [3]}', b'{"data": [{"name": "x"}]}', b"<html>"])
def test_what_is_no_list_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        parsed(body)


def test_an_error_under_a_good_status_is_reported() -> None:
    with pytest.raises(ReportedError) as caught:
        parsed(b'{"type": "error", "error": {"type": "permission_error", "message": "no"}}')
    assert caught.value.status == 403
