"""A plugin that sets options that a request does not set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from bifrost.errors import ConfigError, InvalidRequestError
from bifrost.operations.chat.options import ChatOptions, chat_fields
from bifrost.operations.chat.request import ChatRequest
from bifrost.plugins.base import Plugin

if TYPE_CHECKING:
    from bifrost.context import CallContext


class DefaultOptions(Plugin):
    """Sets default options for all chats: `DefaultOptions(temperature=0.2, max_tokens=500)`.

    The options are those of `chat`, in the same forms. Options of the request take precedence. Raises `ConfigError` for
    an unknown name, and for an invalid value.
    """

    name = "default_options"

    def __init__(self, **options: Unpack[ChatOptions]) -> None:
        self._fields = _fields(options)

    def before(self, call: CallContext, request: Any) -> Any:
        """Return the request with the options that it does not set."""
        if not isinstance(request, ChatRequest):
            return None
        missing = {name: value for name, value in self._fields.items() if getattr(request, name) is None}
        return msgspec.structs.replace(request, **missing) if missing else None


def _fields(options: ChatOptions) -> dict[str, Any]:
    try:
        return chat_fields(options)
    except InvalidRequestError as error:
        problem = error.message
    raise ConfigError(f"default_options: {problem}")
