"""Nothing that a caller says vanishes: every field of every request, at every provider, plain and streamed."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.tools import Tool
from bifrost.providers.anthropic import fields as anthropic
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.fields import FieldTable, covering, paths_of
from bifrost.providers.responses_over_chat import fields as responses_over_chat
from tests.providers.said import (
    MISSING,
    context_of,
    default_of,
    entry_of,
    leaves,
    outcome,
    shows,
    top_of,
    values_of,
    with_value,
)
from tests.table import table

if TYPE_CHECKING:
    from bifrost.providers.base import Codec

OVER_CHAT = ("anthropic", "mistral", "perplexity")
"""Those whose chat is tested as a Responses API: the table of it is the same for all."""

CODECS: dict[str, tuple[str, Codec[Any, Any]]] = {
    f"{row.name}-{operation}": (row.name, codec)
    for row in CATALOG.values()
    for operation, codec in row.codecs.items()
    if codec.fields is not responses_over_chat.FIELDS or row.name in OVER_CHAT
}
CHATS = {row.name: row.codecs["chat"] for row in CATALOG.values() if "chat" in row.codecs}
TARGET = Target(provider="openai", model="m")


def table_of(codec: Codec[Any, Any]) -> FieldTable:
    assert codec.fields is not None, "a codec says what becomes of each field of its request: Codec.fields"
    return codec.fields


@table("name", CODECS)
def test_every_field_of_a_request_is_in_the_table(name: str) -> None:
    table = table_of(CODECS[name][1])
    named = {path.partition("=")[0] for path in table.fields}
    missing = {
        path
        for path in paths_of(table.request)
        if covering(path, table.fields) is None and not any(other.startswith(f"{path}.") for other in named)
    }
    assert missing == set()


@table("name", CODECS)
def test_every_entry_of_the_table_is_a_field_of_the_request(name: str) -> None:
    table = table_of(CODECS[name][1])
    paths = list(paths_of(table.request))
    for entry in table.fields:
        path = entry.partition("=")[0]
        assert path in paths or any(other.startswith(f"{path}.") for other in paths), entry


@table("stream", [False, True], ids=["plain", "stream"])
@table("name", CODECS)
def test_a_field_changes_the_wire_by_its_value_or_is_told_of(name: str, stream: bool) -> None:
    provider, codec = CODECS[name]
    if stream and codec.decoder is None:
        return
    assert silent(provider, codec, stream=stream) == []


@table(
    ("provider", "model"),
    [
        *(("openai", model) for model in ("o3-mini", "gpt-5", "gpt-5.1")),
        *(("anthropic", model) for model in ("claude-sonnet-4-0", "claude-sonnet-4-5", "claude-sonnet-4-6")),
        ("anthropic", "claude-opus-4-8"),
        *(("gemini", model) for model in ("gemini-2.5-pro", "gemini-3-pro-preview")),
    ],
)
def test_no_field_vanishes_at_a_model_that_takes_less(provider: str, model: str) -> None:
    assert silent(provider, CHATS[provider], stream=False, model=model) == []


def test_a_model_that_does_not_think_needs_no_word_for_it() -> None:
    found = silent("gemini", CHATS["gemini"], stream=False, model="gemini-2.0-flash")
    assert {each.partition(": ")[0] for each in found} == {
        "reasoning.effort='none'",
        "reasoning.enabled=False",
        "reasoning.display='omitted'",
    }


def silent(provider: str, codec: Codec[Any, Any], *, stream: bool, model: str = "m") -> list[str]:
    """Return the values of fields that leave no trace."""
    table = table_of(codec)
    found: list[str] = []
    for path in leaves(table.request):
        context = context_of(path)
        without = outcome(
            codec, provider, with_value(context, top_of(table, path), MISSING), stream=stream, model=model
        )
        seen: list[Any] = []
        for value in values_of(table.request, path):
            entry = entry_of(table, path, value)
            asks_nothing = value == default_of(table.request, path) or (entry is not None and value in entry.neutral)
            if asks_nothing or entry is None or entry.support == "local":
                continue
            after = outcome(codec, provider, with_value(context, path, value), stream=stream, model=model)
            if not shows(path, after, without) or any(not shows(path, after, other) for other in seen):
                found.append(f"{path}={value!r}: {after}")
            if not isinstance(after, Exception) and not set(after[1]) - set(
                () if isinstance(without, Exception) else without[1]
            ):
                seen.append(after)
    return found


# --- two fields at once

PAIRED = [path for path in leaves(ChatRequest) if not path.startswith("messages.")]


def agree(path: str, value: Any, other: str, value_of_other: Any) -> bool:
    """Whether one of two fields says nothing that the other does not say too."""
    said = {path: value, other: value_of_other}
    effort, enabled = said.get("reasoning.effort"), said.get("reasoning.enabled")
    match sorted(said):
        case ["reasoning.effort", "reasoning.enabled"]:
            return enabled == (effort != "none")
        case ["reasoning.display" | "reasoning.enabled", "reasoning.enabled" | "reasoning.max_tokens"]:
            return enabled is True  # who asks for a budget, or to see thoughts, asks for thinking
        case ["logprobs", "top_logprobs"]:
            return said["logprobs"] is True
        case _:
            return False


def contexts_of(path: str, other: str) -> dict[str, Any] | None:
    """Return what stands beside both fields; `None` if it cannot be the same request."""
    first, second = context_of(path), context_of(other)
    if any(first[name] != second[name] for name in first.keys() & second.keys()):
        return None
    return {**first, **second}


def silent_beside(provider: str, path: str, value: Any, other: str, value_of_other: Any, *, stream: bool) -> str | None:
    """Return a value of a field that leaves no trace beside another field; `None` if it does, or if it needs none."""
    codec, context = CHATS[provider], contexts_of(path, other)
    table = table_of(codec)
    entry = entry_of(table, path, value)
    if context is None or entry is None or entry.support == "local":
        return None
    if value in entry.neutral or value == default_of(table.request, path) or agree(path, value, other, value_of_other):
        return None
    before = with_value(context, other, value_of_other)
    after = outcome(codec, provider, with_value(before, path, value), stream=stream)
    without = outcome(codec, provider, with_value(before, top_of(table, path), MISSING), stream=stream)
    if isinstance(after, InvalidRequestError) or shows(path, after, without):
        return None
    if path.startswith("tool") and any(re.search("tools .*were left out", warning) for warning in after[1]):
        return None  # of a tool that the other field rules out
    return f"{path}={value!r} beside {other}={value_of_other!r}: {after}"


VALUED = [(path, value) for path in PAIRED for value in values_of(ChatRequest, path)]


@settings(max_examples=1000)
@given(st.sampled_from(sorted(CHATS)), st.sampled_from(VALUED), st.sampled_from(VALUED), st.booleans())
def test_no_field_vanishes_beside_another(
    provider: str, one: tuple[str, Any], other: tuple[str, Any], stream: bool
) -> None:
    if one[0] != other[0]:
        stream = stream or one[0].startswith("stream_options.")
        assert silent_beside(provider, *one, *other, stream=stream) is None


SOURCES: dict[str, dict[str, str]] = {
    "image": {"url": "https://a.example/b", "data": "AA==", "file_id": "file_1"},
    "video": {"url": "https://a.example/b", "data": "AA==", "file_id": "file_1"},
    "file": {"url": "https://a.example/b", "data": "AA==", "file_id": "file_1", "text": "a"},
}


@table("provider", CHATS)
@table("kind", SOURCES)
def test_of_several_sources_of_a_part_each_is_sent_or_told_of(provider: str, kind: str) -> None:
    media_type = {"image": "image/png", "video": "video/mp4", "file": "application/pdf"}[kind]
    for names in (names for size in (2, 3, 4) for names in combinations(SOURCES[kind], size)):
        part = {"type": kind, "media_type": media_type, **{name: SOURCES[kind][name] for name in names}}
        form = {"messages": [{"role": "user", "content": [part]}]}
        made = outcome(CHATS[provider], provider, form, stream=False)
        if isinstance(made, Exception):
            continue  # it is refused whole
        left_out = [name for name in names if any(f": {name} was left out" in warning for warning in made[1])]
        assert len(left_out) == len(names) - 1, (names, made)


# --- a field that nobody has thought of


class Wider(ChatRequest, frozen=True, kw_only=True, omit_defaults=True):
    """A request with a field that no table has."""

    novelty: int | None = None


@table("provider", CHATS)
def test_a_field_that_is_in_no_table_gives_a_warning(provider: str) -> None:
    table = FieldTable(Wider, table_of(CHATS[provider]).fields)
    asked = Wider(model="m", messages=[], novelty=1)
    assert table.check(asked, TARGET) == ["novelty was left out: bifrost does not know how to say it to openai"]
    assert table.check(asked.replace(novelty=None), TARGET) == []


def test_a_nested_field_that_is_in_no_table_gives_a_warning() -> None:
    fields = {path: entry for path, entry in anthropic.CHAT.fields.items() if path != "tools.tool.strict"}
    request = ChatRequest(model="m", messages=[], tools=[Tool(name="f"), Tool(name="g", strict=False)])
    warnings = FieldTable(ChatRequest, fields, speaker="Anthropic").check(request, TARGET)
    assert warnings == ["tools[1]: strict was left out: bifrost does not know how to say it to Anthropic"]


def test_a_refusal_names_its_field_and_its_place() -> None:
    request = ChatRequest(model="m", messages=[], tools=[Tool(name="f"), Tool(name="g", kind="custom")])
    with pytest.raises(UnsupportedError, match=r"\(tools\[1\]\); give them JSON parameters") as caught:
        anthropic.CHAT.check(request, TARGET)
    assert (caught.value.param, caught.value.provider, caught.value.model) == ("tools.tool.kind", "openai", "m")


def test_what_is_never_sent_is_known() -> None:
    """Each of them repeats what another field says, or tells bifrost something: none of them asks for anything."""
    found = {
        (path, entry.words)
        for _, codec in CODECS.values()
        for path, entry in table_of(codec).fields.items()
        if entry.support == "local"
    }
    assert all(reason for _, reason in found)
    assert {path for path, _ in found} == NEVER_SENT


ITEMS = ("message", "reasoning", "function_call", "custom_tool_call", "function_call_output", "custom_tool_call_output")
PARTS_OF_ITEMS = ("message.content", "function_call_output.output", "custom_tool_call_output.output")

NEVER_SENT = {
    *(f"input.{item}.issuer" for item in (*ITEMS, "opaque")),
    "input.opaque.kind",
    # where a chat carries a response
    *(f"input.{item}.{name}" for item in ITEMS for name in ("id", "status")),
    *(f"input.{item}.signature" for item in ("reasoning", "function_call", "custom_tool_call")),  # or where none does
    *(f"input.{place}.output_text.{name}" for place in PARTS_OF_ITEMS for name in ("annotations", "logprobs")),
    # what it says beyond the rest is sent, or reported when a request is built
    *(
        f"input.{place}.{part}.part"
        for place in PARTS_OF_ITEMS
        for part in ("output_text", "input_text", "input_image", "input_file", "opaque")
    ),
    "input.message.is_short",
    "input.reasoning.content",
    "input.reasoning.summary",
    "return_documents",
    # of a request for a number of tokens at OpenAI: marks change nothing about it
    "messages.cache",
    *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "file", "tool_call")),
    "tools.tool.cache",
    "model",  # of a request for the models
    "messages.content.audio.expires_at",
    "messages.content.audio.format",  # where the server reads it off the sound
    "messages.content.image.media_type",  # where the server reads it off the image
    "messages.content.file.media_type",  # where the server reads it off the document
    "messages.content.opaque.issuer",
    "messages.content.opaque.kind",
    "messages.content.opaque.provider",
    "messages.content.reasoning.issuer",
    "messages.content.reasoning.provider",
    "messages.content.reasoning.text",  # the provider's own, where it takes none back
    "messages.content.text.citations",
    *(
        f"messages.content.text.citations.{name}"
        for name in ("url", "title", "text", "start", "end", "document_index", "file_id", "provider")
    ),
    "messages.content.tool_call.id",  # where a result names its tool
    "messages.content.tool_call.issuer",
    "messages.tool_call_id",
    "messages.content.tool_call.provider",
    *(f"messages.content.{part}.{name}" for part in ("text", "image") for name in ("provider", "issuer")),
    "prediction.content.text.issuer",
    "prediction.content.text.provider",
    "response_format.name",
    "tools.provider.provider",
}
