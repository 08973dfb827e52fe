"""What importing a package costs a fresh process: time, memory, modules. Nothing may be imported before it."""

from __future__ import annotations

import sys
from importlib import import_module
from time import perf_counter
from typing import Any

from gauges import cpu, resident


def run(*, modules: list[str]) -> dict[str, Any]:
    """Import `modules`, in order."""
    before, cpu_before, began = len(sys.modules), cpu(), perf_counter()
    for name in modules:
        import_module(name)
    wall, used = perf_counter() - began, cpu() - cpu_before
    loaded = len(sys.modules) - before
    return {
        "import": {"wall_ms": 1e3 * wall, "cpu_ms": 1e3 * used, "rss_mib": resident() / 1024, "modules": loaded},
    }
