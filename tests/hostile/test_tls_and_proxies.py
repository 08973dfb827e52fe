"""TLS that cannot be trusted, and proxies that let nobody through."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import BifrostError, CallTimeoutError, ConfigError, ConnectError, TransportError
from bifrost.config import RetryConfig, Timeouts
from tests.canary import CANARY
from tests.engine.peers import Authority
from tests.hostile.answers import OTHER, good, head
from tests.hostile.server import HostileServer, Peer
from tests.hostile.stage import faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugins.recorder import Kind

pytestmark = pytest.mark.anyio

ROUTES_ITSELF = True


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def old_tls(authority: Authority) -> ssl.SSLContext:
    """Give a context that speaks nothing newer than TLS 1.1."""
    context = authority.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize("what", ["self-signed", "expired", "wrong host", "TLS 1.1"])
async def test_fault_25_tls_that_cannot_be_trusted(
    stage: Any, kind: Kind, what: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if what != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    match what:
        case "expired":
            context = authority.context(not_after=datetime(2020, 1, 1, tzinfo=UTC))
        case "wrong host":
            context = authority.context("elsewhere.example")
        case "TLS 1.1":
            context = old_tls(authority)
        case _:
            context = authority.context()
    # An authority that is not trusted stays so for this client.
    async with stage(server=HostileServer(good, tls=context), heals=what != "self-signed") as scene:
        error = await scene.fails(ConfigError, kind)
        assert faults(error) == ["config"]
        reply = await scene.ask(kind, fallbacks=[OTHER])
        assert faults(reply) == ["config", None]
        assert scene.server.requests == 0
        scene.server.tls = authority.context()


async def test_fault_25_a_server_without_tls(stage: Any, kind: Kind) -> None:
    def speaks_http(peer: Peer) -> None:
        peer.receive()
        peer.send(head("content-length: 0", status="400 Bad Request"))
        peer.close()

    server = HostileServer(speaks_http)
    server.start()
    async with stage(server=server, url=f"https://127.0.0.1:{server.port}", heals=False) as scene:
        error = await scene.fails(ConfigError, kind)
        assert faults(error) == ["config"]


async def test_fault_25_a_handshake_that_stalls_or_breaks(stage: Any, kind: Kind) -> None:
    def breaks(peer: Peer) -> None:
        peer.receive()
        peer.reset()

    server = HostileServer(Peer.stall)
    server.start()
    async with stage(
        server=server, url=f"https://127.0.0.1:{server.port}", heals=False, timeouts=Timeouts(connect=0.3)
    ) as scene:
        error = await scene.fails(CallTimeoutError, kind)
        assert error.phase == "connect"
        assert faults(error) == ["never_sent"] * 3
        await scene.renew()
        server.play(breaks)
        broken = await scene.fails(ConnectError, kind)
        assert faults(broken) == ["never_sent"] * 3


async def test_fault_25_tls_that_holds_and_then_breaks_in_the_answer(
    stage: Any, kind: Kind, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))

    def cut(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        peer.reset()

    async with stage(server=HostileServer(cut, tls=authority.context())) as scene:
        error = await scene.fails(TransportError, kind)
        assert faults(error) == ["transient"] * 3


# --- a proxy of the environment

PASSWORD = CANARY
"""Looked for wherever the key is."""


def refuses_with(status: str) -> Any:
    def script(peer: Peer) -> None:
        peer.read_request()
        assert peer.head.startswith(b"CONNECT "), "a tunnel is asked for before anything is sent"
        peer.send(head("content-length: 0", status=status))
        peer.close()

    return script


def stalls(peer: Peer) -> None:
    peer.read_request()
    peer.stall()


REFUSALS: dict[str, tuple[Any, type[BifrostError], list[str]]] = {
    "407": (refuses_with("407 Proxy Authentication Required"), ConfigError, ["config"]),
    "403": (refuses_with("403 Forbidden"), ConfigError, ["config"]),
    "502": (refuses_with("502 Bad Gateway"), ConnectError, ["never_sent"] * 3),
    "closed": (Peer.close, TransportError, ["never_sent"] * 3),
    "reset": (Peer.reset, TransportError, ["never_sent"] * 3),
    "silent": (stalls, CallTimeoutError, ["never_sent"] * 2),
}


def tunnel_to(context: ssl.SSLContext) -> Any:
    """Make a tunnel, and be what is at its end."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(head(status="200 Connection established"))
        peer.shake_hands(context)
        while True:
            good(peer)

    return script


@pytest.mark.parametrize("what", REFUSALS)
async def test_fault_26_a_proxy_that_makes_no_tunnel(
    stage: Any, kind: Kind, what: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    script, expected, told = REFUSALS[what]
    proxy = HostileServer(script)
    proxy.start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{proxy.port}")
    silent = {"timeouts": Timeouts(connect=0.5), "retry": RetryConfig(max_retries=1)} if what == "silent" else {}
    async with stage(server=proxy, url="https://provider.example", heals=False, **silent) as scene:
        error = await scene.fails(expected, kind)
        assert faults(error) == told
        assert getattr(error, "phase", "connect") == "connect"
        await scene.renew()
        reply = await scene.ask(kind, fallbacks=[OTHER])
        assert reply.provider == "anthropic"
        proxy.play(tunnel_to(authority.context("provider.example")))
        for _ in range(2):
            assert (await scene.ask(kind)).text == "hello"
            await scene.quiet()
        # The request for the tunnel, which both calls went through.
        scene.attempts += 1


async def test_fault_26_a_proxy_that_is_not_there(stage: Any, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = HostileServer(good, accepts=False)
    proxy.start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{proxy.port}")
    async with stage(server=proxy, url="https://provider.example", heals=False) as scene:
        scene.counts = False
        error = await scene.fails(ConnectError, kind)
        assert "proxy" in error.message
        assert faults(error) == ["never_sent"] * 3
