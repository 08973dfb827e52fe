"""`Operation` and the table of operations."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from bifrost import ChatAccumulator, ChatResponse, ConfigError
from bifrost.operations import base
from bifrost.operations.base import Operation
from bifrost.operations.chat.operation import CHAT
from bifrost.operations.completions import COMPLETIONS
from bifrost.operations.embeddings import EMBEDDINGS
from bifrost.operations.images import IMAGES
from bifrost.operations.models import MODELS
from bifrost.operations.moderations import MODERATIONS
from bifrost.operations.rerank import RERANK
from bifrost.operations.speech import SPEECH
from bifrost.operations.token_count import COUNT_TOKENS
from bifrost.operations.transcription import TRANSCRIPTIONS
from bifrost.providers.catalog import CATALOG, OPERATIONS
from tests.table import table

ENVELOPE = {"provider", "model", "request_id", "attempts", "warnings", "rate_limit"}
"""What the engine fills in."""
KNOWN: dict[str, Any] = {
    "chat": CHAT,
    "embeddings": EMBEDDINGS,
    "models": MODELS,
    "moderations": MODERATIONS,
    "images": IMAGES,
    "speech": SPEECH,
    "transcriptions": TRANSCRIPTIONS,
    "rerank": RERANK,
    "count_tokens": COUNT_TOKENS,
    "completions": COMPLETIONS,
}


def test_the_table_has_every_operation_by_its_name() -> None:
    assert {name: OPERATIONS[name] for name in KNOWN} == KNOWN
    assert all(operation.name == name for name, operation in OPERATIONS.items())


def test_the_table_follows_from_the_codecs() -> None:
    assert set(OPERATIONS) == {name for row in CATALOG.values() for name in row.codecs}
    assert len(OPERATIONS) == len(list(OPERATIONS))


@table("operation", [*OPERATIONS.values()], ids=lambda operation: operation.name)
def test_requests_and_responses_have_what_the_engine_needs(
    operation: Operation[Any, Any, Any],
) -> None:
    assert "model" in operation.request.__struct_fields__
    assert set(operation.response.__struct_fields__) >= ENVELOPE


def test_a_codec_stands_under_the_name_of_its_operation() -> None:
    row = CATALOG["openai"]
    with pytest.raises(ConfigError, match=r"codecs: 'chatt' has a codec of the operation 'chat'"):
        row.replace(codecs={"chatt": row.codecs["chat"]})


def test_a_streaming_operation_makes_chunks_of_a_response_and_the_response_of_chunks() -> None:
    streaming = CHAT.streaming
    assert streaming is not None
    assert isinstance(streaming.accumulator(provider="p", model="m"), ChatAccumulator)
    whole = ChatResponse.of("It rains.")
    accumulator = streaming.accumulator(provider="p", model="m")
    for chunk in streaming.chunks_of(whole):
        accumulator.add(chunk)
    assert accumulator.response(warnings=["w"]).replace(warnings=[]) == whole.replace(provider="p", model="m")
    assert (EMBEDDINGS.streaming, EMBEDDINGS.chunk, CHAT.chunk) == (None, None, streaming.chunk)


def test_the_base_imports_no_operation() -> None:
    tree = ast.parse(Path(base.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("bifrost")} == {"bifrost.errors", "bifrost.frozen"}
