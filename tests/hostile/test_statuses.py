"""Statuses and the bodies of errors: what is tried again, with which key, and what goes to the fallback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bifrost import (
    BadRequestError,
    BifrostError,
    ConfigError,
    MalformedResponseError,
    RateLimitError,
    ServerError,
    Timeouts,
)
from bifrost.providers.base import ErrorBody
from bifrost.routing.classify import error_of
from bifrost.routing.retry import RULES
from tests.canary import CANARY
from tests.hostile.answers import CHAT, STREAM, good, head
from tests.hostile.memory import resident
from tests.hostile.server import HostileServer, Peer
from tests.hostile.stage import KEY, RETRIES, faults
from tests.plugins.recorder import KINDS
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.recorder import Kind

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

SECOND = "sk-second-8y6p4v2j0h"
BOTH = {KEY: "key 0", SECOND: "key 1"}


STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 425, 429, 500, 502, 503, 504, 520, 529, 999)


class Row(msgspec.Struct, frozen=True):
    """What follows a status, of two keys."""

    error: type[BifrostError]
    category: str
    tries: int
    keys: int | None
    """With how many keys; `None`: it does not matter, a key is drawn for each try."""
    fallback: bool


def row_of(status: int) -> Row:
    """Return what the tables say, which have tests of their own (`tests/routing`): here it is seen to happen."""
    body = ErrorBody(message="it failed")
    said = error_of(status, body, headers=None, provider="p", model="m", key="k", now_wall=0)
    rule = RULES[said.category]
    tries = 1 + RETRIES.max_retries if rule.same_key else len(BOTH) if rule.other_key else 1
    return Row(type(said), said.category, tries, len(BOTH) if rule.other_key else None, rule.fallback)


ROWS = {status: row_of(status) for status in STATUSES}
OF_EACH_CATEGORY = {row.category: status for status, row in ROWS.items()}.values()

_TOLD = {"type": "something_new", "message": "it did not work"}
FORMS: dict[str, tuple[str, bytes]] = {
    "json": ("application/json", json.dumps({"type": "error", "error": _TOLD}).encode()),
    "other json": ("application/json", b'{"detail": [{"loc": ["body"], "msg": "it did not work"}]}'),
    "broken json": ("application/json", b'{"error": {"message": "it did n'),
    "html": ("text/html", b"<html><head><title>502 it did not work</title></head><body></body></html>"),
    "text": ("text/plain", b"it did not work"),
    "empty": ("application/json", b""),
    "binary": ("application/octet-stream", bytes(range(256)) * 8),
}


def refusal(status: int, form: str) -> bytes:
    kind, body = FORMS[form]
    return head(f"content-type: {kind}", f"content-length: {len(body)}", status=f"{status} Trouble") + body


async def check(scene: Any, status: int, form: str, kind: Kind) -> None:
    """Compare a call, and then one with a fallback, with the row of its status."""
    row = ROWS[status]
    scene.server.play(refusal(status, form))
    seen = len(scene.server.keys)
    error = await scene.fails(row.error, kind)
    assert type(error) is row.error
    assert error.status == status
    assert faults(error) == [row.category] * row.tries
    used = [attempt.key for attempt in error.attempts]
    assert used == [BOTH[key] for key in scene.server.keys[seen:]], "the trail tells which key was sent"
    assert row.keys in (None, len(set(used)))
    assert error.body == FORMS[form][1] or (not error.body and form == "empty")
    assert len(error.message) < 3000
    assert str(error).isprintable()
    if form in {"json", "text", "html"}:
        assert "it did not work" in error.message
    await scene.renew()
    if row.fallback:
        reply = await scene.ask(kind, fallbacks=[scene.fallback])
        assert faults(reply) == [row.category] * row.tries + [None]
    else:
        await scene.fails(row.error, kind, fallbacks=[scene.fallback])
    await scene.renew()


def test_each_category_of_a_status_is_played() -> None:
    assert len(OF_EACH_CATEGORY) == 10
    assert {row.tries for row in ROWS.values()} == {1, 2, 3}


@table("status", OF_EACH_CATEGORY)
async def test_what_follows_a_status_of_each_category(stage: Any, status: int) -> None:
    provider = ("openai", "anthropic")[status % 2]
    form = list(FORMS)[status % len(FORMS)]
    async with stage(provider=provider, keys=[KEY, SECOND]) as scene:
        for kind in KINDS:
            await check(scene, status, form, kind)


@pytest.mark.wide
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 425, 429])
async def test_fault_29_to_38_a_refusal(stage: Any, provider: str, status: int) -> None:
    async with stage(provider=provider, keys=[KEY, SECOND]) as scene:
        for form in FORMS:
            for kind in KINDS:
                await check(scene, status, form, kind)


@pytest.mark.wide
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 529, 999])
async def test_fault_39_to_45_a_failure_of_the_provider(stage: Any, provider: str, status: int) -> None:
    async with stage(provider=provider, keys=[KEY, SECOND]) as scene:
        for form in FORMS:
            for kind in KINDS:
                await check(scene, status, form, kind)


@table("form", FORMS)
async def test_a_body_in_any_form(stage: Any, form: str, kind: Kind) -> None:
    async with stage(keys=[KEY, SECOND]) as scene:
        await check(scene, 404, form, kind)


async def test_fault_35_a_conflict_that_is_the_callers(stage: Any, kind: Kind) -> None:
    body = b'{"error": {"message": "no such file", "type": "invalid_request_error", "param": "file"}}'
    fields = ("content-type: application/json", f"content-length: {len(body)}")
    async with stage(head(*fields, status="409 Conflict") + body) as scene:
        error = await scene.fails(BadRequestError, kind)
        assert faults(error) == ["caller"]


# --- bodies of errors

MIB = 1024 * 1024
LARGE = {
    "text": b"x" * (4 * MIB),
    "binary": bytes(range(256)) * (4 * MIB // 256),
    "html": b"<html>" + b"<p>sorry</p>" * (4 * MIB // 12),
    "json": json.dumps({"error": {"message": "m" * (4 * MIB)}}).encode(),
    "cut json": b'{"error": {"message": "' + b"m" * (4 * MIB),
    "lines": b"\r\n\x1b[31m" * (4 * MIB // 7),
    "the key": f"{CANARY} ".encode() * 100_000,
}


@pytest.mark.parametrize("what", LARGE)
async def test_fault_51_a_large_body_of_an_error(stage: Any, kind: Kind, what: str) -> None:
    body = LARGE[what]

    def fails(peer: Peer) -> None:
        peer.read_request()
        peer.send(head(f"content-length: {len(body)}", status="500 Internal Server Error"), body)

    async with stage(fails) as scene:
        before = resident()
        error = await scene.fails(ServerError, kind)
        assert len(error.attempts) == 3
        assert error.body is not None
        assert len(error.body) <= 64 * 1024
        assert len(str(error)) < 3000
        assert str(error).isprintable()
        assert resident() - before < 16 * MIB


ENDS: dict[str, Callable[[Peer], None]] = {"closed": Peer.close, "reset": Peer.reset}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_fault_51_a_body_of_an_error_that_is_cut(stage: Any, kind: Kind, status: int, how: str) -> None:
    def cuts(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("content-length: 1000", status=f"{status} Trouble"), b"not so, and the reason is ")
        peer.pause(0.01)
        ENDS[how](peer)

    async with stage(cuts) as scene:
        # The status has said what it is.
        row = ROWS[status]
        error = await scene.fails(row.error, kind)
        assert set(faults(error)) == {row.category}
        assert error.status == status


@pytest.mark.parametrize("drips", [False, True], ids=["stalls", "drips"])
async def test_fault_51_a_body_of_an_error_that_does_not_end(stage: Any, kind: Kind, drips: bool) -> None:
    def never_ends(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("content-length: 1000000", status="400 Bad Request"), b'{"error": {"message": "bad')
        while drips:
            peer.drip(b"x", every=0.01)
        peer.stall()

    async with stage(never_ends, timeouts=Timeouts(error_body=0.5)) as scene:
        error = await scene.fails(BadRequestError, kind)
        assert faults(error) == ["caller"]
        assert error.body is not None
        assert error.body.startswith(b'{"error"')


REDIRECTS = (301, 302, 303, 307, 308)
TARGETS = ("a peer", "itself", "metadata", "a file", "nothing")


@pytest.mark.parametrize(
    ("status", "where"),
    [
        pytest.param(status, where, marks=() if place == target else pytest.mark.wide)
        for place, status in enumerate(REDIRECTS)
        for target, where in enumerate(TARGETS)
    ],
)
async def test_fault_52_a_redirect(stage: Any, kind: Kind, status: int, where: str) -> None:
    peer = HostileServer(good)
    server = HostileServer(good)
    with peer:
        server.start()
        target = {
            "a peer": f"{peer.url}/v1/chat/completions?token=hidden",
            "itself": f"{server.url}/v1/chat/completions",
            "metadata": "http://169.254.169.254/latest/meta-data/?token=hidden",
            "a file": "file:///etc/passwd",
            "nothing": "http://[",
        }[where]
        server.play(head(f"location: {target}", "content-length: 0", status=f"{status} Elsewhere"))
        async with stage(server=server) as scene:
            error = await scene.fails(ConfigError, kind)
            assert (error.status, faults(error)) == (status, ["config"])
            assert "never followed" in error.message
            assert "hidden" not in str(error)
            assert "passwd" not in str(error)
            reply = await scene.ask(kind, fallbacks=[scene.fallback])
            assert faults(reply) == ["config", None]
        assert peer.opened == 0


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (head(status="204 No Content"), MalformedResponseError, ["malformed"] * 2),
        (head(status="304 Not Modified"), ConfigError, ["config"]),
        (CHAT.replace(b"200 OK", b"206 Partial Content"), MalformedResponseError, ["malformed"] * 2),
        (CHAT.replace(b"200 OK", b"205 Reset Content"), MalformedResponseError, ["malformed"] * 2),
    ],
    ids=["204", "304", "206", "205"],
)
async def test_fault_53_a_status_that_answers_no_post(
    stage: Any, kind: Kind, answer: bytes, error: type[BifrostError], told: list[str]
) -> None:
    async with stage(answer) as scene:
        assert faults(await scene.fails(error, kind)) == told
        reply = await scene.ask(kind, fallbacks=[scene.fallback])
        assert faults(reply) == [*told, None]


# --- statuses that come with an answer

ANSWERED = {
    "200": "200 OK",
    "201": "201 Created",
    "202": "202 Accepted",
    "203": "203 Non-Authoritative Information",
    "207": "207 Multi-Status",
    "299": "299 Whatever",
}


@pytest.mark.parametrize("status", ANSWERED)
@pytest.mark.parametrize("asked", KINDS)
async def test_a_good_status_with_an_answer_is_asked_for_once(stage: Any, status: str, asked: Kind) -> None:
    for sent in (CHAT, STREAM):  # a server may answer whole where a stream was asked for, and the other way round
        async with stage(sent.replace(b"200 OK", ANSWERED[status].encode(), 1)) as scene:
            reply = await scene.ask(asked)
            assert reply.text == "hello"
            assert [(attempt.status, attempt.category) for attempt in reply.attempts] == [(int(status), None)]
            assert scene.server.attempts == 1


@pytest.mark.parametrize("status", ["201 Created", "203 Non-Authoritative Information"])
async def test_a_good_status_without_an_answer_is_malformed(stage: Any, kind: Kind, status: str) -> None:
    body = b'{"id": "job_1", "state": "queued"}'
    fields = ("content-type: application/json", f"content-length: {len(body)}")
    async with stage(head(*fields, status=status) + body) as scene:
        error = await scene.fails(MalformedResponseError, kind)
        assert faults(error) == ["malformed"] * 2
        assert error.body == body


ACCEPTED = (b'{"id": "job_1", "state": "queued"}', b"", b"<html></html>")
NAMED = ("content-type: application/json", "content-type: text/event-stream", "x-queue: 1")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(body, named, marks=() if place == other else pytest.mark.wide)
        for place, body in enumerate(ACCEPTED)
        for other, named in enumerate(NAMED)
    ],
)
async def test_work_that_is_only_accepted_is_not_asked_for_again(
    stage: Any, kind: Kind, body: bytes, named: str
) -> None:
    fields = (named, f"content-length: {len(body)}")
    async with stage(head(*fields, status="202 Accepted") + body) as scene:
        error = await scene.fails(MalformedResponseError, kind)
        assert faults(error) == ["malformed"]
        assert scene.server.attempts == 1
        assert "accepted the request and has not answered it" in error.message
        reply = await scene.ask(kind, fallbacks=[scene.fallback])
        assert faults(reply) == ["malformed", None]


async def test_an_error_inside_a_good_status_is_judged_by_its_words(stage: Any, kind: Kind) -> None:
    body = b'{"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}'
    fields = ("content-type: application/json", f"content-length: {len(body)}")
    for status in ("201 Created", "207 Multi-Status"):
        async with stage(head(*fields, status=status) + body) as scene:
            error = await scene.fails(RateLimitError, kind)
            assert faults(error) == ["throttled"] * 3
