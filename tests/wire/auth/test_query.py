"""A key in the query: it reaches the server over every transport, and shows nowhere else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
import pytest

from bifrost import Bifrost, BifrostError, Key, ProviderConfig, RetryConfig, StaticAccount
from bifrost.errors import ConfigError, InvalidKeyError
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, RawServer, fake_key
from bifrost.wire.auth import QueryAuth
from bifrost.wire.http import HttpRequest
from bifrost.wire.http.request import target_of
from bifrost.wire.secrets import Secret
from tests.engine.peers import read_request
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

CANARY = "AIzaCANARY-7f/3+Zq9&Xw"
ESCAPED = "AIzaCANARY-7f%2F3%2BZq9%26Xw"
AUTH = QueryAuth(parameter="key")
ROW = attrs.evolve(CATALOG["openai"], name="asked", auth=AUTH)


def signed(path: str = "/v1/models") -> HttpRequest:
    request = HttpRequest(method="GET", path=path)
    AUTH.sign(request, Secret(CANARY), now=0.0, host="h", settings=None)
    return request


@pytest.mark.parametrize(
    ("path", "target"), [("/v1/m", f"/v1/m?key={ESCAPED}"), ("/v1/m?alt=sse", f"/v1/m?alt=sse&key={ESCAPED}")]
)
def test_the_bytes_of_the_target_contain_the_escaped_key(path: str, target: str) -> None:
    request = signed(path)
    assert target_of(request.path, request.secret_query) == target.encode()
    assert request.path == path


def test_a_signed_request_does_not_show_the_key() -> None:
    request = signed()
    assert "CANARY" not in f"{request!r} {request.path} {request.shown_path} {request.secret_query}"
    assert "/v1/models?key=***" in repr(request)


def test_without_a_key_nothing_is_added() -> None:
    request = HttpRequest(method="GET", path="/")
    AUTH.sign(request, None, now=0.0, host="h", settings=None)
    assert request.secret_query == {}


@table("name", ["", "a b", "a=b", "a&b", "ké", "x" * 65])
def test_a_name_that_would_have_to_be_escaped_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"QueryAuth\.parameter"):
        QueryAuth(parameter=name)


def test_a_key_that_was_not_checked_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidKeyError) as caught:
        AUTH.sign(HttpRequest(method="GET", path="/"), Secret("CANARY 1"), now=0.0, host="h", settings=None)
    assert "CANARY" not in str(caught.value)


class Echo:
    """Refuses every request and repeats its target, as providers do."""

    def __init__(self) -> None:
        self.targets: list[str] = []

    async def __call__(self, stream: ByteStream) -> None:
        while True:
            head, _ = await read_request(stream)
            target = head.split(" ")[1]
            self.targets.append(target)
            body = f'{{"error": {{"message": "no such path: {target}"}}}}'.encode()
            await stream.send(
                b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )


TRANSPORTS: dict[str, Callable[[], Any]] = {"own": lambda: None, "httpx": lambda: httpx.AsyncHTTPTransport}


@pytest.mark.anyio
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_key_reaches_the_server_and_shows_nowhere_else(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Echo()
    async with RawServer(echo) as server:
        account = StaticAccount(
            keys={"asked": [Key(name="one", value=CANARY)]},
            providers=[ROW],
            configs={"asked": ProviderConfig(base_url=f"{server.url}/v1", retry=RetryConfig(max_retries=0))},
        )
        async with Bifrost(account, transport=TRANSPORTS[transport]()) as client:
            with anyio.fail_after(20):
                told = await client.explain("asked/gpt-4o-mini", "hi")
                with pytest.raises(BifrostError) as caught:
                    await client.chat("asked/gpt-4o-mini", "hi")
    error = caught.value
    assert echo.targets == [f"/v1/chat/completions?key={ESCAPED}"]
    assert told.candidates[0].url.endswith("/v1/chat/completions?key=***")
    shown = [str(error), repr(error), str(error.body), repr(error.attempts), str(told), repr(told.candidates)]
    shown += [caplog.text, str(client.stats())]
    assert not any("CANARY" in text or "Zq9" in text for text in shown)


@pytest.mark.anyio
async def test_the_mock_knows_which_key_was_sent_and_masks_it() -> None:
    mock = MockTransport()
    mock.reply("hello")
    account = StaticAccount(keys={"asked": [Key(name="one", value=fake_key("one"))]}, providers=[ROW])
    async with Bifrost(account, transport=mock) as client:
        assert (await client.chat("asked/gpt-4o-mini", "hi")).text == "hello"
    (call,) = mock.calls
    assert (call.has_key, call.key) == (True, "one")
    assert call.http.path == "/v1/chat/completions?key=***"
