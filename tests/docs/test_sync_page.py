"""The recipes for servers that fork run as they stand on the page.

The servers are stand-ins that do what the true ones do around a fork: load the application before it or after it, run
their hooks in the child, and end it with or without the usual steps.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bifrost.testing import LoopbackProvider

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "sync.md").read_text(encoding="utf-8")


def _blocks(section: str) -> list[str]:
    text = _PAGE.partition(f"\n### {section}\n")[2].partition("\n### ")[0]
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


AI, GUNICORN_CONF = _blocks("gunicorn")
(CELERY,) = _blocks("Celery")
DJANGO_AI, DJANGO_VIEWS = _blocks("Django")

_FORK = """
import os, sys

def forked(work, *, in_order):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    sys.stdout.flush()
    # gunicorn's workers end by SystemExit, Celery's without any of the usual steps.
    sys.exit(0) if in_order else os._exit(0)
"""


def said(program: str, files: dict[str, str], folder: Path) -> list[str]:
    """Run a program beside these files; it must end well and complain of nothing. Give the lines it printed."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORK + program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), str(folder)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout.splitlines()


_GUNICORN = """
import atexit, runpy

settings = runpy.run_path("{folder}/gunicorn_conf.py") if {with_hook} else {{}}
if {preload}:
    import ai

def serve():
    settings.get("post_fork", lambda server, worker: None)("server", "worker")
    from ai import client
    # Registered before the client opens, and so asked after it has closed itself.
    print("worker begins", client.stats().state)
    print(client.chat("openai/gpt-4o-mini", "hi").text)

atexit.register(lambda: print("ends", sys.modules["ai"].client.stats().state, flush=True))
for _ in range(2):
    assert forked(serve, in_order=True) == 0
import ai
"""


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("with_hook", [True, False])
def test_each_worker_of_gunicorn_opens_the_client_and_closes_it(
    server: LoopbackProvider, tmp_path: Path, *, preload: bool, with_hook: bool
) -> None:
    server.reply("hello").always()
    program = _GUNICORN.format(folder=tmp_path, preload=preload, with_hook=with_hook)
    printed = said(program, {"ai.py": AI, "gunicorn_conf.py": GUNICORN_CONF}, tmp_path)
    begins = "worker begins running" if with_hook else "worker begins new"
    assert printed == [begins, "hello", "ends closed", begins, "hello", "ends closed", "ends new"]
    assert len(server.calls) == 2


_CELERY_SIGNALS = """
class Signal:
    def __init__(self):
        self.connected = []
    def connect(self, function):
        self.connected.append(function)
        return function
    def send(self):
        for function in self.connected:
            function(sender=None, signal=self)

worker_process_init, worker_process_shutdown = Signal(), Signal()
"""

_CELERY_APP = """
class Celery:
    def __init__(self, name):
        pass
    def task(self, function):
        return function
"""

_CELERY = """
import tasks
from celery import signals

def work():
    signals.worker_process_init.send()
    print("begins", tasks.client.stats().state)
    print(tasks.summarise("a long text"), tasks.summarise("another"))
    signals.worker_process_shutdown.send()
    print("ends", tasks.client.stats().state)

for _ in range(2):
    assert forked(work, in_order=False) == 0
print("parent", tasks.client.stats().state)
"""


def test_each_process_of_celery_opens_the_client_and_closes_it(server: LoopbackProvider, tmp_path: Path) -> None:
    server.reply("Short.").always()
    files = {"tasks.py": CELERY, "celery/__init__.py": _CELERY_APP, "celery/signals.py": _CELERY_SIGNALS}
    printed = said(_CELERY, files, tmp_path)
    assert printed == ["begins running", "Short. Short.", "ends closed"] * 2 + ["parent new"]
    assert [message["role"] for message in (server.calls[0].json or {})["messages"]] == ["system", "user"]


_DJANGO_HTTP = """
class JsonResponse:
    def __init__(self, data):
        self.data = data

class StreamingHttpResponse:
    def __init__(self, content, content_type):
        self.content = content
    def __iter__(self):
        return iter(self.content)
    def close(self):
        self.content.close()
"""

_DJANGO = """
import time
from types import SimpleNamespace

from yourapp import ai, views

request = SimpleNamespace(GET={"q": "hi"})

def work():
    print(views.ask(request).data)
    print(list(views.tell(request)))
    left = views.tell(request)
    print(next(iter(left)))
    left.close()
    end = time.monotonic() + 20
    while ai.client.stats().in_flight and time.monotonic() < end:
        time.sleep(0.01)
    print("in flight:", ai.client.stats().in_flight)
    ai.client.close()

assert forked(work, in_order=True) == 0
"""


def test_the_views_of_django_answer_stream_and_let_a_visitor_leave(server: LoopbackProvider, tmp_path: Path) -> None:
    server.reply("hello").then.stream(["one ", "two"]).then.stream(["one ", "two"]).stall(after_events=1)
    files = {
        "yourapp/__init__.py": "",
        "yourapp/ai.py": DJANGO_AI,
        "yourapp/views.py": DJANGO_VIEWS,
        "django/__init__.py": "",
        "django/http.py": _DJANGO_HTTP,
    }
    printed = said(_DJANGO, files, tmp_path)
    assert printed == ["{'answer': 'hello'}", "['one ', 'two']", "one ", "in flight: 0"]
