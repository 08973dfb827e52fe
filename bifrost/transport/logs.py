"""Removes credentials from what the HTTP libraries log about bifrost's exchanges.

At DEBUG level they log what a peer sends, and a peer may send back what it received. Loggers belong to the whole
program, so records of other users of the same library are not changed.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from bifrost.wire.secrets import Secret, credentials_of, redact

Sending: TypeAlias = tuple[Mapping[str, str], Iterable[Secret]]
"""The header fields of a request, and further secrets (the password of a proxy)."""

SENDING: ContextVar[Sending | None] = ContextVar("bifrost_sending", default=None)
"""The exchange that the HTTP library is working on; `None` if it is not one of bifrost's."""

_LOGGERS = (
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
    "httpx",
)


@contextmanager
def redacting(secrets: Iterable[Secret]) -> Generator[None]:
    """Remove these secrets from what is logged within the context."""
    before = SENDING.set(({}, secrets))
    try:
        yield
    finally:
        SENDING.reset(before)


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        sending = SENDING.get()
        if sending is not None:
            headers, others = sending
            text = record.getMessage()
            for secret in (*credentials_of(headers), *others):
                text = redact(text, secret)
            record.msg, record.args = text, ()
        return True


_REDACTING = _Redacting()


def guard_loggers() -> None:
    """Remove credentials from what the HTTP libraries log while `SENDING` is set. Calling it again has no effect."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_REDACTING)
