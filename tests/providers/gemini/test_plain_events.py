"""Events that add text only take a shorter way, with the same result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.operations.chat.operation import CHAT
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.gemini.stream import GeminiDecoder
from bifrost.wire.framing.sse import SseEvent

TARGET = Target(provider="gemini", model="gemini-2.5-pro")


def event(
    *parts: dict[str, Any], usage: int | None = None, whole: dict[str, Any] | None = None, **more: Any
) -> SseEvent:
    body: dict[str, Any] = {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, **more}],
        "modelVersion": "gemini-2.5-pro",
        "responseId": "r",
        **(whole or {}),
    }
    if usage is not None:
        body["usageMetadata"] = {"promptTokenCount": 3, "candidatesTokenCount": usage, "totalTokenCount": 3 + usage}
    return SseEvent(event="message", data=json.dumps(body).encode())


def read(events: list[SseEvent]) -> tuple[Any, int, str]:
    """Return the response, the number of chunks with usage, and the ending."""
    decoder = GeminiDecoder(TARGET)
    assert CHAT.streaming is not None
    grown: Any = CHAT.streaming.accumulator(provider="gemini", model=TARGET.model)
    counted = 0
    for each in events:
        for chunk in decoder.feed(each):
            counted += chunk.usage is not None
            grown.add(chunk)
    return grown.response(), counted, decoder.finish()


def test_usage_is_read_now_and_then_and_at_the_end() -> None:
    events = [event({"text": f"{place} "}, usage=place + 1) for place in range(100)]
    response, counted, ending = read([*events, event({"text": "end"}, usage=101, finishReason="STOP")])
    assert response.text == "".join(f"{place} " for place in range(100)) + "end"
    assert (response.usage.output_tokens, counted, ending) == (101, 5, "complete")


def test_usage_that_was_not_read_is_read_with_the_finish_reason() -> None:
    response, _, _ = read([event({"text": "a"}), event({"text": "b"}, usage=7), event(finishReason="STOP")])
    assert (response.text, response.usage.output_tokens) == ("ab", 7)


@pytest.mark.parametrize(
    "second",
    [
        event({"text": "b", "thoughtSignature": "s"}),
        event({"text": "b"}, {"text": "c"}),
        event({"text": "b"}, {"functionCall": {"name": "f"}}),
        event({"text": "b"}, index=1),
        event({"text": "b"}, groundingMetadata={"webSearchQueries": ["q"]}),
        event({"text": "b", "partMetadata": {}}),
        event({"text": "b", "thought": True}),
        event({"text": ""}),
        event({"text": "b"}, finishReason="MAX_TOKENS"),
        SseEvent(event="message", data=b"[" + event({"text": "b"}).data + b"]"),
    ],
)
def test_the_shorter_way_changes_nothing(second: SseEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event({"text": "a"}, usage=1), second, event({"text": "d"}), event({"text": "e"}, finishReason="STOP")]
    short = read(events)
    monkeypatch.setattr(GeminiDecoder, "_plain", lambda *_: None)
    assert short == read(events)


def test_an_error_beside_text_is_raised() -> None:
    error = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    with pytest.raises(ReportedError, match="busy"):
        read([event({"text": "a"}), event({"text": "b"}, whole=error)])
