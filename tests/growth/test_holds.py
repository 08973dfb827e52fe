"""How long one answer holds the event loop, whatever a provider puts into it: measured on the loop, through the client.

The CPU time of the loop's thread between two turns of a task that only waits.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from bifrost import Bifrost, BifrostError, Key, ProviderConfig, SizeLimits, StaticAccount
from bifrost.testing import MockTransport

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

KEY = "sk-proj-7fQ3aZ91xZkLm2Xv8Rt0Yw4BcWX4Z"
MIB = 1024 * 1024
_TRACED = 4.0 if "COVERAGE_PROCESS_START" in os.environ else 1.0
"""The measurement of coverage makes each line slower, and a line may be all that a loop does."""

LIMIT = 0.050 * _TRACED
"""In seconds, for anything up to 1 MiB."""
DENSE_LIMIT = 0.080 * _TRACED
"""For text that begins like JSON and is made of brackets. Read sign by sign it takes a second and more."""
_TRIES = 5

ECHOES = {
    "the key": f"{KEY} ",
    "beginnings of the key": KEY[:7],
    "pieces beside masks": f"..{KEY[9:13]}",
    "dots": ".",
    "percent": "%41",
    "escapes": "\\u0041",
    "entities": "&amp;",
    "words": "a few words ",
}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    name: str


async def longest_hold(
    script: Callable[[MockTransport], object], *, body: int = MIB, output: Any = None, limit: float = LIMIT
) -> float:
    """Return how long a call holds the loop, in seconds: the least of a few tries, since others use this machine."""
    account = StaticAccount(
        keys={"openai": [Key(name="own", value=KEY)]},
        configs={"openai": ProviderConfig(size_limits=SizeLimits(error_body=body))},
    )
    best = float("inf")
    for _ in range(_TRIES):
        mock = MockTransport()
        async with Bifrost(account, transport=mock) as client:
            mock.reply("warm up")
            await client.chat("openai/m", "hi")
            script(mock)
            best = min(best, await _hold_of(client, output))
        if best < limit:
            break
    return best


async def _hold_of(client: Bifrost, output: Any) -> float:
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            longest = max(longest, now - last)
            last = now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await anyio.lowlevel.checkpoint()
        with suppress(BifrostError):
            await client.chat("openai/m", "hi", output=output, max_output_retries=0)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return longest


def text_of(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size]


async def test_a_refusal_of_the_usual_limit_does_not_hold_the_loop() -> None:
    text = text_of(ECHOES["pieces beside masks"], MIB // 16)
    assert await longest_hold(lambda mock: mock.raw(400, text), body=MIB // 16) <= LIMIT


@pytest.mark.wide
@pytest.mark.parametrize("size", [MIB // 16, MIB], ids=["64 KiB", "1 MiB"])
@pytest.mark.parametrize("form", ["JSON", "bare"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_a_refusal_that_echoes_the_key_does_not_hold_the_loop(echo: str, form: str, size: int) -> None:
    text = text_of(ECHOES[echo], size - 64)
    body = json.dumps({"error": {"message": text}}).encode() if form == "JSON" else text.encode()

    def script(mock: MockTransport) -> None:
        mock.raw(400, body, {"content-type": "application/json"})

    assert await longest_hold(script, body=size) <= LIMIT


@pytest.mark.parametrize("odd", [{}, {"logprob": None}, {"logprob": "NaN"}, {"bytes": "none"}, {"token": 5}], ids=str)
async def test_log_probabilities_do_not_hold_the_loop(odd: dict[str, Any]) -> None:
    token = {"token": "word", "logprob": -0.25, "bytes": [119, 111, 114, 100]}
    content = [{**token, "top_logprobs": [token, {**token, **odd}]} for _ in range(MIB // 200)]
    message = {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop", "logprobs": {"content": content}}

    def script(mock: MockTransport) -> None:
        mock.raw(200, json.dumps({"choices": [message]}), {"content-type": "application/json"})

    assert await longest_hold(script) <= LIMIT


@pytest.mark.parametrize(
    ("before", "item", "after"),
    [
        ('"content": "hi", "tool_calls": [', '{"index": {}, "function": {"name": "f", "arguments": "{}"}}', "]"),
        ('"content": [', '{"type": 5, "text": "a"}', "]"),
        ('"content": [', '{"type": "text", "text": {}}', "]"),
        ('"content": 5, "annotations": [', '{"type": "url_citation", "url_citation": {"url": 5}}', "]"),
        ('"content": "hi", "reasoning": [', '{"a": "bcdef"}', "]"),
    ],
    ids=["calls", "parts", "texts", "annotations", "reasoning"],
)
async def test_a_document_of_another_shape_does_not_hold_the_loop(before: str, item: str, after: str) -> None:
    items = ",".join([item] * (MIB // (len(item) + 1) - 10))
    body = '{"choices": [{"index": 0, "message": {' + before + items + after + "}}]}"

    def script(mock: MockTransport) -> None:
        mock.raw(200, body, {"content-type": "application/json"})

    assert await longest_hold(script) <= LIMIT


@pytest.mark.wide
@pytest.mark.parametrize("text", ["[", "{}", '{"a":', "[1],", '"",', "<think>x</think>[]", "```json\n[]"])
@pytest.mark.parametrize("before", ["", "[", '{"name": [', "<think>x</think>["])
async def test_dense_json_that_does_not_fit_is_given_up_soon(before: str, text: str) -> None:
    def script(mock: MockTransport) -> None:
        mock.reply(before + text_of(text, MIB))

    assert await longest_hold(script, output=Order, limit=DENSE_LIMIT) <= DENSE_LIMIT
