"""What we read in a recorded answer is what the vendor's own SDK reads in it, its stream accumulators included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

from bifrost.operations.chat.response import ChatResponse
from tests.providers.golden_cases import Case, cases, drive
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthropic.types.beta import BetaMessage
    from openai.types.chat import ChatCompletion

    from bifrost.operations.chat.messages import AssistantMessage

GOOD = [case for case in cases() if case.answer.status == 200]
OPENAI = [case for case in GOOD if case.id.startswith("openai/chat/")]
ANTHROPIC = [case for case in GOOD if case.id.startswith("anthropic/chat/")]
EMBEDDINGS = [case for case in GOOD if case.id.startswith("openai/embeddings/")]

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

# Its accumulator takes the last chunk's usage, and in this stream a verdict of the moderation follows the usage.
USAGE_LOST = "openai/chat/stream-openai-moderation-stream-0"

# An answer of the time before tools: the one call is shown as a tool call here, which its SDK does not do.
OF_OLD = "openai/chat/open-ai-function-calls-0"


class Replay:
    """The SDKs' clients, answered with a recording."""

    def __init__(self) -> None:
        self._case: Case | None = None
        transport = httpx2.MockTransport(self._answer)
        self.openai = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()

    def completion(self, case: Case) -> ChatCompletion:
        self._case = case
        if not case.is_stream:
            return self.openai.chat.completions.create(**ASKED)
        with self.openai.chat.completions.stream(**ASKED) as stream:
            return stream.get_final_completion()

    def message(self, case: Case) -> BetaMessage:
        self._case = case
        if not case.is_stream:
            return self.anthropic.beta.messages.create(**ASKED, max_tokens=1)
        with self.anthropic.beta.messages.stream(**ASKED, max_tokens=1) as stream:
            return stream.get_final_message()

    def vectors(self, case: Case) -> openai.types.CreateEmbeddingResponse:
        self._case = case
        return self.openai.embeddings.create(model="m", input="x")

    def _answer(self, _request: httpx2.Request) -> httpx2.Response:
        assert self._case is not None
        kind = "text/event-stream" if self._case.is_stream else "application/json"
        return httpx2.Response(200, headers={"content-type": kind}, content=self._case.body)


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    both = Replay()
    yield both
    both.close()


def by_id(case: Case) -> str:
    return case.id


def read(case: Case) -> ChatResponse:
    if case.is_stream:
        return drive(case, [case.body]).accumulator.response()
    return case.codec.parse(case.answer, case.target)


def calls_of(message: AssistantMessage) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in message.tool_calls or ()]


def test_there_are_recordings_of_each_kind() -> None:
    for recorded in (OPENAI, ANTHROPIC):
        assert {case.is_stream for case in recorded} == {True, False}
    assert EMBEDDINGS


# --- OpenAI's


@table("case", OPENAI, ids=by_id)
def test_openais_sdk_reads_the_same_words(case: Case, replay: Replay) -> None:
    theirs, ours = replay.completion(case), read(case)
    assert (ours.id, ours.model, ours.created) == (theirs.id, theirs.model, theirs.created)
    assert (ours.service_tier, ours.system_fingerprint or "") == (theirs.service_tier, theirs.system_fingerprint or "")
    for our, their in zip(ours.choices, theirs.choices, strict=True):
        assert our.index == their.index
        assert our.message.text == (their.message.content or "")
        assert our.message.refusal == their.message.refusal
        cited = [note.url_citation for note in their.message.annotations or ()]
        assert [(c.url, c.title, c.start, c.end) for c in our.message.citations] == [
            (c.url, c.title, c.start_index, c.end_index) for c in cited
        ]


@table("case", [case for case in OPENAI if case.id != OF_OLD], ids=by_id)
def test_openais_sdk_reads_the_same_calls_and_endings(case: Case, replay: Replay) -> None:
    for our, their in zip(read(case).choices, replay.completion(case).choices, strict=True):
        assert calls_of(our.message) == [
            (call.id, call.function.name, call.function.arguments)
            for call in their.message.tool_calls or ()
            if call.type == "function"
        ]
        assert our.finish_reason == our.native_finish_reason == their.finish_reason


def test_a_function_call_of_old_is_a_tool_call(replay: Replay) -> None:
    [case] = [case for case in OPENAI if case.id == OF_OLD]
    [our], [their] = read(case).choices, replay.completion(case).choices
    assert their.message.function_call is not None
    function = their.message.function_call
    assert [call[1:] for call in calls_of(our.message)] == [(function.name, function.arguments)]
    assert (our.finish_reason, our.native_finish_reason) == ("tool_calls", their.finish_reason)


@table("case", [case for case in OPENAI if case.id != USAGE_LOST], ids=by_id)
def test_openais_sdk_reads_the_same_usage(case: Case, replay: Replay) -> None:
    theirs, ours = replay.completion(case).usage, read(case).usage
    if theirs is None or not ours:
        assert not theirs
        assert not ours
        return
    assert ours.prompt_tokens == theirs.prompt_tokens
    assert ours.completion_tokens == theirs.completion_tokens
    assert ours.total_tokens == theirs.total_tokens
    given, made = theirs.prompt_tokens_details, theirs.completion_tokens_details
    for name in ("cached_tokens", "audio_tokens"):
        assert getattr(ours.prompt_tokens_details, name) == (getattr(given, name, None) or 0)
    for name in ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"):
        assert getattr(ours.completion_tokens_details, name) == (getattr(made, name, None) or 0)


def test_a_usage_that_openais_sdk_loses_is_kept(replay: Replay) -> None:
    [case] = [case for case in OPENAI if case.id == USAGE_LOST]
    assert replay.completion(case).usage is None
    usage = read(case).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (13, 11)


@pytest.mark.parametrize("case", EMBEDDINGS, ids=by_id)
def test_openais_sdk_reads_the_same_vectors(case: Case, replay: Replay) -> None:
    theirs, ours = replay.vectors(case), case.codec.parse(case.answer, case.target)
    assert ours.model == theirs.model
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    assert ours.usage.total_tokens == theirs.usage.total_tokens
    for our, their in zip(ours.data, theirs.data, strict=True):
        assert (our.index, our.object) == (their.index, their.object)
        assert our.embedding == pytest.approx(their.embedding, rel=0, abs=0)


# --- Anthropic's


@table("case", ANTHROPIC, ids=by_id)
def test_anthropics_sdk_reads_the_same_words(case: Case, replay: Replay) -> None:
    theirs, ours = replay.message(case), read(case)
    assert (ours.id, ours.model) == (theirs.id, theirs.model)
    assert ours.text == "".join(block.text for block in theirs.content if block.type == "text")
    thought = "".join(block.thinking for block in theirs.content if block.type == "thinking")
    assert (ours.reasoning or "") == thought
    cited = [note for block in theirs.content if block.type == "text" for note in block.citations or ()]
    assert [citation.text for citation in ours.message.citations] == [note.cited_text for note in cited]


@table("case", ANTHROPIC, ids=by_id)
def test_anthropics_sdk_reads_the_same_calls_and_endings(case: Case, replay: Replay) -> None:
    theirs, ours = replay.message(case), read(case)
    assert [(call.id, call.name, call.parse_arguments()) for call in ours.tool_calls] == [
        (block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"
    ]
    known = {"text", "thinking", "redacted_thinking", "tool_use"}
    assert [part.kind for part in ours.message.opaque] == [
        block.type for block in theirs.content if block.type not in known
    ]
    assert ours.choices[0].native_finish_reason == theirs.stop_reason
    assert ours.choices[0].stop_sequence == theirs.stop_sequence


@table("case", ANTHROPIC, ids=by_id)
def test_anthropics_sdk_reads_the_same_usage(case: Case, replay: Replay) -> None:
    """By Anthropic's count the cache stands beside the input; by ours it is a part of it."""
    theirs, ours = replay.message(case).usage, read(case).usage
    assert ours is not None
    read_from, written = theirs.cache_read_input_tokens or 0, theirs.cache_creation_input_tokens or 0
    assert (ours.uncached_tokens, ours.cache_read_tokens, ours.cache_write_tokens) == (
        theirs.input_tokens,
        read_from,
        written,
    )
    assert ours.input_tokens == theirs.input_tokens + read_from + written
    assert ours.output_tokens == theirs.output_tokens
    tools = theirs.server_tool_use.to_dict() if theirs.server_tool_use else {}
    assert ours.server_tool_calls == sum(count for count in tools.values() if isinstance(count, int))
