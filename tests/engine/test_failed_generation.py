"""A provider that refuses what its own model wrote: the model's mistake, and nobody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bifrost import Bifrost, Key, MalformedResponseError, OutputValidationError, StaticAccount, Tool
from bifrost.testing import MockTransport, fake_key, no_waits

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

GROQ = "groq/llama-3.3-70b-versatile"
CLAUDE = "anthropic/claude-haiku-4-5"
TOOLS = [Tool(name="look", parameters={"type": "object", "properties": {}})]
WRITTEN = '{"name": "final_answer", "arguments": {"nme": "Ann"}}'


class Person(msgspec.Struct):
    name: str


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with no_waits():
        yield


def refusal(code: str = "tool_use_failed", **more: Any) -> dict[str, Any]:
    message = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
    fields = {"message": message, "type": "invalid_request_error", "code": code, "failed_generation": WRITTEN}
    return {"error": fields | more}


def client_of(mock: MockTransport, **options: Any) -> Bifrost:
    names = ("groq", "anthropic", "openrouter")
    keys = {name: [Key(name=name, value=fake_key(name))] for name in names}
    return mock.client(StaticAccount(keys=keys), **options)


def refuse(mock: MockTransport, **fields: Any) -> Any:
    return mock.json(refusal(**fields), status=400)


@pytest.mark.parametrize("code", ["tool_use_failed", "json_validate_failed"])
async def test_the_model_is_asked_again_for_a_type(mock: MockTransport, code: str) -> None:
    refuse(mock, code=code).then.reply(tool_calls=[("final_answer", '{"name": "Ann"}')])
    async with client_of(mock) as client:
        answer = await client.chat(GROQ, "Who?", output=Person, max_output_retries=1)

    assert answer.parsed == Person("Ann")
    assert [each.category for each in answer.attempts] == ["failed_generation", None]
    told = mock.calls[1].json["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert told[1]["content"] == WRITTEN
    assert "could not be read" in told[2]["content"]


async def test_without_reasks_it_is_an_answer_that_does_not_fit(mock: MockTransport) -> None:
    refuse(mock)
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError, match="does not fit Person: llama") as caught:
            await client.chat(GROQ, "Who?", output=Person)

    assert (caught.value.output, caught.value.status, caught.value.code) == (WRITTEN, 400, "tool_use_failed")
    assert len(mock.calls) == 1


async def test_asking_again_is_bounded_and_counts_what_came_before(mock: MockTransport) -> None:
    mock.reply(tool_calls=[("final_answer", "{}")], usage=(7, 3)).then.json(refusal(), status=400).times(2)
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError) as caught:
            await client.chat(GROQ, "Who?", output=Person, max_output_retries=2)

    assert caught.value.usage.input_tokens == 7
    assert [each.category for each in caught.value.attempts] == ["unfit", "failed_generation", "failed_generation"]


async def test_what_the_model_wrote_need_not_be_told(mock: MockTransport) -> None:
    refuse(mock, failed_generation=None).then.reply(tool_calls=[("final_answer", '{"name": "Ann"}')])
    async with client_of(mock) as client:
        answer = await client.chat(GROQ, "Who?", output=Person, max_output_retries=1)

    assert answer.parsed == Person("Ann")
    assert [message["role"] for message in mock.calls[1].json["messages"]] == ["user", "user"]


async def test_what_was_cut_off_is_not_asked_for_again(mock: MockTransport) -> None:
    refuse(mock, code="json_validate_failed", message="Failed to generate JSON: max completion tokens reached")
    async with client_of(mock) as client:
        with pytest.raises(OutputValidationError):
            await client.chat(GROQ, "Who?", output=Person, max_output_retries=3)

    assert len(mock.calls) == 1


async def test_with_plain_tools_it_is_tried_again(mock: MockTransport) -> None:
    refuse(mock).then.reply("hi")
    async with client_of(mock) as client:
        answer = await client.chat(GROQ, "Who?", tools=TOOLS)

    assert answer.text == "hi"
    assert [each.category for each in answer.attempts] == ["failed_generation", None]


@pytest.mark.parametrize("options", [{"tools": TOOLS}, {"output": Person}, {"output": Person, "max_output_retries": 1}])
async def test_a_fallback_is_tried(mock: MockTransport, options: dict[str, Any]) -> None:
    mock.on(provider="groq").json(refusal(), status=400).always()
    mock.on(provider="anthropic").reply('{"name": "Ann"}')
    async with client_of(mock, max_retries=0) as client:
        answer = await client.chat(GROQ, "Who?", fallbacks=[CLAUDE], **options)

    assert answer.provider == "anthropic"


async def test_a_stream_is_tried_again_before_its_first_content(mock: MockTransport) -> None:
    refuse(mock).then.reply(tool_calls=[("final_answer", '{"name": "Ann"}')])
    async with client_of(mock) as client, client.stream_chat(GROQ, "Who?", output=Person) as stream:
        answer = await stream.final()

    assert answer.parsed == Person("Ann")


async def test_a_gateway_that_repeats_it_is_understood(mock: MockTransport) -> None:
    raw = json.dumps(refusal())
    mock.json({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}, status=400)
    async with client_of(mock, max_retries=0) as client:
        with pytest.raises(MalformedResponseError) as caught:
            await client.chat("openrouter/groq/llama", "Who?", tools=TOOLS)

    assert caught.value.category == "failed_generation"


async def test_the_error_has_what_the_model_wrote_and_no_key(mock: MockTransport) -> None:
    refuse(mock, failed_generation=f"my key is {fake_key('groq')}")
    async with client_of(mock, max_retries=0) as client:
        with pytest.raises(MalformedResponseError) as caught:
            await client.chat(GROQ, "Who?", tools=TOOLS)

    assert caught.value.output.startswith("my key is ")
    assert fake_key("groq") not in caught.value.output
