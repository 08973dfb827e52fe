"""How to test a program that uses bifrost, without a network: run this file with pytest.

The fixtures come with the package. In a test that asks for `bifrost_mock`, every `Bifrost()` talks to a script; with
`bifrost_cassette` it talks to recorded exchanges, in `cassettes/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost import Bifrost, RateLimitError

if TYPE_CHECKING:
    from bifrost.testing import Cassette, MockTransport


async def summarise(text: str) -> str:
    """The program under test. It creates its own client and knows nothing of tests."""
    async with Bifrost() as client:
        reply = await client.chat("openai/gpt-4o-mini", text, system="Summarise in one sentence.")
    return reply.text


def test_gives_the_summary(bifrost_mock: MockTransport) -> None:
    bifrost_mock.reply("Short.")

    assert anyio.run(summarise, "A long text.") == "Short."

    call = bifrost_mock.calls[0]
    assert call.model == "gpt-4o-mini"
    assert call.request.messages[0].text == "Summarise in one sentence."


def test_survives_a_rate_limit(bifrost_mock: MockTransport) -> None:
    bifrost_mock.fail(429, retry_after=0.01).then.reply("Short.")

    assert anyio.run(summarise, "A long text.") == "Short."


def test_says_so_when_the_limit_stays(bifrost_mock: MockTransport) -> None:
    bifrost_mock.fail(429, retry_after=120).always()

    with pytest.raises(RateLimitError) as caught:
        anyio.run(summarise, "A long text.")

    assert caught.value.retry_after == 120


def test_with_a_recorded_answer(bifrost_cassette: Cassette) -> None:
    assert anyio.run(summarise, "hello") == "Hello! How can I assist you today?"
    assert bifrost_cassette.unused == []
