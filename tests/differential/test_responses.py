"""The Responses API, said by us and by OpenAI's SDK: the same requests, which fit its specification, and responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from bifrost.testing import MockTransport
from tests.providers.golden_cases import Case, cases, drive
from tests.providers.spec import problems

if TYPE_CHECKING:
    from openai.types.responses import Response

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": True}
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
USER = {"role": "user", "content": "hi"}

MEANINGS: list[dict[str, Any]] = [
    {"input": "hi"},
    {"input": [USER], "instructions": "be brief", "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.5},
    {"input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]}, USER]},
    {
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example", "detail": "low"}]}
        ]
    },
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1", "filename": "a.pdf"}]}]},
    {"input": [USER, CALL, {"type": "function_call_output", "call_id": "c", "output": "22"}], "tools": [FUNCTION]},
    {"input": [USER, {"type": "item_reference", "id": "msg_1"}]},
    {
        "input": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
            },
        ],
        "include": ["reasoning.encrypted_content"],
        "store": False,
    },
    {
        "input": "hi",
        "tools": [FUNCTION],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
    },
    {"input": "hi", "tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}]},
    {
        "input": "hi",
        "tools": [{"type": "mcp", "server_label": "a", "server_url": "https://a.example"}],
        "max_tool_calls": 2,
    },
    {"input": "hi", "reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}},
    {"input": "hi", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
    {"input": "hi", "previous_response_id": "resp_1", "truncation": "auto", "background": True, "store": True},
    {"input": "hi", "conversation": "conv_1", "metadata": {"a": "b"}, "service_tier": "flex"},
    {"input": "hi", "prompt": {"id": "pmpt_1", "variables": {"a": "b"}}, "safety_identifier": "s", "user": "u"},
    {"input": "hi", "prompt_cache_key": "k", "prompt_cache_retention": "24h", "top_logprobs": 2},
    {"input": "hi", "context_management": [{"type": "compaction", "compact_threshold": 2000}]},
]
"""Keywords of both clients."""

GOOD = [case for case in cases() if case.answer.status == 200 and case.id.startswith("openai/responses/")]


class Sdk:
    """OpenAI's client, over a transport that keeps the request and responds with a recording."""

    def __init__(self, case: Case | None = None) -> None:
        self.bodies: list[Any] = []
        self._case = case
        transport = httpx2.MockTransport(self._respond)
        self.client = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)

    def _respond(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(json.loads(request.content))
        if self._case is None:
            return httpx2.Response(200, json={"id": "r", "object": "response", "output": []})
        kind = "text/event-stream" if self._case.is_stream else "application/json"
        return httpx2.Response(200, headers={"content-type": kind}, content=self._case.body)


@pytest.mark.anyio
async def test_the_same_meaning_makes_the_same_request_within_the_specification() -> None:
    sdk, mock = Sdk(), MockTransport()
    mock.reply("ok").always()
    async with mock.client() as client:
        for meaning in MEANINGS:
            options: Any = {name: value for name, value in meaning.items() if name != "input"}
            reply = await client.respond("openai/gpt-5", meaning["input"], **options)
            sdk.client.responses.create(model="gpt-5", **meaning)
            assert mock.calls[-1].json == sdk.bodies[-1]
            assert problems("openai", "/responses", mock.calls[-1].json) == []
            assert reply.warnings == []
            async with client.stream_respond("openai/gpt-5", meaning["input"], **options) as stream:
                await stream.final()
            assert mock.calls[-1].json == {**sdk.bodies[-1], "stream": True}


def test_recorded_requests_fit_the_specification() -> None:
    # Members that the document of that day does not have are reported as unknown; these requests have none.
    for case in GOOD:
        body = json.loads(bytes(case.build().request.body))
        assert [found for found in problems("openai", "/responses", body) if "unknown member" in found] == [], case.id


def test_openais_sdk_reads_the_same_responses() -> None:
    for case in GOOD:
        if case.is_stream:
            run = drive(case, [case.body])
            ours, chunks = run.accumulator.response(), run.chunks
            theirs: Response | None = None
            kinds: list[str] = []
            for event in Sdk(case).client.responses.create(model="m", input="x", stream=True):
                kinds.append(event.type)
                theirs = getattr(event, "response", theirs)
            assert [chunk.type for chunk in chunks] == kinds, case.id
            assert theirs is not None
        else:
            ours = case.codec.parse(case.answer, case.target)
            theirs = Sdk(case).client.responses.create(model="m", input="x")
        assert (ours.id, ours.model, ours.status) == (theirs.id, theirs.model, theirs.status), case.id
        assert ours.text == theirs.output_text, case.id
        kinds_of_items = [form["type"] for form in ours.to_dict()["output"]]
        assert kinds_of_items == [item.type for item in theirs.output], case.id
        assert [(call.id, call.name, call.arguments) for call in ours.tool_calls if call.kind == "function"] == [
            (item.call_id, item.name, item.arguments) for item in theirs.output if item.type == "function_call"
        ], case.id
        if theirs.usage is not None:
            assert ours.usage.input_tokens == theirs.usage.input_tokens, case.id
            assert ours.usage.output_tokens == theirs.usage.output_tokens, case.id
            assert ours.usage.reasoning_tokens == theirs.usage.output_tokens_details.reasoning_tokens, case.id
