"""What is sent for a meaning: by us, taken at the transport, and by the vendors' SDKs, taken from theirs."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

import anthropic
import httpx2
import msgspec
import openai

from bifrost.errors import BifrostError
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelsRequest
from bifrost.providers.anthropic import DEFAULT_MAX_TOKENS
from bifrost.testing import MockTransport
from tests.differential.meanings import DIALECTS, HELLO, MODEL, Meaning, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bifrost.client import Bifrost
    from bifrost.operations.chat.response import ChatResponse
    from bifrost.operations.embeddings import EmbeddingResponse
    from bifrost.operations.models import ModelsResponse
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Dialect
    from bifrost.transport import Origin
    from bifrost.wire.http import HttpRequest

KEY = "sk-test-{}-key"
"""What the test kit's key of a provider is."""


@dataclass(frozen=True)
class Sent:
    """A request as it goes out, headers by lower-case name with the credential in the open."""

    method: str
    url: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Seam(MockTransport):
    """A mock that keeps each request whole; it answers anything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self.reply("ok").always()
        self.on(endpoint="embeddings").function(_vectors).always()
        self.on(endpoint="models").models(["some-model"]).always()

    def record(self, request: HttpRequest, *, origin: Origin) -> tuple[MockCall, Dialect]:
        # A credential shows as `***`; its `encode` gives what goes out.
        headers = {name.lower(): value.encode().decode() for name, value in request.headers.items()}
        address = f"{origin.scheme}://{origin.host}{request.path}"
        self.sent.append(_sent(request.method, address, headers, request.body))
        return super().record(request, origin=origin)


def _vectors(request: EmbeddingRequest) -> dict[str, Any]:
    """Give a vector for each text."""
    return {"data": [{"embedding": [1.0], "index": place} for place in range(len(request.input))]}


@dataclass(frozen=True)
class Ours:
    """What came of putting a meaning to a provider: what was sent and noted, or why nothing was."""

    sent: Sent | None = None
    warnings: Sequence[str] = ()
    error: BifrostError | None = None

    @property
    def request(self) -> Sent:
        assert self.error is None
        assert self.sent is not None
        return self.sent


class Caller:
    """Puts meanings to providers through one client."""

    def __init__(self, client: Bifrost, seam: Seam) -> None:
        self._client = client
        self._seam = seam

    async def ask(self, meaning: Meaning, dialect: str) -> Ours:
        """Put a meaning in our words."""
        options = given(meaning.request)
        match meaning.request:
            case ChatRequest(messages=messages):
                return await self._chat(meaning, f"{dialect}/{MODEL}", messages=messages, **options)
            case EmbeddingRequest():
                return await self._run(self._client.embed(f"{dialect}/{MODEL}", **options))
            case ModelsRequest():
                return await self._run(self._client.list_models(dialect, **options))

    async def ask_by_keywords(self, meaning: Meaning, keywords: Mapping[str, Any]) -> Ours:
        """Put a chat in the words of OpenAI's SDK, `stream` apart, which is a verb here."""
        told = {name: value for name, value in keywords.items() if name != "stream"}
        return await self._chat(meaning, f"openai/{MODEL}", **{"messages": [HELLO], **told})

    async def _chat(self, meaning: Meaning, model: str, **options: Any) -> Ours:
        if meaning.stream:
            return await self._run(self._stream(model, **options))
        return await self._run(self._client.chat(model=model, **options))

    async def _stream(self, model: str, **options: Any) -> ChatResponse:
        async with self._client.stream_chat(model=model, **options) as stream:
            return await stream.final()

    async def _run(self, call: Awaitable[ChatResponse | EmbeddingResponse | ModelsResponse]) -> Ours:
        self._seam.sent.clear()
        try:
            response = await call
        except BifrostError as error:
            return Ours(error=error)
        [sent] = self._seam.sent
        return Ours(sent, response.warnings)


def given(request: Request) -> dict[str, Any]:
    """The fields of a request that say something, as keywords of a client's method."""
    fields = {info.name: getattr(request, info.name) for info in msgspec.structs.fields(request) if says(request, info)}
    for positional in ("model", *(["messages"] if isinstance(request, ChatRequest) else [])):
        fields.pop(positional, None)
    return fields


def says(struct: msgspec.Struct, info: msgspec.structs.FieldInfo) -> bool:
    """Whether a field has another value than its default."""
    return info.required or getattr(struct, info.name) != default_of(info)


def default_of(info: msgspec.structs.FieldInfo) -> Any:
    return info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()


class Sdks:
    """OpenAI's and Anthropic's own clients, over transports that keep what they are given and refuse it."""

    def __init__(self) -> None:
        self._sent: list[httpx2.Request] = []
        self._known: dict[tuple[str, str], Sent] = {}
        transport = httpx2.MockTransport(self._refuse)
        http = {dialect: httpx2.Client(transport=transport) for dialect in DIALECTS}
        self._openai = openai.OpenAI(api_key=KEY.format("openai"), http_client=http["openai"], max_retries=0)
        self._anthropic = anthropic.Anthropic(
            api_key=KEY.format("anthropic"), http_client=http["anthropic"], max_retries=0
        )

    def send(self, meaning: Meaning, dialect: str) -> Sent:
        """Put a meaning to a provider in its SDK's words."""
        known = self._known.get((meaning.name, dialect))
        if known is not None:
            return known
        self._sent.clear()
        with suppress(openai.BadRequestError, anthropic.BadRequestError):
            self._method(meaning.request, dialect)(**meaning.said(dialect).keywords)
        [request] = self._sent
        sent = _sent(request.method, str(request.url), dict(request.headers), request.content)
        self._known[meaning.name, dialect] = sent
        return sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()
        self._anthropic.close()

    def chat(self, dialect: str) -> Callable[..., object]:
        """The method of a chat."""
        return {"openai": self._openai.chat.completions.create, "anthropic": self._anthropic.messages.create}[dialect]

    def _method(self, request: Request, dialect: str) -> Callable[..., object]:
        methods: dict[tuple[type[Request], str], Callable[..., object]] = {
            (ChatRequest, "openai"): lambda **told: self._openai.chat.completions.create(
                **{"model": MODEL, "messages": [HELLO], **told}
            ),
            (ChatRequest, "anthropic"): lambda **told: self._anthropic.messages.create(
                **{"model": MODEL, "messages": [HELLO], "max_tokens": DEFAULT_MAX_TOKENS, **told}
            ),
            (EmbeddingRequest, "openai"): lambda **told: self._openai.embeddings.create(model=MODEL, **told),
            (ModelsRequest, "openai"): self._openai.models.list,
            (ModelsRequest, "anthropic"): self._anthropic.models.list,
        }
        return methods[type(request), dialect]

    def _refuse(self, request: httpx2.Request) -> httpx2.Response:
        self._sent.append(request)
        return httpx2.Response(400, json={"error": {"message": "refused", "type": "invalid_request_error"}})


def schemas(value: Any) -> Iterator[str]:
    """The JSON schemas in a body, as text: their keys stand in the caller's order."""
    match value:
        case dict():
            for key, inner in value.items():
                if key in {"parameters", "schema", "input_schema"} and isinstance(inner, dict):
                    yield json.dumps(inner)
                else:
                    yield from schemas(inner)
        case list():
            for inner in value:
                yield from schemas(inner)
        case _:
            pass


def _sent(method: str, address: str, headers: Mapping[str, str], body: bytes) -> Sent:
    url, _, query = address.partition("?")
    return Sent(method, url, dict(parse_qsl(query)), headers, json.loads(body) if body else None)
