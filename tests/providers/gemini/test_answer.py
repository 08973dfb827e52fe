"""What Gemini and gateways in front of it send that no recording has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.content import AudioPart, FilePart, ImagePart, OpaquePart, RefusalPart, TextPart, VideoPart
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.gemini import CHAT
from bifrost.providers.gemini.stream import GeminiDecoder
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse

if TYPE_CHECKING:
    from bifrost.operations.chat.response import ChatResponse

TARGET = Target(provider="gemini", model="m")


def answer(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, **more}]}


def parse(body: Any) -> ChatResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CHAT.parse(HttpResponse(status=200, headers=Headers(), body=data), TARGET)


def stream(*events: Any) -> tuple[ChatResponse, str]:
    decoder, grown = GeminiDecoder(TARGET), ChatAccumulator(provider="gemini", model="m")
    for event in events:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        for chunk in decoder.feed(SseEvent(event=None, data=data)):
            grown.add(chunk)
    return grown.response(), decoder.finish()


def both(body: dict[str, Any]) -> ChatResponse:
    """Read a body whole and as the only event of a stream: both must say the same."""
    plain = parse(body)
    streamed, ending = stream(body)
    assert ending == "complete"
    assert streamed.choices == plain.choices
    assert (streamed.id, streamed.model, streamed.usage) == (plain.id, plain.model, plain.usage)
    return plain


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *((each, "content_filter") for each in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")),
        *((each, "content_filter") for each in ("IMAGE_SAFETY", "IMAGE_RECITATION", "MODEL_ARMOR")),
        *((each, "error") for each in ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "NO_IMAGE", "LANGUAGE")),
        ("CONTINUATION", "pause"),
        ("OTHER", "unknown"),
        ("SOMETHING_NEW", "unknown"),
    ],
)
def test_every_reason_has_a_word(reason: str, expected: str) -> None:
    read = both(answer({"text": "a"}, reason=reason))
    assert (read.finish_reason, read.choices[0].native_finish_reason) == (expected, reason)


def test_a_blocked_prompt_is_an_answer_without_content() -> None:
    read = both({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}, "usageMetadata": None})
    assert (read.finish_reason, read.choices[0].native_finish_reason) == ("content_filter", "SAFETY")
    assert read.message.parts == [RefusalPart(refusal="No.")]
    assert both({"promptFeedback": {"blockReason": "OTHER"}, "candidates": []}).message.parts == []


def test_media_of_the_model_are_parts() -> None:
    media = [
        {"inlineData": {"mimeType": kind, "data": "AA=="}}
        for kind in ("image/png", "audio/L16;rate=24000", "video/mp4", "application/pdf")
    ]
    assert both(answer(*media)).message.parts == [
        ImagePart(data="AA==", media_type="image/png"),
        AudioPart(data="AA==", format="L16;rate=24000"),
        VideoPart(data="AA==", media_type="video/mp4"),
        FilePart(data="AA==", media_type="application/pdf"),
    ]
    thought = {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thought": True}
    assert both(answer(thought)).message.parts == [OpaquePart(provider="gemini", kind="inlineData", data=thought)]


def test_parts_without_an_equivalent_are_kept_whole() -> None:
    part = {"thoughtSignature": "s", "novelty": {"a": [1]}}
    [kept] = both(answer(part)).message.parts
    assert kept == OpaquePart(provider="gemini", kind="novelty", data=part)
    assert both(answer({"thoughtSignature": "s"})).message.parts == [
        TextPart(text="", signature="s", provider="gemini")
    ]


def test_nothing_that_is_not_needed_breaks_an_answer() -> None:
    odd = answer({"text": "a", "thought": None, "functionCall": None, "inlineData": None}, None, {"text": ""})
    odd["candidates"][0] |= {
        "index": None,
        "groundingMetadata": "none",
        "citationMetadata": [1],
        "urlContextMetadata": None,
        "logprobsResult": 5,
        "safetyRatings": "x",
    }
    odd |= {"usageMetadata": "many", "responseId": None, "modelVersion": None, "createTime": "yesterday", "error": None}
    read = both(odd)
    assert (read.text, read.usage.total_tokens, read.model, read.created) == ("a", 0, "m", 0)
    typed = answer({"text": "a", "thoughtSignature": {}, "thought": "no"}) | {"responseId": 3, "modelVersion": ["m"]}
    typed |= {"createTime": 5.0, "promptFeedback": "none"}
    typed["candidates"][0] |= {"finishReason": {"name": "STOP"}}
    assert (parse(typed).text, parse(typed).finish_reason) == ("a", None)
    floats = answer({"text": "a"}) | {"usageMetadata": {"promptTokenCount": 3.0, "candidatesTokenCount": "2"}}
    assert both(floats).usage.total_tokens == 5


@pytest.mark.parametrize("args", [None, {}, "absent", '{"a":1}'])
def test_arguments_in_every_form(args: Any) -> None:
    call = {"name": "f"} if args == "absent" else {"name": "f", "args": args}
    [read] = both(answer({"functionCall": call}) | {"responseId": "r"}).tool_calls
    assert read.parse_arguments() == ({"a": 1} if args == '{"a":1}' else {})


def test_calls_without_ids_get_ids_that_stay() -> None:
    calls = [{"functionCall": {"name": "f", "args": {}}}] * 2
    body = answer(*calls) | {"responseId": "r"}
    first, second = ([call.id for call in both(body).tool_calls] for _ in range(2))
    assert first == second
    assert len(set(first)) == 2
    other = [call.id for call in both(body | {"responseId": "s"}).tool_calls]
    assert not set(first) & set(other)
    nameless, again = ([call.id for call in parse(answer(*calls)).tool_calls] for _ in range(2))
    assert len({*nameless, *again}) == 4


def test_several_candidates_are_several_choices() -> None:
    body = {
        "candidates": [
            {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": index}
            for index, text in ((1, "b"), (0, "a"))
        ]
    }
    streamed, ending = stream(body)
    assert ([choice.message.text for choice in streamed.choices], ending) == (["a", "b"], "complete")
    open_ones = {"candidates": [{"content": {"parts": [{"text": "c"}]}, "index": 2}]}
    assert stream(body, open_ones)[1] == "cut"


def test_usage_adds_up() -> None:
    counted = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 135,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}, {"modality": "TEXT", "tokenCount": 70}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
    }
    usage = both(answer({"text": "a"}) | {"usageMetadata": counted}).usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (110, 25, 5)
    assert (usage.cache_read_tokens, usage.input_audio_tokens, usage.uncached_tokens) == (40, 18, 52)
    assert (usage.output_audio_tokens, usage.output_text_tokens) == (8, 12)
    inside = counted | {"candidatesTokenCount": 25}
    assert both(answer({"text": "a"}) | {"usageMetadata": inside}).usage.output_tokens == 25


def test_log_probabilities() -> None:
    result = {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "!"}],
        "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "Yo"}]}],
    }
    logprobs = both(answer({"text": "Hi!"}, logprobsResult=result)).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [(each.token, each.logprob, len(each.top_logprobs)) for each in logprobs.content] == [
        ("Hi", -0.5, 2),
        ("!", 0.0, 0),
    ]


def test_sources_have_places_in_characters() -> None:
    text = "Grüße aus Köln. Ja."
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a.example", "title": "A"}},
            {"retrievedContext": {"documentName": "D", "fileSearchStore": "s"}},
            {"maps": 5},
        ],
        "groundingSupports": [
            {"segment": {"endIndex": 18, "text": text[:15]}, "groundingChunkIndices": [0, 1, 2, 9]},
            {"segment": {"startIndex": 19, "endIndex": 999}, "groundingChunkIndices": [0]},
            {},
        ],
    }
    recited = {"citationSources": [{"startIndex": 0, "endIndex": 7, "uri": "https://r.example"}]}
    read = both(answer({"text": text}, groundingMetadata=grounding, citationMetadata=recited))
    assert [(each.url, each.title, each.start, each.end, each.file_id) for each in read.message.citations] == [
        ("https://a.example", "A", 0, 15, None),
        (None, "D", 0, 15, "s"),
        (None, None, 0, 15, None),
        ("https://a.example", "A", 16, None, None),
        ("https://r.example", None, 0, 5, None),
    ]
    assert [part.kind for part in read.message.opaque] == ["groundingMetadata"]


def test_sources_that_come_twice_count_once() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example"}}],
        "groundingSupports": [{"segment": {"endIndex": 1, "text": "a"}, "groundingChunkIndices": [0]}],
    }
    first = answer({"text": "a"}, reason=None, groundingMetadata=grounding)
    read, _ = stream(first, answer({"text": "b"}, groundingMetadata=grounding))
    assert (read.text, len(read.message.citations), len(read.message.opaque)) == ("ab", 1, 1)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", {}, {"candidates": []}, {"candidates": [{"content": {}}]}, {"promptFeedback": {}}]
)
def test_what_is_no_answer_is_refused(body: Any) -> None:
    with pytest.raises(MalformedResponseError):
        parse(body)


def test_an_answer_alone_in_a_list_is_the_answer() -> None:
    assert parse([answer({"text": "a"})]).text == "a"


@pytest.mark.parametrize("listed", [False, True])
def test_an_error_under_a_good_status_has_its_own_code(listed: bool) -> None:
    error: Any = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    body = [error] if listed else error
    for read in (parse, stream):
        with pytest.raises(ReportedError) as caught:
            read(body)
        assert (caught.value.status, caught.value.body.type, caught.value.body.message) == (
            503,
            "UNAVAILABLE",
            "overloaded",
        )


def test_usage_may_come_behind_the_end() -> None:
    read, ending = stream(
        answer({"text": "a"}), {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}}, b"[DONE]"
    )
    assert (read.text, read.usage.total_tokens, read.finish_reason, ending) == ("a", 3, "stop", "complete")


def test_usage_alone_commits_no_stream() -> None:
    decoder = GeminiDecoder(TARGET)
    first = decoder.feed(SseEvent(event=None, data=b'{"candidates":[],"usageMetadata":{"promptTokenCount":1}}'))
    assert not any(chunk.has_content for chunk in first)
    second = decoder.feed(SseEvent(event=None, data=json.dumps(answer({"text": "a"}, reason=None)).encode()))
    assert [chunk.usage and chunk.usage.input_tokens for chunk in second] == [1]
    assert decoder.finish() == "cut"


def call(**fields: Any) -> dict[str, Any]:
    return answer({"functionCall": fields}, reason=None)


def piece(path: str, **value: Any) -> dict[str, Any]:
    return call(partialArgs=[{"jsonPath": path, **value}], willContinue=True)


def test_arguments_come_in_pieces() -> None:
    read, _ = stream(
        call(name="f", willContinue=True),
        piece("$.city.names[0]", stringValue="Bo", willContinue=True),
        piece("$.city.names[0]", stringValue="nn"),
        piece("$.city.names[1]", stringValue="Köln"),
        piece("$['a b']", numberValue=1.5),
        piece("$.yes", boolValue=True),
        piece("$.none", nullValue="NULL_VALUE"),
        call(),
        call(),
        call(name="g", args={"x": 1}),
        answer(),
    )
    assert [(each.name, each.parse_arguments()) for each in read.tool_calls] == [
        ("f", {"city": {"names": ["Bonn", "Köln"]}, "a b": 1.5, "yes": True, "none": None}),
        ("g", {"x": 1}),
    ]
    assert read.finish_reason == "tool_calls"


@pytest.mark.parametrize("path", ["", "$", "$.a[5]", "$.a.b", "a", "$..a", "$.a" * 70, "$[0]"])
def test_a_place_that_does_not_exist_is_refused(path: str) -> None:
    with pytest.raises(MalformedResponseError, match="arguments name"):
        stream(call(name="f", willContinue=True), piece("$.a", numberValue=1), piece(path, stringValue="x"))


def test_arguments_of_no_call_are_refused() -> None:
    with pytest.raises(MalformedResponseError, match="not begun"):
        stream(call(name="f"), piece("$.a", numberValue=1))
    with pytest.raises(MalformedResponseError, match="willContinue"):
        stream(call(name="f", willContinue="perhaps"))


@pytest.mark.parametrize("reason", ["", "FINISH_REASON_UNSPECIFIED"])
def test_the_default_reason_is_none(reason: str) -> None:
    first = answer({"text": "a"}, reason=reason)
    assert parse(first).finish_reason is None
    assert stream(first)[1] == "cut"
    read, ending = stream(first, answer({"text": "b"}))
    assert (read.text, read.finish_reason, ending) == ("ab", "stop", "complete")


def test_a_call_that_the_end_cuts_off_has_what_came() -> None:
    read, _ = stream(call(name="f", willContinue=True), piece("$.a", stringValue="x"), answer(reason="MAX_TOKENS"))
    assert [each.parse_arguments() for each in read.tool_calls] == [{"a": "x"}]


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(ResponseTooLargeError):
        parse(answer(*[{"text": "a"}] * 8193))


def test_halves_of_characters_are_replaced() -> None:
    body = json.dumps(answer({"text": "a"})).replace('"a"', r'"a\ud83d"').encode()
    assert parse(body).text == "a\ufffd"
