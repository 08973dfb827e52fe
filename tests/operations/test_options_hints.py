"""Hints for what is passed in another form than the one that is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import Bifrost, InvalidRequestError

if TYPE_CHECKING:
    from bifrost.testing import MockTransport


pytestmark = pytest.mark.anyio


@dataclass
class Order:
    number: int


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ("hi", {"reasoning": "low"}, "reasoning: expected Reasoning or a dict, got str; write reasoning_effort='low'"),
        ("hi", {"output": Order(1)}, "output: this is an object of the type Order; pass the type"),
        ([{"role": "user", "content": "hi", "images": ["x"]}], {}, "an image is a part of the content"),
    ],
)
async def test_a_value_in_another_form_is_explained(
    mock: MockTransport, messages: Any, options: dict[str, Any], message: str
) -> None:
    async with Bifrost(mock.account, transport=mock) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.chat("openai/a", messages, **options)
    assert message in str(caught.value)


async def test_a_map_explains_an_input_without_messages(mock: MockTransport) -> None:
    async with (
        Bifrost(mock.account, transport=mock) as client,
        client.map([{"mesages": "hi"}], model="openai/a") as results,
    ):
        (result,) = [each async for each in results]
    assert "neither 'messages' (a request) nor 'role' (a message); it has: 'mesages'" in str(result.error)
