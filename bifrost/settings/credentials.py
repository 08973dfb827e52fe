"""Creates the sources of tokens that a file names, `credentials = { type = "entra" }`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.account import near
from bifrost.credentials.aws import AwsCredentials
from bifrost.credentials.entra import EntraCredentials
from bifrost.credentials.google import GoogleCredentials
from bifrost.settings.problems import below
from bifrost.settings.shape import fields_of, members_of
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.credentials.base import TokenSource
    from bifrost.settings.environment import Environment
    from bifrost.settings.shape import Reader

SOURCES: Mapping[str, type[Any]] = {"entra": EntraCredentials, "google": GoogleCredentials, "aws": AwsCredentials}
"""The classes by their `type` in a file. The other fields of the table are theirs."""


def read_credentials(
    table: Mapping[str, Any], *, at: str, reader: Reader, environment: Environment
) -> TokenSource | None:
    """Return the source of a key's tokens; `None`, with a problem, if its table is invalid.

    Any text may name a variable, `env.NAME`.
    """
    kind = table.get("type")
    shape = SOURCES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        alike = near(kind, SOURCES) if isinstance(kind, str) else ""
        hint = f"did you mean {alike}?" if alike else f"there are: {', '.join(SOURCES)}"
        reader.problems.add(below(at, "type"), f"this must be the type of the credentials; {hint}")
        return None
    secrets = {name for name, field in fields_of(shape).items() if Secret in members_of(field.hint)}
    read: dict[str, Any] = {}
    for name, value in table.items():
        if name != "type":
            text: Any = value
            if isinstance(value, str):
                text = environment.text(value, at=below(at, name), problems=reader.problems)
            read[name] = Secret(text) if name in secrets and isinstance(text, str) else text
    source: TokenSource | None = reader.table(read, shape, at)
    return source
