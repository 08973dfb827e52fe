"""Calls with `output=`, from the client to the wire and back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from bifrost import (
    ChatRequest,
    InvalidRequestError,
    Key,
    OutputType,
    OutputValidationError,
    ParsedResponse,
    Reasoning,
    ServerError,
    StaticAccount,
    StreamInterruptedError,
    Tool,
    Usage,
    UsageError,
)
from bifrost.providers.catalog import CATALOG
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport, fake_key, no_waits
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import MODEL, OTHER, Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost import Bifrost

pytestmark = pytest.mark.anyio


class Point(msgspec.Struct):
    y: int
    x: int


class Model(pydantic.BaseModel):
    y: int
    x: int


@attrs.define
class Place:
    y: int
    x: int


@dataclass
class Corner:
    y: int
    x: int


class Pair(TypedDict):
    y: int
    x: int


KINDS: list[tuple[Any, Any]] = [
    (Point, Point(2, 1)),
    (Model, Model(y=2, x=1)),
    (Place, Place(2, 1)),
    (Corner, Corner(2, 1)),
    (Pair, {"y": 2, "x": 1}),
]
"""Types of every kind, and what they make of `JSON`."""

JSON = '{"y": 2, "x": 1}'
WRONG = '{"y": 2, "x": "1"}'
ANSWER = ("final_answer", JSON)


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with no_waits():
        yield


def client_of(mock: MockTransport, mode: str = "native", **options: Any) -> Bifrost:
    """A client of OpenAI and Anthropic, and of `third/m`, which knows only this mode of structured output."""
    third = attrs.evolve(CATALOG["openai"], name="third", base_url="https://third.example/v1", structured=(mode,))
    keys = {name: [Key(name=name, value=fake_key(name))] for name in ("openai", "anthropic", "third")}
    return mock.client(StaticAccount(keys=keys, providers=[third]), **options)


def reply(mock: MockTransport, mode: str, text: str = JSON, **more: Any) -> None:
    if mode == "tool":
        mock.reply(tool_calls=[("final_answer", text)], **more)
    else:
        mock.reply(text, **more)


MODES = ["native", "native_closed", "tool", "json_object", "prompt"]


# --- plain


@pytest.mark.parametrize("mode", MODES)
async def test_the_answer_is_parsed_whichever_way_it_was_asked_for(mock: MockTransport, mode: str) -> None:
    reply(mock, mode)
    async with client_of(mock, mode) as client:
        answer = await client.chat("third/m", "Where?", output=Point)

    assert isinstance(answer, ParsedResponse)
    assert answer.parsed == Point(2, 1)
    assert answer.text == JSON
    assert (answer.finish_reason, answer.tool_calls) == ("stop", [])
    sent = mock.calls[0].json
    assert ("tools" in sent) == (mode == "tool")
    assert sent.get("response_format", {}).get("type") == (
        "json_schema" if "native" in mode else "json_object" if mode == "json_object" else None
    )
    assert bool(answer.warnings) == (mode not in ("native", "native_closed"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "value"), KINDS, ids=str)
async def test_every_kind_of_type_comes_back_in_every_way(
    mock: MockTransport, mode: str, kind: Any, value: Any
) -> None:
    reply(mock, mode)
    reply(mock, mode)
    async with client_of(mock, mode) as client:
        assert (await client.chat("third/m", "Where?", output=kind)).parsed == value
        opening: Any = client.stream_chat("third/m", "Where?", output=kind)
        async with opening as stream:
            parts = [part async for part in stream.partial_stream]
            assert (await stream.final()).parsed == value
    assert parts[-1] == {"y": 2, "x": 1}
    assert re.search(r"properties\W+y\W.*\Wx\W", json.dumps(mock.calls[0].json))


@pytest.mark.parametrize("model", [MODEL, OTHER])
@pytest.mark.parametrize("kind", [Point, Model])
async def test_the_catalogs_providers_are_asked_natively(mock: MockTransport, model: str, kind: type[Any]) -> None:
    mock.reply(JSON)
    async with client_of(mock) as client:
        answer = await client.chat(model, "Where?", output=kind)

    assert answer.parsed == kind(y=2, x=1)
    assert "tools" not in mock.calls[0].json
    assert json.dumps(mock.calls[0].json).count('"additionalProperties": false') == 1


async def test_anthropic_is_asked_through_a_tool_for_what_its_strict_mode_refuses(mock: MockTransport) -> None:
    mock.reply(tool_calls=[("final_answer", '{"a": 1}')])
    async with client_of(mock) as client:
        answer = await client.chat(OTHER, "Where?", output=dict[str, int])

    assert answer.parsed == {"a": 1}
    assert mock.calls[0].json["tool_choice"] == {"type": "tool", "name": "final_answer"}


@pytest.mark.parametrize(
    ("count", "kind", "native"), [(24, int, True), (25, int, False), (16, int | None, True), (17, int | None, False)]
)
async def test_anthropic_is_asked_natively_as_far_as_its_grammar_goes(
    mock: MockTransport, count: int, kind: Any, native: bool
) -> None:
    fields: Any = [(f"k{number}", kind, 0) if kind is int else (f"k{number}", kind) for number in range(count)]
    wide = msgspec.defstruct("Wide", fields)
    text = json.dumps({f"k{number}": 1 for number in range(count)})
    mock.reply(text) if native else mock.reply(tool_calls=[("final_answer", text)])
    async with client_of(mock) as client:
        await client.chat(OTHER, "?", output=wide)

    assert ("tools" in mock.calls[0].json) is not native


async def test_openai_is_asked_without_strict_mode_for_more_than_it_takes(mock: MockTransport) -> None:
    mock.reply('{"value": "v1"}')
    many = Literal[tuple(f"v{number}" for number in range(1001))]
    async with client_of(mock) as client:
        answer: Any = await client.chat(MODEL, "?", output=many)

    assert answer.parsed == "v1"
    assert "strict" not in mock.calls[0].json["response_format"]["json_schema"]
    assert answer.warnings == [
        "output: checked here only: strict mode is off, since it has 1,001 values in enumerations, of 1,000 at most"
    ]


class Card(pydantic.BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Cash(pydantic.BaseModel):
    kind: Literal["cash"] = "cash"


class Payment(pydantic.BaseModel):
    way: Annotated[Card | Cash, pydantic.Field(discriminator="kind")]
    note: str | None = None


@pytest.mark.parametrize("mode", MODES)
async def test_the_kinds_of_a_union_are_told_apart_by_a_key_that_must_be_given(mock: MockTransport, mode: str) -> None:
    reply(mock, mode, '{"way": {"kind": "cash"}, "note": null}')
    output = OutputType(Payment, require_all=True)
    async with client_of(mock, mode) as client:
        answer = await client.chat("third/m", "?", output=output)

    assert answer.parsed == Payment(way=Cash())
    sent = mock.calls[0].json
    if mode == "native":
        form = sent["response_format"]["json_schema"]
        assert form["strict"] is True
        assert form["schema"]["required"] == ["way", "note"]
        assert [kind["required"] for kind in form["schema"]["$defs"].values()] == [["kind", "number"], ["kind"]]
    assert len(re.findall(r"required\W+kind\W", json.dumps(sent))) == 2
    assert output.decode('{"way": {"kind": "cash"}}').note is None


async def test_anthropic_is_asked_in_words_where_it_is_to_think_as_well(mock: MockTransport) -> None:
    mock.reply('```json\n{"a": 1}\n```')
    async with client_of(mock) as client:
        answer = await client.chat(OTHER, "?", output=dict[str, int], reasoning=Reasoning(max_tokens=2000))

    assert answer.parsed == {"a": 1}
    assert "JSON schema" in mock.calls[0].json["system"]


async def test_a_ready_output_type_is_taken(mock: MockTransport) -> None:
    mock.reply('{"value": [1]}')
    output = OutputType(list[int])
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?", output=output)

    assert answer.parsed == [1]


async def test_tools_are_run_first(mock: MockTransport) -> None:
    mock.reply(tool_calls=[("look", "{}")]).then.reply(tool_calls=[ANSWER])
    tools = [Tool(name="look")]
    async with client_of(mock, "tool") as client:
        first = await client.chat("third/m", "?", tools=tools, output=Point)
        second = await client.chat("third/m", "?", tools=tools, output=Point)

    nothing: Any = first.parsed
    assert nothing is None
    assert [call.name for call in first.tool_calls] == ["look"]
    assert second.parsed == Point(2, 1)
    assert [call.json["tool_choice"] for call in mock.calls] == ["required", "required"]


async def test_plugins_see_the_type_in_the_request_and_the_answer_read(mock: MockTransport) -> None:
    mock.reply(tool_calls=[ANSWER])
    log: list[str] = []
    watcher = Recorder(log)
    async with client_of(mock, "tool", plugins=[watcher]) as client:
        await client.chat("third/m", "?", output=Point)

    for hook in ("before_call", "before"):
        (request,) = watcher.seen[hook]
        assert isinstance(request, ChatRequest)
        assert request.response_format is not None
        assert request.response_format.name == "Point"
    assert [outcome.parsed for outcome in (*watcher.seen["after"], *watcher.seen["after_call"])] == [Point(2, 1)] * 2
    assert_paired(log)


async def test_an_answer_of_a_plugin_is_read_too(mock: MockTransport) -> None:
    mock.reply(JSON)
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?")
        await client.add_plugin(Recorder([], before=lambda _call, _request: answer))
        read = await client.chat(MODEL, "?", output=Point)

    assert read.parsed == Point(2, 1)
    assert len(mock.calls) == 1


async def test_an_answer_that_a_plugin_recovers_with_is_read_too(mock: MockTransport) -> None:
    mock.reply(JSON).then.fail(400)
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?")
        await client.add_plugin(Recorder([], after=lambda _call, _outcome: answer))
        read = await client.chat(MODEL, "?", output=Point)

    assert read.parsed == Point(2, 1)


# --- what does not fit


async def test_an_answer_that_does_not_fit_is_an_error(mock: MockTransport) -> None:
    mock.reply(WRONG, usage=(7, 3))
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError, match=r"\$\.x: expected int, got str") as caught:
            await client.chat(MODEL, "?", output=Point)

    error = caught.value
    assert error.output == WRONG
    assert error.usage == Usage(input_tokens=7, output_tokens=3)
    assert error.provider == "openai"
    assert [(each.status, each.category) for each in error.attempts] == [(200, "unfit")]
    assert "$.x: expected int" in (error.attempts[0].error or "")
    mock.assert_done()


@pytest.mark.parametrize("mode", MODES)
async def test_a_model_is_told_and_asked_again(mock: MockTransport, mode: str) -> None:
    reply(mock, mode, WRONG, usage=(7, 3))
    reply(mock, mode, '{"y": 2}', usage=(9, 4))
    reply(mock, mode, JSON, usage=(11, 5))
    async with client_of(mock, mode) as client:
        answer = await client.chat("third/m", "?", output=Point, max_output_retries=2)

    assert answer.parsed == Point(2, 1)
    assert answer.usage == Usage(input_tokens=27, output_tokens=12)
    assert [each.category for each in answer.attempts] == ["unfit", "unfit", None]
    told = [message["content"] for message in mock.calls[2].json["messages"] if message["role"] != "system"]
    assert told[1] == WRONG
    assert "$.x: expected int, got str" in told[2]
    assert "missing required field x" in told[4]


async def test_asking_again_is_bounded_and_its_tokens_are_counted(mock: MockTransport) -> None:
    mock.reply(WRONG, usage=(7, 3)).times(3)
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError) as caught:
            await client.chat(MODEL, "?", output=Point, max_output_retries=2)

    assert caught.value.usage == Usage(input_tokens=21, output_tokens=9)
    assert len(caught.value.attempts) == 3
    mock.assert_done()


async def test_the_hooks_around_a_candidate_run_once_however_often_it_is_asked(mock: MockTransport) -> None:
    mock.reply(WRONG, usage=(7, 3)).then.reply(JSON, usage=(9, 4))
    log: list[str] = []
    watcher = Recorder(log)
    async with client_of(mock, plugins=[watcher]) as client:
        await client.chat(MODEL, "?", output=Point, max_output_retries=1)

    assert log.count("a.before") == log.count("a.after") == 1
    assert watcher.seen["after"][0].usage == Usage(input_tokens=16, output_tokens=7)


async def test_a_retry_inside_of_an_asking_is_no_asking(mock: MockTransport) -> None:
    mock.fail(500).then.reply(WRONG).then.fail(500).then.reply(JSON)
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?", output=Point, max_output_retries=1)

    assert [each.category for each in answer.attempts] == ["transient", "unfit", "transient", None]


async def test_another_model_may_do_better(mock: MockTransport) -> None:
    mock.reply(WRONG).then.reply(JSON)
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?", output=Point, fallbacks=[OTHER])

    assert (answer.parsed, answer.provider) == (Point(2, 1), "anthropic")
    assert len(mock.calls[1].json["messages"]) == 1


async def test_what_was_cut_off_is_not_asked_for_again(mock: MockTransport) -> None:
    mock.reply('{"y": 2', finish_reason="length")
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError, match="raise max_tokens"):
            await client.chat(MODEL, "?", output=Point, max_output_retries=3)

    assert len(mock.calls) == 1


async def test_an_asking_that_fails_otherwise_fails_so(mock: MockTransport) -> None:
    mock.reply(WRONG).then.fail(500).always()
    async with client_of(mock) as client:
        with pytest.raises(ServerError):
            await client.chat(MODEL, "?", output=Point, max_output_retries=1)


# --- streams


@pytest.mark.parametrize("mode", MODES)
async def test_a_stream_gives_parts_and_the_whole(mock: MockTransport, mode: str) -> None:
    text = '{"value": ["one two", "three"]}'
    reply(mock, mode, text)
    async with client_of(mock, mode) as client, client.stream_chat("third/m", "?", output=list[str]) as stream:
        parts = [part async for part in stream.partial_stream]
        answer = await stream.final()

    assert answer.parsed == ["one two", "three"]
    assert answer.text == text
    assert parts[-1] == answer.parsed
    assert len(parts) >= (1 if mode == "tool" else 3)
    assert all(len(part) <= 2 for part in parts)


async def test_the_same_stream_as_text_and_chunks(mock: MockTransport) -> None:
    mock.reply(tool_calls=[ANSWER])
    async with client_of(mock, "tool") as client, client.stream_chat("third/m", "?", output=Point) as stream:
        texts = [text async for text in stream.text_stream]
        answer = await stream.final()

    assert "".join(texts) == JSON
    assert answer.parsed == Point(2, 1)


async def test_words_before_the_json_are_passed_over(mock: MockTransport) -> None:
    mock.stream(["Here it ", "is:\n```json\n", '{"y"', ": 2, ", '"x": 1}', "\n```\n", "Bye {}."])
    async with client_of(mock, "prompt") as client, client.stream_chat("third/m", "?", output=Point) as stream:
        parts = [part async for part in stream.partial_stream]

    assert parts == [{}, {"y": 2}, {"y": 2, "x": 1}]


@pytest.mark.parametrize("mode", MODES)
async def test_a_stream_gives_the_json_alone_whatever_stands_around_it(mock: MockTransport, mode: str) -> None:
    pieces = [
        "<thi",
        "nk>Is it {",
        "y}?</think",
        ">\n\n```js",
        "on\n",
        '{"y"',
        ": 2, ",
        '"x": 1}',
        "\n```\n",
        "Bye {}.",
    ]
    mock.stream(pieces).times(3)
    async with client_of(mock, mode) as client:
        async with client.stream_chat("third/m", "?", output=Point) as stream:
            parts = [part async for part in stream.partial_stream]
            answer = await stream.final()
        async with client.stream_chat("third/m", "?", output=Point) as stream:
            assert "".join([text async for text in stream.text_stream]) == JSON
        plain = await client.chat("third/m", "?", output=Point)

    assert parts == [{}, {"y": 2}, {"y": 2, "x": 1}]
    assert (answer.text, answer.parsed, answer.reasoning) == (JSON, Point(2, 1), "Is it {y}?")
    assert (plain.text, plain.parsed, plain.reasoning) == (JSON, Point(2, 1), "Is it {y}?")


async def test_a_stream_that_takes_words_for_the_answer_is_put_right_at_its_end(mock: MockTransport) -> None:
    pieces = ['Not {"y": 1} but ', JSON, "."]
    mock.stream(pieces)
    async with client_of(mock, "prompt") as client, client.stream_chat("third/m", "?", output=Point) as stream:
        answer = await stream.final()

    assert (answer.text, answer.parsed) == (JSON, Point(2, 1))


async def test_a_streams_words_without_json_are_its_text(mock: MockTransport) -> None:
    mock.stream(["I would ", "rather <not>."]).times(2)
    async with client_of(mock) as client:
        async with client.stream_chat(MODEL, "?", output=Point) as stream:
            texts: list[str] = []
            with pytest.raises(OutputValidationError, match="it is not JSON") as caught:  # noqa: PT012 - a loop's end
                async for text in stream.text_stream:
                    texts.append(text)  # noqa: PERF401 - the loop ends with an error
        with pytest.raises(OutputValidationError):
            await client.chat(MODEL, "?", output=Point)

    assert "".join(texts) == caught.value.output == "I would rather <not>."


async def test_a_stream_of_a_plugin_is_made_plain_too(mock: MockTransport) -> None:
    mock.reply(f"```\n{JSON}\n```")
    async with client_of(mock) as client:
        answer = await client.chat(MODEL, "?")
        await client.add_plugin(Recorder([], before=lambda _call, _request: answer))
        async with client.stream_chat(MODEL, "?", output=Point) as stream:
            texts = [text async for text in stream.text_stream]
            read = await stream.final()

    assert "".join(texts) == JSON
    assert read.parsed == Point(2, 1)


async def test_words_before_a_call_of_another_tool_are_kept(mock: MockTransport) -> None:
    mock.reply("I look.", tool_calls=[("look", "{}")])
    tools = [Tool(name="look")]
    async with (
        client_of(mock, "tool") as client,
        client.stream_chat("third/m", "?", output=Point, tools=tools) as stream,
    ):
        answer = await stream.final()

    assert (answer.text, [call.name for call in answer.tool_calls]) == ("I look.", ["look"])


async def test_explain_warns_as_the_call_does(mock: MockTransport) -> None:
    for mode, kind in (("native", dict[str, int]), ("tool", Point), ("prompt", Point)):
        mock.reply(tool_calls=[ANSWER]) if mode == "tool" else mock.reply('{"y": 2, "x": 1}')
        async with client_of(mock, mode) as client:
            told = await client.explain("third/m", "?", output=kind)
            answer = await client.chat("third/m", "?", output=kind)

        assert told.candidates[0].warnings == answer.warnings
        assert answer.warnings


async def test_a_stream_that_does_not_fit_says_so_at_its_end(mock: MockTransport) -> None:
    mock.reply(WRONG)
    log: list[str] = []
    async with client_of(mock, plugins=[Recorder(log)]) as client:
        parts: list[Any] = []
        with pytest.raises(OutputValidationError, match=r"\$\.x: expected int"):  # noqa: PT012 - the end of a loop
            async with client.stream_chat(MODEL, "?", output=Point) as stream:
                async for part in stream.partial_stream:
                    parts.append(part)  # noqa: PERF401 - the loop ends with an error

    assert parts[-1] == {"y": 2, "x": "1"}
    assert len(mock.calls) == 1
    assert_paired(log)


async def test_a_stream_that_is_cut_is_cut_and_not_unfit(mock: MockTransport) -> None:
    mock.reply('{"y": 2, "x": 1 }').cut(after_events=2)
    async with client_of(mock) as client:
        with pytest.raises(StreamInterruptedError):  # noqa: PT012 - the end of a loop
            async with client.stream_chat(MODEL, "?", output=Point) as stream:
                async for _part in stream.partial_stream:
                    pass


async def test_a_stream_that_is_left_early_is_not_read(mock: MockTransport) -> None:
    mock.reply(JSON)
    log: list[str] = []
    watcher = Recorder(log)
    async with client_of(mock, plugins=[watcher]) as client, client.stream_chat(MODEL, "?", output=Point) as stream:
        async for _part in stream.partial_stream:
            break

    (outcome,) = watcher.seen["after_call"]
    assert not isinstance(outcome, ParsedResponse)
    assert not isinstance(outcome, Exception)


# --- arguments


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"output": object}, "type <class 'object'> is not supported"),
        ({"output": Point, "response_format": {"type": "json_object"}}, "pass output= or response_format, not both"),
        ({"max_output_retries": 1}, "max_output_retries needs a type"),
        ({"output": Point, "max_output_retries": -1}, "0 or more, not -1"),
    ],
)
async def test_wrong_arguments_are_refused(mock: MockTransport, options: dict[str, Any], says: str) -> None:
    async with client_of(mock) as client:
        with pytest.raises(InvalidRequestError, match=says):
            await client.chat(MODEL, "?", **options)
    assert not mock.calls


async def test_a_failure_of_the_types_own_code_ends_the_call(mock: MockTransport) -> None:
    @attrs.define
    class Wrong:
        y: int
        x: int

        def __attrs_post_init__(self) -> None:
            raise KeyError("x")

    mock.reply(JSON)
    log: list[str] = []
    async with client_of(mock, plugins=[Recorder(log)]) as client:
        with pytest.raises(UsageError, match="the code of Wrong failed with KeyError"):
            await client.chat(MODEL, "?", output=Wrong, fallbacks=[OTHER])

    assert_paired(log)


async def test_a_failure_of_the_types_own_code_ends_a_stream_and_frees_its_place(mock: MockTransport) -> None:
    @attrs.define
    class Wrong:
        y: int
        x: int

        def __attrs_post_init__(self) -> None:
            raise KeyError("x")

    mock.stream([JSON])
    log: list[str] = []
    recorder = Recorder(log)
    async with client_of(mock, plugins=[recorder]) as client:
        with pytest.raises(UsageError, match="the code of Wrong failed with KeyError") as caught:
            async with client.stream_chat(MODEL, "?", output=Wrong) as stream:
                await stream.final()
        assert recorder.seen["after_call"] == [caught.value]
        assert (caught.value.provider, caught.value.model) == ("openai", "gpt-4o-mini")
        await until(lambda: is_quiet(client))

    assert_paired(log)


async def test_copies_of_a_client_share_what_was_made_of_a_type(mock: MockTransport) -> None:
    mock.reply(JSON).times(2)
    async with client_of(mock) as client:
        await client.chat(MODEL, "?", output=Point)
        await client.with_options(timeout=5).chat(MODEL, "?", output=Point)

    first, second = (call.request.response_format.schema for call in mock.calls)
    assert first is second


def test_without_await(mock: MockTransport) -> None:
    mock.reply(WRONG).then.reply(JSON).then.reply(JSON)
    keys = {"openai": [Key(name="k", value=fake_key("k"))]}
    with SyncBifrost(StaticAccount(keys=keys), transport=mock) as client:
        assert client.chat(MODEL, "?", output=Point, max_output_retries=1).parsed == Point(2, 1)
        with client.stream_chat(MODEL, "?", output=Point) as stream:
            parts = list(stream.partial_stream)
            assert stream.final().parsed == Point(2, 1)
    assert parts[-1] == {"y": 2, "x": 1}
