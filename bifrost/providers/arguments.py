"""Arguments of tool calls in a conversation, for servers that parse them."""

from __future__ import annotations

import msgspec

from bifrost.wire import json

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])

UNREADABLE = "unreadable_arguments"
"""The only member of the object that replaces arguments that are not a JSON object: it contains their text."""


def as_object(arguments: str) -> str:
    """Return the arguments if they are a JSON object, `{}` if they are empty, otherwise an object with their text.

    Models write truncated arguments, lists, texts and NaN. A server that parses the history would refuse the
    conversation from then on.
    """
    if not arguments.strip():
        return "{}"
    try:
        _OBJECT.decode(arguments.encode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        text = arguments.encode("utf-8", "replace").decode()
        return json.encode({UNREADABLE: text}).decode()
    return arguments


def unreadable(name: str, where: str) -> str:
    """Return the warning for arguments that were sent as text within an object."""
    return f"{where}: the arguments of tool {name!r} are no JSON object, and were sent as the text in one"
