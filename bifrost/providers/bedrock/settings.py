"""The settings of a key of Amazon Bedrock: its region, and so its address and the paths of its requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from bifrost.config import check_base_url
from bifrost.errors import ConfigError, InvalidRequestError
from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target

_REGION = re.compile(r"[a-z0-9-]{1,32}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BedrockSettings(Frozen):
    """The settings of a key of Amazon Bedrock.

        Key(name="eu", value=..., settings=BedrockSettings(region="eu-central-1"))

    Raises `ConfigError` for an invalid region or address.
    """

    region: str | None = None
    """The region of the requests and of their signatures, `us-east-1` for example. Default: none; then the provider
    needs an address (`base_url`), and a key that signs needs a region. The environment sets it as `AWS_REGION` or
    `AWS_DEFAULT_REGION`."""
    endpoint: str | None = None
    """The address of the key's requests, a VPC endpoint for example. Default: the provider's address (`base_url`), or
    else `https://bedrock-runtime.<region>.amazonaws.com`."""
    profiles: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)
    """The inference profile or provisioned throughput that serves a model: its id or ARN, by the model's own name.
    Unlike an alias, it leaves the name of the model visible, so that its family and its price are known. Default:
    none."""

    def __attrs_post_init__(self) -> None:
        if self.region is not None and not _REGION.fullmatch(self.region):
            raise ConfigError(f"BedrockSettings.region: {self.region!r} is not a region; for example: us-east-1")
        if self.endpoint is not None:
            check_base_url(self.endpoint, where="BedrockSettings.endpoint", allow_insecure_http=True)


def address_of(settings: Any, base_url: str) -> str:
    """Return the address of a key's requests. Raises `ConfigError` for settings of another provider."""
    known = settings_of(settings)
    if known is None:
        return base_url
    return known.endpoint or base_url or (_regional(known.region) if known.region else "")


def settings_of(settings: Any) -> BedrockSettings | None:
    """Return a key's settings; `None` if it has none. Raises `ConfigError` for those of another provider."""
    if settings is None or isinstance(settings, BedrockSettings):
        return settings
    raise ConfigError(
        f"a key's settings are {type(settings).__name__}; give BedrockSettings, or none", provider="bedrock"
    )


def model_path(target: Target, action: str) -> str:
    """Return the path of an action of a model, whose id may be the ARN of an inference profile."""
    settings = settings_of(target.settings)
    model = target.model if settings is None else settings.profiles.get(target.model, target.model)
    return action_path(model, action, target)


def action_path(model: str, action: str, target: Target) -> str:
    """Return the path of an action of a model or profile with this id."""
    if not model.strip("."):
        raise InvalidRequestError(f"{target.provider}: {model!r} cannot be the id of a model")
    return f"/model/{quote(model, safe='')}/{action}"


def _regional(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{suffix}"
