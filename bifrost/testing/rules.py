"""`Rules`: a script with others before it that are for certain calls only, and the faults that happen to them all.

No I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.errors import UsageError
from bifrost.operations.base import OperationName
from bifrost.testing import render_anthropic, render_openai
from bifrost.testing.calls import MockCall, check_endpoint
from bifrost.testing.dialect import Dialect
from bifrost.testing.faults import FaultPlan, FaultRun
from bifrost.testing.faulty import FaultyStep, with_fault
from bifrost.testing.script import Script, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.wire.http import HttpRequest

_MOST_TOLD = 20

DIALECTS = (render_anthropic.DIALECT, render_openai.DIALECT)
"""In the order in which they are asked whether a request is theirs."""


class UnexpectedCallError(UsageError, AssertionError):
    """A call came for which the script has no answer. It is neither retried nor sent to a fallback."""

    category = "local"
    fallback = False


class Rules(Script):
    """A script, with further scripts before it that are for certain calls only."""

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[Script] = []
        self._unexpected: list[str] = []
        self._faults: FaultRun | None = None
        self.calls: list[MockCall] = []
        """Every request that came, in order."""

    def on(
        self,
        *,
        provider: str | None = None,
        model: str | None = None,
        endpoint: OperationName | None = None,
        key: str | None = None,
        stream: bool | None = None,
    ) -> Script:
        """Give a script for calls to this provider, model, endpoint or (fake) key, or for streams only.

        `provider` is the name that the account has, whatever its address; `model` the provider's own name of the model,
        or `provider/model`.

        Of several scripts the first that matches and has a step left plays; the one without conditions comes last.
        """
        wanted = {"provider": provider, "model": model, "endpoint": endpoint, "key": key, "stream": stream}
        given = {name: value for name, value in wanted.items() if value is not None}
        check_endpoint(endpoint, where="on")
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return self._rule(lambda call: all(_fits(call, name, value) for name, value in given.items()), told=told)

    def when(self, matches: Callable[[MockCall], bool]) -> Script:
        """Give a script for the calls that a function picks. Otherwise as `on`."""
        return self._rule(matches, told="when(...)")

    def inject(self, plan: FaultPlan) -> FaultRun:
        """Let the faults of a plan happen to the calls from now on, and give what counts and remembers them.

            mock.reply("ok").always()
            run = mock.inject(FaultPlan.storm(0.3, seed=7))
            ...
            print(run.plan, run.played)

        The script says what is answered when all goes well. A fault that spoils the answer leaves the script's step
        to the next attempt; one that comes late or closes the connection behind it uses it up.
        """
        self._faults = FaultRun(plan)
        return self._faults

    @property
    def faults(self) -> FaultRun | None:
        """The run of the plan that was injected."""
        return self._faults

    def forget(self) -> None:
        """Take every step, rule and plan away, as if nothing had been scripted; `calls` stay."""
        self._faults = None
        self._steps.clear()
        self._rules.clear()
        self._unexpected.clear()

    def assert_done(self) -> None:
        """Raise `AssertionError` unless every step was played as often as scripted and no call came beyond them."""
        scripts = (*self._rules, self)
        unused = [f"{step!r} (x{step.missing})" for script in scripts for step in script.steps if step.missing > 0]
        problems = [f"scripted and never asked for: {', '.join(unused)}"] if unused else []
        if unused and not self._unexpected and (idle := self._idle_rules()):
            asked = ", ".join(dict.fromkeys(map(_told_of, self.calls[:_MOST_TOLD]))) or "none"
            problems.append(f"no call matched {idle}; the calls were: {asked}")
        problems += self._unexpected
        if problems:
            raise AssertionError("; ".join(problems))

    # --- for the transport and the server that play it

    def choose(self, call: MockCall, *, now: float = 0.0) -> Step | FaultyStep | None:
        """Give the step for a call, with the fault that happens to it, if any; `None` if there is none left."""
        step = self._next(call)
        if self._faults is None:
            return step
        return with_fault(self._faults, call, now=now, step=step or self._spare, script=self)

    @property
    def _spare(self) -> Step | None:
        """What is played when no step is left."""
        return None

    def _next(self, call: MockCall) -> Step | None:
        for script in (*self._rules, self):
            if script.matches(call) and (step := script.next()) is not None:
                return step
        return None

    def unexpected(self, call: MockCall) -> UnexpectedCallError:
        """Remember a call for which there is no step, and give the error for it."""
        number = call.index + 1
        scripted = bool(self.steps or self._rules)
        told = (
            f"{'the script is at its end' if scripted else 'nothing is scripted'}: call {number}, "
            f"{call.endpoint or call.http.path} to {call.provider}/{call.model}, was not expected; "
            "add .reply(...), or .always() to the last step"
        )
        if idle := self._idle_rules():
            told += f"; no call has matched {idle}, and this one is {_told_of(call)}"
        self._unexpected.append(told)
        return UnexpectedCallError(told, provider=call.provider, model=call.model)

    def _idle_rules(self) -> str:
        """Name the rules that no call has matched."""
        idle = [rule.told.removeprefix(" on ") for rule in self._rules if not rule.matched]
        return ", ".join(told if told.startswith("when(") else f"on({told})" for told in idle)

    def _rule(self, matches: Callable[[MockCall], bool], *, told: str) -> Script:
        script = Script(matches, told=f" on {told}")
        self._rules.append(script)
        return script


def _fits(call: MockCall, name: str, value: object) -> bool:
    if name == "model" and f"{call.provider}/{call.model}" == value:
        return True
    return bool(getattr(call, name) == value)


def _told_of(call: MockCall) -> str:
    """Return what rules look at, in the words in which a test writes it."""
    facts = {
        "provider": call.provider,
        "model": call.model,
        "endpoint": call.endpoint,
        "key": call.key,
        "stream": call.stream,
    }
    return f"({', '.join(f'{name}={value!r}' for name, value in facts.items() if value is not None)})"


def dialect_of(request: HttpRequest) -> tuple[Dialect, str]:
    """Give the dialect that a request is written in and the operation it asks for, empty if no dialect has it."""
    for dialect in DIALECTS:
        endpoint = dialect.endpoint_of(request)
        if endpoint is not None:
            return dialect, endpoint
    return render_openai.DIALECT, ""
