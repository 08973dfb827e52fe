"""Recorded responses of real providers, for the loopback provider. `recordings/README.md` describes their origin."""

from __future__ import annotations

from base64 import b64decode
from importlib import resources
from struct import unpack
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.frozen import Value
from bifrost.operations.usage import Usage
from bifrost.testing.calls import field_of
from bifrost.testing.dialect import Event
from bifrost.testing.play import Answer, document, split_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Dialect

_OMITTED = ("content-length", "retry-after")
"""Header fields that were valid then and would mislead now (Anthropic sent `retry-after` with successful responses)."""


class Recording(Value, msgspec.Struct, frozen=True, kw_only=True):
    """One recorded exchange: a request and the response to it."""

    provider: str
    """The provider."""

    request_body: dict[str, Any]
    """The body of the request."""

    status: int
    """The HTTP status."""

    response_headers: dict[str, str]
    """The header fields of the response."""

    response_body: msgspec.Raw = msgspec.Raw(b"")
    """The body of the response; empty for a stream."""

    sse_text: str | None = None
    """The event stream; `None` for a plain response."""

    def answer(self) -> Answer:
        """Return the response as it was received."""
        headers = {name: value for name, value in self.response_headers.items() if name not in _OMITTED}
        if self.sse_text is None:
            return Answer(status=self.status, headers=headers, events=[Event(bytes(self.response_body), content=True)])
        events = [Event(data, content=True) for data in split_events(self.sse_text.encode())]
        return Answer(status=self.status, headers=headers, events=events, stream=True)


_RECORDING = msgspec.json.Decoder(Recording)


class Recordings:
    """The recordings in this package."""

    def __init__(self) -> None:
        self._known = list(_read_all())

    def answer(self, call: MockCall, dialect: Dialect) -> Answer:
        """Return a recorded response to a request of the same kind, preferably the same request or model.

        An error with status 404 says that there is none.
        """
        best = max(self._of(dialect, call), key=lambda recording: _likeness(recording, call), default=None)
        if best is None:
            return document(404, dialect.error(404, "there is no recording of such a call; script it", None, None))
        if call.endpoint == "embeddings" and dialect.embeddings is not None:
            vectors, usage = _vectors(best, call)
            return Answer(headers=best.response_headers, events=[Event(dialect.embeddings(vectors, usage, call))])
        return best.answer()

    def has(self, dialect: Dialect) -> bool:
        """Return whether there are recordings of a provider."""
        return any(recording.provider == dialect.name for recording in self._known)

    def models(self, dialect: Dialect) -> list[str]:
        """Return the models with recordings."""
        return sorted(
            {recording.request_body["model"] for recording in self._known if recording.provider == dialect.name}
        )

    def _of(self, dialect: Dialect, call: MockCall) -> Iterator[Recording]:
        for recording in self._known:
            same = recording.provider == dialect.name and (recording.sse_text is not None) == call.stream
            if same and ("input" in recording.request_body) == (call.endpoint == "embeddings"):
                yield recording


def _read_all() -> Iterator[Recording]:
    folder = resources.files("bifrost.testing") / "recordings"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".json"):
            yield _RECORDING.decode(file.read_bytes())


def _likeness(recording: Recording, call: MockCall) -> tuple[bool, ...]:
    """Return what a recorded request and a call have in common, the most important first."""
    call_body, body = call.json, recording.request_body
    return (
        _ends_with_result(body) == _ends_with_result(call_body),
        _last_text(body) == _last_text(call_body),
        bool(body.get("tools")) == bool(field_of(call_body, "tools")),
        bool(body.get("thinking")) == bool(field_of(call_body, "thinking")),
        body["model"] == call.model,
    )


def _ends_with_result(body: Any) -> bool:
    last = _last_message(body)
    return field_of(last, "role") == "tool" or any(field_of(part, "type") == "tool_result" for part in _parts(last))


def _last_text(body: Any) -> str:
    return "".join(field_of(part, "text") or "" for part in _parts(_last_message(body))).strip()


def _last_message(body: Any) -> Any:
    messages = field_of(body, "messages")
    return cast("list[object]", messages)[-1] if isinstance(messages, list) and messages else None


def _parts(message: Any) -> list[Any] | list[object]:
    content = field_of(message, "content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return cast("list[object]", content) if isinstance(content, list) else []


class _Vector(msgspec.Struct):
    embedding: str


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: dict[str, int]


_VECTORS = msgspec.json.Decoder(_Vectors)


def _vectors(recording: Recording, call: MockCall) -> tuple[list[tuple[float, ...]], Usage]:
    """Return as many of the recorded vectors as the request has inputs, repeated if necessary."""
    recorded = _VECTORS.decode(recording.response_body)
    call_body = field_of(call.json, "input")
    count = len(cast("list[object]", call_body)) if isinstance(call_body, list) else 1
    packed = [b64decode(recorded.data[index % len(recorded.data)].embedding) for index in range(count)]
    tokens = recorded.usage["prompt_tokens"] * count
    return [unpack(f"<{len(data) // 4}f", data) for data in packed], Usage(input_tokens=tokens)
