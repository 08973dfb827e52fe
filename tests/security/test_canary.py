"""The canary: a key that is driven down every path of a call, and must be seen nowhere after it.

Looked at are the client and its account, keys, requests, answers, errors with all that hangs on them, the calls'
contexts and reports; in every way that there is to print, copy, dump or walk a thing; and what was logged, warned of
or printed meanwhile.
"""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import attrs
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    ConfigError,
    ConnectError,
    InternalError,
    Key,
    Plugin,
    PluginError,
    ProviderConfig,
    RetryConfig,
    StreamInterruptedError,
    SyncBifrost,
)
from bifrost.providers.catalog import CATALOG
from bifrost.testing import Cassette, LoopbackProvider, RawServer, no_waits
from tests.canary import CANARY, assert_shows_nothing, assert_unseen, listening
from tests.engine.peers import Authority, Served, answer, read_request, until_left
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import KINDS, MODEL, OTHER, Kind, ask
from tests.security.watch import Watch, account_of, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from anyio.abc import ByteStream

    from bifrost import CallContext, StaticAccount
    from bifrost.testing.loopback import Handler

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

ECHOES: dict[str, str] = {
    "as it is": CANARY,
    "quoted": json.dumps(f'"{CANARY}"'),
    "with escaped slashes": CANARY.replace("/", "\\/"),
    "base64": b64encode(CANARY.encode()).decode(),
    "base64 of more": b64encode(f"user:{CANARY}".encode()).decode(),
    "percent-encoded": quote(CANARY, safe=""),
    "percent-encoded in lower case": quote(CANARY, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "cut": CANARY[:14],
    "masked": f"sk-...{CANARY[-4:]}",
}
"""How a provider may write the key that it was sent."""
ALL = " and ".join(ECHOES.values())
STATUSES = [400, 401, 402, 403, 404, 408, 409, 410, 413, 422, 425, 429, 500, 502, 503, 504, 520, 529, 599, 999]


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with no_waits():
        yield


@pytest.fixture
async def watch(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Watch]:
    async with watching(capsys) as watch:
        yield watch


@pytest.fixture
async def server() -> AsyncIterator[LoopbackProvider]:
    async with LoopbackProvider() as server:
        yield server


def of_server(server: LoopbackProvider) -> StaticAccount:
    return account_of({name: server.config(name) for name in ("openai", "anthropic")})


def raw_client(watch: Watch, url: str, **options: Any) -> Bifrost:
    config = ProviderConfig(base_url=url, retry=RetryConfig(max_retries=1))
    return Bifrost(account_of({"openai": config}), plugins=[watch.plugin], **options)


# --- the good ways


async def test_an_answer(watch: Watch, server: LoopbackProvider, kind: Kind) -> None:
    server.reply("hello", headers={"server": CANARY}).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        for model in (MODEL, OTHER):
            reply = await ask(client, kind, model)
            watch.look(reply, reply.attempts, reply.usage)
        await watch.client(client)
    assert_shows_nothing(client, copies=False)


IDS: tuple[str, ...] = ("x-request-id", "request-id")


@pytest.mark.parametrize(
    "echo", [*ECHOES.values(), CANARY[6:14].upper(), f"req-{CANARY[5:13]}-x", f"****{CANARY[-4:]}"]
)
async def test_a_good_answer_whose_identifier_shows_the_key(watch: Watch, server: LoopbackProvider, echo: str) -> None:
    headers = {**dict.fromkeys(IDS, f"id-{echo}"), f"x-{CANARY[3:12].lower()}": CANARY}
    server.reply("hello", headers=headers).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        for kind in KINDS:
            for model in (MODEL, OTHER):
                reply = await ask(client, kind, model)
                assert reply.text == "hello"
                watch.look(reply, reply.attempts)
                found = [reply.request_id, *(attempt.request_id for attempt in reply.attempts)]
                assert all(each and each.startswith("id-") and "***" in each for each in found)
        await watch.client(client)


async def test_a_good_answer_of_another_operation_whose_identifier_shows_the_key(
    watch: Watch, server: LoopbackProvider
) -> None:
    headers = dict.fromkeys(IDS, CANARY.upper())
    embedded = {
        "data": [{"index": 0, "embedding": [0.5]}],
        "model": "m",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    listed = {"object": "list", "data": [{"id": "a", "object": "model", "created": 1, "owned_by": "x"}]}
    server.json(embedded, headers=headers).then.json(listed, headers=headers)
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        vectors = await client.embed("openai/text-embedding-3-small", "hi")
        models = await client.list_models("openai")
        assert (vectors.request_id, models.request_id) == ("***", "***")
        watch.look(vectors, models)


async def test_the_other_operations(watch: Watch, server: LoopbackProvider) -> None:
    server.embed([[0.5]]).then.models(["a"])
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        watch.look(await client.embed("openai/text-embedding-3-small", "hi"))
        watch.look(await client.list_models("openai"))
        await watch.client(client.with_options(timeout=5))


async def test_a_call_on_its_way(watch: Watch, kind: Kind) -> None:
    """While the provider thinks: workers, jobs, exchanges and connections are there to be walked."""
    async with RawServer(until_left) as peer, raw_client(watch, peer.url) as client, anyio.create_task_group() as group:
        group.start_soon(partial(watch.error_of, ask(client, kind, timeout=30)))
        await until(lambda: peer.connections.open == 1 and client.stats().in_flight == 1)
        await watch.busy_client(client)
        watch.look(*watch.plugin.seen)
        await client.close(drain=0)


async def test_an_open_stream(watch: Watch, server: LoopbackProvider) -> None:
    server.stream(["a", "b", "c"])
    async with (
        Bifrost(of_server(server), plugins=[watch.plugin]) as client,
        client.stream_chat(MODEL, "hi") as stream,
    ):
        watch.look(await stream.__anext__(), stream.partial)
        assert_shows_nothing(stream, copies=False)
        await watch.busy_client(client)
        watch.look(await stream.final())


async def test_changes_while_it_runs(watch: Watch, server: LoopbackProvider) -> None:
    server.reply("hello").always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        await client.add_provider("groq", keys=CANARY, config=server.config("openai"))
        watch.look(await client.chat("groq/llama", "hi"))
        await client.update_provider("groq", keys=[Key(name="new", value=f"{CANARY}x")])
        watch.look(await client.chat("groq/llama", "hi"))
        await watch.client(client)
        for wrong in (f"{CANARY}\n{CANARY}", f"é{CANARY}", [CANARY, f"{CANARY} x"]):
            await watch.error_of(client.update_provider("groq", keys=wrong))
            await watch.error_of(client.add_provider("mistral", keys=wrong))
        await watch.error_of(client.add_provider("groq", keys=CANARY))
        await client.remove_provider("groq")
        await watch.client(client)


# --- errors that a provider tells


@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_that_shows_the_key(watch: Watch, server: LoopbackProvider, status: int) -> None:
    kind = KINDS[status % 2]
    shown = {"x-request-id": CANARY, "request-id": CANARY, "www-authenticate": CANARY, "retry-after": CANARY}
    server.fail(status, message=f"no: {ALL}", type=f"t {CANARY}", code=f"c {CANARY}", headers=shown).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        error = await watch.error_of(ask(client, kind, MODEL, fallbacks=[OTHER]))
        assert "***" in str(error)
        await watch.client(client)


@pytest.mark.parametrize("form", ["json", "html", "text", "nested"])
async def test_a_key_in_any_writing(watch: Watch, server: LoopbackProvider, form: str) -> None:
    async with Bifrost(of_server(server), plugins=[watch.plugin], max_retries=0) as client:
        for told in ECHOES.values():
            match form:
                case "json":
                    server.fail(401, message=f"bad key {told}.")
                case "html":
                    server.raw(401, f"<html><b>{told}</b></html>", {"content-type": "text/html"})
                case "text":
                    server.raw(500, told * 2_000, {"content-type": "text/plain"})
                case _:
                    server.raw(400, json.dumps({"errors": [{"detail": {"seen": told}}]}))
            error = await watch.error_of(ask(client, "plain"))
            assert told.encode() not in (error.body or b"")
            assert told not in str(error)


async def test_an_error_in_a_200(watch: Watch, server: LoopbackProvider) -> None:
    server.json({"error": {"message": ALL, "type": CANARY, "code": CANARY, "param": CANARY}}).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        await watch.error_of(ask(client, "plain"))


@pytest.mark.parametrize("at", [0, 1])
async def test_a_stream_that_breaks(watch: Watch, server: LoopbackProvider, at: int) -> None:
    server.error_event(at=at, message=f"sorry {ALL}").then.malformed_event(at=at)
    server.stream(["a", "b"]).cut(after_events=at + 1)
    async with Bifrost(of_server(server), plugins=[watch.plugin], max_retries=0) as client:
        for _ in range(3):
            error = await watch.error_of(ask(client, "stream"))
            if isinstance(error, StreamInterruptedError):
                watch.look(error.partial, error.usage)


@pytest.mark.parametrize("before", ["", 'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'])
async def test_an_event_that_is_no_json_but_the_key(watch: Watch, server: LoopbackProvider, before: str) -> None:
    server.raw(200, f"{before}data: {{{CANARY}\n\n", {"content-type": "text/event-stream"}).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        for model in (MODEL, OTHER):
            await watch.error_of(ask(client, "stream", model))


@pytest.mark.parametrize(
    "body", [CANARY, f'{{"choices": "{CANARY}"}}', f'{{"{CANARY}": ', f'["{CANARY}"]', f'{{"choices": ["{CANARY}"]}}']
)
async def test_a_malformed_answer(watch: Watch, server: LoopbackProvider, kind: Kind, body: str) -> None:
    server.raw(200, body, {"content-type": "application/json"}).always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        await watch.error_of(ask(client, kind))


# --- trouble on the road


async def _echo(stream: ByteStream) -> None:
    """Send back what came, as no HTTP at all."""
    head, _ = await read_request(stream)
    await stream.send(head.encode("latin-1"))


def _redirect(status: str) -> Handler:
    place = f"https://user:{quote(CANARY, safe='')}@{CANARY[3:9]}.example/?key={quote(CANARY, safe='')}"
    return Served(answer(b"", status=status, headers=f"location: {place}\r\n"))


PEERS: dict[str, Handler] = {
    "garbage": Served(f"{CANARY}\r\n\r\n".encode(), close=True),
    "closes": Served(b"", close=True),
    "echoes the request": _echo,
    "echoes it in a header": Served(answer(headers=f"x-echo: {CANARY}\x00\r\n")),
    "a bad status line": Served(f"HTTP/1.1 2x0 {CANARY}\r\n\r\n".encode(), close=True),
    "a bad length": Served(f"HTTP/1.1 200 OK\r\ncontent-length: {CANARY}\r\n\r\n".encode(), close=True),
    "a bad chunk": Served(f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{CANARY}\r\n".encode(), close=True),
    "an unknown coding": Served(answer(headers=f"content-encoding: {CANARY}\r\n")),
    "cuts the body": Served(answer(f'{{"a": "{CANARY}'.encode())[:-4], close=True),
    "never answers": until_left,
    "redirects": _redirect("302 Found"),
    "redirects for ever": _redirect("308 Permanent Redirect"),
    "204": Served(b"HTTP/1.1 204 No Content\r\n\r\n"),
}


@pytest.mark.parametrize("peer", PEERS)
async def test_a_peer_that_misbehaves(watch: Watch, kind: Kind, peer: str) -> None:
    timeout = 0.5 if PEERS[peer] is until_left else 30
    async with RawServer(PEERS[peer]) as server, raw_client(watch, server.url, timeout=timeout) as client:
        await watch.error_of(ask(client, kind))
        await watch.client(client)


async def test_a_refused_connection(watch: Watch, kind: Kind) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with raw_client(watch, f"http://127.0.0.1:{closed.getsockname()[1]}") as client:
            assert isinstance(await watch.error_of(ask(client, kind)), ConnectError)


async def test_a_certificate_that_is_not_trusted(watch: Watch, kind: Kind) -> None:
    async with (
        RawServer(Served(answer()), ssl_context=Authority().context()) as server,
        raw_client(watch, server.url) as client,
    ):
        assert isinstance(await watch.error_of(ask(client, kind)), ConfigError)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "garbage"])
async def test_a_proxy_with_a_password(watch: Watch, monkeypatch: pytest.MonkeyPatch, kind: Kind, status: str) -> None:
    async with RawServer(Served(answer(b"", status=f"{status} {CANARY}"), close=True)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{quote(CANARY, safe='')}@127.0.0.1:{proxy.port}")
        async with raw_client(watch, "https://127.0.0.1:4") as client:
            await watch.error_of(ask(client, kind))
            await watch.client(client)


async def test_a_proxy_that_cannot_be_used(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"gopher://user:{CANARY}@127.0.0.1:9")
    async with raw_client(watch, "https://127.0.0.1:4") as client:
        assert isinstance(await watch.error_of(ask(client, "plain")), ConfigError)


async def test_a_caller_that_leaves_a_stream(watch: Watch, server: LoopbackProvider) -> None:
    server.stream(["a", "b"]).stall(after_events=1)
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            watch.look(await stream.__anext__())
            with anyio.CancelScope() as scope:
                scope.cancel()
                await stream.final()
        assert scope.cancelled_caught
        watch.look(stream.partial)
        await until(lambda: is_quiet(client))
        await watch.client(client)


async def test_a_caller_that_leaves(watch: Watch, server: LoopbackProvider, kind: Kind) -> None:
    server.hang().always()
    async with Bifrost(of_server(server), plugins=[watch.plugin]) as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(ask, client, kind)
                await until(lambda: server.calls)
                scope.cancel()
        assert scope.cancelled_caught
        await until(lambda: is_quiet(client))
        await watch.client(client)


async def test_closing_with_calls_in_flight(watch: Watch, server: LoopbackProvider, kind: Kind) -> None:
    server.hang().always()
    config = attrs.evolve(server.config("openai"), concurrency=1)
    async with Bifrost(account_of({"openai": config}), plugins=[watch.plugin]) as client:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(watch.error_of, ask(client, kind))
            await until(lambda: server.calls and client.stats().waiting == 2)
            await client.close(drain=0)
        assert_shows_nothing(client, copies=False)


# --- defects of foreign code


class Failing(Plugin):
    """Fails in one of its hooks."""

    def __init__(self, hook: str, on_error: Any) -> None:
        self.on_error = on_error
        setattr(self, hook, self._fail)

    def _fail(self, call: CallContext, value: object) -> object:
        raise LookupError("bad luck")


class Hooked(Failing):
    """Has the hooks in its class, where they are looked for."""

    def before_call(self, call: CallContext, request: Any) -> Any: ...
    def before(self, call: CallContext, request: Any) -> Any: ...
    def after(self, call: CallContext, outcome: Any) -> Any: ...
    def after_call(self, call: CallContext, outcome: Any) -> Any: ...
    def on_chunk(self, call: CallContext, chunk: Any) -> Any: ...


@pytest.mark.parametrize("hook", ["before_call", "before", "after", "after_call", "on_chunk"])
@pytest.mark.parametrize("on_error", ["skip", "fail"])
async def test_a_plugin_that_fails(watch: Watch, server: LoopbackProvider, hook: str, on_error: str) -> None:
    server.reply("hello").always()
    plugins = [watch.plugin, Hooked(hook, on_error)]
    async with Bifrost(of_server(server), plugins=plugins) as client:
        if on_error == "fail" and hook in ("before_call", "before"):
            assert isinstance(await watch.error_of(ask(client, "stream")), PluginError)
        elif on_error == "fail" and hook == "on_chunk":
            assert isinstance(await watch.error_of(ask(client, "stream")), StreamInterruptedError)
        else:
            watch.look(await ask(client, "stream"))


class Careless:
    """An account that tells its key when it fails."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _do(self, name: str, value: Any) -> Any:
        if name == self._method:
            raise LookupError(f"no {CANARY}")
        return value

    def providers(self) -> Any:
        return self._do("providers", ["openai"])

    def keys(self, provider: str, call: Any) -> Any:
        return self._do("keys", [Key(name="main", value=CANARY)])

    def config(self, provider: str) -> Any:
        return self._do("config", ProviderConfig())


@pytest.mark.parametrize("method", ["providers", "keys", "config"])
async def test_an_account_that_fails(watch: Watch, kind: Kind, method: str) -> None:
    async with Bifrost(Careless(method), plugins=[watch.plugin]) as client:
        error = await watch.error_of(ask(client, kind))
        assert isinstance(error, ConfigError)


@pytest.mark.parametrize("part", ["build", "parse", "parse_error"])
async def test_a_codec_that_fails(watch: Watch, server: LoopbackProvider, part: str) -> None:
    def fail(*given: Any) -> Any:
        raise KeyError({"authorization": CANARY}, given)

    row = CATALOG["openai"]
    if part == "parse_error":
        broken = attrs.evolve(row, name="broken", parse_error=fail)
    else:
        broken = attrs.evolve(row, name="broken", codecs={"chat": attrs.evolve(row.codecs["chat"], **{part: fail})})
    (server.fail(400) if part == "parse_error" else server.reply("hello")).always()
    async with Bifrost(
        account_of({"broken": server.config("openai")}, rows=(broken,)), plugins=[watch.plugin]
    ) as client:
        assert isinstance(await watch.error_of(ask(client, "plain", "broken/model")), InternalError)


# --- files


@pytest.mark.parametrize("record", ["once", "none"])
async def test_a_cassette(watch: Watch, server: LoopbackProvider, tmp_path: Path, record: Any) -> None:
    server.raw(200, '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]}').then.fail(
        401, message=ALL, headers={"x-request-id": CANARY}
    )
    path = tmp_path / "tape.json"
    with Cassette(path, record="once") as cassette:
        async with cassette.client(of_server(server), plugins=[watch.plugin], max_retries=0) as client:
            watch.look(await ask(client, "plain"))
            await watch.error_of(client.chat(MODEL, "again"))
            await watch.client(client)
    assert_unseen(path.read_text(encoding="utf-8"))
    if record == "none":
        with Cassette(path, record="none") as played:
            async with played.client(of_server(server), plugins=[watch.plugin], max_retries=0) as client:
                watch.look(await ask(client, "plain"))
                await watch.error_of(client.chat(MODEL, "again"))
                await watch.error_of(client.chat(MODEL, "what is not recorded"))


@pytest.mark.parametrize(
    "table",
    [
        {"keys": [f"{CANARY}\n{CANARY}"]},
        {"keys": {"value": CANARY}},
        {"keys": [f"env.{CANARY}"]},
        {"key": CANARY},
        {"keys": ["x"], "queue": CANARY},
        {"keys": ["x"], "base_url": f"https://u:{CANARY}@models.example"},
        {"keys": ["x"], "extra_headers": {"x-a": f"{CANARY}\n"}},
    ],
)
async def test_a_file_that_is_wrong(watch: Watch, tmp_path: Path, table: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"providers": {"openai": table}}), encoding="utf-8")

    async def open_it() -> None:
        Bifrost.from_file(path)

    assert isinstance(await watch.error_of(open_it()), ConfigError)


async def test_a_file_that_is_right(watch: Watch, server: LoopbackProvider, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    table = {"keys": [{"value": CANARY, "name": "main"}], "base_url": server.config("openai").base_url}
    path.write_text(json.dumps({"providers": {"openai": table}}), encoding="utf-8")
    server.fail(401, message=ALL).always()
    async with Bifrost.from_file(path, plugins=[watch.plugin]) as client:
        await watch.error_of(ask(client, "plain"))
        await watch.client(client)


# --- from plain code


def _sync_calls(client: SyncBifrost) -> Iterator[Callable[[], object]]:
    def streamed() -> object:
        with client.stream_chat(MODEL, "hi") as stream:
            return list(stream)

    yield lambda: client.chat(MODEL, "hi", fallbacks=[OTHER])
    yield streamed
    yield lambda: client.embed("openai/text-embedding-3-small", "hi")
    yield lambda: client.list_models("openai")


async def test_the_plain_client(watch: Watch, server: LoopbackProvider) -> None:
    server.fail(401, message=ALL).always()

    def run() -> None:
        with SyncBifrost(of_server(server), plugins=[watch.plugin]) as client:
            for call in _sync_calls(client):
                with pytest.raises(BifrostError) as caught:
                    call()
                watch.look(caught.value)
            assert_shows_nothing(client, copies=False)
            watch.look(client.stats(), client.providers(), client.explain(MODEL, "hi"))

    await anyio.to_thread.run_sync(run)


def test_the_looks_themselves_see_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """A look that sees nothing would make every test here pass."""

    class Open:
        def __init__(self, value: object) -> None:
            self.inner = [{"a": (value,)}]

    class Slotted:
        __slots__ = ("value",)

        def __init__(self, value: object) -> None:
            self.value = value

    def enclose(value: object) -> Any:
        return lambda: value

    for thing in (CANARY, [CANARY], {CANARY: 1}, Open(CANARY), Slotted(CANARY), enclose(CANARY), ValueError(CANARY)):
        with pytest.raises(AssertionError, match="a secret is seen"):
            assert_shows_nothing(thing)
    with listening() as log:
        import logging

        logging.getLogger("httpcore.anything").debug("with %s", CANARY)
    with pytest.raises(AssertionError, match="a secret is seen"):
        assert_unseen(*log.lines)
