"""Names of other libraries, with bifrost's equivalents, for error messages."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, NoReturn, ParamSpec

from bifrost.errors import ConfigError, UsageError, near_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

P = ParamSpec("P")


class UnknownNameError(UsageError, AttributeError):
    """An object has no attribute of this name. The message says what to write."""


class UnknownArgumentError(ConfigError, TypeError):
    """A client takes no argument of this name. The message says what to write."""


_CHAT = "client.chat(model, messages)"
_COMPLETE = "write client.complete(model, prompt), or client.chat(model, messages) for a conversation"
_RESPOND = "write client.respond(model, input), or stream_respond for a stream"
_NO_ENDPOINT = (
    "bifrost has no such endpoint: it has chat, respond, embed, rerank, complete, moderate, count_tokens, ocr and "
    "list_models"
)

OF_A_CLIENT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "completion", "acompletion", "chat_completion", "create", "acreate", "messages",
            "generate", "agenerate", "invoke", "ainvoke", "ask", "run", "arun", "beta",
        ),
        f"write {_CHAT}, or stream_chat for a stream",
    ),
    **dict.fromkeys(("stream", "astream", "stream_completion"), "write client.stream_chat(model, messages)"),
    **dict.fromkeys(
        ("embedding", "embeddings", "aembedding", "embed_query", "embed_documents"), "write client.embed(model, texts)"
    ),
    **dict.fromkeys(("completions", "text_completion", "atext_completion"), _COMPLETE),
    **dict.fromkeys(("response", "aresponses"), _RESPOND),
    **dict.fromkeys(("moderations", "moderation", "amoderation"), "write client.moderate(model, input)"),
    "arerank": "write client.rerank(model, query, documents)",
    "aocr": "write client.ocr(model, document)",
    **dict.fromkeys(("token_counter", "acount_tokens"), "write client.count_tokens(model, messages)"),
    **dict.fromkeys(("models", "get_models"), 'write client.list_models("openai")'),
    **dict.fromkeys(("batch", "abatch", "batch_completion"), "write client.map(inputs, model=...)"),
    **dict.fromkeys(("aclose", "shutdown"), "write client.close()"),
    "copy": "write client.with_options(...)",
    **dict.fromkeys(
        ("api_key", "base_url", "api_base", "organization"),
        "keys and addresses are the account's; client.providers() shows what is set up",
    ),
    **dict.fromkeys(
        (
            "images", "image_generation", "audio", "speech", "transcription", "videos", "uploads",
            "vector_stores", "fine_tuning", "evals", "containers", "conversations", "realtime",
        ),
        _NO_ENDPOINT,
    ),
}  # fmt: skip
"""Attributes that a client lacks, each with a hint."""

OF_AN_ANSWER: Mapping[str, str] = {
    **dict.fromkeys(("model_dump", "dict", "to_json_dict"), "write .to_dict()"),
    **dict.fromkeys(("model_dump_json", "json", "to_json"), "write json.dumps(reply.to_dict())"),
    **dict.fromkeys(("content", "output_text", "response_text"), "write .text"),
    "output": "write .text; with output=Type in the call, .parsed",
    "response_ms": "write .elapsed, in seconds",
    **dict.fromkeys(("latency", "duration"), "write .elapsed, in seconds"),
    "get": "write the attribute: reply.choices, reply.usage, reply.text",
    "error": "a call that fails raises; catch BifrostError",
    "_hidden_params": "write .provider, .attempts or .cost",
}
"""Attributes that a response lacks, each with a hint."""

_OF_THE_CLASS: Mapping[str, str] = {
    **dict.fromkeys(
        ("api_key", "api_keys", "keys", "key"),
        "keys come from the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY ...), or from an account: "
        '{name}(StaticAccount(keys={{"openai": "..."}}))',
    ),
    **dict.fromkeys(
        ("base_url", "api_base", "azure_endpoint", "host", "endpoint"),
        "an address is the provider's: set OPENAI_BASE_URL, or give "
        '{name}(StaticAccount(keys=..., configs={{"openai": ProviderConfig(base_url=...)}}))',
    ),
    **dict.fromkeys(("organization", "project"), 'write extra_headers={{"OpenAI-Organization": "..."}}'),
    **dict.fromkeys(("default_headers", "headers"), "write extra_headers={{...}}"),
    **dict.fromkeys(("num_retries", "retries"), "write max_retries="),
    "request_timeout": "write timeout=",
    "http_client": "write transport=",
    **dict.fromkeys(("model", "default_model"), 'each call names its model: client.chat("openai/gpt-4o-mini", ...)'),
    "model_list": 'write models={{"fast": ["openai/gpt-4o-mini", "groq/llama-3.3-70b-versatile"]}}',
    **dict.fromkeys(("providers", "configs", "config"), "write {name}(StaticAccount(keys=..., configs=...))"),
    **dict.fromkeys(("callbacks", "hooks", "middleware"), "write plugins=[...]"),
    **dict.fromkeys(("api_version", "azure_deployment"), "it is a setting of the key: see the page on providers"),
}


class Elsewhere:
    """An attribute of OpenAI's client. Its first use raises an error that says what to write."""

    def __init__(self, name: str, hint: str) -> None:
        self._message = f"there is no {name} here: {hint}"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnknownNameError(self._message)

    def __call__(self, *args: object, **options: object) -> NoReturn:
        """Raise the error."""
        raise UnknownNameError(self._message)

    def __repr__(self) -> str:
        return f"<{self._message}>"


def no_attribute(thing: object, name: str, hints: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that does not exist."""
    kind = type(thing).__name__
    if name in hints:
        return UnknownNameError(f"{kind} has no {name!r}: {hints[name]}")
    return AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=thing)


def explains_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Make the `__init__` of a class explain unknown and positional arguments. No value is shown."""
    return _explaining(init, {})


def explains_client_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Do the same for a client, with hints for the arguments of other libraries' clients."""
    return _explaining(init, _OF_THE_CLASS)


def _explaining(init: Callable[P, None], hints: Mapping[str, str]) -> Callable[P, None]:
    parameters = inspect.signature(init).parameters
    names = [name for name in parameters if name != "self"]
    most = sum(each.kind is not inspect.Parameter.KEYWORD_ONLY for each in parameters.values())

    @functools.wraps(init)
    def checked(*args: P.args, **options: P.kwargs) -> None:
        unknown = next((name for name in options if name not in parameters), None)
        if unknown is not None or len(args) > most:
            kind = type(args[0]).__name__
            # They may contain a key, and a traceback may print the local variables of this frame.
            options.clear()
            del args
            if unknown is not None:
                raise UnknownArgumentError(_message(unknown, kind, names, hints))
            raise UnknownArgumentError(f"{kind} takes its arguments by name: {kind}({names[most - 1]}=...)")
        init(*args, **options)

    return checked


def _message(unknown: str, kind: str, known: Sequence[str], hints: Mapping[str, str]) -> str:
    hint = hints.get(unknown)
    if hint is not None:
        return f"{kind} takes no {unknown}=: {hint.format(name=kind)}"
    near = near_matches(unknown, known)
    return f"{kind} takes no {unknown}=: " + (
        f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(sorted(known))}"
    )
