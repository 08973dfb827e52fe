"""Streams: cut in any way, broken before and after the first word, without end, and left by their readers."""

from __future__ import annotations

import gc
import json
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bifrost import (
    CallTimeoutError,
    MalformedResponseError,
    OverloadedError,
    ResponseTooLargeError,
    StreamInterruptedError,
    Timeouts,
    TransportError,
    UsageError,
)
from bifrost.config import SizeLimits
from tests.engine.peers import DONE, END, SSE_HEAD, chunk, event
from tests.engine.rig import until
from tests.hostile.answers import (
    BEGUN,
    CHAT,
    MODEL,
    OVERLOADED,
    ROLE,
    STREAM,
    good,
    head,
    raw_stream,
    streamed,
    unframed,
)
from tests.hostile.memory import resident
from tests.hostile.server import Peer
from tests.hostile.stage import faults
from tests.hostile.test_heads import says
from tests.plugins.recorder import read_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.stage import Scene

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
few = settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.too_slow],
    # Shrinking would run a client and a server thousands of times; the parsers' own tests shrink.
    phases=[Phase.explicit, Phase.generate],
)


def said(**delta: Any) -> bytes:
    """Give an event's data."""
    return json.dumps({"choices": [{"index": 0, "delta": delta}]}, ensure_ascii=False).encode()


def data(payload: bytes) -> bytes:
    """Give an event, framed."""
    return chunk(b"data: " + payload + b"\n\n")


FINISH = unframed(event(finish="stop"), DONE)


async def interrupted(scene: Scene, **options: Any) -> StreamInterruptedError:
    """A stream breaks after its first content: there is one attempt, and what came is kept."""
    error = await scene.fails(StreamInterruptedError, "stream", **options)
    assert len(error.attempts) == 1
    return error


# --- pieces

_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """Give a stream's text and its bytes, with any line ends and in any pieces."""
    texts = draw(st.lists(_texts, min_size=1, max_size=5))
    lines = b"".join(b"data: " + said(content=text) + b"\n\n" for text in texts) + FINISH
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    whole = mark
    for line in lines.removesuffix(b"\n").split(b"\n"):
        end = draw(_line_ends)
        # An LF behind a CR would end no further line.
        whole += line + (b"\r" if whole.endswith(b"\r") and (line + end).startswith(b"\n") else end)
    cuts = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    places = [0, *cuts, len(whole)]
    return "".join(texts), [whole[start:end] for start, end in pairwise(places)]


@few
@given(cases=st.lists(cut_streams(), min_size=8, max_size=8))
async def test_fault_69_any_line_ends_in_any_pieces(stage: Any, cases: list[tuple[str, list[bytes]]]) -> None:
    async with stage(good, loud=False) as scene:
        for text, pieces in cases:
            scene.server.play(streamed(*map(chunk, pieces)))
            reply = await scene.ask("stream")
            assert reply.text == text


async def test_fault_70_all_that_the_standard_allows(stage: Any) -> None:
    strange = "line\N{LINE SEPARATOR}separator \x85 \x0b"
    first = said(content="one ")
    # A line may end between two tokens of the JSON, where white space may stand.
    token = first.index(b",") + 1
    lines = [
        b": a comment",
        b"id: 7",
        b"retry: 10",
        b"data:" + first[:token],
        b"data: " + first[token:],
        b"",
        b"event: message",
        b"data:" + json.dumps({"choices": [{"index": 0, "delta": {"content": strange}}]}, ensure_ascii=False).encode(),
        b"",
        b":",
        b"unknown: field",
        b"data",
        b"",
    ]
    async with stage(streamed(chunk(b"\n".join(lines) + b"\n" + FINISH))) as scene:
        assert (await scene.ask("stream")).text == "one " + strange


async def test_fault_71_characters_cut_at_every_byte(stage: Any) -> None:
    text = "h\xe9llo \N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-6F22}\N{COMBINING ACUTE ACCENT}"
    whole = b"data: " + said(content=text) + b"\n\n" + FINISH
    pieces = [chunk(whole[at : at + 1]) for at in range(len(whole))]

    def drips(peer: Peer) -> None:
        peer.read_request()
        peer.drip([SSE_HEAD, *pieces, END])

    async with stage(drips) as scene:
        assert (await scene.ask("stream")).text == text


@few
@given(texts=st.lists(_texts, min_size=5, max_size=5))
async def test_fault_71_any_text_cut_at_every_byte(stage: Any, texts: list[str]) -> None:
    async with stage(good, loud=False) as scene:
        for text in texts:
            whole = b"data: " + said(content=text) + b"\n\n" + FINISH
            scene.server.play(streamed(*(chunk(whole[at : at + 1]) for at in range(len(whole)))))
            assert (await scene.ask("stream")).text == text


WITHOUT_A_LAST_LINE_END = {
    "the final marker": (unframed(event("hello"), event(finish="stop")) + b"data: [DONE]", []),
    "a finish reason": (unframed(event("hel"), event("lo", finish="stop")).removesuffix(b"\n\n"), ["no_final_marker"]),
    "something cut behind a finish reason": (
        unframed(event("hello", finish="stop")) + b'data: {"choices": [',
        ["no_final_marker"],
    ),
}


@pytest.mark.parametrize("what", WITHOUT_A_LAST_LINE_END)
async def test_fault_72_a_last_event_without_its_line_end(stage: Any, what: str) -> None:
    content, warnings = WITHOUT_A_LAST_LINE_END[what]
    async with stage(says(raw_stream(content), then=Peer.close)) as scene:
        reply = await scene.ask("stream")
        assert (reply.text, reply.warnings) == ("hello", warnings)


async def test_fault_72_a_last_event_that_is_cut(stage: Any) -> None:
    cut = unframed(event("hel"), event("lo")).removesuffix(b"}\n\n")
    async with stage(says(raw_stream(cut), then=Peer.close)) as scene:
        assert (await interrupted(scene)).partial.text == "hel"


# --- before the first content, and after it

QUICK = Timeouts(first_token=0.5, idle_bytes=0.5)

BREAKS: dict[str, tuple[bytes | None, Callable[[Peer], None], str, type[Exception]]] = {
    "stall": (b"", Peer.stall, "transient", CallTimeoutError),
    "reset": (b"", Peer.reset, "transient", TransportError),
    "end": (END, Peer.stall, "transient", TransportError),
    "closed": (b"", Peer.close, "transient", TransportError),
    "error event": (None, Peer.stall, "overloaded", OverloadedError),
    "no json": (data(b"{broken"), Peer.stall, "malformed", MalformedResponseError),
}
"""What is sent last (`None`: the provider's own event for an error), and done then; what the attempt is, and why."""


PREAMBLES = ("nothing", "a comment", "a role")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("what", "preamble"),
    # A stall takes its time, and is no other one behind nothing.
    [(what, preamble) for what in BREAKS for preamble in PREAMBLES if what != "stall" or preamble == "a role"],
)
async def test_fault_73_a_break_before_the_first_word(stage: Any, provider: str, what: str, preamble: str) -> None:
    tail, then, fault, _ = BREAKS[what]
    before = {"nothing": b"", "a comment": chunk(b": hi\n\n"), "a role": ROLE[provider]}[preamble]
    bad = says(SSE_HEAD + before + (OVERLOADED[provider] if tail is None else tail), then=then)
    async with stage(bad, good, provider=provider, timeouts=QUICK if what == "stall" else Timeouts()) as scene:
        texts: list[str] = []
        scene.calls += 1
        async with scene.client.stream_chat(scene.model, "hi") as stream:
            await read_into(texts, stream)
            reply = await stream.final()
        assert texts == (["hel", "lo"] if provider == "openai" else ["other"])
        assert faults(reply) == [fault, None]
        scene.attempts += 2
        scene.server.play(bad)
        reply = await scene.ask("stream", fallbacks=[scene.fallback], max_retries=1)
        assert reply.text == ("other" if provider == "openai" else "hello")
        # A route that says nothing is left at once where another candidate is there.
        assert faults(reply) == ([fault, None] if what == "stall" else [fault, fault, None])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("what", BREAKS)
async def test_fault_74_a_break_after_the_first_word(stage: Any, provider: str, what: str) -> None:
    tail, then, _, cause = BREAKS[what]
    begun = SSE_HEAD + BEGUN[provider] + (OVERLOADED[provider] if tail is None else tail)
    limits = QUICK if what == "stall" else Timeouts()
    async with stage(says(begun, then=then), provider=provider, timeouts=limits) as scene:
        error = await interrupted(scene, fallbacks=[scene.fallback])
        assert error.partial.text == "begun "
        assert error.received_events >= 1
        assert isinstance(error.__cause__, cause)
        assert (error.usage.input_tokens > 0) is (provider == "anthropic"), "its usage comes first"
        assert scene.other.requests == 0


async def test_fault_75_no_final_marker(stage: Any) -> None:
    async with stage(streamed(event("hello"), event(finish="stop"))) as scene:
        reply = await scene.ask("stream")
        assert (reply.text, reply.warnings) == ("hello", ["no_final_marker"])


async def test_fault_75_a_final_marker_and_then_silence(stage: Any) -> None:
    hangs = says(SSE_HEAD + event("hello") + event(finish="stop") + DONE)
    async with stage(hangs) as scene:
        reply = await scene.ask("stream")
        assert (reply.text, reply.warnings) == ("hello", [])
        await scene.server.all_closed()


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "later"])
async def test_fault_75_data_after_the_final_marker(stage: Any, apart: bool) -> None:
    before = SSE_HEAD + event("hello") + event(finish="stop") + DONE
    after = event(" and more") + data(b"{broken") + END
    async with stage(says(*([before, after] if apart else [before + after]))) as scene:
        for _ in range(3):
            reply = await scene.ask("stream")
            assert (reply.text, reply.warnings) == ("hello", [])
            await scene.quiet()


@pytest.mark.parametrize(
    "bad", [b"{broken", b"\xff\xfe", b"[" * 10_000, b'{"choices": 7}'], ids=lambda bad: repr(bad[:9])
)
async def test_fault_76_one_event_that_is_no_json(stage: Any, bad: bytes) -> None:
    async with stage(streamed(event("hel"), data(bad), event("lo"), event(finish="stop"), DONE)) as scene:
        error = await interrupted(scene)
        assert error.partial.text == "hel"
        assert isinstance(error.__cause__, MalformedResponseError)


# --- without end


def for_ever(piece: bytes, *, first: bytes = b"", every: float = 0.0) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(SSE_HEAD + first)
        while True:
            peer.send(piece)
            peer.pause(every)

    return script


SIGNS_OF_LIFE = {"comments": b": ping\n\n", "blank lines": b"\n", "pings": b"event: ping\ndata: {}\n\n"}


@pytest.mark.parametrize("what", SIGNS_OF_LIFE)
async def test_fault_77_signs_of_life_for_ever(stage: Any, what: str) -> None:
    piece = chunk(SIGNS_OF_LIFE[what])
    limits = Timeouts(first_token=0.4, idle_events=0.4)
    async with stage(for_ever(piece, first=event("hel"), every=0.01), timeouts=limits) as scene:
        error = await interrupted(scene)
        assert "idle_events" in error.message
        assert error.partial.text == "hel"
        scene.server.play(for_ever(piece, every=0.01))
        early = await scene.fails(CallTimeoutError, "stream", max_retries=0)
        assert early.phase == "first_token"


ENDLESS = {
    "a line": chunk(b"x" * 65536),
    "a data line": chunk(b"data: " + b"x" * 65536),
    "an event of many lines": chunk(b"data: x\n" * 8192),
}


@pytest.mark.parametrize("first", [b"", event("hel")], ids=["before", "after"])
@pytest.mark.parametrize("what", ENDLESS)
async def test_fault_78_an_event_without_end(stage: Any, what: str, first: bytes) -> None:
    async with stage(for_ever(ENDLESS[what], first=first), loud=False) as scene:
        before = resident()
        if first:
            error = await interrupted(scene)
            assert isinstance(error.__cause__, ResponseTooLargeError)
        else:
            early = await scene.fails((ResponseTooLargeError, MalformedResponseError), "stream", max_retries=0)
            assert len(early.attempts) == 1
        assert resident() - before < 48 * MIB


async def test_fault_78_an_event_of_32_mb(stage: Any) -> None:
    huge = data(said(content="x" * 32 * MIB))
    async with stage(streamed(event("hel"), huge, event(finish="stop"), DONE), loud=False) as scene:
        before = resident()
        error = await interrupted(scene)
        assert isinstance(error.__cause__, ResponseTooLargeError)
        assert error.partial.text == "hel"
        assert resident() - before < 48 * MIB


@pytest.mark.parametrize("bound", ["the deadline", "the limit of a stream"])
async def test_fault_78_words_without_end(stage: Any, bound: str) -> None:
    words = for_ever(event("word "), every=0.001 if bound == "the deadline" else 0.0)
    async with stage(words, size_limits=SizeLimits(stream=MIB), loud=False) as scene:
        before = resident()
        if bound == "the deadline":
            error = await interrupted(scene, timeout=0.5)
            assert isinstance(error.__cause__, CallTimeoutError)
        else:
            error = await interrupted(scene)
            assert isinstance(error.__cause__, ResponseTooLargeError)
        assert error.partial.text.startswith("word word")
        assert resident() - before < 32 * MIB


# --- something else than a stream


async def test_fault_79_json_where_a_stream_was_asked_for(stage: Any) -> None:
    async with stage(CHAT) as scene:
        reply = await scene.ask("stream")
        assert (reply.text, len(reply.attempts)) == ("hello", 1)


PAGES = {
    "html": head("content-type: text/html", "content-length: 18", "connection: close") + b"<html>hello</html>",
    "html that calls itself a stream": raw_stream(b"<html>hello</html>"),
    "text": head("content-type: text/plain", "content-length: 5", "connection: close") + b"hello",
    "nothing": raw_stream(b""),
}


@pytest.mark.parametrize("what", PAGES)
async def test_fault_79_no_stream_where_one_was_asked_for(stage: Any, what: str) -> None:
    async with stage(says(PAGES[what], then=Peer.close)) as scene:
        error = await scene.fails((MalformedResponseError, TransportError), "stream")
        assert len(error.attempts) > 1
        reply = await scene.ask("stream", fallbacks=[scene.fallback])
        assert reply.text == "other"


# --- the reader


async def test_fault_80_a_slow_reader_of_very_many_events(stage: Any) -> None:
    number = 100_000
    batch = event("x") * 100

    def plenty(peer: Peer) -> None:
        peer.read_request()
        peer.buffer(65536)
        peer.send(SSE_HEAD)
        for _ in range(number // 100):
            peer.send(batch)
        peer.send(event(finish="stop") + DONE + END)

    async with stage(plenty, good, loud=False, timeout=60.0) as scene:
        whole = number * len(event("x"))
        scene.calls += 1
        scene.attempts += 1
        async with scene.client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
            before, sent = resident(), -1
            while sent != scene.server.sent_bytes:
                # Others are served, while this one is left unread and its server is held back.
                sent = scene.server.sent_bytes
                for _ in range(10):
                    assert (await scene.ask("stream")).text == "hello"
                sent += 10 * len(STREAM)
            assert sent < whole / 2
            chunks = 1
            async for _ in stream:
                chunks += 1
        assert chunks == number + 1
        assert len((await stream.final()).text) == number
        assert resident() - before < 16 * MIB


class LeavingError(Exception):
    """What a reader raises."""


async def _breaks(scene: Scene) -> None:
    async with scene.client.stream_chat(MODEL, "hi") as stream:
        async for _ in stream:
            break


async def _raises(scene: Scene) -> None:
    with suppress(LeavingError):
        async with scene.client.stream_chat(MODEL, "hi") as stream:
            async for _ in stream:
                raise LeavingError


async def _is_cancelled(scene: Scene) -> None:
    async with anyio.create_task_group() as group:
        reading = anyio.Event()

        async def read() -> None:
            async with scene.client.stream_chat(MODEL, "hi") as stream:
                async for _ in stream:
                    reading.set()

        group.start_soon(read)
        await reading.wait()
        group.cancel_scope.cancel()


async def _drops(scene: Scene) -> None:
    stream = scene.client.stream_chat(MODEL, "hi")
    await stream.__aenter__()
    await stream.__anext__()
    del stream
    gc.collect()


@pytest.mark.parametrize("leaves", [_breaks, _raises, _is_cancelled, _drops], ids=lambda leaves: leaves.__name__[1:])
async def test_fault_81_a_reader_that_leaves(stage: Any, leaves: Any) -> None:
    async with stage(for_ever(event("word "), every=0.002)) as scene:
        scene.calls += 1
        scene.attempts += 1
        await leaves(scene)
        # Far below any timer: the worker is free, and the server sees that nobody listens any more.
        with anyio.fail_after(5):
            await scene.quiet()
            await scene.server.all_closed()


async def test_fault_82_a_reader_that_never_reads_on(stage: Any) -> None:
    async with stage(for_ever(event("word "), every=0.002), timeouts=Timeouts(consumer_idle=0.2)) as scene:
        scene.calls += 1
        scene.attempts += 1
        async with scene.client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
            with anyio.fail_after(10):
                await scene.server.all_closed()
            with pytest.raises(StreamInterruptedError, match="consumer_idle") as caught:
                await stream.final()
        assert caught.value.partial.text.startswith("word ")


async def test_fault_83_two_readers_of_one_stream(stage: Any) -> None:
    go_on = anyio.Event()

    def waits(peer: Peer) -> None:
        peer.read_request()
        peer.send(SSE_HEAD + event("hel"))
        while not go_on.is_set():
            peer.pause(0.002)
        peer.send(event("lo") + event(finish="stop") + DONE + END)

    async with stage(waits) as scene:
        scene.calls += 1
        scene.attempts += 1
        async with scene.client.stream_chat(MODEL, "hi") as stream:
            texts = [(await stream.__anext__()).text]

            async def read() -> None:
                await read_into(texts, stream)

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await until(lambda: stream._busy)
                with pytest.raises(UsageError, match="another task"):
                    await stream.__anext__()
                go_on.set()
            assert texts == ["hel", "lo"]


async def test_fault_83_a_stream_read_twice(stage: Any) -> None:
    async with stage(good) as scene:
        scene.calls += 1
        scene.attempts += 1
        async with scene.client.stream_chat(MODEL, "hi") as stream:
            assert [text async for text in stream.text_stream] == ["hel", "lo"]
            with pytest.raises(UsageError, match="read to its end"):
                aiter(stream.text_stream)
            assert (await stream.final()).text == "hello"
        with pytest.raises(UsageError, match="once"):
            async with stream:
                pass


# --- usage and tools


def used(tokens: int) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens}
    return data(json.dumps({"choices": [], "usage": usage}).encode())


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([event("a"), event(finish="stop"), used(2)], 2),
        ([event("a"), used(1), event(finish="stop"), used(2)], 2),
        ([event("a"), used(2), used(2), event(finish="stop")], 2),
        ([used(2), event("a"), event(finish="stop")], 2),
        ([event("a"), event(finish="stop")], None),
    ],
    ids=["last", "twice", "the same twice", "first", "never"],
)
async def test_fault_84_usage(stage: Any, events: list[bytes], tokens: int | None) -> None:
    async with stage(streamed(*events, DONE)) as scene:
        usage = (await scene.ask("stream")).usage
        assert (usage.output_tokens if usage else None) == tokens


@st.composite
def tool_pieces(draw: st.DrawFn) -> dict[str, Any]:
    """Give a piece of a tool call as a careless server makes it."""
    piece: dict[str, Any] = {}
    function: dict[str, Any] = {}
    if draw(st.booleans()):
        piece["index"] = draw(st.sampled_from([0, 1, 2, 7, -1, None, "1", 10**6]))
    if draw(st.booleans()):
        piece["id"] = draw(st.sampled_from(["call_1", "call_2", "", None]))
    if draw(st.booleans()):
        function["name"] = draw(st.sampled_from(["f", "g", "", None]))
    if draw(st.booleans()):
        function["arguments"] = draw(st.sampled_from(["{", '"a": 1', "}", "", None]))
    if function or draw(st.booleans()):
        piece["function"] = function
    return piece


@few
@given(streams=st.lists(st.lists(tool_pieces(), min_size=1, max_size=6), min_size=8, max_size=8))
async def test_fault_85_pieces_of_tool_calls_in_any_order(stage: Any, streams: list[list[dict[str, Any]]]) -> None:
    async with stage(good, loud=False) as scene:
        for pieces in streams:
            events = [data(said(tool_calls=[piece])) for piece in pieces]
            scene.server.play(streamed(*events, event(finish="tool_calls"), DONE))
            try:
                reply = await scene.ask("stream", max_retries=0)
            except (MalformedResponseError, StreamInterruptedError):
                continue
            told = "".join((piece.get("function") or {}).get("arguments") or "" for piece in pieces)
            calls = reply.tool_calls
            assert sum(len(call.arguments) for call in calls) == len(told), "no piece is lost, none is there twice"
            assert all(call.id for call in calls)
            assert len({call.id for call in calls}) <= len(calls)


async def test_fault_85_calls_out_of_order_are_put_together(stage: Any) -> None:
    def piece(index: int, **more: Any) -> bytes:
        return data(said(tool_calls=[{"index": index, **more}]))

    events = [
        piece(3, id="b", function={"name": "g", "arguments": '{"y"'}),
        piece(1, id="a", function={"name": "f", "arguments": '{"x"'}),
        piece(3, function={"arguments": ": 2}"}),
        piece(1, function={"arguments": ": 1}"}),
    ]
    async with stage(streamed(*events, event(finish="tool_calls"), DONE)) as scene:
        calls = (await scene.ask("stream")).tool_calls
        assert sorted((call.id, call.name, call.arguments) for call in calls) == [
            ("a", "f", '{"x": 1}'),
            ("b", "g", '{"y": 2}'),
        ]
