"""What those who come from other libraries write first, and what they are told."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import (
    AttemptRecord,
    Bifrost,
    BifrostError,
    ChatResponse,
    ConfigError,
    InvalidRequestError,
    StaticAccount,
    SyncBifrost,
    Usage,
    UsageError,
)
from bifrost.testing import MockTransport, fake_key
from tests.canary import CANARY
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = StaticAccount(keys={"openai": fake_key("k")})
HABITS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda client: client.chat.completions.create(model="m", messages=[]), r"write client\.chat\(model, messages\)"),
    (lambda client: client.chat.completions.stream(model="m"), r"client\.stream_chat"),
    (lambda client: client.chat.completions(model="m"), r"write client\.chat"),
    (lambda client: client.completion(model="m"), r"write client\.chat"),
    (lambda client: client.acompletion(model="m"), r"write client\.chat"),
    (lambda client: client.completions.create(), r"write client\.complete\(model, prompt\)"),
    (lambda client: client.text_completion("m", "hi"), r"write client\.complete"),
    (lambda client: client.moderations.create(), r"write client\.moderate"),
    (lambda client: client.arerank("m"), r"write client\.rerank"),
    (lambda client: client.aresponses("m"), r"write client\.respond"),
    (lambda client: client.token_counter("m"), r"write client\.count_tokens"),
    (lambda client: client.aocr("m"), r"write client\.ocr"),
    (lambda client: client.responses.create(), r"write client\.respond"),
    (lambda client: client.messages.create(), r"write client\.chat"),
    (lambda client: client.beta.chat, r"write client\.chat"),
    (lambda client: client.invoke("hi"), r"write client\.chat"),
    (lambda client: client.stream("hi"), r"write client\.stream_chat"),
    (lambda client: client.embeddings.create(), r"write client\.embed"),
    (lambda client: client.embedding("hi"), r"write client\.embed"),
    (lambda client: client.models.list(), r"write client\.list_models"),
    (lambda client: client.batch([]), r"write client\.map"),
    (lambda client: client.api_key, r"client\.providers\(\)"),
    (lambda client: client.images.generate(), "no such endpoint: it has chat, respond, .*rerank, .* ocr"),
    (lambda client: client.vector_stores.create(), "no such endpoint"),
]


@table("kind", [Bifrost, SyncBifrost])
@table(("habit", "told"), HABITS, ids=range(len(HABITS)))
def test_a_habit_of_another_client_says_what_to_write(kind: Any, habit: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        habit(kind(ACCOUNT))
    assert isinstance(caught.value, AttributeError)


@pytest.mark.parametrize("kind", [Bifrost, SyncBifrost])
def test_what_nobody_has_is_an_ordinary_attribute_error(kind: Any) -> None:
    client = kind(ACCOUNT)
    assert not hasattr(client, "completion")
    assert getattr(client, "acompletion", None) is None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'") as caught:
        _ = client.nothing
    assert not isinstance(caught.value, BifrostError)
    assert "client.chat.completions" in repr(client.chat.completions)
    assert not hasattr(client.chat.completions, "__len__")


@table("kind", [Bifrost, SyncBifrost])
@table(
    ("arguments", "told"),
    [
        ({"api_key": CANARY}, r"takes no api_key=: keys come from the environment .*StaticAccount\(keys="),
        ({"base_url": "https://x.example"}, r"OPENAI_BASE_URL.*ProviderConfig\(base_url="),
        ({"api_base": "https://x.example"}, "OPENAI_BASE_URL"),
        ({"organization": "org"}, "extra_headers"),
        ({"default_headers": {}}, "write extra_headers"),
        ({"num_retries": 3}, "write max_retries"),
        ({"http_client": None}, "write transport"),
        ({"model": "gpt-4o"}, "each call names its model"),
        ({"model_list": []}, "write models="),
        ({"callbacks": []}, "write plugins"),
        ({"time_out": 3}, "did you mean timeout"),
        ({"zzz": 3}, "it takes account, clock"),
        ({"models": {"fast": "a/b"}}, r"write \{'fast': \['a/b'\]\}"),
        ({"account": CANARY}, r"StaticAccount\(keys="),
        ({"account": {"openai": CANARY}}, r"StaticAccount\(keys="),
    ],
)
def test_an_argument_of_another_client_says_what_to_write(kind: Any, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        kind(**arguments)
    assert CANARY not in str(caught.value)


def test_a_key_that_was_given_there_is_in_no_frame_of_ours() -> None:
    with pytest.raises(ConfigError) as caught:
        Bifrost(api_key=CANARY)  # type: ignore[call-overload, call-arg] # pyright: ignore[reportCallIssue]
    assert caught.value.__traceback__ is not None
    ours = caught.value.__traceback__.tb_next
    shown = traceback.TracebackException(type(caught.value), caught.value, ours, capture_locals=True).format()
    assert CANARY not in "".join(shown)


@table(
    ("name", "told"),
    [
        ("api_base", "ProviderConfig"),
        ("api_key", "keys are the client's"),
        ("stream", "stream_chat"),
        ("prompt", "as messages"),
        ("max_output_tokens", "give max_tokens"),
        ("custom_llm_provider", "provider/model"),
        ("text_format", "give output"),
        ("mock_response", "bifrost_mock"),
        ("callbacks", "give plugins"),
    ],
)
def test_an_option_of_another_library_says_what_to_write(name: str, told: str) -> None:
    with SyncBifrost(ACCOUNT, transport=MockTransport()) as client, pytest.raises(InvalidRequestError, match=told):
        client.chat("openai/m", "hi", **{name: "x"})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportCallIssue]


@table(
    ("name", "told"),
    [
        ("model_dump", r"write \.to_dict\(\)"),
        ("dict", r"\.to_dict"),
        ("model_dump_json", r"json\.dumps"),
        ("output_text", r"write \.text"),
        ("content", r"write \.text"),
        ("response_ms", r"write \.elapsed"),
        ("_hidden_params", "cost"),
    ],
)
def test_an_attribute_of_another_answer_says_what_to_write(name: str, told: str) -> None:
    reply: Any = ChatResponse.of("hi")
    with pytest.raises(UsageError, match=told):
        getattr(reply, name)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = reply.nothing


def test_an_answer_is_copied_and_pickled_as_before() -> None:
    reply = ChatResponse.of("hi")
    assert copy.deepcopy(reply) == copy.copy(reply) == reply
    assert pickle.loads(pickle.dumps(reply)) == reply  # noqa: S301 - our own bytes


def test_usage_is_never_none() -> None:
    reply = ChatResponse.of("hi")
    assert not reply.usage
    assert reply.usage.total_tokens == 0
    assert "usage" not in reply.to_dict()
    assert Usage(output_tokens=1)
    with pytest.raises(UsageError, match="to_dict"):
        _ = reply.usage.model_dump  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def test_elapsed_counts_attempts_and_waits() -> None:
    assert ChatResponse.of("hi").elapsed == 0.0
    mock = MockTransport()
    mock.reply("ok")
    with SyncBifrost(ACCOUNT, transport=mock) as client:
        reply = client.chat("openai/m", "hi")
    [attempt] = reply.attempts
    assert isinstance(attempt, AttemptRecord)
    assert reply.elapsed == attempt.wait + (attempt.total or 0.0) > 0
