"""Tokens of Microsoft Entra ID, for Azure OpenAI. The package azure-identity is imported on first use.

Reference: https://learn.microsoft.com/azure/foundry/openai/how-to/managed-identity.
"""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import attrs

from bifrost.credentials.base import Token
from bifrost.credentials.sdk import as_secret, failed, sdk
from bifrost.errors import ConfigError
from bifrost.frozen import Frozen
from bifrost.misplaced_keys import hides_keys_in_init
from bifrost.wire.secrets import Secret, applied

if TYPE_CHECKING:
    from collections.abc import Awaitable

_NAME = "EntraCredentials"


@hides_keys_in_init
@attrs.frozen(kw_only=True, eq=False, repr=False)
class EntraCredentials(Frozen):
    """Fetches tokens of Microsoft Entra ID for a key of Azure OpenAI. Needs `pip install bifrost-llm[azure]`.

        Key(name="entra", credentials=EntraCredentials())

    Without arguments it is the SDK's `DefaultAzureCredential`: the `AZURE_...` variables, a workload identity, a
    managed identity, or the login of the Azure CLI. With `tenant_id`, `client_id` and `client_secret` it is that
    application, with `client_id` alone that managed identity. Raises `ConfigError` for other combinations.
    """

    tenant_id: str | None = None
    """The tenant of the application. Default: none."""

    client_id: str | None = None
    """The application, or a managed identity that is assigned by the user. Default: none."""

    client_secret: Secret | None = attrs.field(default=None, converter=as_secret)
    """The application's secret. A `str` is converted to a `Secret`. Default: none."""

    scope: str = "https://cognitiveservices.azure.com/.default"
    """What the tokens are for. Default: Azure OpenAI and the other Azure AI services."""

    authority: str | None = None
    """The address of the login service, for a sovereign cloud: `https://login.microsoftonline.us`. Default: the public
    cloud's, or `AZURE_AUTHORITY_HOST`.
    """

    credential: Any = attrs.field(default=None, metadata={"in_files": False}, hash=False)
    """A credential object of the SDK, sync or async, in place of the fields above except `scope`. Default: none."""

    def __attrs_post_init__(self) -> None:
        is_application = self.tenant_id is not None and self.client_id is not None and self.client_secret is not None
        if not is_application and (self.tenant_id is not None or self.client_secret is not None):
            raise ConfigError(f"{_NAME}: give tenant_id, client_id and client_secret together, or client_id alone")

    def fetch(self) -> Token | Awaitable[Token]:
        """Return a new token. Raises `TokenError`, or `ConfigError` if azure-identity is not installed."""
        if self.credential is None:
            identity = sdk("azure.identity", package="azure-identity", extra="azure", user=_NAME)
            # Another object for each token: it would return its last one, which the provider may have refused.
            with self._made(identity) as credential:
                return self._token(credential)
        if iscoroutinefunction(getattr(self.credential, "get_token", None)):
            return self._awaited(self.credential)
        return self._token(self.credential)

    def _made(self, identity: Any) -> Any:
        options: dict[str, Any] = {}
        if self.authority is not None:
            # The SDK would look up any other authority at the public cloud's.
            options = {"authority": self.authority, "disable_instance_discovery": True}
        if self.client_secret is not None:
            make = partial(identity.ClientSecretCredential, self.tenant_id, self.client_id, **options)
            return applied(make, self.client_secret)
        if self.client_id is not None:
            return identity.ManagedIdentityCredential(client_id=self.client_id)
        return identity.DefaultAzureCredential(**options)

    def _token(self, credential: Any) -> Token:
        try:
            return _converted(credential.get_token(self.scope))
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = failed(_NAME, error, self.client_secret)
        raise failure

    async def _awaited(self, credential: Any) -> Token:
        try:
            return _converted(await credential.get_token(self.scope))
        except Exception as error:  # noqa: BLE001 - as above
            failure = failed(_NAME, error)
        raise failure


def _converted(answer: Any) -> Token:
    return Token(answer.token, expires_at=answer.expires_on)
