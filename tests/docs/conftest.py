"""The provider that the code of the pages talks to, and an environment that leads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from bifrost.testing import LoopbackProvider, fake_key

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running_server() -> Iterator[LoopbackProvider]:
    """Run it in a thread of its own: code of a page may block."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(LoopbackProvider()) as server:
        yield server


@pytest.fixture
def server(running_server: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    """Return it with nothing scripted; the environment has keys, and its address."""
    monkeypatch.setenv("OPENAI_API_KEY", fake_key("openai-key"))
    monkeypatch.setenv("OPENAI_BASE_URL", f"{running_server.base_url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", fake_key("anthropic-key"))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", running_server.base_url)
    monkeypatch.setenv("GEMINI_API_KEY", fake_key("gemini-key"))
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", running_server.base_url)
    monkeypatch.setenv("TEAM_KEY", fake_key("team"))
    monkeypatch.setenv("SPARE_KEY", fake_key("spare"))
    yield running_server
    running_server.forget()
    running_server.calls.clear()
