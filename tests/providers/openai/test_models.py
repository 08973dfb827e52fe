from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai import build_models, parse_models
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

TARGET = Target(provider="somehost", model="")


def parse(body: Any) -> ModelsResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_models(HttpResponse(status=200, headers=Headers(), body=data), TARGET)


def test_request_is_a_plain_get() -> None:
    request = ModelsRequest()
    built = build_models(request, TARGET)
    assert (built.request.method, built.request.path) == ("GET", "/models")
    assert (built.request.headers, built.request.body, built.warnings) == ({}, b"", [])
    assert built.request.source is request


def test_pages_are_left_out_with_a_warning() -> None:
    built = build_models(ModelsRequest(limit=5, after="m"), TARGET)
    assert built.warnings == [
        "limit was left out: somehost gives all its models at once",
        "after was left out: somehost gives all its models at once",
    ]


def test_models_are_read() -> None:
    answer = {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": 5, "owned_by": "openai"},
            {"id": "b", "created": "yesterday", "owned_by": None, "shutdown_date": "2030-01-01"},
            {"name": "without an id"},
        ],
    }
    response = parse(answer)
    assert response.data == [
        ModelInfo(id="a", provider="somehost", created=5, owned_by="openai"),
        ModelInfo(id="b", provider="somehost"),
    ]
    assert response.raw == json.dumps(answer).encode()
    assert (response.provider, response.next) == ("somehost", None)


def test_a_list_of_no_models_is_one() -> None:
    assert parse({"data": []}).data == []
    assert parse({"object": "list", "data": None}).data == []


@table("answer", [b"", b"<html>", {}, 5, ["a"], {"data": 5}, {"data": ["a"]}])
def test_what_is_no_list_is_malformed(answer: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse(answer)


def test_an_error_under_a_good_status_is_reported() -> None:
    with pytest.raises(ReportedError, match="busy"):
        parse({"error": {"message": "busy"}})
    with pytest.raises(ReportedError, match="busy"):
        parse({"data": None, "error": {"message": "busy"}})
