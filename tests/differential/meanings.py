"""The table of meanings: a request in our words, and how each vendor's own SDK is told the same.

A row has the keywords of the SDK's call. Where our request departs from what the SDK makes of them, the row says how
(`ours`) and why (`because`); where we leave something out, what our warnings say (`noted`); what a provider has no
words for is `Refused`. OpenAI and Anthropic have a column in every row. A row is compared with another dialect only
where it has a column for it, so a new dialect begins with none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    Issuer,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from bifrost.operations.chat.messages import Message
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
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.embeddings import EmbeddingRequest, InputType, OutputType
from bifrost.operations.models import ModelsRequest
from bifrost.providers.anthropic import DEFAULT_MAX_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Request: TypeAlias = ChatRequest | EmbeddingRequest | ModelsRequest

MODEL = "some-model"


@dataclass(frozen=True)
class Said:
    """A provider can say it: with these keywords of its SDK."""

    keywords: Mapping[str, Any] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the body that ours has otherwise than the SDK's; `None`: ours has not."""
    noted: Sequence[str] = ()
    """What our warnings say, a piece of each in order."""
    because: str = ""
    """Why ours is different."""


@dataclass(frozen=True)
class Refused:
    """A provider has no words for it, and we say so in these."""

    words: str


@dataclass(frozen=True)
class Meaning:
    """One row."""

    name: str
    request: Request
    columns: Mapping[str, Said | Refused]
    """How each dialect is told."""
    stream: bool = False

    def at(self, dialect: str) -> Said | Refused | None:
        """How a provider is told, if it can be; `None` without a column."""
        return self.columns.get(dialect)

    def said(self, dialect: str) -> Said:
        """How a provider that can be told is told."""
        told = self.at(dialect)
        assert isinstance(told, Said)
        return told


# --- what several rows use

HELLO = {"role": "user", "content": "Hello"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["country", "city"],
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}, "area": {"type": "number"}},
    "additionalProperties": False,
}
STRICT: dict[str, Any] = {**SCHEMA, "required": ["country", "city", "area"]}
WEATHER = Tool(name="weather", description="The weather", parameters=SCHEMA)
CLOCK = Tool(name="clock")

_NO_PARAMETERS = {"type": "object", "properties": {}}
_OPENAI_WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA},
}
_OPENAI_CLOCK = {"type": "function", "function": {"name": "clock"}}
_ANTHROPIC_WEATHER = {"name": "weather", "description": "The weather", "input_schema": SCHEMA}
_ANTHROPIC_CLOCK = {"name": "clock", "input_schema": _NO_PARAMETERS}
_OPENAI_TOOLS = {"tools": [_OPENAI_WEATHER, _OPENAI_CLOCK]}
_ANTHROPIC_TOOLS = {"tools": [_ANTHROPIC_WEATHER, _ANTHROPIC_CLOCK]}

_CLAUDE = Issuer(provider="anthropic", address="https://api.anthropic.com", key="one", region="eu", model="m")
_CACHED = {"cache_control": {"type": "ephemeral"}}
_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_CHAR_CITED = {
    "type": "char_location",
    "cited_text": "c",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
_SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
_SANDBOX = {"caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}}

_NO_OPTION = "has no such option"
_OLD_SAMPLING = "newer models refuse it, so the SDK has no keyword for it any more; older ones take it"


def _said(answer: Said | Refused | Mapping[str, Any]) -> Said | Refused:
    return answer if isinstance(answer, Said | Refused) else Said(answer)


def _option(name: str, value: object) -> dict[str, Any]:
    return {name: value}


def _columns(openai: Any, anthropic: Any) -> Mapping[str, Said | Refused]:
    return {"openai": _said(openai), "anthropic": _said(anthropic)}


def _chat(
    name: str,
    openai: Said | Refused | Mapping[str, Any],
    anthropic: Said | Refused | Mapping[str, Any],
    *,
    stream: bool = False,
    **fields: Any,
) -> Meaning:
    messages = fields.pop("messages", None) or [Message(role="user", content="Hello")]
    request = ChatRequest(model=MODEL, messages=messages, **fields)
    return Meaning(name, request, _columns(openai, anthropic), stream)


def _user(name: str, part: Part, openai: Any, anthropic: Any) -> Meaning:
    """A row about one part of a user's message: the provider's parts for it."""
    return _content(name, Message(role="user", content=[part]), openai, anthropic)


def _content(name: str, message: Message, openai: Any, anthropic: Any) -> Meaning:
    told = {
        dialect: said if isinstance(said, Said | Refused) else {"messages": [{"role": "user", "content": said}]}
        for dialect, said in (("openai", openai), ("anthropic", anthropic))
    }
    return _chat(name, told["openai"], told["anthropic"], messages=[message])


def _turn(*content: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def _history(
    name: str, messages: Sequence[Message], openai: Sequence[Any] | Said | Refused, anthropic: Any, **fields: Any
) -> Meaning:
    """A row about a conversation that begins with our greeting."""
    hello = Message(role="user", content="Hello")
    told = [said if isinstance(said, Said | Refused) else {"messages": [HELLO, *said]} for said in (openai, anthropic)]
    return _chat(name, told[0], told[1], messages=[hello, *messages], **fields)


def _noted(*messages: Mapping[str, Any], notes: Sequence[str]) -> Said:
    return Said({"messages": [HELLO, *messages]}, noted=notes)


# --- the table

_ASKING: list[Meaning] = [
    _chat("a question", {}, Said(because="Anthropic wants max_tokens, so a caller who gives none gets a default")),
    _chat(
        "a stream",
        Said(
            {"stream": True},
            ours={"stream_options": {"include_usage": True}},
            because="OpenAI tells a stream's usage only to those who ask, and a response of ours has usage",
        ),
        {"stream": True},
        stream=True,
    ),
    _chat(
        "a stream without usage",
        Said(
            {"stream": True, "stream_options": {"include_usage": False}},
            ours={"stream_options": None},
            because="it is what OpenAI does unless it is asked",
        ),
        Said({"stream": True}, noted=["stream_options.include_usage was left out"]),
        stream=True,
        stream_options=StreamOptions(include_usage=False),
    ),
    _chat(
        "a stream without padding",
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        Said({"stream": True}, noted=["include_obfuscation was left out"]),
        stream=True,
        stream_options=StreamOptions(include_obfuscation=False),
    ),
    _chat(
        "temperature",
        {"temperature": 0.5},
        Said({"extra_body": {"temperature": 0.5}}, because=_OLD_SAMPLING),
        temperature=0.5,
    ),
    _chat(
        "a temperature beyond Anthropic's scale",
        {"temperature": 1.5},
        Said({"extra_body": {"temperature": 1}}, noted=["temperature 1.5 was sent as 1"]),
        temperature=1.5,
    ),
    _chat("top_p", {"top_p": 0.5}, Said({"extra_body": {"top_p": 0.5}}, because=_OLD_SAMPLING), top_p=0.5),
    _chat(
        "top_k",
        Said(noted=[f"top_k was left out: openai {_NO_OPTION}"]),
        Said({"extra_body": {"top_k": 5}}, because=_OLD_SAMPLING),
        top_k=5,
    ),
    _chat("max_tokens", {"max_completion_tokens": 7}, {"max_tokens": 7}, max_tokens=7),
    _chat(
        "penalties",
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        Said(noted=["presence_penalty was left out", "frequency_penalty was left out"]),
        presence_penalty=0.5,
        frequency_penalty=-0.5,
    ),
    _chat("stop", {"stop": ["END", "\n"]}, {"stop_sequences": ["END", "\n"]}, stop=["END", "\n"]),
    _chat("seed", {"seed": 7}, Said(noted=["seed was left out"]), seed=7),
    _chat(
        "log probabilities",
        {"logprobs": True, "top_logprobs": 2},
        Refused("log probabilities"),
        logprobs=True,
        top_logprobs=2,
    ),
    _chat("several answers", {"n": 2}, Refused("one response per request"), n=2),
    _chat("one answer", {"n": 1}, {}, n=1),
    _chat(
        "logit_bias",
        {"logit_bias": {"50256": -100, "11": 5}},
        Said(noted=["logit_bias was left out"]),
        logit_bias={"50256": -100.0, "11": 5.0},
    ),
    _chat("user", {"user": "u"}, {"metadata": {"user_id": "u"}}, user="u"),
    _chat(
        "safety_identifier",
        {"safety_identifier": "s"},
        Said(noted=["safety_identifier was left out"]),
        safety_identifier="s",
    ),
    _chat(
        "metadata",
        {"metadata": {"user_id": "u", "team": "t"}},
        Said({"metadata": {"user_id": "u"}}, noted=["metadata ['team'] was left out"]),
        metadata={"user_id": "u", "team": "t"},
    ),
    _chat("store", {"store": True}, Said(noted=["store was left out"]), store=True),
    _chat("service_tier", {"service_tier": "auto"}, {"service_tier": "auto"}, service_tier="auto"),
    _chat(
        "the default service tier",
        {"service_tier": "default"},
        Said({"service_tier": "standard_only"}, because="that is what Anthropic calls it"),
        service_tier="default",
    ),
    _chat(
        "a service tier of OpenAI's",
        {"service_tier": "flex"},
        Said(noted=["service_tier 'flex' was left out"]),
        service_tier="flex",
    ),
    *(
        _chat(f"{size} verbosity", {"verbosity": size}, Said(noted=["verbosity was left out"]), verbosity=size)
        for size in ("low", "medium", "high")
    ),
    _chat(
        "prompt_cache_key",
        {"prompt_cache_key": "k"},
        Said(noted=["prompt_cache_key was left out"]),
        prompt_cache_key="k",
    ),
    _chat(
        "prompt_cache_retention",
        {"prompt_cache_retention": "24h"},
        Said(noted=["prompt_cache_retention was left out"]),
        prompt_cache_retention="24h",
    ),
    _chat(
        "a prediction",
        {"prediction": {"type": "content", "content": "x = 1"}},
        Said(noted=["prediction was left out"]),
        prediction=Prediction(content="x = 1"),
    ),
    _chat(
        "a prediction in parts",
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "x = 1"}]}},
        Said(noted=["prediction was left out"]),
        prediction=Prediction(content=[TextPart(text="x = 1")]),
    ),
    _chat(
        "a spoken answer",
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        Refused("answers in text only"),
        modalities=["text", "audio"],
        audio=AudioOutput(voice="alloy", format="wav"),
    ),
    _chat("a response in text", {"modalities": ["text"]}, {}, modalities=["text"]),
]

_REASONING: list[Meaning] = [
    *(
        _chat(
            f"{effort} effort",
            {"reasoning_effort": effort},
            {"output_config": {"effort": effort}},
            reasoning=Reasoning(effort=effort),
        )
        for effort in ("low", "medium", "high", "xhigh", "max")
    ),
    _chat(
        "minimal effort",
        {"reasoning_effort": "minimal"},
        Said({"output_config": {"effort": "low"}}, noted=["'minimal' was sent as 'low'"]),
        reasoning=Reasoning(effort="minimal"),
    ),
    _chat(
        "no effort",
        {"reasoning_effort": "none"},
        {"thinking": {"type": "disabled"}},
        reasoning=Reasoning(effort="none"),
    ),
    _chat(
        "no reasoning",
        {"reasoning_effort": "none"},
        {"thinking": {"type": "disabled"}},
        reasoning=Reasoning(enabled=False),
    ),
    _chat(
        "a budget for reasoning",
        Said(noted=["reasoning.max_tokens was left out"]),
        Said(
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": DEFAULT_MAX_TOKENS + 2000},
            because="Anthropic's max_tokens counts the thinking too",
        ),
        reasoning=Reasoning(max_tokens=2000),
    ),
    *(
        _chat(
            f"reasoning that is {display}",
            Said(noted=["reasoning.display was left out", "reasoning.enabled was left out"]),
            {"thinking": {"type": "adaptive", "display": display}},
            reasoning=Reasoning(enabled=True, display=display),
        )
        for display in ("summarized", "omitted")
    ),
    _chat(
        "reasoning as the model likes",
        Said(noted=["reasoning.enabled was left out"], because="its models that can reason do"),
        {"thinking": {"type": "adaptive"}},
        reasoning=Reasoning(enabled=True),
    ),
]

_FORMATS: list[Meaning] = [
    _chat("a response of plain text", {"response_format": {"type": "text"}}, {}, response_format=ResponseFormat()),
    _chat(
        "any JSON object",
        {"response_format": {"type": "json_object"}},
        Refused('no "any JSON object" mode'),
        response_format=ResponseFormat(type="json_object"),
    ),
    _chat(
        "JSON that fits a schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "description": "Where", "schema": SCHEMA, "strict": True},
            }
        },
        Said(
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            noted=["response_format.description was left out"],
            because="Anthropic has no name for a format, and is always strict",
        ),
        response_format=ResponseFormat(
            type="json_schema", name="place", description="Where", schema=SCHEMA, strict=True
        ),
    ),
]

_SEARCH: list[Meaning] = [
    _chat(
        "a web search",
        {"web_search_options": {}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        web_search=WebSearch(),
    ),
    *(
        _chat(
            f"a web search with {size} context",
            {"web_search_options": {"search_context_size": size}},
            Said(
                {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
                noted=["web_search.context_size was left out"],
            ),
            web_search=WebSearch(context_size=size),
        )
        for size in ("low", "medium", "high")
    ),
    _chat(
        "a web search from somewhere",
        Said(
            {
                "web_search_options": {
                    "user_location": {
                        "type": "approximate",
                        "approximate": {
                            "city": "Bern",
                            "region": "Bern",
                            "country": "CH",
                            "timezone": "Europe/Zurich",
                        },
                    }
                }
            },
            noted=["web_search.max_uses was left out"],
        ),
        {
            "tools": [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "max_uses": 3,
                    "user_location": {
                        "type": "approximate",
                        "city": "Bern",
                        "region": "Bern",
                        "country": "CH",
                        "timezone": "Europe/Zurich",
                    },
                }
            ]
        },
        web_search=WebSearch(
            max_uses=3,
            user_location=UserLocation(city="Bern", region="Bern", country="CH", timezone="Europe/Zurich"),
        ),
    ),
    *(
        _chat(
            f"a web search with {which}",
            Refused("cannot keep a web search to some domains"),
            {"tools": [{"type": "web_search_20250305", "name": "web_search", which: ["example.com"]}]},
            web_search=search,
        )
        for which, search in (
            ("allowed_domains", WebSearch(allowed_domains=["example.com"])),
            ("blocked_domains", WebSearch(blocked_domains=["example.com"])),
        )
    ),
]

_TOOLS: list[Meaning] = [
    _chat("tools", _OPENAI_TOOLS, _ANTHROPIC_TOOLS, tools=[WEATHER, CLOCK]),
    _chat(
        "a strict tool",
        {"tools": [{"type": "function", "function": {"name": "weather", "parameters": STRICT, "strict": True}}]},
        {"tools": [{"name": "weather", "input_schema": STRICT, "strict": True}]},
        tools=[Tool(name="weather", parameters=STRICT, strict=True)],
    ),
    _chat(
        "a tool in the cache",
        Said({"tools": [_OPENAI_CLOCK]}, noted=["cache marks were left out"]),
        {"tools": [{**_ANTHROPIC_CLOCK, **_CACHED}]},
        tools=[Tool(name="clock", cache=CacheMark())],
    ),
    _chat(
        "a tool that takes free text",
        {
            "tools": [
                {"type": "custom", "custom": {"name": "run", "description": "Run it", "format": {"type": "text"}}}
            ],
            "tool_choice": {"type": "custom", "custom": {"name": "run"}},
        },
        Refused("no tools that take free text"),
        tools=[Tool(name="run", kind="custom", description="Run it", format={"type": "text"})],
        tool_choice=ToolChoice(mode="tool", name="run"),
    ),
    _chat(
        "a tool of Anthropic's",
        Refused("cannot run anthropic's tool 'web_search_20260209'"),
        {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
        tools=[ProviderTool(provider="anthropic", definition={"type": "web_search_20260209", "name": "web_search"})],
    ),
    _chat(
        "the tools as the model likes",
        {**_OPENAI_TOOLS, "tool_choice": "auto"},
        {**_ANTHROPIC_TOOLS, "tool_choice": {"type": "auto"}},
        tools=[WEATHER, CLOCK],
        tool_choice=ToolChoice(),
    ),
    _chat(
        "no tool",
        {**_OPENAI_TOOLS, "tool_choice": "none"},
        {**_ANTHROPIC_TOOLS, "tool_choice": {"type": "none"}},
        tools=[WEATHER, CLOCK],
        tool_choice=ToolChoice(mode="none"),
    ),
    _chat(
        "some tool",
        {**_OPENAI_TOOLS, "tool_choice": "required"},
        {**_ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}},
        tools=[WEATHER, CLOCK],
        tool_choice=ToolChoice(mode="required"),
    ),
    _chat(
        "one tool",
        {**_OPENAI_TOOLS, "tool_choice": {"type": "function", "function": {"name": "clock"}}},
        {**_ANTHROPIC_TOOLS, "tool_choice": {"type": "tool", "name": "clock"}},
        tools=[WEATHER, CLOCK],
        tool_choice=ToolChoice(mode="tool", name="clock"),
    ),
    _chat(
        "some of the tools",
        {
            **_OPENAI_TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "clock"}}],
                },
            },
        },
        Said(
            {"tools": [_ANTHROPIC_CLOCK], "tool_choice": {"type": "any"}},
            noted=["the other tools were left out"],
        ),
        tools=[WEATHER, CLOCK],
        tool_choice=ToolChoice(mode="required", allowed=["clock"]),
    ),
    _chat(
        "one tool at a time",
        {**_OPENAI_TOOLS, "parallel_tool_calls": False},
        {**_ANTHROPIC_TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    ),
]

_MESSAGES: list[Meaning] = [
    _chat(
        "every role",
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Rhyme."},
                HELLO,
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "And?"},
            ]
        },
        {
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Rhyme."}],
            "messages": [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}],
        },
        messages=[
            Message(role="system", content="Be brief."),
            Message(role="developer", content="Rhyme."),
            Message(role="user", content="Hello"),
            Message(role="assistant", content="Hi"),
            Message(role="user", content="And?"),
        ],
    ),
    _chat(
        "a system prompt",
        {"messages": [{"role": "system", "content": "Be brief."}, HELLO]},
        {"system": "Be brief.", "messages": [HELLO]},
        messages=[Message(role="system", content="Be brief."), Message(role="user", content="Hello")],
    ),
    _chat(
        "a participant's name",
        {"messages": [{"role": "user", "content": "Hello", "name": "Ann"}]},
        Said({"messages": [HELLO]}, noted=["name was left out"]),
        messages=[Message(role="user", content="Hello", name="Ann")],
    ),
    _chat(
        "a cached system prompt",
        Said(
            {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, HELLO]},
            noted=["cache marks were left out"],
        ),
        {
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ],
            "messages": [HELLO],
        },
        messages=[
            Message(role="system", content=[TextPart(text="Be brief.", cache=CacheMark(ttl="1h"))]),
            Message(role="user", content="Hello"),
        ],
    ),
    _chat(
        "a message in the cache",
        Said({"messages": [HELLO]}, noted=["cache marks were left out"]),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
                    ],
                }
            ]
        },
        messages=[Message(role="user", content="Hello", cache=CacheMark(ttl="5m"))],
    ),
    _chat(
        "cache marks for models of OpenAI's that take them",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look", **_BREAKPOINT},
                        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}, **_BREAKPOINT},
                        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}, **_BREAKPOINT},
                        {"type": "file", "file": {"file_id": "file_1"}, **_BREAKPOINT},
                    ],
                }
            ],
            "prompt_cache_options": {"mode": "explicit"},
        },
        Refused("takes no sound"),
        messages=[
            Message(
                role="user",
                content=[
                    TextPart(text="Look", cache=CacheMark()),
                    ImagePart(url="https://a.example/b.png", cache=CacheMark()),
                    AudioPart(data="aGk=", format="wav", cache=CacheMark()),
                    FilePart(file_id="file_1", cache=CacheMark()),
                ],
            )
        ],
        extra={"openai": {"prompt_cache_options": {"mode": "explicit"}}},
    ),
]

_PARTS: list[Meaning] = [
    _user(
        "text in parts",
        TextPart(text="Look", cache=CacheMark()),
        Said(_turn({"type": "text", "text": "Look"}), noted=["cache marks were left out"]),
        [{"type": "text", "text": "Look", **_CACHED}],
    ),
    *(
        _user(
            f"a picture in {detail} detail",
            ImagePart(url="https://a.example/b.png", detail=detail),
            [{"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": detail}}],
            Said(_turn({"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}), noted=noted),
        )
        for detail, noted in (("auto", []), ("low", ["detail was left out"]), ("high", ["detail was left out"]))
    ),
    _user(
        "a picture's bytes",
        ImagePart(data="aGk=", media_type="image/png", cache=CacheMark()),
        Said(
            _turn({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}),
            noted=["cache marks were left out"],
        ),
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}, **_CACHED}],
    ),
    *(
        _user(f"a video by {name}", part, Refused("takes no videos"), Refused("takes no videos"))
        for name, part in {
            "address": VideoPart(url="https://a.example/b.mp4", cache=CacheMark()),
            "its bytes": VideoPart(data="aGk=", media_type="video/mp4"),
            "the id of an upload": VideoPart(file_id="file_1"),
        }.items()
    ),
    _user(
        "text with a signature",
        TextPart(text="Look", signature="s", provider="gemini", issuer=_CLAUDE),
        Said(_turn({"type": "text", "text": "Look"}), noted=["signature of a text"]),
        Said(_turn({"type": "text", "text": "Look"}), noted=["signature of a text"]),
    ),
    _user(
        "a picture with a signature",
        ImagePart(url="https://a.example/b.png", signature="s", provider="gemini", issuer=_CLAUDE),
        Said(
            _turn({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}),
            noted=["signature of an image"],
        ),
        Said(
            _turn({"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}),
            noted=["signature of an image"],
        ),
    ),
    _user(
        "an uploaded picture",
        ImagePart(file_id="file_1"),
        Refused("takes no image by file_id in a chat"),
        [{"type": "image", "source": {"type": "file", "file_id": "file_1"}}],
    ),
    _user(
        "sound",
        AudioPart(data="aGk=", format="wav"),
        [{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}],
        Refused("takes no sound"),
    ),
    _user(
        "a video",
        VideoPart(url="https://a.example/b.mp4", cache=CacheMark()),
        Refused("takes no videos"),
        Refused("takes no videos"),
    ),
    _user(
        "a video's bytes",
        VideoPart(data="aGk=", media_type="video/mp4"),
        Refused("takes no videos"),
        Refused("takes no videos"),
    ),
    _user("an uploaded video", VideoPart(file_id="file_1"), Refused("takes no videos"), Refused("takes no videos")),
    _user(
        "a picture that another provider signed",
        ImagePart(url="https://a.example/b.png", signature="c2ln", provider="gemini", issuer=Issuer(provider="gemini")),
        Said(_turn({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}), noted=["signature"]),
        Said(
            _turn({"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}), noted=["signature"]
        ),
    ),
    _user(
        "a text that another provider signed",
        TextPart(text="Look", signature="c2ln", provider="gemini", issuer=Issuer(provider="gemini")),
        Said(_turn({"type": "text", "text": "Look"}), noted=["signature"]),
        Said(_turn({"type": "text", "text": "Look"}), noted=["signature"]),
    ),
    _user(
        "a file's bytes",
        FilePart(data="aGk=", media_type="application/pdf", filename="b.pdf", cache=CacheMark()),
        Said(
            _turn(
                {"type": "file", "file": {"filename": "b.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            ),
            noted=["cache marks were left out"],
        ),
        [
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "b.pdf",
                **_CACHED,
            }
        ],
    ),
    _user(
        "an uploaded file",
        FilePart(file_id="file_1"),
        [{"type": "file", "file": {"file_id": "file_1"}}],
        [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}],
    ),
    _user(
        "a file's address",
        FilePart(url="https://a.example/b.pdf"),
        Refused("takes no file by url in a chat"),
        [{"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}}],
    ),
    _user(
        "a document that is text",
        FilePart(text="All of it", context="From Ann", citations=True),
        Said(
            _turn({"type": "text", "text": "From Ann"}, {"type": "text", "text": "All of it"}),
            noted=["citations of a file", "a file's context", "a document given as text"],
        ),
        [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "All of it"},
                "context": "From Ann",
                "citations": {"enabled": True},
            }
        ],
    ),
]

_HISTORY: list[Meaning] = [
    _history(
        "a response with its sources",
        [
            Message(
                role="assistant",
                content=[
                    TextPart(
                        text="So",
                        citations=[
                            Citation(
                                url="https://a.example",
                                title="A",
                                text="c",
                                start=0,
                                end=2,
                                document_index=0,
                                file_id="file_1",
                                provider="anthropic",
                                native=_CHAR_CITED,
                            )
                        ],
                    )
                ],
            )
        ],
        [{"role": "assistant", "content": "So"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "So", "citations": [_CHAR_CITED]}]}],
    ),
    _history(
        "a response's reasoning",
        [
            Message(
                role="assistant",
                content=[
                    ReasoningPart(text="hm", signature="s", provider="anthropic", issuer=_CLAUDE),
                    ReasoningPart(redacted="xyz", provider="anthropic"),
                    TextPart(text="So"),
                ],
            )
        ],
        _noted({"role": "assistant", "content": "So"}, notes=["reasoning of another provider was left out"]),
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "xyz"},
                    {"type": "text", "text": "So"},
                ],
            }
        ],
    ),
    _history(
        "a response that declines",
        [Message(role="assistant", content=[RefusalPart(refusal="No.")])],
        [{"role": "assistant", "refusal": "No."}],
        [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}],
    ),
    _history(
        "a provider's own block",
        [
            Message(
                role="assistant",
                content=[
                    TextPart(text="So"),
                    OpaquePart(provider="anthropic", kind="server_tool_use", data=_SEARCHED, issuer=_CLAUDE),
                ],
            )
        ],
        _noted({"role": "assistant", "content": "So"}, notes=["anthropic's own block 'server_tool_use'"]),
        [{"role": "assistant", "content": [{"type": "text", "text": "So"}, _SEARCHED]}],
    ),
    _history(
        "a spoken answer in the history",
        [
            Message(
                role="assistant",
                content=[AudioPart(id="audio_1", data="aGk=", format="wav", transcript="Hi", expires_at=1)],
            )
        ],
        [{"role": "assistant", "audio": {"id": "audio_1"}}],
        _noted(
            {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
            notes=["sound was left out, its transcript sent"],
        ),
    ),
    _history(
        "tool calls and their results",
        [
            Message(
                role="assistant",
                content=[
                    TextPart(text="Let me see"),
                    ToolCall(id="call_1", name="weather", arguments='{"city": "Bern"}'),
                    ToolCall(id="call_2", name="clock"),
                ],
            ),
            Message(role="tool", tool_call_id="call_1", content="sun"),
            Message(role="tool", tool_call_id="call_2", content=[TextPart(text="noon")]),
        ],
        [
            {
                "role": "assistant",
                "content": "Let me see",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                    },
                    {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
        ],
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see"},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}},
                    {"type": "tool_use", "id": "call_2", "name": "clock", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sun"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_2",
                        "content": [{"type": "text", "text": "noon"}],
                    },
                ],
            },
        ],
    ),
    _history(
        "a tool that failed",
        [
            Message(role="assistant", content=[ToolCall(id="call_1", name="clock", arguments="{}")]),
            Message(role="tool", tool_call_id="call_1", content="broken", is_error=True),
        ],
        _noted(
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "broken"},
            notes=["is_error was left out"],
        ),
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "clock", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "broken", "is_error": True},
                ],
            },
        ],
    ),
    _history(
        "a picture that a tool gave",
        [
            Message(role="assistant", content=[ToolCall(id="call_1", name="clock", arguments="{}")]),
            Message(role="tool", tool_call_id="call_1", content=[ImagePart(url="https://a.example/b.png")]),
        ],
        Refused("takes no image part in a tool message"),
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "clock", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}],
                    },
                ],
            },
        ],
    ),
    _history(
        "a call that a sandbox of Anthropic's made",
        [
            Message(
                role="assistant",
                content=[
                    ToolCall(
                        id="call_1",
                        name="clock",
                        arguments="{}",
                        provider="anthropic",
                        issuer=_CLAUDE,
                        signature='{"caller":{"type":"code_execution_20250825","tool_id":"srvtoolu_1"}}',
                        cache=CacheMark(),
                    )
                ],
            ),
            Message(role="tool", tool_call_id="call_1", content="noon"),
        ],
        _noted(
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
            notes=["signature was left out", "cache was left out"],
        ),
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "clock", "input": {}, **_SANDBOX, **_CACHED},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "noon"}],
            },
        ],
    ),
    _history(
        "a call of a tool that takes free text",
        [
            Message(role="assistant", content=[ToolCall(id="call_1", name="run", arguments="x = 1", kind="custom")]),
            Message(role="tool", tool_call_id="call_1", content="1"),
        ],
        [
            {
                "role": "assistant",
                "tool_calls": [{"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "x = 1"}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ],
        Refused("no tools that take free text"),
    ),
]

_ANTHROPIC_ALONE: dict[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "container": "c",
    "diagnostics": {"previous_message_id": "msg_1"},
    "inference_geo": "eu",
    "speed": "fast",
}

_EXTRA: list[Meaning] = [
    _chat(
        "what only OpenAI has",
        {"moderation": {"model": "omni-moderation-latest"}},
        {},
        extra={"openai": {"moderation": {"model": "omni-moderation-latest"}}},
    ),
    _chat(
        "OpenAI's functions of old",
        {"functions": [{"name": "clock", "parameters": _NO_PARAMETERS}], "function_call": {"name": "clock"}},
        {},
        extra={
            "openai": {
                "functions": [{"name": "clock", "parameters": _NO_PARAMETERS}],
                "function_call": {"name": "clock"},
            }
        },
    ),
    _chat(
        "what only Anthropic has",
        {},
        _ANTHROPIC_ALONE,
        extra={"anthropic": _ANTHROPIC_ALONE},
    ),
    _chat(
        "what Anthropic has in beta",
        {},
        {
            "extra_headers": {"anthropic-beta": "files-api-2025-04-14,code-execution-2025-08-25"},
            "extra_body": {"mcp_servers": []},
        },
        extra={
            "anthropic": {
                "betas": ["files-api-2025-04-14", "code-execution-2025-08-25"],
                "mcp_servers": [],
            }
        },
    ),
]

_NO_EMBEDDINGS = Refused("no embeddings endpoint")

_EMBEDDINGS: list[Meaning] = [
    Meaning(
        "a vector",
        EmbeddingRequest(model=MODEL, input=["Hello"]),
        _columns(
            Said(
                {"input": "Hello"}, ours={"input": ["Hello"]}, because="a text and a list of one are the same question"
            ),
            _NO_EMBEDDINGS,
        ),
    ),
    Meaning(
        "vectors of texts",
        EmbeddingRequest(model=MODEL, input=["Hello", "world"]),
        _columns(Said({"input": ["Hello", "world"]}), _NO_EMBEDDINGS),
    ),
    Meaning(
        "vectors of token numbers",
        EmbeddingRequest(model=MODEL, input=[[1, 2], [3]]),
        _columns(Said({"input": [[1, 2], [3]]}), _NO_EMBEDDINGS),
    ),
    *(
        Meaning(
            f"vectors as {form}",
            EmbeddingRequest(model=MODEL, input=["Hello"], encoding_format=form),
            _columns(Said({"input": ["Hello"], "encoding_format": form}), _NO_EMBEDDINGS),
        )
        for form in ("float", "base64")
    ),
    Meaning(
        "short vectors for somebody",
        EmbeddingRequest(model=MODEL, input=["Hello"], dimensions=256, user="u"),
        _columns(Said({"input": ["Hello"], "dimensions": 256, "user": "u"}), _NO_EMBEDDINGS),
    ),
    *(
        Meaning(
            f"vectors with {name} {word}",
            EmbeddingRequest(model=MODEL, input=["Hello"], **_option(name, word)),
            _columns(said if isinstance(said, Refused) else Said({"input": ["Hello"]}, noted=said), _NO_EMBEDDINGS),
        )
        for name, words, said in (
            ("input_type", get_args(InputType), ["input_type was left out"]),
            ("output_dtype", ["float"], []),
            ("output_dtype", get_args(OutputType)[1:], Refused("floating-point numbers only")),
            ("truncate", ["none"], []),
            ("truncate", ["start", "end"], ["truncate was left out"]),
            ("images", [["https://a.example/b.png"]], Refused("vectors of texts only")),
        )
        for word in words
    ),
    Meaning(
        "vectors with what only OpenAI has",
        EmbeddingRequest(model=MODEL, input=["Hello"], extra={"openai": {"priority": 1}}),
        _columns(Said({"input": ["Hello"], "extra_body": {"priority": 1}}), _NO_EMBEDDINGS),
    ),
]

_MODELS: list[Meaning] = [
    Meaning("the models", ModelsRequest(), _columns(Said(), Said())),
    Meaning(
        "a page of the models",
        ModelsRequest(limit=5, after="claude-1"),
        _columns(Said(noted=["limit was left out", "after was left out"]), Said({"limit": 5, "after_id": "claude-1"})),
    ),
]

MEANINGS: list[Meaning] = [
    *_ASKING,
    *_REASONING,
    *_FORMATS,
    *_SEARCH,
    *_TOOLS,
    *_MESSAGES,
    *_PARTS,
    *_HISTORY,
    *_EXTRA,
    *_EMBEDDINGS,
    *_MODELS,
]

DIALECTS = ("openai", "anthropic")
"""Those with an SDK here."""
