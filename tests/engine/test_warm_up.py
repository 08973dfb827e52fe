"""Connections made ahead of the first call, and what of a provider's network settings a request shows."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import Bifrost, Key, StaticAccount, SyncBifrost
from bifrost.config import NetworkConfig, ProviderConfig, RetryConfig
from bifrost.errors import ConfigError, ConnectError, InvalidRequestError, ShuttingDownError, UnknownProviderError
from bifrost.testing import MockTransport, RawServer, leak_check
from bifrost.transport import Transport
from tests.engine.peers import MODEL, Authority, Served, account_of, answer, client_of, running, until_left
from tests.engine.rig import until
from tests.table import table
from tests.transport.http2_peer import Http2Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@table("tls", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_calls_find_connections_that_stand_ready(tls: ssl.TLSVersion | None, authority: Authority) -> None:
    context = None if tls is None else authority.context()
    if context is not None and tls is not None:
        context.minimum_version = context.maximum_version = tls
    served = Served(answer())
    network = NetworkConfig(ca=authority.pem)
    async with (
        leak_check(),
        RawServer(served, ssl_context=context) as server,
        client_of(server.url, network=network) as client,
    ):
        await client.warm_up("openai", connections=3)
        connections = (await running(client).upstreams.get("openai")).connections
        assert (connections.idle, connections.lent, connections.opened) == (3, 0, 3)
        assert not served.heads
        await client.warm_up(connections=3)
        assert connections.opened == 3, "those that stand ready count"
        response = await client.chat(MODEL, "hi")
        assert response.attempts[0].connect is None
        assert server.connections.opened == 3


async def test_a_connection_that_was_closed_while_it_stood_ready_costs_no_attempt() -> None:
    served = Served(answer())

    async def closes_the_first(stream: Any) -> None:
        if server.connections.opened > 1:
            await served(stream)

    server = RawServer(closes_the_first)
    async with leak_check(), server, client_of(server.url) as client:
        await client.warm_up()
        await until(lambda: server.connections.open == 0)
        response = await client.chat(MODEL, "hi")
        assert len(response.attempts) == 1


async def test_a_peer_that_speaks_first_is_not_used(authority: Authority) -> None:
    served = Served(answer())

    async def speaks(stream: Any) -> None:
        if server.connections.opened == 1:
            await stream.send(answer())
        await served(stream)

    server = RawServer(speaks, ssl_context=authority.context())
    async with (
        leak_check(),
        server,
        client_of(server.url, network=NetworkConfig(ca=authority.pem)) as client,
    ):
        await client.warm_up()
        assert (await client.chat(MODEL, "hi")).text == "hello"
        assert server.connections.opened == 2


async def test_places_on_one_connection_of_http2_stand_ready(authority: Authority) -> None:
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    server = Http2Server()
    network = NetworkConfig(ca=authority.pem, http2=True)
    async with (
        leak_check(),
        RawServer(server, ssl_context=context) as there,
        client_of(there.url, network=network) as client,
    ):
        await client.warm_up(connections=10)
        assert (await client.chat(MODEL, "hi")).attempts[0].connect is None
        assert there.connections.opened == 1


async def test_no_more_than_can_be_used_at_once() -> None:
    async with (
        leak_check(),
        RawServer(Served(answer())) as server,
        client_of(server.url, concurrency=2) as client,
    ):
        await client.warm_up(connections=5)
        await until(lambda: server.connections.opened == 2)


async def test_a_provider_that_cannot_be_reached_is_told_and_the_others_stand_ready() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with leak_check(), RawServer(Served(answer())) as server:
            account = StaticAccount(
                keys={name: [Key(name="k", value="sk-test")] for name in ("openai", "groq", "deepseek")},
                configs={
                    name: ProviderConfig(base_url=url, retry=RetryConfig(max_retries=0))
                    for name, url in (("openai", server.url), ("groq", nowhere), ("deepseek", nowhere))
                },
            )
            async with Bifrost(account) as client:
                with pytest.raises(ConnectError, match="refused") as caught:
                    await client.warm_up(connections=2)
                upstreams = running(client).upstreams
                assert (await upstreams.get("openai")).connections.idle == 2
                lost = (await upstreams.get("groq")).connections
                assert (lost.idle, lost.lent) == (0, 0)
    assert {caught.value.provider, *(error.provider for error in caught.value.errors)} == {"groq", "deepseek"}


async def test_what_cannot_be_warmed_up_is_told() -> None:
    async with Bifrost(account_of("http://127.0.0.1:9")) as client:
        with pytest.raises(UnknownProviderError):
            await client.warm_up("opnai")
        wrong: Any
        for wrong in (0, -1, True, 1.5, "2"):
            with pytest.raises(InvalidRequestError, match="how many stand ready"):
                await client.warm_up(connections=wrong)


async def test_a_transport_that_cannot_connect_ahead_is_left_alone() -> None:
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client() as client:
        await client.warm_up("openai")
        assert (await client.chat(MODEL, "hi")).text == "hello"


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_closing_the_client_breaks_off_connections_that_are_being_made(http2: bool, authority: Authority) -> None:
    arrived = anyio.Event()

    async def says_nothing(stream: Any) -> None:
        arrived.set()
        await until_left(stream)

    network = NetworkConfig(ca=authority.pem, http2=http2)
    async with leak_check(), RawServer(says_nothing) as server:
        client = client_of(server.url.replace("http:", "https:"), network=network)
        await client.open()

        async def warm_up() -> None:
            with pytest.raises(ShuttingDownError):
                await client.warm_up()

        with anyio.fail_after(4):
            async with anyio.create_task_group() as group:
                group.start_soon(warm_up)
                await arrived.wait()
                await client.close()
        await until(lambda: server.connections.open == 0)


class Early(Transport):
    """A connection that takes its time, and is made in spite of whoever wants it broken off."""

    reused = sent = False
    connect_time = None

    def __init__(self) -> None:
        self.may_go_on = anyio.Event()
        self.is_open = False

    def open(self, origin: Any) -> Any:
        return self

    async def connect(self, *, seconds: float) -> bool:
        with anyio.CancelScope(shield=True):
            await self.may_go_on.wait()
        self.is_open = True
        return True

    async def close(self) -> None:
        self.is_open = False


@asynccontextmanager
async def closed_while_warmed_up(client: Bifrost) -> AsyncIterator[None]:
    """Close a client while it warms up; what it waits for comes in the block."""

    async def warm_up() -> None:
        with pytest.raises(ShuttingDownError):
            await client.warm_up()

    async with anyio.create_task_group() as group:
        group.start_soon(warm_up)
        await anyio.wait_all_tasks_blocked()
        await client.close()
        yield


async def test_a_connection_that_is_made_after_all_was_closed_is_closed_too() -> None:
    connection: Any = Early()
    client = Bifrost(account_of("https://api.example"), transport=connection)
    await client.open()

    async with closed_while_warmed_up(client):
        connection.may_go_on.set()
    assert not connection.is_open


async def test_a_client_that_is_closed_before_its_account_has_answered_connects_to_nobody() -> None:
    may_answer = anyio.Event()

    class Slow:
        def providers(self) -> list[str]:
            return ["openai"]

        def keys(self, provider: str, call: Any) -> list[Key]:
            return [Key(name="k", value="sk-test")]

        async def config(self, provider: str) -> ProviderConfig:
            await may_answer.wait()
            return ProviderConfig()

    connection: Any = Early()
    client = Bifrost(Slow(), transport=connection)
    await client.open()

    async with closed_while_warmed_up(client):
        connection.may_go_on.set()
        may_answer.set()
    assert not connection.is_open


def test_the_synchronous_client_has_it_too() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with SyncBifrost(account_of(url)) as client:
            client.warm_up("openai")
            listener.settimeout(5)
            listener.accept()[0].close()


async def test_the_user_agent_names_the_application_before_the_library() -> None:
    served = Served(answer())
    network = NetworkConfig(user_agent="my-app/1.0")
    async with leak_check(), RawServer(served) as server, client_of(server.url, network=network) as client:
        await client.chat(MODEL, "hi")
    assert "user-agent: my-app/1.0 bifrost-llm/" in served.heads[0]


async def test_certificates_that_are_missing_fail_the_call_that_needs_them() -> None:
    network = NetworkConfig(ca="/nowhere/ca.pem")
    async with leak_check(), client_of("https://127.0.0.1:9", network=network) as client:
        with pytest.raises(ConfigError, match=r"network\.ca cannot be loaded"):
            await client.chat(MODEL, "hi")
