from __future__ import annotations

from typing import Any

import pytest

from bifrost import ConfigError, DefaultOptions, Reasoning, ResponseFormat
from bifrost.testing import MockTransport
from tests.plugins.recorder import MODEL, OTHER, Kind, ask
from tests.table import table

pytestmark = pytest.mark.anyio


async def sent_with(defaults: DefaultOptions, kind: Kind = "plain", **options: Any) -> dict[str, Any]:
    """Give what goes out when a chat is asked with these options."""
    mock = MockTransport()
    mock.reply("hello")
    async with mock.client(plugins=[defaults]) as client:
        reply = await ask(client, kind, **options)
    assert reply.warnings == []
    return mock.calls[0].json


async def test_what_a_request_leaves_open_is_filled_in(kind: Kind) -> None:
    body = await sent_with(DefaultOptions(temperature=0.2, max_tokens=500), kind, top_p=0.9)
    assert (body["temperature"], body["top_p"]) == (0.2, 0.9)
    assert 500 in body.values()


async def test_what_a_request_says_itself_stands(kind: Kind) -> None:
    body = await sent_with(DefaultOptions(temperature=0.2, stop="x"), kind, temperature=0.9)
    assert (body["temperature"], body["stop"]) == (0.9, ["x"])


async def test_openais_forms_are_understood() -> None:
    schema = {"type": "object", "properties": {}}
    defaults = DefaultOptions(
        stop="x",
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}],
        tool_choice="required",
        reasoning_effort="low",
        max_completion_tokens=7,
    )
    body = await sent_with(defaults)
    assert body["stop"] == ["x"]
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": schema}
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert (body["tool_choice"], body["reasoning_effort"]) == ("required", "low")
    assert 7 in body.values()


async def test_our_own_forms_are_understood() -> None:
    body = await sent_with(
        DefaultOptions(response_format=ResponseFormat(type="json_object"), reasoning=Reasoning(effort="low"))
    )
    assert (body["response_format"], body["reasoning_effort"]) == ({"type": "json_object"}, "low")


async def test_every_candidate_has_them() -> None:
    mock = MockTransport()
    mock.on(provider="openai").fail(404)
    mock.on(provider="anthropic").reply("hello")
    async with mock.client(plugins=[DefaultOptions(temperature=0.2)]) as client:
        await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert [call.json["temperature"] for call in mock.calls] == [0.2, 0.2]


async def test_other_operations_are_left_alone() -> None:
    mock = MockTransport()
    mock.embed([[1.0]])
    async with mock.client(plugins=[DefaultOptions(temperature=0.2)]) as client:
        await client.embed("openai/text-embedding-3-small", "hi")
    assert "temperature" not in mock.calls[0].json


@table(
    ("options", "problem"),
    [
        ({"temprature": 1}, "'temprature' is no option of a chat; did you mean temperature"),
        ({"model": "openai/x"}, "'model' is no option of a chat"),
        ({"temperature": "hot"}, "temperature: expected `float`, got `str`"),
        ({"stop": 7}, "stop: "),
        ({"response_format": {"type": "xml"}}, "response_format.type: unknown value 'xml'"),
        ({"reasoning": ResponseFormat()}, "reasoning: expected Reasoning or a dict, got ResponseFormat"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_no_request_could_have_is_refused_at_once(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^default_options: {problem}"):
        DefaultOptions(**options)
