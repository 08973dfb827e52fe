from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from bifrost.config import NetworkConfig, ProviderConfig
from bifrost.errors import ConfigError
from bifrost.testing import RawServer, leak_check
from bifrost.transport import Origin
from bifrost.transport.direct import DirectTransport
from tests.engine.peers import Authority, Served
from tests.transport.proxying import SMALL, opened, sent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _as_text(authority: Authority, folder: Path) -> str:
    return authority.pem


def _as_file(authority: Authority, folder: Path) -> str:
    return authority.trust(folder / "ca.pem")


@pytest.mark.parametrize("form", [_as_text, _as_file])
async def test_an_authority_of_ones_own_is_trusted(form: Any, authority: Authority, tmp_path: Path) -> None:
    async with leak_check(), RawServer(Served(SMALL), ssl_context=authority.context()) as server:
        connection = opened(Origin.of(server.url), ca=form(authority, tmp_path))
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@pytest.mark.parametrize("form", ["text", "folder"])
async def test_it_is_trusted_instead_of_the_usual_ones(
    form: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", _as_file(authority, tmp_path))
    (tmp_path / "none").mkdir()
    ca = Authority().pem if form == "text" else str(tmp_path / "none")
    async with leak_check(), RawServer(Served(SMALL), ssl_context=authority.context()) as server:
        connection = opened(Origin.of(server.url), ca=ca)
        with pytest.raises(ConfigError, match=r"is not trusted.*name its authority in NetworkConfig\(ca=\.\.\.\)"):
            await sent(connection)
        await connection.close()


async def test_a_context_of_ones_own_is_used_as_it_is(authority: Authority) -> None:
    context = ssl.create_default_context(cadata=authority.pem)
    async with leak_check(), RawServer(Served(SMALL), ssl_context=authority.context()) as server:
        connection = opened(Origin.of(server.url), ssl_context=context)
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@pytest.mark.parametrize("in_one", [True, False])
async def test_a_client_certificate_is_shown(in_one: bool, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue(tmp_path, "client.example")
    network: dict[str, Any] = {"client_certificate": certificate, "client_key": key}
    if in_one:
        both = tmp_path / "both.pem"
        both.write_text((tmp_path / "certificate.pem").read_text() + (tmp_path / "key.pem").read_text())
        network = {"client_certificate": str(both)}
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    async with leak_check(), RawServer(Served(SMALL), ssl_context=context) as server:
        connection = opened(Origin.of(server.url), ca=authority.pem, **network)
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "of another authority"])
async def test_a_peer_that_wants_a_client_certificate_is_told(
    version: ssl.TLSVersion, shown: str, authority: Authority, tmp_path: Path
) -> None:
    network: dict[str, Any] = {}
    if shown != "none":
        network["client_certificate"], network["client_key"] = Authority().issue(tmp_path, "client.example")
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_refuse, args=(server, context), daemon=True).start()
        connection = opened(Origin("https", "127.0.0.1", server.getsockname()[1]), ca=authority.pem, **network)
        with pytest.raises(ConfigError, match=r"client(?:'s)? certificate.*NetworkConfig\(client_certificate="):
            await sent(connection)
        await connection.close()


def _refuse(server: socket.socket, context: ssl.SSLContext) -> None:
    """Serve one connection with the system's own TLS, which tells the peer what is wrong before it leaves."""
    plain, _ = server.accept()
    with plain:
        held = socket.socket(fileno=os.dup(plain.fileno()))
        with held, contextlib.suppress(OSError):
            try:
                context.wrap_socket(plain, server_side=True)
            finally:
                held.shutdown(socket.SHUT_WR)
                while held.recv(4096):
                    pass


_COMMENT = "# The authority of our company, façade and all\nSubject: CN = test\n\n"


@pytest.mark.parametrize(
    "before", ["\ufeff", _COMMENT, "\ufeff" + _COMMENT, "\n\n  "], ids=["BOM", "words", "both", "blank"]
)
@pytest.mark.parametrize("form", ["text", "file"])
async def test_words_and_marks_around_an_authority_do_no_harm(
    form: str, before: str, authority: Authority, tmp_path: Path
) -> None:
    ca = before + authority.pem.replace("\n", "\r\n") + "# the end\n" + Authority().pem
    if form == "file":
        (tmp_path / "ca.pem").write_text(ca, encoding="utf-8", newline="")
        ca = str(tmp_path / "ca.pem")
    async with leak_check(), RawServer(Served(SMALL), ssl_context=authority.context()) as server:
        connection = opened(Origin.of(server.url), ca=ca)
        assert await sent(connection) == (200, b"{}")
        await connection.close()


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"ca": "/nowhere/ca.pem"}, r"network.ca cannot be loaded \(No such file"),
        ({"ca": "-----BEGIN CERTIFICATE-----\nnone"}, "network.ca cannot be loaded: the text is cut off"),
        ({"ca": "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----"}, "network.ca cannot be loaded"),
        ({"ca": "-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----"}, "holds no certificate.*PRIVATE KEY"),
        ({"ca": __file__}, "the file holds no certificate|the file is cut off"),
        ({"client_certificate": "/nowhere/a.pem"}, r"client_certificate cannot be loaded \(No such file"),
    ],
)
def test_what_cannot_be_loaded_is_told(network: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(Origin("https", "127.0.0.1", 1), **network)


def test_an_encrypted_key_is_refused_and_nobody_asked(tmp_path: Path, authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = authority.issue(tmp_path, "client.example")
    loaded = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(ConfigError, match="for an encrypted one give an ssl_context"):
        opened(Origin("https", "127.0.0.1", 1), client_certificate=certificate, client_key=key)


def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority) -> None:
    transport = DirectTransport().for_provider(ProviderConfig(network=NetworkConfig(ca=authority.pem)))
    assert isinstance(transport, DirectTransport)
    transport.open(Origin("https", "127.0.0.1", 1))
    assert transport._context is not None
    assert transport._context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert transport._context.verify_mode is ssl.CERT_REQUIRED
