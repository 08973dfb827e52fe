"""What is stored of a large document: not the texts that the answer holds, and yet the same bytes come back."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import time
from typing import Any

import msgspec
import pytest

from bifrost import ChatResponse
from bifrost.operations.chat.content import TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import Choice, raw_of
from bifrost.operations.document import SMALL, Document, without_texts
from tests.table import table

WORDS = 'Grüße & "quotes" <b>bold</b> a/b \\ \n\t\x07 \u2028 and 漢字 🎉 '
LONG = WORDS * 3_000


def slashes(text: str) -> bytes:
    return json.dumps(text).replace("/", "\\/").encode()


def html(text: str) -> bytes:
    written = msgspec.json.encode(text)
    for character in "<>&":
        written = written.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return written


WRITERS = {
    "UTF-8": msgspec.json.encode,
    "ASCII": lambda text: json.dumps(text).encode(),
    "safe within HTML": html,
    "slashes": slashes,
}


def stored(response: ChatResponse) -> Any:
    """Return what an answer stores of its document."""
    return msgspec.structs.asdict(response)["raw"]


def size_of(document: Document) -> int:
    return sum(map(len, document.between))


def answer_of(body: bytes, *texts: str) -> ChatResponse:
    choices = [Choice(message=AssistantMessage(parts=[TextPart(text=text)])) for text in texts]
    return ChatResponse(choices=choices, raw=raw_of(body, choices))


@table("writer", WRITERS)
def test_a_document_comes_back_however_its_texts_are_written(writer: str) -> None:
    write = WRITERS[writer]
    body = b'{"content": ' + write(LONG) + b', "more": [' + write(LONG[::-1]) + b', "x"]}\n'
    answer = answer_of(body, LONG, LONG[::-1])
    assert answer.raw == body
    assert size_of(stored(answer)) < 100


def test_arguments_that_are_json_themselves_are_left_out_too() -> None:
    arguments = '{"text": "' + "word " * 20_000 + '"}'
    body = b'{"input": ' + arguments.encode() + b"}"
    choices = [Choice(message=AssistantMessage(parts=[ToolCall(id="1", name="f", arguments=arguments)]))]
    answer = ChatResponse(choices=choices, raw=raw_of(body, choices))
    assert answer.raw == body
    assert size_of(stored(answer)) < 100


def test_a_small_document_is_stored_as_it_is() -> None:
    body = json.dumps("a" * (SMALL - 2)).encode()
    assert stored(answer_of(body[:-1], "a" * (SMALL - 2))) == body[:-1]
    assert isinstance(stored(answer_of(body, "a" * (SMALL - 2))), Document)


@table(
    "texts",
    [
        ["b" * 50_000, "a" * 50_000],
        ["a" * 50_000, "a" * 50_000, "a" * 50_000],
        ["a" * 50_000, "a" * 40_000, "ab" * 3_000],
        ["c" * 5_000, "d" * 5_000, "e" * 5_000, "f" * 5_000, "g" * 5_000, "b" * 50_000],
        ["\ud83d" + "a" * 50_000, "\ud83d" * 50_000],
        [],
    ],
    ids=["another order", "the same", "a part of another", "not in it", "half a character", "none"],
)
def test_any_texts_give_the_document_back(texts: list[str]) -> None:
    body = json.dumps(["a" * 50_000, "b" * 50_000, "ab" * 3_000]).encode()
    assert answer_of(body, *texts).raw == body


def test_a_text_written_in_another_way_stays_in_the_document() -> None:
    body = b'"' + b"\\u0061" * 20_000 + b'"'
    assert stored(answer_of(body, "a" * 20_000)) == body


def test_a_text_whose_end_differs_stays_in_the_document() -> None:
    body = json.dumps("a" * 100_000 + "b").encode()
    assert stored(answer_of(body, "a" * 100_000 + "c")) == body


def test_copies_of_an_answer_have_its_document() -> None:
    body = json.dumps({"content": LONG}).encode()
    answer = answer_of(body, LONG)
    for again in (
        copy.deepcopy(answer),
        copy.copy(answer),
        pickle.loads(pickle.dumps(answer)),  # noqa: S301 - our own
        answer.replace(model="another"),
        msgspec.json.decode(msgspec.json.encode(answer), type=ChatResponse),
    ):
        assert again.raw == body
    assert copy.deepcopy(answer) == answer
    assert answer.replace(raw=b"{}").raw == b"{}"
    assert ChatResponse(choices=[]).raw == b""


@pytest.mark.parametrize("texts", [["a" * 4_096] * 1_000, [f"{number:08}" * 512 for number in range(1_000)]])
def test_many_texts_that_are_not_there_are_not_looked_for(texts: list[str]) -> None:
    body = b"a" * 4_000 + bytes(4 * 1024 * 1024)
    began = time.thread_time()
    assert without_texts(body, texts) == body
    assert time.thread_time() - began < 0.5, sys.version


@table("writer", WRITERS)
def test_many_texts_are_found_in_linear_time(writer: str) -> None:
    texts = [f"é/<{number:06}{'x' * 4_096}" for number in range(2_000)]
    body = b"[" + b",".join(map(WRITERS[writer], texts)) + b"]"
    began = time.thread_time()
    document: Any = without_texts(body, texts)
    took = time.thread_time() - began
    assert document.texts == texts
    assert document.to_bytes() == body
    assert took < 2.5, sys.version
