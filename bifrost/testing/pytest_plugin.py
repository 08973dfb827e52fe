"""The pytest plugin: the fixture `bifrost_mock`, and tests that stay off the network.

Loaded in every test run of whoever has bifrost installed, so it imports nothing heavy before a test asks for it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from bifrost.testing.mock import MockTransport

_MOCK = pytest.StashKey["MockTransport"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's settings."""
    parser.addini(
        "bifrost_block_network",
        "Refuse sockets to anything but this machine in every test, not only in those that use bifrost_mock.",
        type="bool",
        default=False,
    )
    parser.addini("bifrost_allow_hosts", "Hosts that are let through all the same.", type="args", default=[])
    parser.getgroup("bifrost").addoption(
        "--bifrost-block-network",
        action="store_true",
        help="refuse sockets to anything but this machine in every test",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Block the network from a test's set-up to the end of its teardown, if that is wanted for every test."""
    config = item.config
    with ExitStack() as stack:
        if config.getini("bifrost_block_network") or config.getoption("bifrost_block_network"):
            _block_network(stack, config)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed and left a part of its script unused."""
    result = yield
    mock = item.stash.get(_MOCK, None)
    if mock is not None:
        mock.assert_done()
    return result


@pytest.fixture
def bifrost_mock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockTransport]:
    """Give a scripted provider that answers every client made in this test.

        async def test_greeting(bifrost_mock):
            bifrost_mock.reply("hello")
            assert await greet() == "hello"  # makes its own Bifrost()
            assert bifrost_mock.calls[0].model == "gpt-4o-mini"

    A client that is given no `transport=` talks to the mock; one that is given no `account=` has a fake key for every
    provider. Sockets to anything but this machine are refused. A test that passes fails all the same if a step of its
    script was not used, unless that step is `always()`.
    """
    import bifrost.client
    from bifrost.testing.mock import MockTransport

    mock = MockTransport()
    request.node.stash[_MOCK] = mock
    monkeypatch.setattr(bifrost.client, "default_transport", lambda: mock)
    monkeypatch.setattr(bifrost.client, "default_account", lambda: mock.account)
    with ExitStack() as stack:
        _block_network(stack, request.config)
        yield mock


def _block_network(stack: ExitStack, config: pytest.Config) -> None:
    from bifrost.testing.network import block_network

    stack.enter_context(block_network(allow=config.getini("bifrost_allow_hosts")))
