"""Peers for the engine's tests: what they read and send is spelled out in bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import trustme

from bifrost import Bifrost, Key, StaticAccount
from bifrost.config import ProviderConfig, RetryConfig
from bifrost.engine.clock import Clock
from bifrost.engine.core import Running

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

MODEL = "openai/gpt-4o-mini"

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()


def answer(body: bytes = CHAT, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Give an answer of known length; `headers` are whole lines."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Frame a piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str | None = None, *, finish: str | None = None) -> bytes:
    """Give one event of a chat's stream, framed."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    made = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return chunk(b"data: " + json.dumps(made).encode() + b"\n\n")


DONE = chunk(b"data: [DONE]\n\n")


async def read_request(stream: ByteStream) -> tuple[str, bytes]:
    """Read one request: its head, and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head.lower())
    length = 0 if found is None else int(found[1])
    while len(body) < length:
        body += await stream.receive()
    return head.decode("latin-1"), body


class Served:
    """A handler that answers each request with the next of its answers, the last one again and again."""

    def __init__(self, *answers: bytes | Callable[[ByteStream], Awaitable[None]], close: bool = False) -> None:
        self.answers = answers
        self.close = close
        """Close the connection after each answer, without having said so."""
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.left = anyio.Event()
        """A client has closed its connection."""

    async def __call__(self, stream: ByteStream) -> None:
        try:
            while True:
                head, body = await read_request(stream)
                self.heads.append(head)
                self.bodies.append(body)
                given = self.answers[min(len(self.heads), len(self.answers)) - 1]
                if callable(given):
                    await given(stream)
                else:
                    await stream.send(given)
                if self.close:
                    return
        finally:
            self.left.set()


async def until_left(stream: ByteStream) -> None:
    """Read and answer nothing until the client closes the connection."""
    while True:
        await stream.receive()


def account_of(url: str, *, key: str = "sk-test", **config: Any) -> StaticAccount:
    """Give an account whose OpenAI is at `url`."""
    config.setdefault("retry", RetryConfig(max_retries=0))
    return StaticAccount(
        keys={"openai": [Key(name="first", value=key)]},
        configs={"openai": ProviderConfig(base_url=f"{url}/v1", **config)},
    )


async def _no_wait(_seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


def client_of(
    url: str,
    *,
    key: str = "sk-test",
    plugins: Any = (),
    timeout: float = 600.0,
    transport: Any = None,
    **config: Any,
) -> Bifrost:
    """Give a client whose OpenAI is at `url`; it does not wait between attempts and has no retries by default."""
    account = account_of(url, key=key, **config)
    return Bifrost(account, plugins=plugins, timeout=timeout, transport=transport, clock=Clock(sleep=_no_wait))


def running(client: Bifrost) -> Running:
    """Give what a client has on this event loop."""
    found = client._engine._running
    assert found is not None
    return found


class Authority:
    """A certificate authority for tests, and servers' contexts signed by it."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> str:
        """Its certificate as text."""
        return self._ca.cert_pem.bytes().decode("ascii")

    def issue(self, folder: Any, *names: str) -> tuple[str, str]:
        """Write a certificate and its key to files, and give the files' names."""
        issued = self._ca.issue_cert(*names)
        files = (str(folder / "certificate.pem"), str(folder / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return files

    def trust(self, path: Any) -> str:
        """Write its certificate to a file and give the file's name."""
        self._ca.cert_pem.write_to_path(str(path))
        return str(path)

    def context(self, *names: str, **options: Any) -> ssl.SSLContext:
        """Give the context of a server with these names."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
        return context
