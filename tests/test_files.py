"""Files at a provider through the public clients, over a mock and over a real socket."""

from __future__ import annotations

import email.parser
import email.policy
from typing import Any

import pytest

from bifrost import InvalidRequestError, MalformedResponseError, NotFoundError, SyncBifrost, UnsupportedError
from bifrost.testing import LoopbackProvider, MockTransport

pytestmark = pytest.mark.anyio

FILE: dict[str, Any] = {
    "id": "file-1",
    "object": "file",
    "bytes": 3.0,
    "created_at": 7.0,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}


def form_in(body: bytes, content_type: str) -> list[tuple[dict[str, str], bytes]]:
    """Read a form with the parser of the standard library."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts: Any = message.iter_parts()
    return [(dict(part["Content-Disposition"].params), part.get_payload(decode=True)) for part in parts]


async def test_a_file_is_uploaded_listed_retrieved_read_and_deleted() -> None:
    mock = MockTransport()
    mock.json(FILE)
    mock.json({"object": "list", "data": [FILE, {"id": "file-2"}, 7, {}], "has_more": True, "last_id": "file-2"})
    mock.json(FILE)
    mock.raw(200, b"\xff\r\n{}", {"content-type": "application/octet-stream"})
    mock.json({"id": "file-1", "object": "file", "deleted": True})
    async with mock.client() as client:
        uploaded = await client.files.upload(
            b"\r\n--x\xff", provider="openai", purpose="batch", filename='dir/a"b\r\né.txt', media_type="text/plain"
        )
        page = await client.files.list(provider="openai", purpose="batch", limit=2, after="file-0")
        found = await client.files.retrieve("file-1", provider="openai")
        content = await client.files.content("file/1", provider="openai")
        deleted = await client.files.delete("file-1", provider="openai")
    assert uploaded.file == found.file
    assert (uploaded.id, uploaded.file.filename, uploaded.file.created) == ("file-1", "a.jsonl", 7)
    assert uploaded.attempts[0].status == 200
    assert ([file.id for file in page.data], page.next) == (["file-1", "file-2"], "file-2")
    assert content.data == b"\xff\r\n{}"
    assert deleted.file.is_deleted
    assert not found.file.is_deleted
    assert [(call.http.method, call.http.path) for call in mock.calls] == [
        ("POST", "/v1/files"),
        ("GET", "/v1/files?purpose=batch&limit=2&after=file-0"),
        ("GET", "/v1/files/file-1"),
        ("GET", "/v1/files/file%2F1/content"),
        ("DELETE", "/v1/files/file-1"),
    ]
    call = mock.calls[0].http
    assert form_in(call.body, call.headers["content-type"]) == [
        ({"name": "purpose"}, b"batch"),
        ({"name": "file", "filename": "a%22b%0D%0Aé.txt"}, b"\r\n--x\xff"),
    ]


async def test_what_cannot_be_sent_or_read() -> None:
    mock = MockTransport()
    mock.fail(404)
    mock.json({"id": "file-1", "deleted": False})
    mock.json([])
    async with mock.client() as client:
        with pytest.raises(NotFoundError):
            await client.files.retrieve("file-1", provider="openai")
        with pytest.raises(MalformedResponseError, match="not deleted"):
            await client.files.delete("file-1", provider="openai", max_retries=0)
        with pytest.raises(MalformedResponseError, match="no object"):
            await client.files.list(provider="openai", max_retries=0)
        with pytest.raises(InvalidRequestError, match="expected an id"):
            await client.files.content("..", provider="openai")
        with pytest.raises(InvalidRequestError, match="read the file first"):
            await client.files.upload(3, provider="openai")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(InvalidRequestError, match="media_type"):
            await client.files.upload(b"", provider="openai", media_type="a\r\nb: c")
        with pytest.raises(UnsupportedError, match="files"):
            await client.files.list(provider="perplexity")
    assert len(mock.calls) == 3


async def test_files_over_a_real_socket() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.json(FILE)
        server.raw(200, b"\x00\xff", {"content-type": "application/octet-stream"})
        uploaded = await client.files.upload("text", provider="openai", purpose="batch")
        content = await client.files.content(uploaded.id, provider="openai")
    assert content.data == b"\x00\xff"


def test_files_without_await() -> None:
    mock = MockTransport()
    mock.json(FILE).times(2)
    mock.json({"object": "list", "data": None})
    mock.raw(200, b"abc", {"content-type": "text/plain"})
    mock.json({"id": "file-1", "deleted": True})
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.files.upload(b"abc", provider="openai").id == "file-1"
        assert client.files.retrieve("file-1", provider="openai").file.status == "processed"
        assert client.files.list(provider="openai").data == []
        assert client.files.content("file-1", provider="openai").text == "abc"
        assert client.files.delete("file-1", provider="openai").file.is_deleted
