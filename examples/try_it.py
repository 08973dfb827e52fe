"""See bifrost at work, without a key and without the network.

Two stand-ins for providers are started on the loopback. They speak OpenAI's and Anthropic's HTTP and give recorded
answers of theirs; everything else is what your program would run. `--live provider/model` makes one real call.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

import anyio

from bifrost import AssistantMessage, Bifrost, BifrostError, Key, Message, Tool
from bifrost.testing import LoopbackProvider, fake_key
from bifrost.testing.demo import announcement, attempts_table, keep_off_proxies

COUNTRY = Tool(
    name="get_user_country",
    description="The country the user is in.",
    parameters={"type": "object", "properties": {}, "additionalProperties": False},
)
LIVE_PROMPT = "Say hello in five words."


async def plain_call(client: Bifrost) -> None:
    heading("A plain call")
    reply = await client.chat("openai/gpt-4o-mini", "hello")
    print(f"{reply.model}: {reply.text}")
    print(f"{reply.usage.input_tokens} tokens in, {reply.usage.output_tokens} out" if reply.usage else "")
    print(attempts_table(reply.attempts))


async def call_in_trouble(client: Bifrost, server: LoopbackProvider) -> None:
    heading("A call in trouble: the first key is rate-limited, then the provider is down")
    server.on(provider="openai").fail(429, retry_after=30).then.fail(503).always()
    reply = await client.chat("openai/gpt-4o-mini", "hello", fallbacks=["anthropic/claude-haiku-4-5"])
    server.forget()
    print(f"{reply.model}: {reply.text}")
    print(attempts_table(reply.attempts))


async def stream(client: Bifrost) -> None:
    heading("A stream, printed as it comes")
    async with client.stream_chat("openai/gpt-3.5-turbo", "Count to 5") as answer:
        async for text in answer.text_stream:
            print(text, end="", flush=True)
        reply = await answer.final()
    print(f"\n{attempts_table(reply.attempts)}")


async def tool_call(client: Bifrost) -> None:
    heading("A tool call")
    messages: list[Message | AssistantMessage]
    messages = [Message(role="user", content="What is the largest city in the user country?")]
    asked = await client.chat("openai/gpt-4o", messages, tools=[COUNTRY])
    messages.append(asked.message)
    for call in asked.tool_calls:
        print(f"the model calls {call.name}({call.arguments}); we answer: Mexico")
        messages.append(Message(role="tool", tool_call_id=call.id, content="Mexico"))
    reply = await client.chat("openai/gpt-4o", messages, tools=[COUNTRY])
    print(f"{reply.model}: {reply.text}")
    print(attempts_table([*asked.attempts, *reply.attempts]))


async def offline() -> None:
    async with LoopbackProvider(pace=0.05) as server:
        print(f"OpenAI's and Anthropic's stand-ins listen on {server.base_url}. Times are in milliseconds.")
        spare = Key(name="spare-key", value=fake_key("spare-key"), weight=0)  # used when no other key is left
        account = server.account({"openai": ["first-key", spare], "anthropic": ["only-key"]})
        async with Bifrost(account) as client:
            await plain_call(client)
            await call_in_trouble(client, server)
            await stream(client)
            await tool_call(client)
        print(f"\n{len(server.calls)} requests over {server.connections.opened} connections.")


async def live(model: str) -> None:
    print(announcement(model))
    print(f"sending one message: {LIVE_PROMPT!r}")
    async with Bifrost() as client:
        reply = await client.chat(model, LIVE_PROMPT)
    print(f"{reply.model}: {reply.text}")
    print(attempts_table(reply.attempts))


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--live", metavar="PROVIDER/MODEL", help="make one real call, with the key in your environment")
    model: str | None = parser.parse_args().live
    try:
        if model is None:
            keep_off_proxies()
            anyio.run(offline)
        else:
            anyio.run(live, model)
    except BifrostError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
