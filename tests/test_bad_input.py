"""What can be given or answered wrongly, in this order, and what the user then sees.

Each is a typed error that says where it happened and what to do, or no error at all where the contract says to carry
on; never a hang, never an exception of another library, never a secret. The providers are real servers on the loopback.
"""

from __future__ import annotations

import gc
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
import msgspec
import pytest

from bifrost import (
    AttemptRecord,
    AuthenticationError,
    Bifrost,
    BifrostError,
    CallTimeoutError,
    ClientClosedError,
    ConnectError,
    EnvAccount,
    ImagePart,
    InvalidKeyError,
    InvalidRequestError,
    Key,
    MalformedResponseError,
    Message,
    MissingKeyError,
    ProtocolError,
    ProviderConfig,
    ServerError,
    StaticAccount,
    StreamInterruptedError,
    TextPart,
    TransportError,
    UnknownProviderError,
    UnsupportedError,
)
from bifrost.testing import LoopbackProvider, RawServer, no_waits
from tests.canary import CANARY, assert_unseen, listening, shown_by
from tests.plugins.recorder import MODEL, OTHER, Kind, ask, read_into
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from anyio.abc import ByteStream

    from tests.canary import Log

pytestmark = pytest.mark.anyio

MODELS = {"openai": MODEL, "anthropic": OTHER}
ErrorT = TypeVar("ErrorT", bound=BifrostError)


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """Nothing that any test here makes anybody log has the key in it."""
    with no_waits(), listening() as log:
        yield log
    assert_unseen(*log.lines)


def keys() -> dict[str, list[Key]]:
    return {name: [Key(name="main", value=CANARY)] for name in MODELS}


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[LoopbackProvider, Bifrost]]:
    """Give a provider that does as scripted, and a client whose key must be seen nowhere."""
    async with LoopbackProvider() as server, server.client(server.account(keys())) as client:
        yield server, client
        # A worker may be at the end of an exchange still.
        with anyio.fail_after(5):
            await client.close()
            await server.all_closed()


async def error_of(kind: type[ErrorT], call: Callable[[], Any], *, seconds: float = 5) -> ErrorT:
    """Give the error of a call, looked at from all sides."""
    with anyio.fail_after(seconds), pytest.raises(kind) as caught:
        await call()
    assert_unseen(*shown_by(caught.value))
    return caught.value


def assert_evidence(error: BifrostError, provider: str, *, status: int | None, tries: int = 1) -> None:
    """An error tells where it happened, and has a trail."""
    model = MODELS[provider].partition("/")[2]
    assert (error.provider, error.model, error.status) == (provider, model, status)
    assert len(error.attempts) == tries
    assert all(isinstance(attempt, AttemptRecord) and attempt.key == "main" for attempt in error.attempts)
    assert provider in str(error)
    assert model in str(error)


# --- an unknown provider


async def test_an_unknown_provider_is_told_with_near_ones(kind: Kind) -> None:
    async with serving() as (server, client):
        error = await error_of(UnknownProviderError, lambda: ask(client, kind, "opnai/gpt-4o"))
    assert str(error) == "there is no provider named 'opnai'; did you mean 'openai'?"
    assert server.calls == []


# --- a bare name that nobody has


async def test_a_bare_name_that_nobody_has_is_told_with_near_ones(kind: Kind) -> None:
    account = StaticAccount(keys={"openai": Key(name="main", value=CANARY, models=["gpt-4o-mini"])})
    async with Bifrost(account, models={"fast": [MODEL]}) as client:
        error = await error_of(UnknownProviderError, lambda: ask(client, kind, "gpt-4o-mimi"))
        assert "no provider, model group or key has the model 'gpt-4o-mimi'" in str(error)
        assert "did you mean 'gpt-4o-mini'" in str(error)
        assert "(openai)" in str(error)
        error = await error_of(UnknownProviderError, lambda: ask(client, kind, "fsat"))
        assert "did you mean 'fast'" in str(error)


# --- a missing key


async def test_a_missing_key_is_told_with_the_variable_to_set(kind: Kind, provider: str) -> None:
    async with Bifrost(EnvAccount({})) as client:
        error = await error_of(MissingKeyError, lambda: ask(client, kind, MODELS[provider]))
    assert str(error).startswith(f"{provider} is not configured; set {provider.upper()}_API_KEY")
    assert error.provider == provider


# --- a key that cannot be sent


@table(
    ("spoil", "problem"),
    [
        (lambda: f"{CANARY}\nX", "line break|white|blank|control"),
        (lambda: f"{CANARY}\r", ""),
        (lambda: f"{CANARY}\x00X", "control"),
        (lambda: f"{CANARY} X", "blank|space|white"),
        (lambda: f"{CANARY}\N{EM DASH}", "ASCII"),
        (lambda: CANARY * 1000, "long"),
    ],
    ids=["newline", "return at the end", "NUL", "blank", "not ASCII", "long"],
)
async def test_a_key_that_cannot_be_sent_is_told_by_its_name(
    kind: Kind, spoil: Callable[[], str], problem: str
) -> None:
    async with Bifrost(EnvAccount({"OPENAI_API_KEY": spoil()})) as client:
        if not problem:
            # White space around a key is what copying leaves behind, and does no harm.
            await error_of(BifrostError, lambda: ask(client, kind, "openai/"))
            return
        error = await error_of(InvalidKeyError, lambda: ask(client, kind))
    assert "key 'OPENAI_API_KEY' cannot be used: " in str(error)
    assert "set it anew" in str(error)


# --- a wrong option name


async def test_a_wrong_option_name_is_told_with_near_ones(kind: Kind) -> None:
    async with serving() as (server, client):
        error = await error_of(InvalidRequestError, lambda: ask(client, kind, temprature=0.5))
    assert str(error) == "'temprature' is no option of a chat; did you mean temperature?"
    assert server.calls == []


async def test_options_for_a_provider_that_nobody_has_are_told(kind: Kind) -> None:
    async with serving() as (server, client):
        server.reply("hello")
        # Not configured is another matter: it is for a fallback that has a key elsewhere.
        assert (await ask(client, kind, extra={"groq": {"x": 1}})).text == "hello"
        error = await error_of(InvalidRequestError, lambda: ask(client, kind, extra={"opnai": {"x": 1}}))
    assert str(error).startswith("extra: there is no provider named 'opnai'; did you mean 'openai'?")
    assert len(server.calls) == 1


# --- an option that a provider cannot say


async def test_an_option_that_a_provider_cannot_say_is_told(kind: Kind) -> None:
    async with serving() as (server, client):
        error = await error_of(UnsupportedError, lambda: ask(client, kind, OTHER, n=2))
    assert_evidence(error, "anthropic", status=None, tries=0)
    assert "n must be 1" in str(error)
    assert server.calls == []


async def test_a_mere_tuning_knob_is_left_out_and_told(kind: Kind) -> None:
    async with serving() as (server, client):
        server.reply("hello")
        reply = await ask(client, kind, OTHER, seed=7)
    assert reply.text == "hello"
    assert any("seed" in warning for warning in reply.warnings)


# --- a value of the wrong type


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"messages": [Message(role="user", content=[TextPart(text=cast("Any", 5))])]}, "messages[0].content[0].text"),
        ({"messages": [Message(role="user", content=[ImagePart(url=cast("Any", 5))])]}, "messages[0].content[0].url"),
    ],
    ids=["text", "picture"],
)
async def test_a_part_of_the_wrong_type_is_told_with_its_place(wrong: dict[str, Any], place: str) -> None:
    async with serving() as (server, client):
        error = await error_of(InvalidRequestError, lambda: client.chat(OTHER, **wrong))
    assert_evidence(error, "anthropic", status=None, tries=0)
    assert f"{place}: expected `str" in str(error)
    assert server.calls == []


# --- empty messages


@table("prompt", ["", [], None, [None], [{}], [{"role": "user"}]], ids=repr)
async def test_empty_messages_are_told(kind: Kind, prompt: Any) -> None:
    async with serving() as (server, client):

        async def call() -> None:
            if kind == "plain":
                await client.chat(MODEL, prompt)
            else:
                async with client.stream_chat(MODEL, prompt) as stream:
                    await stream.final()

        error = await error_of(InvalidRequestError, call)
    assert "prompt" in str(error) or "messages" in str(error)
    assert server.calls == []


# --- use after the end


async def test_use_after_closing_is_told(kind: Kind) -> None:
    async with serving() as (_server, client):
        await client.close()
        error = await error_of(ClientClosedError, lambda: ask(client, kind))
    assert "was closed; make a new one, or move the call inside its `async with` block" in str(error)


# --- a provider that refuses the connection


async def test_a_refused_connection_is_told(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        await server.go_down()
        error = await error_of(ConnectError, lambda: ask(client, kind, MODELS[provider]))
        assert_evidence(error, provider, status=None, tries=3)
        assert f"no connection to {server.base_url}: " in str(error)
        await server.come_back()
        server.reply("hello")
        assert (await ask(client, kind, MODELS[provider])).text == "hello"


# --- a provider that answers garbage


async def test_an_answer_that_is_not_http_is_told(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        server.garbage().always()
        error = await error_of(ProtocolError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=None, tries=3)
    assert "broke the HTTP protocol" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b"null",
        b"7",
        b'"text"',
        b'{"choices": null, "content": null}',
        b'{"choices": {}, "content": {}}',
        b'{"choices": [7], "content": [7]}',
        b'{"id": ',
        b"[" * 5000,
    ],
    ids=lambda body: repr(body[:22]),
)
async def test_an_answer_without_the_shape_of_one_is_told(provider: str, body: bytes) -> None:
    async with serving() as (server, client):
        server.raw(200, body, {"content-type": "application/json", "x-request-id": "req_1", "request-id": "req_1"})
        server.reply("hello")
        # Once more is worth a try.
        reply = await ask(client, "plain", MODELS[provider])
        assert [attempt.category for attempt in reply.attempts] == ["malformed", None]
        server.raw(200, body, {"content-type": "application/json", "request-id": "req_1"}).times(2)
        error = await error_of(MalformedResponseError, lambda: ask(client, "plain", MODELS[provider]))
    assert_evidence(error, provider, status=200, tries=2)
    assert error.request_id == "req_1"
    assert error.body == body[:65536]


# --- a provider that answers a web page


@pytest.mark.parametrize("status", [200, 403, 502])
async def test_a_web_page_is_told(kind: Kind, provider: str, status: int) -> None:
    async with serving() as (server, client):
        server.html(status).always()
        error = await error_of(BifrostError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=status, tries={200: 2, 403: 1, 502: 3}[status])
    assert error.body is not None
    assert b"<html>" in error.body
    assert len(str(error)) < 500


# --- a provider that answers nothing


async def test_an_empty_answer_is_told(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        server.empty().always()
        error = await error_of(MalformedResponseError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=200, tries=2)
    assert "empty" in str(error)


async def test_a_stream_without_any_event_is_told(provider: str) -> None:
    async with serving() as (server, client):
        server.raw(200, b"", {"content-type": "text/event-stream"}).always()
        error = await error_of(BifrostError, lambda: ask(client, "stream", MODELS[provider]))
    assert_evidence(error, provider, status=200, tries=len(error.attempts))
    assert isinstance(error, (TransportError, MalformedResponseError))


async def test_an_empty_error_is_told(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        server.empty(500).always()
        error = await error_of(ServerError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=500, tries=3)


# --- a provider that cuts body or stream


@pytest.mark.parametrize("ending", ["cut", "reset"])
async def test_a_body_that_is_cut_is_told(provider: str, ending: str) -> None:
    async with serving() as (server, client):
        getattr(server.reply("hello", headers={"request-id": "req_1"}), ending)(after_bytes=30).always()
        error = await error_of(TransportError, lambda: ask(client, "plain", MODELS[provider]))
    assert_evidence(error, provider, status=200, tries=3)
    assert error.request_id == "req_1"


@pytest.mark.parametrize("ending", ["cut", "reset"])
async def test_a_connection_that_is_cut_before_the_answer_is_told(kind: Kind, provider: str, ending: str) -> None:
    async with serving() as (server, client):
        getattr(server.reply("hello"), ending)().always()
        error = await error_of(TransportError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=None, tries=3)


@pytest.mark.parametrize("ending", ["cut", "reset"])
async def test_a_stream_that_is_cut_is_told_with_what_came(provider: str, ending: str) -> None:
    texts: list[str] = []
    async with serving() as (server, client):
        getattr(server.stream(["he", "llo"], headers={"request-id": "req_1"}), ending)(after_events=1)

        async def call() -> None:
            async with client.stream_chat(MODELS[provider], "hi") as stream:
                await read_into(texts, stream)

        error = await error_of(StreamInterruptedError, call)
    assert_evidence(error, provider, status=200)
    assert (error.request_id, error.partial.text, texts) == ("req_1", "he", ["he"])
    assert isinstance(error.__cause__, TransportError)


async def test_a_stream_that_ends_without_saying_so_is_told(provider: str) -> None:
    event = {
        "openai": b'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "he"}}]}\n\n',
        "anthropic": b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
        b'"delta": {"type": "text_delta", "text": "he"}}\n\n',
    }[provider]
    async with serving() as (server, client):
        server.raw(200, event, {"content-type": "text/event-stream"})
        error = await error_of(StreamInterruptedError, lambda: ask(client, "stream", MODELS[provider]))
    assert_evidence(error, provider, status=200)
    assert error.partial.text == "he"


async def test_a_provider_that_says_nothing_more_ends_with_the_call(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        # Over a connection that is there already: on a busy machine making one may take all of the time.
        server.reply("hello").then.hang()
        await ask(client, "plain", MODELS[provider])
        error = await error_of(CallTimeoutError, lambda: ask(client, kind, MODELS[provider], timeout=0.5))
    assert_evidence(error, provider, status=None)
    assert error.phase == "headers"


# --- an error inside a stream


@pytest.mark.parametrize("at", [0, 1])
async def test_an_error_inside_a_stream_is_told(provider: str, at: int) -> None:
    async with serving() as (server, client):
        server.error_event(at=at, message=f"bad luck with {CANARY}").always()
        wanted: Any = StreamInterruptedError if at else BifrostError
        error = await error_of(wanted, lambda: ask(client, "stream", MODELS[provider]))
    assert error.provider == provider
    assert error.model == MODELS[provider].partition("/")[2]
    assert "bad luck with ***" in str(error)
    assert len(error.attempts) == (1 if at else 3)


@pytest.mark.parametrize("at", [0, 1])
async def test_an_event_that_is_no_json_is_told(provider: str, at: int) -> None:
    async with serving() as (server, client):
        server.malformed_event(at=at).always()
        wanted: Any = StreamInterruptedError if at else MalformedResponseError
        error = await error_of(wanted, lambda: ask(client, "stream", MODELS[provider]))
    assert_evidence(error, provider, status=200, tries=1 if at else 2)


async def test_an_error_inside_a_plain_answer_is_told(provider: str) -> None:
    body = {"type": "error", "error": {"type": "server_error", "message": f"bad luck with {CANARY}"}}
    async with serving() as (server, client):
        server.json(body).always()
        error = await error_of(BifrostError, lambda: ask(client, "plain", MODELS[provider]))
    assert_evidence(error, provider, status=error.status, tries=3)
    assert [attempt.status for attempt in error.attempts] == [200] * 3
    assert "bad luck with ***" in str(error)


# --- event types and fields that nobody knows


UNKNOWN = {
    "openai": [
        b": a comment\n\n",
        b"event: nobody.knows\ndata: {}\n\n",
        b"retry: 5\nid: 7\nnonsense: x\n\n",
        b'data: {"id": "x", "object": "nobody.knows", "later": {"a": [1]}, "choices": []}\n\n',
        b'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "hello", "later": 7}, "later": null}]}\n\n',
        b'data: {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "nobody_knows"}]}\n\n',
        b"data: [DONE]\n\n",
    ],
    "anthropic": [
        b": a comment\n\n",
        b'event: nobody_knows\ndata: {"type": "nobody_knows", "later": [1]}\n\n',
        (
            b'event: message_start\ndata: {"type": "message_start", "later": 1, "message": {"id": "x", "later": {}, '
            b'"usage": {"input_tokens": 3, "output_tokens": 1, "later": {"a": 1}}}}\n\n'
        ),
        (
            b'event: content_block_start\ndata: {"type": "content_block_start", "index": 0, '
            b'"content_block": {"type": "text", "text": "", "later": 7}}\n\n'
        ),
        (
            b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
            b'"delta": {"type": "nobody_knows", "x": 1}}\n\n'
        ),
        (
            b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
            b'"delta": {"type": "text_delta", "text": "hello", "later": 7}}\n\n'
        ),
        b'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n',
        (
            b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "nobody_knows"}, '
            b'"usage": {"output_tokens": 2}}\n\n'
        ),
        b'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    ],
}


async def test_events_and_fields_that_nobody_knows_are_passed_over(provider: str) -> None:
    async with serving() as (server, client):
        server.raw(200, b"".join(UNKNOWN[provider]), {"content-type": "text/event-stream"})
        with anyio.fail_after(5):
            reply = await ask(client, "stream", MODELS[provider])
    assert (reply.text, reply.finish_reason, len(reply.attempts)) == ("hello", "unknown", 1)
    assert reply.choices[0].native_finish_reason == "nobody_knows"


async def test_fields_of_an_answer_that_nobody_knows_are_passed_over(provider: str) -> None:
    body: dict[str, Any] = {
        "openai": {
            "id": "x",
            "later": [1],
            "choices": [
                {
                    "index": 0,
                    "later": {},
                    "message": {"role": "assistant", "content": "hello", "later": 7},
                    "finish_reason": "nobody_knows",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "later": {"a": 1}},
        },
        "anthropic": {
            "id": "x",
            "type": "message",
            "later": [1],
            "content": [{"type": "nobody_knows", "x": 1}, {"type": "text", "text": "hello", "later": 7}],
            "stop_reason": "nobody_knows",
            "usage": {"input_tokens": 1, "output_tokens": 1, "later": {"a": 1}},
        },
    }[provider]
    async with serving() as (server, client):
        server.json(body)
        reply = await ask(client, "plain", MODELS[provider])
    assert (reply.text, reply.finish_reason) == ("hello", "unknown")
    assert msgspec.json.decode(reply.raw) == body


# --- the key, where a provider shows it


async def test_a_key_that_a_provider_shows_is_taken_out(kind: Kind, provider: str) -> None:
    async with serving() as (server, client):
        server.fail(401, message=f"Incorrect API key provided: {CANARY}.").always()
        error = await error_of(AuthenticationError, lambda: ask(client, kind, MODELS[provider]))
    assert_evidence(error, provider, status=401)
    assert "***" in str(error)
    assert error.body is not None
    assert_unseen(error.body.decode())


@pytest.mark.parametrize("status", [200, 500])
async def test_a_key_on_a_web_page_is_taken_out(kind: Kind, provider: str, status: int) -> None:
    async with serving() as (server, client):
        server.raw(status, f"<html>Bearer {CANARY}</html>", {"content-type": "text/html"}).always()
        error = await error_of(BifrostError, lambda: ask(client, kind, MODELS[provider]))
    assert error.body is not None
    assert_unseen(error.body.decode())


async def test_a_redirect_is_not_followed_and_its_query_not_shown(kind: Kind) -> None:
    async def answer(stream: ByteStream) -> None:
        await stream.receive()
        head = "HTTP/1.1 302 Found\r\nlocation: https://other.example/?token=hidden\r\n"
        await stream.send(f"{head}content-length: 0\r\n\r\n".encode())

    async with RawServer(answer) as server:
        account = StaticAccount(keys=keys(), configs={"openai": ProviderConfig(base_url=server.url)})
        async with Bifrost(account) as client:
            error = await error_of(BifrostError, lambda: ask(client, kind))
    assert "redirects to https://other.example, which is never followed" in str(error)
    assert "hidden" not in str(error)


async def test_a_client_and_what_it_holds_show_no_key(kind: Kind) -> None:
    async with serving() as (server, client):
        server.reply("hello")
        reply = await ask(client, kind)
        account = client._engine.account
        assert_unseen(repr(client), repr(account), repr(vars(account)), repr(reply), repr(reply.attempts))
        kinds = (type(each).__module__ for each in gc.get_objects())
        assert "bifrost.account" in kinds
        ours = [each for each in gc.get_objects() if type(each).__module__.startswith("bifrost")]
        # The provider was sent the key, and may show it.
        assert_unseen(*(repr(each) for each in ours if "testing" not in type(each).__module__))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProviderConfig(concurency=3), "ProviderConfig takes no concurency=; did you mean concurrency?"),  # pyright: ignore[reportCallIssue]
        (lambda: Key(vaule=CANARY), "Key takes no vaule=; did you mean value?"),  # pyright: ignore[reportCallIssue]
        (lambda: Key("a name"), "Key takes its arguments by name, not by position: Key(name=...)"),  # pyright: ignore[reportCallIssue]
        (lambda: StaticAccount({}), "StaticAccount takes its arguments by name: StaticAccount(keys=...)"),  # pyright: ignore[reportCallIssue]
        (lambda: StaticAccount(key=CANARY), "StaticAccount takes no key=: did you mean keys?"),  # pyright: ignore[reportCallIssue]
    ],
)
def test_unknown_and_positional_arguments_of_settings_are_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert not any(CANARY in str(frame.locals) for frame in list(frames.stack)[1:])
