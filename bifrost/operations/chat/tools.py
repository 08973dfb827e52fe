"""Tools that a caller offers to a model, and the choice among them."""

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
    """A function that the model may call."""

    name: str
    """The name of the tool."""

    description: str | None = None
    """What the tool does, for the model. `None`: no description."""

    parameters: dict[str, Any] | None = None
    """The JSON schema of the arguments; the order of its keys is preserved. `None`: no arguments."""

    strict: bool | None = None
    """Whether the provider enforces the schema. `None`: the provider's default."""

    kind: Literal["function", "custom"] = "function"
    """`function` for JSON arguments, `custom` for free text."""

    format: dict[str, Any] | None = None
    """For `kind="custom"`: the provider's grammar of the text."""

    cache: CacheMark | None = None
    """Marks the end of the tools for the prompt cache."""


class ProviderTool(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="provider"):
    """A tool that the provider runs itself, in the provider's own form. It is sent unchanged."""

    definition: dict[str, Any]
    """The definition of the tool."""

    provider: str | None = None
    """The provider whose form it is; for others `UnsupportedError` is raised. `None`: it is sent to any provider."""


class ToolChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the model must call tools."""

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    """`auto`: the model decides; `none`: no tools; `required`: at least one; `tool`: the tool called `name`."""

    name: str | None = None
    """The tool for `mode="tool"`."""

    allowed: list[str] | None = None
    """The only tools that may be called, without removing the others from the request. `None`: all tools."""


def check_tools(tools: Sequence[Tool | ProviderTool]) -> None:
    """Check the names of tools: two equal names, and names that no provider accepts. Raises `InvalidRequestError`."""
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
