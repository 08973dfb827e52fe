"""Azure OpenAI: OpenAI's dialect at the address of a resource, where models are identified by deployments.

There are two forms of paths: the newer `/openai/v1/`, which needs no version, and the dated one with the deployment in
the path. Reference: https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from bifrost.config import check_base_url
from bifrost.errors import ConfigError, InvalidRequestError
from bifrost.frozen import Frozen
from bifrost.operations.chat.structured.strict_schema import AZURE_RULES
from bifrost.providers.base import Codec, Provider
from bifrost.providers.compatible import openai_codecs
from bifrost.providers.openai import OPENAI_CALL_IDS, Quirks, parse_error
from bifrost.providers.responses import native, native_stored, with_responses
from bifrost.wire.auth import BEARER, HeaderAuth

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.operations.base import OperationName
    from bifrost.providers.base import Built, Target

__all__ = ["AZURE", "AzureSettings"]

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

_API_PATH = re.compile(r"(?<=[^/])/openai(/v1)?/*$", re.IGNORECASE)
"""The end of an address that is copied from the portal or from another client. The paths of the requests have it."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AzureSettings(Frozen):
    """The settings of a key of Azure OpenAI. The key's `aliases` name the deployments of its resource.

        Key(name="eu", value=..., settings=AzureSettings(endpoint="https://my-eu.openai.azure.com"))

    Raises `ConfigError` for an invalid version or address.
    """

    endpoint: str | None = None
    """The address of the key's resource, `https://<resource>.openai.azure.com`. Default: the provider's address
    (`base_url`, `AZURE_OPENAI_ENDPOINT`). `/openai/v1` or `/openai` at its end is dropped. The keys of one provider may
    belong to several resources; each key is sent to its own resource only."""
    api_version: str | None = None
    """A dated version (`2024-10-21`, `2025-04-01-preview`), for the paths that contain the deployment. Default: the v1
    paths, which follow the newest version."""

    def __attrs_post_init__(self) -> None:
        if self.api_version is not None and not _VERSION.fullmatch(self.api_version):
            raise ConfigError(
                f"AzureSettings.api_version: {self.api_version!r} is not a version; for example: 2024-10-21"
            )
        if self.endpoint is not None:
            check_base_url(self.endpoint, where="AzureSettings.endpoint", allow_insecure_http=True)


def _placed(codec: Codec[Any, Any]) -> Codec[Any, Any]:
    return attrs.evolve(codec, build=partial(_build, codec.build))


def _responses() -> Codec[Any, Any]:
    codec = native()
    return attrs.evolve(codec, build=partial(_build_responses, codec.build))


def _stored() -> Codec[Any, Any]:
    return _placed(native_stored())


def _build_responses(build: Callable[[Any, Target], Built], request: Any, target: Target) -> Built:
    """Return the request for a response, whose body names the deployment also with a dated version."""
    built = build(request, target)
    built.request.path = _path(built.request.path, target.replace(model=""))
    return built


def _build(build: Callable[[Any, Target], Built], request: Any, target: Target) -> Built:
    built = build(request, target)
    built.request.path = _path(built.request.path, target)
    return built


def _address(settings: Any, base_url: str) -> str:
    """Return the address of a key's resource, without `/openai/v1` or `/openai` at its end.

    Raises `ConfigError` for settings of another provider.
    """
    known = _settings(settings)
    return _API_PATH.sub("", base_url if known is None or known.endpoint is None else known.endpoint)


def _settings(settings: Any) -> AzureSettings | None:
    if settings is None or isinstance(settings, AzureSettings):
        return settings
    raise ConfigError(f"a key's settings are {type(settings).__name__}; give AzureSettings, or none", provider="azure")


def _path(path: str, target: Target) -> str:
    settings = _settings(target.settings)
    if settings is None or settings.api_version is None:
        return f"/openai/v1{path}"
    version = f"api-version={settings.api_version}"
    if not target.model:  # a request to the resource: its models
        return f"/openai{path}?{version}"
    if not target.model.strip("."):
        raise InvalidRequestError(f"{target.provider}: {target.model!r} cannot be the name of a deployment")
    return f"/openai/deployments/{quote(target.model, safe='')}{path}?{version}"


_ENDPOINTS: tuple[OperationName, ...] = ("chat", "embeddings", "models", "images", "speech", "transcriptions")

# https://learn.microsoft.com/azure/foundry/openai/latest#create-chat-completion
_CODECS = openai_codecs(
    Quirks(lacks=frozenset(["web_search"]), call_ids=OPENAI_CALL_IDS, raw_arguments=True, schema_rules=AZURE_RULES)
)

AZURE = Provider(
    name="azure",
    base_url="",
    codecs=with_responses({endpoint: _placed(_CODECS[endpoint]) for endpoint in _ENDPOINTS}, _responses, _stored),
    parse_error=parse_error,
    auth=HeaderAuth(header="api-key"),
    token_auth=BEARER,
    key_variables=("AZURE_OPENAI_API_KEY",),
    other_key_variables=("AZURE_API_KEY",),
    base_url_variable="AZURE_OPENAI_ENDPOINT",
    other_base_url_variables=("AZURE_API_BASE",),
    key_settings=AzureSettings,
    address_of=_address,
    request_id_headers=("apim-request-id", "x-request-id"),
    schema_rules=AZURE_RULES,
    docs="https://learn.microsoft.com/azure/foundry/openai/latest",
)
"""It has no address of its own: the settings of the provider or of each key contain that of the resource."""
