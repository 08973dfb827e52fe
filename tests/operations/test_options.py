from __future__ import annotations

import math
from typing import Any, get_type_hints

import pytest

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.options import (
    CHAT_OPTIONS,
    ChatOptions,
    chat_fields,
    chat_request,
)
from bifrost.operations.chat.request import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    WebSearch,
)
from bifrost.operations.chat.tools import Tool, ToolChoice
from bifrost.operations.embeddings import embedding_request
from bifrost.operations.models import ModelsRequest, models_request
from tests.table import table

OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
    "web_search_options": "web_search",
}


def fields_of(**options: Any) -> dict[str, Any]:
    return chat_fields(ChatOptions(**options))


# --- which options there are


def test_every_field_of_a_request_is_an_option_and_no_other() -> None:
    fields = set(ChatRequest.__struct_fields__) - {"model", "messages"}
    assert {OTHER_NAMES.get(name, name) for name in CHAT_OPTIONS} == fields


def test_the_hints_can_be_read() -> None:
    assert set(get_type_hints(ChatOptions)) == CHAT_OPTIONS


@table("name", sorted(CHAT_OPTIONS))
def test_none_means_not_given(name: str) -> None:
    assert fields_of(**{name: None}) == {}


@table(
    ("name", "hint"),
    [
        ("temprature", "did you mean temperature?"),
        ("max_token", "did you mean max_tokens"),
        ("zzz", "known providers: audio, extra, "),
        ("stream", "call stream_chat"),
        ("functions", "give tools"),
        ("function_call", "give tool_choice"),
        ("extra_body", "give extra="),
        ("api_key", "from the environment or an account"),
        ("api_base", "ProviderConfig"),
        ("num_retries", "give max_retries$"),
        ("fallback", "did you mean fallbacks"),
        ("time_out", "did you mean timeout"),
        ("ouput", "did you mean output"),
        ("timeout", "to with_options"),
    ],
)
@table("value", [1, None])
def test_a_wrong_name_is_told_with_what_was_perhaps_meant(name: str, hint: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{name}' is no option of a chat; .*{hint}"):
        fields_of(**{name: value})


# --- reading them


@table(
    ("options", "field", "value"),
    [
        ({"temperature": 1}, "temperature", 1.0),
        ({"top_k": 40}, "top_k", 40),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ("x", "y")}, "stop", ["x", "y"]),
        ({"max_completion_tokens": 5}, "max_tokens", 5),
        ({"max_completion_tokens": 5, "max_tokens": 5}, "max_tokens", 5),
        ({"tool_choice": "auto"}, "tool_choice", ToolChoice(mode="auto")),
        ({"tool_choice": ToolChoice(mode="none")}, "tool_choice", ToolChoice(mode="none")),
        ({"tools": [Tool(name="f")]}, "tools", [Tool(name="f")]),
        ({"response_format": ResponseFormat()}, "response_format", ResponseFormat()),
        ({"response_format": {"type": "json_object"}}, "response_format", ResponseFormat(type="json_object")),
        ({"reasoning": Reasoning(max_tokens=9)}, "reasoning", Reasoning(max_tokens=9)),
        ({"reasoning": {"display": "omitted"}}, "reasoning", Reasoning(display="omitted")),
        ({"reasoning_effort": "low"}, "reasoning", Reasoning(effort="low")),
        (
            {"reasoning_effort": "low", "reasoning": {"max_tokens": 9}},
            "reasoning",
            Reasoning(effort="low", max_tokens=9),
        ),
        (
            {"reasoning": Reasoning(max_tokens=9), "reasoning_effort": "low"},
            "reasoning",
            Reasoning(effort="low", max_tokens=9),
        ),
        ({"stream_options": {"include_usage": False}}, "stream_options", StreamOptions(include_usage=False)),
        ({"stream_options": StreamOptions()}, "stream_options", StreamOptions()),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", Prediction(content="x")),
        ({"prediction": Prediction(content="x")}, "prediction", Prediction(content="x")),
        ({"audio": {"voice": "a", "format": "mp3"}}, "audio", AudioOutput(voice="a", format="mp3")),
        ({"web_search": {"max_uses": 2}}, "web_search", WebSearch(max_uses=2)),
        ({"web_search": WebSearch(max_uses=2)}, "web_search", WebSearch(max_uses=2)),
        ({"web_search_options": WebSearch(max_uses=2)}, "web_search", WebSearch(max_uses=2)),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search", WebSearch(context_size="low")),
        ({"extra": {"openai": {"x": [1]}}}, "extra", {"openai": {"x": [1]}}),
        ({"logit_bias": {"50": -100}}, "logit_bias", {"50": -100.0}),
        ({"logit_bias": {50: -100}}, "logit_bias", {"50": -100.0}),
    ],
    ids=str,
)
def test_options_become_fields(options: dict[str, Any], field: str, value: Any) -> None:
    fields = fields_of(**options)
    assert fields == {field: value}
    ChatRequest(model="m", messages=[], **fields)


@table(
    ("options", "problem"),
    [
        ({"temperature": "hot"}, "temperature: expected `float`, got `str`"),
        ({"temperature": True}, "temperature: expected `float`, got `bool`"),
        ({"temperature": math.nan}, "temperature: expected a finite number, got nan"),
        ({"top_p": math.inf}, "top_p: expected a finite number, got inf"),
        ({"logit_bias": {"50": math.nan}}, r"logit_bias\['50'\]: expected a finite number"),
        ({"top_k": 1.5}, "top_k: expected `int`, got `float`"),
        ({"seed": "7"}, "seed: expected `int`, got `str`"),
        ({"tools": Tool(name="f")}, "tools: expected a list of tools, got Tool"),
        ({"tools": [7]}, r"tools\[0\]: expected a Tool or a dict"),
        ({"tools": [ResponseFormat()]}, r"tools\[0\]: expected a Tool or a dict"),
        ({"tool_choice": ResponseFormat()}, "tool_choice: expected ToolChoice or a dict, got ResponseFormat"),
        ({"tool_choice": "often"}, "tool_choice: unknown value 'often'"),
        ({"response_format": "json"}, "response_format: expected an object"),
        ({"reasoning": "low"}, "reasoning: expected Reasoning or a dict, got str"),
        ({"reasoning": {"efort": "low"}}, "'efort' is no option of reasoning; did you mean effort"),
        ({"reasoning": {"max_tokens": "9"}}, r"reasoning.max_tokens: expected `int \| None`, got `str`"),
        ({"web_search": {"uses": 2}}, "'uses' is no option of web_search; did you mean max_uses"),
        ({"web_search": {}, "web_search_options": {}}, "give web_search or web_search_options, not both"),
        ({"reasoning": Reasoning(effort="high"), "reasoning_effort": "low"}, "reasoning_effort or reasoning.effort"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"extra": {"top_k": 7}}, r"extra: options stand in a dict .*; under 'top_k' there is int"),
        ({"extra": "openai"}, "extra: expected `dict`, got `str`"),
        ({"verbosity": "loud"}, "verbosity: unknown value 'loud'"),
        ({"stop": 3}, "stop: expected text or a list of texts, got int"),
        ({"stop": ["a", 3]}, r"stop\[1\]: expected `str`, got `int`"),
        ({"metadata": {"a": 1}}, r"metadata\[...\]: expected `str`, got `int`"),
        ({"metadata": {1: "a"}}, "a key of metadata: expected `str`, got `int`"),
        ({"logit_bias": {1.5: 1}}, "a key of logit_bias: expected `str`, got `float`"),
        ({"logit_bias": [7]}, "logit_bias: expected an object"),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_by_its_place(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        fields_of(**options)


def test_what_a_caller_gives_is_not_changed() -> None:
    extra: dict[str, Any] = {"openai": {"x": 1}}
    stop = ["a"]
    messages = [{"role": "user", "content": "hi"}]
    request = chat_request("m", messages, system="be kind", options=ChatOptions(extra=extra, stop=stop))
    assert (extra, stop) == ({"openai": {"x": 1}}, ["a"])
    assert messages == [{"role": "user", "content": "hi"}]
    assert [message.role for message in request.messages] == ["system", "user"]


def test_a_system_prompt_is_text() -> None:
    with pytest.raises(InvalidRequestError, match="system: expected text, got list"):
        chat_request("m", "hi", system=["be kind"], options=ChatOptions())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- embeddings


@table(
    ("texts", "inputs"),
    [
        ("hi", ["hi"]),
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([0], [[0]]),
        ([[1, 2], [0]], [[1, 2], [0]]),
    ],
    ids=str,
)
def test_texts_and_tokens_are_read(texts: Any, inputs: list[Any]) -> None:
    assert embedding_request("m", texts).input == inputs


@table(
    ("texts", "problem"),
    [
        ("", "nothing to embed"),
        ([], "nothing to embed"),
        (["a", ""], "nothing to embed"),
        ([[]], "nothing to embed"),
        (None, "input: expected a text or a list of texts, got NoneType"),
        (7, "got int"),
        (b"bytes", "got bytes"),
        ({"a": 1}, "got dict"),
        (["a", None], r"input\[1\]: expected `str | list`, got `None`"),
        ([True], r"input\[0\]: expected `str | list`, got `bool`"),
        ([1.5], r"input\[0\]: expected `str | list`, got `float`"),
    ],
    ids=str,
)
def test_what_cannot_be_embedded_is_told(texts: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        embedding_request("m", texts)


def test_options_of_embeddings_are_checked() -> None:
    assert embedding_request("m", "hi", dimensions=256, user="me").dimensions == 256
    with pytest.raises(InvalidRequestError, match="encoding_format: unknown value 'hex'; known: float, base64"):
        embedding_request("m", "hi", encoding_format="hex")


# --- lists of models


def test_a_provider_is_asked_for_a_page() -> None:
    assert models_request("openai", limit=5, after="x") == ModelsRequest(model="openai/", limit=5, after="x")
    assert models_request("openai", limit=None, after=None) == ModelsRequest(model="openai/")


@table(
    ("wrong", "problem"),
    [
        ({"provider": None}, "provider: expected `str`, got `None`"),
        ({"limit": "5"}, "limit: expected `int | None`, got `str`"),
        ({"limit": 0}, "limit: a page has at least one model, not 0"),
        ({"after": 7}, "after: expected `str | None`, got `int`"),
    ],
    ids=str,
)
def test_what_is_no_page_is_told(wrong: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"provider": "openai", "limit": None, "after": None} | wrong
    with pytest.raises(InvalidRequestError) as caught:
        models_request(**given)
    assert str(caught.value) == problem
