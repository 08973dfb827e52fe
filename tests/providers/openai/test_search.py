from __future__ import annotations

from typing import Any

import pytest

from bifrost.errors import UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, UserLocation, WebSearch
from bifrost.providers.base import Built, Target
from bifrost.providers.openai import Quirks, build_chat
from bifrost.providers.openai.search import add_search
from tests.table import table

TARGET = Target(provider="somehost", model="m")
EVERYTHING = WebSearch(
    context_size="low",
    user_location=UserLocation(city="Bonn", country="DE"),
    allowed_domains=["a.example"],
    blocked_domains=["b.example"],
    max_uses=3,
)
PLACE = {"city": "Bonn", "country": "DE"}


def added(style: Any, search: WebSearch, **body: Any) -> dict[str, Any]:
    add_search(body, search, style)
    return body


def asked(search: WebSearch, style: Any) -> Built:
    request = ChatRequest(model="m", messages=[Message(role="user", content="hi")], web_search=search)
    return build_chat(request, TARGET, quirks=Quirks(web_search=style))


@pytest.mark.parametrize(
    ("style", "wire"),
    [
        ("settings", {"search_settings": {"include_domains": ["a.example"], "exclude_domains": ["b.example"]}}),
        (
            "filters",
            {
                "web_search_options": {"search_context_size": "low", "user_location": PLACE},
                "search_domain_filter": ["a.example", "-b.example"],
            },
        ),
        (
            "tool",
            {
                "tools": [
                    {
                        "type": "openrouter:web_search",
                        "parameters": {
                            "search_context_size": "low",
                            "max_uses": 3,
                            "allowed_domains": ["a.example"],
                            "excluded_domains": ["b.example"],
                            "user_location": {"type": "approximate", **PLACE},
                        },
                    }
                ]
            },
        ),
    ],
)
def test_a_search_is_said_in_the_servers_words(style: Any, wire: dict[str, Any]) -> None:
    assert added(style, EVERYTHING) == wire


@table(
    ("style", "wire"),
    [
        ("options", {"web_search_options": {}}),
        ("settings", {}),
        ("filters", {}),
        ("tool", {"tools": [{"type": "openrouter:web_search"}]}),
    ],
)
def test_a_search_without_wishes_is_asked_for_where_it_must_be(style: Any, wire: dict[str, Any]) -> None:
    assert added(style, WebSearch()) == wire


def test_a_search_stands_behind_the_callers_tools() -> None:
    assert added("tool", WebSearch(), tools=[{"type": "x"}])["tools"] == [
        {"type": "x"},
        {"type": "openrouter:web_search"},
    ]


@pytest.mark.parametrize(
    ("style", "left_out"),
    [("settings", ["context_size", "user_location", "max_uses"]), ("filters", ["max_uses"]), ("tool", [])],
)
def test_wishes_that_are_not_known_are_left_out_with_a_warning(style: Any, left_out: list[str]) -> None:
    built = asked(EVERYTHING, style)
    assert built.warnings == [f"web_search.{field} was left out: somehost has no such option" for field in left_out]


@pytest.mark.parametrize("domains", [{"allowed_domains": ["a"]}, {"blocked_domains": ["a"]}])
def test_domains_that_cannot_be_kept_to_are_refused(domains: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="cannot keep a web search to some domains"):
        asked(WebSearch(**domains), "options")
