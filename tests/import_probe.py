"""Import `bifrost` from the folder given as argument and print as JSON what that did. Run in a fresh interpreter."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = (".py", ".pyc", ".pyd", ".so")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_DEEDS = ("socket.", "subprocess.", "os.", "shutil.", "tempfile.", "sqlite3.", "urllib.", "webbrowser.", "fcntl.")
_LOOKING = ("os.listdir", "os.scandir", "os.walk")
_PASSED_THROUGH = ("__main__", "collections.abc", "os")

_seen: list[str] = []


def _who() -> str:
    """Name the module behind a deed, past the standard library's own steps."""
    frame = sys._getframe(2)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name not in _PASSED_THROUGH and not name.startswith("importlib"):
            return name
        frame = frame.f_back
    return ""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        reads_data = not str(path).endswith(_CODE) and _who().startswith("bifrost")
        if flags & _WRITING or reads_data:
            _seen.append(f"open {path} by {_who()}")
    elif event.startswith(_DEEDS) and event not in _LOOKING:
        _seen.append(f"{event} {arguments!r} by {_who()}")


class _WatchedEnvironment(type(os.environ)):
    def __getitem__(self, key: str) -> str:
        if _who().startswith("bifrost"):
            _seen.append(f"environment {key} by {_who()}")
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        if _who().startswith("bifrost"):
            _seen.append(f"environment by {_who()}")
        return super().__iter__()


def _settings_of_the_process() -> tuple[object, ...]:
    return signal.getsignal(signal.SIGINT), list(warnings.filters), list(logging.root.handlers), logging.root.level


def main(source: str) -> None:
    """Import, watched, and report."""
    sys.path.insert(0, source)
    os.environ.__class__ = _WatchedEnvironment
    before = _settings_of_the_process()
    sys.addaudithook(_watch)
    import bifrost

    deeds = list(_seen)
    report = {
        "deeds": deeds,
        "threads": threading.active_count(),
        "settings_kept": _settings_of_the_process() == before,
        "missing_names": [name for name in getattr(bifrost, "__all__", ()) if not hasattr(bifrost, name)],
        "modules": sorted(sys.modules),
    }
    sys.stdout.write(json.dumps(report))


main(sys.argv[1])
