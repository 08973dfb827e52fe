"""A key that must be seen nowhere, and a look into everything that an error could show."""

from __future__ import annotations

import logging
import traceback
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "sk-proj-canary+7f3a/91Zk"
FORMS = (CANARY, quote(CANARY, safe=""), b64encode(CANARY.encode()).decode(), CANARY[-8:])
"""The key as it is, as it stands in an address, as base64, and its end."""


class Log(logging.Handler):
    """Takes in what every logger says, from DEBUG on."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(record.args), repr(vars(record))]


@contextmanager
def listening() -> Iterator[Log]:
    """Listen to every logger there is."""
    log, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(level)


def shown_by(error: BaseException) -> Iterator[str]:
    """Give everything that an error and those that hang on it could show to anybody, with the locals of all frames."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        yield "".join(traceback.format_exception(each))
        yield "".join(traceback.TracebackException.from_exception(each, capture_locals=True).format())
        waiting += [each.__cause__, each.__context__, *getattr(each, "errors", ())]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def assert_unseen(*texts: str) -> None:
    """No text has the key in any form."""
    for text in texts:
        for form in FORMS:
            place = text.find(form)
            assert place < 0, f"a secret is seen: ...{text[max(0, place - 200) : place + 60]}..."
