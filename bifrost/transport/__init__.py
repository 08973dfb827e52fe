"""The interface between the engine and HTTP libraries, and its implementations.

A `Transport` opens connections. A `Connection` carries one exchange at a time and reports what the engine needs to
judge a failure: whether it was `reused`, and whether the request was `sent`. No type and no error of an HTTP library
leaves this package. bifrost's own transport (`own`, loaded with the first client that needs it) implements HTTP/1.1 and
uses h2 for HTTP/2. A user may pass a transport of httpx instead (`user`).
"""

from __future__ import annotations

from bifrost.transport.api import (
    BodyStream,
    Connection,
    ConnectionBase,
    Origin,
    ResponseHead,
    Transport,
)
from bifrost.transport.user_transport import as_transport

__all__ = [
    "BodyStream",
    "Connection",
    "ConnectionBase",
    "Origin",
    "ResponseHead",
    "Transport",
    "as_transport",
]
