"""The plugin, in pytest runs of its own: with anyio's plugin, with pytest-asyncio, and in plain tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

import bifrost
from bifrost.testing import LoopbackProvider
from tests.canary import CANARY, assert_unseen

if TYPE_CHECKING:
    from collections.abc import Mapping

pytest_plugins = ["pytester"]

# Where bifrost is installed its entry point has loaded the plugin; from a bare clone this does.
CONFTEST = """
def pytest_addoption(parser, pluginmanager):
    if not pluginmanager.hasplugin("bifrost"):
        pluginmanager.import_plugin("bifrost.testing.pytest_plugin")
"""

PLAIN = ("-p", "no:asyncio")

APP = """
from bifrost import Bifrost

async def greet(model="openai/gpt-4o-mini"):
    async with Bifrost() as client:
        return (await client.chat(model, "hi")).text
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(Path(bifrost.__file__).parents[1]))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-used")
    # Loading these takes longer than the runs.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:xdist -p no:xdist.looponfail")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(app=APP)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


NETWORK = """
import socket, pytest
from bifrost.testing import NetworkBlockedError

def is_blocked(host="name.invalid"):
    try:
        socket.getaddrinfo(host, 80)
    except NetworkBlockedError:
        return True
    except socket.gaierror:
        return False

def test_with_the_mock(bifrost_mock):
    assert is_blocked()

@pytest.fixture
def in_setup():
    return is_blocked()

def test_without(in_setup):
    assert in_setup == is_blocked() == BLOCKED

@pytest.mark.bifrost_allow_network
def test_let_through():
    assert not is_blocked()

@pytest.mark.bifrost_allow_network("name.invalid", "second.invalid")
def test_let_through_to_hosts(request):
    assert not is_blocked()
    assert not is_blocked("second.invalid")
    assert is_blocked("other.invalid") == BLOCKED
"""


# --- one run for all that asks for no options of its own

TOGETHER: Mapping[str, str] = {
    "anyio": """
        import pytest
        from bifrost import Bifrost
        from app import greet

        @pytest.fixture
        async def client(bifrost_mock):
            async with Bifrost() as client:
                yield client

        @pytest.mark.anyio
        async def test_own_client(bifrost_mock):
            bifrost_mock.reply("hello")
            assert await greet() == "hello"
            assert bifrost_mock.calls[0].request.messages[0].text == "hi"
            assert bifrost_mock.calls[0].key == "openai-key"

        @pytest.mark.anyio
        async def test_client_of_a_fixture(client, bifrost_mock):
            bifrost_mock.fail(429, retry_after=0.01).then.reply("ok")
            assert (await client.chat("anthropic/claude-haiku-4-5", "hi")).text == "ok"
        """,
    "plain": """
        import anyio
        from bifrost.sync import SyncBifrost
        from app import greet

        def test_greeting(bifrost_mock):
            bifrost_mock.reply("hello")
            assert anyio.run(greet) == "hello"

        def test_sync_client(bifrost_mock):
            bifrost_mock.reply("hello")
            with SyncBifrost() as client:
                assert client.chat("openai/gpt-4o-mini", "hi").text == "hello"

        def test_each_test_has_a_mock_of_its_own(bifrost_mock):
            assert bifrost_mock.calls == []
        """,
    "given": """
        import anyio
        from bifrost import Bifrost, StaticAccount
        from bifrost.testing import MockTransport, fake_key

        async def ask(**given):
            async with Bifrost(**given) as client:
                return (await client.chat("openai/gpt-4o-mini", "hi")).text

        def test_transport(bifrost_mock):
            own = MockTransport()
            own.reply("own")
            assert anyio.run(lambda: ask(transport=own)) == "own"
            assert bifrost_mock.calls == []

        def test_account(bifrost_mock):
            bifrost_mock.reply("hello")
            anyio.run(lambda: ask(account=StaticAccount(keys={"openai": fake_key("mine")})))
            assert bifrost_mock.calls[0].key == "mine"
        """,
    "left_over": """
        def test_passes_and_forgets(bifrost_mock):
            bifrost_mock.reply("never asked for")

        def test_may_be_unused(bifrost_mock):
            bifrost_mock.reply("whenever").always()

        def test_fails_by_itself(bifrost_mock):
            bifrost_mock.reply("never asked for")
            assert 1 == 2
        """,
    "beyond": """
        import anyio, contextlib
        from app import greet

        def test_script(bifrost_mock):
            with contextlib.suppress(Exception):
                anyio.run(greet)

        def test_cassette(bifrost_cassette):
            with contextlib.suppress(Exception):
                anyio.run(greet)
        """,
    "bare": """
        import anyio, pytest
        from bifrost import Bifrost, ConnectError

        async def ask():
            async with Bifrost(max_retries=0) as client:
                await client.chat("openai/gpt-4o-mini", "hi")

        @pytest.fixture
        def set_up_before(request):
            with pytest.raises(ConnectError, match="blocked in this test.*bifrost_allow_network"):
                anyio.run(ask)

        def test_is_blocked_from_the_first_fixture_on(set_up_before, bifrost_mock):
            assert bifrost_mock.calls == []
        """,
    "module_level": """
        import anyio, pytest
        from bifrost import Bifrost, StaticAccount, SyncBifrost
        from bifrost.testing import fake_key

        client = SyncBifrost(max_retries=0)
        fast = client.with_options(timeout=5)
        with_keys = SyncBifrost(StaticAccount(keys={"openai": fake_key("mine")}))
        on_a_loop = Bifrost()
        made_lazily = []

        def lazy():
            if not made_lazily:
                made_lazily.append(SyncBifrost(max_retries=0))
            return made_lazily[0]

        @pytest.mark.parametrize("text", ["first", "second"])
        @pytest.mark.parametrize("ask", [lambda: client, lambda: fast, lambda: with_keys, lazy])
        def test_answers(bifrost_mock, ask, text):
            bifrost_mock.reply(text)
            assert ask().chat("openai/gpt-4o-mini", "hi").text == text
            assert len(bifrost_mock.calls) == 1

        @pytest.mark.parametrize("backend", ["asyncio", "trio"])
        def test_on_a_loop(bifrost_mock, backend):
            bifrost_mock.stream(["a", "b"])

            async def main():
                async with on_a_loop.stream_chat("anthropic/claude-haiku-4-5", "hi") as stream:
                    return [text async for text in stream.text_stream]

            assert anyio.run(main, backend=backend) == ["a", "b"]

        @pytest.mark.parametrize("attempt", [1, 2])
        def test_a_key_that_was_refused_is_good_in_the_next_test(bifrost_mock, attempt):
            bifrost_mock.fail(401).then.reply("ok")
            with pytest.raises(Exception):
                client.chat("openai/gpt-4o-mini", "hi")
            bifrost_mock.forget()

        @pytest.mark.parametrize("attempt", [1, 2])
        def test_the_application_may_close_it(bifrost_mock, attempt):
            bifrost_mock.reply("ok")
            with client:
                assert client.chat("openai/gpt-4o-mini", "hi").text == "ok"
            with pytest.raises(Exception, match="closed"):
                client.chat("openai/gpt-4o-mini", "hi")

        def test_outside_of_a_mock_it_is_itself(monkeypatch):
            for each in (client, lazy()):
                assert "EnvAccount" in repr(each)
                assert each.stats().calls == 0
        """,
    "faults": """
        import anyio
        from bifrost.testing import Fault, FaultPlan, FaultRule
        from app import greet

        def test_fails(bifrost_mock):
            bifrost_mock.reply("hello")
            bifrost_mock.inject(FaultPlan(seed=5, rules=(FaultRule(chances=((1.0, Fault.fail(400)),)),)))
            anyio.run(greet)
        """,
}


class Together:
    """The run, with how each of its tests ended and what it printed."""

    def __init__(self, folder: Path) -> None:
        files = {"conftest": CONFTEST, "app": APP, "test_network": NETWORK.replace("BLOCKED", "False")}
        files |= {f"test_{name}": dedent(text) for name, text in TOGETHER.items()}
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
        command = (sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--strict-markers", *PLAIN)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        self.output = done.stdout
        self._ends = dict(re.findall(r"^(test_\S+) (PASSED|FAILED|ERROR)", done.stdout, re.MULTILINE))

    def of(self, module: str) -> dict[str, str]:
        """Give the ends of a module's tests."""
        prefix = f"test_{module}.py::test_"
        return {name.removeprefix(prefix): end for name, end in self._ends.items() if name.startswith(prefix)}

    def passed(self, module: str, count: int) -> bool:
        """Say whether a module had so many tests, and all went well."""
        return list(self.of(module).values()) == ["PASSED"] * count

    def failure(self, test: str) -> str:
        """Give what was printed of a test that failed."""
        found = re.search(rf"^_+ {test} _+$(.*?)(?=^_+ \S+ _+$|^=+ )", self.output, re.MULTILINE | re.DOTALL)
        assert found is not None, self.output
        return found[1]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(bifrost.__file__).parents[1]))
        patch.setenv("OPENAI_API_KEY", "sk-never-to-be-used")
        return Together(tmp_path_factory.mktemp("together"))


def test_under_anyios_plugin(together: Together) -> None:
    assert together.passed("anyio", 4)


def test_in_a_plain_test(together: Together) -> None:
    assert together.passed("plain", 3)


def test_what_a_client_is_given_itself_stands(together: Together) -> None:
    assert together.passed("given", 2)


def test_a_step_left_over_fails_a_test_that_passed(together: Together) -> None:
    ends = together.of("left_over")
    assert ends == {"passes_and_forgets": "FAILED", "may_be_unused": "PASSED", "fails_by_itself": "FAILED"}
    told = "AssertionError: scripted and never requested: reply('never asked for') (x1)"
    assert told in together.failure("test_passes_and_forgets")
    assert "assert 1 == 2" in together.failure("test_fails_by_itself")
    assert told not in together.failure("test_fails_by_itself")


def test_what_was_not_scripted_or_recorded_fails_even_if_it_is_swallowed(together: Together) -> None:
    assert together.of("beyond") == {"script": "FAILED", "cassette": "FAILED"}
    assert "nothing is scripted: call 1, chat to openai/gpt-4o-mini, was not expected" in together.failure(
        "test_script"
    )
    not_recorded = "CassetteError: POST https://api.openai.com/v1/chat/completions is not recorded"
    assert not_recorded in together.failure("test_cassette")


def test_a_client_does_not_reach_a_provider_before_the_mock_is_there(together: Together) -> None:
    assert together.passed("bare", 1)


def test_a_client_that_was_made_before_the_test(together: Together) -> None:
    assert set(together.of("module_level").values()) == {"PASSED"}, together.output
    assert len(together.of("module_level")) == 15


def test_the_failures_of_a_failed_test_are_shown_so_that_they_can_be_played_again(together: Together) -> None:
    assert together.of("faults") == {"fails": "FAILED"}
    told = together.failure("test_fails")
    assert "FaultPlan(seed=5, rules=(FaultRule(chances=((1.0, Fault(kind='fail', status=400)),)),))" in told
    assert "as played: FaultPlan(rules=(FaultRule(sequence=(Fault(kind='fail', status=400),)),))" in told.splitlines()


def test_only_tests_that_use_a_fixture_of_ours_are_kept_off_the_network(together: Together) -> None:
    assert together.passed("network", 4)


# --- runs of their own


def test_under_pytest_asyncio(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest_asyncio, pytest
        from bifrost import Bifrost
        from app import greet

        @pytest_asyncio.fixture
        async def client(bifrost_mock):
            async with Bifrost() as client:
                yield client

        @pytest.mark.asyncio
        async def test_own_client(bifrost_mock):
            bifrost_mock.reply("hello")
            assert await greet() == "hello"

        @pytest.mark.asyncio
        async def test_client_of_a_fixture(client, bifrost_mock):
            bifrost_mock.stream(["a", "b"])
            async with client.stream_chat("openai/gpt-4o-mini", "hi") as stream:
                assert [text async for text in stream.text_stream] == ["a", "b"]
        """
    )
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    run.runpytest_subprocess("-p", "no:anyio", *scope).assert_outcomes(passed=2)
    run.runpytest_subprocess("--asyncio-mode=auto", *scope).assert_outcomes(passed=2)


HOSTS = """
import socket, pytest
from bifrost.testing import NetworkBlockedError

def test_blocked():
    with pytest.raises(NetworkBlockedError):
        socket.getaddrinfo("example.com", 80)

@pytest.mark.parametrize("host", ["third.invalid", "fourth.invalid"])
def test_allowed(host, bifrost_mock):
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(host, 80)
"""


@pytest.mark.parametrize(
    ("setting", "arguments", "blocked"),
    [
        ("bifrost_block_network = true", (), True),
        ("bifrost_block_network = true", ("--bifrost-allow-network",), False),
        ("", ("--bifrost-block-network",), True),
    ],
)
def test_the_network_is_blocked_as_the_run_is_told(
    run: pytest.Pytester, setting: str, arguments: tuple[str, ...], blocked: bool
) -> None:
    run.makeini(f"[pytest]\nfilterwarnings = error\n{setting}\n")
    run.makepyfile(NETWORK.replace("BLOCKED", str(blocked)))
    run.runpytest_subprocess(*PLAIN, "--strict-markers", *arguments).assert_outcomes(passed=4)


def test_hosts_may_be_let_through_in_every_test(run: pytest.Pytester) -> None:
    settings = "bifrost_block_network = true\nbifrost_allow_hosts = third.invalid fourth.invalid\n"
    run.makeini(f"[pytest]\nfilterwarnings = error\n{settings}")
    run.makepyfile(test_hosts=HOSTS, test_network=NETWORK.replace("BLOCKED", "True"))
    run.runpytest_subprocess(*PLAIN, "--strict-markers").assert_outcomes(passed=7)


CASSETTES = """
import anyio, os, pytest
from bifrost import Bifrost

async def greet(text="hi"):
    async with Bifrost(max_retries=0) as client:
        return (await client.chat("openai/gpt-4o-mini", text)).text

@pytest.fixture
def bifrost_cassette_options():
    return {"redact": ["Ann"]}

def test_greeting(bifrost_cassette):
    assert anyio.run(greet) == "hello"

@pytest.mark.parametrize("text", ["a/b", "c"])
def test_each(text, bifrost_cassette):
    assert anyio.run(greet, text) == "hello"

@pytest.mark.bifrost_cassette("shared", match_on=("path", "body"), all_played=True)
def test_named(bifrost_cassette):
    for _ in range(int(os.environ.get("CALLS", "2"))):
        assert anyio.run(greet, "Ann") == "hello"
"""


def test_cassettes_are_recorded_when_asked_and_played_without_keys_and_network(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = run.makepyfile(CASSETTES)
    folder = module.parent / "cassettes" / module.stem

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(LoopbackProvider()) as server:
        server.reply("hello").always()
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.base_url}/v1")
        result = run.runpytest_subprocess(*PLAIN)
        result.assert_outcomes(failed=4)
        result.stdout.fnmatch_lines(["*CassetteError: POST *is not recorded in *--bifrost-record=new*"])
        assert server.calls == []
        run.runpytest_subprocess(*PLAIN, "--bifrost-record=once").assert_outcomes(passed=4)
        assert len(server.calls) == 5

    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}
    assert list(files) == ["shared.json", "test_each-a-b.json", "test_each-c.json", "test_greeting.json"]
    assert_unseen(*files.values())
    assert not any("Ann" in text for text in files.values())

    # Whoever plays them has neither the key nor the address, or another one.
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/elsewhere")
    run.runpytest_subprocess(*PLAIN).assert_outcomes(passed=4)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    run.runpytest_subprocess(*PLAIN).assert_outcomes(passed=4)
    monkeypatch.setenv("CALLS", "1")
    result = run.runpytest_subprocess(*PLAIN, "-k", "test_named")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteError: recorded in *shared.json and never requested: POST *"])


def test_a_run_that_does_not_use_it_loads_nothing_heavy(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import sys

        def test_light():
            heavy = {"trio", "mcp", "pydantic"}
            heavy |= {f"bifrost.testing.{name}" for name in ("mock", "loopback", "cassette", "faults", "virtual")}
            assert not heavy & set(sys.modules)
        """
    )
    run.runpytest_subprocess(*PLAIN, "-p", "no:anyio").assert_outcomes(passed=1)
