"""A client that is configured by a file, `bifrost.toml` beside this program. A script replaces the providers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from bifrost import Bifrost, ConfigError
from bifrost.settings import load
from bifrost.testing import MockTransport, fake_key

FILE = Path(__file__).with_name("bifrost.toml")
KEYS = {name: fake_key(name) for name in ("OPENAI_API_KEY", "OPENAI_MINI_KEY", "ANTHROPIC_API_KEY")}

MISTAKEN = """
timeout = "a minute"

[providers.opanai]
keys = ["env.OPENAI_API_KEY"]
"""


async def main() -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    settings = load(FILE, environ=KEYS)
    async with Bifrost(**settings.arguments(), transport=mock) as client:
        reply = await client.chat("fast", "Say hello")
        print("the group 'fast' went to", reply.attempts[-1].provider)
        reply = await client.chat("local/qwen3", "Say hello")
        print("your own provider:", reply.attempts[-1])


def make_mistakes() -> None:
    """Show the error for a file with mistakes: it lists all of them, each with its place."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "bifrost.toml"
        file.write_text(MISTAKEN, encoding="utf-8")
        try:
            load(file)
        except ConfigError as error:
            for problem in error.errors:
                print("-", problem.message)


if __name__ == "__main__":
    anyio.run(main)
    make_mistakes()
