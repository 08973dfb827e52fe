"""The pytest plugin: scripted and recorded providers as fixtures, and tests without network access.

It is loaded in every test run in an environment with bifrost, so it imports nothing large before a test needs it, and
it does not affect tests without its fixtures unless pytest's settings or an option say so.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from bifrost.engine.stand_in import StandIn
    from bifrost.testing.cassette import Cassette
    from bifrost.testing.mock import MockTransport

_MOCK = pytest.StashKey["MockTransport"]()
_CASSETTE = pytest.StashKey["tuple[Cassette, bool]"]()

_MARKS = (
    "bifrost_cassette(name, *, all_played, **options): the file of this test, and arguments of Cassette",
    "bifrost_allow_network(*hosts): let this test reach these hosts, or any if none is named",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's settings and options."""
    parser.addini(
        "bifrost_block_network",
        "Refuse sockets to anything but this machine in every test; false: only in those that use a fixture of bifrost",
        type="bool",
        default=False,
    )
    parser.addini("bifrost_allow_hosts", "Hosts that are reachable nevertheless.", type="args", default=[])
    group = parser.getgroup("bifrost")
    group.addoption(
        "--bifrost-block-network",
        action="store_true",
        help="refuse sockets to anything but this machine in every test, whatever the settings say",
    )
    group.addoption(
        "--bifrost-allow-network", action="store_true", help="refuse no sockets, except where a fixture of bifrost does"
    )
    group.addoption(
        "--bifrost-record",
        choices=("none", "once", "new", "all"),
        default="none",
        help="what bifrost_cassette records: nothing (the default), what has no file yet, what is not in the file, all",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's marks."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Block the network from a test's set-up to the end of its teardown."""
    with ExitStack() as stack:
        if _is_blocked(item):
            _block_network(stack, item)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed without using its whole script; show the faults of a test that failed."""
    mock = item.stash.get(_MOCK, None)
    try:
        result = yield
    finally:
        if mock is not None and mock.faults is not None:
            run = mock.faults
            item.add_report_section("call", "bifrost faults", f"{run.plan!r}\nas played: {run.as_played()!r}")
    if mock is not None:
        mock.assert_done()
    cassette, all_played = item.stash.get(_CASSETTE, (None, False))
    if cassette is not None:
        cassette.assert_done(all_played=all_played)
    return result


@pytest.fixture
def bifrost_mock(request: pytest.FixtureRequest) -> Iterator[MockTransport]:
    """Return a scripted provider for every client in this test, whenever it was made.

        async def test_greeting(bifrost_mock):
            bifrost_mock.reply("hello")
            assert await greet() == "hello"  # makes its own Bifrost()
            assert bifrost_mock.calls[0].model == "gpt-4o-mini"

    A client without `transport=` uses the mock; one without `account=` has a fake key for every provider. Connections
    to other machines are refused. A test that passes fails nevertheless if a step of its script was not used, unless
    that step is `always()`. If it fails, the faults that `inject` caused are shown.
    """
    from bifrost.engine.stand_in import StandIn
    from bifrost.testing.mock import MockTransport

    mock = MockTransport()
    request.node.stash[_MOCK] = mock
    with ExitStack() as stack:
        _block_network(stack, request.node)
        _put_in_place(stack, StandIn(mock, mock.account))
        yield mock


@pytest.fixture
def bifrost_cassette_options() -> dict[str, Any]:
    """Return arguments for every `bifrost_cassette` (`redact`, `ignore_fields`, ...). Override it in your conftest."""
    return {}


@pytest.fixture
def bifrost_cassette(request: pytest.FixtureRequest, bifrost_cassette_options: dict[str, Any]) -> Iterator[Cassette]:
    """Return recorded exchanges for every client in this test, whenever it was made.

    They are stored in `cassettes/<test module>/<test>.json` next to the module. `--bifrost-record` says whether
    anything is recorded, with the keys of the environment. Otherwise requests that are not in the file and connections
    to other machines are refused, and no key is needed. A test that passes fails nevertheless if a request had no
    recording.
    """
    from bifrost.engine.stand_in import StandIn
    from bifrost.testing.cassette import Cassette

    mark = request.node.get_closest_marker("bifrost_cassette")
    given: dict[str, Any] = {**bifrost_cassette_options, **(mark.kwargs if mark else {})}
    all_played = given.pop("all_played", False)
    name = mark.args[0] if mark and mark.args else re.sub(r"[^\w.\-]+", "-", request.node.name).strip("-")
    path = request.path.parent / "cassettes" / request.path.stem / f"{name}.json"
    given.setdefault("record", request.config.getoption("bifrost_record"))
    cassette = Cassette(path, **given)
    request.node.stash[_CASSETTE] = (cassette, all_played)
    with ExitStack() as stack:
        if not cassette.recording:
            _block_network(stack, request.node)
        stack.enter_context(cassette)
        _put_in_place(stack, StandIn(cassette, None if cassette.recording else cassette.account()))
        yield cassette


def _put_in_place(stack: ExitStack, stand_in: StandIn) -> None:
    """Use it for all clients without a transport until the end of the test."""
    stack.callback(stand_in.end)
    stack.enter_context(pytest.MonkeyPatch.context()).setattr("bifrost.engine.stand_in.present", lambda: stand_in)


def _is_blocked(item: pytest.Item) -> bool:
    config = item.config
    fixtures = getattr(item, "fixturenames", ())
    mark = item.get_closest_marker("bifrost_allow_network")
    if mark is not None and not mark.args:
        return False
    if "bifrost_cassette" in fixtures and config.getoption("bifrost_record") != "none":
        return False
    if config.getoption("bifrost_block_network") or "bifrost_mock" in fixtures or "bifrost_cassette" in fixtures:
        return True
    return bool(config.getini("bifrost_block_network")) and not config.getoption("bifrost_allow_network")


def _block_network(stack: ExitStack, item: pytest.Item) -> None:
    from bifrost.testing.network import block_network

    mark = item.get_closest_marker("bifrost_allow_network")
    allowed = item.config.getini("bifrost_allow_hosts")
    stack.enter_context(block_network(allow=[*allowed, *(mark.args if mark else ())]))
