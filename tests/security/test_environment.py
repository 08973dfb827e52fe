"""What of the process's environment is honoured, and what is not: seen by a child that has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost.testing import RawServer
from tests.engine.peers import CHAT, Authority, Served, answer, read_request

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

_CALL = """
from __future__ import annotations
import logging, sys
import anyio
from bifrost import Bifrost, BifrostError, ProviderConfig, StaticAccount
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")

async def main() -> None:
    config = ProviderConfig(base_url=sys.argv[1], allow_insecure_http="192.0.2.9" in sys.argv[1])
    async with Bifrost(StaticAccount(keys={"openai": "sk-own"}, configs={"openai": config}), max_retries=0) as client:
        for _ in range(2):
            try:
                print((await client.chat("openai/gpt-4o-mini", "hi")).text)
            except BifrostError as error:
                print(f"{type(error).__name__}: {error}")

anyio.run(main)
"""


async def call(url: str, **environment: str) -> tuple[str, str]:
    """Let a child make two calls; give what it printed and what it logged."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    with anyio.fail_after(60):
        run = await anyio.run_process(
            [sys.executable, "-W", "error", "-c", _CALL, url],
            env={**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
            stderr=subprocess.PIPE,
        )
    return run.stdout.decode(), run.stderr.decode()


class Noted:
    """Answers every request and keeps its head."""

    def __init__(self, reply: bytes) -> None:
        self.heads: list[str] = []
        self._reply = reply

    async def __call__(self, stream: ByteStream) -> None:
        while True:
            try:
                head, _ = await read_request(stream)
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            self.heads.append(head)
            await stream.send(self._reply)


async def test_a_proxy_is_used_and_named_once_without_its_password() -> None:
    noted = Noted(answer())
    async with RawServer(noted) as proxy:
        out, log = await call("http://192.0.2.9:9", HTTP_PROXY=f"http://user:pass-CANARY@127.0.0.1:{proxy.port}")
    assert out.splitlines() == ["hello", "hello"]
    assert noted.heads[0].startswith("POST http://192.0.2.9:9/chat/completions HTTP/1.1\r\n")
    assert log.splitlines() == ["INFO bifrost.transport the environment sends http through the proxy 127.0.0.1"]
    assert "CANARY" not in out


async def test_plain_http_to_this_machine_takes_no_proxy_of_the_environment() -> None:
    noted, own = Noted(answer()), Noted(answer())
    async with RawServer(noted) as proxy, RawServer(own) as server:
        place = f"http://127.0.0.1:{proxy.port}"
        out, log = await call(server.url, HTTP_PROXY=place, http_proxy=place, ALL_PROXY=place)
    assert (out.splitlines(), log, noted.heads) == (["hello", "hello"], "", [])


async def test_a_proxy_for_tls_is_asked_for_a_tunnel() -> None:
    noted = Noted(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
    async with RawServer(noted) as proxy:
        out, log = await call("https://127.0.0.9:9", HTTPS_PROXY=f"http://user:pass-CANARY@127.0.0.1:{proxy.port}")
    assert noted.heads[0].startswith("CONNECT 127.0.0.9:9 HTTP/1.1\r\n")
    assert "sk-own" not in "".join(noted.heads)
    assert out.startswith("ConnectError: the proxy could not connect to https://127.0.0.9:9")
    assert "CANARY" not in out + log


async def test_a_netrc_is_never_read(tmp_path: Path) -> None:
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("machine 127.0.0.1 login someone password netrc-CANARY\n", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    noted = Noted(answer())
    async with RawServer(noted) as server:
        out, _ = await call(server.url, HOME=str(tmp_path), USERPROFILE=str(tmp_path), NETRC=str(tmp_path / ".netrc"))
    assert out.splitlines() == ["hello", "hello"]
    assert all(
        "authorization: bearer sk-own\r\n" in head.lower() and "basic" not in head.lower() for head in noted.heads
    )


async def test_cookies_are_not_kept() -> None:
    noted = Noted(answer(CHAT, headers="set-cookie: session=CANARY\r\n"))
    async with RawServer(noted) as server:
        await call(server.url)
    assert len(noted.heads) == 2
    assert "cookie" not in "".join(noted.heads).lower()


async def test_authorities_and_a_key_log_are_the_environments(tmp_path: Path) -> None:
    authority, keys = Authority(), tmp_path / "keys.log"
    async with RawServer(Served(answer()), ssl_context=authority.context()) as server:
        untrusted, _ = await call(server.url)
        trusted, _ = await call(server.url, SSL_CERT_FILE=authority.trust(tmp_path / "ca.pem"), SSLKEYLOGFILE=str(keys))
    assert untrusted.startswith("ConfigError: the certificate of https://127.0.0.1")
    assert trusted.splitlines() == ["hello", "hello"]
    assert "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in keys.read_text(encoding="utf-8")
