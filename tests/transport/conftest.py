"""Roads are laid on uvloop as well: its sockets are its own."""

from __future__ import annotations

import sys
from typing import Any

import pytest

_BACKENDS: dict[str, Any] = {"asyncio": "asyncio", "trio": "trio"}
if sys.platform != "win32":
    _BACKENDS["uvloop"] = ("asyncio", {"use_uvloop": True})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(backend, id=name, marks=pytest.mark.wide if name == "uvloop" else ())
        for name, backend in _BACKENDS.items()
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each async test on each event loop."""
    return request.param
