"""A script without `async`: a call, several calls from threads, a stream. `--live provider/model` calls a real one."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from bifrost import SyncBifrost
from bifrost.testing import MockTransport

RIVERS = ["Glomma", "Vistula", "Ebro"]


def main(client: SyncBifrost, model: str) -> None:
    """Use a client as a script does."""
    reply = client.chat(model, "Say hello", system="You are brief.", timeout=30)
    print(reply.text)
    print("tokens:", reply.usage)
    print(reply.attempts[0])

    def course(river: str) -> str:
        return client.chat(model, f"Where does the {river} flow?").text

    with ThreadPoolExecutor() as pool:  # one client serves any number of threads
        for answer in pool.map(course, RIVERS):
            print(answer)

    with client.stream_chat(model, "Count to five") as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
        print()
        print("finished because:", stream.final().finish_reason)


def offline() -> SyncBifrost:
    """Make a client of a scripted provider. In your own program: `with SyncBifrost() as client:`."""
    mock = MockTransport()
    mock.function(lambda request: f"You said: {request.messages[-1].text}").always()
    return SyncBifrost(mock.account, transport=mock)


if __name__ == "__main__":
    live = sys.argv[1:2] == ["--live"]
    with SyncBifrost() if live else offline() as own:
        main(own, sys.argv[2] if live else "openai/gpt-4o-mini")
