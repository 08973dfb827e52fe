"""Bodies of answers that are whole on the wire and wrong inside; and requests that JSON cannot say."""

from __future__ import annotations

import copy
import gzip
import json
import math
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bifrost import (
    AuthenticationError,
    BifrostError,
    InvalidRequestError,
    MalformedResponseError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    ResponseTooLargeError,
    ServerError,
)
from bifrost.config import BreakerConfig, SizeLimits
from tests.engine.peers import DONE, event
from tests.engine.peers import chunk as framed
from tests.hostile.answers import MODEL, good, head, streamed
from tests.hostile.memory import resident
from tests.hostile.server import Peer
from tests.hostile.stage import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.stage import Scene
    from tests.plugins.recorder import Kind

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

MIB = 1024 * 1024
few = settings(
    max_examples=settings().max_examples // 6,
    suppress_health_check=[HealthCheck.too_slow],
    # Shrinking would run a client and a server thousands of times; the parsers' own tests shrink.
    phases=[Phase.explicit, Phase.generate],
)


def document(body: bytes, *fields: str, kind: str = "application/json") -> bytes:
    """Give an answer with this body."""
    return head(f"content-type: {kind}", f"content-length: {len(body)}", *fields) + body


def chat(**fields: Any) -> dict[str, Any]:
    """Give a good answer, with some fields changed."""
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields}


GOOD = json.dumps(chat()).encode()


async def assert_malformed(scene: Scene, kind: Kind = "plain") -> MalformedResponseError:
    """It is tried once more, and then goes to the fallback."""
    error = await scene.fails(MalformedResponseError, kind)
    assert faults(error) == ["malformed"] * 2
    assert str(error).isprintable()
    assert len(error.message) < 3000
    reply = await scene.ask(kind, fallbacks=[scene.fallback])
    assert faults(reply) == ["malformed", "malformed", None]
    return error


SHAPELESS = {
    "empty": b"",
    "blank": b" \r\n",
    "null": b"null",
    "a list": b"[]",
    "an object": b"{}",
    "text": b'"hello"',
    "a number": b"7",
    "true": b"true",
    "html": b"<html><body>hello</body></html>",
    "no choices": json.dumps(chat(choices=None)).encode(),
    "empty choices": json.dumps(chat(choices=[])).encode(),
}


@pytest.mark.parametrize("what", SHAPELESS)
async def test_fault_56_an_answer_without_any_shape(stage: Any, kind: Kind, what: str) -> None:
    async with stage(document(SHAPELESS[what])) as scene:
        await assert_malformed(scene, kind)


# --- changed answers

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
_RICH = chat(
    usage={
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
    },
    service_tier="default",
    system_fingerprint="fp",
)
_RICH["choices"][0]["message"]["tool_calls"] = [
    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """Change a good answer in one to three places: another value, or none."""
    answer = copy.deepcopy(_RICH)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(answer)))
        if not path:
            return json.dumps(draw(_values)).encode()
        holder: Any = answer
        for step in path[:-1]:
            holder = holder[step]
        if draw(st.booleans()):
            holder[path[-1]] = draw(_values)
        else:
            del holder[path[-1]]
    return json.dumps(answer).encode()


@few
@given(bodies=st.lists(changed(), min_size=10, max_size=10))
async def test_fault_57_an_answer_that_was_changed_anywhere(stage: Any, bodies: list[bytes]) -> None:
    # Ten malformed answers in a row would open the breaker.
    async with stage(good, breaker=BreakerConfig(enabled=False)) as scene:
        for body in bodies:
            scene.server.play(document(body))
            outcome = await scene.outcome(max_retries=0)
            if isinstance(outcome, BifrostError):
                assert isinstance(outcome, ProviderError), outcome
            else:
                json.dumps(outcome.to_dict())


# --- odd JSON


@pytest.mark.parametrize("depth", [100, 100_000])
async def test_fault_58_fields_that_nobody_knows(stage: Any, depth: int) -> None:
    body = GOOD[:-1] + b', "later": ' + b'{"a":[' * (depth // 2) + b"]}" * (depth // 2) + b"}"
    async with stage(document(body)) as scene:
        if depth == 100:
            assert (await scene.ask()).text == "hello"
        else:
            # So many of them would take many times their size.
            error = await scene.fails(ResponseTooLargeError)
            assert faults(error) == ["malformed"]
            assert "too many objects and lists" in error.message


NUMBERS = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "1e999": b"1e999",
    "5,000 digits": b"9" * 5000,
    "a sign alone": b"-",
}


@pytest.mark.parametrize("where", ["usage", "nowhere"])
@pytest.mark.parametrize("what", NUMBERS)
async def test_fault_59_numbers_that_are_none(stage: Any, what: str, where: str) -> None:
    number = NUMBERS[what]
    field = b'"usage": {"prompt_tokens": %b, "completion_tokens": 1}' if where == "usage" else b'"later": %b'
    async with stage(document(GOOD[:-1] + b", " + field % number + b"}")) as scene:
        outcome = await scene.outcome()
        if isinstance(outcome, BifrostError):
            assert isinstance(outcome, MalformedResponseError)
            assert faults(outcome) == ["malformed"] * 2
        else:
            # What is JSON after all, or is what Python writes for no number, does no harm where it is not needed.
            assert what in {"1e999", "5,000 digits", "NaN", "Infinity"}
            assert outcome.text == "hello"
            json.dumps(outcome.to_dict(), allow_nan=False)


async def test_fault_60_of_equal_keys_the_last_wins(stage: Any) -> None:
    body = b'{"choices": [], "model": "a", ' + GOOD[1:-1] + b', "model": "z"}'
    async with stage(document(body)) as scene:
        reply = await scene.ask()
        assert (reply.text, reply.model) == ("hello", "z")


# --- text


async def test_fault_61_half_a_character(stage: Any) -> None:
    body = GOOD.replace(b"hello", rb"he\ud83dllo \ud83d\ude00 \ude00")
    async with stage(document(body)) as scene:
        assert (await scene.ask()).text == "he�llo \U0001f600 �"


async def test_fault_61_a_character_split_over_two_events(stage: Any) -> None:
    def half(escape: str) -> bytes:
        made = {"choices": [{"index": 0, "delta": {"content": "X"}}]}
        return framed(b"data: " + json.dumps(made).replace("X", escape).encode() + b"\n\n")

    async with stage(streamed(event("a"), half(r"\ud83d"), half(r"\ude00"), event("z", finish="stop"), DONE)) as scene:
        text = (await scene.ask("stream")).text
        assert text in {"a\U0001f600z", "a��z"}


ENCODINGS = {
    "UTF-8 with a mark": (b"\xef\xbb\xbf" + GOOD, True),
    "UTF-16": (GOOD.decode().encode("utf-16"), False),
    "UTF-32": (GOOD.decode().encode("utf-32"), False),
    "Latin-1": (GOOD.replace(b"hello", "h\xe9llo".encode("latin-1")), False),
    "an overlong form": (GOOD.replace(b"hello", b"h\xc0\xafllo"), False),
    "a surrogate as UTF-8": (GOOD.replace(b"hello", b"h\xed\xa0\x80llo"), False),
    "a cut sequence": (GOOD.replace(b"hello", b"hell\xe2\x82"), False),
}


@pytest.mark.parametrize("what", ENCODINGS)
async def test_fault_62_encodings(stage: Any, what: str) -> None:
    body, fine = ENCODINGS[what]
    async with stage(document(body)) as scene:
        if fine:
            assert (await scene.ask()).text == "hello"
        else:
            await assert_malformed(scene)


@pytest.mark.parametrize("body", [GOOD + b"}", GOOD + GOOD, GOOD + b"\x00", GOOD[:-1], GOOD[:40], b"{"], ids=repr)
async def test_fault_63_cut_json_or_something_behind_it(stage: Any, body: bytes) -> None:
    async with stage(document(body)) as scene:
        await assert_malformed(scene)


# --- sizes

SMALL = SizeLimits(body=4 * MIB)


@pytest.mark.parametrize("framing", ["length", "chunks", "until it closes", "endless"])
async def test_fault_64_a_body_that_is_too_large(stage: Any, framing: str) -> None:
    piece = b" " * 65536

    def floods(peer: Peer) -> None:
        peer.read_request()
        kind = "content-type: application/json"
        match framing:
            case "length":
                peer.send(head(kind, f"content-length: {64 * MIB}"))
            case "chunks":
                peer.send(head(kind, "transfer-encoding: chunked"))
            case _:
                peer.send(head(kind, version="1.0"))
        sent = 0
        while sent < 64 * MIB or framing == "endless":
            peer.send(framed(piece) if framing == "chunks" else piece)
            sent += len(piece)

    async with stage(floods, size_limits=SMALL, loud=False) as scene:
        before = resident()
        error = await scene.fails(ResponseTooLargeError)
        assert faults(error) == ["malformed"]
        assert resident() - before < 2 * 4 * MIB + 16 * MIB


async def test_fault_64_a_body_without_end_and_the_limit_that_is_there_by_default(stage: Any) -> None:
    piece = b" " * MIB

    def floods(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("content-type: application/json", version="1.0"))
        while True:
            peer.send(piece)

    async with stage(floods, loud=False) as scene:
        before = resident()
        error = await scene.fails(ResponseTooLargeError)
        assert "67,108,864" in error.message
        assert resident() - before < 2 * 64 * MIB


async def test_fault_64_a_body_within_the_limit(stage: Any) -> None:
    body = GOOD + b" " * (3 * MIB)
    async with stage(document(body), size_limits=SMALL) as scene:
        assert (await scene.ask()).text == "hello"


def _bomb(size: int) -> bytes:
    """Give gzip data that unpacks to `size` zero bytes, made of one packed piece again and again."""
    piece = 4 * MIB
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(b"\0" * piece) + packer.flush(zlib.Z_FULL_FLUSH)
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    again = raw.compress(b"\0" * piece) + raw.flush(zlib.Z_FULL_FLUSH)
    return start + again * (size // piece - 1)


def packed(body: bytes, coding: str = "gzip") -> bytes:
    return document(body, f"content-encoding: {coding}")


TINY = gzip.compress(b" ")
BOMBS: dict[str, Callable[[], bytes]] = {
    "1 GiB of zeros": lambda: packed(_bomb(1024 * MIB)),
    "members by the hundred thousand": lambda: packed(TINY * 100_000),
}


@pytest.mark.parametrize("what", BOMBS)
async def test_fault_65_a_bomb(stage: Any, what: str) -> None:
    answer = BOMBS[what]()
    async with stage(answer) as scene:
        before = resident()
        error = await scene.fails(ResponseTooLargeError)
        assert faults(error) == ["malformed"]
        assert resident() - before < 64 * MIB


WRONG = gzip.compress(GOOD)
PACKED = {
    "cut": packed(WRONG[:-12]),
    "a wrong checksum": packed(WRONG[:-8] + bytes(4) + WRONG[-4:]),
    "a lie": packed(GOOD),
    "twice": packed(gzip.compress(WRONG), "gzip, gzip"),
    "one in another": packed(gzip.compress(WRONG)),
    "br": packed(GOOD, "br"),
    "unknown": packed(GOOD, "nonsense"),
    "something behind it": packed(WRONG + b"more"),
}


@pytest.mark.parametrize("what", PACKED)
async def test_fault_65_packed_answers_that_cannot_be_unpacked(stage: Any, what: str) -> None:
    async with stage(PACKED[what]) as scene:
        await assert_malformed(scene)


@pytest.mark.parametrize(
    "answer",
    [packed(WRONG), packed(WRONG, "x-gzip"), packed(zlib.compress(GOOD), "deflate"), packed(GOOD, "identity")],
    ids=["gzip", "x-gzip", "deflate", "identity"],
)
async def test_fault_65_packed_answers(stage: Any, answer: bytes) -> None:
    async with stage(answer) as scene:
        assert (await scene.ask()).text == "hello"


async def test_fault_65_a_bomb_in_an_error(stage: Any, kind: Kind) -> None:
    bomb = _bomb(256 * MIB)
    fields = (f"content-length: {len(bomb)}", "content-encoding: gzip")
    async with stage(head(*fields, status="500 Internal Server Error") + bomb) as scene:
        before = resident()
        error = await scene.fails(ServerError, kind)
        assert error.body is not None
        assert len(error.body) <= 64 * 1024
        assert resident() - before < 64 * MIB


# --- what the model says

ARGUMENTS = {
    "no json": "rm -rf /",
    "unfinished": '{"a": 1',
    "empty": "",
    "a list": "[1]",
    "1 MB": json.dumps({"a": "x" * 1_000_000}),
    "code": "__import__('os').system('true')",
}


@pytest.mark.parametrize("what", ARGUMENTS)
async def test_fault_66_arguments_of_a_tool(stage: Any, what: str) -> None:
    given_text = ARGUMENTS[what]
    answer = chat()
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": given_text}}
    answer["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    async with stage(document(json.dumps(answer).encode())) as scene:
        (made,) = (await scene.ask()).tool_calls
        assert made.arguments == given_text
        if what == "1 MB":
            assert len(made.parse_arguments()["a"]) == 1_000_000
        elif what in {"empty", "a list"}:
            assert made.parse_arguments() == ({} if what == "empty" else [1])
        else:
            with pytest.raises(BifrostError):
                made.parse_arguments()


ERRORS: dict[str, tuple[dict[str, Any], type[BifrostError], list[str]]] = {
    "rate": ({"code": "rate_limit_exceeded", "message": "slower"}, RateLimitError, ["throttled"] * 3),
    "key": ({"code": "invalid_api_key", "message": "no"}, AuthenticationError, ["credential"]),
    "quota": ({"code": "insufficient_quota", "message": "no"}, QuotaExceededError, ["quota"]),
    "server": ({"type": "server_error", "message": "oh"}, ServerError, ["transient"] * 3),
    "words": ({"message": "something"}, ServerError, ["transient"] * 3),
}


@pytest.mark.parametrize("what", ERRORS)
async def test_fault_67_an_error_in_a_good_answer(stage: Any, kind: Kind, what: str) -> None:
    found, expected, told = ERRORS[what]
    async with stage(document(json.dumps({"error": found}).encode())) as scene:
        error = await scene.fails(expected, kind)
        assert faults(error) == told
        assert found["message"] in error.message


# --- what is sent


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


UNSAYABLE: dict[str, Callable[[], Any]] = {
    "nan": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "bytes": lambda: b"bytes",
    "half a pair": lambda: "\ud800",
    "a set": lambda: {1, 2},
    "an object": object,
    "a number as key": lambda: {1: 2},
    "none as key": lambda: {None: 1},
    "half a pair as key": lambda: {"\ud800": 1},
    "5,000 digits": lambda: 10**5000,
    "itself": _endless,
    "100,000 levels": lambda: _deep(100_000),
}
"""Made by name: hypothesis would want to show the values."""

_WRAPS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda inner: {"a": inner},
    "list": lambda inner: [inner],
    "both": lambda inner: {"b": 1, "c": [inner, 2]},
}
_spoilt = st.tuples(st.sampled_from(sorted(UNSAYABLE)), st.lists(st.sampled_from(sorted(_WRAPS)), max_size=4))


@few
@given(cases=st.lists(_spoilt, min_size=8, max_size=8))
async def test_fault_68_a_request_that_json_cannot_say(stage: Any, cases: list[tuple[str, list[str]]]) -> None:
    async with stage(good) as scene:
        for name, wraps in cases:
            inner = UNSAYABLE[name]()
            for wrap in wraps:
                inner = _WRAPS[wrap](inner)
            schema = {"type": "object", "properties": {"x": {"type": "string", "default": inner}}}
            before = _shape(schema)
            with pytest.raises(InvalidRequestError, match=r"tools\[0\].parameters.properties.x.default") as caught:
                await scene.client.chat(
                    MODEL, "hi", tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]
                )
            assert caught.value.attempts == ()
            assert _shape(schema) == before
        assert scene.server.requests == 0


def _shape(schema: dict[str, Any]) -> tuple[Any, ...]:
    """Identify a schema's parts without going into them: they may be endless."""
    return tuple(schema), tuple(schema["properties"]), id(schema["properties"]["x"]["default"])


@pytest.mark.parametrize("prompt", ["half \ud83d of one", "\udcff"], ids=["high", "low"])
async def test_fault_68_text_that_is_none(stage: Any, kind: Kind, prompt: str) -> None:
    async with stage(good) as scene:

        async def call() -> Any:
            if kind == "plain":
                return await scene.client.chat(MODEL, prompt)
            async with scene.client.stream_chat(MODEL, prompt) as stream:
                return await stream.final()

        with pytest.raises(InvalidRequestError):
            await scene.run(call)
        assert scene.server.requests == 0


async def test_fault_68_numbers_that_json_cannot_say(stage: Any, kind: Kind) -> None:
    async with stage(good) as scene:
        for wrong in (math.nan, math.inf):
            error = await scene.fails(InvalidRequestError, kind, temperature=wrong)
            assert error.attempts == ()
        assert scene.server.requests == 0
        assert msgspec.json.encode(math.nan) == b"null", "which is why it is looked for"
