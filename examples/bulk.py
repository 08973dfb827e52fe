"""Many prompts, a few at a time, written to a file as they are completed. `--live provider/model` calls a real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bifrost import ChatRequest, SyncBifrost
from bifrost.testing import MockTransport

if TYPE_CHECKING:
    from collections.abc import Iterator


def prompts() -> Iterator[str]:
    """Yield the inputs one by one: from a file, a database, anything. Only running calls are in memory."""
    for number in range(100):
        yield f"What is {number} + 1?"


def main(client: SyncBifrost, model: str, path: Path) -> None:
    """Run all of them, eight at once. Each has one minute from the moment when it starts."""
    failed = 0
    with path.open("w", encoding="utf-8") as answers:
        for result in client.map(prompts(), model=model, concurrency=8, timeout=60, max_tokens=20):
            if result.response is None:
                failed += 1
                print(f"number {result.index} failed: {result.error}")
            else:
                line = {"index": result.index, "prompt": result.input, "answer": result.response.text}
                answers.write(json.dumps(line) + "\n")
    print(f"{failed} failed; the last line written:", path.read_text(encoding="utf-8").splitlines()[-1])


def offline() -> SyncBifrost:
    """Make a client of a scripted provider. In your own program: `with SyncBifrost() as client:`."""

    def answer(request: ChatRequest) -> str:
        return str(int(request.messages[-1].text.split()[2]) + 1)

    mock = MockTransport()
    mock.when(lambda call: "What is 13 " in str(call.json)).fail(500).always()
    mock.function(answer).always()
    return SyncBifrost(mock.account, transport=mock, max_retries=0)


if __name__ == "__main__":
    live = sys.argv[1:2] == ["--live"]
    with TemporaryDirectory() as folder, SyncBifrost() if live else offline() as own:
        main(own, sys.argv[2] if live else "openai/gpt-4o-mini", Path(folder) / "answers.jsonl")
