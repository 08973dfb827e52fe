"""What is particular to the fast transport: its client hides the sockets, and takes back no request."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost.config import NetworkConfig, ProviderConfig, Timeouts
from bifrost.engine.transport import Origin, PerProvider, as_transport
from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError
from bifrost.testing import RawServer, leak_check
from bifrost.wire.auth import Secret
from tests.engine.peers import MODEL, Authority, Served, answer, client_of, read_request, until_left
from tests.engine.transport.proxying import SMALL, Proxy, Socks, opened, request, sent
from tests.engine.transport.test_transport import Road

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def fast_road(handler: Any, **options: Any) -> Road:
    return Road(handler, transport="fast", **options)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_is_refused_in_words() -> None:
    async with client_of("http://127.0.0.1:1", transport="fast") as client:
        with pytest.raises(ConfigError, match="asyncio only"):
            await client.chat(MODEL, "hi")


def test_without_the_package_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["pyreqwest"] = None
import bifrost
try:
    bifrost.Bifrost(bifrost.StaticAccount(keys={"openai": "sk-x"}), transport="fast")
except bifrost.ConfigError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == 'transport="fast" needs pyreqwest; install bifrost-llm[fast]', run.stderr


@on_asyncio
async def test_the_request_is_carried_whole_with_a_field_for_what_is_accepted() -> None:
    served = Served(answer(b"{}"))
    road = fast_road(served)
    async with road as connection:
        await sent(connection, request(b"{}", **{"authorization": "Bearer k", "user-agent": "ours"}))
    first, *fields = served.heads[0].lower().split("\r\n")
    assert first == "post /v1/things http/1.1"
    assert sorted(fields) == [
        "accept: */*",
        "authorization: bearer k",
        "content-length: 2",
        f"host: 127.0.0.1:{road.server.port}",
        "user-agent: ours",
    ]


@on_asyncio
async def test_exchanges_go_over_the_same_socket_one_after_the_other() -> None:
    road = fast_road(Served(SMALL))
    async with road as connection:
        for number in range(3):
            assert connection.reused is bool(number)
            assert await sent(connection) == (200, b"{}")
            assert connection.sent
            assert connection.connect_time is None
            await connection.finish()
        assert road.server.connections.opened == 1


@on_asyncio
@pytest.mark.parametrize(
    "first", [b"HTTP/1.0 200 OK\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]
)
async def test_a_socket_that_the_peer_closes_is_followed_by_another(first: bytes) -> None:
    road = fast_road(Served(first, close=True))
    async with road as connection:
        for _ in range(2):
            assert await sent(connection) == (200, b"{}")
            await connection.finish()
            await road.server.all_closed()
        assert road.server.connections.opened == 2


@on_asyncio
@pytest.mark.parametrize("late", [False, True])
async def test_bytes_behind_an_answer_never_reach_the_next_one(late: bool) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        stale = answer(b"stale")
        await stream.send(SMALL if late else SMALL + stale)
        if late:
            await stream.send(stale)
        await until_left(stream)

    road = fast_road(talk)
    async with road as connection:
        assert await sent(connection) == (200, b"{}")
        await connection.finish()
        await road.server.all_closed()
        assert await sent(connection) == (200, b"{}")


@on_asyncio
@pytest.mark.parametrize(("fields", "fits"), [(98, True), (99, False)])
async def test_an_answer_may_have_a_hundred_fields(fields: int, fits: bool) -> None:
    lines = "".join(f"x-{n}: a\r\n" for n in range(fields))
    async with fast_road(Served(answer(b"{}", headers=lines))) as connection:
        if fits:
            assert await sent(connection) == (200, b"{}")
        else:
            with pytest.raises(ProtocolError):
                await sent(connection)


@on_asyncio
async def test_the_limit_on_reads_bounds_the_whole_wait_for_a_head() -> None:
    async def drip(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nx-drip: ")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.01)

    async with fast_road(drip) as connection:
        with pytest.raises(CallTimeoutError) as caught:
            await connection.send(request(), timeouts=Timeouts(), read_timeout=0.1)
        assert caught.value.phase == "headers"


@on_asyncio
@pytest.mark.parametrize(
    ("refusal", "kind", "fault"),
    [
        (answer(b"", status="407 Proxy Authentication Required"), ConfigError, "config"),
        (answer(b"", status="403 Forbidden"), ConnectError, "never_sent"),
        (answer(b"", status="502 Bad Gateway"), ConnectError, "never_sent"),
        (b"\x00\x01\x02", ConnectError, "never_sent"),
        (b"", ConnectError, "never_sent"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_is_told_without_its_password(
    refusal: bytes, kind: type[BifrostError], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leak_check(), RawServer(Proxy(refusal=refusal)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret-canary@127.0.0.1:{server.port}")
        connection = as_transport("fast").open(Origin("https", "127.0.0.1", 4))
        with pytest.raises(kind) as caught:
            await sent(connection)
        await connection.close()
    assert caught.value.fault == fault
    assert not connection.sent
    assert "proxy" in str(caught.value)
    assert "s3cret-canary" not in str(caught.value)


@on_asyncio
async def test_the_authorities_of_a_folder_are_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = Authority()
    authority.trust(tmp_path / "ca.pem")
    (tmp_path / "more").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    async with fast_road(Served(SMALL), ssl_context=authority.context()) as connection:
        assert await sent(connection) == (200, b"{}")


@on_asyncio
async def test_certificates_that_are_none_are_a_fault_of_the_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    connection = as_transport("fast").open(Origin("https", "127.0.0.1", 4))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        await sent(connection)
    await connection.close()


async def _cancelled(work: Callable[[], Any], once: anyio.Event) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await once.wait()
            group.cancel_scope.cancel()


@on_asyncio
async def test_a_request_that_is_left_before_its_head_holds_its_socket_until_its_answer_comes() -> None:
    """Not what we want, but what there is: once pyreqwest can take a request back, the peer sees it at once."""
    asked, answered = anyio.Event(), anyio.Event()

    async def answer_late(stream: ByteStream) -> None:
        await read_request(stream)
        asked.set()
        await answered.wait()
        await stream.send(SMALL)
        await until_left(stream)

    async with RawServer(answer_late) as server:
        connection = as_transport("fast").open(Origin.of(server.url))
        outgoing = request()
        await _cancelled(lambda: connection.send(outgoing, timeouts=Timeouts(), read_timeout=None), asked)
        await connection.close()
        assert server.connections.open == 1
        answered.set()
        await server.all_closed()


@on_asyncio
async def test_nothing_that_is_left_outlives_the_deadline_of_its_call() -> None:
    asked = anyio.Event()

    async def never_answer(stream: ByteStream) -> None:
        await read_request(stream)
        asked.set()
        await until_left(stream)

    async with RawServer(never_answer) as server, client_of(server.url, transport="fast", timeout=2.0) as client:
        await _cancelled(lambda: client.chat(MODEL, "hi"), asked)
        assert server.connections.open == 1
        with anyio.fail_after(10):
            await server.all_closed()


@on_asyncio
async def test_a_call_that_runs_out_of_time_is_ended_here_and_soon_after_below() -> None:
    async with RawServer(until_left) as server, client_of(server.url, transport="fast", timeout=0.4) as client:
        with pytest.raises(CallTimeoutError):
            await client.chat(MODEL, "hi")
        with anyio.fail_after(10):
            await server.all_closed()


@on_asyncio
@pytest.mark.parametrize("network", [{"http2": True}, {"ssl_context": ssl.create_default_context()}])
async def test_settings_that_it_cannot_follow_are_refused_in_words(network: dict[str, Any]) -> None:
    (name,) = network
    with pytest.raises(ConfigError, match=f'transport="fast" .*network.{name}'):
        opened(Origin("http", "127.0.0.1", 4), carrier="fast", **network)


@on_asyncio
async def test_an_authority_of_the_settings_is_trusted_beside_that_of_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Our own transport trusts it instead: pyreqwest adds authorities and leaves none out."""
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    other = Authority()
    for context in (authority.context(), other.context()):
        async with leak_check(), RawServer(Served(SMALL), ssl_context=context) as server:
            connection = opened(Origin.of(server.url), carrier="fast", ca=other.pem)
            assert await sent(connection) == (200, b"{}")
            await connection.close()


@on_asyncio
async def test_authorities_in_a_folder_of_the_settings_are_trusted(authority: Authority, tmp_path: Path) -> None:
    authority.trust(tmp_path / "ca.pem")
    async with leak_check(), RawServer(Served(SMALL), ssl_context=authority.context()) as server:
        connection = opened(Origin.of(server.url), carrier="fast", ca=str(tmp_path))
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@on_asyncio
@pytest.mark.parametrize(
    ("proxy", "auth"),
    [
        (Socks(password=b"user:other"), Secret("user:s3cret-canary")),
        (Socks(method=b"\xff"), None),
        (Socks(code=5), None),
    ],
)
async def test_a_socks_proxy_that_does_not_connect_counts_as_one_that_cannot_reach_the_provider(
    proxy: Socks, auth: Secret | None
) -> None:
    async with leak_check(), RawServer(proxy) as server:
        place = f"socks5://127.0.0.1:{server.port}"
        connection = opened(Origin("http", "127.0.0.1", 4), carrier="fast", proxy=place, proxy_auth=auth)
        with pytest.raises(ConnectError, match="the configuration's proxy") as caught:
            await sent(connection)
        await connection.close()
    assert caught.value.fault == "never_sent"
    assert not connection.sent
    assert "canary" not in str(caught.value)


@on_asyncio
async def test_providers_have_networks_of_their_own() -> None:
    served, proxy = Served(SMALL), Proxy()
    async with RawServer(served) as straight, RawServer(proxy) as way:
        transport = as_transport("fast")
        assert isinstance(transport, PerProvider)
        through = ProviderConfig(network=NetworkConfig(proxy=f"http://127.0.0.1:{way.port}"))
        for config in (through, ProviderConfig()):
            connection = transport.for_provider(config).open(Origin.of(straight.url))
            assert (await sent(connection))[0] == 200
            await connection.close()
    assert (len(proxy.heads), len(served.heads)) == (1, 1)


@on_asyncio
async def test_warming_up_makes_no_connection_and_fails_nowhere() -> None:
    async with RawServer(until_left) as server, client_of(server.url, transport="fast") as client:
        await client.warm_up()
        assert server.connections.opened == 0


@on_asyncio
async def test_an_answer_with_two_lengths_goes_by_its_chunks_and_its_socket_is_used_again() -> None:
    both = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    road = fast_road(Served(both))
    async with road as connection:
        for _ in range(2):
            assert await sent(connection) == (200, b"{}")
            await connection.finish()
        assert road.server.connections.opened == 1


@on_asyncio
async def test_interim_answers_without_end_are_ended_by_the_limit_on_reads() -> None:
    async def flood(stream: ByteStream) -> None:
        await read_request(stream)
        while True:
            await stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await anyio.sleep(0.01)

    async with fast_road(flood) as connection:
        with pytest.raises(CallTimeoutError) as caught:
            await connection.send(request(), timeouts=Timeouts(), read_timeout=0.1)
        assert caught.value.phase == "headers"
