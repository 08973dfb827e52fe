"""What every test shares: both event loops, an environment without keys or proxies, chance that repeats itself."""

from __future__ import annotations

import gc
import os
import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from bifrost.testing import MockTransport, virtual_backends
from tests.plugins.recorder import KINDS, Kind
from tests.table import selection

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell starts what runs in its background with Ctrl-C ignored; tests that press it must be heard all the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a test, and a failure must come again when it is looked for.
# `.ci/run` takes the second profile: `pytest -m "wide or hypothesis" --hypothesis-profile=wide`.
settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=25)
settings.register_profile("wide", settings.get_profile("suite"), max_examples=150)
settings.load_profile("suite")

_FOREIGN = ("OPENAI_", "ANTHROPIC_", "AZURE_OPENAI_", "HF_TOKEN", "SSL_CERT_", "SSLKEYLOGFILE")
_FOREIGN_ENDINGS = ("_API_KEY", "_BASE_URL", "_API_BASE", "_HOST", "_PROXY")


_TESTS_PER_FREEZE = 50
_finished = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose among what is repeated."""
    parser.addoption("--row", default="", metavar="TEXT", help="play only the rows of tables with TEXT in their label")
    parser.addoption(
        "--one-loop",
        action="store_true",
        help="leave out what runs on trio, except where the code of an event loop is tested: for coverage",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the second event loop, if that is asked for, or leave it to the wide tests (`one_loop`)."""
    for item in items:
        if item.get_closest_marker("one_loop") is not None and _runs_on_trio(item):
            item.add_marker(pytest.mark.wide)
    if config.getoption("--one-loop"):
        repeated = [item for item in items if _runs_on_trio(item) and not _of_a_loop(item)]
        config.hook.pytest_deselected(items=repeated)
        left_out = set(repeated)
        items[:] = [item for item in items if item not in left_out]


_LOOPS = ("tests/engine/test_host.py", "tests/test_sync.py", "tests/testing/", "tests/transport/")
"""Where code that is another one for each event loop has its tests."""


def _of_a_loop(item: pytest.Item) -> bool:
    return item.nodeid.startswith(_LOOPS)


def _runs_on_trio(item: pytest.Item) -> bool:
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "trio" in (params.get("anyio_backend"), params.get("backend"))


def pytest_configure(config: pytest.Config) -> None:
    """Tell the tables which rows are chosen."""
    selection["label"] = config.getoption("--row")


def pytest_collection_finish() -> None:
    """Keep what is loaded out of the collector's way: tests for leaks collect garbage thousands of times."""
    _freeze()


def pytest_runtest_logfinish() -> None:
    """Do the same with what pytest keeps of each test and with what tests load: it adds up to 200,000 objects."""
    if next(_finished) % _TESTS_PER_FREEZE == 0:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each async test on both event loops; in virtual time, where a module is marked `virtual_time`."""
    if request.node.get_closest_marker("virtual_time") is None:
        return request.param
    return request.param, dict(virtual_backends())[request.param]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Run a test with plain calls and with streams."""
    return request.param


@pytest.fixture
def mock() -> MockTransport:
    """Give a provider in memory that knows nothing yet."""
    return MockTransport()


@pytest.fixture(scope="session", autouse=True)
def _bare_environment() -> Iterator[None]:
    """Take out what the machine's owner has set: tests see the keys and proxies that they set themselves."""
    with pytest.MonkeyPatch.context() as patch:
        # Dozens of tests start Python: each would compile the whole package.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name in list(os.environ):
            if name.upper().startswith(_FOREIGN) or name.upper().endswith(_FOREIGN_ENDINGS):
                patch.delenv(name)
        yield
