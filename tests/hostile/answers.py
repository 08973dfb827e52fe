"""What a provider says when nothing is wrong, in both formats, and pieces to say wrong things with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.engine.peers import DONE, END, SSE_HEAD, answer, chunk, event

if TYPE_CHECKING:
    from tests.hostile.server import Peer

MODELS = {"openai": "openai/gpt-4o-mini", "anthropic": "anthropic/claude-haiku-4-5"}
MODEL = MODELS["openai"]
OTHER = MODELS["anthropic"]

_CLAUDE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "other"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
).encode()


def sse(kind: str, **fields: Any) -> bytes:
    """Give an event of Anthropic's stream, without HTTP's framing."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


_CLAUDE_STREAM = [
    sse("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}),
    sse("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "other"}),
    sse("content_block_stop", index=0),
    sse("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
    sse("message_stop"),
]

BEGUN = {
    "openai": event("begun "),
    "anthropic": chunk(
        b"".join(
            [*_CLAUDE_STREAM[:2], sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "begun "})]
        )
    ),
}
"""How a stream goes that gets as far as its first word."""
ROLE = {"openai": event(""), "anthropic": chunk(_CLAUDE_STREAM[0])}
"""What comes before the first word."""
OVERLOADED = {
    "openai": chunk(b'data: {"error": {"message": "too much", "type": "overloaded_error"}}\n\n'),
    "anthropic": chunk(sse("error", error={"type": "overloaded_error", "message": "too much"})),
}

CHAT = answer()
STREAM = SSE_HEAD + event("hel") + event("lo") + event(finish="stop") + DONE + END


def streamed(*pieces: bytes) -> bytes:
    """Give the whole answer of a stream: its head, framed pieces, its end."""
    return SSE_HEAD + b"".join(pieces) + END


def raw_stream(data: bytes) -> bytes:
    """Give the whole answer of a stream whose events are these bytes, and which ends with the connection."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + data


def unframed(*events: bytes) -> bytes:
    """Take events out of their chunks."""
    return b"".join(each.split(b"\r\n", 1)[1].removesuffix(b"\r\n") for each in events)


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """Give the head of an answer."""
    return "\r\n".join((f"HTTP/{version} {status}", *lines, "", "")).encode("latin-1")


def wants_stream(peer: Peer) -> bool:
    """Say whether the request asks for a stream."""
    return b'"stream":true' in peer.body


def good(peer: Peer) -> None:
    """Answer a request as its provider would: "hello", and Anthropic "other"."""
    peer.read_request()
    peer.send(good_answer(peer))


def good_answer(peer: Peer) -> bytes:
    """Give the right answer to the request that was read."""
    if b"/messages " in peer.head.split(b"\r\n", 1)[0]:
        return streamed(*map(chunk, _CLAUDE_STREAM)) if wants_stream(peer) else answer(_CLAUDE)
    return STREAM if wants_stream(peer) else CHAT
