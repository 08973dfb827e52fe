"""What a notebook shows: the example notebook in a kernel of its own, and how values and streams look by themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import (
    AssistantMessage,
    AttemptRecord,
    ChatResponse,
    Choice,
    Explanation,
    ModelInfo,
    ModelsResponse,
    ProviderInfo,
    ProviderStats,
    ProviderTable,
    ReasoningPart,
    Stats,
    StreamInterruptedError,
    TextPart,
    ToolCall,
    Usage,
)
from bifrost.attempt_record import AttemptRecords
from bifrost.notebook import Display
from bifrost.operations.embeddings import Embedding, EmbeddingResponse
from bifrost.reports.explanation import PlannedCandidate, PlannedPlugin
from bifrost.reports.providers import KeyInfo
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport, no_waits
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[1]
_NOTEBOOK = _ROOT / "examples" / "notebook.ipynb"

_RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=60, startup_timeout=60, kernel_name="python3").execute()
sys.stdout.write(nbformat.writes(notebook))
"""

EVIL = "<script>alert('x')</script> & \"more\""
GPT = "openai/gpt-4o-mini"


# --- the example


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The code cells of the example as they are after a run."""
    home = tmp_path_factory.mktemp("home")
    places = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    settings = dict.fromkeys(places, str(home)) | {"PYTHONPATH": str(_ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, str(_NOTEBOOK)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [cell for cell in json.loads(ran.stdout)["cells"] if cell["cell_type"] == "code"]


def _output(cells: list[dict[str, Any]], code: str) -> str:
    """What stands below the one cell that has this code: its HTML if it has any, else its text."""
    (cell,) = (cell for cell in cells if code in "".join(cell["source"]))
    shown = [
        output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"]
        for output in cell["outputs"]
    ]
    return "\n".join("".join(text) for text in shown)


@table(
    ("code", "shown"),
    [
        ('Where is Oslo?")\nreply', "<div.*Oslo lies at the end of the Oslofjord.*openai/gpt-4o-mini.*tokens.*<table"),
        ("reply.usage", "<table.*input tokens.*output tokens"),
        ("reply.attempts", "429.*throttled.*openai-key"),
        (".display()", "<div.*One, two, three, four, five.*anthropic/claude-haiku-4-5"),
        ("client.embed", "<table.*0.1100, 0.5200, 0.8300.*openai/text-embedding-3-small"),
        ("client.list_models", "<table.*gpt-4o.*gpt-4o-mini"),
        ("client.providers()", "<table.*openai.*https://api.openai.com/v1.*chat, embeddings.*openai-key"),
        ("client.stats()", "client running: 5 calls.*<table.*openai.*80 %.*openai failed: 1 throttled"),
        ("client.explain(", "nothing was sent.*<table.*openai/gpt-4o-mini.*top_k was left out.*anthropic/claude"),
        ("asyncio.gather", "You asked: Where is Oslo.*Bergen.*Bodø"),
        ("async for text", "It streams here too.\n<div.*It streams here too"),
    ],
)
def test_a_cell_of_the_example_shows(cells: list[dict[str, Any]], code: str, shown: str) -> None:
    assert re.search(shown, _output(cells, code), re.DOTALL)


def test_a_streams_display_is_one_output_that_was_rewritten(cells: list[dict[str, Any]]) -> None:
    (cell,) = (cell for cell in cells if ".display()" in "".join(cell["source"]))
    assert [output["output_type"] for output in cell["outputs"]] == ["display_data"]


def test_the_example_is_kept_without_outputs() -> None:
    for cell in json.loads(_NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


# --- values


def _response(text: str = "hello", **fields: Any) -> ChatResponse:
    message = AssistantMessage(parts=[TextPart(text=text), *fields.pop("parts", ())])
    return ChatResponse(
        provider="openai", model="gpt-4o-mini", choices=[Choice(message=message, finish_reason="stop")], **fields
    )


@table(
    "value",
    [
        _response(EVIL),
        _response(parts=[ReasoningPart(text=EVIL, provider="p"), ToolCall(id="1", name=EVIL, arguments=EVIL)]),
        _response(warnings=[EVIL]),
        _response(attempts=[AttemptRecord(provider=EVIL, model=EVIL, key=EVIL, category=EVIL, error=EVIL)]),
        AttemptRecords([AttemptRecord(provider="p", model=EVIL, error=EVIL)]),
        EmbeddingResponse(data=[Embedding(embedding=[0.5])], provider="p", model=EVIL),
        ModelsResponse(data=[ModelInfo(id=EVIL, name=EVIL, owned_by=EVIL)], provider=EVIL, next=EVIL),
        Stats(providers={EVIL: ProviderStats(provider=EVIL, concurrency=1, queue=1, failures={EVIL: 1})}),
        ProviderTable([ProviderInfo(name=EVIL, keys=[KeyInfo(name=EVIL)], problem=EVIL)]),
        Explanation(
            model=EVIL,
            timeout=1,
            plugins=[PlannedPlugin(name=EVIL, hooks=[])],
            candidates=[PlannedCandidate(place=0, provider=EVIL, model=EVIL, problem=EVIL, warnings=[EVIL])],
        ),
    ],
)
def test_what_a_provider_says_is_shown_and_never_run(value: Any) -> None:
    html = value._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;more&quot;" in html


def test_an_answer_shows_all_of_it() -> None:
    html = _response(
        "hello",
        parts=[ReasoningPart(text="hm", provider="p"), ToolCall(id="1", name="look", arguments='{"at":1}')],
        usage=Usage(input_tokens=7, output_tokens=3),
        attempts=[
            AttemptRecord(
                provider="openai", model="m", key="main", status=429, category="throttled", total=0.5, error="slow"
            ),
            AttemptRecord(provider="openai", model="m", key="spare", status=200, wait=0.25, queue=0.001, total=0.25),
        ],
        warnings=["top_k was left out"],
    )._repr_html_()
    for fact in ("hello", "hm", "look", "7 + 3 tokens", "1000 ms", "2 attempts", "429 throttled", "slow", "250.0 ms"):
        assert fact in html
    assert "top_k was left out" in html
    assert html.index("main") < html.index("spare")


def test_every_choice_of_several_is_shown() -> None:
    choices = [Choice(message=AssistantMessage(parts=[TextPart(text=text)]), index=0) for text in ("one", "two")]
    html = ChatResponse(choices=choices)._repr_html_()
    assert "one" in html
    assert "two" in html
    assert "attempts" not in html


def test_usage_shows_the_counts_that_there_are() -> None:
    usage = Usage(input_tokens=7, reasoning_tokens=3)
    assert repr(usage) == "Usage(input_tokens=7, reasoning_tokens=3)"
    html = usage._repr_html_()
    assert "input tokens" in html
    assert "reasoning tokens" in html
    assert "output tokens" not in html


def test_lists_of_models_and_vectors_are_tables() -> None:
    models = ModelsResponse(data=[ModelInfo(id="m", context_window=8192)], provider="p", next="m")
    assert repr(models) == "ModelsResponse(p: 1 models, next='m')"
    assert repr(ModelsResponse(data=[], provider="p")) == "ModelsResponse(p: 0 models)"
    assert "8192" in models._repr_html_()
    vectors = EmbeddingResponse(data=[Embedding(embedding=[0.1] * 9)], provider="p", usage=Usage(input_tokens=5))
    assert "0.1000, 0.1000, 0.1000, 0.1000</td>" in vectors._repr_html_()
    assert "5 tokens" in vectors._repr_html_()


def test_a_trail_is_a_list_that_prints_as_lines() -> None:
    first = AttemptRecord(provider="openai", model="m", key="main", status=429, category="throttled", total=0.01)
    second = AttemptRecord(provider="openai", model="m", key="spare", total=0.1)
    trail = AttemptRecords([first])
    trail.append(second)
    assert trail == [first, second]
    assert repr(trail) == repr([first, second])
    assert str(trail) == "openai/m [main] throttled 429 in 10.0 ms\nopenai/m [spare] ok in 100.0 ms"
    assert "None" not in repr(second)


# --- a stream, displayed


@pytest.fixture
def client(mock: MockTransport) -> Iterator[SyncBifrost]:
    with SyncBifrost(mock.account, transport=mock) as client:
        yield client


class Notebook:
    """Stands in for IPython where a kernel runs: keeps what is displayed."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def HTML(self, html: str) -> str:  # noqa: N802 - IPython's name
        return html

    def display(self, value: Any, *, display_id: bool) -> Notebook:
        assert display_id
        self.shown.append(value)
        return self

    def update(self, value: Any) -> None:
        self.shown.append(value)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    _pretend(monkeypatch, notebook, shell=SimpleNamespace(kernel=object()))
    return notebook


def _pretend(monkeypatch: pytest.MonkeyPatch, notebook: Notebook, *, shell: object) -> None:
    ipython = ModuleType("IPython")
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)  # type: ignore[arg-type]


def test_without_ipython_a_stream_is_printed(
    mock: MockTransport,
    client: SyncBifrost,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    mock.stream(["one ", "<two>"])
    reply = client.stream_chat(GPT, "hi").display()
    assert reply.text == "one <two>"
    assert capsys.readouterr().out == "one <two>\n"


@pytest.mark.anyio
async def test_an_async_clients_stream_is_shown_too(
    mock: MockTransport,
    notebook: Notebook,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mock.stream(["one ", "<two>"]).times(2)
    mock.reply('{"a": 1}')
    mock.stream(["lost ", "two"]).cut(after_events=1).then.stream(["whole"])
    async with mock.client() as client:
        reply = await client.stream_chat(GPT, "hi").display()
        assert notebook.shown[-1] is reply
        async with client.stream_chat(GPT, "hi") as stream:
            shown = await stream.display()
            assert shown is await stream.final()
        assert shown.text == reply.text == "one <two>"
        parsed = await client.stream_chat(GPT, "hi", output=dict[str, int]).display()
        assert notebook.shown[-1] is parsed
        with no_waits():
            again = await client.stream_chat(GPT, "hi", on_interrupt="restart").display()
        assert again.text == "whole"
    assert capsys.readouterr().out == ""
    assert mock.connections.open == 0


def test_ipython_in_a_terminal_prints_too(
    mock: MockTransport,
    client: SyncBifrost,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = Notebook()
    _pretend(monkeypatch, notebook, shell=SimpleNamespace())
    mock.stream(["one"])
    client.stream_chat(GPT, "hi").display()
    assert capsys.readouterr().out == "one\n"
    assert notebook.shown == []


def test_in_a_notebook_the_output_is_rewritten_and_the_answer_stands_there_in_the_end(
    mock: MockTransport, client: SyncBifrost, notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    mock.stream(["one ", "<two>"])
    with client.stream_chat(GPT, "hi") as stream:
        reply = stream.display()
        assert stream.final() is reply
    first, *_, last = notebook.shown
    assert (first, last) == ("", reply)
    assert notebook.shown[1].startswith("<div")
    assert "one " in notebook.shown[1]
    assert capsys.readouterr().out == ""


def test_a_stream_that_breaks_leaves_what_came(mock: MockTransport, client: SyncBifrost, notebook: Notebook) -> None:
    mock.stream(["one ", "<two>", "three"]).cut(after_events=2)
    with pytest.raises(StreamInterruptedError):
        client.stream_chat(GPT, "hi").display()
    assert "one &lt;two&gt;" in notebook.shown[-1]
    assert mock.connections.open == 0


def broken_then_whole(mock: MockTransport) -> Any:
    mock.stream(["lost ", "two"]).cut(after_events=1).then.stream(["whole"])
    with SyncBifrost(mock.account, transport=mock) as client, no_waits():
        return client.stream_chat(GPT, "hi", on_interrupt="restart").display()


def test_a_stream_that_begins_anew_is_shown_anew(mock: MockTransport, notebook: Notebook) -> None:
    reply = broken_then_whole(mock)
    assert reply.text == "whole"
    assert "lost" in notebook.shown[1]
    assert notebook.shown[-1] is reply
    assert all("lost" not in shown for shown in map(str, notebook.shown[2:]))


def test_without_a_notebook_it_is_told_that_a_stream_begins_anew(
    mock: MockTransport, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    broken_then_whole(mock)
    assert capsys.readouterr().out == "lost \n(the stream broke; the response starts again)\nwhole\n"


def test_text_that_comes_fast_is_not_rewritten_for_each_piece(notebook: Notebook) -> None:
    with Display() as display:
        for _ in range(10_000):
            display.add("x")
    assert len(notebook.shown) < 1_000
