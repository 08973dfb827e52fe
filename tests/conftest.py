"""What every test shares: both event loops, an environment without keys or proxies, chance that repeats itself."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from bifrost.testing import MockTransport, virtual_backends
from tests.plugins.recorder import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell starts what runs in its background with Ctrl-C ignored; tests that press it must be heard all the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a test, and a failure must come again when it is looked for.
settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("suite")

_FOREIGN = ("OPENAI_", "ANTHROPIC_", "AZURE_OPENAI_", "HF_TOKEN", "SSL_CERT_", "SSLKEYLOGFILE")
_FOREIGN_ENDINGS = ("_API_KEY", "_BASE_URL", "_API_BASE", "_HOST", "_PROXY")


def pytest_collection_finish() -> None:
    """Keep what is loaded out of the collector's way: tests for leaks collect garbage thousands of times."""
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
        for name in list(os.environ):
            if name.upper().startswith(_FOREIGN) or name.upper().endswith(_FOREIGN_ENDINGS):
                patch.delenv(name)
        yield
