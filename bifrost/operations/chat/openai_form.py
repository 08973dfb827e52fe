"""Reads OpenAI's request form, which callers may pass as plain dicts.

The form: https://platform.openai.com/docs/api-reference/chat/create. Unknown keys and values of the wrong type raise an
error and are never dropped. `None` counts as missing. The caller's objects are never modified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard, TypeVar, cast

import msgspec

from bifrost.errors import InvalidRequestError, near_matches
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import AssistantMessage, Message, Role
from bifrost.operations.chat.request import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    UserLocation,
    WebSearch,
)
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.typed import read_as

AnyMessage: TypeAlias = Message | AssistantMessage | Mapping[str, Any]
"""A message in any form that callers may pass."""

AnyPrompt: TypeAlias = str | AnyMessage | Sequence[AnyMessage]
"""A prompt in any form that callers may pass: the user's text, one message, or a conversation."""

_Dict: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T")
_StructT = TypeVar("_StructT", bound=msgspec.Struct)

_ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")
_KINDS: tuple[Literal["function", "custom"], ...] = ("function", "custom")
_LIFETIMES: tuple[Literal["5m", "1h"], ...] = ("5m", "1h")
_SIZES: tuple[Literal["low", "medium", "high"], ...] = ("low", "medium", "high")
_FORMATS: tuple[Literal["text", "json_object", "json_schema"], ...] = ("text", "json_object", "json_schema")
_MODES: tuple[Literal["auto", "none", "required"], ...] = ("auto", "none", "required")


# --- the prompt


def to_messages(prompt: AnyPrompt, *, system: str | None = None) -> list[Message]:
    """Return a prompt as a list of messages, preceded by `system` if it is set.

    Raises `InvalidRequestError`, which names the place (`messages[2].content[0]: ...`) and what to write there.
    """
    messages = [Message(role="system", content=system)] if system else []
    if isinstance(prompt, str):
        if not prompt:
            raise InvalidRequestError("the prompt is empty; give text, a message or a list of messages")
        messages.append(Message(role="user", content=prompt))
        return messages
    if isinstance(prompt, Mapping | Message | AssistantMessage):
        messages.append(_message(prompt, "messages[0]"))
        return messages
    items = _list(prompt, "messages", "text, a message or a list of messages")
    if not items:
        raise InvalidRequestError('messages: the list is empty; give at least {"role": "user", "content": "..."}')
    messages += [_message(item, f"messages[{place}]") for place, item in enumerate(items)]
    return messages


def _message(item: object, where: str) -> Message:
    match item:
        case Message():
            return _checked(item, where)
        case AssistantMessage():
            return item.to_message()
        case str():
            raise InvalidRequestError(
                f'{where}: a list holds messages, not bare text; write {{"role": "user", "content": ...}}'
            )
        case Mapping():
            return _message_of(cast("_Dict", item), where)
        case ChatResponse():
            raise InvalidRequestError(f"{where}: a ChatResponse is no message; give its .message")
        case _:
            advice = "; give its .model_dump()" if hasattr(item, "model_dump") else ""
            raise InvalidRequestError(f"{where}: expected a Message or a dict, got {type(item).__name__}{advice}")


def _checked(message: Message, where: str) -> Message:
    """Check the fields of a message, because a Struct accepts values of any type."""
    content: object = message.content
    _one_of(message.role, _ROLES, f"{where}.role")
    if content is not None and not isinstance(content, str):
        for place, part in enumerate(_list(content, f"{where}.content", "text or a list of parts")):
            if not isinstance(part, Part):
                raise _wrong(f"{where}.content[{place}]", part, "a part (TextPart, ImagePart, ...)")
    return message


def _message_of(form: _Dict, where: str) -> Message:
    role = form.get("role")
    content = form.get("content")
    if len(form) == 2 and isinstance(content, str) and role in ("user", "system", "assistant"):
        return Message(role=role, content=content)
    role = _one_of(role, _ROLES, f"{where}.role")
    readers: Mapping[Role, Callable[[_Dict, str], Message]] = {"assistant": _assistant, "tool": _tool_result}
    reader = readers.get(role)
    if reader is not None:
        return reader(form, where)
    _only(form, ("role", "content", "name", "cache_control"), where)
    return Message(
        role=role,
        content=_content(form, where),
        name=_typed(form, "name", str, where),
        cache=_cache(form, where),
    )


def _tool_result(form: _Dict, where: str) -> Message:
    _only(form, ("role", "content", "name", "tool_call_id", "is_error", "cache_control"), where)
    if not form.get("tool_call_id"):
        raise InvalidRequestError(
            f"{where}: tool_call_id is missing; give the id of the tool call that this message answers"
        )
    if isinstance(form.get("content"), Mapping):
        raise InvalidRequestError(f"{where}.content: a tool's result is text, not a dict; give json.dumps(...) of it")
    return Message(
        role="tool",
        content=_content(form, where),
        name=_typed(form, "name", str, where),
        tool_call_id=_typed(form, "tool_call_id", str, where),
        is_error=_typed(form, "is_error", bool, where) or False,
        cache=_cache(form, where),
    )


_ASSISTANT_KEYS = (
    "role",
    "content",
    "name",
    "refusal",
    "tool_calls",
    "audio",
    "annotations",
    "reasoning_content",
    "reasoning",
    "cache_control",
)


def _assistant(form: _Dict, where: str) -> Message:
    if form.get("function_call") is not None:
        raise InvalidRequestError(
            f'{where}: function_call is the old form; write "tool_calls", and answer with "role": "tool"'
        )
    _only({key: value for key, value in form.items() if key != "function_call"}, _ASSISTANT_KEYS, where)
    parts = [*_thoughts(form, where), *_words(form, where), *_tool_calls(form, where), *_spoken(form, where)]
    if not parts and form.get("content") is None:
        raise InvalidRequestError(f"{where}: an assistant message needs content, tool_calls, a refusal or audio")
    alone = len(parts) <= 1 and isinstance(form.get("content"), str) and not form.get("annotations")
    return Message(
        role="assistant",
        content=form["content"] if alone and all(isinstance(part, TextPart) for part in parts) else parts,
        name=_typed(form, "name", str, where),
        cache=_cache(form, where),
    )


def _thoughts(form: _Dict, where: str) -> list[Part]:
    text = _typed(form, "reasoning_content", str, where) or _typed(form, "reasoning", str, where)
    return [ReasoningPart(text=text)] if text else []


def _words(form: _Dict, where: str) -> list[Part]:
    content = form.get("content")
    parts: list[Part] = []
    if content is not None and content != "":
        parts += _parts(content, f"{where}.content")
    cited = _citations(form, where)
    if cited and parts and isinstance(parts[0], TextPart):
        parts[0] = msgspec.structs.replace(parts[0], citations=cited)
    refusal = _typed(form, "refusal", str, where)
    if refusal:
        parts.append(RefusalPart(refusal=refusal))
    return parts


def _citations(form: _Dict, where: str) -> list[Citation]:
    cited: list[Citation] = []
    for place, note in enumerate(_listed(form, "annotations", where)):
        here = f"{where}.annotations[{place}]"
        source = _object(_object(note, here).get("url_citation") or {}, f"{here}.url_citation")
        if source:
            cited.append(
                Citation(
                    url=_typed(source, "url", str, here),
                    title=_typed(source, "title", str, here),
                    start=_typed(source, "start_index", int, here),
                    end=_typed(source, "end_index", int, here),
                )
            )
    return cited


def _tool_calls(form: _Dict, where: str) -> list[Part]:
    calls = _listed(form, "tool_calls", where)
    return [_tool_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(calls)]


def _tool_call(item: object, where: str) -> ToolCall:
    if isinstance(item, ToolCall):
        return item
    call = _object(item, where)
    kind = _one_of(call.get("type") or "function", _KINDS, f"{where}.type")
    _only(call, ("id", "type", "index", kind), where)
    inner = _object(call.get(kind), f"{where}.{kind}")
    field = "arguments" if kind == "function" else "input"
    _only(inner, ("name", field), f"{where}.{kind}")
    return ToolCall(
        id=_needed(call, "id", where),
        name=_needed(inner, "name", f"{where}.{kind}"),
        arguments=_arguments(inner.get(field), f"{where}.{kind}.{field}"),
        kind=kind,
    )


def _arguments(value: object, where: str) -> str:
    """Return a call's arguments as text: the model's text, or JSON of the value that a caller has decoded."""
    if value is None or isinstance(value, str):
        return value or ""
    return _written(_object(value, where), where)


def _written(value: object, where: str) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise InvalidRequestError(f"{where}: cannot be written as JSON: {reason}")


def _spoken(form: _Dict, where: str) -> list[Part]:
    if form.get("audio") is None:
        return []
    audio = _object(form["audio"], f"{where}.audio")
    _only(audio, ("id", "data", "transcript", "expires_at", "format"), f"{where}.audio")
    return [
        AudioPart(
            id=_needed(audio, "id", f"{where}.audio"),
            data=_typed(audio, "data", str, where),
            transcript=_typed(audio, "transcript", str, where),
            expires_at=_typed(audio, "expires_at", int, where),
            format=_typed(audio, "format", str, where),
        )
    ]


# --- the parts of a message


def _content(form: _Dict, where: str) -> str | list[Part]:
    content = form.get("content")
    if content is None:
        raise InvalidRequestError(f"{where}: content is missing; give text or a list of parts")
    return content if isinstance(content, str) else _parts(content, f"{where}.content")


def _parts(content: object, where: str) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(text=content)]
    items = _list(content, where, "text or a list of parts")
    return [_part(item, f"{where}[{place}]") for place, item in enumerate(items)]


def _part(item: object, where: str) -> Part:
    if isinstance(item, Part):
        return item
    form = _object(item, where)
    reader = _PARTS[_one_of(form.get("type"), tuple(_PARTS), f"{where}.type")]
    return reader(form, where)


def _text_part(form: _Dict, where: str) -> TextPart:
    _only(form, ("type", "text", "annotations", *_CACHE_KEYS), where)
    text = form.get("text")
    if not isinstance(text, str):
        raise _wrong(f"{where}.text", text, "text")
    return TextPart(text=text, cache=_cache(form, where))


def _image_part(form: _Dict, where: str) -> ImagePart:
    _only(form, ("type", "image_url", *_CACHE_KEYS), where)
    inner = form.get("image_url")
    image = {"url": inner} if isinstance(inner, str) else _object(inner, f"{where}.image_url")
    _only(image, ("url", "detail"), f"{where}.image_url")
    url = _needed(image, "url", f"{where}.image_url")
    media_type, data = _data_url(url)
    return ImagePart(
        url=None if data is not None else url,
        data=data,
        media_type=media_type,
        detail=_typed(image, "detail", str, f"{where}.image_url"),
        cache=_cache(form, where),
    )


def _audio_part(form: _Dict, where: str) -> AudioPart:
    _only(form, ("type", "input_audio", *_CACHE_KEYS), where)
    audio = _object(form.get("input_audio"), f"{where}.input_audio")
    _only(audio, ("data", "format"), f"{where}.input_audio")
    return AudioPart(
        data=_needed(audio, "data", f"{where}.input_audio"),
        format=_needed(audio, "format", f"{where}.input_audio"),
        cache=_cache(form, where),
    )


def _video_part(form: _Dict, where: str) -> VideoPart:
    _only(form, ("type", "video_url", *_CACHE_KEYS), where)
    inner = form.get("video_url")
    video = {"url": inner} if isinstance(inner, str) else _object(inner, f"{where}.video_url")
    _only(video, ("url",), f"{where}.video_url")
    url = _needed(video, "url", f"{where}.video_url")
    media_type, data = _data_url(url)
    return VideoPart(url=None if data is not None else url, data=data, media_type=media_type, cache=_cache(form, where))


def _file_part(form: _Dict, where: str) -> FilePart:
    _only(form, ("type", "file", *_CACHE_KEYS), where)
    inner = f"{where}.file"
    file = _object(form.get("file"), inner)
    _only(file, ("file_data", "file_id", "filename"), inner)
    given = _typed(file, "file_data", str, inner)
    file_id = _typed(file, "file_id", str, inner)
    if given is None and file_id is None:
        raise InvalidRequestError(f"{inner}: give file_data (a data: URL in base64) or file_id")
    media_type, data = _data_url(given or "")
    by_url = given is not None and given.startswith(("http://", "https://"))
    return FilePart(
        url=given if by_url else None,
        data=None if by_url else data or given,
        media_type=media_type,
        file_id=file_id,
        filename=_typed(file, "filename", str, inner),
        cache=_cache(form, where),
    )


def _refusal_part(form: _Dict, where: str) -> RefusalPart:
    _only(form, ("type", "refusal"), where)
    return RefusalPart(refusal=_needed(form, "refusal", where))


_PARTS: Mapping[str, Callable[[_Dict, str], Part]] = {
    "text": _text_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "video_url": _video_part,
    "file": _file_part,
    "refusal": _refusal_part,
}


def _data_url(url: str) -> tuple[str | None, str | None]:
    """Split `data:<media type>;base64,<data>`. Any other URL, with parameters for example, is not split."""
    if not url.startswith("data:"):
        return None, None
    head, comma, data = url.partition(",")
    media_type, mark, coding = head[5:].partition(";")
    return (media_type, data) if comma and mark and coding == "base64" and media_type else (None, None)


_CACHE_KEYS = ("cache_control", "prompt_cache_breakpoint")


def _cache(form: _Dict, where: str) -> CacheMark | None:
    """Read a cache mark. Anthropic and many gateways call it `cache_control`, OpenAI `prompt_cache_breakpoint`."""
    if form.get("cache_control") is None:
        return CacheMark() if form.get("prompt_cache_breakpoint") is not None else None
    here = f"{where}.cache_control"
    mark = _object(form["cache_control"], here)
    _only(mark, ("type", "ttl"), here)
    _one_of(mark.get("type") or "ephemeral", ("ephemeral",), f"{here}.type")
    if mark.get("ttl") is not None:
        _one_of(mark["ttl"], _LIFETIMES, f"{here}.ttl")
    return read_as(mark, CacheMark, here)


# --- tools


def to_tools(tools: Sequence[Tool | ProviderTool | _Dict] | None) -> list[Tool | ProviderTool] | None:
    """Read tools. A dict whose `type` is neither "function" nor "custom" is a tool that the provider runs itself."""
    if tools is None:
        return None
    return [_tool(item, f"tools[{place}]") for place, item in enumerate(_list(tools, "tools", "a list of tools"))]


def _tool(item: object, where: str) -> Tool | ProviderTool:
    if isinstance(item, Tool | ProviderTool):
        return item
    if not isinstance(item, Mapping):
        advice = "; describe it with Tool(name=..., parameters=...)" if callable(item) else ""
        raise InvalidRequestError(f"{where}: expected a Tool or a dict, got {type(item).__name__}{advice}")
    form = cast("_Dict", item)
    kind = form.get("type") or ("function" if "function" in form else None)
    if not isinstance(kind, str):
        raise InvalidRequestError(
            f'{where}: type is missing; write {{"type": "function", "function": {{"name": ..., "parameters": ...}}}}'
        )
    if kind == "function":
        return _function_tool(form, where)
    if kind == "custom":
        return _custom_tool(form, where)
    if near_matches(kind, ("function", "custom"), cutoff=0.8):
        raise _unknown(f"{where}.type", kind, ("function", "custom"))
    return ProviderTool(definition=form if isinstance(form, dict) else dict(form))


def _function_tool(form: _Dict, where: str) -> Tool:
    _only(form, ("type", "function", "cache_control"), where)
    here = f"{where}.function"
    function = _object(form.get("function"), here)
    _only(function, ("name", "description", "parameters", "strict", "cache_control"), here)
    parameters = function.get("parameters")
    return Tool(
        name=_needed(function, "name", here),
        description=_typed(function, "description", str, here),
        parameters=None if parameters is None else _schema(parameters, f"{here}.parameters"),
        strict=_typed(function, "strict", bool, here),
        cache=_cache(form, where) or _cache(function, here),
    )


def _custom_tool(form: _Dict, where: str) -> Tool:
    _only(form, ("type", "custom", "cache_control"), where)
    here = f"{where}.custom"
    custom = _object(form.get("custom"), here)
    _only(custom, ("name", "description", "format"), here)
    grammar = custom.get("format")
    return Tool(
        kind="custom",
        name=_needed(custom, "name", here),
        description=_typed(custom, "description", str, here),
        format=None if grammar is None else _schema(grammar, f"{here}.format"),
        cache=_cache(form, where),
    )


def to_tool_choice(choice: str | ToolChoice | _Dict | None) -> ToolChoice | None:
    """Read a tool choice: "auto", "none", "required", a named tool, or OpenAI's `allowed_tools`."""
    match choice:
        case None | ToolChoice():
            return choice
        case str():
            return ToolChoice(mode=_one_of(choice, _MODES, "tool_choice"))
        case Mapping():
            return _chosen(choice)
        case _:
            raise _wrong("tool_choice", choice, '"auto", "none", "required" or {"type": "function", ...}')


def _chosen(choice: _Dict) -> ToolChoice:
    kind = _one_of(choice.get("type"), ("function", "custom", "allowed_tools"), "tool_choice.type")
    _only(choice, ("type", kind), "tool_choice")
    where = f"tool_choice.{kind}"
    inner = _object(choice.get(kind), where)
    if kind != "allowed_tools":
        _only(inner, ("name",), where)
        return ToolChoice(mode="tool", name=_needed(inner, "name", where))
    _only(inner, ("mode", "tools"), where)
    return ToolChoice(
        mode=_one_of(inner.get("mode"), ("auto", "required"), f"{where}.mode"),
        allowed=[
            _allowed(tool, f"{where}.tools[{place}]") for place, tool in enumerate(_listed(inner, "tools", where))
        ],
    )


def _allowed(item: object, where: str) -> str:
    tool = _object(item, where)
    kind = _one_of(tool.get("type"), _KINDS, f"{where}.type")
    return _needed(_object(tool.get(kind), f"{where}.{kind}"), "name", f"{where}.{kind}")


# --- the other options


def to_response_format(form: ResponseFormat | _Dict | None) -> ResponseFormat | None:
    """Read a response format. The keys of the schema stay in order."""
    if form is None or isinstance(form, ResponseFormat):
        return form
    where = "response_format"
    if isinstance(form, type):
        raise InvalidRequestError(
            f"{where}: {form.__name__} is a type; give it as output=, and take the response's .parsed"
        )
    given = _object(form, where)
    kind = _one_of(given.get("type"), _FORMATS, f"{where}.type")
    if kind != "json_schema":
        _only(given, ("type",), where)
        return ResponseFormat(type=kind)
    _only(given, ("type", "json_schema"), where)
    here = f"{where}.json_schema"
    inner = _object(given.get("json_schema"), here)
    _only(inner, ("name", "schema", "description", "strict"), here)
    schema = inner.get("schema")
    return ResponseFormat(
        type=kind,
        name=_needed(inner, "name", here),
        schema=None if schema is None else _schema(schema, f"{here}.schema"),
        description=_typed(inner, "description", str, here),
        strict=_typed(inner, "strict", bool, here),
    )


def to_stop(stop: str | Sequence[str] | None) -> list[str] | None:
    """Read stop sequences: one, or a list of them."""
    if stop is None:
        return None
    given = [stop] if isinstance(stop, str) else _list(stop, "stop", "text or a list of texts")
    return read_as(given, list[str], "stop")


def _logit_bias(form: object) -> dict[str, float]:
    """Read a bias per token. Tokens are numbers, which JSON allows as keys only in the form of text."""
    given: Mapping[Any, Any] = _object(form, "logit_bias")
    biases = {str(token) if type(token) is int else token: bias for token, bias in given.items()}
    return read_as(biases, dict[str, float], "logit_bias")


def _reasoning(form: _Dict) -> Reasoning | None:
    """Read OpenAI's `reasoning_effort`, and the `reasoning` object that other gateways use."""
    effort = _typed(form, "reasoning_effort", str, "")
    if form.get("reasoning") is None:
        return Reasoning(effort=effort) if effort is not None else None
    inner = _object(form["reasoning"], "reasoning")
    _only(inner, ("effort", "max_tokens", "enabled"), "reasoning")
    if effort is not None and inner.get("effort") is not None:
        raise InvalidRequestError("give reasoning_effort or reasoning.effort, not both")
    read = read_as(inner, Reasoning, "reasoning")
    return read if effort is None else msgspec.structs.replace(read, effort=effort)


def _web_search(form: object) -> WebSearch:
    where = "web_search_options"
    options = _object(form, where)
    _only(options, ("search_context_size", "user_location"), where)
    location: UserLocation | None = None
    if options.get("user_location") is not None:
        here = f"{where}.user_location"
        place = _object(options["user_location"], here)
        _only(place, ("type", "approximate"), here)
        here += ".approximate"
        spot = _object(place.get("approximate"), here)
        _only(spot, UserLocation.__struct_fields__, here)
        location = read_as(spot, UserLocation, here)
    size = options.get("search_context_size")
    return WebSearch(
        context_size=None if size is None else _one_of(size, _SIZES, f"{where}.search_context_size"),
        user_location=location,
    )


def _prediction(form: object) -> Prediction:
    given = _object(form, "prediction")
    _only(given, ("type", "content"), "prediction")
    _one_of(given.get("type") or "content", ("content",), "prediction.type")
    content = given.get("content")
    if isinstance(content, str):
        return Prediction(content=content)
    parts = _parts(content, "prediction.content")
    texts = [part for part in parts if isinstance(part, TextPart)]
    if len(texts) != len(parts):
        raise InvalidRequestError("prediction.content: a prediction holds text parts only")
    return Prediction(content=texts)


def _strictly(kind: type[_StructT], where: str) -> Callable[[object], _StructT]:
    def read(value: object) -> _StructT:
        if isinstance(value, kind):
            return value
        _only(_object(value, where), kind.__struct_fields__, where)
        return read_as(value, kind, where)

    return read


# --- the whole body

_SAME: Mapping[str, Any] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "presence_penalty": float,
    "frequency_penalty": float,
    "seed": int,
    "logprobs": bool,
    "top_logprobs": int,
    "n": int,
    "user": str,
    "safety_identifier": str,
    "metadata": dict[str, str],
    "store": bool,
    "service_tier": str,
    "parallel_tool_calls": bool,
    "prompt_cache_key": str,
    "prompt_cache_retention": str,
    "modalities": list[str],
}
"""Options with the same name and type in both forms."""

_READ: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "tools": ("tools", to_tools),
    "tool_choice": ("tool_choice", to_tool_choice),
    "response_format": ("response_format", to_response_format),
    "stop": ("stop", to_stop),
    "logit_bias": ("logit_bias", _logit_bias),
    "stream_options": ("stream_options", _strictly(StreamOptions, "stream_options")),
    "audio": ("audio", _strictly(AudioOutput, "audio")),
    "web_search_options": ("web_search", _web_search),
    "prediction": ("prediction", _prediction),
    "verbosity": ("verbosity", lambda value: _one_of(value, _SIZES, "verbosity")),
}
"""Options that are converted: the field, and the function."""

_TOGETHER = ("max_tokens", "max_completion_tokens", "reasoning_effort", "reasoning")
"""Options of which two set the same field."""

_OPENAI_ONLY = ("functions", "function_call", "moderation", "prompt_cache_options")
"""OpenAI's options without a field here. They are stored in `extra["openai"]`."""

_OPTIONS = (*_TOGETHER, *_SAME, *_READ, *_OPENAI_ONLY)


def chat_request_from_openai(body: Mapping[str, Any]) -> ChatRequest:
    """Read the body of a complete OpenAI chat request (`POST /chat/completions`).

        chat_request_from_openai({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]})

    `stream` is ignored, because streaming is a method of the client and not a part of the request. Raises
    `InvalidRequestError` for an unknown key, with similar names, and for a value of the wrong type, with its place.
    """
    form = _object(body, "the request")
    _only(form, ("model", "messages", "stream", *_OPTIONS), "")
    if form.get("messages") is None:
        raise InvalidRequestError("messages is missing; give a list of messages")
    options = {key: value for key, value in form.items() if key in _OPTIONS}
    model = _needed(form, "model", "")
    return ChatRequest(model=model, messages=to_messages(form["messages"]), **option_fields(options))


def option_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read OpenAI's options, without model and messages, and return them as fields of `ChatRequest`.

    Raises the errors of `chat_request_from_openai`.
    """
    _only(options, _OPTIONS, "")
    fields: dict[str, Any] = {"max_tokens": _max_tokens(options), "reasoning": _reasoning(options)}
    kept: dict[str, Any] = {}
    for key, value in options.items():
        if value is None or key in _TOGETHER:
            continue
        if key in _SAME:
            fields[key] = read_as(value, _SAME[key], key)
        elif key in _READ:
            field, read = _READ[key]
            fields[field] = read(value)
        else:
            kept[key] = value
    if kept:
        fields["extra"] = {"openai": kept}
    return {field: value for field, value in fields.items() if value is not None}


def _max_tokens(form: _Dict) -> int | None:
    new = _typed(form, "max_completion_tokens", int, "")
    old = _typed(form, "max_tokens", int, "")
    if new is not None and old is not None and new != old:
        raise InvalidRequestError("max_tokens is the old name of max_completion_tokens; give one of them")
    return old if new is None else new


# --- reading values, and error messages


def _object(value: object, where: str) -> _Dict:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "an object (a dict)")
    return cast("_Dict", value)  # keys that are not text are refused with the unknown ones


def _schema(value: object, where: str) -> dict[str, Any]:
    given = _object(value, where)
    return given if isinstance(given, dict) else dict(given)


def _list(value: object, where: str, expected: str) -> Sequence[Any]:
    if not _is_list(value):
        raise _wrong(where, value, expected)
    return value


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _listed(form: _Dict, key: str, where: str) -> Sequence[Any]:
    value = form.get(key)
    return () if value is None else _list(value, f"{where}.{key}", "a list")


def _needed(form: _Dict, key: str, where: str) -> str:
    value = form.get(key)
    if value is None or value == "":
        raise InvalidRequestError(f"{where}: {key} is missing" if where else f"{key} is missing")
    if not isinstance(value, str):
        raise _wrong(_join(where, key), value, "text")
    return value


def _typed(form: _Dict, key: str, kind: type[_T], where: str) -> _T | None:
    value = form.get(key)
    return None if value is None else read_as(value, kind, _join(where, key))


def _one_of(value: object, known: Sequence[_T], where: str) -> _T:
    for choice in known:
        if value == choice:
            return choice
    raise _unknown(where, value, [choice for choice in known if isinstance(choice, str)])


def _only(form: _Dict, known: Iterable[str], where: str) -> None:
    """Refuse unknown keys, which would otherwise be dropped. Keys without a value are ignored."""
    allowed = known if isinstance(known, tuple) else tuple(known)
    for key, value in form.items():
        if key not in allowed and value is not None:
            raise InvalidRequestError(
                f"{where + ': ' if where else ''}unknown key {_excerpt(key)}; {_hint(key, allowed)}"
            )


def _unknown(where: str, value: object, known: Sequence[str]) -> InvalidRequestError:
    if value is None:
        return InvalidRequestError(f"{where} is missing; known: {', '.join(known)}")
    return InvalidRequestError(f"{where}: unknown value {_excerpt(value)}; known: {', '.join(known)}")


def _hint(key: object, known: Sequence[str]) -> str:
    if key in ("image", "images"):
        return 'an image is a part of the content: {"type": "image_url", "image_url": {"url": ...}}'
    near = near_matches(key, known) if isinstance(key, str) else []
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"


def _wrong(where: str, value: object, expected: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where}: expected {expected}, got {type(value).__name__}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
