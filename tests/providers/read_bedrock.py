"""Read a recorded body of Bedrock's Converse as the unified request that should build it."""

from __future__ import annotations

import json
from typing import Any

from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
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
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.token_count import TokenCountRequest

_READ = {"messages", "system", "toolConfig", "inferenceConfig", "outputConfig", "requestMetadata", "serviceTier"}
_MEDIA = {"txt": "text/plain", "md": "text/markdown", "pdf": "application/pdf", "csv": "text/csv", "html": "text/html"}
_MEDIA |= {
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_VIDEOS = {"mkv": "video/x-matroska", "mov": "video/quicktime", "flv": "video/x-flv", "wmv": "video/x-ms-wmv"}
_VIDEOS |= {"three_gp": "video/3gpp"}


def read_converse(body: dict[str, Any]) -> ChatRequest:
    """Say a recorded body in our words; what we have no words for goes into `extra`."""
    inference = body.get("inferenceConfig", {})
    output = body.get("outputConfig", {})
    extra = {name: value for name, value in body.items() if name not in _READ}
    reasoning, left = _reasoning(extra.pop("additionalModelRequestFields", {}), output.get("effort"))
    if left:
        extra["additionalModelRequestFields"] = left
    tools = body.get("toolConfig", {})
    return ChatRequest(
        model="m",
        messages=[*_system(body.get("system")), *[m for turn in body["messages"] for m in _turn(turn)]],
        tools=_tools(tools["tools"]) if tools else None,
        tool_choice=_choice(tools.get("toolChoice")),
        response_format=_format(output.get("textFormat")),
        reasoning=reasoning,
        max_tokens=inference.get("maxTokens"),
        temperature=inference.get("temperature"),
        top_p=inference.get("topP"),
        stop=inference.get("stopSequences"),
        metadata=body.get("requestMetadata"),
        service_tier=body.get("serviceTier", {}).get("type"),
        extra={"bedrock": extra} if extra else None,
    )


def read_count(body: dict[str, Any]) -> TokenCountRequest:
    """Read the recorded body of CountTokens."""
    chat = read_converse(body["input"]["converse"])
    return TokenCountRequest(**{name: getattr(chat, name) for name in TokenCountRequest.__struct_fields__})


def read_invoke(body: dict[str, Any]) -> EmbeddingRequest:
    """Read the recorded body of InvokeModel, for embeddings."""
    match body:
        case {"inputText": text, **more}:
            extra = {name: value for name, value in more.items() if name != "dimensions"}
            own = {"bedrock": extra} if extra else None
            return EmbeddingRequest(model="m", input=[text], dimensions=body.get("dimensions"), extra=own)
        case {"texts": texts}:
            return EmbeddingRequest(
                model="m",
                input=texts,
                input_type=_PURPOSES.get(body["input_type"], body["input_type"]),
                dimensions=body.get("output_dimension"),
                truncate=body["truncate"].lower() if "truncate" in body else None,
            )
        case {"singleEmbeddingParams": parameters}:
            purpose = parameters["embeddingPurpose"]
            return EmbeddingRequest(
                model="m",
                input=[parameters["text"]["value"]],
                input_type=_PURPOSES.get(purpose, purpose.lower()),
                dimensions=parameters.get("embeddingDimension"),
                truncate=parameters["text"]["truncationMode"].lower(),
            )
        case _:
            raise ValueError(f"unknown body: {list(body)}")


_PURPOSES = {
    "search_query": "query",
    "search_document": "document",
    "GENERIC_RETRIEVAL": "query",
    "GENERIC_INDEX": "document",
}


def _system(blocks: list[dict[str, Any]] | None) -> list[Message]:
    return [Message(role="system", content=_parts(blocks))] if blocks else []


def _turn(turn: dict[str, Any]) -> list[Message]:
    if turn["role"] == "assistant":
        return [Message(role="assistant", content=_parts(turn["content"]))]
    messages: list[Message] = []
    rest: list[dict[str, Any]] = []
    for place, block in enumerate(turn["content"]):
        if "toolResult" in block:
            following = turn["content"][place + 1 : place + 2]
            messages.append(_result(block["toolResult"], _cache(following)))
        elif not ("cachePoint" in block and place and "toolResult" in turn["content"][place - 1]):
            rest.append(block)
    return [*messages, Message(role=turn["role"], content=_parts(rest))] if rest else messages


def _result(result: dict[str, Any], cache: CacheMark | None) -> Message:
    content = result["content"]
    return Message(
        role="tool",
        tool_call_id=result["toolUseId"],
        content=content[0]["text"] if [set(block) for block in content] == [{"text"}] else _parts(content),
        is_error=result.get("status") == "error",
        cache=cache,
    )


def _parts(blocks: list[dict[str, Any]]) -> list[Part]:
    """Read blocks; one that marks the end of another is part of that."""
    return [
        _part(block, _cache(blocks[place + 1 : place + 2]))
        for place, block in enumerate(blocks)
        if "cachePoint" not in block
    ]


def _part(block: dict[str, Any], cache: CacheMark | None) -> Part:
    match block:
        case {"text": text}:
            return TextPart(text=text, cache=cache)
        case {"image": image}:
            return ImagePart(**_source(image, f"image/{image['format']}"), cache=cache)
        case {"video": video}:
            return VideoPart(**_source(video, _VIDEOS.get(video["format"], f"video/{video['format']}")), cache=cache)
        case {"document": document}:
            return _file(document, cache)
        case {"audio": audio}:
            return AudioPart(data=audio["source"]["bytes"], format=audio["format"], cache=cache)
        case {"reasoningContent": {"reasoningText": thought}}:
            return ReasoningPart(text=thought["text"], signature=thought.get("signature"), provider="bedrock")
        case {"reasoningContent": {"redactedContent": redacted}}:
            return ReasoningPart(redacted=redacted, provider="bedrock")
        case {"toolUse": use} if "type" not in use:
            return ToolCall(id=use["toolUseId"], name=use["name"], arguments=json.dumps(use["input"]), cache=cache)
        case {"citationsContent": cited}:
            citations = [Citation(provider="bedrock", native=native) for native in cited["citations"]]
            return TextPart(text=cited["content"][0]["text"], citations=citations, cache=cache)
        case _:
            return OpaquePart(provider="bedrock", kind=next(iter(block)), data=block)


def _file(document: dict[str, Any], cache: CacheMark | None) -> FilePart:
    return FilePart(
        **_source(document, _MEDIA.get(document["format"], "")),
        filename=document["name"],
        context=document.get("context"),
        citations=document.get("citations", {}).get("enabled"),
        cache=cache,
    )


def _source(media: dict[str, Any], media_type: str) -> dict[str, Any]:
    match media["source"]:
        case {"text": text}:
            return {"text": text}
        case {"s3Location": {"uri": url, **owner}}:
            named = f"?bucketOwner={owner['bucketOwner']}" if owner else ""
            return {"url": url + named, "media_type": media_type}
        case source:
            return {"data": source["bytes"], "media_type": media_type}


def _cache(blocks: list[dict[str, Any]]) -> CacheMark | None:
    match blocks:
        case [{"cachePoint": point}]:
            return CacheMark(ttl=point.get("ttl"))
        case _:
            return None


def _tools(tools: list[dict[str, Any]]) -> list[Tool | ProviderTool]:
    return [
        _tool(tool, _cache(tools[place + 1 : place + 2]))
        for place, tool in enumerate(tools)
        if "cachePoint" not in tool
    ]


def _tool(tool: dict[str, Any], cache: CacheMark | None) -> Tool | ProviderTool:
    spec = tool.get("toolSpec")
    if spec is None:
        return ProviderTool(provider="bedrock", definition=tool)
    return Tool(
        name=spec["name"],
        description=spec.get("description"),
        parameters=spec["inputSchema"]["json"],
        strict=spec.get("strict"),
        cache=cache,
    )


def _choice(choice: dict[str, Any] | None) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case {"tool": {"name": name}}:
            return ToolChoice(mode="tool", name=name)
        case {"any": _}:
            return ToolChoice(mode="required")
        case _:
            return ToolChoice()


def _format(wanted: dict[str, Any] | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    schema = wanted["structure"]["jsonSchema"]
    return ResponseFormat(
        type="json_schema",
        name=schema.get("name"),
        schema=json.loads(schema["schema"]),
        description=schema.get("description"),
    )


def _reasoning(fields: dict[str, Any], effort: str | None) -> tuple[Reasoning | None, dict[str, Any]]:
    """Read the fields of the families that we have words for; what is left of them goes into `extra`."""
    match fields:
        case {"thinking": {"type": kind, **thinking}, **left}:
            enabled = {"adaptive": True, "disabled": False}.get(kind)
            display, budget = thinking.get("display"), thinking.get("budget_tokens")
            return Reasoning(effort=effort, enabled=enabled, max_tokens=budget, display=display), left
        case {"reasoning_effort": given, **left} | {"reasoning_config": str() as given, **left}:
            return Reasoning(effort=given), left
        case {"reasoningConfig": {"maxReasoningEffort": given}, **left}:
            return Reasoning(effort=given), left
        case _:
            return (None if effort is None else Reasoning(effort=effort)), fields
