"""Statuses and the bodies of errors: what is tried again, with which key, and what goes to the fallback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    ConfigError,
    MalformedResponseError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    Timeouts,
)
from tests.canary import CANARY
from tests.hostile.answers import CHAT, STREAM, good, head
from tests.hostile.memory import resident
from tests.hostile.server import HostileServer, Peer
from tests.hostile.stage import KEY, faults
from tests.plugins.recorder import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.recorder import Kind

pytestmark = pytest.mark.anyio

SECOND = "sk-second-8y6p4v2j0h"
BOTH = {KEY: "key 0", SECOND: "key 1"}


class Row(msgspec.Struct, frozen=True):
    """What follows a status, of two keys."""

    error: type[BifrostError]
    category: str
    tries: int
    keys: int | None = None
    """With how many keys; `None`: it does not matter, a key is drawn for each try."""
    fallback: bool = True


ROWS = {
    400: Row(BadRequestError, "caller", 1, fallback=False),
    401: Row(AuthenticationError, "credential", 2, 2),
    402: Row(QuotaExceededError, "quota", 2, 2),
    403: Row(PermissionDeniedError, "access", 2, 2),
    404: Row(NotFoundError, "config", 1),
    408: Row(ServerError, "transient", 3),
    409: Row(ProviderError, "conflict", 3),
    413: Row(BadRequestError, "caller", 1, fallback=False),
    425: Row(ServerError, "transient", 3),
    429: Row(RateLimitError, "throttled", 3, 2),
    500: Row(ServerError, "transient", 3),
    502: Row(ServerError, "transient", 3),
    503: Row(ServerError, "transient", 3),
    504: Row(ServerError, "transient", 3),
    520: Row(ServerError, "transient", 3),
    529: Row(OverloadedError, "overloaded", 3),
    999: Row(ProviderError, "unknown", 1),
}

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


def forms_of(status: int, forms: str) -> list[str]:
    """Return the forms of a body that a status is tried with: all, or two of them, others for each status."""
    names = list(FORMS)
    return names if forms == "all" else [names[(status + step) % len(names)] for step in (0, 3)]


IN_FORMS = pytest.mark.parametrize("forms", ["two forms", pytest.param("all", marks=pytest.mark.wide)])
"""What follows a status does not depend on its body; `test_a_body_in_any_form` shows each form in the README's run."""


@IN_FORMS
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 425, 429])
async def test_fault_29_to_38_a_refusal(stage: Any, provider: str, status: int, forms: str) -> None:
    async with stage(provider=provider, keys=[KEY, SECOND]) as scene:
        for form in forms_of(status, forms):
            for kind in KINDS:
                await check(scene, status, form, kind)


@IN_FORMS
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 529, 999])
async def test_fault_39_to_45_a_failure_of_the_provider(stage: Any, provider: str, status: int, forms: str) -> None:
    async with stage(provider=provider, keys=[KEY, SECOND]) as scene:
        for form in forms_of(status, forms):
            for kind in KINDS:
                await check(scene, status, form, kind)


@pytest.mark.parametrize("form", FORMS)
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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["a peer", "itself", "metadata", "a file", "nothing"])
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


@pytest.mark.parametrize("body", [b'{"id": "job_1", "state": "queued"}', b"", b"<html></html>"])
@pytest.mark.parametrize("named", ["content-type: application/json", "content-type: text/event-stream", "x-queue: 1"])
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
