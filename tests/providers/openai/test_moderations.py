"""OpenAI's moderations, compared with what the vendor's SDK sends and reads."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from openai.types import ModerationCreateResponse

from bifrost.errors import MalformedResponseError
from bifrost.operations.moderations import ModerationRequest, ModerationResult
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai.moderations import build_moderations, check_moderations, parse_moderations
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import cases
from tests.table import table

TARGET = Target(provider="openai", model="omni-moderation-latest")
PICTURE = "https://example.org/cat.png"
(RECORDED,) = [case for case in cases() if case.operation == "moderations"]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def sent_by_the_sdk(given: Any) -> dict[str, Any]:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"id": "m", "model": "m", "results": []})

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        client = openai.OpenAI(api_key="sk-a", http_client=http)
        client.moderations.create(model="omni-moderation-latest", input=given)
    assert sent[0].url.path == "/v1/moderations"
    return json.loads(sent[0].content)


@table(
    ("request_", "given"),
    [
        (ModerationRequest(model="m", input=["one"]), ["one"]),
        (ModerationRequest(model="m", input=["one", "two"]), ["one", "two"]),
        (
            ModerationRequest(model="m", input=["look"], images=[PICTURE]),
            [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
        ),
        (
            ModerationRequest(model="m", images=[PICTURE]),
            [{"type": "image_url", "image_url": {"url": PICTURE}}],
        ),
    ],
    ids=["a text", "texts", "text and picture", "picture"],
)
def test_the_sdk_sends_the_same(request_: ModerationRequest, given: Any) -> None:
    built = build_moderations(request_, TARGET)
    assert json.loads(built.request.body) == sent_by_the_sdk(given)
    assert (built.request.method, built.request.path, built.warnings) == ("POST", "/moderations", [])


def test_what_only_openai_has_is_sent_as_it_is() -> None:
    request = ModerationRequest(model="m", input=["a"], extra={"openai": {"policy": 1}, "mistral": {"other": 2}})
    assert json.loads(build_moderations(request, TARGET).request.body)["policy"] == 1
    assert b"other" not in build_moderations(request, TARGET).request.body


def test_the_sdk_reads_a_recorded_answer_in_the_same_way() -> None:
    ours = parse_moderations(RECORDED.answer, RECORDED.target)
    theirs = ModerationCreateResponse.model_validate({"id": "", **json.loads(RECORDED.body)})
    read = ModerationCreateResponse.model_validate(ours.to_dict())
    own = {"flagged", "categories", "category_scores", "category_applied_input_types"}
    assert [each.model_dump(include=own) for each in read.results] == [
        each.model_dump(include=own) for each in theirs.results
    ]
    assert ours.to_dict()["results"] == [each.model_dump(by_alias=True, include=own) for each in theirs.results]
    assert (read.id, read.model) == (theirs.id, theirs.model)
    assert not ours.flagged
    check_moderations(ModerationRequest(model="m", input=["What is the capital of France?"]), ours)


def test_categories_that_are_null_are_left_out() -> None:
    body = {
        "results": [
            {
                "flagged": True,
                "categories": {"violence": True, "illicit": None, "hate": False},
                "category_scores": {"violence": 0.9, "illicit": None},
                "category_applied_input_types": {"violence": ["text"], "illicit": None},
            },
            {"flagged": False, "categories": None, "category_scores": None, "new": 1},
        ]
    }
    response = parse_moderations(answer(body), TARGET)
    assert response.results == [
        ModerationResult(
            flagged=True,
            categories={"violence": True, "hate": False},
            category_scores={"violence": 0.9},
            category_applied_input_types={"violence": ["text"]},
        ),
        ModerationResult(flagged=False),
    ]
    assert response.results[0].flagged_categories == ["violence"]
    assert (response.flagged, response.model, response.id) == (True, "omni-moderation-latest", "")


@table("body", [{}, {"results": []}, {"results": None}, {"results": 5}, [], b"no json", {"id": "m"}])
def test_an_answer_without_results_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse_moderations(answer(body), TARGET)


def test_an_error_under_a_good_status_is_an_error() -> None:
    with pytest.raises(ReportedError, match="too many"):
        parse_moderations(answer({"error": {"message": "too many", "type": "rate_limit"}}), TARGET)


@pytest.mark.parametrize(
    ("request_", "results"),
    [
        (ModerationRequest(model="m", input=["a", "b"]), 1),
        (ModerationRequest(model="m", input=["a"]), 2),
        (ModerationRequest(model="m", input=["a", "b"], images=[PICTURE]), 3),
    ],
)
def test_an_answer_to_other_inputs_is_refused(request_: ModerationRequest, results: int) -> None:
    response = parse_moderations(answer({"results": [{"flagged": False}] * results}), TARGET)
    with pytest.raises(MalformedResponseError, match=f"{results} results where there should be"):
        check_moderations(request_, response)
