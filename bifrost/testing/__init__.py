"""The test kit: scripted providers, in memory or over the loopback interface, and assertions about them.

Everything is loaded on first use, so that the pytest plugin costs nothing until a test uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.testing.asserts import assert_called, assert_no_secret, attempts_of
    from bifrost.testing.calls import MockCall, fake_key
    from bifrost.testing.cassette import Cassette
    from bifrost.testing.faults import Fault, FaultPlan, FaultRule, FaultRun
    from bifrost.testing.leaks import leak_check
    from bifrost.testing.loopback import LoopbackProvider, RawServer
    from bifrost.testing.mock import ConnectionCounts, MockTransport
    from bifrost.testing.network import NetworkBlockedError, block_network
    from bifrost.testing.rules import Rules, UnexpectedCallError
    from bifrost.testing.script import Script, Step
    from bifrost.testing.tape import CassetteError
    from bifrost.testing.time import no_waits
    from bifrost.testing.virtual import DeadlockError, VirtualLoop, run_virtual, virtual_backends

__all__ = [
    "Cassette",
    "CassetteError",
    "ConnectionCounts",
    "DeadlockError",
    "Fault",
    "FaultPlan",
    "FaultRule",
    "FaultRun",
    "LoopbackProvider",
    "MockCall",
    "MockTransport",
    "NetworkBlockedError",
    "RawServer",
    "Rules",
    "Script",
    "Step",
    "UnexpectedCallError",
    "VirtualLoop",
    "assert_called",
    "assert_no_secret",
    "attempts_of",
    "block_network",
    "fake_key",
    "leak_check",
    "no_waits",
    "run_virtual",
    "virtual_backends",
]

_PLACES: Mapping[str, str] = {
    "Cassette": "cassette",
    "CassetteError": "tape",
    "ConnectionCounts": "mock",
    "DeadlockError": "virtual",
    "Fault": "faults",
    "FaultPlan": "faults",
    "FaultRule": "faults",
    "FaultRun": "faults",
    "LoopbackProvider": "loopback",
    "MockCall": "calls",
    "MockTransport": "mock",
    "NetworkBlockedError": "network",
    "RawServer": "loopback",
    "Rules": "rules",
    "Script": "script",
    "Step": "script",
    "UnexpectedCallError": "rules",
    "VirtualLoop": "virtual",
    "assert_called": "asserts",
    "assert_no_secret": "asserts",
    "block_network": "network",
    "fake_key": "calls",
    "leak_check": "leaks",
    "no_waits": "time",
    "run_virtual": "virtual",
    "attempts_of": "asserts",
    "virtual_backends": "virtual",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"bifrost.testing has no {name!r}")
    return getattr(import_module(f"bifrost.testing.{place}"), name)
