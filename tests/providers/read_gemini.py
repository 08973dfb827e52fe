"""Read a recorded body of Gemini's generateContent as the unified request that should build it."""

from __future__ import annotations

import json
from typing import Any, Literal

from bifrost.operations.chat.content import (
    AudioPart,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import AudioOutput, ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.token_count import TokenCountRequest

_SAME = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_MODES: dict[str, Literal["auto", "none", "required", "tool"]] = {
    "AUTO": "auto",
    "NONE": "none",
    "ANY": "required",
    "VALIDATED": "auto",
}


def camel(value: Any) -> Any:
    """Write the names of fields as the reference does; the recorded SDK mixes both forms. Schemas and args stay."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels"}
    named = {_camel(key): each for key, each in value.items()}
    return {key: each if key in kept else camel(each) for key, each in named.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def read_request(body: dict[str, Any], *, model: str, provider: str) -> ChatRequest:
    """Say a recorded body in our words; what we have no words for goes into `extra`."""
    body = camel(body)
    config = dict(body.pop("generationConfig", {}))
    tool_config = dict(body.pop("toolConfig", {}))
    calling = tool_config.pop("functionCallingConfig", {})
    system = body.pop("systemInstruction", None)
    tools = body.pop("tools", None)
    contents = body.pop("contents")
    labels = body.pop("labels", None) if provider == "vertex" else None
    options = {ours: config.pop(theirs) for theirs, ours in _SAME.items() if theirs in config}
    if "top_k" in options:
        options["top_k"] = int(options["top_k"])
    form, schema = config.pop("responseMimeType", None), config.pop("responseJsonSchema", None)
    schema = config.pop("responseSchema", schema)
    modalities = config.pop("responseModalities", None)
    thinking = config.pop("thinkingConfig", None)
    speech = config.pop("speechConfig", None)
    wanted = None
    if form == "application/json":
        wanted = ResponseFormat(type="json_object" if schema is None else "json_schema", schema=schema)
    elif form is not None:
        config["responseMimeType"] = form
    rest = {"generationConfig": config, "toolConfig": tool_config}
    extra = {**body, **{name: value for name, value in rest.items() if value}}
    return ChatRequest(
        model=model,
        messages=[
            *([Message(role="system", content=_parts(system["parts"], provider))] if system else []),
            *(message for content in contents for message in _turn(content, provider)),
        ],
        tools=[each for tool in tools for each in _tools(tool, provider, calling)] if tools is not None else None,
        tool_choice=_choice(calling),
        response_format=wanted,
        modalities=modalities and [each.lower() for each in modalities],
        reasoning=thinking and _reasoning(thinking),
        audio=speech and AudioOutput(voice=speech["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"], format="wav"),
        metadata=labels,
        extra={provider: extra} if extra else None,
        **options,
    )


def _choice(calling: dict[str, Any]) -> ToolChoice | None:
    if not calling:
        return None
    return ToolChoice(mode=_MODES[calling["mode"]], allowed=calling.get("allowedFunctionNames"))


def _reasoning(thinking: dict[str, Any]) -> Reasoning:
    shown = thinking.get("includeThoughts")
    return Reasoning(
        max_tokens=thinking.get("thinkingBudget") or None,
        enabled=False if thinking.get("thinkingBudget") == 0 else None,
        effort=thinking["thinkingLevel"].lower() if "thinkingLevel" in thinking else None,
        display=None if shown is None else "summarized" if shown else "omitted",
    )


def _turn(content: dict[str, Any], provider: str) -> list[Message]:
    results = [_result(part["functionResponse"], provider) for part in content["parts"] if "functionResponse" in part]
    rest = _parts([part for part in content["parts"] if "functionResponse" not in part], provider)
    role: Literal["assistant", "user"] = "assistant" if content.get("role") == "model" else "user"
    if len(rest) == 1 and rest[0] == TextPart(text=""):
        return [*results, Message(role=role, content="")]
    return [*results, Message(role=role, content=rest)] if rest else results


def _result(answer: dict[str, Any], provider: str) -> Message:
    response = answer["response"]
    failed = list(response) == ["error"] and isinstance(response["error"], str)
    text = response["error"] if failed else json.dumps(response, ensure_ascii=False)
    parts = _parts(answer.get("parts", []), provider)
    return Message(
        role="tool",
        name=answer["name"],
        tool_call_id=answer.get("id") or "made up",
        is_error=failed,
        content=[TextPart(text=text), *parts] if parts else text,
    )


def _parts(parts: list[dict[str, Any]], provider: str) -> list[Part]:
    return [_part(part, provider) for part in parts]


def _part(part: dict[str, Any], provider: str) -> Part:
    signature = part.get("thoughtSignature")
    signed: dict[str, Any] = {} if signature is None else {"signature": signature, "provider": provider}
    kinds = part.keys() - {"thoughtSignature", "thought"}
    if kinds == {"text"} and part.get("thought"):
        return ReasoningPart(text=part["text"], signature=signature, provider=provider)
    if kinds == {"text"}:
        return TextPart(text=part["text"], **signed)
    if kinds == {"functionCall"}:
        call = part["functionCall"]
        return ToolCall(
            id=call.get("id") or "made up",
            name=call["name"],
            arguments=json.dumps(call.get("args", {}), ensure_ascii=False),
            **signed,
        )
    if kinds == {"inlineData"} and signature is None:
        return _media({"data": part["inlineData"]["data"]}, part["inlineData"]["mimeType"])
    if kinds == {"fileData"} and signature is None:
        return _media({"url": part["fileData"]["fileUri"]}, part["fileData"].get("mimeType"))
    return OpaquePart(provider=provider, kind=min(kinds), data=part)


def _media(source: dict[str, Any], media_type: str | None) -> Part:
    kind, _, form = (media_type or "").partition("/")
    if kind == "audio" and "data" in source:
        return AudioPart(format=form, **source)
    made: dict[str, type[ImagePart | VideoPart]] = {"image": ImagePart, "video": VideoPart}
    return made.get(kind, FilePart)(media_type=media_type, **source)


def _tools(tool: dict[str, Any], provider: str, calling: dict[str, Any]) -> list[Tool | ProviderTool]:
    declared = tool.get("functionDeclarations")
    if declared is None:
        return [ProviderTool(provider=provider, definition=tool)]
    return [
        Tool(
            name=each["name"],
            description=each.get("description"),
            parameters=each.get("parametersJsonSchema", each.get("parameters")),
            strict=True if calling.get("mode") == "VALIDATED" else None,
        )
        for each in declared
    ]


def read_embeddings(body: dict[str, Any], *, model: str, provider: str) -> EmbeddingRequest:
    """Say the body of embedContent or batchEmbedContents in our words."""
    requests = [camel(each) for each in body.get("requests", [body])]
    texts = [part["text"] for each in requests for part in each["content"]["parts"]]
    known = {"content", "model", "outputDimensionality", "taskType"}
    task = requests[0].get("taskType")
    extra = {name: value for name, value in requests[0].items() if name not in known}
    return EmbeddingRequest(
        model=model,
        input=texts,
        dimensions=requests[0].get("outputDimensionality"),
        input_type={"RETRIEVAL_QUERY": "query", "RETRIEVAL_DOCUMENT": "document"}.get(task, task),
        extra={provider: extra} if extra else None,
    )


def read_count(body: dict[str, Any], *, model: str, provider: str) -> TokenCountRequest:
    """Say the body of countTokens in our words."""
    chat = read_request(body, model=model, provider=provider)
    return TokenCountRequest(**{name: getattr(chat, name) for name in TokenCountRequest.__struct_fields__})
