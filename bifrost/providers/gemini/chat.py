"""Gemini's request for a chat: https://ai.google.dev/api/generate-content.

What Gemini does not support raises `UnsupportedError` if omitting it would change the meaning. An option that only
tunes the output is omitted with a warning that names it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bifrost.errors import InvalidRequestError
from bifrost.providers.base import Built
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.families import family_of
from bifrost.providers.gemini.fields import CHAT
from bifrost.providers.gemini.messages import Context, conversation
from bifrost.providers.gemini.schemas import schema_field
from bifrost.providers.gemini.thinking import thinking_config
from bifrost.providers.gemini.tools import tools_of
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.request import ChatRequest
    from bifrost.providers.base import Target
    from bifrost.providers.fields import FieldTable

_TIERS: Mapping[str, str] = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_MODALITIES: Mapping[str, str] = {"text": "TEXT", "audio": "AUDIO", "image": "IMAGE", "video": "VIDEO"}


def build_chat(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat with the Gemini API.

    Raises `InvalidRequestError` for an invalid request (an image without a source), and `UnsupportedError` for what
    Gemini does not support.
    """
    body, warnings = chat_body(request, target, CHAT)
    tier = tier_of(request, target, CHAT, warnings)
    if tier is not None:
        body["serviceTier"] = tier
    merge_extra(body, request.extra, target)
    path = f"/v1beta/{model_path(target)}:{method_of(target)}"
    return built(path, body, warnings, request)


def built(path: str, body: dict[str, Any], warnings: list[str], request: Any) -> Built:
    """Return a POST request with a body."""
    headers = {"content-type": "application/json"}
    return Built(
        request=HttpRequest(method="POST", path=path, headers=headers, body=json.encode(body), source=request),
        warnings=list(dict.fromkeys(warnings)),
    )


def method_of(target: Target) -> str:
    """Return the method of a chat, plain or streamed."""
    return "streamGenerateContent?alt=sse" if target.stream else "generateContent"


def model_path(target: Target) -> str:
    """Return the path of a model: `models/gemini-2.5-pro`, `tunedModels/...`.

    Raises `InvalidRequestError` for a name that cannot stand in a path.
    """
    name = target.model if target.model.startswith(("models/", "tunedModels/")) else f"models/{target.model}"
    if not all(step.strip(".") for step in name.split("/")):
        raise InvalidRequestError(f"{target.provider}: {target.model!r} cannot be the name of a model")
    return quote(name, safe="/")


def chat_body(request: ChatRequest, target: Target, table: FieldTable) -> tuple[dict[str, Any], list[str]]:
    """Return the body of a chat without `extra`, and the warnings."""
    warnings = table.check(request, target)
    context = Context(target=target, table=table, family=family_of(target.model), warnings=warnings, names={})
    system, contents = conversation(request.messages, context)
    body: dict[str, Any] = {"contents": contents}
    if system is not None:
        body["systemInstruction"] = system
    config = _generation(request, context)
    if config:
        body["generationConfig"] = config
    return body | tools_of(request, context), warnings


def tier_of(request: ChatRequest, target: Target, table: FieldTable, warnings: list[str]) -> str | None:
    """Return Google's word for the service tier, if it has one."""
    if request.service_tier in {None, "auto"}:
        return None
    tier = _TIERS.get(request.service_tier or "")
    if tier is None:
        warnings.append(table.warning("service_tier", target, value=repr(request.service_tier)))
    return tier


def _generation(request: ChatRequest, context: Context) -> dict[str, Any]:
    """Return the `generationConfig`."""
    config: dict[str, Any] = {}
    for name, wire in context.table.plain:
        value = getattr(request, name)
        if value is not None:
            config[wire] = value
    _set_logprobs(request, config, context)
    config |= _format(request, context)
    if request.modalities is not None:
        config["responseModalities"] = [_MODALITIES.get(each, each.upper()) for each in request.modalities]
    if request.audio is not None:
        voice = {"prebuiltVoiceConfig": {"voiceName": request.audio.voice}}
        config["speechConfig"] = {"voiceConfig": voice}
    if request.reasoning is not None:
        thinking = thinking_config(request.reasoning, context.family, partial(_note_thinking, context))
        if thinking:
            config["thinkingConfig"] = thinking
    return config


def _note_thinking(context: Context, field: str, value: str) -> None:
    context.note(f"reasoning.{field}", value=value)


def _set_logprobs(request: ChatRequest, config: dict[str, Any], context: Context) -> None:
    """Request log probabilities with the number of the most probable tokens, which is refused without them."""
    if request.top_logprobs is None:
        return
    if request.logprobs is False:
        del config["logprobs"]
        context.note("top_logprobs")
    else:
        config["responseLogprobs"] = True


def _format(request: ChatRequest, context: Context) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None:
        return {}
    if wanted.description is not None:
        context.note("response_format.description")
    if wanted.type != "json_schema":
        if wanted.schema is not None:
            context.note("response_format.schema")
        return {"responseMimeType": "application/json"} if wanted.type == "json_object" else {}
    if wanted.schema is None:
        raise InvalidRequestError("response_format is of type json_schema but has no schema")
    schema = schema_field(wanted.schema, plain="responseJsonSchema", openapi="responseSchema")
    return {"responseMimeType": "application/json", **schema}
