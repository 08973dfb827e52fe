"""Both sides of the tables in `from-openai.md`, run against one provider: they ask the same and print the same."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import anthropic
import openai
import pytest

import bifrost
from bifrost.sync import SyncBifrost
from tests.docs.served import Detour, asked, failing, our_failure, without_empty
from tests.docs.tables import Pair, is_async, pairs, rows, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bifrost.testing import LoopbackProvider

PAGE = "from-openai.md"
PAIRS = pairs(PAGE)
PATHS = rows(PAGE, "What a response holds")
ERRORS = rows(PAGE, "Errors")

SCRIPTS: Mapping[str, Callable[[LoopbackProvider], object]] = {
    "Streaming 2": lambda server: server.stream(["1, ", "2"], usage=(10, 5)),
    "Tools 1": lambda server: server.reply(tool_calls=[("weather", {"city": "Bern"})]).then.reply("Rain, yes."),
    "JSON that fits a schema 1": lambda server: server.reply('{"name": "Ann", "age": 41}'),
    "Time, retries, headers 3": lambda server: server.reply("Hi", headers={"x-request-id": "req_7"}),
    "Errors 1": lambda server: server.fail(429, retry_after=7),
    "What the SDK leaves to you 1": lambda server: server.on(provider="openai").fail(404),
}
"""What the provider does where it does not answer with a recording."""

CALLS = {"Going on with a conversation 1": 2, "Tools 1": 2, "What the SDK leaves to you 1": 2}
"""How many calls a row makes, if not one."""


# --- code


def play(pair: Pair, code: str, client: Any, server: LoopbackProvider, backend: str = "asyncio") -> tuple[str, Any]:
    """Run one side: what it prints, and what it asks."""
    server.forget()
    server.calls.clear()
    if pair.id in SCRIPTS:
        SCRIPTS[pair.id](server)
    namespace = {
        "client": client,
        "OpenAI": openai.OpenAI,
        "SyncBifrost": partial(SyncBifrost, transport=Detour(server)),
    }
    with ExitStack() as stack:
        # The page shows what people write, and that closes nothing.
        made = anthropic.Anthropic
        make = mock.Mock(side_effect=lambda: stack.enter_context(made()))
        stack.enter_context(mock.patch.object(anthropic, "Anthropic", make))
        try:
            printed = said(code.replace("http://localhost:8000", server.base_url), namespace, backend=backend)
        finally:
            for thing in (client, *namespace.values()):
                if isinstance(thing, openai.OpenAI | SyncBifrost):
                    stack.enter_context(closing(thing))
    server.assert_done()
    return printed, [asked(call) for call in server.calls]


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.id for pair in PAIRS])
def test_both_sides_ask_the_same_and_print_the_same(pair: Pair, server: LoopbackProvider) -> None:
    theirs = play(pair, pair.today, openai.OpenAI(max_retries=0), server)
    assert theirs[0].strip()
    assert len(theirs[1]) == CALLS.get(pair.id, 1)
    for backend in ("asyncio", "trio") if is_async(pair.ours) else ("asyncio",):
        assert play(pair, pair.ours, SyncBifrost(max_retries=0), server, backend) == theirs


def test_the_page_has_a_pair_for_everything_scripted() -> None:
    assert SCRIPTS.keys() | CALLS.keys() <= {pair.id for pair in PAIRS}


# --- paths


ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Let me see",
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 2,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}


@pytest.fixture
def both(server: LoopbackProvider) -> Iterator[tuple[Any, Any]]:
    """One answer, as either side reads it."""
    server.json(ANSWER).times(2)
    with openai.OpenAI() as theirs, SyncBifrost() as ours:
        yield (
            theirs.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]),
            ours.chat("openai/gpt-4o-mini", "Hello"),
        )


@pytest.mark.parametrize(("path", "shorter"), PATHS, ids=[path for path, _ in PATHS])
def test_a_path_leads_to_the_same_on_both_sides(path: str, shorter: str, both: tuple[Any, Any]) -> None:
    theirs, ours = (plain(eval(path.strip("`"), {"reply": reply})) for reply in both)  # noqa: S307 - the page's own code
    assert ours == theirs
    assert ours not in (None, 0, "", [])
    if shorter:
        assert plain(eval(shorter.strip("`"), {"reply": both[1]})) == ours  # noqa: S307


def plain(value: Any) -> Any:
    """A value of either library, in a form that can be compared."""
    if isinstance(value, list):
        return [(call.id, call.type, call.function.name, call.function.arguments) for call in value]
    if isinstance(value, dict):
        return without_empty(value)
    if hasattr(value, "role"):
        return value.role, value.content, plain(value.tool_calls)
    return value


# --- errors

ALWAYS = [row for row in ERRORS if row[0].startswith("any")]
SOMETIMES = [row for row in ERRORS if row not in ALWAYS]


def classes(row: list[str]) -> list[type[Exception]]:
    return [getattr(package, name.strip("`")) for package, name in zip((openai, bifrost), row[1:], strict=True)]


@pytest.mark.parametrize("row", SOMETIMES, ids=[row[0] for row in SOMETIMES])
def test_a_failure_raises_the_classes_of_its_row(row: list[str], server: LoopbackProvider) -> None:
    address, timeout = failing(row, server, times=2)
    raised = [their_failure(address, timeout), our_failure(address, timeout)]
    assert [type(error) for error in raised] == classes(row)


def test_the_classes_above_the_others_catch_them() -> None:
    answered = [row for row in SOMETIMES if row[0][0].isdigit()]
    for above, below in zip(ALWAYS, (SOMETIMES, answered), strict=True):
        for row in below:
            assert all(map(issubclass, classes(row), classes(above)))


def their_failure(address: str, timeout: float) -> openai.APIError:
    with (
        openai.OpenAI(base_url=address, timeout=timeout, max_retries=0) as client,
        pytest.raises(openai.APIError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    return caught.value
