"""The Responses API: reasoning, a tool, and a stream of events. `--live provider/model` calls a real provider."""

from __future__ import annotations

from bifrost import Bifrost, Tool
from bifrost.operations.responses import FunctionCallOutputItem
from bifrost.testing import LoopbackProvider
from bifrost.testing.demo import run_example

WEATHER = Tool(
    name="weather",
    description="Returns the weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


async def main(client: Bifrost, model: str) -> None:
    items = [{"role": "user", "content": "What is the weather in Oslo?"}]
    reply = await client.respond(model, items, tools=[WEATHER], reasoning={"effort": "low", "summary": "auto"})
    print("thought:", reply.reasoning)

    conversation = [*items, *reply.output]  # reasoning and calls go back as they are
    for call in reply.tool_calls:
        print("call:", call.name, call.arguments)
        conversation.append(FunctionCallOutputItem(call_id=call.id, output="12 degrees, rain"))

    async with client.stream_respond(model, conversation, tools=[WEATHER]) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
        reply = await stream.final()  # the response that a plain call returns
    print("\nstatus:", reply.status)


def script(server: LoopbackProvider) -> None:
    server.reply(reasoning="I need the weather.", tool_calls=[("weather", {"city": "Oslo"})])
    server.reply("It rains in Oslo, at 12 degrees.")


if __name__ == "__main__":
    run_example(main, model="openai/gpt-5", offline=script)
