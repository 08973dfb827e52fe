"""OpenAI's completions of texts, compared with what the vendor's SDK sends and reads."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Completion

from bifrost.errors import InvalidRequestError, MalformedResponseError, ResponseTooLargeError, UnsupportedError
from bifrost.operations.completions import (
    CompletionAccumulator,
    CompletionChunk,
    CompletionOptions,
    CompletionRequest,
    CompletionResponse,
    completion_request,
)
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.openai.completions import CompletionDecoder, parse_completions
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases

TARGET = Target(provider="openai", model="m")
RECORDED = [
    case for case in cases() if case.operation == "completions" and case.provider.name in {"openai", "together"}
]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def built(
    prompt: Any, provider: str = "openai", *, stream: bool = False, **options: Any
) -> tuple[dict[str, Any], list[str]]:
    request = completion_request("m", prompt, CompletionOptions(**options))
    made = CATALOG[provider].codecs["completions"].build(request, Target(provider=provider, model="m", stream=stream))
    assert made.request.method == "POST"
    assert made.request.path == ("/beta/completions" if provider == "deepseek" else "/completions")
    return json.loads(bytes(made.request.body)), made.warnings


def sent_by_the_sdk(**given: Any) -> dict[str, Any]:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        body = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": []}
        return httpx2.Response(200, json=body)

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        openai.OpenAI(api_key="sk-a", http_client=http).completions.create(model="m", **given)
    assert sent[0].url.path == "/v1/completions"
    return json.loads(sent[0].content)


SAME: list[dict[str, Any]] = [
    {"prompt": "a"},
    {"prompt": ["a", "b"]},
    {"prompt": [[1, 2], [3]]},
    {"prompt": ""},
    {"prompt": "a", "suffix": "z", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9},
    {"prompt": "a", "n": 2, "best_of": 3, "echo": True, "logprobs": 0, "seed": 7, "user": "u"},
    {
        "prompt": "a",
        "stop": ["x", "y"],
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"50256": -100},
    },
]


def test_the_sdk_sends_the_same() -> None:
    for given in SAME:
        assert built(**given) == (sent_by_the_sdk(**given), [])


def test_every_option_has_a_case() -> None:
    known = set(CompletionRequest.__struct_fields__) - {"model", "extra", "top_k"}
    assert {name for given in SAME for name in given} == known
    assert set(CompletionOptions.__annotations__) == set(CompletionRequest.__struct_fields__) - {"model", "prompt"}


def test_other_forms_of_options_are_understood() -> None:
    assert built([1, 2])[0]["prompt"] == [1, 2]
    assert built("a", stop="x")[0]["stop"] == ["x"]
    assert built("a", logit_bias={5: 2.5})[0]["logit_bias"] == {"5": 2.5}
    assert built("a", stream=True)[0] == {
        "model": "m",
        "prompt": "a",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body, _ = built("a", extra={"openai": {"new": 1}, "together": {"other": 2}})
    assert (body["new"], "other" in body) == (1, False)


LACKING: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"top_k": 5}, "top_k was left out: openai has no such option"),
    ("together", {"best_of": 5}, "best_of was left out: together has no such option"),
    ("deepseek", {"seed": 5}, "seed was left out: deepseek has no such option"),
    ("deepseek", {"logit_bias": {"1": 1}}, "logit_bias was left out: deepseek has no such option"),
]


def test_what_only_tunes_is_left_out_and_told() -> None:
    for provider, options, warning in LACKING:
        body, warnings = built("a", provider, **options)
        assert (body, warnings) == ({"model": "m", "prompt": "a"}, [warning])
    assert built("a", "together", top_k=5) == ({"model": "m", "prompt": "a", "top_k": 5}, [])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("together", {"suffix": "z"}, "together fills no gaps in a text"),
    ("llamacpp", {"echo": True}, "llamacpp does not repeat the prompt"),
    ("lmstudio", {"logprobs": 1}, "lmstudio gives no log probabilities"),
    ("deepseek", {"n": 2}, "deepseek gives one answer per request"),
    ("openai", {"extra": {"openai": {"stream": True}}}, "stream_complete"),
]


def test_what_changes_the_meaning_is_refused() -> None:
    for provider, options, message in REFUSED:
        with pytest.raises((UnsupportedError, InvalidRequestError), match=message):
            built("a", provider, **options)


# --- responses

LOGPROBS = {
    "tokens": ["a", "b", "c", "d"],
    "token_logprobs": [None, -0.5, -1.5, None],
    "top_logprobs": [None, {"b": -0.5, "x": -2.0}, {}, None],
    "text_offset": [0, 1, 2, 3],
}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_the_sdk_reads_a_recorded_answer_in_the_same_way(case: Case) -> None:
    ours = parse_completions(case.answer, case.target)
    theirs = Completion.construct(**json.loads(case.body))
    assert (ours.id, ours.model, ours.created) == (theirs.id, theirs.model, theirs.created)
    read = [(each.text, each.index, each.native_finish_reason) for each in ours.choices]
    # Together sends no index.
    recorded = json.loads(case.body)["choices"]
    assert read == [
        (each["text"], each.get("index", place), each["finish_reason"]) for place, each in enumerate(recorded)
    ]
    usage = json.loads(case.body)["usage"]
    assert (ours.usage.input_tokens, ours.usage.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])


def test_log_probabilities_are_those_of_the_sdk() -> None:
    body: dict[str, Any] = {"choices": [{"text": "abcd", "index": 0, "finish_reason": "stop", "logprobs": LOGPROBS}]}
    logprobs = parse_completions(answer(body), TARGET).choices[0].logprobs
    theirs = Completion.construct(None, **body).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert theirs is not None
    tokens = list(zip(theirs.tokens or (), theirs.token_logprobs or (), theirs.top_logprobs or (), strict=True))
    assert [
        (each.token, each.logprob, {top.token: top.logprob for top in each.top_logprobs}) for each in logprobs.content
    ] == [each for each in tokens if each[1] is not None]


def test_log_probabilities_of_other_servers_are_read() -> None:
    forms: list[Any] = [
        {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]},
        {"tokens": ["a"], "token_logprobs": [-0.5], "token_ids": [5]},
        {"tokens": ["a", "b"], "token_logprobs": [-0.5], "top_logprobs": "none"},
        {"tokens": ["a"], "token_logprobs": ["-0.5"], "top_logprobs": [["b"]]},
    ]
    for form in forms:
        read = parse_completions(answer({"choices": [{"text": "a", "logprobs": form}]}), TARGET).choices[0].logprobs
        assert read is not None, form
        assert [(each.token, each.logprob) for each in read.content or ()] == [("a", -0.5)]
    for odd in (None, 5, [], {}, {"tokens": []}, {"tokens": [1]}, {"tokens": ["a"], "token_logprobs": None}):
        assert parse_completions(answer({"choices": [{"logprobs": odd}]}), TARGET).choices[0].logprobs is None


def test_odd_answers_are_read() -> None:
    body = {
        "id": None,
        "created": "now",
        "choices": [
            {"text": None, "message": {"content": "a"}, "finish_reason": "eos", "index": None},
            {"text": "b", "reasoning": "r", "finish_reason": "new", "stop_reason": "X", "index": 1.0},
        ],
        "usage": {"prompt_tokens": 3.0, "completion_tokens": 2},
        "extra": [1],
    }
    response = parse_completions(answer(body), TARGET)
    first, second = response.choices
    assert (response.id, response.created, response.model) == ("", 0, "m")
    assert (first.text, first.index, first.finish_reason, first.native_finish_reason) == ("a", 0, "stop", "eos")
    assert (second.text, second.finish_reason, second.reasoning, second.stop_sequence) == ("b", "unknown", "r", "X")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


def test_an_answer_without_choices_is_refused() -> None:
    for body in ({}, {"choices": []}, {"choices": None}, {"choices": 5}, [], b"no json"):
        with pytest.raises(MalformedResponseError):
            parse_completions(answer(body), TARGET)
    with pytest.raises(ReportedError, match="too many"):
        parse_completions(answer({"error": {"message": "too many"}}), TARGET)
    with pytest.raises(ResponseTooLargeError):
        parse_completions(answer({"choices": [{"text": "a"}] * 1025}), TARGET)


# --- streams


def event(data: Any, name: str | None = None) -> SseEvent:
    return SseEvent(data=data if isinstance(data, bytes) else json.dumps(data).encode(), event=name)


def piece(text: str, *, index: int = 0, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"text": text, "index": index, "finish_reason": finish_reason, **more}]}


def fed(*events: SseEvent) -> tuple[list[CompletionChunk], CompletionDecoder]:
    decoder = CompletionDecoder(TARGET)
    return [chunk for each in events for chunk in decoder.feed(each)], decoder


def test_a_stream_gives_the_response_of_a_plain_answer() -> None:
    logprobs = {"tokens": ["b"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -0.5}]}
    events = [
        piece("a"),
        piece("x", index=1),
        piece("b", logprobs=logprobs),
        piece("", finish_reason="stop"),
        piece("y", index=1, finish_reason="length"),
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 4}},
        b"[DONE]",
    ]
    chunks, decoder = fed(*map(event, events))
    grown = CompletionAccumulator(provider="openai", model="m")
    for chunk in chunks:
        grown.add(chunk)
    whole = {
        "id": "c",
        "choices": [
            {"text": "ab", "index": 0, "finish_reason": "stop", "logprobs": logprobs},
            {"text": "xy", "index": 1, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 4},
    }
    assert grown.response() == parse_completions(answer(whole), TARGET).replace(raw=b"")
    assert (decoder.finish(), grown.finished) == ("complete", True)
    assert "".join(chunk.text for chunk in chunks) == "ab"
    assert decoder.feed(event(piece("more"))) == ()


def test_a_cut_stream_is_seen_as_cut() -> None:
    assert fed()[1].finish() == "cut"
    assert fed(event(piece("a")))[1].finish() == "cut"
    assert fed(event(piece("a", finish_reason="stop")), event(piece("b", index=1)))[1].finish() == "cut"
    assert fed(event(piece("a", finish_reason="stop")), event(piece("")))[1].finish() == "unmarked"


def test_odd_events_are_read_or_skipped() -> None:
    chunks, _ = fed(
        event(b" "),
        event({"object": "ping"}),
        event({"choices": [{"text": 5, "index": "0"}]}),
        event({"choices": [{"text": "a"}], "model": 7, "id": 5, "created": None}),
        event(b"keep-alive", "ping"),
    )
    assert [chunk.text for chunk in chunks] == ["", "a"]
    assert chunks[1] == CompletionChunk(choices=chunks[1].choices, model="m")


def test_errors_in_a_stream() -> None:
    for each in (event({"error": {"message": "busy"}}), event({"message": "busy"}, "error"), event(b"busy", "error")):
        with pytest.raises(ReportedError, match="busy"):
            fed(each)
    with pytest.raises(MalformedResponseError):
        fed(event(b"no json"))
    with pytest.raises(ResponseTooLargeError):
        fed(*(event(piece("a", index=index)) for index in range(1025)))


def test_responses_in_openais_form() -> None:
    body = {"choices": [{"text": "abcd", "index": 0, "finish_reason": "stop", "logprobs": LOGPROBS}], "created": 5}
    form = parse_completions(
        answer({**body, "system_fingerprint": "f", "usage": {"total_tokens": 3}}), TARGET
    ).to_dict()
    theirs = Completion.model_validate({**form, "id": "c"})
    assert theirs.choices[0].text == "abcd"
    assert theirs.choices[0].logprobs is not None
    assert theirs.choices[0].logprobs.tokens == ["b", "c"]
    assert (form["system_fingerprint"], form["usage"]["total_tokens"]) == ("f", 3)
    assert CompletionResponse(choices=[]).to_dict()["choices"] == []
