"""Responses that are event streams although no stream was requested.

Some servers and gateways always stream, or put a complete response into one `data:` event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.response import ChatResponse, raw_of
from bifrost.providers.base import ClosingDecoder
from bifrost.wire.framing.sse import SseEvent, SseParser
from bifrost.wire.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.providers.base import Codec, Target

_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
_WINDOW = 64 * 1024
"""The number of bytes that are divided into events at once."""


def is_event_stream(body: bytes) -> bool:
    """Return whether a body that is not JSON is an event stream."""
    return body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_BEGINNINGS)


def events_of(body: bytes) -> Iterator[SseEvent]:
    """Yield the events of a complete body."""
    parser = SseParser(event_limit=len(body) + 1, stream_limit=len(body) + 1)
    for start in range(0, len(body), _WINDOW):
        yield from parser.feed(body[start : start + _WINDOW])
    yield from parser.finish()


def lone_event(body: bytes) -> bytes | None:
    """Return the data of the only event of a body; `None` if it has several, or is not an event stream."""
    if not is_event_stream(body):
        return None
    found = [event.data for event in events_of(body) if event.data and not event.data.startswith(b"[DONE]")]
    return found[0] if len(found) == 1 else None


def may_be_events(codec: Codec[Any, Any]) -> bool:
    """Return whether a response to a plain request may be an event stream: its operation streams such events."""
    framer: object = codec.framer
    return codec.decoder is not None and isinstance(framer, type) and issubclass(framer, SseParser)


def parse_events(response: HttpResponse, target: Target, *, codec: Codec[Any, Any]) -> Any:
    """Return the response of a body that is an event stream, for a codec that streams.

    An event with a complete response is the response; otherwise the pieces are combined. Raises `ReportedError` for an
    error event, and `MalformedResponseError` if the stream ends within the response.
    """
    decoder = codec.decoder and codec.decoder(target)
    streaming = codec.operation.streaming
    if decoder is None or streaming is None:
        raise MalformedResponseError("a response was asked for, and an event stream came")
    grown = streaming.accumulator(provider=target.provider, model=target.model)
    for event in events_of(response.body):
        if codec.is_whole is not None and codec.is_whole(event.data):
            whole = HttpResponse(status=response.status, headers=response.headers, body=event.data)
            answer = codec.parse(whole, target)
            raw = raw_of(response.body, answer.choices) if isinstance(answer, ChatResponse) else response.body
            return msgspec.structs.replace(answer, raw=raw)
        for chunk in decoder.feed(event):
            grown.add(chunk)
        if decoder.done:
            break
    match decoder.finish():
        case "cut":
            raise MalformedResponseError("the response came as an event stream that ends before the response does")
        case "unmarked" if isinstance(decoder, ClosingDecoder):
            for chunk in decoder.close():
                grown.add(chunk)
        case _:
            pass
    return msgspec.structs.replace(grown.response(), raw=response.body)
