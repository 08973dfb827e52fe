"""The provider of the loopback benchmarks: prepared OpenAI answers over HTTP/1.1, plain and TLS, from its own process.

The first step of the path says which answer: `plain` a whole one, `late` the same after a second, `batched-N` and
`paced-N` a stream of N events, in a few large pieces or one per millisecond. It prints its ports as one line of JSON
and ends when its input is closed.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PACE = 0.001
_LATE = 1.0
_PIECE = 16_384
_TEXT = "the quick brown fox jumps over the lazy dog and runs along the river bank until the evening comes"
_WORDS = _TEXT.split()


def _completion() -> bytes:
    """Make a whole answer of some 1.4 KB, as a small real one has."""
    answer = {
        "id": "chatcmpl-BenchmarkBenchmarkBenchmark",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": " ".join([_TEXT] * 8),
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 160,
            "total_tokens": 179,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_benchmark",
    }
    return json.dumps(answer).encode()


def _events(count: int) -> Iterator[bytes]:
    """Make the events of a stream: a role, `count - 2` words, the end; then the final marker."""
    for number in range(count):
        first, last = number == 0, number == count - 1
        delta: dict[str, Any] = {"content": f"{_WORDS[number % len(_WORDS)]} "}
        if first:
            delta = {"role": "assistant", "content": "", "refusal": None}
        elif last:
            delta = {}
        event = {
            "id": "chatcmpl-BenchmarkBenchmarkBenchmark",
            "object": "chat.completion.chunk",
            "created": 1760000000,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_benchmark",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": "stop" if last else None}],
            "usage": None,
        }
        yield b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _responses_events(count: int) -> Iterator[bytes]:
    """Make the events of a stream of the Responses API: its beginning, `count - 2` words, the end."""
    item = {"id": "msg_Benchmark", "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    response = {
        "id": "resp_Benchmark",
        "object": "response",
        "created_at": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
    }
    for number in range(count):
        event: dict[str, Any] = {
            "type": "response.output_text.delta",
            "sequence_number": number,
            "item_id": item["id"],
            "output_index": 0,
            "content_index": 0,
            "delta": f"{_WORDS[number % len(_WORDS)]} ",
            "logprobs": [],
            "obfuscation": "BenchmarkBench",
        }
        if number == 0:
            event = {"type": "response.output_item.added", "sequence_number": 0, "output_index": 0, "item": item}
        elif number == count - 1:
            whole = {**response, "status": "completed", "output": []}
            event = {"type": "response.completed", "sequence_number": number, "response": whole}
        data = json.dumps(event, separators=(",", ":")).encode()
        yield b"event: " + event["type"].encode() + b"\ndata: " + data + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_BODY = _completion()
_WHOLE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_5f2c81d0\r\ncontent-length: %d\r\n\r\n%b"
    % (len(_BODY), _BODY)
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_5f2c81d0\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_STREAM_END = _chunk(b"")


class Connection(asyncio.Protocol):
    """One connection of a client: requests are cut by their length, and answered by their path."""

    def __init__(self, answers: dict[str, Callable[[Connection], None]]) -> None:
        self._answers = answers
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue] - a stream

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            path = self._buffer[: self._buffer.index(b"\r\n")].split(b" ")[1].decode("latin-1")
            self._buffer = self._buffer[whole:]
            kind = path.split("/", 2)[1]
            self._answers[f"{kind}-responses" if path.endswith("/responses") else kind](self)


def _answer_whole(connection: Connection) -> None:
    connection.transport.write(_WHOLE)


def _answer_late(connection: Connection) -> None:
    asyncio.get_running_loop().call_later(_LATE, _answer_whole, connection)


def _batched(events: Iterator[bytes]) -> Callable[[Connection], None]:
    text = b"".join(events)
    pieces = [_chunk(text[place : place + _PIECE]) for place in range(0, len(text), _PIECE)]
    answer = b"".join([_STREAM_HEAD, *pieces, _STREAM_END])
    return lambda connection: connection.transport.write(answer)


def _paced(events: Iterator[bytes]) -> Callable[[Connection], None]:
    pieces = [_chunk(event) for event in events]

    def start(connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        left = iter(pieces)

        def step() -> None:
            piece = next(left, None)
            if connection.transport.is_closing():
                return
            if piece is None:
                connection.transport.write(_STREAM_END)
                return
            connection.transport.write(piece)
            loop.call_later(_PACE, step)

        connection.transport.write(_STREAM_HEAD)
        step()

    return start


async def serve(certificate: str | None) -> None:
    """Serve on two free ports of the loopback until the input is closed. `certificate` is a file with key and chain."""
    answers: dict[str, Callable[[Connection], None]] = {
        "plain": _answer_whole,
        "late": _answer_late,
        "batched-100": _batched(_events(100)),
        "batched-1000": _batched(_events(1000)),
        "paced-100": _paced(_events(100)),
        "batched-100-responses": _batched(_responses_events(100)),
        "batched-1000-responses": _batched(_responses_events(1000)),
        "paced-100-responses": _paced(_responses_events(100)),
    }
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(lambda: Connection(answers), "127.0.0.1", 0, backlog=1024)
    ports = {"http": plain.sockets[0].getsockname()[1]}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        secure = await loop.create_server(lambda: Connection(answers), "127.0.0.1", 0, backlog=1024, ssl=context)
        ports["https"] = secure.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve, on uvloop where there is one: the upstream should cost as little as it can."""
    certificate = sys.argv[1] if len(sys.argv) > 1 else None
    if certificate is not None and not Path(certificate).is_file():
        sys.exit(f"there is no certificate {certificate}")
    try:
        runner: Callable[[Any], None] = import_module("uvloop").run
    except ImportError:
        runner = asyncio.run
    runner(serve(certificate))


if __name__ == "__main__":
    main()
