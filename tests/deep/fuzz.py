"""Fuzzing: whatever a provider sends is read, or refused by an error of ours; never by anything else.

Answers that were recorded are spoilt at random: bytes, or places in their JSON. `python3.11 -m tests.deep.fuzz sse
--seed 17` shows what one input does.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import math
import sys
import time
import traceback
import zlib
from functools import cache
from itertools import pairwise
from random import Random
from struct import pack
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import BifrostError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.routing.classify import error_of
from bifrost.wire.body import BodyReader, ErrorBodyReader
from bifrost.wire.framing.aws_event_stream import EventStreamParser
from bifrost.wire.framing.jsonl import JsonLinesParser
from bifrost.wire.framing.sse import SseParser
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.secrets import Secret, redact, redact_bytes
from bifrost.wire.waits import LONGEST_WAIT, rate_limit, retry_after
from tests.deep.row import Row
from tests.providers.golden_cases import cases
from tests.wire.http.oracle import by_h11, by_us

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "fuzz"
_SECONDS = 60.0
"""For each of the surfaces."""

_OURS = (BifrostError, ReportedError)
_LIMIT = 50_000

_TOKENS = (
    *(
        b"\r\n",
        b"\n\n",
        b"\r",
        b"data: ",
        b"data:",
        b"event: error\n",
        b"event:",
        b": ping\n\n",
        b"\xef\xbb\xbf",
        b"\x00",
    ),
    *(
        b"[DONE]",
        b"null",
        b"NaN",
        b"1e999",
        b"-1",
        b"99999999999999999999",
        b'"',
        b"{",
        b"}",
        b"[",
        b"\\ud800",
        b"\xff",
    ),
    *(b'{"error":', b'{"error":null}', b'"message":5', b"\xe2\x80\xa8", b"[" * 3000, b'{"a":' * 3000, b"true", b'""'),
)
_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1.5, 10**30, 1e300, "", "x", "\ud7ff", [], {}, [None], [[]], {"": None})


def spoilt(data: bytes, chance: Random) -> bytes:
    """Change bytes here and there."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randint(0, len(changed))
        match chance.randint(0, 5):
            case 0:
                changed[at : at + 1] = bytes([chance.randint(0, 255)])
            case 1:
                changed[at:at] = chance.choice(_TOKENS)
            case 2:
                del changed[at : at + chance.choice((1, 2, 10, 1000))]
            case 3:
                del changed[at:]
            case 4:
                changed[at:at] = changed[max(0, at - chance.randint(1, 200)) : at]
            case _:
                changed[at : at + 3] = chance.choice(_TOKENS)
    return bytes(changed)


def bent(document: Any, chance: Random) -> Any:
    """Put another value at a place of a JSON document."""
    inner: list[Any] = list(document) if isinstance(document, dict) else list(range(len(document)))
    if not inner:
        return copy.deepcopy(chance.choice(_VALUES))
    key = chance.choice(inner)
    value = document[key]
    if isinstance(value, dict | list) and value and chance.random() < 0.8:
        document[key] = bent(value, chance)
    elif chance.random() < 0.2:
        del document[key]
    else:
        document[key] = copy.deepcopy(chance.choice(_VALUES))
    return document


def _bent_text(data: bytes, chance: Random) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return spoilt(data, chance)
    if chance.random() < 0.3 or not isinstance(document, dict | list):
        return spoilt(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if isinstance(document, dict | list):
            document = bent(document, chance)
    return json.dumps(document).encode()


def _pieces(data: bytes, chance: Random) -> list[bytes]:
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((0, 1, 3, 20))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@cache
def _answers(operation: str) -> list[bytes]:
    found = [case.body for case in cases(stream=False) if case.operation == operation]
    return [body for body in found if len(body) < _LIMIT] or [b'{"object":"list","data":[{"id":"a","index":0}]}']


@cache
def _streams() -> list[bytes]:
    return [case.body for case in cases(stream=True) if len(case.body) < _LIMIT]


# --- the surfaces: each makes an input and reads it, and raises only for a finding


def sse(chance: Random) -> None:
    """Events do not depend on how the bytes are cut."""
    data = spoilt(chance.choice(_streams()), chance)
    limits = {"event_limit": chance.choice((10, 1000, 10**6)), "stream_limit": chance.choice((1000, 10**7))}
    found: list[object] = []
    for pieces in ([data], _pieces(data, chance)):
        parser = SseParser(**limits)
        try:
            events = [event for piece in pieces for event in parser.feed(piece)]
            found.append([*events, *parser.finish()])
        except _OURS as error:
            found.append(type(error))
    assert found[0] == found[1], "other pieces give other events"


def framings(chance: Random) -> None:
    """Lines of JSON and AWS event streams give the same events in whatever pieces, or fail with an error of ours."""
    payload = chance.randbytes(chance.randrange(64))
    prelude = pack(">II", 16 + len(payload), 0)
    message = prelude + pack(">I", zlib.crc32(prelude)) + payload
    data = spoilt((message + pack(">I", zlib.crc32(message))) * chance.randrange(1, 4), chance)
    limits = {"event_limit": chance.choice((32, 10**6)), "stream_limit": chance.choice((64, 10**6))}
    for make in (EventStreamParser, JsonLinesParser):
        found: list[object] = []
        for pieces in ([data], _pieces(data, chance)):
            parser = make(**limits)
            try:
                events = [event for piece in pieces for event in parser.feed(piece)]
                found.append([*events, *parser.finish()])
            except _OURS:
                # Which of several defects is found first depends on the pieces.
                found.append("refused")
        assert found[0] == found[1], "other pieces give other events"


def waits(chance: Random) -> None:
    """A wait is a number of seconds within its limit, or none."""
    texts = (
        "7",
        "0.5",
        "1e3",
        "-1",
        "nan",
        "inf",
        "٣",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "2026-11-26T17:00:00Z",
        "1h6m0.5s",
    )
    names = (
        *("retry-after", "retry-after-ms", "date", "x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens"),
        *("anthropic-ratelimit-tokens-reset", "x-ratelimit-reset", "anthropic-ratelimit-requests-limit"),
    )
    fields = [(chance.choice(names), spoilt(chance.choice(texts).encode(), chance).decode("latin-1")) for _ in range(4)]
    body = _bent_text(
        b'{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}]}}', chance
    )
    headers = Headers.of(*fields)
    wait = retry_after(headers, body, now=1.7e9)
    assert wait is None or 0 < wait <= LONGEST_WAIT, f"a wait of {wait}"
    limits = rate_limit(headers, now=1.7e9)
    for window in () if limits is None else (limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens):
        reset = None if window is None else window.reset_after
        assert reset is None or (math.isfinite(reset) and reset >= 0), f"a reset after {reset}"


def bodies(chance: Random) -> None:
    """A body is read within its limit, however it was packed."""
    plain = chance.choice(_answers("chat")) * chance.choice((1, 1, 30))
    coding = chance.choice((None, "gzip", "deflate", "identity", "br", "gzip, gzip"))
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding or "", bytes)(plain)
    data = spoilt(packed + (packed if chance.random() < 0.2 else b""), chance)
    limit = chance.choice((100, 10_000, 10**6))
    try:
        reader = BodyReader(coding, limit=limit)
        for piece in _pieces(data, chance):
            reader.feed(piece)
        assert len(reader.finish()) <= limit
    except _OURS:
        pass
    errors = ErrorBodyReader(coding, limit=limit)
    for piece in _pieces(data, chance):
        errors.feed(piece)
    assert len(errors.finish()) <= limit


def answers(chance: Random) -> None:
    """Every row's parsers read an answer or refuse it, and can say what they read."""
    row = chance.choice(list(CATALOG.values()))
    endpoint = chance.choice(list(row.codecs))
    body = _bent_text(chance.choice(_answers(endpoint)), chance)
    target = Target(provider=row.name, model="m")
    try:
        response = row.codecs[endpoint].parse(HttpResponse(status=200, headers=Headers(), body=body), target)
    except _OURS:
        return
    msgspec.json.encode(response)
    repr(response)
    if endpoint == "chat":
        json.dumps(response.to_dict())


def streams(chance: Random) -> None:
    """Every row's decoders read a stream or refuse it, and can say what they read."""
    row = chance.choice([row for row in CATALOG.values() if "chat" in row.codecs and row.codecs["chat"].decoder])
    codec = row.codecs["chat"]
    assert codec.decoder is not None
    events = chance.choice(_streams()).split(b"\n\n")
    for _ in range(chance.choice((1, 1, 3))):
        at = chance.randrange(len(events))
        head, mark, data = events[at].partition(b"data: ")
        events[at] = head + mark + _bent_text(data, chance)
    if chance.random() < 0.3:
        chance.shuffle(events)
    framer, decoder = codec.framer(), codec.decoder(Target(provider=row.name, model="m", stream=True))
    grown = ChatAccumulator(provider=row.name, model="m")
    try:
        for piece in _pieces(b"\n\n".join(events), chance):
            for event in framer.feed(piece):
                for chunk in decoder.feed(event):
                    grown.add(chunk)
        for event in framer.finish():
            for chunk in decoder.feed(event):
                grown.add(chunk)
    except _OURS:
        pass
    assert decoder.finish() in {"complete", "unmarked", "cut"}
    msgspec.json.encode(grown.response())


def failures(chance: Random) -> None:
    """Every row's errors are read, and become one of ours."""
    row = chance.choice(list(CATALOG.values()))
    bodies_of = [case.body for case in _failed()] or [b'{"error":{"message":"no","type":"t","code":"c"}}']
    body = _bent_text(chance.choice(bodies_of), chance)
    status = chance.choice((300, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529, 599))
    headers = Headers.of(("retry-after", spoilt(b"12", chance).decode("latin-1")))
    response = HttpResponse(status=status, headers=headers, body=body)
    error = error_of(
        status,
        row.parse_error(response),
        headers=headers,
        provider=row.name,
        model="m",
        key="k",
        now_wall=1.7e9,
        raw=body,
    )
    assert isinstance(error, BifrostError)
    assert str(error).isprintable(), f"unprintable: {str(error)!r}"


@cache
def _failed() -> list[Any]:
    return [case for case in cases(stream=False) if case.answer.status >= 300]


def secrets(chance: Random) -> None:
    """No text that is shown has a key in it."""
    value = "".join(chance.choice("abcXYZ019+/=-_%\\\"'<") for _ in range(chance.randint(8, 60)))
    secret = Secret(value)
    text = spoilt(b"the key " + value.encode() + b" was " + value[:-1].encode() + b", " + value.encode(), chance)
    assert value.encode() not in redact_bytes(text, secret)
    assert value not in redact(text.decode("latin-1"), secret)


_HTTP = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}',
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.0 429 No\r\nretry-after: 3\r\nx: a\r\n b\r\n\r\nall of it",
    b"HTTP/1.1 204 None\r\nconnection: close\r\n\r\n",
)


def heads(chance: Random) -> None:
    """Read answers of HTTP/1.1: the same however they are cut, and never otherwise than h11 where both accept one."""
    data = spoilt(chance.choice(_HTTP), chance)
    closes = chance.random() < 0.5
    ours = by_us(data, closes=closes)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    pieces = [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]
    if by_us(*(piece for piece in pieces if piece), closes=closes) != ours:
        raise AssertionError("another answer when it is cut")
    theirs = by_h11(data, closes=closes)
    if ours is not None and theirs is not None and (ours.status, ours.body) != (theirs.status, theirs.body):
        raise AssertionError("another answer than h11's")


SURFACES: dict[str, Callable[[Random], None]] = {
    each.__name__: each for each in (sse, framings, waits, bodies, answers, streams, failures, secrets, heads)
}


def fuzz(name: str, *, seconds: float, first: int = 0) -> tuple[int, dict[str, int]]:
    """Try a surface for so long. Gives the number of inputs, and the findings with the seed of each."""
    end = time.monotonic() + seconds
    findings: dict[str, int] = {}
    seed = first
    while time.monotonic() < end:
        try:
            SURFACES[name](Random(seed))
        except Exception as error:  # noqa: BLE001 - each of them is a finding
            frame = traceback.extract_tb(error.__traceback__)[-1]
            findings.setdefault(f"{type(error).__name__}: {str(error)[:80]} ({frame.name}:{frame.lineno})", seed)
        seed += 1
    return seed - first, findings


def run() -> list[Row]:
    rows: list[Row] = []
    for name in SURFACES:
        count, findings = fuzz(name, seconds=_SECONDS)
        for told, seed in findings.items():
            print(f"fuzz {name} --seed {seed}: {told}", file=sys.stderr, flush=True)  # noqa: T201 - to look into
        rows.append(Row(f"inputs of {name}", f"{count:,}, {len(findings)} findings", "0 findings", ok=not findings))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("surface", choices=SURFACES)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    SURFACES[given.surface](Random(given.seed))
