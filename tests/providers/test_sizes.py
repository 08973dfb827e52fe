"""Answers of very many tiny things: refused before they take much memory, in both dialects, whole and streamed."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.errors import BifrostError, ResponseTooLargeError
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.sizes import (
    CHOICES_LIMIT,
    MODELS_LIMIT,
    NUMBERS_LIMIT,
    PARTS_LIMIT,
    VECTORS_LIMIT,
    check_count,
)
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.json import SMALL
from tests.table import table

if TYPE_CHECKING:
    from bifrost.operations.base import OperationName

SIZE = 400 * 1024
MOST = 8
"""How many times its bytes a parsed answer may take, those bytes included."""
SLACK = 3 * 1024 * 1024
"""What the limits on counts let any answer take, whatever its size."""

CHAT = b'{"id": "1", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", '
MESSAGE = b'{"type": "message", "stop_reason": "end_turn", "content": ['


def filled(head: bytes, item: bytes, tail: bytes, *, size: int = SIZE) -> bytes:
    """Return a document of this size, made of one item again and again."""
    return head + b",".join([item] * (size // (len(item) + 1))) + tail


def parsed(provider: str, body: bytes, endpoint: OperationName = "chat") -> Any:
    codec = CATALOG[provider].codecs[endpoint]
    return codec.parse(HttpResponse(status=200, headers=Headers(), body=body), Target(provider=provider, model="m"))


def warm_up() -> None:
    """Load what is loaded on first use, which would be counted otherwise."""
    for provider in ("openai", "anthropic"):
        with suppress(BifrostError, ReportedError):
            parsed(provider, b"{}")
    with suppress(BifrostError, ReportedError):
        parsed("openai", b"{}", "embeddings")


def peak_of(provider: str, body: bytes, endpoint: OperationName = "chat") -> tuple[Any, float]:
    """Return the answer or the error, and the most memory that reading it took, its body included."""
    warm_up()
    tracemalloc.start()
    outcome: Any
    try:
        outcome = parsed(provider, body, endpoint)
    except BifrostError as error:
        outcome = error.with_traceback(None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return outcome, peak + len(body)


ENTRY = b'{"token": "ab", "logprob": -0.123456, "bytes": [97, 98], "top_logprobs": []}'
RESULT = (
    b'{"type": "web_search_result", "title": "A title", "url": "https://example.org/a", "encrypted_content": "abcdef"}'
)
REAL = {
    "text": ("openai", filled(CHAT + b'"content": "', b"hello world", b'"}}]}')),
    "text beside an emoji": ("openai", filled(CHAT + b'"content": "\xf0\x9f\x98\x80', b"hello world", b'"}}]}')),
    "code": ("openai", CHAT + b'"content": ' + json.dumps('f({"a": [1, {}]})\n' * (SIZE // 20)).encode() + b"}}]}"),
    "log probabilities": (
        "openai",
        filled(b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [', ENTRY, b"]}}]}"),
    ),
    "blocks": ("anthropic", filled(MESSAGE, b'{"type": "text", "text": "' + b"x" * 200 + b'"}', b"]}")),
    "search results": ("anthropic", filled(MESSAGE + b'{"type": "web_search_result", "content": [', RESULT, b"]}]}")),
}
TINY = {
    "choices": ("openai", (b'{"choices": [', b"{}", b"]}")),
    "choices with messages": ("openai", (b'{"choices": [', b'{"message": {"content": "a"}}', b"]}")),
    "calls": ("openai", (CHAT + b'"tool_calls": [', b"{}", b"]}}]}")),
    "calls with ids": ("openai", (CHAT + b'"tool_calls": [', b'{"id": "1234567890"}', b"]}}]}")),
    "parts": ("openai", (CHAT + b'"content": [', b"{}", b"]}}]}")),
    "parts with types": ("openai", (CHAT + b'"content": [', b'{"type": "text__"}', b"]}}]}")),
    "annotations": ("openai", (CHAT + b'"content": "x", "annotations": [', b"{}", b"]}}]}")),
    "annotations with types": (
        "openai",
        (CHAT + b'"content": "x", "annotations": [', b'{"type": "abcdef"}', b"]}}]}"),
    ),
    "search results": (
        "openai",
        (b'{"search_results": [', b'{"url": "abcdefghijkl"}', b'], "choices": [{"message": {"content": "x"}}]}'),
    ),
    "sources": ("openai", (b'{"citations": [', b'"a"', b'], "choices": [{"message": {"content": "x"}}]}')),
    "long sources": (
        "openai",
        (b'{"citations": [', b'"https://a.example"', b'], "choices": [{"message": {"content": "x"}}]}'),
    ),
    "lists where text should be": ("openai", (b'{"id": [', b"[]", b'], "choices": [{"message": {}}]}')),
    "strings where text should be": ("openai", (b'{"id": [', b'"a"', b'], "choices": [{"message": {}}]}')),
    "details": ("openrouter", (CHAT + b'"content": "x", "reasoning_details": [', b"{}", b"]}}]}")),
    "blocks": ("anthropic", (MESSAGE, b"{}", b"]}")),
    "blocks with types": ("anthropic", (MESSAGE, b'{"type": "text", "text": "x", "a": "b"}', b"]}")),
    "a block of lists": ("anthropic", (MESSAGE + b'{"type": "x", "y": [', b"[]", b"]}]}")),
    "a block of objects": ("anthropic", (MESSAGE + b'{"type": "x", "y": [', b'{"a": 1, "bc": 2}', b"]}]}")),
    "citations": (
        "anthropic",
        (MESSAGE + b'{"type": "text", "text": "x", "citations": [', b'{"type": "abcdefghijklmnopqrst"}', b"]}]}"),
    ),
    "citations of many blocks": (
        "anthropic",
        (MESSAGE, b'{"type": "text", "text": "x", "citations": [' + b"{}," * 9 + b"{}]}", b"]}"),
    ),
}


@table("what", REAL)
def test_a_large_answer_takes_a_few_times_its_bytes(what: str) -> None:
    provider, body = REAL[what]
    answer, peak = peak_of(provider, body)
    assert not isinstance(answer, Exception)
    assert peak <= MOST * len(body)


RESPONSE = b'{"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"'
TOP = b'{"token":" ab","logprob":-10.123456,"bytes":[32,97,98]}'


LARGE_COHERE = filled(
    b'{"message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": "COMPLETE", "logprobs": [',
    b'{"text":"abc","token_ids":[1234],"logprobs":[-0.123456]}',
    b"]}",
    size=4 * SIZE,
)


def test_log_probabilities_of_cohere_are_not_too_dense() -> None:
    answer, peak = peak_of("cohere", LARGE_COHERE)
    assert peak <= MOST * len(LARGE_COHERE)
    assert len(answer.choices[0].logprobs.content) > 10_000


@pytest.mark.parametrize(
    "entry", [ENTRY, TOP[:-1] + b',"top_logprobs":[' + b",".join([TOP] * 20) + b"]}"], ids=["alone", "alternatives"]
)
def test_log_probabilities_in_a_response_take_a_few_times_their_bytes(entry: bytes) -> None:
    body = filled(RESPONSE + b', "logprobs": [', entry, b"]}]}]}", size=4 * SIZE)
    answer, peak = peak_of("openai", body, "responses")
    assert peak <= MOST * len(body)
    assert len(answer.output[0].content[0].logprobs) > 1000


@pytest.mark.parametrize(
    "pieces",
    [
        (RESPONSE + b', "annotations": [', b'{"a":1,"bc":2}', b"]}]}]}"),
        (RESPONSE + b', "annotations": [', b'{"type":[[]]}', b"]}]}]}"),
    ],
    ids=["annotations", "lists"],
)
def test_a_response_of_very_many_tiny_things_is_refused(pieces: tuple[bytes, bytes, bytes]) -> None:
    body = filled(*pieces, size=2 * SIZE)
    outcome, peak = peak_of("openai", body, "responses")
    assert isinstance(outcome, ResponseTooLargeError), outcome
    assert peak <= MOST * len(body) + SLACK


@table("what", TINY)
def test_an_answer_of_very_many_tiny_things_is_refused(what: str) -> None:
    provider, pieces = TINY[what]
    body = filled(*pieces)
    outcome, peak = peak_of(provider, body)
    assert isinstance(outcome, ResponseTooLargeError), outcome
    assert peak <= MOST * len(body) + SLACK


@table("what", TINY)
def test_what_a_small_answer_holds_takes_little(what: str) -> None:
    """Below the size from which things are counted."""
    provider, pieces = TINY[what]
    assert peak_of(provider, filled(*pieces, size=SMALL - 200))[1] <= SLACK


VECTORS = {
    "of few bytes each": filled(b'{"data": [{"embedding": [', b"1", b"]}]}", size=100_000),
    "of some bytes each": filled(b'{"data": [{"embedding": [', b"0.1", b"]}]}", size=100_000),
    "of many": filled(
        b'{"data": [', b'{"embedding": [' + b",".join([b"0.0123456"] * 1000) + b"]}", b"]}", size=3_000_000
    ),
    "many short ones": filled(b'{"data": [', b'{"embedding": [' + b",".join([b"-12"] * 1000) + b"]}", b"]}"),
    "base64": filled(b'{"data": [', b'{"embedding": "' + b"AAAA" * 1024 + b'"}', b"]}"),
}


@table("what", VECTORS)
def test_vectors_take_a_few_times_their_bytes(what: str) -> None:
    answer, peak = peak_of("openai", VECTORS[what], "embeddings")
    assert answer.data
    assert peak <= MOST * len(VECTORS[what]) + SLACK


LONG_MODELS = filled(b'{"data": [', b'{"id": "abcdefghijklmnopqrstuvwxyz0123456789"}', b"]}", size=900_000)


def test_short_numbers_are_the_numbers_that_came() -> None:
    assert parsed("openai", b'{"data":[{"embedding":[1,0,-12,0.5,1e3]}]}', "embeddings").data[0].embedding == [
        1.0,
        0.0,
        -12.0,
        0.5,
        1000.0,
    ]


@table(
    ("endpoint", "provider", "body"),
    [
        ("embeddings", "openai", filled(b'{"data": [{"embedding": [', b"1", b"]}]}")),
        ("embeddings", "openai", filled(b'{"data": [', b'{"embedding": [1]}', b"]}")),
        ("embeddings", "openai", b'{"data": [' + b",".join([b'{"embedding": "' + b"A" * 32 + b'"}'] * 65_537) + b"]}"),
        ("models", "openai", filled(b'{"data": [', b'{"id": "a"}', b"]}")),
        ("models", "openai", LONG_MODELS),
        ("models", "anthropic", LONG_MODELS),
    ],
    ids=["numbers", "vectors", "long vectors", "models", "long models", "Anthropic's models"],
)
def test_too_many_vectors_and_models_are_refused(endpoint: OperationName, provider: str, body: bytes) -> None:
    outcome, peak = peak_of(provider, body, endpoint)
    assert isinstance(outcome, ResponseTooLargeError), outcome
    assert peak <= MOST * len(body) + SLACK


# --- streams


def fed(provider: str, *events: bytes) -> Any:
    decoder = CATALOG[provider].codecs["chat"].decoder
    assert decoder is not None
    reader = decoder(Target(provider=provider, model="m", stream=True))
    for event in events:
        reader.feed(SseEvent(event=None, data=event))
    return reader


CHUNK = b'{"choices": [{"index": 0, "delta": {'
STREAMED = {
    "choices": ("openai", filled(b'{"choices": [', b'{"delta": {}}', b"]}")),
    "choices with words": ("openai", filled(b'{"choices": [', b'{"delta": {"content": "abcdefgh"}}', b"]}")),
    "calls": ("openai", filled(CHUNK + b'"tool_calls": [', b"{}", b"]}}]}")),
    "calls with ids": ("openai", filled(CHUNK + b'"tool_calls": [', b'{"id": "1234567890"}', b"]}}]}")),
    "parts": ("openai", filled(CHUNK + b'"content": [', b'{"type": "abcdef"}', b"]}}]}")),
    "a block": (
        "anthropic",
        filled(b'{"type": "content_block_start", "content_block": {"type": "x", "y": [', b"{}", b"]}}"),
    ),
    "a citation": (
        "anthropic",
        filled(
            b'{"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {"y": [', b"{}", b"]}}}"
        ),
    ),
}


@table("what", STREAMED)
def test_an_event_of_very_many_tiny_things_is_refused(what: str) -> None:
    provider, event = STREAMED[what]
    fed(provider, b"{}")
    tracemalloc.start()
    with pytest.raises(ResponseTooLargeError) as caught:
        fed(provider, event)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.category == "malformed"
    assert peak + len(event) <= MOST * len(event) + SLACK


def test_a_stream_has_so_many_choices_and_no_more() -> None:
    events = [b'{"choices": [{"index": %d, "delta": {"content": "a"}}]}' % number for number in range(CHOICES_LIMIT)]
    fed("openai", *events)
    ending = b'{"choices": [{"index": %d, "delta": {}, "finish_reason": "stop"}]}' % CHOICES_LIMIT
    for one_more in (ending, ending.replace(b"{}", b'{"content": "a"}').replace(b'"stop"', b"null")):
        with pytest.raises(ResponseTooLargeError, match="more than 1,024 choices"):
            fed("openai", *events, one_more)


def test_a_stream_has_so_many_calls_and_no_more() -> None:
    call = b'{"choices": [{"index": %d, "delta": {"tool_calls": [{"index": %d, "id": "c%d"}]}}]}'
    events = [call % (number % 3, number, number) for number in range(PARTS_LIMIT)]
    fed("openai", *events, call % (0, 0, 0))
    with pytest.raises(ResponseTooLargeError, match="more than 8,192 tool calls"):
        fed("openai", *events, call % (0, PARTS_LIMIT, PARTS_LIMIT))


@pytest.mark.parametrize("index", [0, None], ids=["one number for all", "numbered"])
def test_a_stream_has_so_many_blocks_and_no_more(index: int | None) -> None:
    start = b'{"type": "content_block_start", "index": %d, "content_block": {"type": "text", "text": "a"}}'
    events = [start % (number if index is None else index) for number in range(PARTS_LIMIT)]
    fed("anthropic", *events)
    with pytest.raises(ResponseTooLargeError, match="more than 8,192 blocks"):
        fed("anthropic", *events, start % 0)


def test_the_limits_themselves_are_allowed() -> None:
    choices = b",".join([b'{"message": {"content": "' + b"x" * 40 + b'"}, "finish_reason": "stop"}'] * CHOICES_LIMIT)
    assert len(parsed("openai", b'{"choices": [' + choices + b"]}").choices) == CHOICES_LIMIT
    blocks = b",".join([b'{"type": "text", "text": "' + b"x" * 40 + b'"}'] * PARTS_LIMIT)
    assert len(parsed("anthropic", MESSAGE + blocks + b"]}").message.parts) == PARTS_LIMIT
    for limit in (VECTORS_LIMIT, NUMBERS_LIMIT, MODELS_LIMIT):
        check_count(limit, limit, what="things")
