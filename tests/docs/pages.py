"""The Python of a documentation page, run from top to bottom as a reader would."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from bifrost import Bifrost, SyncBifrost
from tests.docs.tables import DOCS, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import CodeType

    from bifrost.testing import LoopbackProvider

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_INDENTED = re.compile(r"^[ \t]+```python$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of a page's code, and what it prints if the page says so (a `text` block right behind it)."""

    place: str
    code: str
    printed: str | None


def blocks(page: Path) -> list[Block]:
    """Return the code of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(f"{page.name}:{text.count(chr(10), 0, match.start()) + 2}", match["code"], match["printed"])
        for match in _BLOCK.finditer(text)
    ]


def pages_with_code() -> list[Path]:
    """Return the pages that have code of their own; code in the cells of tables has its own tests."""
    everything = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in everything if blocks(page) and not _INDENTED.search(page.read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class Player:
    """Runs pages. What goes with a certain block is found by a text that the block holds."""

    server: LoopbackProvider
    scripts: Mapping[str, Callable[[LoopbackProvider], object]]
    """What the provider is told to do before it."""
    said: Mapping[str, str]
    """What it prints, as a pattern, where the page does not say it."""

    def play(self, page: Path, namespace: dict[str, Any], *, backend: str) -> None:
        """Run a page's blocks, one after the other in one namespace and on one event loop."""
        anyio.run(_play, self, page, namespace, backend=backend)


async def _play(player: Player, page: Path, namespace: dict[str, Any]) -> None:
    server = player.server
    seen: list[Any] = [*_clients(namespace)]
    try:
        for block in blocks(page):
            server.forget()
            for text, script in player.scripts.items():
                if text in block.code:
                    script(server)
            printed = io.StringIO()
            with redirect_stdout(printed):
                await _run(compiled(block.code, block.place), namespace)
            seen += _clients(namespace)
            server.assert_done()
            for text, pattern in player.said.items():
                if text in block.code and not re.search(pattern, printed.getvalue()):
                    raise AssertionError(f"{block.place} prints something else:\n{printed.getvalue()}")
            if block.printed not in (None, printed.getvalue()):
                raise AssertionError(f"{block.place} prints otherwise:\n{printed.getvalue()}")
    finally:
        for client in seen:
            await _close(client)


async def _run(code: CodeType, namespace: dict[str, Any]) -> None:
    if code.co_flags & 0x80:  # It awaits.
        await eval(code, namespace)  # noqa: S307 - the page's own code
    else:
        # In a thread, since it may block, or run an event loop of its own.
        await anyio.to_thread.run_sync(exec, code, namespace)


def _clients(namespace: Mapping[str, Any]) -> Iterator[Any]:
    return iter([value for value in namespace.values() if isinstance(value, Bifrost | SyncBifrost)])


async def _close(client: Bifrost | SyncBifrost) -> None:
    if isinstance(client, Bifrost):
        await client.close()
    else:
        await anyio.to_thread.run_sync(client.close)
