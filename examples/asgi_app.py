"""An ASGI application (Starlette; FastAPI is alike) that calls itself: a stream, and errors with a status."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from bifrost import BadRequestError, Bifrost, BifrostError, RateLimitError
from bifrost.testing import MockTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

mock = MockTransport()  # in your own program: Bifrost() alone, with keys from the environment


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with Bifrost(mock.account, transport=mock, timeout=60) as app.state.client:
        yield


async def tell(request: Request) -> StreamingResponse:
    stack = AsyncExitStack()  # entering waits for the first content: until then an error can still become a status
    stream = await stack.enter_async_context(request.app.state.client.stream_chat("openai/gpt-4o-mini", "A story"))

    async def body() -> AsyncGenerator[str]:
        async with stack:  # closes the stream at its end, and when the visitor leaves
            async for text in stream.text_stream:
                yield text

    return StreamingResponse(body(), media_type="text/plain")


async def failed(_request: Request, error: Exception) -> JSONResponse:
    status = 429 if isinstance(error, RateLimitError) else 400 if isinstance(error, BadRequestError) else 502
    return JSONResponse({"error": type(error).__name__}, status)


app = Starlette(routes=[Route("/tell", tell)], exception_handlers={BifrostError: failed}, lifespan=lifespan)


async def main() -> None:
    mock.stream(["Once ", "upon ", "a time."]).then.fail(400).then.fail(429, retry_after=90)
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        for response in [await http.get("/tell") for _ in range(3)]:
            print(response.status_code, response.text)


if __name__ == "__main__":
    anyio.run(main)
