"""Requests to Gemini that the recordings lack."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG


def sent(*messages: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    request = ChatRequest(model="m", messages=msgspec.convert(messages, list[Message]))
    built = CATALOG["gemini"].codecs["chat"].build(request, Target(provider="gemini", model="m"))
    return json.loads(bytes(built.request.body)), built.warnings


def test_messages_without_text_are_left_out() -> None:
    expected = {"contents": [{"role": "user", "parts": [{"text": text}]} for text in "ab"]}
    for empty in ("", []):
        body, warnings = sent(
            {"role": "system", "content": empty},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": empty},
            {"role": "user", "content": "b"},
        )
        assert body == expected
        assert warnings == ["messages[2]: an assistant message without content was left out"]
