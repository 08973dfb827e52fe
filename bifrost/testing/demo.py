"""Shared code of the example programs: a loopback provider unless a real one is requested, and tables of attempts."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, TypeAlias

import anyio

from bifrost.account import EnvAccount
from bifrost.client import Bifrost
from bifrost.errors import BifrostError
from bifrost.providers.catalog import CATALOG
from bifrost.testing.loopback import LoopbackProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bifrost.attempt_record import AttemptRecord

Example: TypeAlias = "Callable[[Bifrost, str], Awaitable[None]]"

_COLUMNS = ("asked", "key", "outcome", "waited", "queued", "connect", "first byte", "total")


def run_example(
    main: Example,
    *,
    model: str = "openai/gpt-4o-mini",
    offline: Callable[[LoopbackProvider], object] | None = None,
) -> None:
    """Run an example program: `main(client, model)` with a client of a loopback provider, which `offline` may script.

    With `--live provider/model` on the command line, the client is a real one with the environment's keys.
    """
    parser = ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--live", metavar="PROVIDER/MODEL", help="ask this model, with the key in your environment")
    live: str | None = parser.parse_args().live
    try:
        if live is None:
            keep_off_proxies()
            anyio.run(_run_offline, main, model, offline)
        else:
            print(announcement(live))  # noqa: T201 - output for the user of the example
            anyio.run(_run_live, main, live)
    except BifrostError as error:
        sys.exit(f"{type(error).__name__}: {error}")


async def _run_offline(main: Example, model: str, script: Callable[[LoopbackProvider], object] | None) -> None:
    async with LoopbackProvider() as server, server.client() as client:
        if script is not None:
            script(server)
        await main(client, model)


async def _run_live(main: Example, model: str) -> None:
    async with Bifrost() as client:
        await main(client, model)


def keep_off_proxies() -> None:
    """Exclude the loopback interface from proxies. This changes the environment of the process."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def announcement(model: str) -> str:
    """Return a line that says where a real call will go, and with which key."""
    provider, _, name = model.partition("/")
    row = CATALOG.get(provider)
    if row is None:
        return f"live: {model}"
    address = EnvAccount().config(provider).base_url or row.base_url
    variables = row.key_variables + row.other_key_variables + row.joined_key_variables
    key = next(filter(os.environ.get, variables), None)
    return f"live: model {name} of {provider} at {address}, with {f'the key in {key}' if key else 'no key'}"


def attempts_table(attempts: Sequence[AttemptRecord]) -> str:
    """Return the attempts of a call as an aligned table with one line each. Durations are in milliseconds."""
    rows = [_COLUMNS, *map(_cells, attempts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join(_line(row, widths) for row in rows)


def _cells(attempt: AttemptRecord) -> tuple[str, ...]:
    outcome = f"{attempt.status or '-'} {attempt.category or 'ok'}"
    spent = (attempt.wait or None, attempt.queue, attempt.connect, attempt.first_byte, attempt.total)
    return (f"{attempt.provider}/{attempt.model}", attempt.key or "-", outcome, *map(_milliseconds, spent))


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join([*texts, *numbers]).rstrip()
