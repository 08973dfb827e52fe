"""Tools that a caller offers to a model, and how the model may choose among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.operations.chat.content import CacheMark

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,128}")


class Tool(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool"):
    """A function the model may ask for. `parameters` is a JSON schema, sent with its keys in the order given.

    `kind="custom"` is a tool that takes free text; `format` then holds the provider's grammar for it.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    kind: Literal["function", "custom"] = "function"
    format: dict[str, Any] | None = None
    cache: CacheMark | None = None


class ProviderTool(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="provider"):
    """A tool that the provider runs itself, in the provider's own words; sent as it is.

    `provider` says whose words they are; another dialect raises `UnsupportedError`. `None`: send it to any.
    """

    definition: dict[str, Any]
    provider: str | None = None


class ToolChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the model must call tools: as it likes, never, at least one, or the one called `name`.

    `allowed` narrows the choice to these names without taking the others out of the request.
    """

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str | None = None
    allowed: list[str] | None = None


def check_tools(tools: Sequence[Tool | ProviderTool]) -> None:
    """Refuse names that no vendor takes, and two tools of one name. Raises `InvalidRequestError`."""
    names: set[str] = set()
    for place, tool in enumerate(tools):
        if not isinstance(tool, Tool):
            continue
        if not _NAME.fullmatch(tool.name):
            raise InvalidRequestError(
                f"tools[{place}]: {tool.name[:200]!r} cannot be a tool's name: no provider takes other characters than "
                "a-z, A-Z, 0-9, '_', '-', '.' and ':', and more than 128 of them; OpenAI takes 64, without '.' and ':'"
            )
        if tool.name in names:
            raise InvalidRequestError(f"tools[{place}]: there are two tools of the name {tool.name!r}; rename one")
        names.add(tool.name)
