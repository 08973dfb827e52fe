"""A streamed answer, printed as it comes. `--live provider/model` asks a real provider."""

from __future__ import annotations

from bifrost import Bifrost, StreamInterruptedError
from bifrost.testing.demo import run_example


async def main(client: Bifrost, model: str) -> None:
    try:
        async with client.stream_chat(model, "Count to 5") as stream:
            async for text in stream.text_stream:
                print(text, end="", flush=True)
            print()
            reply = await stream.final()  # the same ChatResponse that a plain call gives
    except StreamInterruptedError as error:
        # Before the first word a failure is retried and falls back unseen; after it the part is yours to judge.
        print("\nbroken off after:", error.partial.text)
        raise

    print("finished because:", reply.finish_reason)


if __name__ == "__main__":
    run_example(main)
