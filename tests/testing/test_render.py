"""What the test providers write is read by the vendors' own SDKs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic.types
import openai.types
import openai.types.chat
import openai.types.create_embedding_response
import openai.types.shared
import pytest

from bifrost import RateLimitError
from bifrost.operations.chat.content import ToolCall
from bifrost.operations.usage import Usage
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, render_anthropic, render_cohere, render_gemini, render_openai
from bifrost.testing.calls import MockCall
from bifrost.testing.dialect import Dialect, Reply, words
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpRequest, HttpResponse
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLY = Reply(
    pieces=("Hello", " there"),
    reasoning="A greeting is due.",
    tool_calls=(ToolCall(id="call_1", name="wave", arguments='{"hands":2}'),),
    usage=Usage(input_tokens=30, output_tokens=7, cache_read_tokens=10, cache_write_tokens=5, reasoning_tokens=3),
)


def a_call(path: str, **body: Any) -> MockCall:
    return MockCall(
        index=4,
        provider="any",
        endpoint="chat",
        model="some-model",
        stream=bool(body.get("stream")),
        has_key=True,
        key=None,
        connection=1,
        http=HttpRequest(method="POST", path=path),
        json=body,
    )


def data_of(events: Sequence[bytes]) -> list[Any]:
    lines = b"".join(events).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def test_openai_chat_is_read_by_its_sdk() -> None:
    body = render_openai.DIALECT.chat(REPLY, a_call("/v1/chat/completions"))

    answer = openai.types.chat.ChatCompletion.model_validate_json(body, strict=True)

    (choice,) = answer.choices
    assert (answer.model, choice.message.content, choice.finish_reason) == ("some-model", "Hello there", "tool_calls")
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].to_dict() == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "wave", "arguments": '{"hands":2}'},
    }
    assert choice.message.to_dict()["reasoning_content"] == "A greeting is due."
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (30, 7, 37)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 10


def test_openai_stream_is_read_by_its_sdk() -> None:
    call = a_call("/v1/chat/completions", stream=True, stream_options={"include_usage": True})

    events = [event.data for event in render_openai.DIALECT.chat_stream(REPLY, call)]

    chunks = [openai.types.chat.ChatCompletionChunk.model_validate(data) for data in data_of(events)]
    assert events[-1] == b"data: [DONE]\n\n"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello there"
    calls = [piece for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or ()]
    assert [(piece.id, piece.function and piece.function.arguments) for piece in calls] == [
        ("call_1", ""),
        (None, '{"hands":2}'),
    ]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 37


def test_openai_stream_has_no_usage_unless_asked_for() -> None:
    events = render_openai.DIALECT.chat_stream(REPLY, a_call("/v1/chat/completions", stream=True))
    assert not any("usage" in data for data in data_of([event.data for event in events]))


@pytest.mark.parametrize("coding", ["float", "base64"])
def test_openai_embeddings_are_in_the_form_that_was_asked_for(coding: str) -> None:
    assert render_openai.DIALECT.embeddings is not None
    call = a_call("/v1/embeddings", encoding_format=coding)

    body = render_openai.DIALECT.embeddings([[0.5, -1.25]], Usage(input_tokens=3), call)

    answer = json.loads(body)
    assert answer["data"][0]["embedding"] == ([0.5, -1.25] if coding == "float" else "AAAAPwAAoL8=")
    assert openai.types.create_embedding_response.Usage.model_validate(answer["usage"]).total_tokens == 3


def test_model_lists_are_read_by_the_sdks() -> None:
    ours = openai.types.Model.model_validate(json.loads(render_openai.DIALECT.models(["a", "b"]))["data"][1])
    page = json.loads(render_anthropic.DIALECT.models(["a", "b"]))
    theirs = anthropic.types.ModelInfo.model_validate(page["data"][1])
    assert (ours.id, theirs.id, page["last_id"], page["has_more"]) == ("b", "b", "b", False)


def test_anthropic_message_is_read_by_its_sdk() -> None:
    body = render_anthropic.DIALECT.chat(REPLY, a_call("/v1/messages"))

    message = anthropic.types.Message.model_validate_json(body)

    thinking, text, call = message.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert text.type == "text"
    assert text.text == "Hello there"
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("wave", {"hands": 2})
    assert message.stop_reason == "tool_use"
    # Anthropic counts what it read from and wrote to its cache beside the other input, not within it.
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (15, 10, 5)


def test_anthropic_stream_is_read_by_its_sdk() -> None:
    events = [event.data for event in render_anthropic.DIALECT.chat_stream(REPLY, a_call("/v1/messages", stream=True))]

    kinds = [event.split(b"\n")[0].removeprefix(b"event: ").decode() for event in events]
    data = data_of(events)
    assert kinds == [each["type"] for each in data]
    started = anthropic.types.RawMessageStartEvent.model_validate(data[0])
    assert started.message.model == "some-model"
    deltas = [
        anthropic.types.RawContentBlockDeltaEvent.model_validate(each).delta
        for each in data
        if "delta" in each and "index" in each
    ]
    assert "".join(delta.text for delta in deltas if delta.type == "text_delta") == "Hello there"
    assert "".join(delta.partial_json for delta in deltas if delta.type == "input_json_delta") == '{"hands":2}'
    ended = anthropic.types.RawMessageDeltaEvent.model_validate(data[-2])
    assert (ended.delta.stop_reason, ended.usage.output_tokens) == ("tool_use", 7)
    assert kinds[-1] == "message_stop"


@pytest.mark.parametrize(
    ("reason", "openais", "anthropics"),
    [("length", "length", "max_tokens"), ("content_filter", "content_filter", "refusal"), ("odd", "odd", "odd")],
)
def test_finish_reasons_are_said_in_the_dialects_words(reason: str, openais: str, anthropics: str) -> None:
    reply = Reply(pieces=("x",), usage=Usage(), finish_reason=reason)
    assert json.loads(render_openai.DIALECT.chat(reply, a_call("/")))["choices"][0]["finish_reason"] == openais
    assert json.loads(render_anthropic.DIALECT.chat(reply, a_call("/")))["stop_reason"] == anthropics


@table("status", [400, 401, 403, 404, 429, 500, 503, 529])
def test_errors_are_read_by_the_sdks(status: int) -> None:
    ours = json.loads(render_openai.DIALECT.error(status, None, None, None))
    theirs = anthropic.types.ErrorResponse.model_validate_json(render_anthropic.DIALECT.error(status, None, None, None))
    assert openai.types.shared.ErrorObject.model_validate(ours["error"]).message
    assert theirs.error.message
    assert theirs.error.type.endswith("error") or theirs.error.type == "request_too_large"


def test_an_errors_words_may_be_given() -> None:
    ours = json.loads(render_openai.DIALECT.error(429, "no more", "tokens", "insufficient_quota"))["error"]
    theirs = json.loads(render_anthropic.DIALECT.error(429, "no more", None, "billing_error"))["error"]
    assert ours == {"message": "no more", "type": "tokens", "param": None, "code": "insufficient_quota"}
    assert theirs == {"message": "no more", "type": "billing_error"}


def test_an_error_event_is_an_event() -> None:
    assert data_of([render_openai.DIALECT.error_event(500, "oh", None, None)])[0]["error"]["message"] == "oh"
    event = render_anthropic.DIALECT.error_event(529, None, None, None)
    assert event.startswith(b"event: error\n")
    assert data_of([event])[0]["error"]["type"] == "overloaded_error"


@table(
    ("path", "headers", "openais", "anthropics"),
    [
        ("/v1/chat/completions", {}, "chat", None),
        ("/openai/v1/embeddings?api-version=1", {}, "embeddings", None),
        ("/v1/messages", {}, None, "chat"),
        ("/v1/models?limit=2", {"Anthropic-Version": "2023-06-01"}, "models", "models"),
        ("/v1/models", {}, "models", None),
        ("/v1/other", {}, None, None),
    ],
)
def test_the_path_tells_what_is_asked(
    path: str, headers: dict[str, str], openais: str | None, anthropics: str | None
) -> None:
    request = HttpRequest(method="POST", path=path, headers=headers)
    assert render_openai.DIALECT.endpoint_of(request) == openais
    assert render_anthropic.DIALECT.endpoint_of(request) == anthropics


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [("/v2/chat", "chat"), ("/v2/embed?a=b", "embeddings"), ("/v2/rerank", "rerank"), ("/v1/models", None)],
)
def test_coheres_path_tells_what_is_asked(path: str, endpoint: str | None) -> None:
    assert render_cohere.DIALECT.endpoint_of(HttpRequest(method="POST", path=path)) == endpoint


@pytest.mark.anyio
async def test_cohere_is_written_as_its_codec_reads_it() -> None:
    mock = MockTransport()
    scripted = {"reasoning": REPLY.reasoning, "tool_calls": [("wave", {"hands": 2})], "usage": Usage(input_tokens=30)}
    mock.reply("Hello there", **scripted).then.reply("Hello there", **scripted)
    async with mock.client() as client:
        whole = await client.chat("cohere/some-model", "hi")
        async with client.stream_chat("cohere/some-model", "hi") as stream:
            streamed = await stream.final()
    for answer in (whole, streamed):
        assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello there", REPLY.reasoning, "tool_calls")
        assert [(each.name, each.parse_arguments()) for each in answer.tool_calls] == [("wave", {"hands": 2})]
        assert answer.usage == Usage(input_tokens=30)


@pytest.mark.parametrize("status", [400, 401, 429, 498, 500])
def test_coheres_errors_are_read_by_its_codec(status: int) -> None:
    row = CATALOG["cohere"]
    answer = HttpResponse(
        status=status, headers=Headers.of(), body=render_cohere.DIALECT.error(status, None, None, None)
    )
    assert row.parse_error(answer).message
    decoder = row.codecs["chat"].decoder
    assert decoder is not None
    (event,) = data_of([render_cohere.DIALECT.error_event(status, "oh", None, "INVALID")])
    with pytest.raises(ReportedError, match="oh"):
        decoder(Target(provider="cohere", model="m")).feed(SseEvent(event=None, data=json.dumps(event).encode()))


@table("text", ["", "one", " two words", "line\nbreak  and   blanks \n"])
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text


@pytest.mark.parametrize(
    "dialect",
    [render_openai.DIALECT, render_anthropic.DIALECT, render_cohere.DIALECT, render_gemini.DIALECT],
    ids=lambda dialect: dialect.name,
)
def test_only_pieces_of_the_answer_count_as_content(dialect: Dialect) -> None:
    reply = Reply(pieces=("a", "b", "c"), usage=Usage())
    events = dialect.chat_stream(reply, a_call("/", stream=True))
    assert [event.content for event in events].count(True) == 3
    assert not events[0].content
    assert not events[-1].content


@pytest.mark.parametrize(
    ("path", "endpoint", "asked"),
    [
        ("/v1beta/models/g:generateContent", "chat", ("g", False)),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", "chat", ("g", True)),
        ("/v1beta/models/g:batchEmbedContents", "embeddings", ("g", False)),
        ("/v1beta/models?pageSize=2", "models", ("", False)),
        ("/v1beta/models/g:other", None, ("g", False)),
        ("/v1/models", None, ("", False)),
    ],
)
def test_geminis_path_says_what_is_asked(path: str, endpoint: str | None, asked: tuple[str, bool]) -> None:
    request = HttpRequest(method="POST", path=path)
    assert render_gemini.DIALECT.endpoint_of(request) == endpoint
    assert render_gemini.asked_of(request) == asked


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_what_is_scripted_for_gemini_is_what_comes(stream: bool) -> None:
    mock = MockTransport()
    mock.on(provider="gemini", model="gemini-2.5-flash", stream=stream).reply(
        "Hello there", reasoning="hm", tool_calls=[("wave", {"hands": 2})], usage=(30, 7)
    )
    async with mock.client() as client:
        if stream:
            async with client.stream_chat("gemini/gemini-2.5-flash", "hi") as chunks:
                reply = await chunks.final()
        else:
            reply = await client.chat("gemini/gemini-2.5-flash", "hi")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello there", "hm", "tool_calls")
    assert [(call.name, call.parse_arguments()) for call in reply.tool_calls] == [("wave", {"hands": 2})]
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.model) == (30, 7, "gemini-2.5-flash")


@pytest.mark.anyio
async def test_geminis_other_answers_are_scripted_too() -> None:
    mock = MockTransport()
    mock.embed([[0.5, -1.25]])
    mock.models(["a", "b"])
    mock.fail(429, code="RATE_LIMIT_EXCEEDED")
    async with mock.client(max_retries=0) as client:
        assert (await client.embed("gemini/e", "x")).vectors == [[0.5, -1.25]]
        assert [model.id for model in (await client.list_models("gemini")).data] == ["a", "b"]
        with pytest.raises(RateLimitError) as caught:
            await client.chat("gemini/g", "x")
    assert (caught.value.code, caught.value.type) == ("RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
