"""OAuth tokens of Google Cloud, for Vertex AI. The package google-auth is imported on first use.

Reference: https://cloud.google.com/docs/authentication/application-default-credentials.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from bifrost.credentials.base import Token
from bifrost.credentials.sdk import as_secret, failed, sdk
from bifrost.errors import BifrostError, ConfigError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys_in_init
from bifrost.wire.secrets import Secret, applied

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = "GoogleCredentials"
_TIMEOUT = 30.0
_MOST_BYTES = 1024 * 1024
"""The largest answer of a token server that is read."""


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class GoogleCredentials(Frozen):
    """Fetches OAuth tokens of Google Cloud for a key of Vertex AI. Needs `pip install bifrost-llm[google]`.

        Key(name="vertex", credentials=GoogleCredentials())

    Without arguments it uses the application default credentials: the file in `GOOGLE_APPLICATION_CREDENTIALS`, the
    login of gcloud, or the metadata server of Google Cloud. Raises `ConfigError` if several sources are given.
    """

    file: str | None = None
    """The path of a credentials file: of a service account, a workload identity or a user. Default: none."""

    info: Secret | None = attrs.field(default=None, converter=as_secret)
    """The content of such a file. A `str` is converted to a `Secret`. Default: none."""

    scopes: Sequence[str] = attrs.field(default=("https://www.googleapis.com/auth/cloud-platform",), hash=False)
    """What the tokens are for. Default: all of Google Cloud."""

    credentials: Any = attrs.field(default=None, metadata={"in_files": False}, hash=False)
    """A credentials object of google-auth, in place of all fields above. Default: none."""

    def __attrs_post_init__(self) -> None:
        if sum(each is not None for each in (self.file, self.info, self.credentials)) > 1:
            raise ConfigError(f"{_NAME}: give one of file, info and credentials")

    def fetch(self) -> Token:
        """Return a new token. Raises `TokenError`, or `ConfigError` if google-auth is not installed."""
        auth = _module("google.auth")
        try:
            credentials = self.credentials or self._loaded(auth)
            credentials.refresh(Fetcher())
            return _converted(credentials)
        except BifrostError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = failed(_NAME, error, self.info)
        raise failure

    def _loaded(self, auth: Any) -> Any:
        scopes = list(self.scopes)
        if self.file is not None:
            return _of_content(Path(self.file).read_bytes(), scopes)
        if self.info is not None:
            return applied(lambda text: _of_content(text, scopes), self.info)
        return auth.default(scopes=scopes)[0]


_KINDS: Mapping[tuple[str, str | None], tuple[str, str]] = {
    ("service_account", None): ("google.oauth2.service_account", "from_service_account_info"),
    ("authorized_user", None): ("google.oauth2.credentials", "from_authorized_user_info"),
    ("external_account", None): ("google.auth.identity_pool", "from_info"),
    ("external_account", "urn:ietf:params:aws:token-type:aws4_request"): ("google.auth.aws", "from_info"),
    ("impersonated_service_account", None): (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
    ),
}
"""The module and constructor of credentials, by the type of their file and that of the token which they exchange.

google-auth's own choice, which would also run a program that a file names, is deprecated.
"""


def _of_content(content: str | bytes, scopes: list[str]) -> Any:
    """Return the credentials of a file with this content."""
    info = msgspec.json.decode(content, type=dict[str, Any])
    kind, token = str(info.get("type")), info.get("subject_token_type")
    found = _KINDS.get((kind, str(token))) or _KINDS.get((kind, None))
    if found is None:
        known = ", ".join(dict.fromkeys(name for name, _ in _KINDS))
        raise ConfigError(f"{_NAME}: credentials of the type {kind!r} are not supported; these are: {known}")
    module, make = found
    return getattr(_module(module).Credentials, make)(info, scopes=scopes)


def _module(name: str) -> Any:
    return sdk(name, package="google-auth", extra="google", user=_NAME)


def _converted(credentials: Any) -> Token:
    # The time is UTC without saying so.
    expiry = credentials.expiry
    return Token(credentials.token, expires_at=None if expiry is None else expiry.replace(tzinfo=UTC).timestamp())


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response as google-auth reads it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Fetcher:
    """An HTTP client for google-auth, which brings none: the standard library's, without redirects.

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
            raise _module("google.auth.exceptions").TransportError(str(error)) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Follow none: the credential belongs to one address."""
        return
