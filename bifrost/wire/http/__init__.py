"""HTTP as values, and HTTP/1.1 and TLS as functions of bytes. There are no sockets here."""

from __future__ import annotations

from bifrost.wire.http.values import Headers, HttpRequest, HttpResponse

__all__ = ["Headers", "HttpRequest", "HttpResponse"]
