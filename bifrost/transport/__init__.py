"""The seam between the engine and an HTTP library, and what stands behind it.

A `Transport` opens connections; a `Connection` carries one exchange at a time and tells what the engine must know to
judge a failure: whether it was `reused`, whether the request was `sent`. No type and no error of an HTTP library leaves
this package. Ours speaks HTTP/1.1 by itself and HTTP/2 by h2 (`direct`, loaded with the first client that needs it); a
user may give a transport of httpx (`given`).
"""

from __future__ import annotations

from bifrost.transport.api import (
    Answer,
    Connection,
    Early,
    Hearing,
    Origin,
    PerProvider,
    Reader,
    Transport,
)
from bifrost.transport.user import as_transport

__all__ = [
    "Answer",
    "Connection",
    "Early",
    "Hearing",
    "Origin",
    "PerProvider",
    "Reader",
    "Transport",
    "as_transport",
]
