"""Expresses a request of the Responses API as one of a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from bifrost.errors import UnsupportedError
from bifrost.operations.chat.content import OpaquePart, ReasoningPart
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat, StreamOptions, WebSearch
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.responses.chat_messages import UnsaidError, messages_of
from bifrost.operations.typed import read_as
from bifrost.providers.base import Built
from bifrost.providers.responses_over_chat.fields import FIELDS, NO_CHAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.content import Part
    from bifrost.operations.responses.request import ResponsesRequest
    from bifrost.providers.base import Codec, Target

_SAME: Final = (
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "user",
    "extra",
)
"""Options with the same name and type in both."""

_TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "function": ("name", "description", "parameters", "strict"),
    "custom": ("name", "description", "format"),
}
_SEARCHES: Final = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")


def build_over_chat(request: ResponsesRequest, target: Target, *, chat: Codec[Any, Any]) -> Built:
    """Return the HTTP request of the chat.

    Raises `UnsupportedError` for what a chat, or this provider's chat, cannot express.
    """
    writer = _Writer(request, target)
    built = chat.build(writer.chat_request(), target)
    built.request.source = request
    return Built(request=built.request, warnings=list(dict.fromkeys([*writer.warnings, *built.warnings])))


class _Writer:
    """Makes the request of a chat, and records what was left out."""

    def __init__(self, request: ResponsesRequest, target: Target) -> None:
        self._request = request
        self._target = target
        self.warnings = FIELDS.check(request, target)
        self._search: WebSearch | None = None

    def chat_request(self) -> ChatRequest:
        """Return the request. Raises `UnsupportedError`."""
        request = self._request
        fields: dict[str, Any] = {name: getattr(request, name) for name in _SAME}
        if request.tools is not None:
            fields["tools"] = self._tools(request.tools)
            fields["web_search"] = self._search
        if request.tool_choice is not None:
            fields["tool_choice"] = self._tool_choice(request.tool_choice)
        if request.reasoning is not None:
            fields["reasoning"] = self._reasoning(request.reasoning)
        if request.text is not None:
            fields |= self._text(request.text)
        if request.include is not None:
            fields |= self._include(request.include)
        if request.top_logprobs is not None:
            fields |= {"top_logprobs": request.top_logprobs, "logprobs": True}
        if request.stream_options is not None and self._target.stream:
            fields["stream_options"] = self._stream_options(request.stream_options)
        messages = self._messages()
        return ChatRequest(model=request.model, messages=messages, max_tokens=request.max_output_tokens, **fields)

    def _messages(self) -> list[Message]:
        given = self._request.input
        try:
            messages = [Message(role="user", content=given)] if isinstance(given, str) else messages_of(given)
        except UnsaidError as error:
            unsaid = error
        else:
            messages = [message for message in messages if not self._is_foreign(message)]
            instructions = self._request.instructions
            return [Message(role="system", content=instructions), *messages] if instructions else messages
        raise self._unsupported(unsaid.path, f"cannot express {unsaid.kind!r} in a chat ({unsaid.place})")

    def _is_foreign(self, message: Message) -> bool:
        """Return whether nothing of a model's message can be read at the target, and record that it was left out."""
        parts = message.parts
        if message.role != "assistant" or any(self._is_readable(part) for part in parts):
            return False
        for part in parts:
            if isinstance(part, OpaquePart):
                self.warnings.append(f"input: {part.provider}'s own block {part.kind!r} was left out")
            else:
                self.warnings.append(
                    f"input: reasoning of another provider or key was left out: {self._target.provider} cannot read it"
                )
        return True

    def _is_readable(self, part: Part) -> bool:
        if isinstance(part, ReasoningPart) and part.provider is None:
            return bool(part.text)
        return not isinstance(part, ReasoningPart | OpaquePart) or self._target.owns(part)

    def _tools(self, tools: Sequence[Mapping[str, Any]]) -> list[Tool | ProviderTool]:
        made: list[Tool | ProviderTool] = []
        for place, form in enumerate(tools):
            kind = str(form.get("type"))
            if kind in _TOOLS:
                known = _TOOLS[kind]
                self._leave_out_others(form, ("type", *known), f"tools[{place}]")
                members = {name: form[name] for name in known if form.get(name) is not None}
                made.append(read_as({"type": "tool", "kind": kind, **members}, Tool, f"tools[{place}]"))
            elif kind in _SEARCHES:
                self._search = self._web_search(form, f"tools[{place}]")
            else:
                raise self._unsupported("tools", f"cannot run the tool {kind!r}, which belongs to the Responses API")
        return made

    def _web_search(self, form: Mapping[str, Any], where: str) -> WebSearch:
        self._leave_out_others(form, ("type", "search_context_size", "user_location", "filters"), where)
        place: dict[str, Any] = {name: each for name, each in _object(form, "user_location").items() if name != "type"}
        filters = _object(form, "filters")
        members = {
            "context_size": form.get("search_context_size"),
            "user_location": place or None,
            "allowed_domains": filters.get("allowed_domains"),
            "blocked_domains": filters.get("blocked_domains"),
        }
        return read_as(members, WebSearch, where)

    def _tool_choice(self, choice: str | Mapping[str, Any]) -> ToolChoice:
        found = _mode(choice) if isinstance(choice, str) else _named(choice)
        if found is None:
            raise self._unsupported("tool_choice", f"cannot express the tool_choice {choice!r} in a chat")
        return found

    def _reasoning(self, form: Mapping[str, Any]) -> Reasoning | None:
        self._leave_out_others(form, ("effort", "summary", "generate_summary"), "reasoning")
        summary = form.get("summary") or form.get("generate_summary")
        effort = form.get("effort")
        if effort is None and summary is None:
            return None
        return read_as({"effort": effort, "display": "summarized" if summary else None}, Reasoning, "reasoning")

    def _text(self, form: Mapping[str, Any]) -> dict[str, Any]:
        self._leave_out_others(form, ("format", "verbosity"), "text")
        fields: dict[str, Any] = {"verbosity": form.get("verbosity")}
        wanted = form.get("format")
        if isinstance(wanted, dict) and cast("dict[str, Any]", wanted).get("type") != "text":
            fields["response_format"] = read_as(cast("object", wanted), ResponseFormat, "text.format")
        return fields

    def _include(self, names: Sequence[str]) -> dict[str, Any]:
        for name in names:
            if name not in ("message.output_text.logprobs", "reasoning.encrypted_content"):
                self.warnings.append(FIELDS.warning("include", self._target, value=name))
        return {"logprobs": True} if "message.output_text.logprobs" in names else {}

    def _stream_options(self, form: Mapping[str, Any]) -> StreamOptions | None:
        self._leave_out_others(form, ("include_obfuscation",), "stream_options")
        padded = form.get("include_obfuscation")
        return None if padded is None else StreamOptions(include_obfuscation=padded)

    def _leave_out_others(self, form: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        """Record the members of an object that a chat does not have."""
        for name, value in form.items():
            if name not in known and value is not None:
                self.warnings.append(f"{where}.{name} was left out: {self._target.provider} {NO_CHAT}")

    def _unsupported(self, path: str, what: str) -> UnsupportedError:
        provider = self._target.provider
        return UnsupportedError(
            f"{provider} {what}; leave it out, or choose a provider with the Responses API, openai say",
            provider=provider,
            model=self._target.model,
            param=path,
        )


def _object(form: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in another one; an empty one if it is missing."""
    value = form.get(name)
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _mode(choice: str) -> ToolChoice | None:
    return ToolChoice(mode=cast("Any", choice)) if choice in ("auto", "none", "required") else None


def _named(choice: Mapping[str, Any]) -> ToolChoice | None:
    """Return the choice of a tool, or among some tools; `None` if a chat has no such choice."""
    kind, name, mode = choice.get("type"), choice.get("name"), choice.get("mode")
    if kind in ("function", "custom") and isinstance(name, str):
        return ToolChoice(mode="tool", name=name)
    tools = choice.get("tools")
    if kind != "allowed_tools" or mode not in ("auto", "required") or not isinstance(tools, list):
        return None
    names = [
        cast("dict[str, Any]", each).get("name") if isinstance(each, dict) else None
        for each in cast("list[object]", tools)
    ]
    known = [name for name in names if isinstance(name, str)]
    return ToolChoice(mode=cast("Any", mode), allowed=known) if len(known) == len(names) else None
