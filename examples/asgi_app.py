"""An ASGI application (Starlette; FastAPI is alike) that calls itself: a stream is streamed, a rate limit is a 429."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from bifrost import Bifrost, RateLimitError
from bifrost.testing import MockTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

mock = MockTransport()  # in your own program: Bifrost() alone, with keys from the environment


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with Bifrost(mock.account, transport=mock, timeout=60) as client:
        app.state.client = client
        yield


async def tell(request: Request) -> StreamingResponse:
    stack = AsyncExitStack()  # entering waits for the first content: until then an error can still become a status
    stream = await stack.enter_async_context(request.app.state.client.stream_chat("openai/gpt-4o-mini", "A story"))

    async def body() -> AsyncGenerator[str]:
        async with stack:  # closes the stream at its end, and when the visitor leaves
            async for text in stream.text_stream:
                yield text

    return StreamingResponse(body(), media_type="text/plain")


async def limited(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": type(error).__name__}, 429)


app = Starlette(routes=[Route("/tell", tell)], exception_handlers={RateLimitError: limited}, lifespan=lifespan)


async def main() -> None:
    mock.stream(["Once ", "upon ", "a time."]).then.fail(429, retry_after=90)
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        for response in [await http.get("/tell"), await http.get("/tell")]:
            print(response.status_code, response.text)


if __name__ == "__main__":
    anyio.run(main)
