from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost.errors import UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.providers.base import Provider, Target, operations_of
from bifrost.providers.catalog import CATALOG
from bifrost.providers.custom import derive, is_path
from bifrost.wire.auth import NoAuth
from tests.table import table

OPENAI = CATALOG["openai"]


_FIELDS: dict[str, Any] = {
    "model": "x/",
    "id": "resp_1",
    "file": "UklGRg==",
    "requests": {"a": ChatRequest(model="x/", messages=[Message(role="user", content="hi")])},
    "voice": "alloy",
    "messages": [{"role": "user", "content": "hi"}],
    "input": ["hi"],
    "prompt": ["hi"],
    "query": "hi",
    "documents": [{"text": "hi"}],
}
"""Values of the fields that some operation needs."""


_TEXTS = {"input": "hi", "prompt": "hi"}
"""The same for operations that take one text."""


def path_of(row: Provider, operation: str) -> str:
    endpoint = operation.removeprefix("stream_")
    codec = row.codecs[endpoint]
    request = _request_of(codec.operation.request, {"limit": 5, "after": "z"} if endpoint == "models" else {})
    return codec.build(request, Target(provider=row.name, model="m", stream=operation != endpoint)).request.path


def _request_of(kind: type[msgspec.Struct], options: dict[str, Any]) -> Any:
    fields = msgspec.structs.fields(kind)
    failure: msgspec.ValidationError | None = None
    for values in (_FIELDS, {**_FIELDS, **_TEXTS}):
        for names in ({field.name for field in fields}, {field.name for field in fields if field.required}):
            try:
                return msgspec.convert({name: values[name] for name in names & values.keys()} | options, kind)
            except msgspec.ValidationError as error:
                failure = error
    raise AssertionError(f"{kind.__name__} needs a value here: {failure}")


def test_operations_are_endpoints_and_their_streams() -> None:
    assert operations_of(OPENAI) == [
        *OPENAI.codecs,
        *(f"stream_{name}" for name, codec in OPENAI.codecs.items() if codec.decoder is not None),
    ]


def test_another_name_is_all_that_changes_by_itself() -> None:
    row = derive(OPENAI, name="corp")
    assert row.name == "corp"
    assert dict(row.codecs) == dict(OPENAI.codecs)
    assert row.auth == OPENAI.auth
    # The vendor's variables hold the vendor's key.
    assert (row.key_variables, row.base_url_variable) == ((), None)


def test_a_credential_of_its_own() -> None:
    assert derive(OPENAI, name="corp", auth=NoAuth()).auth == NoAuth()


def test_paths_of_its_own() -> None:
    row = derive(OPENAI, name="corp", paths={"chat": "/ask", "stream_chat": "/ask-and-stream?v=1"})
    assert path_of(row, "chat") == "/ask"
    assert path_of(row, "stream_chat") == "/ask-and-stream?v=1"
    assert path_of(row, "embeddings") == path_of(OPENAI, "embeddings")


def test_a_query_of_the_dialect_stays() -> None:
    query = path_of(OPENAI, "models").partition("?")[2]
    base = derive(CATALOG["anthropic"], name="corp", paths={"models": "/m"})
    assert path_of(base, "models") == "/m?" + path_of(CATALOG["anthropic"], "models").partition("?")[2]
    assert path_of(derive(base, name="more", paths={"models": "/m?v=1"}), "models").startswith("/m?v=1&")
    assert path_of(derive(OPENAI, name="corp", paths={"models": "/m"}), "models") == f"/m{'?' if query else ''}{query}"


def test_a_prefix_stands_before_the_dialects_paths_only() -> None:
    row = derive(OPENAI, name="corp", paths={"chat": "/ask"}, prefix="/v9")
    assert path_of(row, "chat") == "/ask"
    assert path_of(row, "stream_chat") == "/v9/chat/completions"
    assert path_of(row, "embeddings") == "/v9/embeddings"


def test_an_endpoint_that_is_not_among_the_operations_is_gone() -> None:
    row = derive(OPENAI, name="corp", operations=["embeddings"])
    assert list(row.codecs) == ["embeddings"]
    assert operations_of(row) == ["embeddings"]


@pytest.mark.parametrize(("allowed", "refused"), [("chat", "stream_chat"), ("stream_chat", "chat")])
def test_streams_and_whole_answers_are_two_operations(allowed: str, refused: str) -> None:
    row = derive(OPENAI, name="corp", operations=[allowed])
    assert path_of(row, allowed) == "/chat/completions"
    with pytest.raises(UnsupportedError, match=f"corp is not set up for {refused}; it is for: {allowed}"):
        path_of(row, refused)


@table("path", ["/", "/chat", "/v1/chat?api-version=2", "/a.b/..c"])
def test_a_path_stands_below_an_address(path: str) -> None:
    assert is_path(path)


@table("path", ["", "chat", "https://x.example/", "/a b", "/a#b", "/../a", "/a/..", "/é", "/a\n"])
def test_what_could_lead_elsewhere_is_no_path(path: str) -> None:
    assert not is_path(path)
