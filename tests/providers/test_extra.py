from __future__ import annotations

from typing import Any

from bifrost.providers.base import Target
from bifrost.providers.extra import merge_extra
from tests.table import table

TARGET = Target(provider="somehost", model="m")


@table(
    ("body", "extra", "merged"),
    [
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, {"other": {"a": 2}}, {"a": 1}),
        ({"a": 1}, {"somehost": {"a": 2, "b": 3}}, {"a": 2, "b": 3}),
        ({"a": {"b": 1, "c": {"d": 2}}}, {"somehost": {"a": {"c": {"e": 3}}}}, {"a": {"b": 1, "c": {"d": 2, "e": 3}}}),
        ({"a": {"b": 1}}, {"somehost": {"a": None}}, {"a": None}),
        ({"a": [1]}, {"somehost": {"a": [2]}}, {"a": [2]}),
    ],
)
def test_what_is_said_for_this_provider_is_merged(body: dict[str, Any], extra: Any, merged: dict[str, Any]) -> None:
    merge_extra(body, extra, TARGET)
    assert body == merged


def test_the_callers_own_objects_are_not_changed() -> None:
    schema = {"type": "object"}
    extra = {"somehost": {"schema": {"strict": True}}}
    merge_extra({"schema": schema}, extra, TARGET)
    assert schema == {"type": "object"}
    assert extra == {"somehost": {"schema": {"strict": True}}}
