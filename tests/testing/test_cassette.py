"""Cassettes: recorded from an embedded provider, played without one."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bifrost
from bifrost import Key, ProviderConfig, StaticAccount
from bifrost.testing import (
    Cassette,
    CassetteError,
    LoopbackProvider,
    MockTransport,
    UnexpectedCallError,
    leak_check,
    no_waits,
)
from bifrost.testing.tape import Cleaner, bytes_of, piece_of
from bifrost.transport import Transport
from tests.canary import CANARY, FORMS, assert_unseen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


@pytest.fixture
async def server() -> AsyncIterator[LoopbackProvider]:
    async with LoopbackProvider() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cassette.json"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def account(server: LoopbackProvider) -> StaticAccount:
    return StaticAccount(
        keys={"openai": Key(name="k", value=CANARY), "anthropic": Key(name="k", value=CANARY)},
        configs={name: server.config(name) for name in ("openai", "anthropic")},
    )


def elsewhere(server: LoopbackProvider) -> StaticAccount:
    """Somebody else's key, at the same address, where nobody answers any more."""
    return StaticAccount(
        keys={"openai": Key(name="o", value="sk-other"), "anthropic": Key(name="o", value="sk-other")},
        configs={name: server.config(name) for name in ("openai", "anthropic")},
    )


async def ask(
    cassette: Cassette, given: StaticAccount, prompt: str = "hi", *, model: str = GPT, **options: Any
) -> bifrost.ChatResponse:
    async with cassette.client(given, max_retries=0) as client:
        return await client.chat(model, prompt, **options)


async def stream(cassette: Cassette, given: StaticAccount, prompt: str = "hi", *, model: str = GPT) -> list[str]:
    async with cassette.client(given, max_retries=0) as client, client.stream_chat(model, prompt) as opened:
        return [text async for text in opened.text_stream]


# --- recorded and played


@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_an_answer_and_a_stream_are_played_as_they_were_recorded(
    server: LoopbackProvider, path: Path, model: str
) -> None:
    server.reply("plain", usage=(7, 3)).then.stream(["one", " two", " thrée"])
    with Cassette(path, record="once") as cassette:
        assert cassette.recording
        first = await ask(cassette, account(server), model=model), await stream(cassette, account(server), model=model)
    await server.go_down()

    async with leak_check():
        with Cassette(path, record="once") as cassette:
            assert not cassette.recording
            again = (
                await ask(cassette, elsewhere(server), model=model),
                await stream(cassette, elsewhere(server), model=model),
            )
    assert again[0].text == first[0].text == "plain"
    assert again[0].usage == first[0].usage
    assert again[0].raw == first[0].raw
    assert again[1] == first[1] == ["one", " two", " thrée"]
    assert cassette.unused == []
    cassette.assert_done(all_played=True)


class Chopped(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def answering(
    pieces: list[bytes], headers: dict[str, str] | None = None, *, status: int = 200
) -> Callable[[], httpx.AsyncBaseTransport]:
    def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, stream=Chopped(pieces))

    return lambda: httpx.MockTransport(respond)


HOME = StaticAccount(keys={"openai": Key(name="k", value=CANARY)})


def answer_of(text: str) -> bytes:
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        },
        ensure_ascii=False,
    ).encode()


async def test_pieces_are_kept_as_they_arrived(path: Path) -> None:
    """Also where a piece ends in the middle of a character."""
    body = answer_of("thrée, ünd → done")
    cuts = [body[start : start + 7] for start in range(0, len(body), 7)]
    transport = answering(cuts, {"content-type": "application/json"})
    with Cassette(path, record="all", transport=transport) as cassette:
        await ask(cassette, HOME)
    [recording] = Cassette(path).exchanges
    assert recording.answer is not None
    assert [bytes_of(piece) for piece in recording.answer.body] == cuts
    assert any(isinstance(piece, dict) for piece in recording.answer.body)
    assert (await ask(Cassette(path), HOME)).text == "thrée, ünd → done"


async def test_a_coding_is_undone_so_that_the_file_can_be_read(path: Path) -> None:
    import gzip

    packed = gzip.compress(answer_of("unpacked"))
    transport = answering([packed[:20], packed[20:]], {"content-encoding": "gzip"})
    with Cassette(path, record="all", transport=transport) as cassette:
        assert (await ask(cassette, HOME)).text == "unpacked"
    assert "unpacked" in read(path)
    assert (await ask(Cassette(path), HOME)).text == "unpacked"


async def test_a_coding_that_nobody_asked_for_is_refused_again(path: Path) -> None:
    with (
        Cassette(path, record="all", transport=answering([b"x"], {"content-encoding": "br"})) as cassette,
        pytest.raises(bifrost.MalformedResponseError),
    ):
        await ask(cassette, HOME)
    with pytest.raises(bifrost.MalformedResponseError):
        await ask(Cassette(path), HOME)


async def test_failures_and_retries_are_played_in_their_order(server: LoopbackProvider, path: Path) -> None:
    server.fail(503, retry_after=1).then.cut(after_bytes=20).then.reset().then.hang().then.reply("at last")
    hasty = bifrost.Timeouts(first_token=0.2)
    configs = {"openai": ProviderConfig(base_url=server.config("openai").base_url, timeouts=hasty)}
    given = StaticAccount(keys={"openai": Key(name="k", value=CANARY)}, configs=configs)

    async def faults(cassette: Cassette) -> tuple[str, list[Any]]:
        found: list[Any] = []
        async with cassette.client(given, max_retries=2) as client:
            with no_waits(), pytest.raises(bifrost.BifrostError) as caught:
                await client.chat(GPT, "hi")
            found += [(attempt.category, attempt.status, attempt.error) for attempt in caught.value.attempts]
            with no_waits():
                async with client.stream_chat(GPT, "hi") as opened:
                    reply = await opened.final()
            found += [(attempt.category, attempt.status, attempt.error) for attempt in reply.attempts]
            return reply.text, found

    with Cassette(path, record="once") as cassette:
        recorded = await faults(cassette)
    await server.go_down()
    played = await faults(Cassette(path))
    assert recorded[0] == "at last"
    assert [fault for fault, *_ in recorded[1]] == ["transient", "transient", "transient", "transient", None]
    assert played == recorded


async def test_a_refused_connection_is_recorded_too(server: LoopbackProvider, path: Path) -> None:
    await server.go_down()
    with Cassette(path, record="once") as cassette, pytest.raises(bifrost.ConnectError) as first:
        await ask(cassette, account(server))
    await server.come_back()
    with pytest.raises(bifrost.ConnectError) as again:
        await ask(Cassette(path), elsewhere(server))
    assert (again.value.message, again.value.category) == (first.value.message, first.value.category)


async def test_an_error_of_the_set_up_is_not_recorded(path: Path) -> None:
    class Broken(Transport):
        def open(self, origin: Any) -> Any:
            return MockTransport().open(origin)

    with (
        Cassette(path, record="once", transport=Broken()) as cassette,
        pytest.raises(UnexpectedCallError),
    ):
        await ask(cassette, HOME)
    assert cassette.exchanges == []
    cassette.save()
    with pytest.raises(FileNotFoundError):
        read(path)


async def test_whoever_left_early_leaves_early_again(server: LoopbackProvider, path: Path) -> None:
    server.stream([*"abcdef"]).drip(0.01).then.hang()

    async def leave(cassette: Cassette, given: StaticAccount) -> str:
        async with cassette.client(given, max_retries=0) as client:
            async with client.stream_chat(GPT, "hi") as opened:
                first = await anext(aiter(opened.text_stream))
            with pytest.raises(bifrost.CallTimeoutError):
                await client.chat(GPT, "hi", timeout=0.2)
        return first

    with Cassette(path, record="once") as cassette:
        assert await leave(cassette, account(server)) == "a"
    assert [recording.left for recording in cassette.exchanges] == [True, True]
    assert await leave(Cassette(path), elsewhere(server)) == "a"
    with pytest.raises(bifrost.StreamInterruptedError, match=r"the recording .* ends here"):
        await stream(Cassette(path), elsewhere(server))


async def test_pace_is_recorded_and_played_when_asked_for(server: LoopbackProvider, path: Path) -> None:
    server.stream(["a", "b"]).delay(0.05).drip(0.02)
    with Cassette(path, record="once", record_pace=True) as cassette:
        await stream(cassette, account(server))
    [recording] = Cassette(path).exchanges
    assert recording.answer is not None
    assert len(recording.answer.waits) == len(recording.answer.body) + 1
    assert recording.answer.waits[0] >= 0.05
    began = anyio.current_time()
    await stream(Cassette(path, pace=1.0), elsewhere(server))
    assert anyio.current_time() - began >= 0.05


async def test_a_slow_recording_is_bound_by_the_clients_limits(path: Path) -> None:
    with Cassette(path, record="all", record_pace=True, transport=answering([answer_of("x")])) as cassette:
        await ask(cassette, HOME)
    [recording] = cassette.exchanges
    assert recording.answer is not None
    recording.answer.waits = [60.0, 0.0]
    write(path, msgspec.json.encode({"bifrost_cassette": 1, "exchanges": [recording]}))
    with pytest.raises(bifrost.CallTimeoutError):
        await ask(Cassette(path, pace=1.0), HOME, timeout=0.1)


# --- modes


async def test_modes_say_what_is_recorded(server: LoopbackProvider, path: Path) -> None:
    for word in ("one", "two", "three", "four"):
        server.reply(word)

    async def asked(record: Any, prompt: str) -> str:
        with Cassette(path, record=record) as cassette:
            return (await ask(cassette, account(server), prompt)).text

    with pytest.raises(CassetteError, match="there is no such file"):
        await asked("none", "first")
    assert await asked("once", "first") == "one"
    assert await asked("once", "first") == "one"
    with pytest.raises(CassetteError):
        await asked("once", "second")
    assert await asked("new", "first") == "one"
    assert await asked("new", "second") == "two"
    assert await asked("none", "second") == "two"
    assert len(Cassette(path).exchanges) == 2
    assert await asked("all", "first") == "three"
    assert len(Cassette(path).exchanges) == 1
    assert await asked("none", "first") == "three"


async def test_a_file_does_not_change_when_nothing_new_is_recorded(server: LoopbackProvider, path: Path) -> None:
    server.reply("one")
    with Cassette(path, record="new") as cassette:
        await ask(cassette, account(server))
    before = read(path)
    with Cassette(path, record="new") as cassette:
        await ask(cassette, account(server))
    assert read(path) == before
    assert before.endswith("}\n")


# --- matching


async def test_what_is_not_recorded_is_refused_with_the_nearest_that_is(server: LoopbackProvider, path: Path) -> None:
    server.reply("x").times(2)
    with Cassette(path, record="once") as cassette:
        await ask(cassette, account(server), "hello", temperature=0.5)
        await ask(cassette, account(server), "hello", model=CLAUDE)
    cassette = Cassette(path)
    with pytest.raises(CassetteError) as caught:
        await ask(cassette, account(server), "goodbye", temperature=0.5)
    told = caught.value.message
    assert "POST" in told
    assert "the nearest, number 1 of 2, differs:\n  body.messages[0].content: recorded 'hello', asked 'goodbye'" in told
    assert "--bifrost-record=new" in told
    with pytest.raises(CassetteError, match=re.escape("is not recorded")):
        cassette.assert_done()

    with pytest.raises(CassetteError, match=r"body.temperature: recorded 0.5, asked nothing"):
        await ask(Cassette(path), account(server), "hello")
    with pytest.raises(CassetteError, match=r"host: recorded '127.0.0.1', asked 'api.openai.com'"):
        await ask(Cassette(path), HOME, "hello", temperature=0.5)


async def test_a_recording_is_played_once_or_as_often_as_asked(server: LoopbackProvider, path: Path) -> None:
    server.reply("x")
    with Cassette(path, record="once") as cassette:
        await ask(cassette, account(server))
    cassette = Cassette(path)
    await ask(cassette, account(server))
    with pytest.raises(CassetteError, match="each of its 1 recordings was played once"):
        await ask(cassette, account(server))
    cassette = Cassette(path, repeat=True)
    for _ in range(3):
        await ask(cassette, account(server))


async def test_order_may_be_required(server: LoopbackProvider, path: Path) -> None:
    server.function(lambda body: body["messages"][0]["content"]).times(2)
    with Cassette(path, record="once") as cassette:
        for prompt in ("first", "second"):
            await ask(cassette, account(server), prompt)
    free, strict = Cassette(path), Cassette(path, ordered=True)
    assert [(await ask(free, account(server), prompt)).text for prompt in ("second", "first")] == ["second", "first"]
    with pytest.raises(CassetteError, match="the next in order, number 1 of 2, differs"):
        await ask(strict, account(server), "second")
    with pytest.raises(CassetteError, match=r"recorded in .* and never requested: POST "):
        Cassette(path).assert_done(all_played=True)


async def test_what_may_differ_can_be_said(server: LoopbackProvider, path: Path) -> None:
    server.reply("x")
    with Cassette(path, record="once") as cassette:
        await ask(cassette, account(server), metadata={"trace": "1", "team": "a"}, user="me")
    options: dict[str, Any] = {"ignore_fields": ["metadata.trace", "user"], "match_on": ("path", "body")}
    reply = await ask(Cassette(path, **options), HOME, metadata={"trace": "2", "team": "a"}, user="you")
    assert reply.text == "x"
    with pytest.raises(CassetteError, match=r"metadata\.team"):
        await ask(Cassette(path, **options), HOME, metadata={"trace": "2", "team": "b"}, user="me")


@pytest.mark.parametrize("text", ["", "[]", '{"bifrost_cassette": 1}', '{"bifrost_cassette": 9, "exchanges": []}'])
def test_what_is_no_cassette_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(CassetteError, match=r"x\.json is"):
        Cassette(path)


async def test_an_empty_cassette_says_so(path: Path) -> None:
    write(path, b'{"bifrost_cassette": 1, "exchanges": []}')
    with pytest.raises(CassetteError, match="it is empty"):
        await ask(Cassette(path), HOME)


# --- secrets


ECHOES = [
    *FORMS[:3],
    b64encode(f"user:{CANARY}".encode()).decode(),
    quote(CANARY),
    json.dumps(CANARY)[1:-1].replace("/", "\\/"),
]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("size", [1, 5, 10_000])
async def test_a_key_that_a_provider_echoes_is_not_written(path: Path, echo: str, size: int) -> None:
    """However it is written, and though it may come in several pieces."""
    body = answer_of(f"your key is {echo}, is it not?")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    fields = {"content-type": "application/json", "x-request-id": f"req-{echo}", "server": CANARY}
    transport = answering(pieces, fields)
    with Cassette(path, record="once", transport=transport) as cassette:
        await ask(cassette, HOME, f"my key is {CANARY}", extra_headers={"x-team": CANARY})
    assert_unseen(read(path))
    assert CANARY not in repr(cassette)
    again = await ask(Cassette(path), StaticAccount(keys={"openai": CANARY}), f"my key is {CANARY}")
    assert again.text.startswith("your key is ")
    assert again.text.endswith(", is it not?")


async def test_keys_are_found_in_errors_and_addresses_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-environment")
    body = b'{"error": {"message": "no such key: %b; try sk-ant-of-the-environment"}}' % CANARY.encode()
    with (
        Cassette(path, record="once", transport=answering([body], status=401)) as cassette,
        pytest.raises(bifrost.AuthenticationError),
    ):
        await ask(cassette, HOME)
    text = read(path)
    assert_unseen(text)
    assert "of-the-environment" not in text
    cleaner = Cleaner()
    assert (
        cleaner.url("https://a.example/b?x=1&key=abc&api-version=2") == "https://a.example/b?x=1&key=***&api-version=2"
    )


async def test_only_harmless_headers_are_kept_and_those_that_are_named(path: Path) -> None:
    fields = {"content-type": "application/json", "set-cookie": "a=b", "openai-organization": "ours", "x-own-a": "1"}
    transport = answering([answer_of("x")], fields)
    with Cassette(path, record="once", transport=transport, keep_headers=["x-own-*", "Authorization"]) as cassette:
        await ask(cassette, HOME, extra_headers={"x-own-b": "2", "x-foreign": "3"})
    [recording] = cassette.exchanges
    assert recording.request.headers == ["content-type: application/json", "x-own-b: 2"]
    assert recording.answer is not None
    assert recording.answer.headers == ["content-type: application/json", "x-own-a: 1"]


async def test_cookies_are_never_kept_and_no_name_of_a_field_shows_a_key(path: Path) -> None:
    fields = {
        "content-type": "application/json",
        "set-cookie": "session=1",
        "Set-Cookie2": "session=2",
        f"x-ratelimit-{CANARY[5:14]}": CANARY.upper(),
        "x-hint": f"...{CANARY[-4:]}",
    }
    keep = ["*", "set-cookie", "Cookie"]
    with Cassette(path, record="once", transport=answering([answer_of("x")], fields), keep_headers=keep) as cassette:
        await ask(cassette, HOME, extra_headers={"x-team": "a"})
    text = read(path)
    assert_unseen(text)
    assert "session" not in text
    assert "cookie" not in text.lower()
    assert '"x-ratelimit-***: ***"' in text
    assert '"x-hint: ***"' in text


async def test_a_good_answer_keeps_its_words_and_an_error_not_even_the_last_four(path: Path) -> None:
    said = f"a {CANARY[-4:]} b...{CANARY[3:6]} and {CANARY[4:12]}"
    with Cassette(path, record="once", transport=answering([answer_of(said)])) as cassette:
        await ask(cassette, HOME)
    assert f"a {CANARY[-4:]} b...{CANARY[3:6]} and ***" in read(path)
    refusal = json.dumps({"error": {"message": f"the key ending in {CANARY[-4:]} is wrong"}}).encode()
    with (
        Cassette(path, record="all", transport=answering([refusal], status=401)) as cassette,
        pytest.raises(bifrost.AuthenticationError),
    ):
        await ask(cassette, HOME)
    assert "ending in *** is wrong" in read(path)


async def test_further_texts_can_be_taken_out(path: Path) -> None:
    transport = answering([answer_of("Ann Smith lives at 12 Oak Road")])
    options: dict[str, Any] = {"redact": ["Ann Smith", re.compile(r"\d+ \w+ Road")]}
    with Cassette(path, record="once", transport=transport, **options) as cassette:
        await ask(cassette, HOME, "Where does Ann Smith live?")
    assert "Ann" not in read(path)
    assert "Oak" not in read(path)
    assert (await ask(Cassette(path, **options), HOME, "Where does Ann Smith live?")).text == "*** lives at ***"


def test_a_key_that_would_be_written_all_the_same_stops_the_writing() -> None:
    from bifrost.testing.tape import RecordedRequest, Recording, write_file

    cleaner = Cleaner()
    cleaner.learn(CANARY)
    cleaner.learn("none")
    harmless = Recording(request=RecordedRequest(method="POST", url="http://none.example"))
    assert b"none.example" in write_file([harmless], cleaner)
    with pytest.raises(bifrost.InternalError, match="nothing was written"):
        write_file([Recording(request=RecordedRequest(method="POST", url=CANARY))], cleaner)


@given(pieces=st.lists(st.binary(max_size=20)), secret=st.sampled_from([CANARY, "abcdefgh"]), at=st.integers(0, 100))
def test_clean_pieces_are_the_clean_whole(pieces: list[bytes], secret: str, at: int) -> None:
    cleaner = Cleaner()
    cleaner.learn(secret)
    whole = b"".join(pieces)
    spoilt = whole[:at] + secret.encode() + whole[at:]
    cuts = [spoilt[start : start + 3] for start in range(0, len(spoilt), 3)]
    clean = cleaner.pieces(cuts)
    assert len(clean) == len(cuts)
    assert b"".join(clean) == cleaner.data(spoilt)
    assert secret.encode() not in b"".join(clean)


@given(st.binary())
def test_a_piece_is_read_as_it_was_written(data: bytes) -> None:
    assert bytes_of(msgspec.json.decode(msgspec.json.encode(piece_of(data)))) == data


# --- the file


async def test_the_file_can_be_read(server: LoopbackProvider, path: Path) -> None:
    server.stream(["one"])
    with Cassette(path, record="once") as cassette:
        await stream(cassette, account(server))
    file = json.loads(read(path))
    assert file["bifrost_cassette"] == 1
    [exchange] = file["exchanges"]
    assert exchange["request"]["method"] == "POST"
    assert exchange["request"]["json"]["messages"] == [{"role": "user", "content": "hi"}]
    assert "left" not in exchange
    assert exchange["answer"]["status"] == 200
    assert "data: [DONE]\n" in [line for piece in exchange["answer"]["body"] for line in piece]


async def test_addresses_of_the_environment_that_were_asked_are_in_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://west.openai.azure.com/")
    monkeypatch.setenv("GROQ_BASE_URL", "https://never-asked.example/v1")
    transport = answering([answer_of("one")])
    with Cassette(path, record="once", transport=transport) as cassette:
        async with cassette.client() as client:
            await client.chat("azure/mini", "first")
    assert json.loads(read(path))["addresses"] == {"azure": "https://west.openai.azure.com"}

    for variable in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(variable)
    async with Cassette(path).client() as client:
        assert (await client.chat("azure/mini", "first")).text == "one"
    with Cassette(path, record="new", transport=transport) as cassette:
        await ask(cassette, HOME, "second")
    assert json.loads(read(path))["addresses"] == {"azure": "https://west.openai.azure.com"}
    assert [*Cassette(path).account("openai").providers()] == ["openai"]


async def test_a_client_of_a_cassette_needs_no_key(path: Path) -> None:
    with Cassette(path, record="once", transport=answering([answer_of("x")])) as cassette:
        await ask(cassette, HOME)
    async with Cassette(path).client() as client:
        assert (await client.chat(GPT, "hi")).text == "x"
    assert "Cassette(" in repr(Cassette(path))


async def test_connections_are_the_transports_own_while_recording(path: Path) -> None:
    mock = MockTransport()
    mock.reply("a").then.reply("b").then.reset().then.reply("c")
    with Cassette(path, record="once", transport=mock) as cassette:
        async with cassette.client(mock.account) as client:
            replies = [await client.chat(GPT, prompt) for prompt in "abc"]
        assert [reply.text for reply in replies] == ["a", "b", "c"]
        assert [attempt.category for attempt in replies[2].attempts] == ["stale", None]
        assert mock.connections.open == 0
    assert mock.connections.opened == 2
    # What broke was a connection that was kept too long; of that nothing is recorded.
    assert len(cassette.exchanges) == 3
