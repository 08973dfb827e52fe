"""The keyword arguments of a chat, defined once for all methods that take them, and their conversion to a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, TypeGuard, cast

import msgspec

from bifrost.errors import InvalidRequestError, near_matches
from bifrost.operations.chat.openai_form import AnyPrompt, option_fields, to_messages
from bifrost.operations.chat.request import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    WebSearch,
)
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.typed import read_as


class ChatOptions(TypedDict, total=False):
    """The options of a chat request. OpenAI's names are accepted as well.

    `None` means that the provider's default applies.

    Tools, formats and choices may be passed as bifrost's types or as dicts in OpenAI's form. Options of a single
    provider belong in `extra={"anthropic": {...}}`. `ChatRequest` explains each option.
    """

    tools: Sequence[Tool | ProviderTool | Mapping[str, Any]] | None
    tool_choice: ToolChoice | Mapping[str, Any] | str | None
    parallel_tool_calls: bool | None
    response_format: ResponseFormat | Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    max_completion_tokens: int | None
    """OpenAI's newer name of `max_tokens`."""
    presence_penalty: float | None
    frequency_penalty: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    logprobs: bool | None
    top_logprobs: int | None
    n: int | None
    logit_bias: Mapping[str, float] | Mapping[int, float] | None
    """A bias per token, by the token's number."""
    user: str | None
    safety_identifier: str | None
    metadata: Mapping[str, str] | None
    store: bool | None
    service_tier: str | None
    verbosity: Literal["low", "medium", "high"] | None
    reasoning: Reasoning | Mapping[str, Any] | None
    reasoning_effort: str | None
    """OpenAI's short form of `reasoning=Reasoning(effort=...)`."""
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    stream_options: StreamOptions | Mapping[str, Any] | None
    prediction: Prediction | Mapping[str, Any] | None
    modalities: Sequence[str] | None
    audio: AudioOutput | Mapping[str, Any] | None
    web_search: WebSearch | Mapping[str, Any] | None
    web_search_options: Mapping[str, Any] | None
    """OpenAI's name of `web_search`."""
    extra: Mapping[str, Mapping[str, Any]] | None


class ChatArguments(ChatOptions, total=False):
    """`ChatOptions` and the options of the call, which the overloads of `chat` have in common."""

    system: str | None
    timeout: float | None
    max_retries: int | None
    fallbacks: Sequence[str] | None
    extra_headers: Mapping[str, str] | None
    key: str | None
    session: str | None


class StreamArguments(ChatArguments, total=False):
    """`ChatArguments` and the options of streams."""

    on_interrupt: Literal["raise", "restart"] | None


CHAT_OPTIONS: Final = frozenset(ChatOptions.__annotations__)

_OF_THE_CALL: Final = frozenset({*StreamArguments.__annotations__, "output", "max_output_retries"}) - CHAT_OPTIONS
"""Arguments of the methods themselves. They are not options, but are often what the caller meant."""

_OURS: Final[Mapping[str, tuple[str, type[msgspec.Struct]]]] = {
    "tool_choice": ("tool_choice", ToolChoice),
    "response_format": ("response_format", ResponseFormat),
    "reasoning": ("reasoning", Reasoning),
    "stream_options": ("stream_options", StreamOptions),
    "prediction": ("prediction", Prediction),
    "audio": ("audio", AudioOutput),
    "web_search": ("web_search", WebSearch),
    "web_search_options": ("web_search", WebSearch),
}
"""Options with a class of bifrost: the field, and the class."""

_OTHER_FORM: Final = ("reasoning", "web_search")
"""Options that OpenAI's form lacks or has in another form: a dict of them has the fields of bifrost's class."""

_NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")

_INSTEAD: Final[Mapping[str, str]] = {
    "stream": "call stream_chat(...) for a stream",
    "functions": "that is the old form, give tools",
    "function_call": "that is the old form, give tool_choice",
    "on_interrupt": "it is of stream_chat(...) alone",
    "extra_body": 'give extra={"provider": {...}}',
    "api_key": "keys are the client's, from the environment or an account; key= picks one of them by its name",
    **dict.fromkeys(("base_url", "api_base"), "an address is the provider's: ProviderConfig(base_url=...)"),
    **dict.fromkeys(("num_retries", "retries"), "give max_retries"),
    "request_timeout": "give timeout",
    **dict.fromkeys(("headers", "default_headers"), "give extra_headers"),
    **dict.fromkeys(("system_prompt", "instructions"), "give system"),
    **dict.fromkeys(("response_model", "output_type"), "give output"),
    "stop_sequences": "give stop",
    "thinking": "give reasoning",
    **dict.fromkeys(("prompt", "input", "contents"), "give it as messages: a text, a message or a list"),
    **dict.fromkeys(("max_output_tokens", "max_new_tokens"), "give max_tokens"),
    **dict.fromkeys(("custom_llm_provider", "provider"), "the provider stands in the model's name: 'provider/model'"),
    **dict.fromkeys(("text_format", "response_schema", "schema"), "give output"),
    "system_instruction": "give system",
    **dict.fromkeys(("callbacks", "success_callback", "failure_callback"), "give plugins to the client"),
    "mock_response": "use bifrost.testing.MockTransport, or the fixture bifrost_mock",
    **dict.fromkeys(("http_client", "client"), "give transport to the client"),
    **dict.fromkeys(("api_version", "organization"), "it belongs to the key or the account, not to a call"),
    "cache": "there is no cache of answers; for the provider's own give prompt_cache_key",
    "drop_params": "there is no need: what a provider lacks and only tunes is left out, with a warning",
}
"""Names from other libraries, with bifrost's equivalent."""


def chat_request(model: str, prompt: AnyPrompt, *, system: str | None, options: ChatOptions) -> ChatRequest:
    """Return a request made from what a caller passed. The caller's objects are not modified.

    Raises `InvalidRequestError`, which names the argument (with similar names for an unknown one) and what to write.
    """
    if not isinstance(system, str | None):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may pass any type
        raise InvalidRequestError(f"system: expected text, got {type(system).__name__}")
    messages = to_messages(prompt, system=system)
    if not options:
        return ChatRequest(model=model, messages=messages)
    return ChatRequest(model=model, messages=messages, **chat_fields(options))


def map_request(item: Any, *, model: str | None, system: str | None, options: ChatOptions) -> ChatRequest:
    """Return a request made from an input of a map.

    The input is a prompt, a `ChatRequest`, or a dict in OpenAI's form with `messages`. What it sets itself overrides
    `model` and `options`. Raises the errors of `chat_request`.
    """
    named = model_named(item) or model
    if named is None:
        raise InvalidRequestError("this input names no model, and the map was given none: give model=")
    if isinstance(item, ChatRequest):
        filled: dict[str, Any] = {"model": named}
        if system is not None:
            filled["messages"] = to_messages(item.messages, system=system)
        fields = chat_fields(options) if options else {}
        filled |= {name: value for name, value in fields.items() if getattr(item, name) is None}
        return msgspec.structs.replace(item, **filled)
    if not _is_form(item):
        return chat_request(named, item, system=system, options=options)
    if "messages" not in item:
        raise InvalidRequestError(
            "this input is a dict with neither 'messages' (a request) nor 'role' (a message); "
            f"it has: {', '.join(map(repr, list(item)[:10])) or 'nothing'}"
        )
    own = {name: value for name, value in item.items() if name not in ("model", "messages")}
    return chat_request(named, item["messages"], system=system, options=cast("ChatOptions", {**options, **own}))


def model_named(item: Any) -> str | None:
    """Return the model that an input of a map names itself, or `None`."""
    named: Any = None
    if isinstance(item, ChatRequest):
        named = item.model
    elif _is_form(item):
        named = item.get("model")
        if named is not None and not isinstance(named, str):
            raise InvalidRequestError(f"model: expected text, got {type(named).__name__}")
    return named or None


def _is_form(item: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an input is a request in OpenAI's form, and not a message."""
    return isinstance(item, Mapping) and ("messages" in item or "role" not in item)


def chat_fields(options: ChatOptions) -> dict[str, Any]:
    """Read the options of a chat, in bifrost's types or in OpenAI's form, and return them as fields of `ChatRequest`.

    Raises the errors of `chat_request`.
    """
    check_names(options, CHAT_OPTIONS, what="a chat", beside=_OF_THE_CALL)
    fields: dict[str, Any] = {}
    form: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in _OURS and isinstance(value, msgspec.Struct):
            field, kind = _OURS[name]
            if not isinstance(value, kind):
                raise InvalidRequestError(f"{name}: expected {kind.__name__} or a dict, got {type(value).__name__}")
            _put(fields, field, value)
        elif name in _OTHER_FORM:
            _put(fields, name, _own(name, value, _OURS[name][1]))
        elif name == "extra":
            fields[name] = _extra(value)
        else:
            form[name] = value
    for field, value in option_fields(form).items() if form else ():
        _put(fields, field, value)
    _check_numbers(fields)
    return fields


def check_names(
    given: Mapping[str, Any], known: frozenset[str], *, what: str, beside: frozenset[str] = frozenset()
) -> None:
    """Refuse unknown names. Raises `InvalidRequestError` with similar names, also from `beside`."""
    for name in given:
        if name not in known:
            names = (known | beside) - {name}
            near = near_matches(name, names, most=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known providers: {', '.join(sorted(names))}"
            if name in beside:
                hint = "it says how a call is made; give it to the call, to with_options(...) or to the client"
            raise InvalidRequestError(f"{name!r} is no option of {what}; {_INSTEAD.get(name, hint)}")


def _put(fields: dict[str, Any], field: str, value: Any) -> None:
    """Set a field that two options may set. Only reasoning accepts both, if they do not contradict each other."""
    other = fields.get(field)
    if isinstance(other, Reasoning) and isinstance(value, Reasoning) and None in (other.effort, value.effort):
        detail, short = (other, value) if other.effort is None else (value, other)
        value = msgspec.structs.replace(detail, effort=short.effort)
    elif other is not None:
        names = ["reasoning_effort", "reasoning.effort"] if field == "reasoning" else [field, f"{field}_options"]
        raise InvalidRequestError(f"give {' or '.join(names)}, not both")
    fields[field] = value


def _extra(value: Any) -> dict[str, dict[str, Any]]:
    given = cast("Mapping[object, object]", value if isinstance(value, Mapping) else {})
    for name, options in given.items():
        if not isinstance(options, Mapping):
            raise InvalidRequestError(
                'extra: options stand in a dict under the name of their provider, extra={"provider": {...}}; '
                f"under {name!r} there is {type(options).__name__}"
            )
    return read_as(cast("object", value), dict[str, dict[str, Any]], "extra")


def _own(name: str, value: Any, kind: type[msgspec.Struct]) -> Any:
    given: object = value
    if isinstance(given, str) and name == "reasoning":
        raise InvalidRequestError(f"reasoning: expected Reasoning or a dict, got str; write reasoning_effort={given!r}")
    if hasattr(value, "keys"):
        check_names(value, frozenset(kind.__struct_fields__), what=name)
    return read_as(value, kind, name)


def _check_numbers(fields: Mapping[str, Any]) -> None:
    """Refuse numbers that JSON cannot express, which would be sent as null."""
    numbers = {name: fields[name] for name in _NUMBERS if name in fields}
    biases: Mapping[str, float] = fields.get("logit_bias") or {}
    numbers |= {f"logit_bias[{token!r}]": bias for token, bias in biases.items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise InvalidRequestError(f"{name}: expected a finite number, got {value}")
