"""The same meaning, said by us and by the vendors' own SDKs, makes the same request."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import msgspec
import pydantic
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.embedding_create_params import EmbeddingCreateParams

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.base import OperationName
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    ImagePart,
    Issuer,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.request import ChatRequest, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelsRequest
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from tests.differential.meanings import DIALECTS, HELLO, MEANINGS, MODEL, Meaning, Refused, Said
from tests.differential.sent import KEY, Caller, Ours, Sdks, Seam, default_of, says, schemas
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.wire.http import HttpRequest

ENDPOINTS: dict[type, OperationName] = {ChatRequest: "chat", EmbeddingRequest: "embeddings", ModelsRequest: "models"}

Row: TypeAlias = tuple[Meaning, str]
"""A meaning, and the provider that is told."""

EVERY_ROW: list[Row] = [(meaning, dialect) for dialect in DIALECTS for meaning in MEANINGS if meaning.at(dialect)]
ROWS = [(meaning, dialect) for meaning, dialect in EVERY_ROW if isinstance(meaning.at(dialect), Said)]
REFUSED = [row for row in EVERY_ROW if row not in ROWS]
WITH_BODY = [row for row in ROWS if not isinstance(row[0].request, ModelsRequest)]
OF_EACH_KIND = [row for row in ROWS if row[0].name in {"a question", "a stream", "a vector", "the models"}]

THROUGH_EXTRA = {"moderation", "functions", "function_call", "prompt_cache_options"}
"""Keywords of OpenAI's that are no options of ours, and are said in `extra`."""

BY_KEYWORDS = [
    meaning
    for meaning, dialect in ROWS
    if dialect == "openai"
    and isinstance(meaning.request, ChatRequest)
    and not meaning.said(dialect).keywords.keys() & THROUGH_EXTRA
]


def by_name(rows: list[Row]) -> list[str]:
    return [f"{dialect}-{meaning.name}" for meaning, dialect in rows]


CREDENTIALS = {
    # Anthropic documents x-api-key (https://platform.claude.com/docs/en/api/overview) and its SDK's 2.x sends a bearer
    # token. The version that this SDK asks for refuses temperature, top_p and top_k, which the older models take.
    "anthropic": {"x-api-key": KEY.format("anthropic"), "anthropic-version": "2023-06-01"},
    "openai": {"authorization": f"Bearer {KEY.format('openai')}"},
}
THEIR_CREDENTIALS = {
    "anthropic": {"authorization": f"Bearer {KEY.format('anthropic')}", "anthropic-version": "2026-10-21"},
    "openai": CREDENTIALS["openai"],
}
Asked: TypeAlias = dict[tuple[str, str], Ours]

SAME_HEADERS = ("content-type", "anthropic-beta")
OWN_HEADERS = {"user-agent", "accept-encoding"}


@pytest.fixture(scope="module")
def sdks() -> Iterator[Sdks]:
    with Sdks() as both:
        yield both


async def ask_everything() -> Asked:
    """Put every meaning to every provider."""
    seam = Seam()
    async with seam.client() as client:
        caller = Caller(client, seam)
        return {(meaning.name, dialect): await caller.ask(meaning, dialect) for meaning, dialect in EVERY_ROW}


async def ask_by_keywords() -> dict[str, Ours]:
    """Put every chat in the words of OpenAI's SDK."""
    seam = Seam()
    async with seam.client() as client:
        caller = Caller(client, seam)
        return {
            meaning.name: await caller.ask_by_keywords(meaning, meaning.said("openai").keywords)
            for meaning in BY_KEYWORDS
        }


@pytest.fixture(scope="module")
def asked() -> Asked:
    return anyio.run(ask_everything)


@pytest.fixture(scope="module")
def asked_by_keywords() -> dict[str, Ours]:
    return anyio.run(ask_by_keywords)


def test_both_event_loops_send_the_same(asked: Asked) -> None:
    on_trio = anyio.run(ask_everything, backend="trio")
    for row, ours in asked.items():
        other = on_trio[row]
        assert (other.sent, other.warnings, str(other.error)) == (ours.sent, ours.warnings, str(ours.error))


def test_openai_and_anthropic_have_a_column_in_every_row() -> None:
    assert [meaning.name for meaning in MEANINGS if not {"openai", "anthropic"} <= meaning.columns.keys()] == []


# --- the same request


@table(("meaning", "dialect"), ROWS, ids=by_name(ROWS))
def test_the_same_meaning_makes_the_same_request(meaning: Meaning, dialect: str, sdks: Sdks, asked: Asked) -> None:
    said, ours, theirs = meaning.said(dialect), asked[meaning.name, dialect], sdks.send(meaning, dialect)
    sent = ours.request
    assert (sent.method, sent.url, sent.query) == (theirs.method, theirs.url, theirs.query)
    assert sent.body == departing(theirs.body, said)
    assert [*schemas(sent.body)] == [*schemas(theirs.body)]
    assert [sent.headers.get(name) for name in SAME_HEADERS] == [theirs.headers.get(name) for name in SAME_HEADERS]
    assert len(ours.warnings) == len(said.noted)
    assert all(note in warning for note, warning in zip(said.noted, ours.warnings, strict=True)), ours.warnings


@table("meaning", BY_KEYWORDS, ids=[meaning.name for meaning in BY_KEYWORDS])
def test_openais_own_keywords_make_the_same_request(
    meaning: Meaning, sdks: Sdks, asked_by_keywords: dict[str, Ours]
) -> None:
    sent, theirs = asked_by_keywords[meaning.name].request, sdks.send(meaning, "openai")
    assert (sent.method, sent.url) == (theirs.method, theirs.url)
    assert sent.body == departing(theirs.body, meaning.said("openai"))
    assert [*schemas(sent.body)] == [*schemas(theirs.body)]


ANSWERED = {"role": "assistant", "content": "So"}

OTHER_FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("the old name of the limit", {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ("one stop sequence", {"stop": "END"}, {"stop": ["END"]}),
    ("what is given as None", {"seed": None, "reasoning_effort": None}, {}),
    (
        "a response as the SDK dumps it",
        {
            "messages": [
                HELLO,
                {**ANSWERED, "refusal": None, "annotations": [], "audio": None, "function_call": None},
                HELLO,
            ]
        },
        {"messages": [HELLO, ANSWERED, HELLO]},
    ),
    (
        "a response in parts",
        {
            "messages": [
                HELLO,
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "So"}, {"type": "refusal", "refusal": "No."}],
                },
                HELLO,
            ]
        },
        {"messages": [HELLO, {**ANSWERED, "refusal": "No."}, HELLO]},
    ),
]


@pytest.mark.anyio
@table(("told", "same"), [row[1:] for row in OTHER_FORMS], ids=[row[0] for row in OTHER_FORMS])
async def test_other_forms_of_openais_keywords_make_the_same_request(
    told: dict[str, Any], same: dict[str, Any], sdks: Sdks
) -> None:
    meaning = Meaning(str(same), ChatRequest(model=MODEL, messages=[]), {"openai": Said(same)})
    seam = Seam()
    async with seam.client() as client:
        ours = await Caller(client, seam).ask_by_keywords(meaning, told)
    assert ours.request.body == sdks.send(meaning, "openai").body


@pytest.mark.anyio
@table("keyword", sorted(THROUGH_EXTRA))
async def test_openais_keywords_that_are_no_options_are_refused(keyword: str) -> None:
    told: Any = {keyword: {}}
    async with Seam().client() as client:
        with pytest.raises(InvalidRequestError, match=keyword):
            await client.chat(f"openai/{MODEL}", "Hello", **told)


@table(("meaning", "dialect"), REFUSED, ids=by_name(REFUSED))
def test_what_a_provider_has_no_words_for_is_refused(meaning: Meaning, dialect: str, asked: Asked) -> None:
    told, error = meaning.at(dialect), asked[meaning.name, dialect].error
    assert isinstance(told, Refused)
    assert isinstance(error, UnsupportedError)
    assert told.words in error.message


@table(("meaning", "dialect"), OF_EACH_KIND, ids=by_name(OF_EACH_KIND))
def test_no_header_is_sent_beside_those_that_the_sdk_sends(
    meaning: Meaning, dialect: str, sdks: Sdks, asked: Asked
) -> None:
    sent, theirs = asked[meaning.name, dialect].request.headers, sdks.send(meaning, dialect).headers
    assert CREDENTIALS[dialect].items() <= sent.items()
    assert THEIR_CREDENTIALS[dialect].items() <= theirs.items()
    assert sent.keys() - CREDENTIALS[dialect] - OWN_HEADERS <= set(SAME_HEADERS)


def departing(body: Any, said: Said) -> Any:
    """The SDK's body, with what a row says that ours has otherwise."""
    if not said.ours:
        return body
    return {name: value for name, value in {**body, **said.ours}.items() if value is not None}


# --- the SDKs' types

JUDGES: dict[tuple[str, type, bool], Any] = {
    ("openai", ChatRequest, False): CompletionCreateParamsNonStreaming,
    ("openai", ChatRequest, True): CompletionCreateParamsStreaming,
    ("openai", EmbeddingRequest, False): EmbeddingCreateParams,
    ("anthropic", ChatRequest, False): MessageCreateParamsNonStreaming,
    ("anthropic", ChatRequest, True): MessageCreateParamsStreaming,
}


@pytest.fixture(scope="module")
def judges() -> dict[tuple[str, type, bool], pydantic.TypeAdapter[Any]]:
    return {place: pydantic.TypeAdapter(judge) for place, judge in JUDGES.items()}


@table(("meaning", "dialect"), WITH_BODY, ids=by_name(WITH_BODY))
def test_the_sdks_types_allow_what_we_send(meaning: Meaning, dialect: str, judges: Any) -> None:
    said = meaning.said(dialect)
    body = json.loads(build(meaning, dialect, meaning.request)[0].body)
    known = {name: value for name, value in body.items() if name not in said.keywords.get("extra_body", ())}
    judge = judges[dialect, type(meaning.request), meaning.stream]
    checked = judge.validate_python(known, extra="forbid")
    judge.dump_python(checked, mode="json")  # lists are checked as they are read


OF_THE_TRANSPORT = {"extra_headers", "extra_query", "extra_body", "timeout"}
NO_ROW = {
    "openai": {"max_tokens": "the older name of max_completion_tokens"},
    "anthropic": {
        "user_profile_id": "a header; say it in extra_headers",
        "workspace_id": "a header; say it in extra_headers",
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_keyword_of_the_sdk_has_a_row(dialect: str) -> None:
    with Sdks() as sdks:
        keywords = inspect.signature(sdks.chat(dialect)).parameters.keys() - OF_THE_TRANSPORT
    told = {name for meaning, provider in ROWS if provider == dialect for name in meaning.said(dialect).keywords}
    assert keywords - told - {"model"} == NO_ROW[dialect].keys()


# --- every field


def shapes(kind: Any, found: dict[type, msgspec.inspect.StructType]) -> None:
    """Find every struct that a type can hold."""
    match kind:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            if cls not in found:
                found[cls] = kind
                for field in fields:
                    shapes(field.type, found)
        case msgspec.inspect.UnionType(types=types):
            for inner in types:
                shapes(inner, found)
        case msgspec.inspect.ListType(item_type=inner):
            shapes(inner, found)
        case _:
            pass


def every_shape() -> dict[type, msgspec.inspect.StructType]:
    found: dict[type, msgspec.inspect.StructType] = {}
    for request in ENDPOINTS:
        shapes(msgspec.inspect.type_info(request), found)
    return found


def structs(value: Any) -> Iterator[msgspec.Struct]:
    """Every struct in a request, itself included."""
    match value:
        case msgspec.Struct():
            yield value
            for name in value.__struct_fields__:
                yield from structs(getattr(value, name))
        case list():
            for inner in value:
                yield from structs(inner)
        case _:
            pass


EVERY_STRUCT = [struct for meaning in MEANINGS for struct in structs(meaning.request)]
EVERY_FIELD = {(cls, field.name) for cls, shape in every_shape().items() for field in shape.fields}

NEVER_SAID = {(ModelsRequest, "model"): "the question is put to a provider, not to a model"}


def test_every_field_has_a_row() -> None:
    told = {
        (type(struct), info.name)
        for struct in EVERY_STRUCT
        for info in msgspec.structs.fields(struct)
        if says(struct, info)
    }
    assert EVERY_FIELD - told == NEVER_SAID.keys()


def test_every_word_of_a_closed_choice_has_a_row() -> None:
    words = {
        (cls, field.name, word)
        for cls, shape in every_shape().items()
        for field in shape.fields
        for kind in getattr(field.type, "types", (field.type,))
        if isinstance(kind, msgspec.inspect.LiteralType)
        for word in kind.values
    }
    told = {
        (type(s), name, v)
        for s in EVERY_STRUCT
        for name in s.__struct_fields__
        if isinstance(v := getattr(s, name), str)
    }
    assert words - told == set()


# --- nothing is dropped silently

_SILENT: list[tuple[str, type, str, str]] = [
    ("openai", TextPart, "citations", "its history has no place for sources, and nothing is asked by them"),
    ("openai", Citation, "url title text start end document_index file_id provider native", "as above"),
    (
        "openai",
        ReasoningPart,
        "text signature redacted provider issuer",
        "a warning tells of the part, which is left out whole",
    ),
    ("openai", EmbeddingRequest, "output_dtype", "floats are what it makes in any case"),
    ("openai", AudioPart, "transcript expires_at", "its id stands for a spoken answer"),
    ("openai", OpaquePart, "issuer", "as above"),
    *(
        (dialect, cls, "provider issuer", "say whose signature it is, which is left out")
        for dialect in ("openai", "anthropic")
        for cls in (TextPart, ImagePart)
    ),
    ("openai", Issuer, "address key region model", "as above"),
    ("openai", ToolCall, "provider issuer", "say whose state it is, which means nothing here"),
    ("openai", CacheMark, "ttl", "what is not left out lives as long as prompt_cache_options says"),
    *(
        ("anthropic", cls, "issuer", "the provider's name tells the same")
        for cls in (ReasoningPart, OpaquePart, ToolCall)
    ),
    *(
        (dialect, cls, "provider issuer", "say whose signature it is, and a warning tells that it is left out")
        for dialect in ("openai", "anthropic")
        for cls in (TextPart, ImagePart)
    ),
    ("anthropic", ToolCall, "provider", "its issuer tells the same"),
    ("anthropic", Issuer, "address key region model", "a codec alone does not know where it is"),
    ("anthropic", ChatRequest, "n modalities", "what it does in any case is nothing to ask for"),
    ("anthropic", ResponseFormat, "name strict", "its formats have no name and are strict"),
    ("anthropic", ProviderTool, "provider", "says whom the words are for"),
    ("anthropic", AudioPart, "data format id expires_at", "a warning tells that the sound is left out"),
    ("anthropic", Citation, "url title text start end document_index file_id", "the provider's own object is sent"),
]
SILENT = {(dialect, cls, name) for dialect, cls, names, _ in _SILENT for name in names.split()}


def test_everything_said_shows_in_the_request_or_in_a_warning() -> None:
    """Without a field the request is another one, or its warnings are: for each field in some row."""
    told: set[tuple[str, type, str]] = set()
    shown: set[tuple[str, type, str]] = set()
    for meaning, dialect in ROWS:
        whole = outcome(meaning, dialect, meaning.request)
        for cls, name, less in lessened(meaning.request):
            told.add((dialect, cls, name))
            if outcome(meaning, dialect, less) != whole:
                shown.add((dialect, cls, name))
    assert told - shown == SILENT


def lessened(value: Any) -> Iterator[tuple[type, str, Any]]:
    """A request with one field after the other taken back to its default, however deep it stands."""
    match value:
        case msgspec.Struct():
            for info in msgspec.structs.fields(value):
                held = getattr(value, info.name)
                if not info.required and says(value, info):
                    yield type(value), info.name, msgspec.structs.replace(value, **{info.name: default_of(info)})
                for cls, name, less in lessened(held):
                    yield cls, name, msgspec.structs.replace(value, **{info.name: less})
        case list():
            for place, inner in enumerate(value):
                for cls, name, less in lessened(inner):
                    yield cls, name, [*value[:place], less, *value[place + 1 :]]
        case _:
            pass


def outcome(meaning: Meaning, dialect: str, request: Any) -> Any:
    try:
        sent, warnings = build(meaning, dialect, request)
    except InvalidRequestError as error:
        return error.message
    return sent.path, sent.headers, sent.body, warnings


def build(meaning: Meaning, dialect: str, request: Any) -> tuple[HttpRequest, list[str]]:
    codec = CATALOG[dialect].codecs[ENDPOINTS[type(request)]]
    built = codec.build(request, Target(provider=dialect, model=MODEL, stream=meaning.stream))
    return built.request, built.warnings
