"""A web search, asked for in the words of the servers that have one.

OpenAI: https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat.
Groq: https://console.groq.com/docs/compound/search-settings.
Perplexity: https://docs.perplexity.ai/api-reference/chat-completions-post.
OpenRouter: https://openrouter.ai/docs/guides/features/server-tools/web-search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.providers.openai.messages import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.operations.chat.request import WebSearch
    from bifrost.providers.base import Target
    from bifrost.providers.openai.quirks import SearchStyle


def add_search(body: dict[str, Any], search: WebSearch, target: Target, style: SearchStyle) -> list[str]:
    """Add a web search to a body, and tell which of its options were left out.

    Raises `UnsupportedError` if the server cannot keep the search to the domains.
    """
    add, known = _STYLES[style]
    for field in ("allowed_domains", "blocked_domains"):
        if getattr(search, field) is not None and field not in known:
            raise unsupported(target, "cannot keep a web search to some domains", "leave out web_search's domains")
    add(body, search)
    return [
        f"web_search.{field} was left out: {target.provider} has no such option"
        for field in ("context_size", "user_location", "max_uses")
        if getattr(search, field) is not None and field not in known
    ]


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
    if settings:  # Groq's systems that can search do so unasked.
        body["search_settings"] = settings


def _add_filters(body: dict[str, Any], search: WebSearch) -> None:
    options: dict[str, Any] = {}
    if search.context_size is not None:
        options["search_context_size"] = search.context_size
    if search.user_location is not None:
        options["user_location"] = msgspec.to_builtins(search.user_location)
    if options:  # Perplexity searches unasked.
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


_STYLES: Mapping[SearchStyle, tuple[Callable[[dict[str, Any], WebSearch], None], frozenset[str]]] = {
    "options": (_add_options, frozenset(["context_size", "user_location"])),
    "settings": (_add_settings, frozenset(["allowed_domains", "blocked_domains"])),
    "filters": (_add_filters, frozenset(["context_size", "user_location", "allowed_domains", "blocked_domains"])),
    "tool": (
        _add_tool,
        frozenset(["context_size", "user_location", "max_uses", "allowed_domains", "blocked_domains"]),
    ),
}
"""How each style is said, and which fields of `WebSearch` it knows."""
