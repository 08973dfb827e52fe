"""AWS Signature Version 4: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.

Written from that description. Signs the host, the content type and AWS's own headers, which nobody on the way changes.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

import msgspec

from bifrost.errors import ConfigError, InvalidKeyError, InvalidRequestError
from bifrost.frozen import Value
from bifrost.wire.http.request import target_of
from bifrost.wire.secrets import Credential, Secret, is_sendable, keyed_hash, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.wire.http import HttpRequest

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNESCAPED = "-_.~"


class SigV4Auth(Value, msgspec.Struct, frozen=True, kw_only=True):
    """Sign requests with AWS credentials.

    A key's value is `ACCESS_KEY_ID:SECRET_ACCESS_KEY`, or `ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN` for temporary
    credentials. The region is that of the key's settings (`region`), or else that of this value.
    """

    service: str
    """The name of the service in the signature, `bedrock` for example."""
    region: str | None = None
    """The region of keys whose settings name none. `None`: each key must name one."""

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Add the date, the session token and the signature.

        Raises `InvalidKeyError` for a credential of another form, `ConfigError` if no region is known, and
        `InvalidRequestError` for a header with characters that cannot be sent.
        """
        if credential is None:
            return
        parts = parts_of(credential) if is_sendable(credential) else []
        if len(parts) not in (2, 3) or not all(parts):
            raise InvalidKeyError(
                "the key's value must be ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN if it is temporary"
            )
        region = getattr(settings, "region", None) or self.region
        if not region:
            raise ConfigError("the region of a key is not known; name it in the key's settings")
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        request.headers["x-amz-date"] = moment
        if len(parts) == 3:
            request.headers["x-amz-security-token"] = Credential("", parts[2])
        signed = {"host": host, **{name: value for name, value in request.headers.items() if _is_signed(name)}}
        names = ";".join(sorted(map(str.lower, signed)))
        scope = f"{moment[:8]}/{region}/{self.service}/aws4_request"
        text = string_to_sign(canonical_request(request, signed), moment=moment, scope=scope)
        signature = hmac.digest(signing_key(parts[1], scope=scope), text.encode(), "sha256").hex()
        request.headers["authorization"] = Credential(
            f"{_ALGORITHM} Credential=", parts[0], f"/{scope}, SignedHeaders={names}, Signature={signature}"
        )


def canonical_request(request: HttpRequest, headers: Mapping[str, str]) -> bytes:
    """Return the form of a request that is signed, with these headers."""
    path, _, query = target_of(request.path).partition(b"?")
    fields = sorted((name.lower().encode(), _one_line(name, value)) for name, value in headers.items())
    return b"\n".join(
        [
            request.method.encode(),
            quote(_without_dots(path), safe=f"/{_UNESCAPED}").encode(),
            _canonical_query(query),
            *(name + b":" + value for name, value in fields),
            b"",
            b";".join(name for name, _ in fields),
            sha256(request.body).hexdigest().encode(),
        ]
    )


def string_to_sign(canonical: bytes, *, moment: str, scope: str) -> str:
    """Return the text whose keyed hash is the signature."""
    return "\n".join([_ALGORITHM, moment, scope, sha256(canonical).hexdigest()])


def signing_key(secret: Secret, *, scope: str) -> bytes:
    """Return the key of a signature, which is good for one day, region and service."""
    day, *others = scope.split("/")
    key = keyed_hash(secret, day.encode(), prefix="AWS4")
    for part in others:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _is_signed(name: str) -> bool:
    return name.lower() == "content-type" or name.lower().startswith("x-amz-")


def _one_line(name: str, value: str) -> bytes:
    try:
        # A credential shows its text only here, as bytes.
        return b" ".join(value.encode("latin-1").split())
    except UnicodeEncodeError:
        problem = InvalidRequestError(f"the header {name!r} has a character outside Latin-1, and cannot be sent")
    raise problem


def _canonical_query(query: bytes) -> bytes:
    """Return the parameters in the order of their escaped names and values.

    A request target may contain characters such as `/` and `:` as they are; the signed form escapes them.
    """
    pairs = [map(_escaped, part.partition(b"=")) for part in query.split(b"&") if part]
    return b"&".join(name + b"=" + value for name, value in sorted((name, value) for name, _, value in pairs))


def _escaped(text: bytes) -> bytes:
    return quote(unquote_to_bytes(text), safe=_UNESCAPED).encode()


def _without_dots(path: bytes) -> bytes:
    """Return a path without empty, `.` and `..` segments (RFC 3986, 5.2.4)."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    is_folder = bool(kept) and segments[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if is_folder else b"")
