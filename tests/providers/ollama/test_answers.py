"""Ollama's responses and streams, compared with what the vendor's SDK reads."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import ollama
import pytest

from bifrost.errors import MalformedResponseError, ResponseTooLargeError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.content import ImagePart, ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.completions import CompletionAccumulator, CompletionResponse
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.ollama import OLLAMA
from bifrost.providers.ollama.errors import parse_error
from bifrost.wire.framing.jsonl import JsonLinesParser
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases

TARGET = Target(provider="ollama", model="m")
RECORDED = [case for case in cases() if case.provider.name == "ollama"]
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}


def answer(body: Any, status: int = 200) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers=Headers.of(), body=data)


def parsed(body: Any, operation: str = "chat") -> Any:
    return OLLAMA.codecs[operation].parse(answer(body), TARGET)


def streamed(lines: list[Any], operation: str = "chat") -> tuple[Any, str]:
    """Feed lines; gives the response and how the stream ended."""
    codec = OLLAMA.codecs[operation]
    assert codec.decoder is not None
    decoder = codec.decoder(TARGET)
    kind = ChatAccumulator if operation == "chat" else CompletionAccumulator
    grown: Any = kind(provider="ollama", model="m")
    data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    parser = JsonLinesParser()
    for line in [*parser.feed(data), *parser.finish()]:
        for chunk in decoder.feed(line):
            grown.add(chunk)
    return grown.response(), decoder.finish()


def read_by_the_sdk(case: Case) -> dict[str, Any]:
    """Return the message and the numbers that the SDK reads; a stream's pieces are joined."""
    kind = "application/x-ndjson" if case.is_stream else "application/json"

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=case.body, headers={"content-type": kind})

    client = ollama.Client(transport=httpx.MockTransport(respond))
    if case.operation == "chat":
        found: Any = client.chat(model="m", messages=[], stream=case.is_stream)
        parts = list(found) if case.is_stream else [found]
        text = "".join(part.message.content or "" for part in parts)
    else:
        found = client.generate(model="m", prompt="a", stream=case.is_stream)
        parts = list(found) if case.is_stream else [found]
        text = "".join(part.response for part in parts)
    last = parts[-1]
    return {
        "text": text,
        "model": last.model,
        "input": last.prompt_eval_count or 0,
        "output": last.eval_count,
        "reason": last.done_reason,
    }


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_the_sdk_reads_a_recorded_answer_in_the_same_way(case: Case) -> None:
    kind = ChatResponse if case.operation == "chat" else CompletionResponse
    ours: Any = msgspec.convert(case.expected["response"], kind)
    assert read_by_the_sdk(case) == {
        "text": ours.text,
        "model": ours.model,
        "input": ours.usage.input_tokens,
        "output": ours.usage.output_tokens,
        "reason": ours.choices[0].native_finish_reason,
    }
    assert ours.created > 1_700_000_000


CALLS: list[dict[str, Any]] = [
    {"function": {"name": "f", "arguments": {"a": [1, "ä"]}}},
    {"id": "call_x", "function": {"name": "g", "arguments": '{"b": 1}', "index": 1}},
    {"function": {"name": "h", "arguments": None}},
]


def test_every_part_of_a_message_is_read() -> None:
    message = {"role": "assistant", "content": "t", "thinking": "hm", "tool_calls": CALLS, "images": ["AA=="]}
    reply = parsed({"model": "served", "created_at": "2025-01-01T00:00:00.123456789Z", "message": message, **END})
    thought, text, first, second, third, image = reply.message.parts
    assert (thought, text, image) == (
        ReasoningPart(text="hm", provider="ollama"),
        TextPart(text="t"),
        ImagePart(data="AA=="),
    )
    assert isinstance(first, ToolCall)
    assert [(call.name, call.arguments) for call in (first, second, third)] == [
        ("f", '{"a":[1,"ä"]}'),
        ("g", '{"b": 1}'),
        ("h", ""),
    ]
    assert second.id == "call_x"
    assert len({first.id, second.id, third.id}) == 3
    assert (reply.finish_reason, reply.usage, reply.model) == (
        "tool_calls",
        Usage(input_tokens=3, output_tokens=2),
        "served",
    )
    assert reply.created == 1_735_689_600


def test_a_stream_gives_the_response_of_a_plain_answer() -> None:
    logprobs = [{"token": "t", "logprob": -0.5, "bytes": [116], "top_logprobs": [{"token": "u", "logprob": -2.0}]}]
    lines = [
        {"model": "served", "message": {"role": "assistant", "thinking": "h", "content": ""}, "done": False},
        {"model": "served", "message": {"thinking": "m"}},
        b"\n",
        {"model": "served", "message": {"content": "t"}, "logprobs": logprobs},
        {"model": "served", "message": {"content": "", "tool_calls": CALLS[1:2]}, "done": False},
        {"model": "served", "message": {"role": "assistant", "content": ""}, **END},
    ]
    message = {"role": "assistant", "content": "t", "thinking": "hm", "tool_calls": CALLS[1:2]}
    whole = parsed({"model": "served", "message": message, "logprobs": logprobs, **END}).replace(raw=b"")
    assert streamed(lines) == (whole, "complete")
    assert whole.choices[0].logprobs.content[0].top_logprobs[0].token == "u"
    assert streamed([b"".join(json.dumps(line).encode() + b"\r\n" for line in lines if line != b"\n")])[0] == whole
    ids = [call.id for call in streamed([{"message": {"tool_calls": [CALLS[0]]}}] * 3)[0].tool_calls]
    assert len(set(ids)) == 3


def test_a_completion_is_read_plain_and_streamed() -> None:
    lines = [
        {"model": "served", "response": "a", "thinking": "h", "done": False},
        {"model": "served", "response": "b"},
        {"model": "served", "response": "", **END, "done_reason": "length"},
    ]
    whole = parsed(
        {"model": "served", "response": "ab", "thinking": "h", **END, "done_reason": "length"}, "completions"
    )
    assert streamed(lines, "completions") == (whole.replace(raw=b""), "complete")
    assert (whole.finish_reason, whole.choices[0].reasoning) == ("length", "h")


REASONS = {
    "stop": "stop",
    "length": "length",
    "load": "stop",
    "unload": "stop",
    "new": "unknown",
    None: "stop",
    "": "stop",
}


def test_finish_reasons() -> None:
    for native, reason in REASONS.items():
        reply = parsed({"message": {"content": "a"}, "done": True, "done_reason": native})
        assert (reply.finish_reason, reply.choices[0].native_finish_reason) == (reason, native or None)
    assert parsed({"message": {"content": "a"}, "done": False}).finish_reason is None


def test_usage_that_is_missing_or_odd() -> None:
    for members, usage in (
        ({}, Usage()),
        ({"eval_count": 2}, Usage(output_tokens=2)),
        ({"prompt_eval_count": 3}, Usage(input_tokens=3)),
        ({"prompt_eval_count": None, "eval_count": "many"}, Usage()),
        ({"prompt_eval_count": -1, "eval_count": 2}, Usage(output_tokens=2)),
    ):
        assert parsed({"message": {"content": "a"}, **members}).usage == usage


def test_odd_members_are_read_or_ignored() -> None:
    for message, parts in (
        ({"content": None, "thinking": None, "tool_calls": None, "images": None}, []),
        ({"content": "a", "tool_calls": [], "images": [], "new": 1}, [TextPart(text="a")]),
        ({"content": "a", "thinking": {"text": "b"}}, [TextPart(text="a")]),
        ({"content": "a", "images": 5}, [TextPart(text="a")]),
    ):
        assert parsed({"message": message, "created_at": 5, "model": None, "done": True}).message.parts == parts
    assert parsed({"message": {"content": "a"}, "created_at": "yesterday"}).created == 0


def test_a_response_in_openais_form_is_read() -> None:
    body = {"choices": [{"message": {"content": "a", "reasoning": "r"}, "finish_reason": "stop"}], "model": "o"}
    assert (parsed(body).text, parsed(body).reasoning) == ("a", "r")
    lines = [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ]
    reply, ending = streamed(lines)
    assert (reply.text, reply.finish_reason, ending) == ("a", "stop", "complete")
    assert streamed(lines[:1])[1] == "cut"


def test_a_cut_stream_is_seen_as_cut() -> None:
    for lines in ([], [{"message": {"content": "a"}}], [{"message": {"content": "a"}, "done": False}]):
        assert streamed(lines)[1] == "cut"
    for lines in ([], [{"response": "a"}]):
        assert streamed(lines, "completions")[1] == "cut"
    assert streamed([{"message": {"content": "a"}, **END}, {"message": {"content": "b"}}])[0].text == "a"


def test_an_answer_without_a_message_is_refused() -> None:
    for body in ({}, {"message": None}, {"message": 5}, {"message": {"content": 5}}, [], b"no json", {"done": True}):
        with pytest.raises(MalformedResponseError):
            parsed(body)
    with pytest.raises(MalformedResponseError):
        parsed({"done": True}, "completions")
    with pytest.raises(MalformedResponseError):
        streamed([b"no json\n"])
    with pytest.raises(MalformedResponseError):
        streamed([{"message": {"content": 5}}])
    for operation, body in (("embeddings", {}), ("embeddings", {"embeddings": [[]]}), ("models", {})):
        with pytest.raises(MalformedResponseError):
            parsed(body, operation)


def test_too_many_parts_are_refused() -> None:
    many = [{"function": {"name": "f"}}] * 8193
    with pytest.raises(ResponseTooLargeError):
        parsed({"message": {"tool_calls": many}})
    with pytest.raises(ResponseTooLargeError):
        streamed([{"message": {"tool_calls": many}}])


ERRORS = [
    ({"error": "model 'x' not found"}, 404, "model 'x' not found, try pulling it first (ollama pull)"),
    ({"error": 'model "x" not found, try pulling it first'}, 404, 'model "x" not found, try pulling it first'),
    ({"error": "server busy, please try again"}, 503, "server busy, please try again"),
    ({"error": "an error was encountered while running the model"}, None, "an error was encountered while"),
    ({"error": {"message": "deep", "code": "429"}}, 429, "deep"),
    ({"error": True}, None, "true"),
]


def test_errors_under_a_good_status() -> None:
    for body, status, message in ERRORS:
        for read in (parsed, lambda body: streamed([body])):
            with pytest.raises(ReportedError) as caught:
                read(body)
            assert (caught.value.status, message in str(caught.value.body.message).lower()) == (status, True), body
    for operation in ("completions", "embeddings", "models"):
        with pytest.raises(ReportedError, match="broken"):
            parsed({"error": "broken"}, operation)


def test_errors_with_a_status() -> None:
    assert parse_error(answer({"error": "model 'x' not found"}, 404)).message.endswith(
        "try pulling it first (ollama pull)"
    )
    assert parse_error(answer(b"<title>Bad Gateway</title>", 502)).message == "a page of markup: Bad Gateway"


def test_vectors_are_in_the_order_of_the_texts() -> None:
    reply = parsed({"model": "e", "embeddings": [[0.5, 1], [2, 3.0]], "prompt_eval_count": 4}, "embeddings")
    assert (reply.vectors, reply.usage.input_tokens, reply.model) == ([[0.5, 1.0], [2.0, 3.0]], 4, "e")
    check = OLLAMA.codecs["embeddings"].check
    assert check is not None
    with pytest.raises(MalformedResponseError, match="2 vectors for 1 texts"):
        check(EmbeddingRequest(model="e", input=["a"]), reply)


def test_models_are_read() -> None:
    body = {
        "models": [
            {
                "name": "llama3:latest",
                "model": "llama3:latest",
                "modified_at": "2025-01-01T02:00:00.5+02:00",
                "size": 5,
            },
            {"name": "other", "modified_at": None},
            {"name": None},
        ]
    }
    models = parsed(body, "models").data
    assert [(each.id, each.created) for each in models] == [("llama3:latest", 1_735_689_600), ("other", None)]
