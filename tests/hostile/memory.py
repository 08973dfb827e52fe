"""How much memory this process has, for tests of what must not fill it."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Give the resident memory, in bytes; where the system does not tell, nothing."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0
