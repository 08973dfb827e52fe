"""An HTTP client for google-auth, which brings none."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec

_TIMEOUT = 30.0
_MOST_BYTES = 1024 * 1024
"""The largest answer of a token server that is read."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response as google-auth reads it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Fetcher:
    """The standard library's client, without redirects.

    It blocks, and is called in a thread.
    """

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(_NoRedirects)

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        """Send a request. Raises google-auth's `TransportError` if there is no response."""
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - google-auth's
        try:
            with self._opener.open(request, timeout=timeout or _TIMEOUT) as response:
                return Answer(response.status, dict(response.headers), response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read(_MOST_BYTES))
        except OSError as error:
            raise import_module("google.auth.exceptions").TransportError(str(error)) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Follow none: the credential belongs to one address."""
        return
