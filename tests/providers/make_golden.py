"""Make golden cases of recorded exchanges: `python -m tests.providers.make_golden recording.json ...`.

`expected.json` is written by our own reading: compare it with the recorded answer before you keep it.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from bifrost.operations.chat.openai_form import chat_request_from_openai
from bifrost.operations.completions import CompletionOptions, CompletionRequest, completion_request
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.rerank import RerankRequest
from bifrost.operations.responses.compaction import CompactionRequest, compaction_request
from bifrost.operations.responses.options import responses_request
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.token_count import TokenCountRequest, token_count_request
from tests.providers import read_bedrock, read_cohere
from tests.providers.golden_cases import GOLDEN, Case, drive, read_answer
from tests.providers.read_anthropic import read_request
from tests.providers.read_compatible import read_chat
from tests.providers.read_gemini import camel
from tests.providers.read_gemini import read_count as read_gemini_count
from tests.providers.read_gemini import read_embeddings as read_gemini_embeddings
from tests.providers.read_gemini import read_request as read_gemini
from tests.providers.read_ollama import read_ollama_chat, read_ollama_generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bifrost.operations.chat.options import ChatOptions


def read_embeddings(body: dict[str, Any]) -> EmbeddingRequest:
    """Read the body of an OpenAI embeddings request."""
    texts = body["input"]
    return msgspec.convert({**body, "input": [texts] if isinstance(texts, str) else texts}, EmbeddingRequest)


def read_count(body: dict[str, Any]) -> TokenCountRequest:
    """Read the body of a request for a number of tokens at Anthropic."""
    chat = read_request(body)
    return TokenCountRequest(**{name: getattr(chat, name) for name in TokenCountRequest.__struct_fields__})


def read_items(body: dict[str, Any]) -> TokenCountRequest:
    """Read the body of a request for a number of tokens at OpenAI. The tools lack the inner object of a chat's."""
    tools = [
        {"type": tool["type"], tool["type"]: {name: value for name, value in tool.items() if name != "type"}}
        for tool in body.get("tools", ())
    ]
    options = {name: body[name] for name in ("tool_choice", "parallel_tool_calls") if name in body}
    return token_count_request(
        body["model"], body["input"], system=None, options=cast("ChatOptions", {**options, "tools": tools or None})
    )


def read_completion(body: dict[str, Any]) -> CompletionRequest:
    """Read the body of a completion. A null is as good as nothing."""
    names = CompletionOptions.__annotations__
    options = {name: value for name, value in body.items() if name in names}
    return completion_request(body["model"], body["prompt"], cast("CompletionOptions", options))


def read_compaction(body: dict[str, Any]) -> CompactionRequest:
    """Read the body of a request to compact a conversation."""
    options: Any = {name: value for name, value in body.items() if name not in ("model", "input")}
    return compaction_request(body["model"], body["input"], options)


def read_responses(body: dict[str, Any]) -> ResponsesRequest:
    """Read the body of a request of the Responses API."""
    options: Any = {name: value for name, value in body.items() if name not in ("model", "input", "stream")}
    return responses_request(body["model"], body["input"], options)


def read_voyage_embeddings(body: dict[str, Any]) -> EmbeddingRequest:
    """Read the body of a request for embeddings at Voyage."""
    given = {name: value for name, value in body.items() if value is not None}
    renamed = {"dimensions": given.pop("output_dimension", None)}
    if "truncation" in given:
        renamed["truncate"] = "end" if given.pop("truncation") else "none"
    return read_embeddings({**given, **renamed})


def read_voyage_rerank(body: dict[str, Any]) -> RerankRequest:
    """Read the body of a rerank at Voyage."""
    own = {name: body[name] for name in ("truncation",) if name in body}
    return RerankRequest(
        model=body["model"],
        query=body["query"],
        documents=body["documents"],
        top_n=body.get("top_k"),
        extra={"voyage": own} if own else None,
    )


COMPATIBLE = (
    "azure",
    "cerebras",
    "deepseek",
    "groq",
    "huggingface",
    "mistral",
    "ollama-openai",
    "openrouter",
    "perplexity",
    "together",
    "xai",
)

READERS: dict[str, tuple[str, Callable[..., msgspec.Struct] | None]] = {
    "anthropic.messages": ("chat", read_request),
    "anthropic.count_tokens": ("count_tokens", read_count),
    "openai.responses_count_tokens": ("count_tokens", read_items),
    "openai.completions": ("completions", read_completion),
    "together.completions": ("completions", read_completion),
    "bedrock.converse": ("chat", read_bedrock.read_converse),
    "bedrock.invoke": ("embeddings", read_bedrock.read_invoke),
    "bedrock.count_tokens": ("count_tokens", read_bedrock.read_count),
    "voyage.embeddings": ("embeddings", read_voyage_embeddings),
    "voyage.rerank": ("rerank", read_voyage_rerank),
    "ollama.chat": ("chat", read_ollama_chat),
    "ollama.generate": ("completions", read_ollama_generate),
    "openai.chat": ("chat", chat_request_from_openai),
    "openai.embeddings": ("embeddings", read_embeddings),
    "openai.responses": ("responses", read_responses),
    "openai.responses_compact": ("compactions", read_compaction),
    "azure.embeddings": ("embeddings", read_embeddings),
    "mistral.embeddings": ("embeddings", read_embeddings),
    "cohere.chat_v1": ("chat", None),  # answers of v1 are read, but requests are those of v2
    "cohere.chat": ("chat", read_cohere.read_chat),
    "cohere.embed": ("embeddings", read_cohere.read_embeddings),
    "cohere.rerank": ("rerank", read_cohere.read_rerank),
    **{f"{name}.chat": ("chat", partial(read_chat, provider=name)) for name in COMPATIBLE},
    "gemini.generate": ("chat", read_gemini),
    "gemini.embed": ("embeddings", read_gemini_embeddings),
    "gemini.count_tokens": ("count_tokens", read_gemini_count),
    "vertex.generate": ("chat", read_gemini),
    "vertex.embed": ("embeddings", read_gemini_embeddings),
}
"""By family of recordings: our operation, and the recorded body in our words. `None`: the request is not kept."""


def make(file: Path) -> Case:
    """Make the folder of one recording; one that is there already is written anew."""
    recording = json.loads(file.read_text(encoding="utf-8"))
    family = recording["api_family"]
    if family == "ollama.chat" and "/v1/" in recording["url"]:
        family = "ollama-openai.chat"
    operation, reader = READERS[family]
    folder = GOLDEN / _provider(recording) / operation / _name(file)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    head = {"status": recording["status"], "headers": recording["response_headers"]}
    _write(folder / "status.json", head)
    _write_answer(folder, recording)
    _write(folder / "origin.json", _origin(recording))
    is_known = "$text" not in (recording.get("request_body") or {"$text": "the origin has only the answer"})
    if is_known and reader is not None:
        _write_request(folder, _read(reader, recording), recording)
    case = Case(folder)
    _write(folder / "expected.json", drive(case, [case.body]).result if case.is_stream else read_answer(case))
    return case


_FAMILIES = {"chat", "responses", "messages", "embeddings", "embed", "rerank", "converse", "invoke", "generate"}


def _read(reader: Callable[..., msgspec.Struct], recording: dict[str, Any]) -> msgspec.Struct:
    """Say a recorded body in our words. Gemini's has no model, which stands in the path."""
    if recording["provider"] in {"gemini", "vertex"}:
        return reader(recording["request_body"], model=_model(recording), provider=recording["provider"])
    return reader(recording["request_body"])


def _name(file: Path) -> str:
    kind, _, name = file.stem.partition("-")
    return name if kind in _FAMILIES else file.stem


def _provider(recording: dict[str, Any]) -> str:
    if recording["provider"] != "ollama":
        return recording["provider"]
    url = urlsplit(recording["url"])
    return f"ollama{'-cloud' if url.hostname == 'ollama.com' else ''}{'-openai' if '/v1/' in url.path else ''}"


def _origin(recording: dict[str, Any]) -> dict[str, Any]:
    kept = ("id", "source_path", "source_index", "source_commit", "source_licence", "url", "model", "tags")
    return {**{name: recording[name] for name in kept if name in recording}, "model": _model(recording)}


def _model(recording: dict[str, Any]) -> str:
    """Give the model that was asked for: it may stand in the path, and an answer alone has only its own."""
    place = {"azure": 3, "bedrock": 2}.get(recording["provider"])
    if place is not None:
        return unquote(urlsplit(recording["url"]).path.split("/")[place])
    if recording["provider"] in {"gemini", "vertex"} and recording["model"] == "unknown":
        first = recording.get("sse_text", "").partition("data: ")[2].partition("\n")[0]
        return json.loads(first)["modelVersion"] if first else "gemini"
    asked = recording.get("model") or recording.get("response_body", {}).get("model")
    return asked or json.loads(recording["sse_text"].partition("data: ")[2].partition("\n")[0])["model"]


def _settings(recording: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of the key that was used: Azure's version, or the project and the region of Vertex AI."""
    if recording["provider"] == "vertex":
        steps = urlsplit(recording["url"]).path.split("/")
        return {"settings": {"project": steps[3], "region": steps[5]}}
    (version,) = parse_qs(urlsplit(recording["url"]).query).get("api-version", [None])
    return {} if version is None else {"settings": {"api_version": version}}


def _write_answer(folder: Path, recording: dict[str, Any]) -> None:
    if "response_body" in recording:
        # Compact, as providers send it; recorders write JSON anew anyway.
        text = json.dumps(recording["response_body"], ensure_ascii=False, separators=(",", ":"))
        (folder / "response.json").write_bytes(text.encode())
    elif "sse_text" in recording:
        (folder / "response.sse").write_bytes(recording["sse_text"].encode())
    elif "ndjson_text" in recording:
        (folder / "response.ndjson").write_bytes(recording["ndjson_text"].encode())
    elif "response_b64" in recording:
        (folder / "response.eventstream").write_bytes(b64decode(recording["response_b64"]))
    else:
        (folder / "response.txt").write_bytes(recording["response_text"].encode())


def _write_request(folder: Path, request: msgspec.Struct, recording: dict[str, Any]) -> None:
    recorded = recording["request_body"]
    stream = bool(recorded.get("stream")) or Case(folder).is_stream or recording["url"].endswith("-stream")
    (folder / "request.json").write_bytes(_pretty(json.loads(msgspec.json.encode(request))))
    settings = _settings(recording)
    _write(folder / "http.json", {"stream": stream, **settings})
    built = Case(folder).build()
    sent = json.loads(built.request.body)
    if recording["provider"] in {"gemini", "vertex"}:
        recorded = camel(recorded)
    headers = {name: value for name, value in built.request.headers.items() if name != "content-type"}
    _write(
        folder / "http.json",
        {
            "method": built.request.method,
            "path": built.request.path,
            "stream": stream,
            **settings,
            **({"headers": headers} if headers else {}),
            "body": sent,
            **({"warnings": built.warnings} if built.warnings else {}),
        },
    )
    differs = list(_differences(recorded, sent, ""))
    if differs:
        _write(folder / "origin.json", {**_origin(recording), "differs": differs})


_MAY_BE_EMPTY = {"stream", "system", "inferenceConfig", "generationConfig", "input.converse.system"}


def _differences(recorded: Any, sent: Any, where: str) -> Iterator[str]:
    """Say how what we send is not what was recorded.

    A null, an empty system prompt or configuration, or the default `stream: false`, is as good as nothing.
    """
    if isinstance(recorded, dict) and isinstance(sent, dict):
        for key in {**recorded, **sent}:
            path = f"{where}.{key}".lstrip(".")
            ours, theirs = sent.get(key), recorded.get(key)
            if path in _MAY_BE_EMPTY and not theirs and not ours:
                continue
            yield from _differences(theirs, ours, path)
    elif isinstance(recorded, list) and isinstance(sent, list) and len(recorded) == len(sent):
        for place, (theirs, ours) in enumerate(zip(recorded, sent, strict=True)):
            yield from _differences(theirs, ours, f"{where}[{place}]")
    elif recorded != sent:
        yield f"{where}: recorded {_short(recorded)}, sent {_short(sent)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_bytes(_pretty(value))


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        made = make(Path(argument))
        sys.stdout.write(f"{made.id}: {'; '.join(made.origin.get('differs', ['sends what was recorded']))}\n")
