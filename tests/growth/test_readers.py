"""Everything that reads bytes of a provider, a model or a file takes time in proportion to them.

Each reader is given texts that are made to be bad for it, in two sizes; see `tests.growth.measure`. A function that
takes foreign bytes and has no entry here fails the first test.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
from contextlib import suppress
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import pytest

from bifrost import BifrostError
from bifrost.attempt_record import shown
from bifrost.config import NetworkConfig
from bifrost.misplaced_keys import looks_like_key, without_keys
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta
from bifrost.operations.chat.openai_form import to_messages, to_tools
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.chunk_lifting import ChunkLift
from bifrost.operations.chat.structured.fitting import fitted
from bifrost.operations.chat.structured.json_text import JsonFinder, json_in
from bifrost.operations.chat.structured.output_type import OutputType
from bifrost.operations.completions import CompletionAccumulator
from bifrost.operations.document import without_texts
from bifrost.operations.media import media_type_of
from bifrost.operations.responses.assemble import ResponsesAccumulator
from bifrost.operations.speech import SpeechAccumulator
from bifrost.providers.anthropic import errors as anthropic_errors
from bifrost.providers.anthropic import models as anthropic_models
from bifrost.providers.anthropic.answer import parse_message
from bifrost.providers.anthropic.stream import MessagesDecoder
from bifrost.providers.anthropic.token_count import parse_count as parse_anthropic_count
from bifrost.providers.base import ErrorBody, ReportedError, Target
from bifrost.providers.bedrock import embeddings as bedrock_embeddings
from bifrost.providers.bedrock import errors as bedrock_errors
from bifrost.providers.bedrock import rerank as bedrock_rerank
from bifrost.providers.bedrock import token_count as bedrock_count
from bifrost.providers.bedrock.answer import parse_converse
from bifrost.providers.bedrock.stream import ConverseDecoder
from bifrost.providers.bodies import shown_body
from bifrost.providers.cohere import embeddings as cohere_embeddings
from bifrost.providers.cohere import errors as cohere_errors
from bifrost.providers.cohere import models as cohere_models
from bifrost.providers.cohere.answer import parse_chat as parse_cohere
from bifrost.providers.cohere.rerank import parse_rerank
from bifrost.providers.cohere.stream import ChatDecoder as CohereDecoder
from bifrost.providers.cohere.stream import StreamFramer
from bifrost.providers.compatible import OPENAI
from bifrost.providers.gemini import errors as gemini_errors
from bifrost.providers.gemini import token_count as gemini_count
from bifrost.providers.gemini.answer import parse_response as parse_gemini
from bifrost.providers.gemini.stream import GeminiDecoder
from bifrost.providers.mistral.ocr import parse_ocr
from bifrost.providers.ollama import completions as ollama_completions
from bifrost.providers.ollama import errors as ollama_errors
from bifrost.providers.ollama.answer import ChatDecoder as OllamaDecoder
from bifrost.providers.ollama.answer import parse_chat as parse_ollama_chat
from bifrost.providers.ollama.embeddings import parse_embeddings as parse_ollama_embeddings
from bifrost.providers.ollama.models import parse_models as parse_ollama_models
from bifrost.providers.openai import details
from bifrost.providers.openai import errors as openai_errors
from bifrost.providers.openai.answer import parse_chat
from bifrost.providers.openai.batches import parse_results
from bifrost.providers.openai.completions import CompletionDecoder, parse_completions
from bifrost.providers.openai.embeddings import parse_embeddings
from bifrost.providers.openai.files import parse_files
from bifrost.providers.openai.images import parse_images
from bifrost.providers.openai.logprobs import logprobs_of
from bifrost.providers.openai.models import parse_models
from bifrost.providers.openai.moderations import parse_moderations
from bifrost.providers.openai.responses.answer import parse_responses
from bifrost.providers.openai.responses.stream import ResponsesDecoder
from bifrost.providers.openai.speech import SpeechDecoder, parse_speech
from bifrost.providers.openai.stream import ChatDecoder
from bifrost.providers.openai.token_count import parse_count
from bifrost.providers.openai.transcription import parse_transcription
from bifrost.providers.reranked import parse_reranked
from bifrost.providers.vertex import chat as vertex_chat
from bifrost.providers.vertex import embeddings as vertex_embeddings
from bifrost.providers.vertex import errors as vertex_errors
from bifrost.providers.vertex import token_count as vertex_count
from bifrost.routing.classify import error_of
from bifrost.settings.document import parse
from bifrost.testing.tape import Cleaner, piece_of, read_file
from bifrost.transport.api import Origin
from bifrost.transport.proxies import proxy_of
from bifrost.wire import json
from bifrost.wire.body import BodyReader, ErrorBodyReader, Inflater
from bifrost.wire.framing.aws_event_stream import EventStreamMessage, EventStreamParser
from bifrost.wire.framing.jsonl import JsonLine, JsonLinesParser
from bifrost.wire.framing.raw import RawBytes
from bifrost.wire.framing.sse import SseEvent, SseParser
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.http.response import HttpFormatError, ResponseParser
from bifrost.wire.partial_json import PartialJson, complete
from bifrost.wire.secrets import Secret, redact_bytes
from bifrost.wire.vectors import decode_vector
from bifrost.wire.waits import rate_limit, retry_after
from tests.growth.measure import SLACK, growth_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).parents[2]
KEY = "sk-proj-7fQ3aZ91xZkLm2Xv8Rt0Yw4BcWX4Z"
SECRET = Secret(KEY)
TARGET = Target(provider="openai", model="m")
ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Order(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""


UNITS: dict[str, str] = {
    "words": "a few words ",
    "dots": ".",
    "stars": "*",
    "bullets": "•",
    "key": f"{KEY} ",
    "beginnings of the key": KEY[:7],
    "pieces of the key beside masks": f"..{KEY[9:13]}",
    "percent": "%41",
    "backslashes": "\\",
    "escapes": "\\u0041\\ud800",
    "entities": "&amp;",
    "quotes": '"',
    "braces": "{",
    "objects": "{}",
    "brackets": "[",
    "digits": "1",
    "numbers": "1,",
    "fences": "```json\n{}\n```\n",
    "open fences": "```",
    "thoughts": "<think>x</think>{}",
    "ends of thoughts": "{}</think>",
    "tags": "<a ",
    "titles": "<title",
    "line ends": "\n",
    "returns": "\r",
    "blanks": " ",
    "colons": ":",
    "places": " - at `$",
    "not text": "\x00",
}
"""Texts of which readers see many."""

TEXT_READERS: dict[str, Callable[[str], object]] = {
    "redact": lambda text: redact_bytes(text.encode(), SECRET),
    "shown": lambda text: shown(text, 200),
    "shown whole": lambda text: shown(text, len(text)),
    "shown_body": lambda text: shown_body(text.encode()),
    "looks_like_key": looks_like_key,
    "without_keys": without_keys,
    "complete": complete,
    "json_in": lambda text: json_in(text, words=True, lists=True),
    "json_in, in fences": lambda text: json_in(text, words=False, lists=False),
    "output": lambda text: OUTPUT.decode(text, bare=True),
    "output: unknown name": lambda text: OUTPUT.decode(msgspec.json.encode({text: 1}).decode()),
    "json.decode": lambda text: json.decode(text.encode(), ANY, what="it"),
    "json.decode of a string": lambda text: json.decode(f'"{text}"'.encode(), ANY, what="it"),
    "json.excerpt": lambda text: json.excerpt(text.encode()),
    "vector": lambda text: decode_vector(text, what="it"),
    "errors of OpenAI": lambda text: openai_errors.parse_error(_response(_error(text), status=400)),
    "errors of Anthropic": lambda text: anthropic_errors.parse_error(_response(_error(text), status=400)),
    "errors of Cohere": lambda text: cohere_errors.parse_error(_response(_message_alone(text), status=400)),
    "error of Cohere in any form": lambda text: cohere_errors.parse_error(_response(text.encode(), status=400)),
    "errors of Bedrock": lambda text: bedrock_errors.parse_error(
        _response(msgspec.json.encode({"message": text, "__type": text}), status=400)
    ),
    "error of Bedrock in a 200": lambda text: bedrock_errors.reported_error(
        msgspec.json.encode({"message": text, "__type": text})
    ),
    "error in any form": lambda text: openai_errors.parse_error(_response(text.encode(), status=400)),
    "error in a 200": lambda text: openai_errors.reported_error(_error(text)),
    "error in an event": lambda text: anthropic_errors.reported_error(_error(text)),
    "error_of": lambda text: error_of(
        400, ErrorBody(message=text), headers=_fields(text), provider="p", model="m", key=None, now_wall=0.0
    ),
    "retry_after": lambda text: retry_after(_fields(text), text.encode(), now=0.0),
    "rate_limit": lambda text: rate_limit(_fields(text), now=0.0),
    "toml": lambda text: parse(text.encode(), ".toml"),
    "toml key": lambda text: parse(f'"{text}" = 1\n{text} = 2'.encode(), ".toml"),
    "json file": lambda text: parse(text.encode(), ".json"),
    "cassette": lambda text: read_file(text.encode(), place="it"),
    "cleaner": lambda text: _cleaner().data(text.encode()),
    "cleaner of pieces": lambda text: _cleaner().pieces(
        [text[at : at + 16].encode() for at in range(0, len(text), 16)]
    ),
    "cleaner looking": lambda text: _cleaner().is_seen_in(text.encode()),
    "cleaner of addresses": lambda text: _cleaner().url(f"https://a.example/?key={text}"),
    "piece_of": lambda text: piece_of(text.encode()),
    "chat": lambda text: parse_chat(_response(_chat(text)), TARGET),
    "response": lambda text: parse_responses(_response(_responses(text)), TARGET),
    "response of many items": lambda text: parse_responses(
        _response(msgspec.json.encode({"output": _items(text)})), TARGET
    ),
    "failed response": lambda text: parse_responses(_response(_failed_response(text)), TARGET),
    "stream of a response": lambda text: _responded(text, "response.output_text.delta", delta="a b"),
    "stream of a response: notes": lambda text: _responded(
        text, "response.output_text.annotation.added", annotation={"url": "a"}
    ),
    "stream of a response: parts": lambda text: _responded(
        text, "response.content_part.done", part={"type": "output_text", "text": "a"}, content_index=1
    ),
    "stream of a response: items": lambda text: _accumulated(_additions(text)),
    "chat of Anthropic": lambda text: parse_message(_response(_message(text)), TARGET),
    "chat of Bedrock": lambda text: parse_converse(_response(_converse({"text": text})), TARGET),
    "chat of Bedrock with other blocks": lambda text: parse_converse(
        _response(_converse(*[{"toolResult": {"content": []}}] * (len(text) // 64))), TARGET
    ),
    "rerank of Bedrock": lambda text: bedrock_rerank.parse_rerank(
        _response(_many("results", {"index": 0, "relevance_score": 0.5}, text)), TARGET
    ),
    "embeddings of Bedrock": lambda text: bedrock_embeddings.parse_embeddings(
        _response(_many("embeddings", {"embedding": [0.5]}, text)), TARGET
    ),
    "tokens of Bedrock": lambda text: bedrock_count.parse_count(
        _response(msgspec.json.encode({"inputTokens": 1, "a": text})), TARGET
    ),
    "other fields of Bedrock": lambda text: parse_converse(
        _response(_converse({"text": "a"}, trace={"a": text}, additionalModelResponseFields=text)), TARGET
    ),
    "stream of Bedrock": lambda text: _streamed(
        [{"contentBlockIndex": 0, "delta": {"text": text[at : at + 8]}} for at in range(0, len(text), 8)],
        ConverseDecoder,
        _of_bedrock,
    ),
    "stream of Bedrock in a tool's result": lambda text: _streamed(
        [
            {"contentBlockIndex": 0, "start": {"toolResult": {"toolUseId": "a"}}},
            *[{"contentBlockIndex": 0, "delta": {"toolResult": [{"text": "a"}]}}] * (len(text) // 64),
        ],
        ConverseDecoder,
        _of_bedrock,
    ),
    "sse": lambda text: _fed(SseParser().feed, text.encode(), 64),
    "json lines": lambda text: _fed(JsonLinesParser().feed, text.encode(), 64),
    "json lines whole": lambda text: JsonLinesParser().feed(text.encode()),
    "raw bytes": lambda text: _fed(RawBytes().feed, text.encode(), 64),
    "event stream": lambda text: _fed(EventStreamParser().feed, _framed(text.encode()), 64),
    "event stream of empty messages": lambda text: EventStreamParser().feed(_framed(b"") * (len(text) // 16)),
    "event stream of headers": lambda text: EventStreamParser().feed(
        _framed(b"", b"\x01a\x00" * min(len(text) // 3, 40_000))
    ),
    "sse whole": lambda text: SseParser().feed(text.encode()),
    "sse lines": lambda text: SseParser().feed(b"data: " + text.replace("a", "\ndata: ").encode() + b"\n\n"),
    "http head": lambda text: ResponseParser().feed(text.encode()),
    "http field": lambda text: _fed(
        ResponseParser().feed, b"HTTP/1.1 200 OK\r\nx-a: " + text.encode("latin-1", "replace"), 64
    ),
    "http chunks": lambda text: _fed(
        ResponseParser().feed, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + text.encode(), 64
    ),
    "body": lambda text: _read(BodyReader(None), text.encode()),
    "packed body": lambda text: _read(BodyReader("gzip"), gzip.compress(text.encode())),
    "error body": lambda text: _fed(ErrorBodyReader("gzip").feed, text.encode(), 64),
    "inflater": lambda text: list(Inflater("deflate", limit=2**30).feed(text.encode())),
    "partial json": lambda text: _partial(text, 4),
    "partial json string": lambda text: _partial(f'"{text}', 4),
    "partial json list": lambda text: _partial("[" + '"a", ' * (len(text) // 5), 4),
    "partial json digits": lambda text: _partial("[" + "1" * len(text), 1),
    "lifted answer": lambda text: fitted(_answered(text), OUTPUT, "prompt"),
    "lifted answer: JSON": lambda text: fitted(_answered(f"[{text}"), OUTPUT, "prompt"),
    "lifted stream": lambda text: _lifted(text, 16),
    "prompt in OpenAI's form": lambda text: to_messages(_prompt(text)),
    "prompt of many parts": lambda text: to_messages([{"role": "user", "content": _text_parts(text)}]),
    "prompt of many messages": lambda text: to_messages([{"role": "user", "content": text[:64]}] * (len(text) // 64)),
    "tools in OpenAI's form": lambda text: to_tools([_tool(text)] * (len(text) // 256)),
    "proxy of the environment": lambda text: _proxied(https_proxy=text),
    "proxy with a password": lambda text: _proxied(https_proxy=f"http://{text}:{text}@proxy.example:8080"),
    "places without a proxy": lambda text: _proxied(https_proxy="http://a.example:1", no_proxy=text),
    "list of places without a proxy": lambda text: _proxied(
        https_proxy="http://a.example:1", no_proxy=",".join(text[at : at + 16] for at in range(0, len(text), 16))
    ),
    "logprobs": lambda text: logprobs_of(_logprobs(text, -0.5)),
    "logprobs without numbers": lambda text: logprobs_of(_logprobs(text, None)),
    "logprobs of another kind": lambda text: logprobs_of(_logprobs(text, {})),
    "document without its text": lambda text: without_texts(_chat(text * 16), [text * 16]),
    "document of other texts": lambda text: without_texts(_chat(text * 16), [text[at:] * 16 for at in range(8)]),
    "redact in slices": lambda text: list(SECRET.pieces().slices(text.encode())),
    "json finder": lambda text: _fed(JsonFinder(words=True, lists=True).feed, text, 4),
    "models": lambda text: parse_models(_response(_many("data", {"id": "a"}, text)), TARGET),
    "models of Anthropic": lambda text: anthropic_models.parse_models(
        _response(_many("data", {"id": "a"}, text)), TARGET
    ),
    "embeddings": lambda text: parse_embeddings(
        _response(_many("data", {"index": 0, "embedding": [0.5]}, text)), TARGET
    ),
    "embeddings of Cohere": lambda text: cohere_embeddings.parse_embeddings(
        _response(msgspec.json.encode({"embeddings": {"float": [[0.5]] * (len(text) // 64)}, "texts": [text]})), TARGET
    ),
    "models of Cohere": lambda text: cohere_models.parse_models(
        _response(_many("models", {"name": "a"}, text)), TARGET
    ),
    "moderations": lambda text: parse_moderations(
        _response(_many("results", {"flagged": True, "categories": {"hate": True}}, text)), TARGET
    ),
    "chat of Cohere": lambda text: parse_cohere(_response(_cohere(text)), TARGET),
    "chat of Cohere's v1": lambda text: parse_cohere(_response(_cohere_v1(text)), TARGET),
    "stream of Cohere": lambda text: _streamed(
        [b'{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}'] * (len(text) // 32),
        CohereDecoder,
    ),
    "stream of Cohere's v1": lambda text: _streamed(
        [b'{"event_type":"text-generation","text":"a"}'] * (len(text) // 32), CohereDecoder
    ),
    "events or lines": lambda text: _fed(StreamFramer().feed, text.encode(), 64),
    "results of a batch": lambda text: parse_results(
        _response(b'{"custom_id":"a","response":{"body":{}}}\n' * (len(text) // 64)),
        TARGET,
        chat=OPENAI.codecs["chat"],
    ),
    "files": lambda text: parse_files(_response(_many("data", {"id": "a"}, text)), TARGET),
    "ocr": lambda text: parse_ocr(_response(_many("pages", {"index": 0, "markdown": "a"}, text)), TARGET),
    "images": lambda text: parse_images(
        _response(msgspec.json.encode({"data": [{"b64_json": "AAAA" * (len(text) // 4)}]})), TARGET
    ),
    "transcription": lambda text: parse_transcription(_response(_many("segments", {"text": "a"}, text)), TARGET),
    "media type": lambda text: media_type_of(text.encode()),
    "speech": lambda text: parse_speech(_response(b"ID3" + text.encode()), TARGET),
    "stream of speech": lambda text: _sounds(RawBytes(), SpeechDecoder(TARGET), text.encode()),
    "rerank": lambda text: parse_rerank(
        _response(_many("results", {"index": 0, "relevance_score": 0.5}, text)), TARGET
    ),
    "completions": lambda text: parse_completions(_response(_many("choices", {"text": "a"}, text)), TARGET),
    "log probabilities of completions": lambda text: parse_completions(
        _response(_completion(text, {"tokens": [*text], "token_logprobs": [0.5] * len(text)})), TARGET
    ),
    "stream of completions": lambda text: _streamed(
        [_completion(text[at : at + 8], None) for at in range(0, len(text), 8)],
        CompletionDecoder,
        accumulator=CompletionAccumulator,
    ),
    "chat of Ollama": lambda text: parse_ollama_chat(_response(_ollama(text)), TARGET),
    "completions of Ollama": lambda text: ollama_completions.parse_completions(_response(_ollama(text)), TARGET),
    "stream of Ollama": lambda text: _lines(
        [_ollama(text[at : at + 8]) for at in range(0, len(text), 8)], OllamaDecoder(TARGET), ChatAccumulator()
    ),
    "stream of Ollama's completions": lambda text: _lines(
        [_ollama(text[at : at + 8]) for at in range(0, len(text), 8)],
        ollama_completions.CompletionDecoder(TARGET),
        CompletionAccumulator(),
    ),
    "embeddings of Ollama": lambda text: parse_ollama_embeddings(_response(_many("embeddings", [0.5], text)), TARGET),
    "models of Ollama": lambda text: parse_ollama_models(_response(_many("models", {"name": "a"}, text)), TARGET),
    "errors of Ollama": lambda text: ollama_errors.parse_error(_response(msgspec.json.encode({"error": text}))),
    "rerank of Voyage and Jina": lambda text: parse_reranked(
        _response(_many("data", {"index": 0, "relevance_score": 0.5}, text)), TARGET
    ),
    "token count": lambda text: parse_count(_response(_many("data", {"a": 1}, text)), TARGET),
    "token count of Anthropic": lambda text: parse_anthropic_count(_response(_many("data", {"a": 1}, text)), TARGET),
    "details": lambda text: details.kept_details(msgspec.Raw(msgspec.json.encode([{"text": "a"}] * (len(text) // 16)))),
    "stream": lambda text: _streamed([_event({"content": text[at : at + 8]}) for at in range(0, len(text), 8)]),
    "stream of calls": lambda text: _streamed([_calls(number) for number in range(len(text) // 64)]),
    "one event of calls": lambda text: _streamed(
        [_event({"tool_calls": [_call(each) for each in range(len(text) // 64)]})]
    ),
    "stream of Gemini": lambda text: _streamed(
        [b'{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0}],"usageMetadata":{"promptTokenCount":1}}']
        * (len(text) // 32),
        GeminiDecoder,
    ),
    "stream of Gemini's signed texts": lambda text: _streamed(
        [_gemini([{"text": text[at : at + 16], "thoughtSignature": "s"}]) for at in range(0, len(text), 16)],
        GeminiDecoder,
    ),
    "a call of Gemini in pieces": lambda text: _streamed(
        [
            _gemini([{"functionCall": {"name": "f", "willContinue": True}}]),
            *(
                _gemini([{"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": text[at : at + 16]}]}}])
                for at in range(0, len(text), 16)
            ),
        ],
        GeminiDecoder,
    ),
    "stream of Gemini's sources": lambda text: _streamed(
        [_sources(text[at : at + 16]) for at in range(0, len(text), 16)], GeminiDecoder
    ),
    "answer of Gemini": lambda text: parse_gemini(_response(_gemini([{"text": text}, {text[:64]: text}])), TARGET),
    "sources of Gemini": lambda text: parse_gemini(_response(_sources(text)), TARGET),
    "tokens of Gemini": lambda text: gemini_count.parse_count(
        _response(
            msgspec.json.encode({"totalTokens": 1, "promptTokensDetails": [{"modality": "a"}] * (len(text) // 64)})
        ),
        TARGET,
    ),
    "tokens of Vertex AI": lambda text: vertex_count.parse_count(
        _response(msgspec.json.encode({"totalTokens": 1, "a": text})), TARGET
    ),
    "errors of Vertex AI": lambda text: vertex_errors.parse_error(
        _response(msgspec.json.encode({"type": "error", "error": {"message": text}}), status=400)
    ),
    "embeddings of Vertex AI": lambda text: vertex_embeddings.parse_embeddings(
        _response(_many("predictions", {"embeddings": {"values": [0.5]}}, text)), TARGET
    ),
    "chat of Vertex AI": lambda text: vertex_chat.parse_chat(_response(_gemini([{"text": text}])), TARGET),
    "errors of Gemini": lambda text: gemini_errors.parse_error(
        _response(msgspec.json.encode({"error": {"message": text, "details": [{"reason": text}]}}), status=400)
    ),
    "stream of Anthropic": lambda text: _streamed(
        [b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'] * (len(text) // 32),
        MessagesDecoder,
    ),
}

COVERED: dict[str, str] = {
    "bifrost.client Files.upload": "the bytes are the caller's, and are sent unread",
    "bifrost.sync SyncFiles.upload": "the same",
    "bifrost.transport.heads response_head_of": "counts the fields",
    "bifrost.transport.httpx_adapter is_ambiguous": "looks two fields up",
    "bifrost.transport.asyncio_wire AsyncioWire.data_received": "appends to a list",
    "bifrost.engine.attempt Attempt.failure": "error_of",
    "bifrost.engine.attempt Attempt.redact": "redact",
    "bifrost.wire.framing.base Framer.feed": "a protocol",
    "bifrost.wire.http.tls TlsPump.feed": "OpenSSL's, fed piece by piece",
    "bifrost.testing.cassette Cassette.fields": "cleaner",
    "bifrost.testing.faults FaultPlan.from_json": "a test's own plan",
    **{
        f"bifrost.testing.{name}": "a test's own script"
        for name in ("play split_events", "play first_bytes", "play slices", "play document", "script Script.raw")
    },
    **{
        f"bifrost.{name}": "writes what is ours"
        for name in (
            *("transport.anyio_wire AnyioWire.write", "transport.asyncio_wire AsyncioWire.write"),
            *("transport.heads fields_of",),
            *("wire.auth.sigv4 string_to_sign", "wire.secrets keyed_hash"),
            *("transport.network Network.write", "transport.wires Wire.write"),
            *("transport.wires TlsWire.write", "wire.http.tls TlsPump.write", "wire.http.request request_head"),
        )
    },
    **{
        f"bifrost.{name}": "part of a reader above"
        for name in (
            "transport.frames FrameCutter.feed",
            "transport.http2_link Http2Link.start",
            "providers.anthropic.answer parse_message",
            "providers.anthropic.answer is_whole",
            "providers.anthropic.answer parse_block",
            "providers.anthropic.answer arguments_of",
            "providers.anthropic.errors parse_error",
            "providers.anthropic.errors reported_error",
            "providers.anthropic.models parse_models",
            "providers.anthropic.stream MessagesDecoder.feed",
            "providers.anthropic.token_count parse_count",
            "providers.bedrock.answer parse_converse",
            "providers.bedrock.answer stop_sequence_of",
            "providers.bedrock.answer routed_model",
            "providers.bedrock.embeddings parse_embeddings",
            "providers.bedrock.errors parse_error",
            "providers.bedrock.invoke invoked_usage",
            "providers.bedrock.rerank parse_rerank",
            "providers.bedrock.token_count parse_count",
            "providers.bedrock.errors reported_error",
            "providers.gemini.answer arguments_of",
            "providers.gemini.answer decode_part",
            "providers.gemini.answer logprobs_of",
            "providers.gemini.answer media_of",
            "providers.gemini.answer opaque_of",
            "providers.gemini.answer is_bare",
            "providers.gemini.answer parse_response",
            "providers.gemini.answer part_of",
            "providers.gemini.answer read_response",
            "providers.gemini.citations citations_of",
            "providers.gemini.embeddings parse_embeddings",
            "providers.gemini.embeddings shapeless",
            "providers.gemini.embeddings vector_of",
            "providers.gemini.errors parse_error",
            "providers.gemini.errors reported_error",
            "providers.gemini.models parse_models",
            "providers.gemini.partial_arguments PartialArguments.add",
            "providers.gemini.stream GeminiDecoder.feed",
            "providers.gemini.token_count parse_count",
            "providers.gemini.usage read_usage",
            "providers.vertex.chat parse_chat",
            "providers.vertex.embeddings parse_embeddings",
            "providers.vertex.errors parse_error",
            "providers.vertex.token_count parse_count",
            "providers.bodies shown_body",
            "providers.cohere.answer parse_chat",
            "providers.cohere.stream StreamFramer.feed",
            "providers.cohere.v1 is_v1",
            "providers.cohere.v1 parse_v1",
            "providers.cohere.errors parse_error",
            "providers.cohere.errors reported_error",
            "providers.cohere.rerank parse_rerank",
            "providers.cohere.wire decode",
            "providers.cohere.wire shapeless",
            "providers.events is_event_stream",
            "providers.events events_of",
            "providers.events lone_event",
            "providers.events parse_events",
            "providers.mistral.ocr parse_ocr",
            "providers.openai.answer parse_chat",
            "providers.openai.answer is_whole",
            "providers.openai.answer decode_answer",
            "providers.openai.answer fitted_of",
            "providers.openai.answer usage_of",
            "providers.openai.answer inner_usage_of",
            "providers.openai.logprobs logprobs_of",
            "providers.openai.answer citations_of",
            "providers.openai.answer sources_of",
            "providers.openai.details Details.add",
            "providers.openai.details kept_details",
            "providers.openai.details details_text",
            "providers.openai.embeddings parse_embeddings",
            "providers.openai.embeddings vector_of",
            "providers.cohere.embeddings parse_embeddings",
            "providers.cohere.models parse_models",
            "providers.openai.errors parse_error",
            "providers.openai.errors reported_error",
            "providers.openai.fit decode_fitting",
            "providers.openai.fit fit",
            "providers.openai.models parse_models",
            "providers.openai.moderations parse_moderations",
            "providers.ollama.answer decode_whole",
            "providers.ollama.answer decode_line",
            "providers.ollama.answer parse_chat",
            "providers.ollama.completions parse_completions",
            "providers.ollama.embeddings parse_embeddings",
            "providers.ollama.models parse_models",
            "providers.ollama.errors parse_error",
            "providers.ollama.errors reported_error",
            "providers.reranked parse_reranked",
            "providers.openai.images parse_images",
            "operations.media media_type_of",
            "providers.openai.transcription parse_transcription",
            "operations.speech SpeechAccumulator.add",
            "providers.openai.speech parse_speech",
            "providers.openai.completions parse_completions",
            "providers.openai.completions CompletionDecoder.feed",
            "providers.openai.token_count parse_count",
            "providers.openai.stream ChatDecoder.feed",
            "providers.openai.batches parse_batches",
            "providers.openai.batches parse_results",
            "providers.openai.batches result_of",
            "providers.openai.files parse_files",
            "providers.openai.files object_of",
            "providers.openai.files parse_content",
            "providers.openai.responses.answer parse_responses",
            "providers.openai.responses.answer stored_response",
            "providers.openai.responses.answer is_whole",
            "providers.openai.responses.answer form_of",
            "providers.openai.responses.stored parse_answer",
            "providers.openai.responses.stream ResponsesDecoder.feed",
            "routing.classify error_of",
            "settings.document parse",
            "testing.tape read_file",
            "testing.tape Cleaner.data",
            "testing.tape Cleaner.pieces",
            "testing.tape Cleaner.is_seen_in",
            "testing.tape piece_of",
            "wire.secrets redact_bytes",
            "wire.body Inflater.feed",
            "wire.body BodyReader.feed",
            "wire.body ErrorBodyReader.feed",
            "wire.http.response ResponseParser.feed",
            "wire.json decode",
            "wire.json check_density",
            "wire.json excerpt",
            "wire.json mended",
            "operations.chat.response raw_of",
            "operations.responses.response raw_of",
            "operations.document without_texts",
            "wire.redaction Pieces.redact",
            "wire.redaction Pieces.slices",
            "wire.redaction Pieces.spans",
            "wire.redaction Pieces.shows_piece",
            "wire.redaction without",
            "wire.ngrams NgramIndex.is_free",
            "wire.ngrams NgramIndex.spans",
            "wire.escapes approximations",
            "wire.escapes has_escapes",
            "wire.escapes layers",
            "wire.escapes unescape",
            "wire.framing.sse SseParser.feed",
            "wire.framing.jsonl JsonLinesParser.feed",
            "wire.framing.raw RawBytes.feed",
            "wire.framing.aws_event_stream EventStreamParser.feed",
            "wire.waits retry_after",
            "wire.waits rate_limit",
        )
    },
}
"""Functions that take foreign bytes: what stands for them, or why nothing has to."""


def _foreign() -> Iterator[str]:
    takes = re.compile(r"\b(bytes|bytearray|Headers|HttpResponse|SseEvent|Raw)\b")
    for path in sorted((_ROOT / "bifrost").rglob("*.py")):
        module = ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name, function in _functions(ast.parse(path.read_text(encoding="utf-8")).body):
            given = [
                each.annotation
                for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
                if each.annotation
            ]
            if not any(part.startswith("_") for part in name.split(".")) and any(
                takes.search(ast.unparse(each)) for each in given
            ):
                yield f"{module} {name}"


def _functions(body: list[ast.stmt], before: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield before + node.name, node
            case ast.ClassDef():
                yield from _functions(node.body, f"{before}{node.name}.")
            case _:
                pass


def test_every_reader_of_foreign_bytes_has_an_entry() -> None:
    assert sorted(_foreign()) == sorted(COVERED), (
        "a reader came or went: give it a case in TEXT_READERS, and say so here"
    )


@pytest.mark.wide
@pytest.mark.parametrize("part", range(4))  # of the texts, so that none takes a minute on a busy machine
@pytest.mark.parametrize("reader", TEXT_READERS)
def test_a_reader_takes_time_in_proportion_to_its_text(reader: str, part: int) -> None:
    read = TEXT_READERS[reader]
    for name, unit in list(UNITS.items())[part::4]:

        def make(n: int, unit: str = unit) -> Callable[[], object]:
            text = (unit * (n // len(unit) + 1))[:n]

            def run() -> None:
                with suppress(BifrostError, ReportedError, HttpFormatError, ValueError, AssertionError):
                    read(text)

            return run

        assert growth_of(make) <= SLACK, f"{reader} of {name}"


OUTPUT = OutputType(Order)
PLACE = Origin(scheme="https", host="api.example", port=443)


def _gemini(parts: list[Any], **more: Any) -> bytes:
    return msgspec.json.encode({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP", **more}]})


def _sources(text: str) -> bytes:
    supports = [
        {"segment": {"startIndex": at, "endIndex": at + 9}, "groundingChunkIndices": [0]}
        for at in range(0, len(text), 16)
    ]
    grounding = {"groundingChunks": [{"web": {"uri": text[:64]}}], "groundingSupports": supports}
    return _gemini([{"text": text}], groundingMetadata=grounding)


def _answered(text: str) -> ChatResponse:
    return ChatResponse.of(text)


def _lifted(text: str, size: int) -> None:
    lift = ChunkLift(OUTPUT, "prompt")
    for at in range(0, len(text), size):
        lift(Chunk(choices=[ChunkChoice(delta=Delta(content=text[at : at + size]))]))


def _prompt(text: str) -> list[Any]:
    return [
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:{text};base64,{text}"}}]},
        {"role": "assistant", "tool_calls": [_call(0, text)], "content": text},
        {"role": "tool", "tool_call_id": "call_0", "content": text},
    ]


def _text_parts(text: str) -> list[Any]:
    return [{"type": "text", "text": text[at : at + 16]} for at in range(0, len(text), 16)]


def _tool(text: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": text[:256], "parameters": {"type": "object"}}}


def _proxied(**variables: str) -> object:
    before = {name: os.environ.get(name) for name in variables}
    try:
        os.environ.update({name: value.replace("\x00", "") for name, value in variables.items()})
        return proxy_of(NetworkConfig(), PLACE)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _logprobs(text: str, number: object) -> msgspec.Raw:
    tokens = [{"token": text[at : at + 16], "logprob": number} for at in range(0, len(text), 16)]
    return msgspec.Raw(msgspec.json.encode({"content": tokens}))


def _framed(data: bytes, headers: bytes = b"") -> bytes:
    """Return a message of an AWS event stream."""
    prelude = pack(">II", 16 + len(headers) + len(data), len(headers))
    whole = prelude + pack(">I", crc32(prelude)) + headers + data
    return whole + pack(">I", crc32(whole))


def _cleaner() -> Cleaner:
    cleaner = Cleaner()
    cleaner.learn(KEY)
    return cleaner


def _response(body: bytes, *, status: int = 200) -> HttpResponse:
    return HttpResponse(status=status, headers=Headers(), body=body)


def _fields(text: str) -> Headers:
    value = text.replace("\n", " ").encode("latin-1", "replace")
    names = (b"retry-after", b"retry-after-ms", b"date", b"x-ratelimit-reset-requests", b"x-ratelimit-limit")
    return Headers([(name, value) for name in names])


def _error(text: str) -> bytes:
    return msgspec.json.encode({"type": "error", "error": {"message": text, "type": text, "code": text}})


def _cohere(text: str) -> bytes:
    citation = {"start": 0, "end": 1, "text": "a", "sources": [{"id": "doc:0", "document": {"title": "t"}}]}
    blocks = [{"type": "text", "text": text}]
    message = {"content": blocks, "tool_plan": text, "citations": [citation] * (len(text) // 512)}
    return msgspec.json.encode({"id": "1", "message": message, "finish_reason": "COMPLETE"})


def _cohere_v1(text: str) -> bytes:
    return msgspec.json.encode({"generation_id": "1", "text": text, "finish_reason": "COMPLETE"})


def _message_alone(text: str) -> bytes:
    return msgspec.json.encode({"id": text, "message": text})


def _chat(text: str) -> bytes:
    message = {"role": "assistant", "content": text, "tool_calls": [_call(0, text)]}
    return msgspec.json.encode({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def _message(text: str) -> bytes:
    content = [{"type": "text", "text": text}, {"type": "tool_use", "id": "1", "name": "f", "input": {text: 1}}]
    return msgspec.json.encode(
        {"id": "1", "type": "message", "role": "assistant", "content": content, "stop_reason": "x"}
    )


def _responses(text: str) -> bytes:
    content = [{"type": "output_text", "text": text, "annotations": [{"url": text}]}]
    items = [{"type": "message", "role": "assistant", "content": content}, {"type": text, text: text}]
    return msgspec.json.encode(
        {"id": text, "output": items, "usage": {text: 1}, "incomplete_details": {"reason": text}}
    )


def _failed_response(text: str) -> bytes:
    return msgspec.json.encode({"status": "failed", "error": {"code": text, "message": text}})


def _items(text: str) -> list[dict[str, Any]]:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    return [call] * min(len(text) // 64, 8000)


def _responded(text: str, kind: str, **members: Any) -> object:
    event = msgspec.json.encode({"type": kind, "output_index": 0, "content_index": 0, "item_id": "m", **members})
    return _accumulated([event] * (len(text) // 16))


def _additions(text: str) -> list[bytes]:
    return [msgspec.json.encode({"type": "response.output_item.added", "item": item}) for item in _items(text)]


def _accumulated(events: list[bytes]) -> object:
    reader, grown = ResponsesDecoder(TARGET), ResponsesAccumulator()
    for event in events:
        for chunk in reader.feed(SseEvent(None, event)):
            grown.add(chunk)
    return grown.response()


def _ollama(text: str) -> bytes:
    return msgspec.json.encode({"message": {"content": text}, "response": text, "done": False})


def _lines(lines: list[bytes], decoder: Any, grown: Any) -> object:
    for line in lines:
        for chunk in decoder.feed(JsonLine(line)):
            grown.add(chunk)
    return grown.response()


def _completion(text: str, logprobs: object) -> bytes:
    return msgspec.json.encode({"choices": [{"text": text, "index": 0, "logprobs": logprobs}]})


def _many(field: str, item: object, text: str) -> bytes:
    return msgspec.json.encode({field: [item] * (len(text) // 64), "model": text})


def _call(number: int, arguments: str = "{}") -> dict[str, Any]:
    return {"index": number, "id": f"call_{number}", "function": {"name": "f", "arguments": arguments}}


def _calls(number: int) -> bytes:
    return _event({"tool_calls": [_call(number)]})


def _event(delta: object) -> bytes:
    return msgspec.json.encode({"id": "1", "choices": [{"index": 0, "delta": delta}]})


def _converse(*blocks: object, **fields: object) -> bytes:
    message = {"role": "assistant", "content": blocks}
    return msgspec.json.encode({"output": {"message": message}, "stopReason": "end_turn", **fields})


def _of_bedrock(event: Any) -> EventStreamMessage:
    kind = "contentBlockDelta" if "delta" in event else "contentBlockStart"
    return EventStreamMessage({":event-type": kind}, msgspec.json.encode(event))


def _of_sse(event: bytes) -> SseEvent:
    return SseEvent(None, event)


def _streamed(
    events: list[Any],
    decoder: Any = ChatDecoder,
    framed: Callable[[Any], object] = _of_sse,
    accumulator: Any = ChatAccumulator,
) -> object:
    reader, grown = decoder(TARGET), accumulator()
    for event in events:
        for chunk in reader.feed(framed(event)):
            grown.add(chunk)
    return grown.response()


def _fed(feed: Callable[[Any], object], data: Any, size: int) -> None:
    for at in range(0, len(data), size):
        feed(data[at : at + size])


def _sounds(framer: RawBytes, decoder: SpeechDecoder, data: bytes) -> None:
    speech = SpeechAccumulator()
    for at in range(0, len(data), 64):
        for piece in framer.feed(data[at : at + 64]):
            for sound in decoder.feed(piece):
                speech.add(sound)
    speech.response()


def _read(reader: BodyReader, data: bytes) -> bytes:
    _fed(reader.feed, data, 1024)
    return reader.finish()


def _partial(text: str, size: int) -> None:
    reader = PartialJson()
    for at in range(0, len(text), size):
        if reader.feed(text[at : at + size]):
            _ = reader.value


DOCUMENTS: dict[str, Callable[[str], bytes]] = {
    "chat": _chat,
    "chat of Anthropic": _message,
    "json.decode of a string": lambda text: f'"{text}"'.encode(),
    "logprobs": lambda text: bytes(_logprobs(text, -0.5)),
    "logprobs without numbers": lambda text: bytes(_logprobs(text, None)),
    "logprobs of another kind": lambda text: bytes(_logprobs(text, {})),
    "models": lambda text: _many("data", {"id": "a"}, text),
    "models of Anthropic": lambda text: _many("data", {"id": "a"}, text),
    "embeddings": lambda text: _many("data", {"index": 0, "embedding": [0.5]}, text),
    "moderations": lambda text: _many("results", {"flagged": True, "categories": {"hate": True}}, text),
    "response": _responses,
    "response of many items": lambda text: msgspec.json.encode({"output": _items(text)}),
    "failed response": _failed_response,
    "rerank of Bedrock": lambda text: _many("results", {"index": 0, "relevance_score": 0.5}, text),
    "embeddings of Bedrock": lambda text: _many("embeddings", {"embedding": [0.5]}, text),
    "completions": lambda text: _many("choices", {"text": "a"}, text),
    "log probabilities of completions": lambda text: _completion(
        text, {"tokens": [*text], "token_logprobs": [0.5] * len(text)}
    ),
    "document without its text": lambda text: _chat(text * 16),
    "document of other texts": lambda text: _chat(text * 16),
}
"""The documents that some readers write around a text. They may be many times as large, so they are what counts."""
