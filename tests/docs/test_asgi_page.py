"""The application on the page about ASGI, run in-process: what its visitors get, and what is left when they leave."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from tests.docs.fastapi import FastAPI
from tests.docs.tables import DOCS, compiled
from tests.engine.rig import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bifrost.testing import MockTransport

pytestmark = pytest.mark.anyio

APP, TESTS = re.findall(r"^```python\n(.*?)^```$", (DOCS / "asgi.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def page(bifrost_mock: MockTransport, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the code of the page; its client talks to the mock."""
    assert bifrost_mock is not None
    for name, contents in {
        "fastapi": {"FastAPI": FastAPI, "Request": Request},
        "fastapi.responses": {"JSONResponse": JSONResponse, "StreamingResponse": StreamingResponse},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    names: dict[str, Any] = {}
    for code in (APP, TESTS):
        exec(compiled(code, "asgi.md"), names)  # noqa: S102 - the page's own code
    return names


@pytest.fixture
async def visitor(page: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a visitor of the running application."""
    app = page["app"]
    async with (
        page["lifespan"](app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as http,
    ):
        yield http


async def test_a_stream_is_streamed(visitor: httpx.AsyncClient, bifrost_mock: MockTransport) -> None:
    bifrost_mock.stream(["Once ", "upon ", "a time."])
    response = await visitor.get("/tell", params={"topic": "rain"})
    assert (response.status_code, response.text) == (200, "Once upon a time.")


@pytest.mark.parametrize("path", ["/ask?question=Hi", "/tell?topic=rain"])
@pytest.mark.parametrize(("fault", "status"), [(429, 429), (400, 400), (422, 400), (503, 502)])
async def test_an_error_before_the_first_content_has_a_status(
    path: str, fault: int, status: int, visitor: httpx.AsyncClient, bifrost_mock: MockTransport
) -> None:
    bifrost_mock.fail(fault, headers={"x-should-retry": "false"}, retry_after=70.2 if fault == 429 else None)
    response = await visitor.get(path)
    assert response.status_code == status
    assert response.headers.get("retry-after") == ("71" if fault == 429 else None)
    assert response.json()["error"].endswith("Error")


async def test_a_question_that_is_too_long_is_the_visitors_error(
    visitor: httpx.AsyncClient, bifrost_mock: MockTransport
) -> None:
    bifrost_mock.fail(400, code="context_length_exceeded")
    response = await visitor.get("/ask?question=Hi")
    assert (response.status_code, response.json()) == (400, {"error": "ContextLengthError"})


async def test_a_refused_key_is_out_of_use_for_the_next_visitor(
    visitor: httpx.AsyncClient, bifrost_mock: MockTransport
) -> None:
    bifrost_mock.fail(401)
    first, second = [await visitor.get("/ask?question=Hi") for _ in range(2)]
    assert (first.status_code, first.json()) == (502, {"error": "AuthenticationError"})
    assert (second.status_code, second.json()) == (503, {"error": "CredentialsExhaustedError"})
    assert len(bifrost_mock.calls) == 1


async def test_a_stream_that_breaks_says_so(visitor: httpx.AsyncClient, bifrost_mock: MockTransport) -> None:
    bifrost_mock.stream(["Once ", "upon "]).cut(after_events=1)
    response = await visitor.get("/tell", params={"topic": "rain"})
    assert (response.status_code, response.text) == (200, "Once \n[interrupted]")


async def test_a_visitor_who_leaves_frees_the_connection(page: dict[str, Any], bifrost_mock: MockTransport) -> None:
    bifrost_mock.stream(["Once ", "upon "]).stall(after_events=1)
    app, began = page["app"], anyio.Event()

    async def receive() -> dict[str, Any]:
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            began.set()

    scope = {
        "type": "http",
        "asgi": {"spec_version": "2.3"},
        "method": "GET",
        "path": "/tell",
        "root_path": "",
        "query_string": b"topic=rain",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "app": app,
    }
    async with page["lifespan"](app):
        with anyio.fail_after(5):
            await app(scope, receive, send)
            await until(lambda: bifrost_mock.connections.in_use == 0 and app.state.client.stats().in_flight == 0)


async def test_the_test_on_the_page_runs(page: dict[str, Any], bifrost_mock: MockTransport) -> None:
    bifrost_mock.reply("Hello").then.fail(429, retry_after=70)
    assert await page["statuses"]() == [200, 429]
