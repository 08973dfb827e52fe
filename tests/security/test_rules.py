"""Rules of security that are read off the code's text, and of what two clients share."""

from __future__ import annotations

import ast
import json
import logging
import ssl
import tomllib
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import Bifrost, ProviderConfig, ResponseTooLargeError, StaticAccount
from bifrost.config import NetworkConfig, SizeLimits
from bifrost.testing import LoopbackProvider, MockTransport
from bifrost.transport.tls import context_of
from tests.canary import listening
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_SOURCES = sorted((_ROOT / "bifrost").rglob("*.py"))

# --- TLS


def _weakens(node: ast.AST) -> bool:
    match node:
        case ast.keyword(arg="verify" | "check_hostname" | "server_side", value=ast.Constant(value=False)):
            return ast.unparse(node) != "server_side=False"
        case ast.Attribute(attr="CERT_NONE" | "CERT_OPTIONAL" | "_create_unverified_context"):
            return True
        case ast.Assign(targets=[ast.Attribute(attr="check_hostname")], value=ast.Constant(value=False)):
            return True
        case ast.Attribute(attr="TLSv1" | "TLSv1_1" | "SSLv3"):
            return True
        case _:
            return False


def test_nothing_can_switch_off_verification() -> None:
    found = [
        f"{path.relative_to(_ROOT)}:{getattr(node, 'lineno', '?')} {ast.unparse(node)}"
        for path in _SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _weakens(node)
    ]
    assert not found, "\n".join(found)


@table(
    "text", ["f(verify=False)", "c.check_hostname = False", "c.verify_mode = ssl.CERT_NONE", "m = ssl.TLSVersion.TLSv1"]
)
def test_weakening_is_seen(text: str) -> None:
    assert any(map(_weakens, ast.walk(ast.parse(text))))


def test_every_peer_is_verified_and_speaks_tls_1_2_at_least() -> None:
    context = context_of(NetworkConfig())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


# --- lint


def _suppressed(text: str) -> Iterator[str]:
    for line in text.splitlines():
        _, mark, rules = line.partition("# noqa: ")
        for rule in rules.split(" - ")[0].split(","):
            if mark and rule.strip().startswith("S"):
                yield rule.strip()


def test_the_rules_of_security_hold_for_the_whole_package() -> None:
    lint: Any = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if rule.startswith("S")]
    for place, rules in lint["per-file-ignores"].items():
        assert place.startswith(("tests/", "examples/", "docs/")), (place, rules)


def test_few_places_are_excepted_from_them() -> None:
    """Each is told here: whoever adds one has to say so."""
    found = {
        (path.relative_to(_ROOT).as_posix(), rule)
        for path in _SOURCES
        for rule in _suppressed(path.read_text(encoding="utf-8"))
    }
    assert found == {
        ("bifrost/credentials/google.py", "S310"),  # what google-auth asks for, with a URL of its own
        ("bifrost/engine/clock.py", "S311"),  # chance of waits and choices, not of secrets
        ("bifrost/transport/anyio_wire.py", "S610"),  # `extra()` of anyio is taken for a database's
        ("bifrost/testing/faults.py", "S311"),
        ("bifrost/testing/loopback.py", "S610"),
        ("bifrost/testing/network.py", "S104"),  # an address that is compared with, not listened on
    }


# --- what is not logged


@pytest.mark.anyio
async def test_neither_prompts_nor_answers_are_logged() -> None:
    async with LoopbackProvider() as server:
        server.reply("an-answer-nobody-logs").then.stream(["an-answer", "-nobody-logs"])
        server.fail(400)
        with listening() as log:
            async with server.client() as client:
                await client.chat("openai/gpt-4o-mini", "a-prompt-nobody-logs")
                async with client.stream_chat("openai/gpt-4o-mini", "a-prompt-nobody-logs") as stream:
                    await stream.final()
    ours = [line for line in log.lines if "nobody-logs" in line]
    assert not ours, ours[0][:300]
    assert logging.getLogger("bifrost").level == logging.NOTSET


@pytest.mark.anyio
async def test_what_a_model_says_is_data() -> None:
    """A tool's arguments are given as they came: nothing formats, evaluates or looks them up."""
    arguments = '{"x": "{0.__class__}", "y": "%s%n", "z": "__import__(\'os\').abort()", "path": "../../etc/passwd"}'
    body = {
        "id": "x",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "{self._engine} %(name)s ${HOME}",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "os.system", "arguments": arguments}}
                    ],
                },
            }
        ],
    }
    mock = MockTransport()
    mock.json(body)
    async with mock.client() as client:
        reply = await client.chat("openai/gpt-4o-mini", "hi")
    assert reply.text == "{self._engine} %(name)s ${HOME}"
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("os.system", arguments)]


# --- a million keys


def _many(count: int) -> bytes:
    return json.dumps({f"k{number}": number for number in range(count)}).encode()


@pytest.mark.anyio
async def test_an_object_of_a_million_keys_takes_a_bounded_multiple_of_its_size() -> None:
    body = b'{"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}], "z": %b}'
    body %= _many(1_000_000)
    mock = MockTransport()
    mock.raw(200, body, {"content-type": "application/json"}).always()
    async with mock.client() as client:
        tracemalloc.start()
        try:
            reply = await client.chat("openai/gpt-4o-mini", "hi")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert reply.text == "a"
    assert peak < 8 * len(body) < 500 * 1024 * 1024


@pytest.mark.anyio
async def test_what_is_larger_than_the_limits_is_too_large() -> None:
    mock = MockTransport()
    body = _many(100_000)
    mock.raw(200, body, {"content-type": "application/json"})
    mock.raw(200, b"data: " + body + b"\n\n", {"content-type": "text/event-stream"})
    limits = SizeLimits(body=len(body) - 1, event=len(body) - 1)
    account = mock.account_with({"openai": ["k"]}, configs={"openai": ProviderConfig(size_limits=limits)})
    async with mock.client(account, max_retries=0) as client:
        with pytest.raises(ResponseTooLargeError):
            await client.chat("openai/gpt-4o-mini", "hi")
        with pytest.raises(ResponseTooLargeError):
            async with client.stream_chat("openai/gpt-4o-mini", "hi") as stream:
                await stream.final()


# --- two clients


_OF_NOBODY = ("bifrost.providers", "bifrost.operations", "bifrost.wire", "bifrost.testing")
"""Rows, codecs and shapes: values that all clients read."""


def _parts(root: object) -> dict[int, object]:
    """Give everything of ours that a client reaches and that could change: objects with a state, dicts, lists, sets."""
    found: dict[int, object] = {}
    seen: set[int] = set()
    waiting = [root]
    kept: list[object] = []
    while waiting:
        each = waiting.pop()
        module = type(each).__module__
        if id(each) in seen or isinstance(each, (type, str, bytes)) or module.startswith(_OF_NOBODY):
            continue
        if module not in ("builtins", "collections") and not module.startswith("bifrost"):
            continue
        seen.add(id(each))
        kept.append(each)
        if isinstance(each, (dict, list, set)) or (module.startswith("bifrost") and _changes(each)):
            found[id(each)] = each
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += list(each)
        waiting += list(getattr(each, "__dict__", {}).values())
        waiting += [
            getattr(each, name, None)
            for kind in type(each).__mro__
            for name in _names(kind.__dict__.get("__slots__", ()))
            if not name.startswith("__")
        ]
    return found


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _changes(thing: object) -> bool:
    kind: Any = type(thing)
    if getattr(kind, "__struct_config__", None) is not None:
        return not kind.__struct_config__.frozen
    slots = [name for each in kind.__mro__ for name in _names(each.__dict__.get("__slots__", ()))]
    return kind.__setattr__ is object.__setattr__ and bool(slots or getattr(thing, "__dict__", None))


@pytest.mark.anyio
async def test_two_clients_share_nothing_that_can_change() -> None:
    async with LoopbackProvider() as server:
        server.reply("hello").always()
        accounts = [
            StaticAccount(keys={"openai": f"sk-{name}"}, configs={"openai": server.config("openai")}) for name in "ab"
        ]
        async with Bifrost(accounts[0]) as one, Bifrost(accounts[1]) as other:
            for client in (one, other):
                await client.chat("openai/gpt-4o-mini", "hi")
            first, second = _parts(one), _parts(other)
            shared = [first[each] for each in first.keys() & second.keys()]
            assert len(first) > 20
            assert not shared, [f"{type(each).__module__}.{type(each).__qualname__} {each!r:.80}" for each in shared]
