"""An answer shown while it comes: rewritten in the cell's output in a notebook, written on elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from bifrost.html import text as text_as_html

if TYPE_CHECKING:
    from types import TracebackType

_PAUSE = 0.05
"""The least time between two rewritings of an output, in seconds: each sends the whole text."""


class Display:
    """Shows a text that grows. In a notebook the whole answer takes its place in the end.

    IPython is not needed and never imported; where it has not set up a notebook there is none.
    """

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0.0
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
        if time.monotonic() - self._shown >= _PAUSE:
            self._rewrite()

    def begin_again(self) -> None:
        """Take the text back, in a notebook; elsewhere say that it does not count."""
        self._text = ""
        if self._output is None:
            sys.stdout.write("\n(the stream broke; the answer begins anew)\n")

    def replace(self, whole: object) -> None:
        """Show the finished thing in place of the text, in a notebook."""
        if self._output is not None:
            self._output.update(whole)

    def _rewrite(self) -> None:
        self._shown = time.monotonic()
        self._output.update(self._html(text_as_html(self._text)))


def _notebook() -> Any:
    """Give IPython's display module where a notebook's kernel runs this code, else nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return sys.modules["IPython.display"] if hasattr(shell, "kernel") else None
