"""A stream, printed as it arrives. `--live provider/model` calls a real provider."""

from __future__ import annotations

from bifrost import Bifrost, StreamInterruptedError
from bifrost.testing.demo import run_example


async def main(client: Bifrost, model: str) -> None:
    try:
        async with client.stream_chat(model, "Count to 5") as stream:
            async for text in stream.text_stream:
                print(text, end="", flush=True)
            print()
            reply = await stream.final()  # the same ChatResponse that a plain call returns
    except StreamInterruptedError as error:
        # Before the first word a failure is retried silently. After it, you decide what to do with the part.
        print("\ninterrupted after:", error.partial.text)
        raise

    print("finished because:", reply.finish_reason)


if __name__ == "__main__":
    run_example(main)
