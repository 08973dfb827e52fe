"""Recorded bodies of the providers that speak OpenAI's dialect, in our words. What only one has goes into `extra`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.operations.chat.content import ReasoningPart
from bifrost.operations.chat.openai_form import chat_request_from_openai
from bifrost.operations.chat.request import WebSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.operations.chat.request import ChatRequest

_OWN: Mapping[str, tuple[str, ...]] = {
    "groq": ("reasoning_format",),
    "openrouter": ("models", "preset", "provider", "transforms", "usage"),
    "cerebras": ("clear_thinking",),
}
"""Options that only one provider has."""


def read_chat(body: dict[str, Any], provider: str) -> ChatRequest:
    """Read the body of a chat."""
    own = {name: body[name] for name in _OWN.get(provider, ()) if name in body}
    plain = {name: value for name, value in body.items() if name not in own}
    special = _SPECIAL.get(provider)
    fields = special(plain) if special is not None else {}
    request = chat_request_from_openai(plain)
    if own:
        fields["extra"] = {**(request.extra or {}), provider: own}
    return msgspec.structs.replace(request, **fields) if fields else request


def _groq(plain: dict[str, Any]) -> dict[str, Any]:
    settings = plain.pop("search_settings", None)
    if settings is None:
        return {}
    allowed, blocked = settings.get("include_domains"), settings.get("exclude_domains")
    return {"web_search": WebSearch(allowed_domains=allowed, blocked_domains=blocked)}


def _mistral(plain: dict[str, Any]) -> dict[str, Any]:
    plain["messages"] = [_mistral_message(message) for message in plain["messages"]]
    if "tools" in plain:
        plain["tools"] = [{"type": "function", **tool} for tool in plain["tools"]]
    return {}


def _mistral_message(message: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name != "prefix" or value}
    if isinstance(kept["content"], list):
        kept["content"] = [part for piece in kept["content"] for part in _mistral_parts(piece)]
    return kept


def _mistral_parts(piece: dict[str, Any]) -> list[Any]:
    if piece["type"] != "thinking":
        return [piece]
    return [ReasoningPart(text=thought["text"]) for thought in piece["thinking"]]


_SPECIAL: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"groq": _groq, "mistral": _mistral}
"""How a body that is not in OpenAI's form becomes one, and fields of the request beside it."""
