"""The clients that are compared, each used as its own documentation tells, all with one question to one upstream.

A peer is imported when it is opened, since each lives in an environment of its own. All make the request anew for each
call, of the same messages; all but `bare` and `minimal` read the answer into their own types.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from contextlib import suppress
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MODEL = "gpt-4o-mini"
KEY = "sk-benchmark"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant who answers in one paragraph."},
    {"role": "user", "content": "Tell me a short story about a fox, a dog and a river, please."},
]
ANSWER = (
    b'{"id":"chatcmpl-benchmark","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini","choices":[{'
    b'"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?","refusal":null},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":9,"total_tokens":28}}'
)
"""What an upstream inside the process answers."""

_BODY = json.dumps({"model": MODEL, "messages": MESSAGES}, separators=(",", ":")).encode()
_STREAM_BODY = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}, separators=(",", ":")).encode()

_TLS = ssl.PROTOCOL_TLS_CLIENT


class Client(Protocol):
    """One peer, ready to be measured."""

    async def open(self, base_url: str, authority: str | None) -> None:
        """Make the client. `authority` is the file of the authority to trust, for https."""
        ...

    async def call(self) -> Any:
        """Make one plain call. Raises whatever the peer raises."""
        ...

    async def stream(self) -> tuple[int, float]:
        """Read one stream to its end. Gives its chunks, and when the first with content came."""
        ...

    async def close(self) -> None:
        """End the client."""
        ...


# --- without a library above HTTP


class Minimal:
    """No HTTP library at all: bytes on asyncio's own sockets. Shows what upstream and machine can do at most."""

    def __init__(self) -> None:
        self._idle: list[_Wire] = []

    async def open(self, base_url: str, authority: str | None) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._context = ssl.create_default_context(cafile=authority) if parts.scheme == "https" else None
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
        )
        self._request = head.encode() + _BODY

    async def call(self) -> None:
        if self._idle:
            wire = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, wire = await loop.create_connection(_Wire, self._host, self._port, ssl=self._context)
        await wire.exchange(self._request)
        self._idle.append(wire)

    async def stream(self) -> tuple[int, float]:
        raise RuntimeError("this client reads no streams")

    async def close(self) -> None:
        for wire in self._idle:
            wire.transport.close()


class _Wire(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self._answered: asyncio.Future[None] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._answered is None:
            return
        length = int(head[head.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        if len(body) >= length and not self._answered.done():
            self._answered.set_result(None)

    async def exchange(self, request: bytes) -> None:
        self._data = b""
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._answered


class Bare:
    """httpx's transports, one per connection, with the limits of waiting that bifrost sets: httpx at its leanest."""

    async def open(self, base_url: str, authority: str | None) -> None:
        self._httpx = httpx = import_module("httpx")
        self._idle: list[Any] = []
        self._url = httpx.URL(f"{base_url}/chat/completions")
        # One for all; a bare one for plain http, or every transport would load certificates.
        self._verify = ssl.create_default_context(cafile=authority) if authority else ssl.SSLContext(_TLS)
        self._limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)

        class Body(httpx.AsyncByteStream):
            def __init__(self, content: bytes) -> None:
                self._content = content

            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield self._content

        self._upload = Body

    def _request(self, body: bytes) -> Any:
        return self._httpx.Request(
            "POST",
            self._url,
            headers=[
                (b"host", self._url.netloc),
                (b"accept-encoding", b"identity"),
                (b"user-agent", b"benchmark"),
                (b"content-type", b"application/json"),
                (b"authorization", b"Bearer " + KEY.encode()),
                (b"content-length", b"%d" % len(body)),
            ],
            stream=self._upload(body),
            extensions={"timeout": {"connect": 5.0, "write": 30.0, "read": None, "pool": 1.0}},
        )

    def _transport(self) -> Any:
        if self._idle:
            return self._idle.pop()
        return self._httpx.AsyncHTTPTransport(verify=self._verify, limits=self._limits, trust_env=False)

    async def call(self) -> bytes:
        transport = self._transport()
        response = await transport.handle_async_request(self._request(_BODY))
        body = b"".join([part async for part in response.stream])
        await response.aclose()
        self._idle.append(transport)
        return body

    async def stream(self) -> tuple[int, float]:
        transport = self._transport()
        response = await transport.handle_async_request(self._request(_STREAM_BODY))
        count, first = 0, 0.0
        async for part in response.stream:
            events = part.count(b"\n\n")
            # The first event names a role alone.
            if not first and (events > 1 or count):
                first = perf_counter()
            count += events
        await response.aclose()
        self._idle.append(transport)
        return count - 1, first

    async def close(self) -> None:
        for transport in self._idle:
            await transport.aclose()


class HttpxClient:
    """`httpx.AsyncClient.post` and its `json()`, or `aiter_lines()` without decoding."""

    async def open(self, base_url: str, authority: str | None) -> None:
        httpx = import_module("httpx")
        verify = ssl.create_default_context(cafile=authority) if authority else True
        self._client = httpx.AsyncClient(
            verify=verify,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=600,
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=1000),
        )
        self._url = f"{base_url}/chat/completions"

    async def call(self) -> Any:
        response = await self._client.post(self._url, json={"model": MODEL, "messages": MESSAGES})
        return response.json()["choices"][0]["message"]["content"]

    async def stream(self) -> tuple[int, float]:
        count, first = 0, 0.0
        body = {"model": MODEL, "messages": MESSAGES, "stream": True}
        async with self._client.stream("POST", self._url, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    count += 1
                    if count == 2:
                        first = perf_counter()
        return count, first

    async def close(self) -> None:
        await self._client.aclose()


# --- bifrost


class BifrostClient:
    """bifrost with its defaults, but for a pool as wide as the widest measurement; with or without plugins."""

    def __init__(self, hooks: int = 0) -> None:
        self._hooks = hooks

    async def open(self, base_url: str, authority: str | None) -> None:
        bifrost = import_module("bifrost")
        plugins = make_plugins(self._hooks)
        account = bifrost.StaticAccount(
            keys={"openai": KEY},
            # A quarter of a pool's places is kept from streams and these are all plain, or all streams.
            configs={"openai": bifrost.ProviderConfig(base_url=base_url, concurrency=512)},
        )
        self._client = bifrost.Bifrost(account, plugins=plugins)
        await self._client.open()

    async def call(self) -> Any:
        reply = await self._client.chat(f"openai/{MODEL}", MESSAGES)
        return reply.text

    async def stream(self) -> tuple[int, float]:
        count, first = 0, 0.0
        async with self._client.stream_chat(f"openai/{MODEL}", MESSAGES) as stream:
            async for chunk in stream:
                count += 1
                if not first and chunk.text:
                    first = perf_counter()
        return count, first

    async def close(self) -> None:
        await self._client.close()


class BifrostResponses(BifrostClient):
    """bifrost's client with the Responses API, of which it is measured what a chunk costs."""

    async def call(self) -> Any:
        raise RuntimeError("this client reads streams only")

    async def stream(self) -> tuple[int, float]:
        count, first = 0, 0.0
        async with self._client.stream_respond(f"openai/{MODEL}", MESSAGES) as stream:
            async for event in stream:
                count += 1
                if not first and event.text:
                    first = perf_counter()
        return count, first


def make_plugins(count: int) -> list[Any]:
    """Make plugins with an async hook before, one after, and one that sees the chunks; they change nothing."""
    bifrost = import_module("bifrost")

    class Watcher(bifrost.Plugin):
        def __init__(self, name: str) -> None:
            self.name = name

        async def before(self, call: Any, request: Any) -> Any:
            return None

        async def after(self, call: Any, outcome: Any) -> Any:
            return None

        def on_chunk(self, call: Any, chunk: Any) -> Any:
            return None

    return [Watcher(f"watcher-{number}") for number in range(count)]


# --- the peers


class OpenAI:
    """The vendor's own SDK."""

    async def open(self, base_url: str, authority: str | None) -> None:
        self._client = import_module("openai").AsyncOpenAI(api_key=KEY, base_url=base_url)

    async def call(self) -> Any:
        reply = await self._client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return reply.choices[0].message.content

    async def stream(self) -> tuple[int, float]:
        return await _count(await self._client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))

    async def close(self) -> None:
        await self._client.close()


class AnyLlm:
    """any-llm's client (its function `acompletion` makes a new one for each call)."""

    async def open(self, base_url: str, authority: str | None) -> None:
        self._client = import_module("any_llm").AnyLLM.create("openai", api_key=KEY, api_base=base_url)

    async def call(self) -> Any:
        reply = await self._client.acompletion(model=MODEL, messages=MESSAGES)
        return reply.choices[0].message.content

    async def stream(self) -> tuple[int, float]:
        return await _count(await self._client.acompletion(model=MODEL, messages=MESSAGES, stream=True))

    async def close(self) -> None:
        """Leave it: this peer has no way to end a client."""


class LiteLlm:
    """LiteLLM's `acompletion`, or its Router with one deployment."""

    def __init__(self, *, router: bool = False) -> None:
        self._router = router

    async def open(self, base_url: str, authority: str | None) -> None:
        litellm: Any = import_module("litellm")
        litellm.telemetry = False
        place = {"model": f"openai/{MODEL}", "api_key": KEY, "api_base": base_url}
        if self._router:
            router = litellm.Router(model_list=[{"model_name": MODEL, "litellm_params": place}])
            self._complete, self._arguments = router.acompletion, {"model": MODEL}
        else:
            self._complete, self._arguments = litellm.acompletion, place

    async def call(self) -> Any:
        reply = await self._complete(**self._arguments, messages=MESSAGES)
        return reply.choices[0].message.content

    async def stream(self) -> tuple[int, float]:
        return await _count(await self._complete(**self._arguments, messages=MESSAGES, stream=True))

    async def close(self) -> None:
        """Leave it: this peer's clients belong to its module."""


_TENSORZERO = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
[models.{model}]
routing = ["upstream"]
[models.{model}.providers.upstream]
type = "openai"
model_name = "{model}"
api_base = "{base_url}/"
"""


class TensorZero:
    """TensorZero's gateway inside the process (Rust), its observability off as it needs a database."""

    async def open(self, base_url: str, authority: str | None) -> None:
        tensorzero = import_module("tensorzero")
        os.environ["OPENAI_API_KEY"] = KEY
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(_TENSORZERO.format(model=MODEL, base_url=base_url))
            config.flush()
            self._client = await tensorzero.AsyncTensorZeroGateway.build_embedded(config_file=config.name)
        self._input = {"system": MESSAGES[0]["content"], "messages": MESSAGES[1:]}

    async def call(self) -> Any:
        reply = await self._client.inference(model_name=MODEL, input=self._input)
        return reply.content[0].text

    async def stream(self) -> tuple[int, float]:
        count, first = 0, 0.0
        async for chunk in await self._client.inference(model_name=MODEL, input=self._input, stream=True):
            count += 1
            if not first and chunk.content and getattr(chunk.content[0], "text", None):
                first = perf_counter()
        return count, first

    async def close(self) -> None:
        await self._client.close()


class LiterLlm:
    """liter-llm (Rust), through its native types."""

    async def open(self, base_url: str, authority: str | None) -> None:
        self._client = import_module("liter_llm").create_client(api_key=KEY, base_url=base_url)
        self._read = import_module("liter_llm._internal_bindings").ChatCompletionRequest.from_json
        self._request = json.dumps({"model": f"openai/{MODEL}", "messages": MESSAGES})

    async def call(self) -> Any:
        reply = await self._client.chat(self._read(self._request))
        return reply.choices[0].message.content

    async def stream(self) -> tuple[int, float]:
        return await _count(self._client.chat_stream(self._read(self._request)))

    async def close(self) -> None:
        """Leave it: this peer has no way to end a client."""


async def _count(chunks: Any) -> tuple[int, float]:
    """Read a stream of OpenAI-form chunks."""
    count, first = 0, 0.0
    async for chunk in chunks:
        count += 1
        if not first and chunk.choices and chunk.choices[0].delta.content:
            first = perf_counter()
    return count, first


CLIENTS: dict[str, Callable[[], Client]] = {
    "minimal": Minimal,
    "bare": Bare,
    "httpx": HttpxClient,
    "bifrost": BifrostClient,
    "bifrost-hooks": lambda: BifrostClient(3),
    "bifrost-responses": BifrostResponses,
    "openai": OpenAI,
    "any-llm": AnyLlm,
    "litellm": LiteLlm,
    "litellm-router": lambda: LiteLlm(router=True),
    "tensorzero": TensorZero,
    "liter-llm": LiterLlm,
}


async def opened(name: str, base_url: str, authority: str | None) -> Client:
    """Open a client, and see that it answers what the upstream says."""
    if authority is not None:
        # What the peers have in common: the variables that OpenSSL and requests read.
        os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = authority
    client = CLIENTS[name]()
    await client.open(base_url, authority)
    return client


async def closed(client: Client) -> None:
    """Close a client; what a peer raises at its end is not what is measured."""
    with suppress(Exception):
        await client.close()
