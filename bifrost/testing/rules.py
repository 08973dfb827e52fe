"""`Rules`: a script, preceded by scripts for certain calls only, and faults that affect them all.

There is no I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import UsageError
from bifrost.operations.base import OperationName
from bifrost.testing import render_anthropic, render_bedrock, render_cohere, render_gemini, render_ollama, render_openai
from bifrost.testing.calls import MockCall, check_endpoint, field_of
from bifrost.testing.dialect import Dialect
from bifrost.testing.faults import FaultPlan, FaultRun
from bifrost.testing.faulty import FaultyStep, with_fault
from bifrost.testing.script import Script, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.wire.http import HttpRequest

_MAX_CALLS = 20

DIALECTS = (
    render_anthropic.DIALECT,
    render_bedrock.DIALECT,
    render_cohere.DIALECT,
    render_gemini.DIALECT,
    render_ollama.DIALECT,
    render_openai.DIALECT,
)
"""The formats, in the order in which they are checked for a request."""


class UnexpectedCallError(UsageError, AssertionError):
    """A call has no step in the script. It is neither retried nor sent to a fallback."""

    category = "local"
    fallback = False


class Rules(Script):
    """A script, preceded by further scripts for certain calls only."""

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[Script] = []
        self._unexpected: list[str] = []
        self._faults: FaultRun | None = None
        self.calls: list[MockCall] = []
        """All requests, in order."""

    def on(
        self,
        *,
        provider: str | None = None,
        model: str | None = None,
        endpoint: OperationName | None = None,
        key: str | None = None,
        stream: bool | None = None,
    ) -> Script:
        """Return a script for calls to this provider, model, endpoint or (fake) key, or for streams only.

        `provider` is the name in the account, whatever its address. `model` is the provider's own name of the model, or
        `provider/model`. `None` matches every call.

        Of several scripts, the first that matches and has a step left is used. The script without conditions comes
        last.
        """
        wanted = {"provider": provider, "model": model, "endpoint": endpoint, "key": key, "stream": stream}
        given = {name: value for name, value in wanted.items() if value is not None}
        check_endpoint(endpoint, where="on")
        conditions = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return self._rule(
            lambda call: all(_fits(call, name, value) for name, value in given.items()), conditions=conditions
        )

    def when(self, matches: Callable[[MockCall], bool]) -> Script:
        """Return a script for the calls for which a function returns true. Otherwise it is like `on`."""
        return self._rule(matches, conditions="when(...)")

    def inject(self, plan: FaultPlan) -> FaultRun:
        """Apply the faults of a plan to all calls from now on. Returns the run, which counts and records them.

            mock.reply("ok").always()
            run = mock.inject(FaultPlan.storm(0.3, seed=7))
            ...
            print(run.plan, run.played)

        The script defines the responses without faults. A fault that replaces the response leaves the script's step to
        the next attempt; a fault that delays the response, or closes the connection after it, uses the step up.
        """
        self._faults = FaultRun(plan)
        return self._faults

    @property
    def faults(self) -> FaultRun | None:
        """The run of the plan that was injected; `None` if there is none."""
        return self._faults

    def forget(self) -> None:
        """Remove all steps, rules and plans. `calls` is kept."""
        self._faults = None
        self._steps.clear()
        self._rules.clear()
        self._unexpected.clear()

    def assert_done(self) -> None:
        """Raise `AssertionError` if a step was not played as often as scripted, or a call had no step."""
        scripts = (*self._rules, self)
        unused = [f"{step!r} (x{step.missing})" for script in scripts for step in script.steps if step.missing > 0]
        problems = [f"scripted and never requested: {', '.join(unused)}"] if unused else []
        if unused and not self._unexpected and (idle := self._idle_rules()):
            asked = ", ".join(dict.fromkeys(map(_facts_of, self.calls[:_MAX_CALLS]))) or "none"
            problems.append(f"no call matched {idle}; the calls were: {asked}")
        problems += self._unexpected
        if problems:
            raise AssertionError("; ".join(problems))

    # --- for the transport and the server

    def choose(self, call: MockCall, *, now: float = 0.0) -> Step | FaultyStep | None:
        """Return the step for a call, with its fault if there is one; `None` if no step is left."""
        step = self._next(call)
        if self._faults is None:
            return step
        return with_fault(self._faults, call, now=now, step=step or self._spare, script=self)

    @property
    def _spare(self) -> Step | None:
        """The step that is played if no other is left; `None` if there is none."""
        return None

    def _next(self, call: MockCall) -> Step | None:
        for script in (*self._rules, self):
            if script.matches(call) and (step := script.next()) is not None:
                return step
        return None

    def unexpected(self, call: MockCall) -> UnexpectedCallError:
        """Record a call without a step, and return the error for it."""
        number = call.index + 1
        scripted = bool(self.steps or self._rules)
        message = (
            f"{'the script is at its end' if scripted else 'nothing is scripted'}: call {number}, "
            f"{call.endpoint or call.http.path} to {call.provider}/{call.model}, was not expected; "
            "add .reply(...), or .always() to the last step"
        )
        if idle := self._idle_rules():
            message += f"; no call has matched {idle}, and this one is {_facts_of(call)}"
        self._unexpected.append(message)
        return UnexpectedCallError(message, provider=call.provider, model=call.model)

    def _idle_rules(self) -> str:
        """Return the conditions of the rules that no call has matched."""
        idle = [rule.conditions.removeprefix(" on ") for rule in self._rules if not rule.matched]
        return ", ".join(conditions if conditions.startswith("when(") else f"on({conditions})" for conditions in idle)

    def _rule(self, matches: Callable[[MockCall], bool], *, conditions: str) -> Script:
        script = Script(matches, conditions=f" on {conditions}")
        self._rules.append(script)
        return script


def _fits(call: MockCall, name: str, value: object) -> bool:
    if name == "model" and f"{call.provider}/{call.model}" == value:
        return True
    return bool(getattr(call, name) == value)


def _facts_of(call: MockCall) -> str:
    """Return the facts about a call that rules examine, as a test writes them."""
    facts = {
        "provider": call.provider,
        "model": call.model,
        "endpoint": call.endpoint,
        "key": call.key,
        "stream": call.stream,
    }
    return f"({', '.join(f'{name}={value!r}' for name, value in facts.items() if value is not None)})"


def dialect_of(request: HttpRequest) -> tuple[Dialect, str]:
    """Return the format of a request and its operation, which is empty if no format has it."""
    for dialect in DIALECTS:
        endpoint = dialect.endpoint_of(request)
        if endpoint is not None:
            return dialect, endpoint
    return render_openai.DIALECT, ""


def asked_of(dialect: Dialect, request: HttpRequest, body: Any) -> tuple[str, bool]:
    """Return the model of a request, and whether it requests a stream."""
    if dialect.asked_of is not None:
        return dialect.asked_of(request)
    return field_of(body, "model") or "", bool(field_of(body, "stream"))
