from __future__ import annotations

from typing import Any

import pytest

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.options import chat_request
from bifrost.providers.own_json import check_extra, check_own_json
from tests.table import table

NUMBERS: Any = {1: 2}


def request(**options: Any) -> Any:
    given: Any = options
    return chat_request("m", "hi", system=None, options=given)


def function(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@table(
    ("options", "place"),
    [
        ({"tools": [function({}), function({"a": NUMBERS})]}, r"tools\[1\].parameters.a has the key 1"),
        ({"tools": [function({"default": float("nan")})]}, r"tools\[0\].parameters.default is nan"),
        ({"tools": [{"type": "web_search", "filters": b"x"}]}, r"tools\[0\].filters is of type bytes"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "g", "format": {"x": {1, 2}}}}]},
            r"tools\[0\].format.x is of type set",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"x": b""}}}},
            r"response_format.schema.x is of type bytes",
        ),
        ({"extra": {"openai": {"x": object()}}}, r"extra.openai.x is of type object"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(options: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequestError, match=place):
        check_own_json(request(**options))


def test_what_is_json_passes() -> None:
    check_own_json(request())
    check_own_json(
        request(
            tools=[
                function({"type": "object", "properties": {"a": {"type": "string", "default": None}}}),
                {"type": "function", "function": {"name": "g"}},
                {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
                {"type": "custom", "custom": {"name": "h"}},
            ],
            response_format={"type": "json_object"},
            extra={"openai": {"x": [1, 2.5, True, None]}},
        )
    )
    check_extra(None)
