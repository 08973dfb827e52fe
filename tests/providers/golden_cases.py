"""Golden cases: read from their folders, and run through a provider's codecs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.providers.base import Built, Codec, Ending, ErrorBody, Provider, ReportedError, Target
from bifrost.providers.catalog import CATALOG, OPERATIONS
from bifrost.wire.http import Headers, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bifrost.wire.framing.sse import SseEvent

GOLDEN = Path(__file__).parent / "golden"

STREAMS = ("sse", "ndjson", "eventstream")
"""The kinds of streamed answers, by the endings of their files."""

REQUESTS: dict[str, type[msgspec.Struct]] = {name: operation.request for name, operation in OPERATIONS.items()}


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.relative_to(GOLDEN).as_posix()

    @cached_property
    def provider(self) -> Provider:
        return CATALOG[self.folder.parent.parent.name]

    @property
    def operation(self) -> str:
        return self.folder.parent.name

    @property
    def codec(self) -> Codec[Any, Any]:
        return {str(endpoint): codec for endpoint, codec in self.provider.codecs.items()}[self.operation]

    @cached_property
    def origin(self) -> dict[str, Any]:
        return self.json("origin.json")

    @cached_property
    def http(self) -> dict[str, Any]:
        return self.json("http.json") if self.has_request else {}

    @property
    def has_request(self) -> bool:
        return (self.folder / "request.json").exists()

    @property
    def is_stream(self) -> bool:
        """Whether the answer came as a stream."""
        return any((self.folder / f"response.{kind}").exists() for kind in STREAMS)

    @property
    def is_of_lines(self) -> bool:
        """Whether the answer came as a stream of lines of JSON."""
        return (self.folder / "response.ndjson").exists()

    @cached_property
    def request(self) -> msgspec.Struct:
        return msgspec.json.decode((self.folder / "request.json").read_bytes(), type=REQUESTS[self.operation])

    @cached_property
    def target(self) -> Target:
        asked_stream = self.http.get("stream", self.is_stream)
        settings = self.http.get("settings")
        return Target(
            provider=self.provider.name,
            model=self.origin["model"],
            stream=asked_stream,
            settings=settings and self.provider.key_settings and self.provider.key_settings(**settings),
        )

    @cached_property
    def body(self) -> bytes:
        (file,) = self.folder.glob("response.*")
        return file.read_bytes()

    @cached_property
    def answer(self) -> HttpResponse:
        head = self.json("status.json")
        return HttpResponse(status=head["status"], headers=Headers.of(*head["headers"].items()), body=self.body)

    @cached_property
    def expected(self) -> dict[str, Any]:
        return self.json("expected.json")

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_bytes())

    def build(self) -> Built:
        return self.codec.build(self.request, self.target)


def cases(*, stream: bool | None = None, request: bool = False) -> list[Case]:
    """Find the cases, those with a streamed (or complete) answer or with a request only, as asked."""
    return [
        case for case in _every() if (stream is None or case.is_stream == stream) and (case.has_request or not request)
    ]


@cache
def _every() -> list[Case]:
    return [Case(file.parent) for file in sorted(GOLDEN.glob("*/*/*/origin.json"))]


def read_answer(case: Case) -> dict[str, Any]:
    """Read a complete answer, in the form of `expected.json`."""
    if case.answer.status >= 300:
        return {"error": _error(case.provider.parse_error(case.answer))}
    try:
        response = case.codec.parse(case.answer, case.target)
    except ReportedError as error:
        return {"reported": _error(error.body), "status": error.status}
    assert response.raw == case.body
    return {"response": _without_made_up_ids(_plain(msgspec.structs.replace(response, raw=b"")), case.body)}


@dataclass
class Drive:
    """What came of a stream's bytes."""

    case: Case
    chunks: list[Any]
    ending: Ending
    reported: ReportedError | None = None

    @cached_property
    def accumulator(self) -> Any:
        streaming = self.case.codec.operation.streaming
        assert streaming is not None
        grown: Any = streaming.accumulator(provider=self.case.provider.name, model=self.case.target.model)
        for chunk in self.chunks:
            grown.add(chunk)
        return grown

    @property
    def result(self) -> dict[str, Any]:
        """What was read, in the form of `expected.json`."""
        read = {"response": _plain(self.accumulator.response()), "ending": self.ending}
        return read if self.reported is None else {**read, "reported": _error(self.reported.body)}


def drive(case: Case, pieces: Iterable[bytes]) -> Drive:
    """Feed a stream in pieces, as the engine does: until its final marker, and to its end."""
    return drive_events(case, frame(case, pieces))


def frame(case: Case, pieces: Iterable[bytes]) -> list[tuple[SseEvent, bool]]:
    """Cut bytes into events; each with whether only the end of the bytes completed it."""
    framer: Any = case.codec.framer()
    events = [(event, False) for piece in pieces for event in framer.feed(piece)]
    return [*events, *((event, True) for event in framer.finish())]


def drive_events(case: Case, events: Iterable[tuple[SseEvent, bool]]) -> Drive:
    """Decode events. One that the end of the bytes completed may have been cut, and counts only if it can be read."""
    assert case.codec.decoder is not None
    decoder = case.codec.decoder(case.target)
    chunks: list[Any] = []
    reported: ReportedError | None = None
    for event, at_end in events:
        try:
            chunks += decoder.feed(event)
        except ReportedError as error:
            reported = error
        except MalformedResponseError:
            if not at_end:
                raise
        if decoder.done or reported is not None:
            break
    return Drive(case, chunks, decoder.finish(), reported)


def _without_made_up_ids(response: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Write "made up" where a call has an id that the server did not give: it is another one each time."""
    for choice in response.get("choices", ()):
        for part in choice.get("message", {}).get("parts", ()):
            if part["type"] == "tool_call" and part["id"].encode() not in body:
                part["id"] = "made up"
    return response


_OF_AN_ERROR = ("message", "type", "code", "param", "request_id", "retry_after")


def _error(body: ErrorBody) -> Any:
    """Give an error as the provider words it; what is made of that has tests of its own."""
    return {name: value for name, value in _plain(body).items() if name in _OF_AN_ERROR}


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(value))
