"""Structured output: responses of your own types, also in streams. `--live provider/model` calls a real model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from bifrost import Bifrost
from bifrost.testing.demo import run_example

if TYPE_CHECKING:
    from bifrost.testing import LoopbackProvider

MAIL = "Please send 3 desk lamps at 19.90 and one chair, 89 euros, to our Oslo office. We need them by Friday!"


class Item(msgspec.Struct):
    name: str
    count: Annotated[int, msgspec.Meta(ge=1)]
    price: Annotated[float, msgspec.Meta(description="of one, in euros")]


class Order(msgspec.Struct):
    city: str
    urgency: Literal["low", "high"]
    items: list[Item]


async def main(client: Bifrost, model: str) -> None:
    # A dataclass, an attrs class, a TypedDict or a pydantic model works as well.
    reply = await client.chat(model, MAIL, output=Order, max_output_retries=1)
    order = reply.parsed
    print(f"to {order.city}, urgency {order.urgency}: {sum(each.count * each.price for each in order.items):.2f} euros")
    for attempt in reply.attempts:
        print("tried:", attempt)

    async with client.stream_chat(model, "Name three colours.", output=list[str]) as stream:
        async for colours in stream.partial_stream:
            print("so far:", colours)
        print("whole:", (await stream.final()).parsed)


def script(server: LoopbackProvider) -> None:
    """Script the embedded provider. Its first response does not fit, so the client asks again."""
    items = '[{"name": "lamp", "count": 3, "price": 19.9}, {"name": "chair", "count": 1, "price": 89}]'
    server.reply(f'{{"city": "Oslo", "urgency": "urgent", "items": {items}}}')
    server.reply(f'{{"city": "Oslo", "urgency": "high", "items": {items}}}')
    server.stream(['{"value": [', '"re', 'd", "gre', 'en", ', '"blue"]}'])


if __name__ == "__main__":
    run_example(main, offline=script)
