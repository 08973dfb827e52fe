"""A provider's base address, checked and split into its origin and path."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from bifrost.config import check_base_url
from bifrost.transport import Origin


class Address(msgspec.Struct, frozen=True):
    """A checked base address."""

    url: str
    """The address without a slash at its end."""
    origin: Origin
    authority: str
    """Host and port as the `Host` header names them."""
    path: str
    """The path that precedes the path of each request."""

    @classmethod
    def of(cls, url: str, *, where: str, allow_insecure_http: bool) -> Address:
        """Check a base address.

        Raises `ConfigError` for one that cannot be used; `where` names the setting it is from.
        """
        checked = check_base_url(url, where=where, allow_insecure_http=allow_insecure_http)
        origin = Origin.of(checked)
        return cls(checked, origin, origin.authority, urlsplit(checked).path)
