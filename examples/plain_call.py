"""A plain call: one question, one response, and its tokens. `--live provider/model` calls a real provider."""

from __future__ import annotations

from bifrost import Bifrost
from bifrost.testing.demo import run_example


async def main(client: Bifrost, model: str) -> None:
    # In your own program: `async with Bifrost() as client:`, with keys from the environment.
    reply = await client.chat(model, "hello", system="You are brief.", temperature=0.2)

    print(reply.text)
    print("finished because:", reply.finish_reason)
    if reply.usage:
        print("tokens:", reply.usage.input_tokens, "in,", reply.usage.output_tokens, "out")
    for attempt in reply.attempts:
        print("tried:", attempt)


if __name__ == "__main__":
    run_example(main)
