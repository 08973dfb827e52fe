"""The Responses API in OpenAI's dialect: state goes to its issuer only, and servers may vary in everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost import InvalidRequestError, MalformedResponseError, ResponseTooLargeError, UnsupportedError
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    FilePart,
    ImagePart,
    Issuer,
    OpaquePart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.responses.assemble import ResponsesAccumulator
from bifrost.operations.responses.content import OutputRefusal, OutputText
from bifrost.operations.responses.items import (
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)
from bifrost.operations.responses.options import responses_request, to_input
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesError, ResponsesResponse
from bifrost.operations.usage import Usage
from bifrost.providers.azure import AzureSettings
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.catalog import CATALOG
from bifrost.providers.events import parse_events
from bifrost.providers.openai.responses.answer import form_of, is_whole, parse_responses, stored_response
from bifrost.providers.openai.responses.stream import ResponsesDecoder
from bifrost.wire.framing.sse import SseEvent
from bifrost.wire.http import Headers, HttpResponse

CODEC = CATALOG["openai"].codecs["responses"]
HERE = Issuer(provider="openai", address="https://a.example/v1", key="first", model="m")
TARGET = Target(provider="openai", model="m", issuer=HERE)
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]}


def sent(items: list[Item], target: Target = TARGET) -> tuple[list[Any], list[str]]:
    built = CODEC.build(ResponsesRequest(model="openai/m", input=items), target)
    return json.loads(built.request.body)["input"], built.warnings


def read(form: Any, target: Target = TARGET) -> ResponsesResponse:
    return CODEC.parse(response(form), target)


def response(form: Any) -> HttpResponse:
    body = form if isinstance(form, bytes) else json.dumps(form).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=body)


# --- state


def conversation(issuer: Issuer | None) -> list[Item]:
    return [
        ReasoningItem(id="rs_1", encrypted_content="secret", issuer=issuer),
        OpaqueItem(kind="web_search_call", data={"type": "web_search_call", "id": "ws_1"}, issuer=issuer),
        MessageItem(role="assistant", content=[OutputText(text="a", annotations=[])], id="msg_1", issuer=issuer),
        MessageItem(role="assistant", content=[OutputRefusal(refusal="no")], id="msg_2", issuer=issuer),
        FunctionCallItem(call_id="c", name="f", arguments="{}", id="fc_1", unknown={"caller": 1}, issuer=issuer),
        FunctionCallOutputItem(call_id="c", output="b"),
    ]


@pytest.mark.parametrize(
    "issuer", [None, HERE, HERE.replace(model="other"), HERE.replace(key=None), Issuer(provider="openai")]
)
def test_state_goes_back_to_its_issuer_unchanged(issuer: Issuer | None) -> None:
    items, warnings = sent(conversation(issuer))
    assert [item.get("id") for item in items] == ["rs_1", "ws_1", "msg_1", "msg_2", "fc_1", None]
    assert items[0]["encrypted_content"] == "secret"
    assert items[4]["caller"] == 1
    assert warnings == []


@pytest.mark.parametrize(
    "issuer",
    [HERE.replace(key="second"), HERE.replace(address="https://b.example"), HERE.replace(provider="azure")],
)
def test_state_of_another_issuer_is_left_out_with_a_warning(issuer: Issuer) -> None:
    items, warnings = sent(conversation(issuer))
    assert items == [
        {"role": "assistant", "content": "a"},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "b"},
    ]
    assert warnings == [
        "input[0]: reasoning of another provider or key was left out: openai cannot read it",
        "input[1]: the item 'web_search_call' of another provider or key was left out: openai cannot read it",
    ]


@pytest.mark.parametrize("kind", ["compaction", "item_reference"])
def test_a_foreign_item_that_holds_the_conversation_is_refused(kind: str) -> None:
    item = OpaqueItem(kind=kind, data={"type": kind}, issuer=HERE.replace(key="second"))
    with pytest.raises(UnsupportedError, match=r"input\[0\]: openai cannot read an item of the type") as caught:
        sent([item])
    assert caught.value.param == "input"


def test_reasoning_without_id_and_state_is_left_out() -> None:
    assert sent([ReasoningItem(summary=["a"])]) == (
        [],
        ["input[0]: reasoning of another provider or key was left out: openai cannot read it"],
    )


def test_a_response_carries_its_issuer_and_goes_back_whole() -> None:
    forms = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"},
        {"type": "mcp_call", "id": "mcp_1", "novelty": {"a": None}},
        {**MESSAGE, "id": "msg_1", "status": "completed", "phase": "final_answer"},
    ]
    reply = read({"id": "resp_1", "output": forms})
    assert [item.issuer for item in reply.output] == [HERE] * 3
    assert sent(reply.output)[0] == forms


def test_a_long_call_id_is_shortened_for_call_and_result_alike() -> None:
    items, _ = sent(
        [FunctionCallItem(call_id="c" * 65, name="f"), FunctionCallOutputItem(call_id="c" * 65, output="a")]
    )
    assert items[0]["call_id"] == items[1]["call_id"]
    assert len(items[0]["call_id"]) <= 64
    assert sent([FunctionCallItem(call_id="c" * 64, name="f")])[0][0]["call_id"] == "c" * 64


# --- requests


def test_what_a_message_of_a_chat_says_beyond_an_item_is_reported() -> None:
    mark = CacheMark(ttl="1h")
    messages = [
        Message(role="user", content=[TextPart(text="a", cache=mark)], name="bo"),
        Message(role="assistant", content=[TextPart(text="a", cache=mark), ToolCall(id="c", name="f", cache=mark)]),
        Message(role="tool", tool_call_id="c", content="oops", is_error=True),
        Message(role="user", content=[FilePart(data="AA==", media_type="a/b", context="c", citations=True)]),
        Message(role="assistant", content=[ImagePart(data="AA==", media_type="image/png")]),
        Message(role="user", content=[AudioPart(data="AA==", format="wav")]),
    ]
    found = to_input(messages)
    assert not isinstance(found, str)
    forms, warnings = sent(found)
    assert [warning.partition(" was left out")[0] for warning in warnings] == [
        "input[0]: author",
        "input[2]: cache",
        "input[3]: is_error",
        "input[0].content[0]: cache.ttl",
        "input[1].content[0]: cache",
        "input[4].content[0]: context",
        "input[4].content[0]: citations",
        "input[5]: a part of a chat ('chat.image')",
    ]
    assert forms[0] == {
        "role": "user",
        "content": [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}],
    }
    assert forms[-1]["content"] == [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]
    for part in (VideoPart(url="https://a.example"), OpaquePart(provider="anthropic", kind="k", data={"type": "k"})):
        refused = to_input(Message(role="user", content=[part]))
        assert not isinstance(refused, str)
        with pytest.raises(UnsupportedError, match=r"has no form for a part .* \(input\[0\].content\[0\]\)"):
            sent(refused)


def test_a_stream_is_requested_by_the_method_alone() -> None:
    with pytest.raises(InvalidRequestError, match="stream_respond"):
        CODEC.build(ResponsesRequest(model="m", input="a", extra={"openai": {"stream": True}}), TARGET)
    request = ResponsesRequest(model="m", input="a", stream_options={"include_obfuscation": False})
    plain, streamed = CODEC.build(request, TARGET), CODEC.build(request, TARGET.replace(stream=True))
    assert "stream" not in json.loads(plain.request.body)
    assert plain.warnings == ["stream_options was left out: only a stream has it"]
    assert json.loads(streamed.request.body)["stream_options"] == {"include_obfuscation": False}
    assert json.loads(streamed.request.body)["stream"] is True


@pytest.mark.parametrize("provider", ["xai", "openrouter", "groq"])
def test_a_server_without_background_runs_refuses_them(provider: str) -> None:
    codec, target = CATALOG[provider].codecs["responses"], TARGET.replace(provider=provider)
    with pytest.raises(UnsupportedError, match=f"{provider} has no background runs"):
        codec.build(ResponsesRequest(model="m", input="a", background=True), target)
    built = codec.build(ResponsesRequest(model="m", input="a", context_management=[{"type": "compaction"}]), target)
    assert built.warnings == [f"context_management was left out: {provider} has no such option"]
    assert built.request.path == "/responses"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        (None, "/openai/v1/responses"),
        (AzureSettings(api_version="2025-04-01-preview"), "/openai/responses?api-version=2025-04-01-preview"),
    ],
)
def test_azure_names_the_deployment_in_the_body(settings: AzureSettings | None, path: str) -> None:
    target = Target(provider="azure", model="my-gpt", settings=settings)
    built = CATALOG["azure"].codecs["responses"].build(responses_request("azure/my-gpt", "a", {}), target)
    assert built.request.path == path
    assert json.loads(built.request.body)["model"] == "my-gpt"


# --- responses that vary


@pytest.mark.parametrize(
    "form",
    [
        {"output": [MESSAGE]},
        {"output": [MESSAGE], "status": None, "usage": None, "error": None, "created_at": None},
        {"output": [MESSAGE], "id": 5, "model": None, "created_at": "soon", "usage": [], "incomplete_details": {}},
        {"output": [None, 5, MESSAGE, "x"]},
        {"output": [{**MESSAGE, "id": None, "status": None}]},
        {"output": [MESSAGE], "error": {}},
        {"output": [MESSAGE], "error": {"message": "a remark"}},
        b"\xef\xbb\xbf" + json.dumps({"output": [MESSAGE]}).encode(),
        b"data: " + json.dumps({"output": [MESSAGE]}).encode() + b"\n\n",
    ],
)
def test_what_a_reader_does_not_need_may_be_anything(form: Any) -> None:
    reply = read(form)
    assert (reply.text, reply.model, reply.finish_reason) == ("hello", "m", "stop")
    assert reply.usage == Usage()


CALL = {"type": "function_call", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("item", "text", "call"),
    [
        ({"type": "message", "content": ["hello"], "id": 5}, "hello", None),
        ({"type": "message", "role": None, "content": [{"type": "text", "text": "hello"}, None]}, "hello", None),
        ({"type": "message", "role": "assistant", "content": None}, "", None),
        (CALL, "", ("call_0", "{}")),
        ({**CALL, "id": "fc_1", "call_id": None}, "", ("fc_1", "{}")),
        ({**CALL, "call_id": "c", "arguments": {"a": 1}, "status": 3}, "", ("c", '{"a":1}')),
        ({**CALL, "call_id": "c", "arguments": None}, "", ("c", "")),
    ],
)
def test_an_item_that_is_nearly_in_its_form(item: Any, text: str, call: Any) -> None:
    streamed, _ = decoded({"type": "response.output_item.done", "item": item}, DONE)
    for reply in (read({"output": [item]}), streamed):
        assert not isinstance(reply.output[0], OpaqueItem)
        assert reply.text == text
        assert [(each.id, each.arguments) for each in reply.tool_calls] == ([] if call is None else [call])


def test_a_response_without_items() -> None:
    assert read({"id": "r", "object": "response", "status": "completed", "output": None}).output == []


def test_usage_of_a_response() -> None:
    usage = {
        "input_tokens": 10.0,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }
    assert read({"output": [], "usage": usage}).usage == Usage(
        input_tokens=10, cache_read_tokens=4, output_tokens=5, reasoning_tokens=3
    )


@pytest.mark.parametrize("form", [[], 5, {}, {"id": "resp_1"}, {"output": {}}, b"<html>", b""])
def test_what_is_no_response_is_malformed(form: Any) -> None:
    with pytest.raises(MalformedResponseError):
        read(form)


def test_too_many_items_are_refused() -> None:
    with pytest.raises(ResponseTooLargeError):
        read({"output": [{"type": "x" * 40}] * 8193})


FAILURES: list[tuple[Any, int, str, str]] = [
    ({"code": "server_error", "message": "m"}, 500, "server_error", "m"),
    ({"code": "rate_limit_exceeded", "message": "m"}, 429, "rate_limit_exceeded", "m"),
    ({"code": "invalid_image_url", "message": "m"}, 400, "invalid_image_url", "m"),
    ({"code": "novelty", "message": ""}, 500, "novelty", "the response failed; its code is novelty"),
    (None, 500, "", "the response failed; its code is missing"),
    ("just text", 500, "", "just text"),
]


@pytest.mark.parametrize(("error", "status", "code", "message"), FAILURES)
def test_a_failed_response_is_an_error_with_its_own_code(error: Any, status: int, code: str, message: str) -> None:
    form = {"status": "failed", "output": [], "error": error}
    with pytest.raises(ReportedError) as plain:
        read(form)
    decoder = ResponsesDecoder(TARGET)
    event = json.dumps({"type": "response.failed", "response": form}).encode()
    with pytest.raises(ReportedError) as streamed:
        decoder.feed(SseEvent(None, event))
    for caught in (plain.value, streamed.value):
        assert (caught.status, caught.body.code or "", caught.body.message) == (status, code, message)
    assert decoder.finish() == "cut"


def test_a_stored_failed_response_is_returned() -> None:
    form = {"id": "r", "status": "failed", "output": [], "error": {"code": "server_error", "message": "m"}}
    reply = stored_response(form_of(response(form).body), response(form).body, TARGET)
    assert (reply.status, reply.error) == ("failed", ResponsesError(code="server_error", message="m"))
    assert reply.finish_reason == "error"
    assert reply.to_dict()["error"] == {"code": "server_error", "message": "m"}


# --- streams that vary


def decoded(*events: Any, name: str | None = None) -> tuple[ResponsesResponse, ResponsesDecoder]:
    decoder, grown = ResponsesDecoder(TARGET), ResponsesAccumulator(provider="openai", model="m")
    for event in events:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        for chunk in decoder.feed(SseEvent(name, data)):
            grown.add(chunk)
    return grown.response(), decoder


DELTA = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hello"}
DONE = {"type": "response.completed", "response": {"id": "r", "output": []}}


@pytest.mark.parametrize(
    "event",
    [
        DELTA,
        {**DELTA, "sequence_number": 3.0, "item_id": None, "logprobs": None},
        {**DELTA, "output_index": None},
        {**DELTA, "output_index": 0.0, "content_index": None},
        {**DELTA, "novelty": {"delta": 5}, "logprobs": []},
    ],
)
def test_a_piece_of_text_in_any_shape(event: dict[str, Any]) -> None:
    reply, decoder = decoded(event, DONE)
    assert (reply.text, reply.status, decoder.finish()) == ("hello", "completed", "complete")


def test_the_type_may_be_the_name_of_the_event_only() -> None:
    reply, _ = decoded({**DELTA, "type": None}, name="response.output_text.delta")
    assert reply.text == "hello"


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b" ",
        b"[]",
        b"5",
        {"type": "response.novelty.happened", "what": {"a": 1}},
        {"type": "ping"},
        {"type": "response.shell_call_output_content.delta", "delta": {"stdout": "a"}},
        {"type": "response.output_text.delta", "delta": {"text": "a"}},
        {"type": "response.output_item.added", "item": None},
        {"type": "response.output_item.added", "item": {"type": "novelty", "a": 1}},
        {"type": "response.content_part.added", "part": 5},
        {"type": "response.output_text.annotation.added", "annotation": None},
    ],
)
def test_an_unexpected_event_does_not_break_a_stream(event: Any) -> None:
    reply, decoder = decoded({**DELTA, "output_index": 5}, event, DONE)
    assert (reply.text, decoder.finish()) == ("hello", "complete")


def test_an_unknown_event_keeps_its_members() -> None:
    decoder = ResponsesDecoder(TARGET)
    event = {"type": "response.novelty.happened", "sequence_number": 4, "output_index": 2, "what": {"a": 1}}
    (chunk,) = decoder.feed(SseEvent(None, json.dumps(event).encode()))
    assert (chunk.type, chunk.sequence_number, chunk.output_index) == ("response.novelty.happened", 4, 2)
    assert chunk.data == {"what": {"a": 1}}
    assert chunk.to_dict() == event


def test_data_that_is_not_json_breaks_a_stream() -> None:
    with pytest.raises(MalformedResponseError):
        decoded(b"{oops")
    assert decoded(b"{oops", name="response.novelty")[1].finish() == "cut"


@pytest.mark.parametrize(
    ("event", "name", "code", "message"),
    [
        ({"type": "error", "code": "server_error", "message": "m", "param": None}, "error", "server_error", "m"),
        ({"type": "error", "error": {"code": "c", "message": "m"}}, None, "c", "m"),
        ({"error": {"message": "m", "code": "c"}}, None, "c", "m"),
        (b"overloaded", "error", None, "overloaded"),
    ],
)
def test_an_error_event_has_its_own_code(event: Any, name: str | None, code: str | None, message: str) -> None:
    with pytest.raises(ReportedError) as caught:
        decoded(event, name=name)
    assert (caught.value.body.code, caught.value.body.message) == (code, message)


def test_items_without_numbers_are_counted() -> None:
    first = {"type": "message", "role": "assistant", "content": [], "id": "msg_1"}
    second = {"type": "function_call", "call_id": "c", "name": "f", "id": "fc_1"}
    reply, _ = decoded(
        {"type": "response.output_item.added", "item": first},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "a"},
        {"type": "response.output_item.added", "item": second},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{}"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "b"},
        DONE,
    )
    assert reply.text == "ab"
    assert [call.arguments for call in reply.tool_calls] == ["{}"]


def test_a_marker_ends_a_stream_that_has_items() -> None:
    added = {"type": "response.output_item.added", "item": {"type": "message", "role": "assistant", "content": []}}
    reply, decoder = decoded(added, DELTA, b"[DONE]")
    assert (reply.text, reply.finish_reason, decoder.finish()) == ("hello", "stop", "complete")
    assert decoded(b"[DONE]")[1].finish() == "cut"


def test_complete_items_without_numbers_are_counted() -> None:
    second = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    reply, _ = decoded(
        {"type": "response.output_item.done", "item": MESSAGE},
        {"type": "response.output_item.done", "item": second},
        {"type": "response.output_item.added", "item": {**MESSAGE, "content": []}},
        {"type": "response.output_text.delta", "delta": " there"},
        {"type": "response.output_item.done", "item": {**MESSAGE, "content": [{"type": "output_text", "text": ""}]}},
        DONE,
    )
    assert (reply.text, len(reply.tool_calls)) == ("hello there", 1)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"type": "response.completed"}, "completed"),
        ({"type": "response.completed", "response": None}, "completed"),
        ({"type": "response.incomplete", "response": {}}, "incomplete"),
        ({"type": "response.done", "response": {"status": "incomplete"}}, "incomplete"),
        ({"type": "response.done", "response": {"output": []}}, "completed"),
        (b"[DONE]", "completed"),
    ],
)
def test_a_last_event_in_any_shape(event: Any, status: str) -> None:
    created = {"type": "response.created", "response": {"id": "r", "created_at": 5.0}}
    begun, decoder = decoded(created, DELTA)
    assert (begun.status, begun.finish_reason, decoder.finish()) == ("in_progress", None, "cut")
    reply, decoder = decoded(created, DELTA, event)
    assert (reply.id, reply.created, reply.text, reply.status) == ("r", 5, "hello", status)
    assert decoder.finish() == "complete"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": None},
        {"type": "response.done", "response": {"status": "failed", "output": []}},
        {"type": "response.completed", "response": {"status": "failed", "error": {"message": "m"}}},
    ],
)
def test_a_failure_in_any_shape_is_an_error(event: Any) -> None:
    with pytest.raises(ReportedError):
        decoded(DELTA, event)


def test_an_incomplete_response_is_no_error() -> None:
    form = {"status": "incomplete", "output": [MESSAGE], "incomplete_details": {"reason": "max_output_tokens"}}
    reply, decoder = decoded({"type": "response.incomplete", "response": form})
    assert (reply.text, reply.finish_reason, decoder.finish()) == ("hello", "length", "complete")
    assert read({**form, "status": None}).finish_reason == "length"


def test_an_event_stream_instead_of_a_response() -> None:
    whole = b"data: " + json.dumps({"object": "response", "output": [MESSAGE]}).encode() + b"\n\n"
    events = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (DELTA, DONE))
    for body in (whole, events):
        assert parse_events(response(body), TARGET, codec=CODEC).text == "hello"
    assert not is_whole(json.dumps({"type": "response.completed", "output": []}).encode())
    assert not is_whole(b'{"output"')


def test_a_response_of_very_many_parts_is_refused() -> None:
    parts = [{"type": "output_text", "text": ""}] * 10_000
    for output in (
        [{"type": "message", "role": "assistant", "content": parts}],
        [{"type": "reasoning", "summary": parts}],
    ):
        body = json.dumps({"id": "resp_1", "object": "response", "status": "completed", "output": output}).encode()
        with pytest.raises(ResponseTooLargeError, match="more than 8,192 parts"):
            parse_responses(HttpResponse(status=200, headers=Headers(), body=body), TARGET)
