"""How many copies of a large request and of a large answer there are, beside what the caller holds."""

from __future__ import annotations

import gc
import re
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import Bifrost, ImagePart, Key, Message, ProviderConfig, StaticAccount, TextPart
from bifrost.testing import RawServer
from tests.engine.peers import CHAT
from tests.hostile.answers import _CLAUDE, MODELS

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

SIZE = 4 * 1024 * 1024
SLACK = 0.25
"""What everything else may take, in copies."""
DATA = "QUJD" * (SIZE // 4)
WHOLE = {"openai": CHAT, "anthropic": _CLAUDE}


def server_of(body: bytes) -> RawServer:
    """Return a server that keeps nothing of a request and answers it with this body."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def serve(stream: ByteStream) -> None:
        while True:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            given, _, rest = data.partition(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", given.lower())
            assert found is not None
            left = int(found[1]) - len(rest)
            while left > 0:
                left -= len(await stream.receive())
            await stream.send(head)
            for start in range(0, len(body), 65_536):
                await stream.send(body[start : start + 65_536])

    return RawServer(serve)


async def copies(dialect: str, body: bytes, prompt: Any) -> float:
    """Return the most memory that a call takes, in copies of `SIZE`."""
    async with server_of(body) as server:
        address = server.url + ("/v1" if dialect == "openai" else "")
        account = StaticAccount(
            keys={dialect: [Key(name="own", value="sk-test")]}, configs={dialect: ProviderConfig(base_url=address)}
        )
        async with Bifrost(account) as client:
            gc.collect()
            tracemalloc.start()
            try:
                reply = await client.chat(MODELS[dialect], prompt)
                assert reply.text
                return tracemalloc.get_traced_memory()[1] / SIZE
            finally:
                tracemalloc.stop()


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("form", ["a data URL", "data"])
async def test_a_large_picture_is_copied_twice_at_most(dialect: str, form: str) -> None:
    prompt: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
    if form == "data":
        prompt = [
            Message(role="user", content=[TextPart(text="what is it?"), ImagePart(data=DATA, media_type="image/png")])
        ]
    await copies(dialect, WHOLE[dialect], "warm up")
    assert await copies(dialect, WHOLE[dialect], prompt) <= (2 if form == "a data URL" else 1) + SLACK


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_large_answer_is_there_as_its_bytes_and_as_its_text(dialect: str) -> None:
    word = b"hello" if dialect == "openai" else b"other"
    body = WHOLE[dialect].replace(word, b"x" * SIZE)
    await copies(dialect, WHOLE[dialect], "warm up")
    assert await copies(dialect, body, "hi") <= 2 + SLACK


URL = f"data:image/png;base64,{DATA}"
