from __future__ import annotations

from bifrost import CallContext, CallOptions
from bifrost.operations.chat.operation import CHAT


def context(**options: object) -> CallContext:
    return CallContext(
        operation=CHAT,
        model="openai/gpt-4o-mini",
        options=CallOptions(**options),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        started=100.0,
    )


def test_a_call_knows_when_it_must_be_done() -> None:
    assert context(timeout=30.0).deadline == 130.0


def test_calls_have_different_ids() -> None:
    ids = {context().id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 16 for each in ids)


def test_calls_share_no_memory() -> None:
    one, two = context(), context()
    one.values["x"] = 1
    one.warnings.append("w")
    one.attempts.append  # noqa: B018 - it is there
    assert (two.values, two.warnings, two.attempts) == ({}, [], [])


def test_a_call_begins_with_its_options() -> None:
    call = context(fallbacks=("anthropic/claude-haiku-4-5",))
    assert call.fallbacks == ("anthropic/claude-haiku-4-5",)
    assert (call.provider, call.fallback_index, call.tenant, call.is_stream, call.phase) == ("", 0, None, False, "hook")


def test_its_repr_says_where_it_is() -> None:
    call = context()
    call.provider, call.model = "openai", "gpt-4o-mini"
    assert repr(call) == f"CallContext({call.id}, chat openai/gpt-4o-mini, 0 attempts)"
