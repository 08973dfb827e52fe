"""Your own plugin: it adds a rule to every chat and counts words. `--live provider/model` calls a real one."""

from __future__ import annotations

from typing import Any

from bifrost import Bifrost, CallContext, ChatRequest, ChatResponse, Message, Plugin
from bifrost.testing.demo import run_example


class HouseRules(Plugin):
    name = "house_rules"

    def __init__(self, rules: str) -> None:
        self.rules = Message(role="system", content=rules)
        self.words = 0

    def before(self, call: CallContext, request: Any) -> Any:
        """Requests are frozen: a hook that changes one returns a copy."""
        if not isinstance(request, ChatRequest):
            return None
        return request.replace(messages=[self.rules, *request.messages])

    def after_call(self, call: CallContext, outcome: Any) -> None:
        """Run once for every call: `outcome` is a response or an error."""
        if isinstance(outcome, ChatResponse):
            self.words += len(outcome.text.split())


async def main(client: Bifrost, model: str) -> None:
    rules = HouseRules("Answer in one sentence.")
    await client.add_plugin(rules)  # or from the start: Bifrost(plugins=[rules])

    reply = await client.chat(model, "hello")

    print(reply.text)
    print("words so far:", rules.words)


if __name__ == "__main__":
    run_example(main)
