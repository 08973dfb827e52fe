"""What the HTTP library's own loggers may tell of our exchanges: everything but the credentials.

At DEBUG they write down what a peer sends, and a peer may send back what it was sent. Loggers belong to the whole
program, so what others do with the same library is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from bifrost.wire.auth import Secret, credentials_of, redact

Sending: TypeAlias = tuple[Mapping[str, str], Iterable[Secret]]
"""The header fields of a request, and what else must not be seen (a proxy's password)."""

SENDING: ContextVar[Sending | None] = ContextVar("bifrost_sending", default=None)
"""Whose exchange the HTTP library is at, while it is at one."""

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
    """Take these secrets out of what is logged inside."""
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
    """Take credentials out of what the HTTP library logs while `SENDING` is set. Once is enough, more does no harm."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_REDACTING)
