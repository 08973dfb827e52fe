"""Every block of Python on every page runs, in the order of the page, against a provider on the loopback."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from bifrost import Bifrost
from bifrost.engine.stand_in import StandIn
from bifrost.providers.catalog import CATALOG
from bifrost.wire.auth import NoAuth
from tests.docs.fastapi import FastAPI
from tests.docs.pages import Player, blocks, pages_with_code
from tests.docs.served import Detour
from tests.docs.tables import DOCS, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.testing import LoopbackProvider, MockTransport

WITH_TESTS_OF_THEIR_OWN = {
    "looking-inside": "test_looking_inside.py",
    "model-groups": "test_model_groups.py",
    "reliability": "test_reliability_page.py",
    "testing": "test_testing_page.py",
}
"""Their code needs more around it than a page can say."""

PAGES = {page.stem: page for page in pages_with_code() if page.stem not in WITH_TESTS_OF_THEIR_OWN}

ASYNCIO_ONLY = {"embeddings", "notebooks"}
"""They use asyncio by name, where a notebook's loop is one, or are about what works on it alone."""

ORDER = json.dumps({"city": "Oslo", "urgency": "high", "items": [{"name": "coffee", "price": 4.5}]})

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

RERANKED = {
    "results": [{"index": 1, "relevance_score": 0.98}, {"index": 0, "relevance_score": 0.03}],
    "meta": {"billed_units": {"search_units": 1}},
}

READ = {
    "pages": [{"index": 0, "markdown": "# Report", "images": [], "dimensions": {"dpi": 200, "height": 9, "width": 6}}],
    "model": "mistral-ocr-latest",
    "document_annotation": '{"total": 5}',
    "usage_info": {"pages_processed": 1},
}


def _batches(server: LoopbackProvider) -> None:
    server.json({"id": "file-1", "object": "file"})
    server.json({"id": "batch-1", "status": "validating"})
    server.json({"id": "batch-1", "status": "completed", "output_file_id": "file-2"}).times(2)
    answer = {"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": answer}}
    server.raw(200, json.dumps(line), {"content-type": "application/octet-stream"})


def _files(server: LoopbackProvider) -> None:
    server.json({"id": "file-1", "object": "file", "bytes": 9})
    server.raw(200, b"some text", {"content-type": "application/octet-stream"})


GIVEN: Mapping[str, Callable[[], dict[str, Any]]] = {"request-flow": lambda: {"client": Bifrost()}}
"""What a page takes for granted."""

SCRIPTS: Mapping[str, Callable[[LoopbackProvider], object]] = {
    "output=Order)\nprint": lambda server: server.reply(ORDER),
    "output=PET": lambda server: server.reply('{"value": {"type": "Cat", "name": "Mia"}}'),
    "max_output_retries=2": lambda server: server.reply('{"city": 7}').then.reply(ORDER),
    "for attempt in reply.attempts:\n    print(attempt)": lambda server: (
        server.on(provider="openai").fail(503).times(2)
    ),
    "except RateLimitError as error:": lambda server: server.fail(429, retry_after=70).times(2),
    'print(text, end="", flush=True)\n    reply = await': lambda server: server.stream(["Once ", "upon ", "a time."]),
    "class Known(Plugin)": lambda server: server.reply("Hello!"),
    "class Manners(Plugin)": lambda server: server.fail(503),
    "tool_choice=ToolChoice": lambda server: server.reply(tool_calls=[("weather", {"city": "Bern"})]),
    "calls = (await stream.final())": lambda server: server.reply(tool_calls=[("weather", {"city": "Oslo"})]),
    "replies = await asyncio.gather(*(client.embed": lambda server: server.embed([[0.5]] * 100).times(3),
    '["I will hurt you"': lambda server: server.json({"results": [{"flagged": True}, {"flagged": False}]}),
    "client.files.upload(": _files,
    "client.batches.create(": _batches,
    "client.ocr(": lambda server: server.json(READ),
    "client.generate_image(": lambda server: server.json({"data": [{"b64_json": PIXEL}]}),
    "client.speak(": lambda server: server.raw(200, b"ID3 sound", {"content-type": "audio/mpeg"}),
    "client.stream_speech(": lambda server: server.raw(200, b"ID3 sound", {"content-type": "audio/mpeg"}),
    "client.transcribe(": lambda server: server.json(
        {"text": "Good morning!", "segments": [{"text": "Good morning!"}]}
    ),
    "client.rerank(": lambda server: server.json(RERANKED),
    "client.complete(": lambda server: server.json({"choices": [{"text": "\n    return a + b"}]}),
    "client.stream_complete(": lambda server: server.raw(
        200, 'data: {"choices": [{"text": " there"}]}\n\ndata: [DONE]\n\n', {"content-type": "text/event-stream"}
    ),
    "client.count_tokens(": lambda server: server.json({"input_tokens": 19}),
    "client.moderate(\n": lambda server: server.json({"results": [{"flagged": False}]}),
    "stream.partial_stream": lambda server: server.stream([ORDER[:20], ORDER[20:]]),
    "bedrock/": lambda server: server.reply("Hello!"),
    "gemini/": lambda server: server.reply("Hello!"),
    # Without a key they get no recorded answer.
    **dict.fromkeys(
        [f'chat("{name}/' for name, row in CATALOG.items() if isinstance(row.auth, NoAuth)],
        lambda server: server.reply("Hello!"),
    ),
}
"""What the provider answers to the block that has this text; to all others it gives recorded answers."""

SAID: Mapping[str, str] = {
    "    print(reply.text, reply.usage, reply.attempts)": r"^Hello! How can I .* Usage\(.*\) \S*openai(.|\n)+ok",
    "print(reply.text)\n        print(reply.usage)": r"^Hello! How can I assist you today\?\nUsage\(.*\)\n$",
    "for attempt in reply.attempts:\n    print(attempt)": r"^openai.* 503 (.|\n)*openai.* 503 (.|\n)*anthropic.* ok ",
    "class Manners(Plugin)": r"^I cannot answer .* openai/gpt-4o-mini .* 503 .*\npasswords stay here",
    "tool_choice=ToolChoice": r"^weather Bern\n$",
    "place = msgspec.json.decode": r"^Bern\n$",
    "except RateLimitError as error:": r"^come back in 70 seconds\n$",
}
"""What such a block prints."""


@pytest.fixture(autouse=True)
def _surroundings(server: LoopbackProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lead every client to the loopback, with the files that the pages name in the working directory."""
    stand_in = StandIn(Detour(server))
    monkeypatch.setattr("bifrost.engine.stand_in.present", lambda: stand_in)
    monkeypatch.setenv("OPENAI_MINI_KEY", "sk-mini-key-of-nobody")
    monkeypatch.setenv("CORP_KEY", "corp-key-of-nobody")
    monkeypatch.chdir(tmp_path)
    shutil.copy(DOCS.parent / "examples" / "bifrost.toml", tmp_path)
    shown = re.findall(r"^```json\n(.*?)^```$", (DOCS / "configuration.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "config.json").write_text(shown[-1], encoding="utf-8")
    (azure,) = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "providers.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "azure.toml").write_text(azure, encoding="utf-8")


def _exported(page: Path) -> list[tuple[str, str]]:
    """Return the variables that the shell commands of a page set."""
    return re.findall(r"^export (\w+)=(\S+)$", page.read_text(encoding="utf-8"), re.M)


@pytest.fixture(autouse=True)
def _others_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for what a reader has installed beside bifrost, as far as the pages use it."""

    class Celery:
        def __init__(self, name: str) -> None:
            assert name

        def task(self, function: object) -> object:
            return function

    class Bar:
        def __init__(self, total: int) -> None:
            self.left = total

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            assert self.left == 0

        def set_postfix(self, **counts: int) -> None:
            assert counts == {"failed": 0}

        def update(self) -> None:
            self.left -= 1

    class Signal:
        def connect(self, function: object) -> object:
            return function

    for name, contents in {
        "celery": {"Celery": Celery},
        "celery.signals": {"worker_process_init": Signal(), "worker_process_shutdown": Signal()},
        "django": {},
        "django.http": {"JsonResponse": dict, "StreamingHttpResponse": list},
        "yourapp": {},
        "yourapp.ai": {"client": None},
        "fastapi": {"FastAPI": FastAPI, "Request": Request},
        "fastapi.responses": {"JSONResponse": JSONResponse, "StreamingResponse": StreamingResponse},
        "pandas": {"DataFrame": dict},
        "tqdm": {"tqdm": Bar},
        "uvloop": {"run": asyncio.run},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(
    name: str, backend: str, server: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in _exported(PAGES[name]):
        monkeypatch.setenv(variable, value.replace("...", "key-of-nobody"))
    backend = "asyncio" if name in ASYNCIO_ONLY else backend
    Player(server, SCRIPTS, SAID).play(PAGES[name], GIVEN.get(name, dict)(), backend=backend)


TESTS = {block.place: block.code for page in PAGES.values() for block in blocks(page) if "bifrost_mock" in block.code}


@pytest.mark.parametrize("place", TESTS)
def test_a_test_that_a_page_shows_passes(place: str, bifrost_mock: MockTransport) -> None:
    names: dict[str, Any] = {}
    exec(compiled(TESTS[place], place), names)  # noqa: S102 - the page's own code
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test(bifrost_mock)
        bifrost_mock.assert_done()


def test_what_is_prepared_is_prepared_for_code_that_is_there() -> None:
    code = "".join(block.code for page in PAGES.values() for block in blocks(page))
    assert set(GIVEN) | ASYNCIO_ONLY <= set(PAGES)
    for page, tests in WITH_TESTS_OF_THEIR_OWN.items():
        assert f"{page}.md" in (Path(__file__).parent / tests).read_text(encoding="utf-8")
    assert len(TESTS) >= 2
    for text in (*SCRIPTS, *SAID):
        assert text in code
