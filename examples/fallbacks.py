"""A provider that is down, and a fallback that serves instead. `--live provider/model` calls real providers."""

from __future__ import annotations

from bifrost import Bifrost, BifrostError
from bifrost.testing import LoopbackProvider
from bifrost.testing.demo import attempts_table, run_example


async def main(client: Bifrost, model: str) -> None:
    reply = await client.chat(model, "hello", fallbacks=["anthropic/claude-haiku-4-5"], timeout=60)

    print(f"{reply.provider} answered: {reply.text}")
    print(attempts_table(reply.attempts))

    # Without a fallback the provider's own error is raised. Its `attempts` has what was tried.
    try:
        await client.chat(model, "hello", max_retries=0)
    except BifrostError as error:
        print(f"{type(error).__name__}: {error}")


def one_is_down(server: LoopbackProvider) -> None:
    server.on(provider="openai").fail(503).always()


if __name__ == "__main__":
    run_example(main, offline=one_is_down)
