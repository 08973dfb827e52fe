"""How a key gets onto a request: a header, a parameter of the query, or a signature. Pure; `wire.secrets` hides it."""

from __future__ import annotations

from bifrost.wire.auth.base import Auth, NoAuth
from bifrost.wire.auth.header import BEARER, NO_CREDENTIALS, HeaderAuth
from bifrost.wire.auth.query import QueryAuth

__all__ = ["BEARER", "NO_CREDENTIALS", "Auth", "HeaderAuth", "NoAuth", "QueryAuth"]
