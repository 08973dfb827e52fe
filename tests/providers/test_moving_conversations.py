"""Conversations that move between providers: ids of tool calls, arguments, signatures and reasoning, for every row."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import msgspec
import pytest

from bifrost import Bifrost, StaticAccount
from bifrost.config import ProviderConfig
from bifrost.operations.chat.content import Citation, ImagePart, Issuer, OpaquePart, ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.providers.base import Provider, Target
from bifrost.providers.catalog import CATALOG
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = [row for row in CATALOG.values() if "chat" in row.codecs]
NAMED = [row for row in ROWS if row.name in {"ollama", "ollama-cloud"}]
"""Those without ids: a result names its tool, and arguments are an object."""
WITH_TOOLS = [row for row in ROWS if row.name != "perplexity" and row not in NAMED]
PARSING = [row for row in WITH_TOOLS if row.name not in {"openai", "azure"}]
pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

HELLO = Message(role="user", content="hi")
PATTERNS = {"mistral": "[a-zA-Z0-9]{9}", "openai": ".{1,40}", "azure": ".{1,40}", "anthropic": "[a-zA-Z0-9_-]+"}
PATTERNS["bedrock"] = "[a-zA-Z0-9_.:-]{1,64}"
FOREIGN = [
    "call_0fypS1hVX12345678901234",
    "functions.w:0",
    "functions.w:1",
    "w:1",
    "w.1",
    "chatcmpl-tool-" + "a" * 29,
    "chatcmpl-tool-" + "a" * 28 + "b",
    "0",
    "ü" * 50,
    "toolu_01A09q90qw90lq917835lq9",
    "7xIN6tS4A",
    "x" * 5000,
    " ",
]


def by_name(row: Provider) -> str:
    return row.name


def turn(call_id: str, arguments: str = "{}", **more: Any) -> list[Message]:
    call = ToolCall(id=call_id, name="w", arguments=arguments, **more)
    return [Message(role="assistant", content=[call]), Message(role="tool", tool_call_id=call_id, content="r")]


def sent(row: Provider, messages: Sequence[Message], issuer: Issuer | None = None) -> tuple[dict[str, Any], list[str]]:
    target = Target(provider=row.name, model="m", issuer=issuer, issuer_members=row.issuer_members)
    built = row.codecs["chat"].build(ChatRequest(model="m", messages=list(messages)), target)
    return json.loads(built.request.body), built.warnings


def pairs(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Give the ids of calls and of results, in order."""
    if "contents" in body:
        parts = [part for content in body["contents"] for part in content["parts"]]
        return (
            [part["functionCall"]["id"] for part in parts if "functionCall" in part],
            [part["functionResponse"]["id"] for part in parts if "functionResponse" in part],
        )
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    for block in (
        block for each in body["messages"] if isinstance(each.get("content"), list) for block in each["content"]
    ):
        if block.get("type") == "tool_use":
            calls.append(block["id"])
        if block.get("type") == "tool_result":
            results.append(block["tool_use_id"])
        if "toolUse" in block:
            calls.append(block["toolUse"]["toolUseId"])
        if "toolResult" in block:
            results.append(block["toolResult"]["toolUseId"])
    return calls, results


def input_of(row: Provider, message: dict[str, Any]) -> Any:
    """Return the arguments of a message's only call: an object, or text where the dialect sends text."""
    match row.name:
        case "anthropic":
            return message["content"][0]["input"]
        case "bedrock":
            return message["content"][0]["toolUse"]["input"]
        case "gemini" | "vertex":
            return message["parts"][0]["functionCall"]["args"]
        case _:
            return message["tool_calls"][0]["function"]["arguments"]


# --- ids


@table("row", WITH_TOOLS, ids=by_name)
def test_ids_of_other_servers_fit_and_stay_apart(row: Provider) -> None:
    body, warnings = sent(row, [HELLO, *(message for call_id in FOREIGN for message in turn(call_id))])
    calls, results = pairs(body)
    pattern = re.compile(PATTERNS.get(row.name, ".+"), re.DOTALL)
    assert calls == results
    assert len(set(calls)) == len(FOREIGN)
    assert all(pattern.fullmatch(call_id) for call_id in calls)
    assert [made for given, made in zip(FOREIGN, calls, strict=True) if pattern.fullmatch(given)] == [
        given for given in FOREIGN if pattern.fullmatch(given)
    ]
    assert warnings == []


@table("row", WITH_TOOLS, ids=by_name)
def test_the_same_conversation_has_the_same_ids_as_it_grows(row: Provider) -> None:
    messages = [HELLO, *(message for call_id in FOREIGN for message in turn(call_id))]
    [first, _], [second, _] = pairs(sent(row, messages[:9])[0]), pairs(sent(row, messages)[0])
    assert second[: len(first)] == first


@pytest.mark.parametrize("call_id", ["call_0", "w:1"])
def test_an_id_that_comes_again_is_another_one_at_claude(call_id: str) -> None:
    again = [HELLO, *turn(call_id), *turn(call_id), *turn(call_id)]
    calls, results = pairs(sent(CATALOG["anthropic"], again)[0])
    assert calls == results
    assert len(set(calls)) == 3
    assert ("call_0" in calls) == (call_id == "call_0")


@table("row", WITH_TOOLS, ids=by_name)
def test_two_calls_of_one_message_with_the_same_id_stay_two_where_ids_matter(row: Provider) -> None:
    calls = [ToolCall(id="x:1", name="w", arguments=f'{{"n":{n}}}') for n in range(2)]
    results = [Message(role="tool", tool_call_id="x:1", content=f"r{n}") for n in range(2)]
    called, answered = pairs(sent(row, [HELLO, Message(role="assistant", content=[*calls]), *results])[0])
    assert called == answered
    if row.name in {"anthropic", "mistral"}:
        assert len(set(called)) == 2


@table("row", WITH_TOOLS, ids=by_name)
def test_a_result_without_its_call_has_an_id_that_fits(row: Provider) -> None:
    body, _ = sent(row, [HELLO, Message(role="tool", tool_call_id="functions.w:0", content="r")])
    _, [result] = pairs(body)
    assert re.fullmatch(PATTERNS.get(row.name, ".+"), result)


def test_a_result_that_never_came_takes_no_later_one() -> None:
    unanswered = Message(role="assistant", content=[ToolCall(id="call_0", name="w")])
    calls, results = pairs(sent(CATALOG["anthropic"], [HELLO, unanswered, HELLO, *turn("call_0")])[0])
    assert results == calls[1:]


@table("row", WITH_TOOLS, ids=by_name)
@table("given", ["functions.w:0", "chatcmpl-tool-" + "a" * 32])
def test_ids_that_a_server_made_go_back_to_it_unchanged(row: Provider, given: str) -> None:
    here = Issuer(provider=row.name, address="https://a.example/v1", key="one", model="m")
    again = Issuer(provider=row.name, address="https://a.example/v1", key="two", model="other")
    elsewhere = Issuer(provider=row.name, address="https://b.example/v1", key="one", model="m")
    calls, results = pairs(sent(row, [HELLO, *turn(given, issuer=here)], again)[0])
    assert calls == results == [given]
    calls, results = pairs(sent(row, [HELLO, *turn(given, issuer=here)], elsewhere)[0])
    fits = re.fullmatch(PATTERNS.get(row.name, ".+"), given) is not None
    assert (calls == results == [given]) == fits


def test_a_made_id_is_none_of_the_conversations() -> None:
    _, [made] = pairs(sent(CATALOG["mistral"], [HELLO, *turn("w:1")])[0])
    calls, results = pairs(sent(CATALOG["mistral"], [HELLO, *turn(made), *turn("w:1")])[0])
    assert calls == results
    assert len(set(calls)) == 2
    assert calls[0] == made


@pytest.mark.parametrize("row", NAMED, ids=by_name)
def test_results_name_their_tools_where_there_are_no_ids(row: Provider) -> None:
    body, warnings = sent(row, [HELLO, *(message for call_id in FOREIGN for message in turn(call_id))])
    messages = body["messages"][1:]
    assert [message["tool_calls"] for message in messages[::2]] == [[{"function": {"name": "w", "arguments": {}}}]] * 13
    assert messages[1::2] == [{"role": "tool", "content": "r", "tool_name": "w"}] * 13
    assert warnings == []


@pytest.mark.parametrize("row", NAMED, ids=by_name)
def test_arguments_are_an_object_where_the_server_wants_one(row: Provider) -> None:
    for arguments, expected in (
        ("", {}),
        (' {"b": 1.10} ', {"b": 1.1}),
        ("[1]", {"unreadable_arguments": "[1]"}),
        ('{"city": "Be', {"unreadable_arguments": '{"city": "Be'}),
    ):
        body, warnings = sent(row, [HELLO, *turn("7xIN6tS4A", arguments)])
        assert body["messages"][1]["tool_calls"] == [{"function": {"name": "w", "arguments": expected}}]
        assert bool(warnings) == ("unreadable_arguments" in expected)


# --- arguments


@table("row", WITH_TOOLS, ids=by_name)
@table("arguments", ['{"city": "Be', "[1]", '"{}"', "Bern", "{'a': 1}", '{"a": NaN}', "null"])
def test_arguments_that_are_no_object_keep_no_conversation_from_going_on(row: Provider, arguments: str) -> None:
    body, warnings = sent(row, [HELLO, *turn("7xIN6tS4A", arguments)])
    given = input_of(row, body["contents" if row.name in {"gemini", "vertex"} else "messages"][1])
    if row not in PARSING:
        assert (given, warnings) == (arguments, [])
        return
    given = json.loads(given) if isinstance(given, str) else given
    assert isinstance(given, dict)
    assert arguments in given.values()
    assert len(warnings) == 1
    assert "'w'" in warnings[0]


@table("row", PARSING, ids=by_name)
@table(("arguments", "expected"), [("", {}), (" \n", {}), ("{}", {}), (' {"b": 1.10} ', {"b": 1.1})])
def test_no_arguments_are_an_empty_object(row: Provider, arguments: str, expected: dict[str, Any]) -> None:
    body, warnings = sent(row, [HELLO, *turn("7xIN6tS4A", arguments)])
    given = input_of(row, body["contents" if row.name in {"gemini", "vertex"} else "messages"][1])
    assert (json.loads(given) if isinstance(given, str) else given) == expected
    assert warnings == []


# --- what stands beside calls


@table(
    "name", ["deepseek", "mistral", "vllm", "sglang", "lmstudio", "llamacpp", "ollama-openai", "ollama-cloud-openai"]
)
def test_a_message_with_calls_says_its_content_where_the_server_wants_one(name: str) -> None:
    body, _ = sent(CATALOG[name], [HELLO, *turn("7xIN6tS4A")])
    assert body["messages"][1]["content"] == ""
    with_text = Message(role="assistant", content=[TextPart(text="So"), ToolCall(id="7xIN6tS4A", name="w")])
    assert sent(CATALOG[name], [HELLO, with_text])[0]["messages"][1]["content"] == "So"


@pytest.mark.parametrize("name", ["openrouter", "mistral", "anthropic"])
def test_a_picture_in_a_result_goes_where_it_is_taken(name: str) -> None:
    picture = ImagePart(data="iVBORw0KGgo=", media_type="image/png")
    messages = turn("7xIN6tS4A")
    messages[1] = msgspec.structs.replace(messages[1], content=[TextPart(text="logo"), picture])
    body, warnings = sent(CATALOG[name], [HELLO, *messages])
    result = body["messages"][2]
    content = result["content"][0]["content"] if name == "anthropic" else result["content"]
    assert [part["type"] for part in content] == ["text", "image" if name == "anthropic" else "image_url"]
    assert warnings == []


def test_a_picture_that_a_model_made_goes_back_to_openrouter() -> None:
    answer = Message(role="assistant", content=[TextPart(text="Here"), ImagePart(url="https://a.example/b.png")])
    body, warnings = sent(CATALOG["openrouter"], [HELLO, answer, HELLO])
    assert body["messages"][1]["images"] == [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    assert warnings == []


# --- signatures and opaque reasoning

ADDRESS = "https://api.minimax.example/anthropic"
MINIMAX = attrs.evolve(CATALOG["anthropic"], name="minimax", base_url=ADDRESS)
CLAUDE_ANSWER = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "served",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
        {"type": "text", "text": "So", "citations": [{"type": "web_search_result_location", "encrypted_index": "E"}]},
        {"type": "tool_use", "id": "functions.w:0", "name": "w", "input": {}, "toolset_name": "t"},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def claude_events() -> bytes:
    """Give the answer as a stream."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**CLAUDE_ANSWER, "content": []}}]
    for index, block in enumerate(CLAUDE_ANSWER["content"]):  # type: ignore[arg-type, var-annotated]
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


class Upstream:
    """Answers with Claude's answer, streamed where that is asked for, and keeps what was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        if self.bodies[-1].get("stream"):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=claude_events())
        return httpx.Response(200, json=CLAUDE_ANSWER)


async def ask(client: Bifrost, model: str, messages: list[Any], *, stream: bool) -> Any:
    if not stream:
        return await client.chat(model, messages)
    async with client.stream_chat(model, messages) as answer:
        return await answer.final()


@table("stream", [False, True], ids=["plain", "stream"])
@table(
    ("first", "second", "own"),
    [
        ("minimax/M3", "minimax/M3", True),
        ("anthropic/claude-a", "anthropic/claude-b", True),
        ("minimax/M3", "anthropic/claude-a", False),
        ("anthropic/claude-a", "minimax/M3", False),
    ],
)
@table("kept", [False, True], ids=["as it is", "written down"])
async def test_what_only_its_issuer_can_read_goes_back_to_it_alone(
    first: str, second: str, own: bool, stream: bool, kept: bool
) -> None:
    upstream = Upstream()
    account = StaticAccount(providers=[MINIMAX], keys=dict.fromkeys(("anthropic", "minimax"), "k-0123456789abcdef"))
    async with Bifrost(account, transport=httpx.MockTransport(upstream), max_retries=0) as client:
        reply = await ask(client, first, [HELLO], stream=stream)
        answer = reply.message.to_message()
        if kept:
            answer = msgspec.json.decode(msgspec.json.encode(answer), type=Message)
        result = Message(role="tool", tool_call_id="functions.w:0", content="r")
        after = await ask(client, second, [HELLO, answer, result], stream=stream)
    blocks = upstream.bodies[1]["messages"][1]["content"]
    if own:
        assert blocks == CLAUDE_ANSWER["content"]
        assert after.warnings == []
    else:
        assert [block["type"] for block in blocks] == ["text", "tool_use"]
        assert [set(block) for block in blocks] == [{"type", "text"}, {"type", "id", "name", "input"}]
        assert re.fullmatch("toolu_[a-zA-Z0-9]{24}", blocks[1]["id"])
        assert upstream.bodies[1]["messages"][2]["content"][0]["tool_use_id"] == blocks[1]["id"]
        assert Counter(warning.partition(": ")[0] for warning in after.warnings)["messages[1]"] == 4


async def test_another_address_under_the_same_name_is_another_issuer() -> None:
    answers: list[Message] = []
    for address, seen in (("https://a.example", 0), ("https://a.example", 5), ("https://b.example", 2)):
        upstream = Upstream()
        account = StaticAccount(
            keys={"anthropic": "k-0123456789abcdef"}, configs={"anthropic": ProviderConfig(base_url=address)}
        )
        async with Bifrost(account, transport=httpx.MockTransport(upstream), max_retries=0) as client:
            messages = [HELLO, *answers, *([HELLO] if answers else [])]
            reply = await client.chat("anthropic/claude-a", messages)
        assert len(upstream.bodies[0]["messages"][1]["content"]) == seen if answers else not seen
        answers = answers or [reply.message.to_message()]


def test_the_row_says_what_must_be_the_same() -> None:
    row = attrs.evolve(CATALOG["anthropic"], issuer_members=("provider", "key", "region", "model"))
    here = Issuer(provider="anthropic", address="https://a.example", key="one", region="eu", model="m")
    thought = Message(
        role="assistant", content=[ReasoningPart(text="hm", signature="s", issuer=here), TextPart(text="a")]
    )
    for there, stays in (
        (here, True),
        (msgspec.structs.replace(here, address="https://b.example"), True),
        (msgspec.structs.replace(here, key="two"), False),
        (msgspec.structs.replace(here, region=None), False),
        (msgspec.structs.replace(here, model="n"), False),
    ):
        body, warnings = sent(row, [HELLO, thought], there)
        assert (len(body["messages"][1]["content"]) == 2, not warnings) == (stays, stays)


def test_parts_that_name_no_issuer_belong_to_the_provider_they_name() -> None:
    parts = [
        ReasoningPart(text="hm", signature="s", provider="anthropic"),
        OpaquePart(provider="anthropic", kind="x", data={"type": "x"}),
        TextPart(text="a", citations=[Citation(provider="anthropic", native={"type": "y"})]),
    ]
    message = Message(role="assistant", content=[*parts])
    here = Issuer(provider="anthropic", address="https://a.example")
    body, warnings = sent(CATALOG["anthropic"], [HELLO, message], here)
    assert (len(body["messages"][1]["content"]), warnings) == (3, [])
    body, warnings = sent(MINIMAX, [HELLO, message], Issuer(provider="minimax", address=ADDRESS))
    assert (body["messages"][1]["content"], len(warnings)) == ([{"type": "text", "text": "a"}], 3)


def test_opaque_details_go_back_to_their_address_alone_and_mere_text_to_the_provider() -> None:
    row = CATALOG["openrouter"]
    here, there = (Issuer(provider="openrouter", address=f"https://{name}.example") for name in "ab")
    details = '[{"type":"reasoning.encrypted","data":"x"}]\n'
    opaque = ReasoningPart(text="hm", signature=details, provider="openrouter", issuer=here)
    text = ReasoningPart(text="hm", provider="openrouter", issuer=here)
    for part, issuer, field in (
        (opaque, here, "reasoning_details"),
        (opaque, there, None),
        (text, here, "reasoning"),
        (text, there, "reasoning"),
    ):
        body, warnings = sent(row, [HELLO, Message(role="assistant", content=[part, TextPart(text="a")])], issuer)
        found = [name for name in body["messages"][1] if name.startswith("reasoning")]
        assert (found, bool(warnings)) == ([] if field is None else [field], field is None)


# --- Gemini's signatures

GEMINI_PARTS: list[dict[str, Any]] = [
    {"text": "hm", "thought": True},
    {"text": "hm", "thought": True, "thoughtSignature": "S0"},
    {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "S1"},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"text": "So", "thoughtSignature": "S2"},
    {"text": " it is"},
    {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "S3"},
    {"functionCall": {"id": "c0", "name": "w", "args": {"a": 1}}, "thoughtSignature": "S4"},
    {"functionCall": {"id": "c1", "name": "w", "args": {}}},
    {"text": "", "thoughtSignature": "S5"},
]
GEMINI_ANSWER = {
    "candidates": [{"content": {"parts": GEMINI_PARTS, "role": "model"}, "finishReason": "STOP", "index": 0}],
    "modelVersion": "gemini-3-pro-preview",
    "responseId": "r",
}


def gemini_events() -> bytes:
    """Give the answer as a stream: a part an event, and the finish reason after them."""
    events: list[dict[str, Any]] = [
        {**GEMINI_ANSWER, "candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}]}
        for part in GEMINI_PARTS
    ]
    events.append({**GEMINI_ANSWER, "candidates": [{"finishReason": "STOP", "index": 0}]})
    return "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events).encode()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kept", [False, True], ids=["as it is", "written down"])
async def test_geminis_signatures_go_back_in_the_parts_that_had_them(stream: bool, kept: bool) -> None:
    bodies: list[dict[str, Any]] = []

    def upstream(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if "streamGenerateContent" in request.url.path:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=gemini_events())
        return httpx.Response(200, json=GEMINI_ANSWER)

    account = StaticAccount(keys={"gemini": "k-0123456789abcdef", "openai": "k-0123456789abcdef"})
    async with Bifrost(account, transport=httpx.MockTransport(upstream), max_retries=0) as client:
        reply = await ask(client, "gemini/gemini-3-pro-preview", [HELLO], stream=stream)
        answer = reply.message.to_message()
        if kept:
            answer = msgspec.json.decode(msgspec.json.encode(answer), type=Message)
        results = [Message(role="tool", tool_call_id=f"c{number}", content="r") for number in range(2)]
        after = await ask(client, "gemini/gemini-3-pro-preview", [HELLO, answer, *results], stream=stream)
    assert (reply.text, reply.finish_reason, after.warnings) == ("So it is", "tool_calls", [])
    contents = bodies[1]["contents"]
    assert contents[1] == {"role": "model", "parts": GEMINI_PARTS}
    assert [part["functionResponse"]["id"] for part in contents[2]["parts"]] == ["c0", "c1"]
    elsewhere, warnings = sent(CATALOG["openai"], [HELLO, answer, *results])
    assert "S2" not in json.dumps(elsewhere)
    assert any("signature was left out" in warning for warning in warnings)


def test_calls_of_another_model_are_marked_for_gemini_3() -> None:
    target = Target(provider="gemini", model="gemini-3-pro-preview")
    foreign = ToolCall(id="c0", name="w", signature="{}", provider="anthropic")
    second = ToolCall(id="c1", name="w")
    messages = [HELLO, Message(role="assistant", content=[foreign, second])]
    built = CATALOG["gemini"].codecs["chat"].build(ChatRequest(model="m", messages=messages), target)
    parts = json.loads(built.request.body)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=", None]
    assert built.warnings == ["messages[1].content[0]: the signature of another provider's tool call was left out"]
    older = Target(provider="gemini", model="gemini-2.5-pro")
    built = CATALOG["gemini"].codecs["chat"].build(ChatRequest(model="m", messages=messages), older)
    assert b"thoughtSignature" not in bytes(built.request.body)
