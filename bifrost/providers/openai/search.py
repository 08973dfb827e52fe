"""Web search, in the forms of the servers that support it.

OpenAI: https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat. Groq:
https://console.groq.com/docs/compound/search-settings. Perplexity:
https://docs.perplexity.ai/api-reference/chat-completions-post. OpenRouter:
https://openrouter.ai/docs/guides/features/server-tools/web-search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.operations.chat.request import WebSearch
    from bifrost.providers.openai.quirks import SearchStyle


def add_search(body: dict[str, Any], search: WebSearch, style: SearchStyle) -> None:
    """Add a web search to a body. `bifrost.providers.openai.fields` says which of its fields a style supports."""
    _STYLES[style](body, search)


def _add_options(body: dict[str, Any], search: WebSearch) -> None:
    options: dict[str, Any] = {}
    if search.context_size is not None:
        options["search_context_size"] = search.context_size
    if search.user_location is not None:
        options["user_location"] = {"type": "approximate", "approximate": msgspec.to_builtins(search.user_location)}
    body["web_search_options"] = options


def _add_settings(body: dict[str, Any], search: WebSearch) -> None:
    settings: dict[str, Any] = {}
    if search.allowed_domains is not None:
        settings["include_domains"] = search.allowed_domains
    if search.blocked_domains is not None:
        settings["exclude_domains"] = search.blocked_domains
    if settings:  # Groq's systems that support it search by default.
        body["search_settings"] = settings


def _add_filters(body: dict[str, Any], search: WebSearch) -> None:
    options: dict[str, Any] = {}
    if search.context_size is not None:
        options["search_context_size"] = search.context_size
    if search.user_location is not None:
        options["user_location"] = msgspec.to_builtins(search.user_location)
    if options:  # Perplexity searches by default.
        body["web_search_options"] = options
    domains = [*(search.allowed_domains or ()), *(f"-{domain}" for domain in search.blocked_domains or ())]
    if domains:
        body["search_domain_filter"] = domains


def _add_tool(body: dict[str, Any], search: WebSearch) -> None:
    named = {
        "search_context_size": search.context_size,
        "max_uses": search.max_uses,
        "allowed_domains": search.allowed_domains,
        "excluded_domains": search.blocked_domains,
    }
    parameters: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if search.user_location is not None:
        parameters["user_location"] = {"type": "approximate", **msgspec.to_builtins(search.user_location)}
    tool = {"type": "openrouter:web_search", **({"parameters": parameters} if parameters else {})}
    body["tools"] = [*body.get("tools", ()), tool]


_STYLES: Mapping[SearchStyle, Callable[[dict[str, Any], WebSearch], None]] = {
    "options": _add_options,
    "settings": _add_settings,
    "filters": _add_filters,
    "tool": _add_tool,
}
