"""Recorded bodies of Cohere, read as a caller would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.rerank import RerankRequest, rerank_request
from bifrost.providers.cohere.answer import PLAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OPTIONS = {
    "temperature": "temperature",
    "p": "top_p",
    "k": "top_k",
    "max_tokens": "max_tokens",
    "stop_sequences": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logprobs": "logprobs",
}
OWN = ("safety_mode", "citation_options", "priority", "strict_tools")
"""Options that only Cohere has, or that concern the whole request."""


def read_rerank(body: Mapping[str, Any]) -> RerankRequest:
    """Read the body of a rerank request."""
    given = {name: value for name, value in body.items() if value is not None}
    return rerank_request(given.pop("model"), given.pop("query"), given.pop("documents"), **given)


def read_embeddings(body: Mapping[str, Any]) -> EmbeddingRequest:
    """Read the body of an embed request."""
    (dtype,) = body["embedding_types"]
    truncate = body.get("truncate")
    form = {
        "model": body["model"],
        "input": body["texts"],
        "output_dtype": None if dtype == "float" else dtype,
        "input_type": body["input_type"].removeprefix("search_"),
        "truncate": truncate and truncate.lower(),
    }
    return msgspec.convert(form, EmbeddingRequest)


def read_chat(body: Mapping[str, Any]) -> ChatRequest:
    """Read the body of a chat request."""
    given = {name: value for name, value in body.items() if value is not None}
    form: dict[str, Any] = {"model": given["model"], "messages": [_message(each) for each in given["messages"]]}
    form |= {ours: given[theirs] for theirs, ours in OPTIONS.items() if theirs in given}
    if documents := given.get("documents"):
        user = next(each for each in reversed(form["messages"]) if each["role"] == "user")
        text = user["content"]
        user["content"] = [*map(_document, documents), {"type": "text", "text": text}]
    if "tools" in given:
        form["tools"] = [{"type": "tool", **tool["function"]} for tool in given["tools"]]
    if "tool_choice" in given:
        form["tool_choice"] = {"mode": given["tool_choice"].lower()}
    if "response_format" in given:
        form["response_format"] = _format(given["response_format"])
    if "thinking" in given:
        thinking = given["thinking"]
        form["reasoning"] = {"enabled": thinking["type"] == "enabled", "max_tokens": thinking.get("token_budget")}
    if extra := {name: given[name] for name in OWN if name in given}:
        form["extra"] = {"cohere": extra}
    return msgspec.convert(form, ChatRequest)


def _format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    schema = wanted.get("json_schema") or wanted.get("schema")
    return {"type": wanted["type"]} if schema is None else {"type": "json_schema", "schema": schema}


def _document(document: Any) -> dict[str, Any]:
    data = document["data"]
    assert data.keys() <= {"text", "title", "context"}
    return {"type": "file", "text": data["text"], "filename": data.get("title"), "context": data.get("context")}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: message[name] for name in ("role", "tool_call_id") if name in message}
    content = message.get("content")
    if message["role"] != "assistant" and isinstance(content, str):
        return {**known, "content": content}
    return {**known, "content": list(_parts(message))}


def _parts(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ours = {"provider": "cohere"}
    if plan := message.get("tool_plan"):
        yield {"type": "reasoning", "text": plan, "signature": PLAN, **ours}
    content = message.get("content") or []
    block: dict[str, Any]
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        match block["type"]:
            case "text":
                yield {"type": "text", "text": block["text"]}
            case "thinking":
                yield {"type": "reasoning", "text": block["thinking"], **ours}
            case "image_url":
                yield {"type": "image", **block["image_url"]}
            case kind:
                yield {"type": "opaque", "kind": kind, "data": block, **ours}
    for call in message.get("tool_calls") or []:
        function: dict[str, Any] = call["function"]
        yield {"type": "tool_call", "id": call["id"], **function, **ours}
