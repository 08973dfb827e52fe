from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import anyio
import pytest

import bifrost
from bifrost.testing import NetworkBlockedError, block_network, fake_key
from tests.table import table

AWAY = "192.0.2.1"  # reserved for documentation: no such machine, should the block fail


def test_connecting_is_refused_with_what_to_do() -> None:
    with block_network(), socket.socket() as sock:
        with pytest.raises(NetworkBlockedError, match=r"192\.0\.2\.1 is not on this machine.*bifrost_allow_hosts"):
            sock.connect((AWAY, 80))
        with pytest.raises(NetworkBlockedError):
            sock.connect_ex((AWAY, 80))
    with block_network(), socket.socket(socket.AF_INET6) as sock, pytest.raises(NetworkBlockedError):
        sock.connect(("2001:db8::1", 80))
    with block_network(), socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(NetworkBlockedError):
        sock.sendto(b"x", (AWAY, 53))


@table("host", ["api.openai.com", b"www.openai.com", "localhost.example.com", AWAY])
def test_looking_up_is_refused(host: Any) -> None:
    with block_network():
        with pytest.raises(NetworkBlockedError):
            socket.getaddrinfo(host, 443)
        with pytest.raises(NetworkBlockedError):
            socket.create_connection((host, 443))


@table("host", ["127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0"])  # noqa: S104 - a destination
def test_this_machine_is_open(host: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server, block_network():  # noqa: S104 - to be reached at every address
        with socket.create_connection((host, server.getsockname()[1])) as sock:
            sock.sendall(b"x")
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", 0, ("127.0.0.1", server.getsockname()[1]))


@table("host", ["::1", "::1%0", "::ffff:127.0.0.1", None, "", "x.localhost"])
def test_every_name_of_this_machine_is_known(host: str | None) -> None:
    # The system may know no such name; what counts is that the block lets it through.
    with block_network(), suppress(socket.gaierror):
        socket.getaddrinfo(host, 80)


def test_unix_sockets_are_open() -> None:
    here, there = socket.socketpair()
    with block_network(), here, there:
        here.sendall(b"x")
        assert there.recv(1) == b"x"
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
            sock.connect("/nowhere/at/all")


def test_hosts_may_be_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, _port: [host])
    with block_network(allow=["far.example"]):
        assert socket.getaddrinfo("far.example", 80) == ["far.example"]
        with pytest.raises(NetworkBlockedError):
            socket.getaddrinfo("near.example", 80)


def test_afterwards_everything_is_as_before() -> None:
    before = socket.getaddrinfo, socket.gethostbyname, dict(vars(socket.socket))
    with block_network(), block_network():
        assert "connect" in vars(socket.socket)
    assert (socket.getaddrinfo, socket.gethostbyname, dict(vars(socket.socket))) == before


@pytest.mark.anyio
@pytest.mark.parametrize("host", [AWAY, "example.com"])
async def test_event_loops_are_blocked_too(host: str) -> None:
    with block_network():
        with pytest.raises(OSError) as caught:  # noqa: PT011 - either loop wraps it in its own way
            await anyio.connect_tcp(host, 80)
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, NetworkBlockedError):
            error = error.__cause__
        assert error is not None


@pytest.mark.anyio
async def test_a_client_tells_what_happened() -> None:
    account = bifrost.StaticAccount(keys={"openai": fake_key("k")})
    with block_network():
        async with bifrost.Bifrost(account, max_retries=0) as client:
            with pytest.raises(bifrost.ConnectError, match="blocked in this test"):
                await client.chat("openai/gpt-4o-mini", "hi")
