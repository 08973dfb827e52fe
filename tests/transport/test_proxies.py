from __future__ import annotations

import logging
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.config import NetworkConfig, ProviderConfig
from bifrost.errors import BifrostError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.event_loop import spawn
from bifrost.testing import RawServer, leak_check
from bifrost.transport import Origin, Transport, as_transport
from bifrost.wire.secrets import Secret
from tests.engine.peers import Authority, Served, answer, until_left
from tests.transport.proxying import SMALL, Proxy, Socks, opened, request, sent

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

AUTH = Secret("user:s3cret-canary")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


# --- the environment's proxy


async def test_the_environments_proxy_carries_plain_requests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy()
    async with leak_check(), RawServer(proxy) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:s3cret-canary@127.0.0.1:{server.port}")
        caplog.set_level(logging.DEBUG)
        transport = as_transport(None)
        for _ in range(2):
            connection = transport.open(Origin("http", "192.0.2.9", 81))
            assert await sent(connection) == (200, b"{}")
            await connection.close()
    assert proxy.heads[0].startswith("POST http://192.0.2.9:81/v1/things HTTP/1.1")
    told = [record.getMessage() for record in caplog.records if record.name == "bifrost.transport"]
    assert told == ["the environment sends http through the proxy 127.0.0.1"]
    assert "s3cret-canary" not in caplog.text


async def test_the_environments_proxy_makes_a_tunnel_for_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    proxy, served = Proxy(), Served(SMALL)
    async with leak_check(), RawServer(proxy) as server, RawServer(served, ssl_context=authority.context()) as there:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{server.port}")
        connection = as_transport(None).open(Origin.of(there.url))
        for _ in range(2):
            assert await sent(connection, request(authorization="Bearer k")) == (200, b"{}")
            await connection.finish()
            assert connection.usable()
        await connection.close()
        assert server.connections.opened == 1
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{there.port}")
    assert "Bearer" not in proxy.heads[0]
    assert len(served.heads) == 2


async def test_hosts_named_in_no_proxy_are_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with leak_check(), RawServer(Served(SMALL)) as server:
        connection = opened(Origin.of(server.url))
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_plain_http_to_this_machine_takes_no_proxy_of_the_environment(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    async with leak_check(), RawServer(proxy) as near, RawServer(Served(SMALL)) as server:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{near.port}")
        connection = opened(Origin("http", host, server.port))
        assert await sent(connection) == (200, b"{}")
        await connection.close()
    assert proxy.heads == []


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.9"])
def test_plain_http_through_a_proxy_elsewhere_must_be_allowed(scheme: str, host: str) -> None:
    origin, network = Origin("http", host, 81), NetworkConfig(proxy=f"{scheme}://192.0.2.1:3128")
    transport = as_transport(None)
    assert isinstance(transport, Transport)
    with pytest.raises(ConfigError, match=f"plain http to {host} through the proxy 192.0.2.1 would send the key"):
        transport.for_provider(ProviderConfig(network=network), spawn).open(origin)
    transport.for_provider(ProviderConfig(network=network, allow_insecure_http=True), spawn).open(origin)
    transport.for_provider(ProviderConfig(network=network), spawn).open(Origin("https", host, 81))


def test_plain_http_through_the_environments_proxy_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    with pytest.raises(ConfigError, match=r"through the proxy 192\.0\.2\.1"):
        opened(Origin("http", "192.0.2.9", 81))


@pytest.mark.parametrize(
    ("refusal", "kind", "fault"),
    [
        (answer(b"", status="407 Proxy Authentication Required"), ConfigError, "config"),
        (answer(b"", status="403 Forbidden"), ConfigError, "config"),
        (answer(b"", status="502 Bad Gateway"), ConnectError, "never_sent"),
        (b"\x00\x01\x02", ProtocolError, "never_sent"),
        (b"", TransportError, "never_sent"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_is_told_without_its_password(
    refusal: bytes, kind: type[BifrostError], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leak_check(), RawServer(Proxy(refusal=refusal)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret-canary@127.0.0.1:{server.port}")
        connection = as_transport(None).open(Origin("https", "127.0.0.1", 4))
        with pytest.raises(kind) as caught:
            await sent(connection)
        await connection.close()
    assert caught.value.category == fault
    assert not connection.sent
    assert "proxy" in str(caught.value)
    assert "s3cret-canary" not in str(caught.value)


async def test_a_proxy_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        connection = as_transport(None).open(Origin("http", "192.0.2.9", 81))
        with pytest.raises(ConnectError, match="through the environment's proxy"):
            await sent(connection)
        await connection.close()


@pytest.mark.parametrize(
    "address",
    [
        "ftp://u:s3cret-canary@h",
        "http://u:s3cret-canary@h:no",
        "http://u:s3cret-canary@",
        "http://u:s3cret-canary@[::1",
    ],
)
async def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(ConfigError, match="the environment names for http cannot be used") as caught:
        as_transport(None).open(Origin("http", "192.0.2.9", 81))
    assert "s3cret-canary" not in str(caught.value)
    assert caught.value.__context__ is None


# --- a configured proxy


async def test_a_configured_proxy_takes_the_place_of_the_environments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.9")
    proxy = Proxy()
    caplog.set_level(logging.DEBUG)
    async with leak_check(), RawServer(proxy) as server:
        place = f"http://127.0.0.1:{server.port}"
        connection = opened(Origin("http", "127.0.0.9", 81), proxy=place, proxy_auth=AUTH)
        assert await sent(connection) == (200, b"{}")
        await connection.finish()
        assert connection.usable()
        await connection.close()
    assert proxy.heads[0].startswith("POST http://127.0.0.9:81/v1/things HTTP/1.1")
    assert re.search("(?i:proxy-authorization): Basic dXNlcjpzM2NyZXQtY2FuYXJ5", proxy.heads[0])
    assert [record.getMessage() for record in caplog.records if record.name == "bifrost.transport"] == [
        "the configuration sends http through the proxy 127.0.0.1"
    ]


async def test_a_tunnel_is_asked_for_with_the_proxys_credentials_and_those_only(authority: Authority) -> None:
    proxy, served = Proxy(), Served(SMALL)
    async with leak_check(), RawServer(proxy) as server, RawServer(served, ssl_context=authority.context()) as there:
        place = f"http://127.0.0.1:{server.port}"
        connection = opened(Origin.of(there.url), proxy=place, proxy_auth=AUTH, ca=authority.pem)
        assert await sent(connection, request(authorization="Bearer k")) == (200, b"{}")
        assert connection.connect_time is not None
        await connection.close()
    assert "proxy-authorization: Basic dXNlcjpzM2NyZXQtY2FuYXJ5" in proxy.heads[0]
    assert "Bearer" not in proxy.heads[0]
    assert "proxy-authorization" not in served.heads[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_may_want_tls_itself(scheme: str, authority: Authority) -> None:
    proxy, served = Proxy(), Served(SMALL)
    tls = authority.context() if scheme == "https" else None
    async with (
        leak_check(),
        RawServer(proxy, ssl_context=authority.context()) as server,
        RawServer(served, ssl_context=tls) as there,
    ):
        place = f"https://127.0.0.1:{server.port}"
        connection = opened(Origin.of(there.url), proxy=place, ca=authority.pem)
        assert await sent(connection) == (200, b"{}")
        await connection.finish()
        assert connection.usable()
        await connection.close()
    assert len(proxy.heads) == 1


async def test_no_proxy_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with leak_check(), RawServer(Served(SMALL)) as server:
        connection = opened(Origin.of(server.url), proxy="none")
        assert await sent(connection) == (200, b"{}")
        await connection.close()


async def test_a_proxy_that_never_answers_ends_with_the_connect_limit() -> None:
    async with leak_check(), RawServer(until_left) as server:
        connection = opened(Origin("https", "127.0.0.9", 4), proxy=f"http://127.0.0.1:{server.port}")
        with pytest.raises(BifrostError, match="in time") as caught:
            await sent(connection, connect=0.1)
        await connection.close()
    assert caught.value.category == "never_sent"
    assert not connection.sent


# --- SOCKS


@pytest.mark.parametrize("auth", [None, AUTH])
@pytest.mark.parametrize("host", ["provider.example", "127.0.0.1", "::1"])
async def test_a_socks_proxy_connects_and_looks_names_up(auth: Secret | None, host: str) -> None:
    proxy = Socks(password=None if auth is None else b"user:s3cret-canary")
    served = Served(SMALL)
    async with leak_check(), RawServer(proxy) as server, RawServer(served) as there:
        place = f"socks5://127.0.0.1:{server.port}"
        connection = opened(Origin("http", host, there.port), proxy=place, proxy_auth=auth)
        for _ in range(2):
            assert await sent(connection) == (200, b"{}")
            await connection.finish()
            assert connection.usable()
        await connection.close()
    ((asked, port),) = proxy.asked
    assert port == there.port
    assert asked in (b"provider.example", b"\x7f\x00\x00\x01", b"\x00" * 15 + b"\x01")
    assert served.heads[0].startswith("POST /v1/things HTTP/1.1")


async def test_tls_goes_through_a_socks_proxy(authority: Authority) -> None:
    proxy, served = Socks(), Served(SMALL)
    async with leak_check(), RawServer(proxy) as server, RawServer(served, ssl_context=authority.context()) as there:
        place = f"socks5h://127.0.0.1:{server.port}"
        connection = opened(Origin.of(there.url), proxy=place, ca=authority.pem)
        assert await sent(connection) == (200, b"{}")
        await connection.close()


async def _speaks_no_socks(stream: ByteStream) -> None:
    await stream.receive()
    await stream.send(answer(b"", status="400 Bad Request"))


async def _closes(stream: ByteStream) -> None:
    await stream.receive()


@pytest.mark.parametrize(
    ("proxy", "auth", "kind", "fault"),
    [
        (Socks(password=b"user:other"), AUTH, ConfigError, "config"),
        (Socks(method=b"\xff"), None, ConfigError, "config"),
        (Socks(code=5), None, ConnectError, "never_sent"),
        (_speaks_no_socks, None, ProtocolError, "never_sent"),
        (_closes, None, TransportError, "never_sent"),
    ],
)
async def test_a_socks_proxy_that_does_not_connect_is_told(
    proxy: Any, auth: Secret | None, kind: type[BifrostError], fault: str
) -> None:
    async with leak_check(), RawServer(proxy) as server:
        connection = opened(Origin("http", "127.0.0.1", 4), proxy=f"socks5://127.0.0.1:{server.port}", proxy_auth=auth)
        with pytest.raises(kind) as caught:
            await sent(connection)
        await connection.close()
    assert caught.value.category == fault
    assert not connection.sent
    assert "the configuration's proxy" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_socks_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ConfigError, match=r"bifrost-llm\[socks\]"):
        opened(Origin("http", "127.0.0.1", 4), proxy="socks5://127.0.0.1:1080")
