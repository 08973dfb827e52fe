"""A step of a script with the fault that a plan has for it. There is no I/O here."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import attrs

from bifrost.testing.play import document, web_page
from bifrost.testing.script import Step

if TYPE_CHECKING:
    from bifrost.testing.calls import MockCall
    from bifrost.testing.dialect import Dialect
    from bifrost.testing.faults import Fault, FaultRun, Span
    from bifrost.testing.play import Answer, Play, Trouble
    from bifrost.testing.script import Script


@attrs.frozen(eq=False, kw_only=True)
class FaultyStep:
    """A step that transports and servers play like a `Step`. Using it counts the attempt in the plan's run."""

    run: FaultRun
    call: MockCall
    now: float
    played: Step
    used: Step | None
    """The step of the script that it uses up; `None` if there is none."""
    planned: bool
    """Whether the plan has a fault for this attempt."""

    @property
    def trouble(self) -> Trouble | None:
        """What happens instead of a response; `None` if there is a response."""
        return self.played.trouble

    def use(self) -> None:
        """Count the attempt, and use up the script's step if it is played."""
        self.run.take(self.call, now=self.now)
        if self.used is not None:
            self.used.use()

    def play(self, call: MockCall, dialect: Dialect) -> Play:
        """Return what is to be done for a call."""
        return self.played.play(call, dialect)


def with_fault(run: FaultRun, call: MockCall, *, now: float, step: Step | None, script: Script) -> FaultyStep | None:
    """Return the step for an attempt of a run: `step`, modified by the plan; `None` if there is nothing to play.

    `step` is `None` if the script has none left. A fault that replaces the response does not need one.
    """
    fault = run.peek(call, now=now)
    if fault is None or fault.needs_answer:
        if step is None:
            return None
        if fault is None or step.write is None:  # without a response there is nothing to modify
            return FaultyStep(run=run, call=call, now=now, played=step, used=step, planned=False)
    used = step if fault.keeps_answer else None
    return FaultyStep(run=run, call=call, now=now, played=_step_of(fault, call, step, script), used=used, planned=True)


def _step_of(fault: Fault, call: MockCall, step: Step | None, script: Script) -> Step:
    """Return the step that plays a fault, based on the script's own step if it needs a response."""
    made = Step(script, repr(fault), None if step is None else step.write)
    match fault.kind:
        case "refuse" | "black_hole" | "garbage":
            made = Step(script, repr(fault), None, fault.kind)
        case "fail" | "html" | "empty":
            made = Step(script, repr(fault), lambda _call, dialect: _instead(fault, dialect))
        case "error_event" if not call.stream:
            made = Step(script, repr(fault), lambda _call, dialect: document(200, _error(fault, dialect)))
        case "error_event":
            at = fault.after_events or 0
            made.error_event(at=at, status=fault.status, message=fault.message, type=fault.type, code=fault.code)
        case "bad_json":
            made.bad_json(at=fault.after_events or 0)
        case "oversize":
            made.oversize(fault.size)
        case "reset" | "cut" | "stall":
            share = None if fault.after_share is None else _number(fault.after_share)
            made.end(fault.kind, fault.after_bytes, fault.after_events, share)
        case "slow" | "hang_up":
            made = made if step is None else copy(step)
            if fault.kind == "hang_up":
                made.hang_up()
    return made.later(delay=_number(fault.delay), pace=_number(fault.pace))


def _instead(fault: Fault, dialect: Dialect) -> Answer:
    """Return the response that replaces the scripted one."""
    match fault.kind:
        case "html":
            return web_page(fault.status)
        case "empty":
            return document(fault.status, b"")
        case _:
            return document(fault.status, _error(fault, dialect), fault.headers)


def _error(fault: Fault, dialect: Dialect) -> bytes:
    return dialect.error(fault.status, fault.message, fault.type, fault.code)


def _number(span: Span) -> float:
    """Return the number that was drawn."""
    return span[0] if isinstance(span, tuple) else span
