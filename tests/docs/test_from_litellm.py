"""The tables in `from-litellm.md`: our side runs, and says what LiteLLM's says (1.106).

LiteLLM is too heavy to be installed for the tests; its side is compiled only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import bifrost
from bifrost.providers.catalog import CATALOG
from bifrost.sync import SyncBifrost
from tests.docs.served import Detour, failing, our_failure
from tests.docs.tables import Pair, compiled, is_async, pairs, rows, said
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.testing import LoopbackProvider

PAGE = "from-litellm.md"
PAIRS = pairs(PAGE)
NAMES = rows(PAGE, "Names of models")
PATHS = rows(PAGE, "What a response holds")
ERRORS = rows(PAGE, "Errors")

SCRIPTS: Mapping[str, Callable[[LoopbackProvider], object]] = {
    "Streaming 2": lambda server: server.stream(["1, ", "2"], usage=(10, 5)),
    "Tools and JSON 1": lambda server: server.reply(tool_calls=[("weather", {"city": "Bern"})]),
    "Tools and JSON 2": lambda server: server.reply('{"name": "Ann", "age": 41}'),
    "Retries, time, fallbacks 1": lambda server: server.on(provider="openai").fail(404),
    "Several keys, names of your own 1": lambda server: server.on(provider="openai").fail(404).times(2),
    "Several keys, names of your own 3": lambda server: server.reply("Hello! How can I assist you today?"),
    "Callbacks 1": lambda server: server.reply("Hi", usage=(10, 5)),
}
"""What the provider does where it does not answer with a recording."""

OPENAI_HELLO = "Hello! How can I assist you today?\n"
ANTHROPIC_HELLO = "Hi there! How are you doing today? Is there anything I can help you with?\n"

SAID = {
    "The first call 1": OPENAI_HELLO,
    "The first call 2": ANTHROPIC_HELLO,
    "The first call 3": OPENAI_HELLO,
    "Streaming 1": "1, 2, 3, 4, 5",
    "Streaming 2": "1, 2\n15\n",
    "Tools and JSON 1": "weather Bern\n",
    "Tools and JSON 2": "41\n",
    "Embeddings 1": "2\n8\n",
    "Retries, time, fallbacks 1": ANTHROPIC_HELLO,
    "Retries, time, fallbacks 2": OPENAI_HELLO,
    "Several keys, names of your own 1": ANTHROPIC_HELLO,
    "Several keys, names of your own 2": "assistant\n",
    "Several keys, names of your own 3": OPENAI_HELLO,
    "A whole Router 1": OPENAI_HELLO,
    "Options that a model does not have 1": ANTHROPIC_HELLO,
    "Options that a model does not have 2": ANTHROPIC_HELLO,
    "Callbacks 1": "15\n",
    "Tests 1": "Hi\n",
}


def test_every_pair_is_expected_to_say_something() -> None:
    assert [pair.id for pair in PAIRS] == [*SAID]
    assert SCRIPTS.keys() <= SAID.keys()


@table("pair", PAIRS, ids=[pair.id for pair in PAIRS])
def test_the_side_of_litellm_is_python(pair: Pair) -> None:
    assert compiled(pair.today, pair.id)


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.id for pair in PAIRS])
def test_our_side_says_what_litellms_says(pair: Pair, server: LoopbackProvider) -> None:
    for backend in ("asyncio", "trio") if is_async(pair.ours) else ("asyncio",):
        if pair.id in SCRIPTS:
            SCRIPTS[pair.id](server)
        assert play(pair.ours, server, backend) == SAID[pair.id]
        server.assert_done()


def play(code: str, server: LoopbackProvider, backend: str) -> str:
    away = partial(SyncBifrost, transport=Detour(server))
    namespace: dict[str, Any] = {"client": SyncBifrost(), "SyncBifrost": away}
    first = namespace["client"]
    try:
        return said(code.replace("http://localhost:8000", server.base_url), namespace, backend=backend)
    finally:
        for thing in (first, *namespace.values()):
            if isinstance(thing, SyncBifrost):
                thing.close()


def test_our_names_of_models_name_providers() -> None:
    assert len(NAMES) > 10
    for _, ours in NAMES:
        assert ours.strip("`").partition("/")[0] in CATALOG


def test_our_paths_lead_somewhere(server: LoopbackProvider) -> None:
    server.reply("Hi", reasoning="hm", usage=bifrost.Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3))
    with SyncBifrost() as client:
        reply = client.chat("openai/gpt-4o-mini", "Hello")
    for _, path in PATHS:
        assert eval(path.strip("`"), {"reply": reply})  # noqa: S307 - the page's own code


@pytest.mark.parametrize("row", ERRORS, ids=[row[0] for row in ERRORS])
def test_a_failure_raises_the_class_of_its_row(row: list[str], server: LoopbackProvider) -> None:
    address, timeout = failing(row, server, times=1)
    assert type(our_failure(address, timeout)) is getattr(bifrost, row[2].strip("`"))
