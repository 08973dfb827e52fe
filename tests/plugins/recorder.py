"""A plugin that notes its hooks as they run and does in each what a test wants; and the rule that its notes obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from bifrost import Plugin
from bifrost.plugins.base import DROP, Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bifrost import Bifrost, CallContext, ChatResponse, Chunk, ChunkStream

Kind: TypeAlias = Literal["plain", "stream"]
KINDS: tuple[Kind, ...] = ("plain", "stream")

MODEL = "openai/gpt-4o-mini"
OTHER = "anthropic/claude-haiku-4-5"

_ENDS = {"after_call": "before_call", "after": "before", "close": "open"}


class Recorder(Plugin):
    """Notes `name.hook` in `log`, then does what the test gave for that hook: a function of the hook's arguments.

    `does` is for hooks whose names the test has in variables.
    """

    def __init__(
        self,
        log: list[str],
        name: str = "a",
        *,
        waits: bool = False,
        timeout: float | None = None,
        on_error: Literal["skip", "fail"] = "skip",
        does: Mapping[str, Callable[..., Any]] | None = None,
        **hooks: Callable[..., Any],
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.on_error = on_error
        self.seen: dict[str, list[Any]] = {}
        """What each hook was given, by its name."""
        self._log = log
        self._waits = waits
        self._hooks = {**hooks, **(does or {})}

    def before_call(self, call: CallContext, request: Any) -> Any:
        return self._do("before_call", call, request)

    def after_call(self, call: CallContext, outcome: Any) -> Any:
        return self._do("after_call", call, outcome)

    def before(self, call: CallContext, request: Any) -> Any:
        return self._do("before", call, request)

    def after(self, call: CallContext, outcome: Any) -> Any:
        return self._do("after", call, outcome)

    def on_chunk(self, call: CallContext, chunk: Chunk) -> Chunk | Drop | None:
        self.seen.setdefault("on_chunk", []).append(chunk)
        return self._hooks["on_chunk"](call, chunk) if "on_chunk" in self._hooks else None

    def open(self) -> Any:
        return self._do("open")

    def close(self) -> Any:
        return self._do("close")

    def _do(self, hook: str, *arguments: Any) -> Any:
        self._log.append(f"{self.name}.{hook}")
        self.seen.setdefault(hook, []).append(arguments[-1] if arguments else None)
        action = self._hooks.get(hook)
        if self._waits:
            return _after_a_wait(action, arguments)
        return action(*arguments) if action is not None else None


async def _after_a_wait(action: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> Any:
    await anyio.lowlevel.checkpoint()
    result: Any = action(*arguments) if action is not None else None
    return await result if hasattr(result, "__await__") else result


def three(
    log: list[str], does: Mapping[str, Callable[..., Any]] | None = None, **hooks: Callable[..., Any]
) -> list[Recorder]:
    """Give three recorders; `b` is the one that does what the test wants."""
    return [Recorder(log, "a"), Recorder(log, "b", does={**(does or {}), **hooks}), Recorder(log, "c")]


def assert_paired(log: Sequence[str]) -> None:
    """Every hook that opens has exactly one that closes, and they are nested: what was entered last is left first."""
    open_hooks: list[str] = []
    for note in log:
        name, _, hook = note.partition(".")
        if hook not in _ENDS:
            open_hooks.append(note)
            continue
        # A plugin that is open or in a call as a whole is not left by the end of what is inside.
        wanted = f"{name}.{_ENDS[hook]}"
        assert open_hooks, f"{note} without {wanted} in {log}"
        assert open_hooks.pop() == wanted, f"{note} out of turn in {log}"
    assert not open_hooks, f"never left: {open_hooks} in {log}"


async def ask(client: Bifrost, kind: Kind, model: str = MODEL, **options: Any) -> ChatResponse:
    """Make a call, plain or streamed, and give its whole answer."""
    if kind == "plain":
        return await client.chat(model, "hi", **options)
    async with client.stream_chat(model, "hi", **options) as stream:
        return await stream.final()


def upper(_call: CallContext, chunk: Chunk) -> Chunk | Drop:
    """An `on_chunk` that changes text and takes out chunks without any."""
    if not chunk.text:
        return chunk if chunk.has_content else DROP
    (choice,) = chunk.choices
    delta = msgspec.structs.replace(choice.delta, content=chunk.text.upper())
    return msgspec.structs.replace(chunk, choices=[msgspec.structs.replace(choice, delta=delta)])


async def read_into(texts: list[str], stream: ChunkStream) -> None:
    """Read a stream's text; what came stays in `texts` when it breaks."""
    async for text in stream.text_stream:
        texts.append(text)  # noqa: PERF401 - a comprehension would give nothing then
