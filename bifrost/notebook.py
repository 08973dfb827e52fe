"""Shows a response while it arrives: in place in a notebook's output, on stdout elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from bifrost.html import text as text_as_html

if TYPE_CHECKING:
    from types import TracebackType

_PAUSE = 0.05
"""The shortest time between two updates of a notebook's output, in seconds. Each update sends the whole text."""


class Display:
    """Shows a growing text. In a notebook, the complete response replaces the text at the end.

    IPython is not required and never imported: a notebook is detected only if IPython is already loaded.
    """

    def __init__(self) -> None:
        self._text = ""
        self._updated_at = 0.0
        self._html: Any = None
        self._output: Any = None

    def __enter__(self) -> Self:
        notebook = _notebook()
        if notebook is not None:
            self._html = notebook.HTML
            self._output = notebook.display(notebook.HTML(""), display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._output is None:
            sys.stdout.write("\n")
        elif kind is not None:
            self._rewrite()

    def add(self, text: str) -> None:
        """Show more text."""
        if not text:
            return
        if self._output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        self._text += text
        if time.monotonic() - self._updated_at >= _PAUSE:
            self._rewrite()

    def begin_again(self) -> None:
        """Discard the text in a notebook; elsewhere write a line that says so."""
        self._text = ""
        if self._output is None:
            sys.stdout.write("\n(the stream broke; the response starts again)\n")

    def replace(self, whole: object) -> None:
        """Show the complete result instead of the text, in a notebook."""
        if self._output is not None:
            self._output.update(whole)

    def _rewrite(self) -> None:
        self._updated_at = time.monotonic()
        self._output.update(self._html(text_as_html(self._text)))


def _notebook() -> Any:
    """Return IPython's display module if the code runs in a notebook's kernel, else `None`."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return sys.modules["IPython.display"] if hasattr(shell, "kernel") else None
