"""The credentials of Bedrock: AWS credentials, which sign the request, or an API key of Bedrock as a bearer token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.frozen import Value
from bifrost.wire.auth import BEARER
from bifrost.wire.auth.sigv4 import SigV4Auth
from bifrost.wire.secrets import parts_of

if TYPE_CHECKING:
    from bifrost.wire.http import HttpRequest
    from bifrost.wire.secrets import Secret

_SIGNATURE: Final = SigV4Auth(service="bedrock")


class BedrockAuth(Value, msgspec.Struct, frozen=True):
    """Sign with AWS credentials (`ACCESS_KEY_ID:SECRET_ACCESS_KEY`, with `:SESSION_TOKEN` if they are temporary).

    A value without a colon is an API key of Bedrock, which is sent as a bearer token:
    https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html.
    """

    def sign(self, request: HttpRequest, credential: Secret | None, *, now: float, host: str, settings: Any) -> None:
        """Add the signature or the token.

        Raises `InvalidKeyError` for a credential that cannot be sent, and `ConfigError` for a signature without region.
        """
        signs = credential is not None and len(parts_of(credential)) > 1
        auth = _SIGNATURE if signs else BEARER
        auth.sign(request, credential, now=now, host=host, settings=settings)
