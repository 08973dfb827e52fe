"""The settings of a key of Vertex AI: its project and region, and so its address and the paths of its requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from bifrost.config import check_base_url
from bifrost.errors import ConfigError, InvalidRequestError
from bifrost.frozen import Frozen

if TYPE_CHECKING:
    from bifrost.providers.base import Target

GLOBAL_ADDRESS = "https://aiplatform.googleapis.com"

_MULTI_REGIONS = ("us", "eu")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_PROJECT = re.compile(r"[a-zA-Z0-9:._-]{1,64}")
_VERSION = re.compile(r"/v1(?:beta1)?/*$")
"""The end of an address that is copied from another client. The paths of the requests have it."""
_NAME = re.compile(r"publishers/([^/]{1,64})/models/(.+)", re.DOTALL)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VertexSettings(Frozen):
    """The settings of a key of Vertex AI.

        Key(name="eu", credentials=..., settings=VertexSettings(project="my-project", region="europe-west4"))

    Raises `ConfigError` for an invalid project, region or address.
    """

    project: str | None = None
    """The id of the project. Default: none; then the key is an API key of the express mode, which belongs to a project
    itself. The environment sets it as `GOOGLE_CLOUD_PROJECT`."""
    region: str | None = None
    """The region, `europe-west4` for example, or `us` or `eu`. Default: `global`. It needs a project. The environment
    sets it as `GOOGLE_CLOUD_LOCATION` or `GOOGLE_CLOUD_REGION`."""
    endpoint: str | None = None
    """The address of the key's requests, of Private Service Connect for example. Default: the provider's address
    (`base_url`), or else that of the region, `https://<region>-aiplatform.googleapis.com`."""

    def __attrs_post_init__(self) -> None:
        if self.project is not None and (not _PROJECT.fullmatch(self.project) or not self.project.strip(".")):
            raise ConfigError(f"VertexSettings.project: {self.project!r} is not the id of a project")
        if self.region is not None and not _REGION.fullmatch(self.region):
            raise ConfigError(f"VertexSettings.region: {self.region!r} is not a region; for example: europe-west4")
        if self.endpoint is not None:
            check_base_url(self.endpoint, where="VertexSettings.endpoint", allow_insecure_http=True)


def address_of(settings: Any, base_url: str) -> str:
    """Return the address of a key's requests. Raises `ConfigError` for settings of another provider."""
    known = settings_of(settings)
    if known is not None and known.endpoint is not None:
        return _VERSION.sub("", known.endpoint)
    if known is None or base_url != GLOBAL_ADDRESS:
        return _VERSION.sub("", base_url)
    return _regional(known.region) if known.project is not None else base_url


def settings_of(settings: Any) -> VertexSettings | None:
    """Return a key's settings; `None` if it has none. Raises `ConfigError` for those of another provider."""
    if settings is None or isinstance(settings, VertexSettings):
        return settings
    raise ConfigError(
        f"a key's settings are {type(settings).__name__}; give VertexSettings, or none", provider="vertex"
    )


def publisher_and_model(name: str) -> tuple[str, str]:
    """Return the publisher of a model and its name there: `publishers/anthropic/models/claude-...`, or the name."""
    found = _NAME.fullmatch(name)
    if found is not None:
        return found[1], found[2]
    if name.startswith("anthropic/"):
        return "anthropic", name.removeprefix("anthropic/")
    return ("anthropic" if name.startswith("claude-") else "google"), name.removeprefix("models/")


def model_path(target: Target, method: str, *, version: str = "v1beta1") -> str:
    """Return the path of a method of a model, or of an endpoint (`endpoints/...`), for a tuned model.

    Raises `InvalidRequestError` for a name that cannot stand in a path, and `ConfigError` for one that needs a project.
    """
    publisher, model = publisher_and_model(target.model)
    names = model.split("/") if model.startswith("endpoints/") else ["publishers", publisher, "models", model]
    if not all(name.strip(".") for name in names):
        raise InvalidRequestError(f"{target.provider}: {target.model!r} cannot be the name of a model")
    path = "/".join(quote(name, safe="@") for name in names)
    return f"/{version}/{_parent(target, is_express=publisher == 'google' and names[0] == 'publishers')}{path}:{method}"


def _parent(target: Target, *, is_express: bool) -> str:
    settings = settings_of(target.settings)
    if settings is not None and settings.project is not None:
        return f"projects/{quote(settings.project, safe='')}/locations/{settings.region or 'global'}/"
    if is_express:
        return ""
    raise ConfigError(
        f"{target.model!r} needs a project: VertexSettings(project=...) in the settings of the key", provider="vertex"
    )


def _regional(region: str | None) -> str:
    if region is None or region == "global":
        return GLOBAL_ADDRESS
    if region in _MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"
