"""Text of foreign origin stays text: no line of a log, no header and no address is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost import (
    Bifrost,
    BifrostError,
    ConfigError,
    InvalidRequestError,
    Key,
    Plugin,
    StaticAccount,
    Tool,
)
from bifrost.config import check_headers
from bifrost.operations.chat.options import chat_request
from bifrost.providers.azure import AZURE, AzureSettings
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, no_waits
from bifrost.transport.heads import fields_of
from bifrost.wire.http import HttpRequest
from tests.canary import listening
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

NASTY = "a\r\nINFO root all is well\x1b[2J\x1b]0;owned\x07\u202e\u2028\x00\x85b"


def assert_one_line(*texts: str) -> None:
    for text in texts:
        assert text.isprintable(), ascii(text)


def lines_of(error: BaseException) -> Iterator[str]:
    yield str(error)
    for attempt in getattr(error, "attempts", ()):
        yield from (str(attempt), attempt.error or "")
    for other in getattr(error, "errors", ()):
        yield from lines_of(other)


@pytest.mark.anyio
@table("status", [400, 401, 404, 429, 500, 529])
async def test_a_providers_words_stay_on_their_line(status: int) -> None:
    mock = MockTransport()
    mock.fail(status, message=NASTY, type=NASTY, code=NASTY, headers={"x-request-id": "a\x1b[2Jb"}).always()
    with no_waits(), listening() as log:
        async with mock.client(max_retries=1) as client:
            with pytest.raises(BifrostError) as caught:
                await client.chat("openai/gpt-4o-mini", "hi", fallbacks=["anthropic/claude-haiku-4-5"])
    assert_one_line(*lines_of(caught.value), *(line for line in log.lines if "bifrost" in line))


@pytest.mark.anyio
async def test_an_error_event_stays_on_its_line() -> None:
    mock = MockTransport()
    mock.stream(["a", "b"]).error_event(at=1, message=NASTY)
    async with mock.client() as client, client.stream_chat("openai/gpt-4o-mini", "hi") as stream:
        with pytest.raises(BifrostError) as caught:
            await stream.final()
    assert_one_line(*lines_of(caught.value))


@pytest.mark.anyio
@table("model", [f"openai/{NASTY}", f"{NASTY}/gpt", NASTY])
async def test_a_models_name_stays_on_its_line(model: str) -> None:
    mock = MockTransport()
    mock.fail(404).always()
    async with mock.client() as client:
        with pytest.raises(BifrostError) as caught:
            await client.chat(model, "hi")
        assert_one_line(*lines_of(caught.value))
        if model.startswith("openai/"):
            explained = await client.explain(model, "hi")
            assert_one_line(*str(explained).split("\n"))


@pytest.mark.anyio
async def test_a_tools_name_stays_on_its_line() -> None:
    mock = MockTransport()
    mock.fail(400, message=f"no tool {NASTY}").always()
    tool = Tool(name=NASTY, parameters={"type": "object"})
    async with mock.client() as client:
        with pytest.raises(BifrostError) as caught:
            await client.chat("openai/gpt-4o-mini", "hi", tools=[tool])
    assert_one_line(*lines_of(caught.value))


class Failing(Plugin):
    name = NASTY

    def before(self, call: Any, request: Any) -> None:
        raise LookupError(NASTY)


@pytest.mark.anyio
async def test_a_plugins_name_stays_on_its_line() -> None:
    mock = MockTransport()
    mock.reply("hello")
    with listening() as log:
        async with mock.client(plugins=[Failing()]) as client:
            await client.chat("openai/gpt-4o-mini", "hi")
    # The traceback of what the plugin itself raised stands below, as logging writes it.
    assert_one_line(*(line.split("\nTraceback")[0] for line in log.lines if line.startswith("plugin ")))
    assert any(line.startswith("plugin ") for line in log.lines)


# --- headers


@given(name=st.text(max_size=12), value=st.text(max_size=30))
def test_a_header_is_refused_or_written_as_one_field(name: str, value: str) -> None:
    try:
        check_headers({name: value}, where="x")
    except ConfigError:
        return
    (field, text) = fields_of(HttpRequest(method="GET", path="/", headers={name: value}), b"h")[1]
    assert field.decode("ascii") == name
    assert text.decode("latin-1") == value
    assert not set(text) & {*range(9), *range(10, 32), 127}
    assert not set(field) & set(b"\r\n\x00 :\t")


RESERVED = ["Host", "Content-Length", "TRANSFER-ENCODING", "Authorization", "x-api-key", "Api-Key", "x-goog-api-key"]
HOP_BY_HOP = ["Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Upgrade", "Cookie"]


@table("name", [*RESERVED, *HOP_BY_HOP])
def test_what_frames_or_signs_a_request_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="set by bifrost itself"):
        check_headers({name: "x"}, where="x")
    with pytest.raises(ConfigError, match="set by bifrost itself"):
        Bifrost(StaticAccount(keys={"openai": "k"}), extra_headers={name: "x"})


# --- addresses


@given(
    model=st.text(min_size=1, max_size=40)
    | st.sampled_from(["..", "../../x", "a/../../b", "a?b=c", "a#b", "a\r\nb: c", "%2e%2e", "a%2f..", "//evil.example"])
)
def test_a_deployments_name_is_one_step_of_the_path(model: str) -> None:
    target = Target(provider="azure", model=model, settings=AzureSettings(api_version="2024-10-21"))
    request = chat_request("azure/x", "hi", system=None, options={})
    try:
        path = AZURE.codecs["chat"].build(request, target).request.path
    except InvalidRequestError:
        return
    place, _, query = path.partition("?")
    assert query == "api-version=2024-10-21"
    steps = place.split("/")
    assert steps[:3] == ["", "openai", "deployments"]
    assert steps[4:] == ["chat", "completions"]
    assert steps[3].strip(".")
    assert path.isascii()
    assert path.isprintable()
    assert "#" not in path


@pytest.mark.anyio
@table("path", ["@evil.example/", ":1@evil.example/", "https://evil.example/", ".evil.example/", ""])
async def test_a_codecs_path_cannot_leave_the_providers_address(path: str) -> None:
    """A key goes to an origin that was fixed before; what does not begin with / is no path there."""
    row = CATALOG["openai"]
    codec = row.codecs["chat"]

    def build(request: Any, target: Target) -> Any:
        built = codec.build(request, target)
        built.request.path = path
        return built

    leading = attrs.evolve(row, name="leading", codecs={"chat": attrs.evolve(codec, build=build)})
    mock = MockTransport()
    account = StaticAccount(keys={"leading": Key(name="k", value="sk-1")}, providers=[leading])
    async with Bifrost(account, transport=mock) as client:
        with pytest.raises(ConfigError, match="does not start with /"):
            await client.chat("leading/model", "hi")
    assert mock.calls == []
