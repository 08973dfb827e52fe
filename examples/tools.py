"""A tool: the model requests it, and the program runs it. `--live provider/model` calls a real one."""

from __future__ import annotations

from typing import Any

from bifrost import Bifrost, Message, Tool
from bifrost.testing.demo import run_example

GET_USER_COUNTRY = Tool(
    name="get_user_country",
    description="The country the user is in.",
    parameters={"type": "object", "properties": {}, "additionalProperties": False},
)


def get_user_country() -> str:
    return "Mexico"


FUNCTIONS = {"get_user_country": get_user_country}


async def main(client: Bifrost, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the largest city in the user country?"}]
    reply = await client.chat(model, messages, tools=[GET_USER_COUNTRY])
    while reply.tool_calls:
        messages.append(reply.message)
        for call in reply.tool_calls:
            result = FUNCTIONS[call.name](**call.parse_arguments())
            print(f"{call.name}({call.arguments}) -> {result}")
            messages.append(Message(role="tool", tool_call_id=call.id, content=result))
        reply = await client.chat(model, messages, tools=[GET_USER_COUNTRY])

    print(reply.text)


if __name__ == "__main__":
    run_example(main, model="openai/gpt-4o")
