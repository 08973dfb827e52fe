"""How many copies of a large request and of a large answer there are, beside what the caller holds."""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from bifrost import Bifrost, ChatResponse, ImagePart, Key, Message, ProviderConfig, StaticAccount, TextPart
from bifrost.testing import RawServer
from tests.engine.peers import CHAT
from tests.hostile.answers import _CLAUDE, MODELS
from tests.table import table

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

SIZE = 4 * 1024 * 1024
SLACK = 0.25
"""What everything else may take, in copies."""
KEPT = 1.7
"""What an answer may take while its caller keeps it, in copies of its body."""
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


def client_at(server: RawServer, dialect: str) -> Bifrost:
    address = server.url + ("/v1" if dialect == "openai" else "")
    account = StaticAccount(
        keys={dialect: [Key(name="own", value="sk-test")]}, configs={dialect: ProviderConfig(base_url=address)}
    )
    return Bifrost(account)


async def copies(dialect: str, body: bytes, prompt: Any) -> float:
    """Return the most memory that a call takes, in copies of `SIZE`."""
    async with server_of(body) as server, client_at(server, dialect) as client:
        gc.collect()
        tracemalloc.start()
        try:
            reply = await client.chat(MODELS[dialect], prompt)
            assert reply.text
            return tracemalloc.get_traced_memory()[1] / SIZE
        finally:
            tracemalloc.stop()


@table("dialect", ["openai", "anthropic"])
@table("form", ["a data URL", "data"])
async def test_a_large_picture_is_copied_twice_at_most(dialect: str, form: str) -> None:
    prompt: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
    if form == "data":
        prompt = [
            Message(role="user", content=[TextPart(text="what is it?"), ImagePart(data=DATA, media_type="image/png")])
        ]
    await copies(dialect, WHOLE[dialect], "warm up")
    assert await copies(dialect, WHOLE[dialect], prompt) <= (2 if form == "a data URL" else 1) + SLACK


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_large_answer_is_there_as_its_bytes_and_as_its_text_while_it_is_read(dialect: str) -> None:
    word = b"hello" if dialect == "openai" else b"other"
    body = WHOLE[dialect].replace(word, b"x" * SIZE)
    await copies(dialect, WHOLE[dialect], "warm up")
    assert await copies(dialect, body, "hi") <= 2 + SLACK


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_nothing_of_a_large_request_is_held_after_its_call(dialect: str) -> None:
    async with server_of(WHOLE[dialect]) as server, client_at(server, dialect) as client:
        await client.chat(MODELS[dialect], "warm up")
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(3):
                await client.chat(MODELS[dialect], "word " * (SIZE // 5))
                gc.collect()
                assert tracemalloc.get_traced_memory()[0] / SIZE <= 0.1
        finally:
            tracemalloc.stop()


def written(text: str, form: str) -> bytes:
    """Return the text as a JSON string without its quotes, as servers in Python, Rust, Go and PHP write it."""
    if form == "ASCII":
        return json.dumps(text)[1:-1].encode()
    if form == "slashes":
        return json.dumps(text)[1:-1].replace("/", "\\/").encode()
    plain = msgspec.json.encode(text)[1:-1]
    return plain.replace(b"<", b"\\u003c").replace(b">", b"\\u003e") if form == "HTML" else plain


@table("dialect", ["openai", "anthropic"])
@table("form", ["UTF-8", "ASCII", "HTML", "slashes"])
async def test_an_answer_that_its_caller_keeps_is_there_once(dialect: str, form: str) -> None:
    word = b"hello" if dialect == "openai" else b"other"
    text = ('if a < b / c:\n\treturn "Gr\u00fc\u00dfe"\n' * (SIZE // 34))[:SIZE]
    body = WHOLE[dialect].replace(word, written(text, form))
    async with server_of(body) as server, client_at(server, dialect) as client:
        await client.chat(MODELS[dialect], "warm up")
        gc.collect()
        tracemalloc.start()
        try:
            replies = [await client.chat(MODELS[dialect], "hi") for _ in range(3)]
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] / len(body) / len(replies) <= KEPT
        finally:
            tracemalloc.stop()
        for reply in replies:
            assert reply.text == text
            assert reply.raw == body


async def test_many_answers_at_once_are_there_once() -> None:
    body = CHAT.replace(b"hello", b"x" * SIZE)
    replies: list[ChatResponse] = []
    async with server_of(body) as server, client_at(server, "openai") as client:

        async def call() -> None:
            replies.append(await client.chat(MODELS["openai"], "hi"))

        await client.chat(MODELS["openai"], "warm up")
        gc.collect()
        tracemalloc.start()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(call)
            assert tracemalloc.get_traced_memory()[1] / len(body) / len(replies) <= KEPT
        finally:
            tracemalloc.stop()


URL = f"data:image/png;base64,{DATA}"
